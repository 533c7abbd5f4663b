//! A mail server: STARTTLS, a login, and mails that are kept. It refuses bare line feeds and long lines, as servers do.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer},
};

/// A mail that was taken.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    pub tls: bool,
    pub login: Option<String>,
}

/// How the server behaves.
#[derive(Clone, Copy, Default)]
pub struct Rules {
    pub starttls: bool,
    /// TLS from the first byte.
    pub wrapped: bool,
    /// `\0name\0password`; without it nothing is taken.
    pub login: Option<&'static str>,
    /// The answer to `RCPT`, if it is a refusal.
    pub refuses: Option<&'static str>,
    /// The receiver who is refused. None: all are.
    pub unknown: Option<&'static str>,
}

pub struct Sink {
    pub port: u16,
    /// What its certificate is signed by, PEM.
    pub ca: String,
    pub got: mpsc::UnboundedReceiver<Mail>,
}

pub async fn start(rules: Rules) -> Sink {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key.into());
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let (tx, got) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (acceptor, tx) = (acceptor.clone(), tx.clone());
            tokio::spawn(async move {
                if rules.wrapped {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        stream.write_all(b"220 localhost ready\r\n").await.unwrap();
                        session(stream, true, rules, &tx).await;
                    }
                    return;
                }
                stream.write_all(b"220 localhost ready\r\n").await.unwrap();
                if let Some(stream) = session(stream, false, rules, &tx).await
                    && let Ok(stream) = acceptor.accept(stream).await
                {
                    session(stream, true, rules, &tx).await;
                }
            });
        }
    });
    Sink { port, ca: own.cert.pem(), got }
}

/// Ends with the stream when the client wants TLS.
async fn session<S>(stream: S, tls: bool, rules: Rules, tx: &mpsc::UnboundedSender<Mail>) -> Option<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let mut mail = Mail { tls, ..Mail::default() };
    loop {
        let line = line(&mut stream).await?;
        let words = line.to_uppercase();
        let may = rules.login.is_none() || mail.login.is_some();
        let answer = if words.starts_with("EHLO") {
            let offer = if rules.starttls && !tls { "250-STARTTLS\r\n" } else { "" };
            format!("250-localhost\r\n{offer}250-AUTH PLAIN\r\n250 8BITMIME")
        } else if words == "STARTTLS" && rules.starttls && !tls {
            stream.write_all(b"220 go ahead\r\n").await.ok()?;
            return Some(stream.into_inner());
        } else if let Some(given) = line.strip_prefix("AUTH PLAIN ") {
            let given = STANDARD.decode(given).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            if given.as_deref() == rules.login {
                mail.login = given;
                "235 well".into()
            } else {
                "535 5.7.8 canary-5b1f0e no".into()
            }
        } else if let (Some(from), true) = (words.strip_prefix("MAIL FROM:"), may) {
            mail.from = from.to_lowercase();
            "250 well".into()
        } else if let (Some(to), true) = (words.strip_prefix("RCPT TO:"), may) {
            let to = to.to_lowercase();
            let refusal = rules.refuses.filter(|_| rules.unknown.is_none_or(|unknown| to.contains(unknown)));
            if refusal.is_none() {
                mail.to.push(to);
            }
            refusal.unwrap_or("250 well").into()
        } else if words == "DATA" && !mail.to.is_empty() {
            stream.write_all(b"354 go ahead\r\n").await.ok()?;
            mail.data = data(&mut stream).await?;
            tx.send(std::mem::take(&mut mail)).ok()?;
            "250 taken".into()
        } else if words == "QUIT" {
            stream.write_all(b"221 bye\r\n").await.ok()?;
            return None;
        } else {
            "503 5.5.1 not now".into()
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let line = line.strip_suffix("\r\n").expect("lines end with CRLF");
    assert!(line.len() <= 998 && !line.contains('\r'), "{line:?}");
    Some(line.to_owned())
}

async fn data<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut data = String::new();
    loop {
        let line = line(stream).await?;
        if line == "." {
            return Some(data);
        }
        data += line.strip_prefix('.').unwrap_or(&line);
        data += "\r\n";
    }
}
