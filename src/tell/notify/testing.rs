//! The letter that tests send.

use crate::{
    api::{
        notice::{Notice, Reason},
        notifier::Language,
        units::At,
    },
    tell::{
        notify::text::Text,
        outbox::{Letter, Subject},
    },
};

/// Planted where secrets are; must come out nowhere.
pub const CANARY: &str = "canary-5b1f0e";

pub fn letter(reason: Reason) -> Letter {
    Letter {
        subject: Subject {
            namespace: "shop".into(),
            name: "checkout".into(),
            uid: "7d0b".into(),
            state: "Draining".into(),
            version: Some("1.4.2".into()),
        },
        notice: Notice {
            seq: 4,
            reason,
            at: At::new("2026-01-02T03:04:05.678Z".parse().unwrap()),
            message: "error rate 7.31 % > 5 % at 20 %, stable 0.40 %".into(),
            revision: Some("0123456789".into()),
            pending: vec!["oncall".into()],
            attempts: 0,
        },
        channel: "oncall".into(),
    }
}

/// The text of it, with another sentence.
pub fn saying(reason: Reason, sentence: &str) -> Text {
    let mut letter = letter(reason);
    letter.notice.message = sentence.into();
    Text::of(&letter, Language::En)
}

pub fn text(reason: Reason) -> Text {
    Text::of(&letter(reason), Language::En)
}

/// The HTTP client as `Post` has it.
pub fn web() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).user_agent("haldane/test").build().unwrap()
}
