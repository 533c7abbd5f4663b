//! GitHub issues: one while a Release is in trouble, found again by a hidden mark; comments for what follows; closed when
//! a version got through. What a Release says stands in a block of code, where GitHub interprets nothing.

use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{
    call::{Answer, Call, Fault, Outcome, address},
    secrets::Secrets,
    text::{self, Course, Text},
};
use crate::{
    api::{notice::Reason, notifier::GitHub},
    tell::{outbox::Letter, status::shorten},
};

/// On every issue, so that ours are found among the others.
const LABEL: &str = "haldane";
/// GitHub takes 256 and 65 536 characters.
const LONGEST_TITLE: usize = 250;
const LONGEST_SENTENCE: usize = 30_000;
/// A list of a hundred issues.
const LONGEST_LIST: usize = 4 * 1024 * 1024;

/// A repository with its secrets put in.
pub struct Repository {
    pub root: String,
    pub name: String,
    pub token: String,
    pub labels: Vec<String>,
}

impl Repository {
    pub async fn resolve(settings: &GitHub, secrets: &Secrets<'_>) -> Result<Self, String> {
        Ok(Self {
            root: settings.url.clone(),
            name: settings.repository.clone(),
            token: secrets.get(&settings.token).await?,
            labels: settings.labels.clone(),
        })
    }

    /// An end that arrives twice finds no open issue the second time.
    pub async fn send(&self, web: &reqwest::Client, letter: &Letter, text: &Text) -> Outcome {
        let open = self.find(web, &letter.subject.uid).await?;
        match (course(letter.notice.reason), open) {
            (Course::Opens, None) => {
                self.call(web, Method::POST, "", &issue(letter, text, &self.labels)).await?;
            }
            (Course::Closes | Course::Passes, None) => {}
            (course, Some(number)) => {
                let comment = json!({"body": block(text)});
                self.call(web, Method::POST, &format!("/{number}/comments"), &comment).await?;
                if course == Course::Closes {
                    let closed = json!({"state": "closed", "state_reason": "completed"});
                    self.call(web, Method::PATCH, &format!("/{number}"), &closed).await?;
                }
            }
        }
        Ok(())
    }

    /// The number of the Release's open issue.
    async fn find(&self, web: &reqwest::Client, uid: &str) -> Result<Option<u64>, Fault> {
        let query = format!("?state=open&labels={LABEL}&per_page=100&sort=created&direction=desc");
        let issues = self.call(web, Method::GET, &query, &Value::Null).await?;
        let issues = issues
            .as_array()
            .ok_or_else(|| Fault::soon("the answer is not GitHub's; is the address the right one?"))?;
        // At the beginning, where no text of a Release can stand.
        let ours = |issue: &&Value| issue["body"].as_str().is_some_and(|body| body.starts_with(&mark(uid)));
        Ok(issues.iter().find(ours).and_then(|issue| issue["number"].as_u64()))
    }

    async fn call(&self, web: &reqwest::Client, method: Method, path: &str, body: &Value) -> Result<Value, Fault> {
        let url = address(&format!("{}/repos/{}/issues{path}", self.root.trim_end_matches('/'), self.name))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut call = Call { method, most: LONGEST_LIST, ..Call::post(url, body).bearer(&self.token)? };
        call.headers.insert(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        call.headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        let answer = call.make(web).await?;
        judge(&answer)?;
        answer.json().ok_or_else(|| Fault::soon("the answer is not GitHub's; is the address the right one?"))
    }
}

/// A rollback ends what users suffer, not the work: why the version was bad is still to be found.
pub const fn course(reason: Reason) -> Course {
    match reason {
        Reason::RolledBack => Course::Opens,
        _ => text::course(reason),
    }
}

fn judge(answer: &Answer) -> Outcome {
    match answer.status {
        401 => Err(Fault::mend("GitHub does not take the token (401); put a valid one into the Secret")),
        403 | 429 => Err(Fault::Later(
            format!("GitHub refused it ({}): too many calls, or the token may not write issues", answer.status),
            answer.after,
        )),
        404 => Err(Fault::mend("GitHub does not find the repository (404), or the token may not see it")),
        410 => Err(Fault::mend("GitHub says that the repository has no issues (410); turn them on in its settings")),
        422 => Err(Fault::Never("GitHub does not take this issue (422)".into())),
        _ => answer.accepted(),
    }
}

fn mark(uid: &str) -> String {
    let uid: String = uid.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!("<!-- haldane-release: {uid} -->")
}

pub fn issue(letter: &Letter, text: &Text, labels: &[String]) -> Value {
    let labels: Vec<&str> = std::iter::once(LABEL).chain(labels.iter().map(String::as_str)).collect();
    json!({
        "title": shorten(&text.title, LONGEST_TITLE),
        "body": format!("{}\n{}", mark(&letter.subject.uid), block(text)),
        "labels": labels,
    })
}

/// All that is said, in a fence longer than any in it.
fn block(text: &Text) -> String {
    let mut lines = vec![text.title.clone(), String::new()];
    lines.push(format!("{}: {}", text.because, shorten(&text.sentence, LONGEST_SENTENCE)));
    lines.extend(text.facts.iter().map(|(label, value)| format!("{label}: {value}")));
    let lines = lines.join("\n");
    let longest = lines.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{lines}\n{fence}\n")
}
