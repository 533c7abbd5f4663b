//! The generic webhook: one CloudEvents 1.0 POST per notice.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use super::Post;
use crate::{
    api::provider::Webhook,
    tell::outbox::{Letter, Sent},
};

/// Longer answers to wait for are not listened to.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A call with its secrets put in. Has no `Debug`: it must not reach a log.
pub struct Call {
    url: reqwest::Url,
    headers: HeaderMap,
    timeout: Duration,
}

impl Call {
    /// Reads the secrets. Errors name what is wrong, never a value.
    pub async fn resolve(webhook: &Webhook, post: &Post) -> Result<Self, String> {
        let url = match (&webhook.url, &webhook.url_from) {
            (Some(url), _) => url.clone(),
            (None, Some(key)) => post.secret(key).await?,
            (None, None) => return Err("spec.webhook names no address".into()),
        };
        let url = reqwest::Url::parse(&url).map_err(|e| format!("the address is not a URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the address must start with http:// or https://".into());
        }
        let mut headers = HeaderMap::new();
        for header in &webhook.headers {
            let value = match (&header.value, &header.secret) {
                (Some(value), _) => value.clone(),
                (None, Some(key)) => post.secret(key).await?,
                (None, None) => return Err(format!("header {} has no value", header.name)),
            };
            let name: HeaderName =
                header.name.parse().map_err(|_| format!("'{}' is not a header name", header.name))?;
            let mut value: HeaderValue = value
                .parse()
                .map_err(|_| format!("the value of header {} has characters a header cannot carry", header.name))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Self { url, headers, timeout: webhook.timeout.0.min(LONGEST_TIMEOUT) })
    }

    /// Sends it. The answer's body is not read: whoever answers must not speak through our status.
    pub async fn send(&self, web: &reqwest::Client, letter: &Letter) -> Sent {
        let request = web
            .post(self.url.clone())
            .timeout(self.timeout)
            .headers(self.headers.clone())
            .header(header::CONTENT_TYPE, "application/cloudevents+json")
            .body(cloud_event(letter).to_string());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Sent::Later { why: self.failure(&error, &letter.channel), after: None },
        };
        let status = response.status();
        if status.is_success() {
            return Sent::Delivered;
        }
        let after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        Sent::Later {
            why: format!("Notifier {}: the receiver answered {}", letter.channel, status.as_u16()),
            after: after.map(Duration::from_secs),
        }
    }

    /// In our own words: the client's would name the address, which may be secret.
    fn failure(&self, error: &reqwest::Error, channel: &str) -> String {
        let what = if error.is_timeout() {
            return format!("Notifier {channel}: no answer after {} ms", self.timeout.as_millis());
        } else if error.is_connect() {
            "no connection to the receiver"
        } else {
            "the call to the receiver broke off"
        };
        format!("Notifier {channel}: {what}")
    }
}

/// The notice in the structured JSON form.
pub fn cloud_event(letter: &Letter) -> Value {
    let (subject, notice) = (&letter.subject, &letter.notice);
    let reason = notice.reason.to_string();
    let mut data = json!({
        "release": subject.name,
        "namespace": subject.namespace,
        "state": subject.state,
        "reason": reason,
        "severity": notice.reason.severity(),
        "message": notice.message,
    });
    for (key, value) in [("revision", &notice.revision), ("version", &subject.version)] {
        if let Some(value) = value {
            data[key] = json!(value);
        }
    }
    json!({
        "specversion": "1.0",
        "id": format!("{}-{}", subject.uid, notice.seq),
        "source": format!("/apis/haldane.dev/v1alpha1/namespaces/{}/releases/{}", subject.namespace, subject.name),
        "type": format!("dev.haldane.release.{}.v1", reason.to_lowercase()),
        "subject": format!("{}/{}", subject.namespace, subject.name),
        "time": notice.at,
        "datacontenttype": "application/json",
        "data": data,
    })
}

#[cfg(test)]
mod tests;
