//! Mail by SMTP: text and HTML, all notices of a Release in one thread. No field can bring a header line: what is said is
//! one line without control characters, and the names and addresses are parsed before they are written.

use std::{
    error::Error as _,
    io,
    time::{Duration, SystemTime},
};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::Envelope as SmtpEnvelope,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        self,
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};

use tracing::warn;

use super::{
    call::{Fault, Outcome},
    escape::html,
    secrets::Secrets,
    text::Text,
};
use crate::{
    api::notifier::{Email, email::MailTls},
    tell::{outbox::Letter, status::shorten},
};

/// How long the server may take for each of its answers, and for all of them.
const PATIENCE: Duration = Duration::from_secs(10);
const ALL_PATIENCE: Duration = Duration::from_secs(30);
/// Longer subjects are cut, bytes.
const LONGEST_SUBJECT: usize = 200;
/// The codes by which a server refuses a sender or a receiver.
const REFUSED: [u16; 5] = [550, 551, 553, 554, 556];
/// No line of an encoded part can look like it.
const BOUNDARY: &str = "=_haldane_=";

/// Who writes to whom.
pub struct Envelope {
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
}

impl Envelope {
    pub fn of(settings: &Email) -> Result<Self, String> {
        let mailbox = |field: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|_| format!("{field}: '{}' is not a mail address", text.escape_debug()))
        };
        let to: Result<_, _> = settings.to.iter().map(|to| mailbox("spec.email.to", to)).collect();
        Ok(Self { from: mailbox("spec.email.from", &settings.from)?, to: to? })
    }
}

/// A server with its secrets put in.
pub struct Server {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    envelope: Envelope,
}

impl Server {
    pub async fn resolve(settings: &Email, secrets: &Secrets<'_>) -> Result<Self, String> {
        let ca = secrets.maybe(settings.ca.as_ref()).await?;
        let login = match &settings.auth {
            Some(basic) => Some((basic.username.clone(), secrets.get(&basic.password).await?)),
            None => None,
        };
        Self::new(settings, ca.as_deref(), login)
    }

    pub fn new(settings: &Email, ca: Option<&str>, login: Option<(String, String)>) -> Result<Self, String> {
        let (tls, port) = match settings.tls {
            MailTls::StartTls => (Tls::Required(trust(settings, ca)?), 587),
            MailTls::Tls => (Tls::Wrapper(trust(settings, ca)?), 465),
            MailTls::None => (Tls::None, 25),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(PATIENCE));
        if let Some((name, password)) = login {
            transport = transport.credentials(Credentials::new(name, password));
        }
        Ok(Self { transport: transport.build(), envelope: Envelope::of(settings)? })
    }

    pub async fn send(&self, letter: &Letter, text: &Text) -> Outcome {
        let mail = message(letter, text, &self.envelope)?.formatted();
        let to: Vec<Address> = self.envelope.to.iter().map(|to| to.email.clone()).collect();
        let late = |_| Fault::soon(format!("the mail server was not done after {} s", ALL_PATIENCE.as_secs()));
        tokio::time::timeout(ALL_PATIENCE, self.submit(&mail, to, &letter.channel)).await.map_err(late)?
    }

    /// To all at once. A server refuses that as a whole because of one receiver; then each gets his own, lest an address
    /// that is gone keeps the mail from everybody. It counts as delivered when anybody has it.
    async fn submit(&self, mail: &[u8], to: Vec<Address>, notifier: &str) -> Outcome {
        let refused = match self.submit_to(mail, to.clone()).await {
            Err(error) if to.len() > 1 && error.status().is_some_and(|code| REFUSED.contains(&u16::from(code))) => {
                error
            }
            done => return done.map_err(|error| judge(&error)),
        };
        let all = to.len();
        let mut taken = 0;
        for one in to {
            taken += usize::from(self.submit_to(mail, vec![one]).await.is_ok());
        }
        if taken == 0 {
            return Err(judge(&refused));
        }
        warn!(notifier, "the mail server took the mail for {taken} of {all} receivers; see spec.email.to");
        Ok(())
    }

