//! The Secrets that a Notifier names, read when they are used.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::call::address;
use crate::api::provider::SecretKey;

/// The Secrets of one namespace.
pub struct Secrets<'a> {
    pub client: &'a Client,
    pub namespace: &'a str,
}

impl Secrets<'_> {
    /// The value of one key. The error names the Secret and the key, never what is in it.
    pub async fn get(&self, key: &SecretKey) -> Result<String, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
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

    pub async fn maybe(&self, key: Option<&SecretKey>) -> Result<Option<String>, String> {
        match key {
            Some(key) => self.get(key).await.map(Some),
            None => Ok(None),
        }
    }

    /// An address that is itself secret.
    pub async fn address(&self, key: &SecretKey) -> Result<reqwest::Url, String> {
        address(&self.get(key).await?)
    }

    /// An address in plain sight or from a Secret; `field` is where they are missing.
    pub async fn either(
        &self,
        url: Option<&String>,
        key: Option<&SecretKey>,
        field: &str,
    ) -> Result<reqwest::Url, String> {
        match (url, key) {
            (Some(url), _) => address(url),
            (None, Some(key)) => self.address(key).await,
            (None, None) => Err(format!("{field} names no address")),
        }
    }
}
