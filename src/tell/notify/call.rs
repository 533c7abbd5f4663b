//! One call to a service. Neither its address nor what is answered gets into a sentence of ours: the address may be
//! secret, and whoever answers must not speak through our status.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::Value;

use super::secrets::Secrets;
use crate::{
    api::{provider::ExtraHeader, units::At},
    observe::clock,
    tell::outbox::{LONGEST_PAUSE, Sent},
};

/// How long a service may take, where its Notifier does not say.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Longer answers are cut.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// Why a message did not get through, in our own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It may work later: why not now, and when the receiver wants to be asked again.
    Later(String, Option<Duration>),
    /// This message will never be taken. It must not hold up those behind it.
    Never(String),
}

pub type Outcome = Result<(), Fault>;

impl Fault {
    /// Something that an administrator can mend. The notice is kept meanwhile, and tried now and then.
    pub fn mend(why: impl Into<String>) -> Self {
        Self::Later(why.into(), Some(LONGEST_PAUSE))
    }

    /// It ends by itself.
    pub fn soon(why: impl Into<String>) -> Self {
        Self::Later(why.into(), None)
    }

    /// For the outbox: with the Notifier's name.
    pub fn told(self, notifier: &str) -> Sent {
        let named = |why| format!("Notifier {notifier}: {why}");
        match self {
            Self::Later(why, after) => Sent::Later { why: named(why), after },
            Self::Never(why) => Sent::Never(named(why)),
        }
    }
}

/// What is wrong with a Notifier or its Secrets.
impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::soon(why)
    }
}

/// A call with its secrets put in. Has no `Debug`: it must not reach a log.
#[must_use]
pub struct Call {
    pub method: Method,
    pub url: reqwest::Url,
    pub headers: HeaderMap,
    pub body: String,
    pub timeout: Duration,
    /// Longer answers are cut.
    pub most: usize,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    /// When it wants to be asked again.
    pub after: Option<Duration>,
    body: Vec<u8>,
}

impl Call {
    /// A POST of JSON.
    pub fn post(url: reqwest::Url, body: String) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { method: Method::POST, url, headers, body, timeout: PATIENCE, most: LONGEST_ANSWER }
    }

    /// Of the answer the status is enough: who answers slowly or without end has the message all the same.
    pub fn unread(self) -> Self {
        Self { most: 0, ..self }
    }

    /// With a token that says who calls.
    pub fn bearer(mut self, token: &str) -> Result<Self, String> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "the token has characters a header cannot carry".to_owned())?;
        value.set_sensitive(true);
        self.headers.insert(header::AUTHORIZATION, value);
        Ok(self)
    }

    pub async fn make(self, web: &reqwest::Client) -> Result<Answer, Fault> {
        let timeout = self.timeout;
        let failed = |error: reqwest::Error| Fault::soon(failure(&error, timeout));
        let request = web.request(self.method, self.url).timeout(timeout).headers(self.headers).body(self.body);
        let mut response = request.send().await.map_err(failed)?;
        let (status, after) = (response.status().as_u16(), wish(response.headers(), clock::now()));
        let mut body = Vec::new();
        while body.len() < self.most {
            // What a service says beside an error is of no use when it does not arrive.
            let chunk = match response.chunk().await {
                Ok(chunk) => chunk,
                Err(error) if (200..300).contains(&status) => return Err(failed(error)),
                Err(_) => None,
            };
            let Some(chunk) = chunk else { break };
            let room = self.most - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(Answer { status, after, body })
    }
}

/// In our own words: the client's would name the address.
fn failure(error: &reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() {
        format!("no answer after {} ms", timeout.as_millis())
    } else if error.is_connect() {
        "no connection to the receiver".into()
    } else {
        "the call to the receiver broke off".into()
    }
}

/// `Retry-After`: seconds, or a date.
fn wish(headers: &HeaderMap, now: At) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(At::new(date.timestamp()).since(now))
}

impl Answer {
    /// What HTTP says of it. A service may still have refused it in words of its own.
    pub fn accepted(&self) -> Outcome {
        let why = || format!("the receiver answered {}", self.status);
        match self.status {
            200..=299 => Ok(()),
            408 | 425 | 429 | 500.. => Err(Fault::Later(why(), self.after)),
            _ => Err(Fault::Later(why(), self.after.or(Some(LONGEST_PAUSE)))),
        }
    }

    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The number by which a service says how it went; 0 is well. Services of this kind answer 200 to most things, and
    /// where they do not the number still says more.
    pub fn number(&self, field: &str) -> Result<i64, Fault> {
        match self.json().and_then(|answer| answer[field].as_i64()) {
            Some(number) if number != 0 => Ok(number),
            well => {
                self.accepted()?;
                well.ok_or_else(|| Fault::soon(format!("the answer has no {field}; is the address the right one?")))
            }
        }
    }
}

/// An address from a Secret or a Notifier.
pub fn address(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|e| format!("the address is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the address must start with http:// or https://".into());
    }
    Ok(url)
}

/// Headers that the administrator has added.
pub async fn headers(extra: &[ExtraHeader], secrets: &Secrets<'_>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in extra {
        let value = match (&header.value, &header.secret) {
            (Some(value), _) => value.clone(),
            (None, Some(key)) => secrets.get(key).await?,
            (None, None) => return Err(format!("header {} has no value", header.name)),
        };
        let name: HeaderName = header.name.parse().map_err(|_| format!("'{}' is not a header name", header.name))?;
        let mut value: HeaderValue = value
            .parse()
            .map_err(|_| format!("the value of header {} has characters a header cannot carry", header.name))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