    async fn submit_to(&self, mail: &[u8], to: Vec<Address>) -> Result<(), smtp::Error> {
        // There is a receiver: the API server sees to it. Without any there is nobody who misses the mail.
        let Ok(envelope) = SmtpEnvelope::new(Some(self.envelope.from.email.clone()), to) else { return Ok(()) };
        self.transport.send_raw(&envelope, mail).await.map(drop)
    }
}

fn trust(settings: &Email, ca: Option<&str>) -> Result<TlsParameters, String> {
    let mut trust = TlsParameters::builder(settings.host.clone());
    if let Some(pem) = ca {
        let ca = Certificate::from_pem(pem.as_bytes())
            .map_err(|_| "the key of spec.email.ca holds no PEM certificate".to_owned())?;
        trust = trust.certificate_store(CertificateStore::None).add_root_certificate(ca);
    }
    trust.build().map_err(|_| "TLS cannot be set up; are there certificates to trust?".into())
}

/// The server's words may hold anything; its code is enough.
fn judge(error: &smtp::Error) -> Fault {
    let Some(code) = error.status().map(u16::from) else {
        return if error.is_timeout() {
            Fault::soon(format!("the mail server did not answer within {} s", PATIENCE.as_secs()))
        } else if error.is_tls() || untrusted(error) {
            Fault::mend("no TLS with the mail server; do spec.email.tls, its certificate and spec.email.ca fit?")
        } else if error.is_client() {
            Fault::mend("the mail server does not offer what spec.email asks for: TLS, or the way to log in")
        } else {
            Fault::soon("no connection to the mail server, or it broke off")
        };
    };
    match code {
        530 | 534 | 535 | 538 => Fault::mend(format!("the mail server does not take the name and password ({code})")),
        552 => Fault::Never("the mail server finds this mail too long (552)".into()),
        code if REFUSED.contains(&code) => Fault::mend(format!(
            "the mail server refuses the sender or a receiver ({code}); see spec.email.from and to"
        )),
        400..=499 => Fault::soon(format!("the mail server is not ready for it ({code})")),
        _ => Fault::mend(format!("the mail server refused it ({code})")),
    }
}

/// A certificate that is refused counts for lettre as a connection that failed.
fn untrusted(error: &smtp::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if matches!(inner, Some(inner) if inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The mail. The same for each attempt.
pub fn message(letter: &Letter, text: &Text, envelope: &Envelope) -> Result<Message, String> {
    let domain = envelope.from.email.domain();
    let uid: String = letter.subject.uid.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    // Nobody has sent the root of the thread. Readers put together what refers to the same.
    let root = format!("<{uid}.haldane@{domain}>");
    let mut mail = Message::builder()
        .from(envelope.from.clone())
        .subject(shorten(&text.brief(), LONGEST_SUBJECT))
        .date(SystemTime::from(letter.notice.at.timestamp()))
        .message_id(Some(format!("<{uid}.{}.haldane@{domain}>", letter.notice.seq)))
        .in_reply_to(root.clone())
        .references(root)
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()));
    for to in &envelope.to {
        mail = mail.to(to.clone());
    }
    let part =
        |kind, body| SinglePart::builder().header(kind).header(ContentTransferEncoding::QuotedPrintable).body(body);
    let both = MultiPart::alternative()
        .boundary(BOUNDARY)
        .singlepart(part(ContentType::TEXT_PLAIN, plain(text)))
        .singlepart(part(ContentType::TEXT_HTML, page(text)));
    mail.multipart(both).map_err(|_| "the mail cannot be written; see spec.email.from and to".into())
}

fn plain(text: &Text) -> String {
    let facts: Vec<String> = text.facts.iter().map(|(label, value)| format!("{label}: {value}\r\n")).collect();
    format!("{}\r\n\r\n{}: {}\r\n\r\n{}", text.title, text.because, text.sentence, facts.concat())
}

fn page(text: &Text) -> String {
    let row =
        |(label, value): &(&str, String)| format!("<tr><td>{}</td><td>{}</td></tr>\r\n", html(label), html(value));
    let facts: Vec<String> = text.facts.iter().map(row).collect();
    format!(
        "<html><body><h3>{}</h3>\r\n<p><b>{}</b>: {}</p>\r\n<table>\r\n{}</table></body></html>\r\n",
        html(&text.title),
        html(text.because),
        html(&text.sentence),
        facts.concat()
    )
}
