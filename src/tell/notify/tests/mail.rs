//! Mail: to a server on this machine, with TLS and without, and with fields that try to write headers.

use proptest::prelude::*;

use super::super::{
    call::Fault,
    email::{Envelope, Server, message},
    fakes::smtp::{self, Mail, Rules},
    testing::{CANARY, letter},
    text::Text,
};
use crate::{
    api::{
        notice::Reason,
        notifier::{Email, Language},
    },
    tell::outbox::{LONGEST_PAUSE, Letter},
};

fn settings(port: u16, tls: &str) -> Email {
    let spec = serde_json::json!({
        "host": "localhost", "port": port, "tls": tls, "from": "值班 <haldane@example.org>", "to": ["a@example.org", "b@example.org"],
    });
    serde_json::from_value(spec).unwrap()
}

fn text(letter: &Letter, language: Language) -> Text {
    Text::of(letter, language)
}

/// The headers, unfolded; then the body.
fn parts(data: &str) -> (Vec<(String, String)>, String) {
    let (head, body) = data.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let headers = head.split("\r\n").map(|line| line.split_once(": ").unwrap());
    (headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), body.to_owned())
}

fn header(mail: &Mail, name: &str) -> String {
    parts(&mail.data).0.into_iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}: {}", mail.data)).1
}

