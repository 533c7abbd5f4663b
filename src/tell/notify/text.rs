//! What a notice says, once for all channels: a title, a few facts, and the sentence that gives the reason.

use super::{escape, words};
use crate::{
    api::{
        notice::{Reason, Severity},
        notifier::Language,
    },
    tell::{outbox::Letter, status::shorten},
};

/// Longer facts are cut, bytes. Names that the API server takes fit.
const LONGEST_FACT: usize = 320;

/// The parts of a message: one line each, free of control characters, not yet escaped for any channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// `[Critical] shop/checkout: rollback failed`.
    pub title: String,
    /// Label and value.
    pub facts: Vec<(&'static str, String)>,
    /// The reason, in the words of the status.
    pub sentence: String,
    /// The label of the sentence.
    pub because: &'static str,
    pub severity: Severity,
    pub course: Course,
}

/// How a message looks where it can have a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Bad,
    Warn,
    Good,
    Plain,
}

impl Text {
    pub fn of(letter: &Letter, language: Language) -> Self {
        let (subject, notice) = (&letter.subject, &letter.notice);
        let severity = notice.reason.severity();
        let label = |en, zh| match language {
            Language::En => en,
            Language::Zh => zh,
        };
        let fact = |text: &str| shorten(&escape::line(text), LONGEST_FACT).into_owned();
        let release = fact(&format!("{}/{}", subject.namespace, subject.name));
        let (level, what) = (words::severity(severity, language), words::reason(notice.reason, language));
        let title = match language {
            Language::En => format!("[{level}] {release}: {what}"),
            Language::Zh => format!("[{level}] {release}：{what}"),
        };
        let mut facts = vec![(label("Release", "发布"), release)];
        if let Some(version) = &subject.version {
            facts.push((label("Version", "版本"), fact(version)));
        }
        if let Some(revision) = &notice.revision {
            facts.push((label("Revision", "修订"), fact(revision)));
        }
        facts.push((label("State", "状态"), fact(&subject.state)));
        facts.push((label("Event", "事件"), notice.reason.to_string()));
        facts.push((label("Time", "时间"), notice.at.timestamp().strftime("%F %T UTC").to_string()));
        let sentence = escape::line(&notice.message);
        let course = course(notice.reason);
        Self { title, facts, sentence, because: label("Reason", "原因"), severity, course }
    }

    pub fn tone(&self) -> Tone {
        match (self.severity, self.course) {
            (Severity::Critical, _) => Tone::Bad,
            (Severity::Warning, _) => Tone::Warn,
            (Severity::Info, Course::Closes) => Tone::Good,
            (Severity::Info, _) => Tone::Plain,
        }
    }

    /// Before a title, where colours are not to be had.
    pub fn mark(&self) -> char {
        match self.tone() {
            Tone::Bad => '🔴',
            Tone::Warn => '🟠',
            Tone::Good => '🟢',
            Tone::Plain => '🔵',
        }
    }

    /// Title and sentence in one line, where there is room for one only.
    pub fn brief(&self) -> String {
        format!("{}: {}", self.title, self.sentence)
    }
}

/// What a notice means to a service that keeps a state for each Release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Something is wrong until a later notice says otherwise.
    Opens,
    /// It ended well, or is moot.
    Closes,
    /// News: nothing stays open because of it.
    Passes,
}

/// Each Release has one matter at most, whatever the revision: a rollback opens with the candidate's revision and ends
/// with the stable one's.
pub const fn course(reason: Reason) -> Course {
    match reason {
        Reason::RollingBack
        | Reason::Reverting
        | Reason::RollbackFailed
        | Reason::Stuck
        | Reason::NoData
        | Reason::Degraded
        | Reason::Drifted
        | Reason::ChangedOutsideRelease
        | Reason::TargetMissing
        | Reason::Invalid
        | Reason::Conflict
        | Reason::StatusLost
        | Reason::StepFailed
        | Reason::ConfirmationNeeded => Course::Opens,
        Reason::Succeeded | Reason::RolledBack | Reason::Withdrawn | Reason::Superseded => Course::Closes,
        Reason::Accepted
        | Reason::Waiting
        | Reason::Preparing
        | Reason::StepStarted
        | Reason::Watching
        | Reason::Promoting
        | Reason::Paused
        | Reason::Resumed
        | Reason::Retried
        | Reason::OrderRefused
        | Reason::HistoryDropped
        | Reason::Abandoned => Course::Passes,
    }
}

/// Rendered with as much of the sentence as leaves it at most so many bytes; with none of it where even that is too long.
pub fn fit(sentence: &str, most: usize, render: impl Fn(&str) -> String) -> String {
    let mut keep = sentence.len();
    loop {
        let rendered = render(&shorten(sentence, keep));
        if rendered.len() <= most || keep == 0 {
            return rendered;
        }
        // A byte may be rendered as several: a fourth of the excess is never too much to take away.
        keep = keep.saturating_sub((rendered.len() - most).div_ceil(4)).min(keep - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tell::notify::testing::letter;

    #[test]
    fn a_notice_in_both_languages() {
        let text = Text::of(&letter(Reason::RollbackFailed), Language::En);
        assert_eq!(text.title, "[Critical] shop/checkout: rollback failed");
        assert_eq!(text.sentence, "error rate 7.31 % > 5 % at 20 %, stable 0.40 %");
        let facts: Vec<String> = text.facts.iter().map(|(label, value)| format!("{label}={value}")).collect();
        assert_eq!(
            facts,
            [
                "Release=shop/checkout",
                "Version=1.4.2",
                "Revision=0123456789",
                "State=Draining",
                "Event=RollbackFailed",
                "Time=2026-01-02 03:04:05 UTC"
            ]
        );
        let chinese = Text::of(&letter(Reason::RollbackFailed), Language::Zh);
        assert_eq!(chinese.title, "[严重] shop/checkout：回滚失败");
        assert_eq!(chinese.sentence, text.sentence, "the reason is the same sentence everywhere");
        assert_eq!(chinese.facts.len(), text.facts.len());
    }

    #[test]
    fn what_opens_and_what_closes_is_documented() {
        let docs = include_str!("../../../docs/notifications.md");
        let row = |start: &str| -> Vec<Reason> {
            let row = docs.lines().find(|line| line.starts_with(start)).unwrap();
            let names = row.trim_matches(['|', ' ']).rsplit('|').next().unwrap().split(',');
            names.map(|name| serde_json::from_value(name.trim().into()).unwrap()).collect()
        };
        let all = schemars::schema_for!(Reason);
        let all: Vec<Reason> = serde_json::from_value(all.get("enum").unwrap().clone()).unwrap();
        for (start, kind) in [("| opens it", Course::Opens), ("| closes it", Course::Closes)] {
            let mut documented = row(start);
            documented.sort();
            let known: Vec<Reason> = all.iter().copied().filter(|reason| course(*reason) == kind).collect();
            assert_eq!(documented, known);
        }
    }

    #[test]
    fn what_is_cut_is_as_long_as_it_may_be() {
        let render = |s: &str| format!("<{}>", s.replace('a', "xxxx"));
        assert_eq!(fit("aaa", 14, render), "<xxxxxxxxxxxx>");
        assert!(fit(&"a".repeat(5000), 400, render).len() <= 400);
        assert_eq!(fit("aaa", 1, render), "<…>", "what cannot fit at all comes without the sentence");
    }
}
