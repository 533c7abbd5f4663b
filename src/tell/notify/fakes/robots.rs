//! Chat robots: DingTalk, Feishu, WeCom, and Slack's API for bots.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Fake, Said, Seen, hmac, said, serve};
use crate::observe::clock;

pub const SECRET: &str = "SECabc";

fn millis() -> i64 {
    clock::now().timestamp().as_millisecond()
}

/// At most so many in a minute.
struct Gate(VecDeque<i64>, usize);

impl Gate {
    fn passes(&mut self) -> bool {
        let now = millis();
        while self.0.front().is_some_and(|at| now - at >= 60_000) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() <= self.1
    }
}

/// `/robot/send?access_token=T`, signed with `SECRET`.
pub async fn dingtalk() -> Fake {
    let mut gate = Gate(VecDeque::new(), 20);
    serve(move |call| {
        let answer = |code: i64, words: &str| said(200, json!({"errcode": code, "errmsg": words}));
        let query = |name: &str| call.query.get(name).cloned().unwrap_or_default();
        let stamp = query("timestamp");
        let age = stamp.parse::<i64>().map_or(i64::MAX, |stamp| (millis() - stamp).abs());
        let markdown = &call.body["markdown"];
        if call.path != "/robot/send" || query("access_token") != "T" {
            answer(300_001, "token is not exist")
        } else if age > 3_600_000 || query("sign") != hmac(SECRET.as_bytes(), format!("{stamp}\n{SECRET}").as_bytes()) {
            answer(310_000, "sign not match")
        } else if !gate.passes() {
            answer(130_101, "send too fast, exceed 20 times per minute")
        } else if call.size > 20_000
            || call.body["msgtype"] != "markdown"
            || markdown["title"].as_str().is_none_or(str::is_empty)
            || markdown["text"].as_str().is_none_or(str::is_empty)
        {
            answer(40_035, "invalid parameter")
        } else {
            answer(0, "ok")
        }
    })
    .await
}

/// `/open-apis/bot/v2/hook/ID`, signed with `SECRET`.
pub async fn feishu() -> Fake {
    let mut gate = Gate(VecDeque::new(), 100);
    serve(move |call| {
        let answer = |code: i64, words: &str| said(200, json!({"code": code, "msg": words, "data": {}}));
        let stamp = call.body["timestamp"].as_str().unwrap_or_default();
        let age = stamp.parse::<i64>().map_or(i64::MAX, |stamp| (millis() / 1000 - stamp).abs());
        if call.path != "/open-apis/bot/v2/hook/ID" {
            answer(19_001, "param invalid: incoming webhook access token invalid")
        } else if age > 3600 || call.body["sign"] != hmac(format!("{stamp}\n{SECRET}").as_bytes(), b"") {
            answer(19_021, "sign match fail or timestamp is not within one hour from current time")
        } else if !gate.passes() {
            answer(11_232, "frequency limited")
        } else if call.size > 20 * 1024 || call.body["msg_type"] != "interactive" || !card(&call.body["card"]) {
            answer(9499, "Bad Request")
        } else {
            answer(0, "success")
        }
    })
    .await
}

fn card(card: &Value) -> bool {
    let text =
        |text: &Value| matches!(text["tag"].as_str(), Some("plain_text" | "lark_md")) && text["content"].is_string();
    let element = |element: &Value| {
        let fields = element["fields"].as_array();
        element["tag"] == "div"
            && (text(&element["text"]) || fields.is_some_and(|f| !f.is_empty() && f.iter().all(|f| text(&f["text"]))))
    };
    let colours = ["blue", "green", "orange", "red"];
    text(&card["header"]["title"])
        && colours.iter().any(|colour| card["header"]["template"] == *colour)
        && card["elements"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(element))
}

/// `/cgi-bin/webhook/send?key=K`.
pub async fn wecom() -> Fake {
    let mut gate = Gate(VecDeque::new(), 20);
    serve(move |call| {
        let answer = |code: i64, words: &str| said(200, json!({"errcode": code, "errmsg": words}));
        let length = |kind: &str| call.body[kind]["content"].as_str().map_or(usize::MAX, str::len);
        if call.path != "/cgi-bin/webhook/send" || call.query.get("key").map(String::as_str) != Some("K") {
            answer(93_000, "invalid webhook url")
        } else if !gate.passes() {
            answer(45_009, "api freq out of limit")
        } else {
            match call.body["msgtype"].as_str() {
                Some("markdown") if length("markdown") <= 4096 => answer(0, "ok"),
                Some("text") if length("text") <= 2048 => answer(0, "ok"),
                Some("markdown" | "text") => answer(40_058, "content exceed max length"),
                _ => answer(40_008, "invalid message type"),
            }
        }
    })
    .await
}

/// `/api/chat.postMessage` for the token `xoxb-1` in the channel `C1`, one message a second.
pub async fn slack() -> Fake {
    let mut last = 0;
    serve(move |call| slack_says(call, &mut last)).await
}

fn slack_says(call: &Seen, last: &mut i64) -> Said {
    let refused = |word: &str| said(200, json!({"ok": false, "error": word}));
    if call.path != "/api/chat.postMessage" {
        return refused("unknown_method");
    }
    match call.headers.get("authorization").map(|v| v.to_str().unwrap()) {
        None => return refused("not_authed"),
        Some("Bearer xoxb-1") => {}
        Some(_) => return refused("invalid_auth"),
    }
    if call.body["channel"] != "C1" {
        return refused("channel_not_found");
    }
    let elements = |block: &Value| block["elements"].as_array().cloned().unwrap_or_default();
    let word = |word: &Value| word["type"] == "text" && word["text"].as_str().is_some_and(|t| !t.is_empty());
    let section = |section: &Value| section["type"] == "rich_text_section" && elements(section).iter().all(word);
    let block = |block: &Value| block["type"] == "rich_text" && elements(block).iter().all(section);
    let blocks = call.body["blocks"].as_array().cloned().unwrap_or_default();
    if blocks.is_empty() || blocks.len() > 50 || !blocks.iter().all(block) {
        return refused("invalid_blocks");
    }
    if call.body["text"].as_str().is_none_or(|text| text.is_empty() || text.len() > 40_000) {
        return refused("msg_too_long");
    }
    let now = millis();
    if now - *last < 1000 {
        let (status, _, body) = said(429, json!({"ok": false, "error": "ratelimited"}));
        return (status, vec![("retry-after", "1".into())], body);
    }
    *last = now;
    said(200, json!({"ok": true, "ts": "1503435956.000247", "channel": "C1"}))
}
