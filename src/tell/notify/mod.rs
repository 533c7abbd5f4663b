//! Notices to other systems. A Release only names a Notifier; addresses and secrets are the administrators'.

pub mod webhook;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::{
    events,
    outbox::{Letter, Sender, Sent},
};
use crate::api::{
    Notifier,
    notice::EVENT_CHANNEL,
    provider::{SecretKey, allows},
};

/// All ways out: Events, and the Notifiers of the operator's own namespace.
pub struct Post {
    client: Client,
    web: reqwest::Client,
    operator_namespace: String,
    instance: String,
}

impl Post {
    /// `instance` is the name of this process, as Events show it.
    pub fn new(client: Client, operator_namespace: String, instance: String) -> reqwest::Result<Self> {
        let web = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("haldane/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, web, operator_namespace, instance })
    }

    async fn notify(&self, letter: &Letter) -> Sent {
        let name = &letter.channel;
        let api: Api<Notifier> = Api::namespaced(self.client.clone(), &self.operator_namespace);
        let later = |why| Sent::Later { why, after: None };
        let notifier = match api.get_opt(name).await {
            Ok(Some(notifier)) => notifier,
            Ok(None) => {
                return later(format!("Notifier {name} does not exist in namespace {}", self.operator_namespace));
            }
            Err(error) => return later(format!("Notifier {name} cannot be read: {error}")),
        };
        if !allows(&notifier.spec.allowed_namespaces, &letter.subject.namespace) {
            return later(format!("Notifier {name} does not allow namespace {}", letter.subject.namespace));
        }
        match webhook::Call::resolve(&notifier.spec.webhook, self).await {
            Ok(call) => call.send(&self.web, letter).await,
            Err(why) => later(format!("Notifier {name}: {why}")),
        }
    }

    /// The value of one key. The error names the Secret and the key, never what is in it.
    async fn secret(&self, key: &SecretKey) -> Result<String, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.operator_namespace);
        let secret = match api.get_opt(&key.name).await {
            Ok(Some(secret)) => secret,
            Ok(None) => return Err(format!("Secret {} does not exist", key.name)),
            Err(error) => return Err(format!("Secret {} cannot be read: {error}", key.name)),
        };
        let bytes = secret.data.unwrap_or_default().remove(&key.key);
        let bytes = bytes.ok_or_else(|| format!("Secret {} has no key {}", key.name, key.key))?;
        let text =
            String::from_utf8(bytes.0).map_err(|_| format!("key {} of Secret {} is not text", key.key, key.name))?;
        Ok(text.trim().to_owned())
    }
}

impl Sender for Post {
    fn send<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            if letter.channel == EVENT_CHANNEL {
                events::send(&self.client, letter, &self.instance).await
            } else {
                self.notify(letter).await
            }
        })
    }
}
