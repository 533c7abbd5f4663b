//! The generic webhook: one CloudEvents 1.0 POST per notice, signed where that is wanted.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::{
    call::{self, Call, Fault, Outcome},
    secrets::Secrets,
    sign,
};
use crate::{
    api::{notifier::Webhook, units::At},
    tell::outbox::Letter,
};

/// Longer answers to wait for are not listened to.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A receiver with its secrets put in. Has no `Debug`: it must not reach a log.
pub struct Receiver {
    url: reqwest::Url,
    headers: HeaderMap,
    timeout: Duration,
    signing_secret: Option<String>,
}

impl Receiver {
    /// Reads the secrets. Errors name what is wrong, never a value.
    pub async fn resolve(webhook: &Webhook, secrets: &Secrets<'_>) -> Result<Self, String> {
        Ok(Self {
            url: secrets.either(webhook.url.as_ref(), webhook.url_from.as_ref(), "spec.webhook").await?,
            headers: call::headers(&webhook.headers, secrets).await?,
            timeout: webhook.timeout.0.min(LONGEST_TIMEOUT),
            signing_secret: secrets.maybe(webhook.signing_secret.as_ref()).await?,
        })
    }

    /// Sends it. The answer's body is not looked at: any 2xx is enough.
    pub async fn send(&self, web: &reqwest::Client, letter: &Letter, now: At) -> Outcome {
        let body = cloud_event(letter).to_string();
        let mut headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"));
        if let Some(secret) = &self.signing_secret {
            let (id, seconds) = (id(letter), now.timestamp().as_second());
            for (name, value) in [
                ("webhook-signature", sign::webhook(&id, seconds, &body, secret)?),
                ("webhook-timestamp", seconds.to_string()),
                ("webhook-id", id),
            ] {
                headers.insert(name, HeaderValue::try_from(value).map_err(|e| e.to_string())?);
            }
        }
        let answer =
            Call { headers, timeout: self.timeout, ..Call::post(self.url.clone(), body).unread() }.make(web).await?;
        match answer.status {
            200..=299 => Ok(()),
            status => Err(Fault::Later(format!("the receiver answered {status}"), answer.after)),
        }
    }
}

/// The same for each attempt, so that a receiver knows a repetition.
fn id(letter: &Letter) -> String {
    format!("{}-{}", letter.subject.uid, letter.notice.seq)
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
        "id": id(letter),
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
