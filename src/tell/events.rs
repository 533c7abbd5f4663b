//! Kubernetes Events: one per notice, with a name that makes the second attempt harmless.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};

use super::{
    outbox::{Letter, Sent},
    status::shorten,
};
use crate::api::notice::Severity;

/// Events say who reports them.
const CONTROLLER: &str = "haldane.dev/operator";
/// The API server's limits, bytes.
const LONGEST_NOTE: usize = 1024;
const LONGEST_INSTANCE: usize = 128;

/// The Event of a letter. Built from the letter alone, so that it comes out the same each time.
pub fn event(letter: &Letter, instance: &str) -> Event {
    let (subject, notice) = (&letter.subject, &letter.notice);
    let id: String = subject.uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let name: String = subject.name.chars().take(200).collect();
    let kind = if notice.reason.severity() == Severity::Info { "Normal" } else { "Warning" };
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{id}.{}", notice.seq)),
            namespace: Some(subject.namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(notice.at.timestamp())),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(shorten(instance, LONGEST_INSTANCE).into_owned()),
        action: Some(notice.reason.to_string()),
        reason: Some(notice.reason.to_string()),
        type_: Some(kind.to_owned()),
        note: Some(shorten(&notice.message, LONGEST_NOTE).into_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("haldane.dev/v1alpha1".to_owned()),
            kind: Some("Release".to_owned()),
            name: Some(subject.name.clone()),
            namespace: Some(subject.namespace.clone()),
            uid: Some(subject.uid.clone()),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

/// Creates it. One that exists was delivered before.
pub async fn send(client: &Client, letter: &Letter, instance: &str) -> Sent {
    let api: Api<Event> = Api::namespaced(client.clone(), &letter.subject.namespace);
    match api.create(&PostParams::default(), &event(letter, instance)).await {
        Ok(_) => Sent::Delivered,
        Err(kube::Error::Api(status)) if status.is_already_exists() => Sent::Delivered,
        // The namespace is going or gone: nobody could read it.
        Err(kube::Error::Api(status)) if status.is_not_found() || matches!(status.code, 400 | 422) => {
            Sent::Never(format!("the API server does not take the Event: {}", status.message))
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() && status.message.contains("being terminated") => {
            Sent::Never(format!("the API server does not take the Event: {}", status.message))
        }
        Err(error) => Sent::Later { why: format!("Event: {error}"), after: None },
    }
}