/// RFC 2047, base64 words of UTF-8.
fn decoded(value: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut bytes = Vec::new();
    let mut after_word = false;
    for word in value.split(' ') {
        if let Some(word) = word.strip_prefix("=?utf-8?b?").and_then(|w| w.strip_suffix("?=")) {
            bytes.extend(STANDARD.decode(word).unwrap());
            after_word = true;
        } else {
            if after_word || !bytes.is_empty() {
                bytes.push(b' ');
            }
            bytes.extend(word.bytes());
            after_word = false;
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_mail_arrives_under_tls_with_a_login_and_its_thread() {
    let mut sink = smtp::start(Rules { starttls: true, login: Some("\0haldane\0secret"), ..Rules::default() }).await;
    let settings = settings(sink.port, "StartTls");
    let server = Server::new(&settings, Some(&sink.ca), Some(("haldane".into(), "secret".into()))).unwrap();
    let mut second = letter(Reason::RolledBack);
    second.notice.seq = 5;
    for letter in [letter(Reason::RollingBack), second] {
        assert_eq!(server.send(&letter, &text(&letter, Language::Zh)).await, Ok(()));
    }
    let (first, second) = (sink.got.recv().await.unwrap(), sink.got.recv().await.unwrap());
    assert!(first.tls && first.login.is_some());
    assert_eq!(first.from, "<haldane@example.org>");
    assert_eq!(first.to, ["<a@example.org>", "<b@example.org>"]);
    assert_eq!(header(&first, "Message-ID"), "<7d0b.4.haldane@example.org>");
    assert_eq!(header(&second, "Message-ID"), "<7d0b.5.haldane@example.org>");
    for mail in [&first, &second] {
        assert_eq!(header(mail, "References"), "<7d0b.haldane@example.org>");
        assert_eq!(header(mail, "In-Reply-To"), "<7d0b.haldane@example.org>");
        assert_eq!(header(mail, "Auto-Submitted"), "auto-generated");
        assert!(header(mail, "Content-Type").starts_with("multipart/alternative"), "{}", mail.data);
    }
    let subject = decoded(&header(&first, "Subject"));
    assert_eq!(subject, "[警告] shop/checkout：正在回滚: error rate 7.31 % > 5 % at 20 %, stable 0.40 %");
    assert!(first.data.is_ascii(), "any server takes it");
    assert!(first.data.contains("7.31 % > 5 % at 20 %") && first.data.contains("7.31 % &gt; 5 %"), "{}", first.data);
}

#[tokio::test]
async fn what_a_mail_server_refuses_is_told_without_its_words() {
    let letter = letter(Reason::RolledBack);
    let text = text(&letter, Language::En);
    let login = || Some(("haldane".to_owned(), CANARY.to_owned()));
    let told = async |rules: Rules, tls: &str, trusted: bool| {
        let sink = smtp::start(rules).await;
        let ca = trusted.then_some(sink.ca.as_str());
        let login = rules.login.and_then(|_| login());
        let server = Server::new(&settings(sink.port, tls), ca, login).unwrap();
        server.send(&letter, &text).await
    };
    let later = |why: &str, slow: bool| Err(Fault::Later(why.to_owned(), slow.then_some(LONGEST_PAUSE)));
    let open = Rules { starttls: true, ..Rules::default() };
    assert_eq!(told(open, "StartTls", true).await, Ok(()));
    assert_eq!(told(open, "None", false).await, Ok(()));
    assert_eq!(told(Rules { wrapped: true, ..open }, "Tls", true).await, Ok(()));
    let locked = Rules { login: Some("\0haldane\0other"), ..open };
    assert_eq!(
        told(locked, "StartTls", true).await,
        later("the mail server does not take the name and password (535)", true)
    );
    let unknown = Rules { refuses: Some("550 5.1.1 canary-5b1f0e unknown"), ..open };
    let why = "the mail server refuses the sender or a receiver (550); see spec.email.from and to";
    assert_eq!(told(unknown, "StartTls", true).await, later(why, true));
    let greylisted = Rules { refuses: Some("451 4.7.1 canary-5b1f0e later"), ..open };
    assert_eq!(told(greylisted, "StartTls", true).await, later("the mail server is not ready for it (451)", false));
    let large = Rules { refuses: Some("552 5.3.4 canary-5b1f0e"), ..open };
    assert_eq!(
        told(large, "StartTls", true).await,
        Err(Fault::Never("the mail server finds this mail too long (552)".into()))
    );
    // Not in clear text where TLS is asked for; not to a server with a certificate that nobody vouches for.
    for (rules, trusted) in [(Rules { starttls: false, ..open }, true), (open, false)] {
        let said = told(rules, "StartTls", trusted).await;
        assert!(matches!(&said, Err(Fault::Later(why, Some(_))) if why.contains("TLS")), "{said:?}");
    }
}

#[tokio::test]
async fn a_receiver_who_is_gone_keeps_the_mail_from_nobody_else() {
    let rules = Rules { refuses: Some("550 5.1.1 unknown"), unknown: Some("b@"), ..Rules::default() };
    let mut sink = smtp::start(rules).await;
    let server = Server::new(&settings(sink.port, "None"), None, None).unwrap();
    let letter = letter(Reason::RollbackFailed);
    assert_eq!(server.send(&letter, &text(&letter, Language::En)).await, Ok(()));
    assert_eq!(sink.got.recv().await.unwrap().to, ["<a@example.org>"]);
    assert!(sink.got.try_recv().is_err(), "once");
}

#[test]
fn an_address_that_is_none_is_named() {
    let mut settings = settings(25, "None");
    settings.to = vec!["a@example.org\r\nBcc: x@evil".into()];
    let Err(why) = Envelope::of(&settings) else { panic!("taken") };
    assert_eq!(why, r"spec.email.to: 'a@example.org\r\nBcc: x@evil' is not a mail address");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_field_writes_a_header(
        message_text in "(\r\nBcc: x@evil\r\n\r\n|.|\n|--=_haldane_=){0,60}", version in "(\r\nX: y|\\PC|\n){0,20}", uid in "(\r\n|>|\\PC){0,10}",
    ) {
        let mut letter = letter(Reason::RolledBack);
        letter.notice.message = message_text;
        letter.subject.version = Some(version);
        letter.subject.uid = uid;
        let envelope = Envelope::of(&settings(25, "None")).unwrap();
        let mail = message(&letter, &text(&letter, Language::En), &envelope).unwrap().formatted();
        let mail = String::from_utf8(mail).unwrap();
        let (headers, body) = parts(&mail);
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(
            names,
            ["From", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "To", "MIME-Version", "Content-Type"]
        );
        prop_assert_eq!(body.lines().filter(|line| line.starts_with("--=_haldane_=")).count(), 3, "two parts and the end");
        prop_assert!(mail.lines().all(|line| line.len() <= 998));
    }
}
