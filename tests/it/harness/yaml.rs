//! Objects as text: what people and CI pipelines really send.

use std::{collections::BTreeMap, sync::Mutex};

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind},
};
use serde::Deserialize;
use serde_json::Value;

/// What the API server serves, asked once per kind.
pub struct Kinds {
    client: Client,
    known: Mutex<BTreeMap<String, (ApiResource, ApiCapabilities)>>,
}

/// The documents of a YAML stream; empty ones are left out.
pub fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|d| Value::deserialize(d).unwrap_or_else(|e| panic!("{e} in:\n{text}")))
        .filter(|v| !v.is_null())
        .collect()
}

pub fn single(text: &str) -> Value {
    let mut all = documents(text);
    assert_eq!(all.len(), 1, "one document is expected in:\n{text}");
    all.remove(0)
}

impl Kinds {
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    pub async fn apply(&self, namespace: &str, object: Value) -> Result<Value, String> {
        let name = object["metadata"]["name"].as_str().expect("metadata.name").to_owned();
        let api = self.api(&self.client, namespace, &object).await?;
        let params = PatchParams::apply("it").force();
        let applied = api.patch(&name, &params, &Patch::Apply(object)).await.map_err(|e| sentence(&e))?;
        Ok(serde_json::to_value(applied).expect("an object"))
    }

    pub async fn create(&self, client: &Client, namespace: &str, object: Value, also: &str) -> Result<Value, String> {
        let api = self.api(client, namespace, &object).await?;
        let body = serde_json::to_vec(&object).expect("an object");
        let request = http::Request::post(format!("{}?fieldValidation=Strict{also}", api.resource_url()));
        let request = request.header("content-type", "application/json").body(body).expect("a request");
        client.request::<Value>(request).await.map_err(|e| sentence(&e))
    }

    async fn api(&self, client: &Client, namespace: &str, object: &Value) -> Result<Api<DynamicObject>, String> {
        let text =
            |key: &str| object[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {object}")).to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let (resource, capabilities) = self.kind(&version, &kind).await?;
        if capabilities.scope == Scope::Cluster {
            return Ok(Api::all_with(client.clone(), &resource));
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        Ok(Api::namespaced_with(client.clone(), namespace, &resource))
    }

    async fn kind(&self, version: &str, kind: &str) -> Result<(ApiResource, ApiCapabilities), String> {
        let key = format!("{version}/{kind}");
        if let Some(known) = self.known.lock().expect("no panic inside").get(&key) {
            return Ok(known.clone());
        }
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let found = pinned_kind(&self.client, &GroupVersionKind::gvk(group, version, kind)).await;
        let found = found.map_err(|e| sentence(&e))?;
        self.known.lock().expect("no panic inside").insert(key, found.clone());
        Ok(found)
    }
}

fn sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
