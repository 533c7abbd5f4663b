//! MetricProviders by name, from the operator's own namespace, with the Secrets they name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Mutex;

use super::sampler::ProviderBook;
use crate::{
    api::provider::{MetricProvider, MetricProviderSpec, SecretKey},
    observe::{
        clock,
        prometheus::client::{Login, Provider, Secret, Secrets},
    },
};

/// How long a provider is used before its object and Secrets are looked at again.
const FRESH: Duration = Duration::from_secs(10);
/// For one read of the API server.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads and remembers providers.
pub struct Providers {
    objects: Api<MetricProvider>,
    secrets: Api<KubeSecret>,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    looked: Instant,
    /// resourceVersions of the object and its Secrets, by name.
    versions: BTreeMap<String, String>,
    provider: Result<Arc<Provider>, String>,
}

impl Providers {
    /// `namespace` is the operator's own: addresses and secrets live nowhere else.
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self {
            objects: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            known: Mutex::default(),
        }
    }

    /// The provider `name`. Errors: a sentence that says what to do; it holds no secret.
    pub async fn get(&self, name: &str) -> Result<Arc<Provider>, String> {
        let mut known = self.known.lock().await;
        if let Some(fresh) = known.get(name).filter(|k| clock::monotonic().duration_since(k.looked) < FRESH) {
            return fresh.provider.clone();
        }
        let before = known.remove(name);
        let loaded = self.load(name, before.as_ref()).await;
        let (versions, provider) = match (loaded, before) {
            (Ok(found), _) => found,
            // The API server is away: what worked goes on working.
            (Err(Trouble::Away(_)), Some(Known { versions, provider: Ok(provider), .. })) => (versions, Ok(provider)),
            (Err(Trouble::Away(why) | Trouble::Wrong(why)), _) => (BTreeMap::new(), Err(why)),
        };
        known.insert(name.to_owned(), Known { looked: clock::monotonic(), versions, provider: provider.clone() });
        provider
    }

    async fn load(&self, name: &str, before: Option<&Known>) -> Result<Loaded, Trouble> {
        let missing = || format!("the MetricProvider {name} does not exist in the operator's namespace");
        let object = in_time(self.objects.get_opt(name)).await?.ok_or_else(|| Trouble::Wrong(missing()))?;
        let mut versions = BTreeMap::from([(String::new(), object.resource_version().unwrap_or_default())]);
        let mut found = BTreeMap::new();
        for key in keys(&object.spec) {
            if !found.contains_key(&key.name) {
                let absent =
                    || format!("the MetricProvider {name} names the Secret {}, which does not exist", key.name);
                let secret = in_time(self.secrets.get_opt(&key.name)).await?;
                let secret = secret.ok_or_else(|| Trouble::Wrong(absent()))?;
                versions.insert(key.name.clone(), secret.resource_version().unwrap_or_default());
                found.insert(key.name.clone(), secret);
            }
        }
        if let Some(same) = before.filter(|b| b.versions == versions) {
            return Ok((versions, same.provider.clone()));
        }
        let secrets = resolve(&object.spec, &found);
        let provider = secrets.and_then(|secrets| Provider::new(&object.spec, &secrets));
        let named = provider.map(Arc::new).map_err(|why| format!("the MetricProvider {name} cannot be used: {why}"));
        Ok((versions, named))
    }
}

impl ProviderBook for Providers {
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Provider>, String>> {
        self.get(name).boxed()
    }
}

type Loaded = (BTreeMap<String, String>, Result<Arc<Provider>, String>);

enum Trouble {
    /// The API server did not answer.
    Away(String),
    /// The objects are not as they should be.
    Wrong(String),
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
            Err(Trouble::Wrong(format!("the operator may not read its metric provider: {}", status.message)))
        }
        Ok(Err(_)) => Err(Trouble::Away("the API server did not give the metric provider".into())),
        Err(_) => Err(Trouble::Away("the API server did not give the metric provider in 1 s".into())),
    }
}

/// All keys of Secrets that a provider names.
fn keys(spec: &MetricProviderSpec) -> impl Iterator<Item = &SecretKey> {
    let auth = spec.auth.iter();
    auth.flat_map(|auth| auth.bearer.iter().chain(auth.basic.iter().map(|basic| &basic.password)))
        .chain(spec.ca.iter())
        .chain(spec.headers.iter().filter_map(|header| header.secret.as_ref()))
}

fn resolve(spec: &MetricProviderSpec, found: &BTreeMap<String, KubeSecret>) -> Result<Secrets, String> {
    let value = |at: &SecretKey| {
        let data = found.get(&at.name).and_then(|secret| secret.data.as_ref());
        let bytes = data.and_then(|data| data.get(&at.key));
        let bytes = bytes.ok_or_else(|| format!("the Secret {} has no key {}", at.name, at.key))?;
        let text = std::str::from_utf8(&bytes.0);
        text.map(Secret::new).map_err(|_| format!("the key {} of the Secret {} is not text", at.key, at.name))
    };
    let login = match &spec.auth {
        None => None,
        Some(auth) => match (&auth.bearer, &auth.basic) {
            (Some(token), None) => Some(Login::Bearer(value(token)?)),
            (None, Some(basic)) => {
                Some(Login::Basic { username: basic.username.clone(), password: value(&basic.password)? })
            }
            _ => return Err("spec.auth needs exactly one of bearer and basic".into()),
        },
    };
    let mut headers = Vec::new();
    for header in &spec.headers {
        let text = match (&header.value, &header.secret) {
            (Some(plain), None) => Secret::new(plain.clone()),
            (None, Some(key)) => value(key)?,
            _ => return Err(format!("spec.headers: {} needs exactly one of value and secret", header.name)),
        };
        headers.push((header.name.clone(), text));
    }
    Ok(Secrets { login, ca: spec.ca.as_ref().map(value).transpose()?, headers })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn spec(rest: &serde_json::Value) -> MetricProviderSpec {
        let mut spec = json!({"url": "http://p:9090"});
        json_patch::merge(&mut spec, rest);
        serde_json::from_value(spec).unwrap()
    }

    fn secret(key: &str, value: &str) -> BTreeMap<String, KubeSecret> {
        let data = BTreeMap::from([(key.to_owned(), ByteString(value.as_bytes().to_vec()))]);
        BTreeMap::from([("s".to_owned(), KubeSecret { data: Some(data), ..KubeSecret::default() })])
    }

    #[test]
    fn secrets_are_found_by_their_keys() {
        let spec = spec(&json!({
            "auth": {"basic": {"username": "u", "password": {"name": "s", "key": "k"}}},
            "headers": [{"name": "X-Tenant", "value": "a"}, {"name": "X-Key", "secret": {"name": "s", "key": "k"}}],
        }));
        assert_eq!(keys(&spec).count(), 2);
        let secrets = resolve(&spec, &secret("k", "v")).unwrap();
        assert_eq!(secrets.login, Some(Login::Basic { username: "u".into(), password: Secret::new("v") }));
        assert_eq!(
            secrets.headers,
            [("X-Tenant".to_owned(), Secret::new("a")), ("X-Key".to_owned(), Secret::new("v"))]
        );
    }

    #[test]
    fn a_missing_key_is_named_and_no_value_is_shown() {
        let spec = spec(&json!({"auth": {"bearer": {"name": "s", "key": "token"}}}));
        assert_eq!(resolve(&spec, &secret("other", "hunter2")).unwrap_err(), "the Secret s has no key token");
        assert_eq!(resolve(&spec, &BTreeMap::new()).unwrap_err(), "the Secret s has no key token");
    }
}
