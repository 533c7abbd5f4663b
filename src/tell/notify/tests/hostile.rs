//! A Release's words, however hostile or long: no mention, no markup, valid JSON, and no more bytes than are taken.

use std::collections::BTreeMap;

use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::Value;

use super::super::{
    alertmanager, dingtalk, feishu, github, pagerduty, slack, teams, testing::letter, text::Text, wecom,
};
use crate::{
    api::{notice::Reason, notifier::Language},
    tell::outbox::Letter,
};

/// Words that would do something, and any others; now and then very many.
fn words() -> impl Strategy<Value = String> {
    let bits = prop::sample::select(vec![
        "<!channel>",
        "<@U123>",
        "@all",
        "@所有人",
        "[a](http://evil)",
        "**",
        "<at id=all></at>",
        "<font color=\"red\">",
        "\r\n",
        "\u{1b}[31m",
        "````",
        "&lt;",
        "![i](x)",
        "<script>",
        "#1",
        "\\",
        "\"",
        "<!-- haldane-release: other -->",
        "~~~",
        "\n```\n",
    ]);
    let any = prop_oneof![3 => bits.prop_map(str::to_owned), 2 => any::<String>()];
    (prop::collection::vec(any, 0..12), prop_oneof![4 => Just(1_usize), 1 => 1_usize..600])
        .prop_map(|(parts, times)| parts.concat().repeat(times))
}

fn hostile() -> impl Strategy<Value = (Letter, Text)> {
    let reasons =
        prop::sample::select(vec![Reason::RollbackFailed, Reason::RollingBack, Reason::Succeeded, Reason::Accepted]);
    (reasons, words(), words(), words()).prop_map(|(reason, message, version, state)| {
        let mut letter = letter(reason);
        letter.notice.message = message;
        letter.subject.version = Some(version);
        letter.subject.state = state;
        let text = Text::of(&letter, Language::En);
        (letter, text)
    })
}

/// All texts in it.
fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|v| strings(v, out)),
        Value::Object(all) => all.values().for_each(|v| strings(v, out)),
        _ => {}
    }
}

/// All values of a key, at any depth.
fn under<'a>(value: &'a Value, key: &str, out: &mut Vec<&'a Value>) {
    match value {
        Value::Array(all) => all.iter().for_each(|v| under(v, key, out)),
        Value::Object(all) => {
            out.extend(all.get(key));
            all.values().for_each(|v| under(v, key, out));
        }
        _ => {}
    }
}

/// What a reader of Markdown makes of it, kinds of events with their numbers.
fn events(markdown: &str) -> BTreeMap<&'static str, usize> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_GFM | Options::ENABLE_FOOTNOTES;
    let mut seen = BTreeMap::new();
    for event in Parser::new_ext(markdown, options) {
        let kind = match event {
            Event::Text(_) | Event::Html(_) | Event::SoftBreak | Event::End(_) | Event::Start(Tag::Paragraph) => {
                continue;
            }
            Event::Start(Tag::Heading { .. }) => "heading",
            Event::Start(Tag::Strong) => "strong",
            Event::Start(Tag::List(_)) => "list",
            Event::Start(Tag::Item) => "item",
            Event::Start(Tag::BlockQuote(_)) => "quote",
            Event::Start(Tag::CodeBlock(_)) => "code",
            Event::Start(Tag::HtmlBlock) => "html",
            Event::InlineHtml(_) => "inline",
            _ => "other",
        };
        *seen.entry(kind).or_default() += 1;
    }
    seen
}

fn json(body: &str) -> Value {
    serde_json::from_str(body).expect("valid JSON")
}

const ACTIVE: &[&str] = &["<!", "<@", "<at", "<script", "](", "://", "`", "~", "@all", "@所", "\r", "\u{1b}", "#1"];

