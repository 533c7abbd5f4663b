//! Every channel: what it sends, what it survives, and how it takes what its service answers.

mod deliveries;
mod hostile;
mod mail;

use super::{
    alertmanager, dingtalk, email, feishu, github, pagerduty, slack, teams, testing::letter, text::Text, wecom,
};
use crate::api::{notice::Reason, notifier::Language};

/// What each channel makes of a notice, one beneath the other.
fn all(reason: Reason, language: Language) -> String {
    let letter = letter(reason);
    let text = Text::of(&letter, language);
    let pretty = |body: &str| format!("{:#}", serde_json::from_str::<serde_json::Value>(body).unwrap());
    let envelope = email::Envelope {
        from: "Haldane <haldane@example.org>".parse().unwrap(),
        to: vec!["oncall@example.org".parse().unwrap()],
    };
    let mail = email::message(&letter, &text, &envelope).unwrap().formatted();
    let signature = Some((1_767_323_045, "signed"));
    let mut parts = vec![
        ("dingtalk", pretty(&dingtalk::body(&text))),
        ("feishu", pretty(&feishu::body(&text, signature))),
        ("slack", format!("{:#}", slack::body(&text, Some("C1")))),
        ("teams", pretty(&teams::body(&text))),
        ("pagerduty", format!("{:#}", pagerduty::body(&letter, &text, "key"))),
        ("alertmanager", format!("{:#}", alertmanager::body(&letter, &text))),
        ("github", format!("{:#}", github::issue(&letter, &text, &["P1".into()]))),
        ("email", String::from_utf8(mail).unwrap().replace("\r\n", "\n")),
    ];
    parts.extend(wecom::bodies(&text).iter().map(|body| ("wecom", pretty(body))));
    let parts: Vec<String> = parts.iter().map(|(name, body)| format!("--- {name}\n{body}\n")).collect();
    parts.concat()
}

#[test]
fn what_each_channel_sends() {
    insta::assert_snapshot!("rollback_failed", all(Reason::RollbackFailed, Language::En));
    insta::assert_snapshot!("succeeded", all(Reason::Succeeded, Language::Zh));
}

#[test]
fn the_sentence_arrives_in_every_channel_as_it_was_written() {
    // Quoted-printable has a sign of its own for `=` only; there is none.
    let sentence = "error rate 7.31 % > 5 % at 20 %, stable 0.40 %";
    let sent = all(Reason::RollbackFailed, Language::En).replace("&gt;", ">").replace("=\n", "");
    for part in sent.split("--- ").skip(1) {
        assert!(part.contains(sentence), "{part}");
    }
}