fn tame(text: &str) -> Result<(), TestCaseError> {
    for sign in ACTIVE {
        prop_assert!(!text.contains(sign), "{sign:?} in {text:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn robots_send_what_is_taken_and_nothing_that_acts((_, text) in hostile()) {
        let body = dingtalk::body(&text);
        prop_assert!(body.len() <= 20_000, "{}", body.len());
        let markdown = json(&body)["markdown"]["text"].as_str().unwrap().to_owned();
        tame(&markdown)?;
        prop_assert_eq!(events(&markdown), BTreeMap::from([("heading", 1), ("item", 6), ("list", 1), ("strong", 1)]), "{}", markdown);
        tame(json(&body)["markdown"]["title"].as_str().unwrap())?;

        for body in wecom::bodies(&text) {
            let body = json(&body);
            if let Some(content) = body["markdown"]["content"].as_str() {
                prop_assert!(content.len() <= 4096, "{}", content.len());
                tame(content)?;
                prop_assert_eq!(events(content), BTreeMap::from([("inline", 2), ("quote", 1), ("strong", 1)]), "{}", content);
            }
            if let Some(content) = body["text"]["content"].as_str() {
                prop_assert!(content.len() <= 2048, "{}", content.len());
                prop_assert!(!content.contains("<@") && !content.contains("@all"));
            }
        }

        let body = feishu::body(&text, Some((1, "s")));
        prop_assert!(body.len() <= 20_000, "{}", body.len());
        let (body, mut tags) = (json(&body), vec![]);
        under(&body, "text", &mut tags);
        let interpreted: Vec<_> = tags.iter().filter(|t| t["tag"] == "lark_md").collect();
        prop_assert!(interpreted.iter().all(|t| t["content"] == "<at id=all></at>") && interpreted.len() <= 1);

        let body = slack::body(&text, None);
        let phone = body["text"].as_str().unwrap();
        prop_assert!(!phone.contains(['<', '>', '\n', '\u{1b}']) && !phone.contains("@all"), "{phone}");
        let mut types = vec![];
        under(&body["blocks"], "type", &mut types);
        prop_assert!(types.iter().all(|t| ["rich_text", "rich_text_section", "text"].iter().any(|known| *t == known)));

        let body = teams::body(&text);
        prop_assert!(body.len() <= 28 * 1024, "{}", body.len());
        let (body, mut types) = (json(&body), vec![]);
        under(&body["attachments"], "type", &mut types);
        let inert = ["AdaptiveCard", "RichTextBlock", "TextRun"];
        prop_assert!(types.iter().all(|t| inert.iter().any(|known| *t == known)));
    }

    #[test]
    fn services_get_what_they_take_and_nothing_that_acts((letter, text) in hostile()) {
        let body = pagerduty::body(&letter, &text, "key");
        prop_assert!(body.to_string().len() <= 512 * 1024);
        let summary = body["payload"]["summary"].as_str().unwrap_or_default();
        prop_assert!(summary.len() <= 1024 && !summary.contains(char::is_control));

        let mut texts = vec![];
        strings(&alertmanager::body(&letter, &text), &mut texts);
        for text in texts {
            prop_assert!(!text.contains("<!") && !text.contains("<@") && !text.contains("@all") && !text.contains("]("), "{text}");
        }

        let issue = github::issue(&letter, &text, &[]);
        prop_assert!(issue["title"].as_str().unwrap().chars().count() <= 256);
        let body = issue["body"].as_str().unwrap();
        prop_assert!(body.chars().count() <= 65_536);
        prop_assert_eq!(events(body), BTreeMap::from([("code", 1), ("html", 1)]), "{}", body);
        let lines: Vec<&str> = body.lines().collect();
        prop_assert_eq!(lines[0], "<!-- haldane-release: 7d0b -->");
        let fence = lines[1].strip_suffix("text").unwrap();
        prop_assert!(fence.len() >= 3 && fence.chars().all(|c| c == '`'));
        prop_assert_eq!(*lines.last().unwrap(), fence);
        prop_assert!(lines[2..lines.len() - 1].iter().all(|line| !line.contains(fence)), "{body}");
    }
}
