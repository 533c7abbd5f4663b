//! JSON patches with a `test`: they change the named fields of the object that was read, or nothing.

use std::{collections::BTreeMap, fmt::Debug};

use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use jsonptr::PointerBuf;
use kube::{
    Api, Resource, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    api::names,
    error::{Error, Result},
};

/// A patch under way. Paths are given by their parts, unescaped.
pub struct Edit(Vec<PatchOperation>);

impl Edit {
    /// A patch of exactly this object in exactly this version.
    pub fn of<K: Resource>(object: &K) -> Self {
        let mut edit = Self::of_any_version(object);
        edit.test(&["metadata", "resourceVersion"], object.resource_version().unwrap_or_default());
        edit
    }

    /// A patch of exactly this object, whatever else of it changes meanwhile: each field that counts needs a `test` of its
    /// own. A request that arrives late may find these fields as they were once, so it must do no harm then.
    pub fn of_any_version<K: Resource>(object: &K) -> Self {
        let mut edit = Self(Vec::new());
        edit.test(&["metadata", "uid"], object.uid().unwrap_or_default());
        edit
    }

    /// A patch of exactly this object, whose spec nobody has written since. Who writes its status is not minded.
    pub fn of_generation<K: Resource>(object: &K) -> Self {
        let mut edit = Self::of_any_version(object);
        if let Some(generation) = object.meta().generation {
            edit.test(&["metadata", "generation"], generation);
        }
        edit
    }

    /// Demands that a field still has this value.
    pub fn test(&mut self, path: &[&str], value: impl Into<Value>) -> &mut Self {
        self.0.push(PatchOperation::Test(TestOperation { path: pointer(path), value: value.into() }));
        self
    }

    /// Sets a field, present or not. The object around it must be there.
    pub fn add(&mut self, path: &[&str], value: impl Into<Value>) -> &mut Self {
        self.0.push(PatchOperation::Add(AddOperation { path: pointer(path), value: value.into() }));
        self
    }

    /// Replaces a field that is there.
    pub fn replace(&mut self, path: &[&str], value: impl Into<Value>) -> &mut Self {
        self.0.push(PatchOperation::Replace(ReplaceOperation { path: pointer(path), value: value.into() }));
        self
    }

    /// Removes a field that is there.
    pub fn remove(&mut self, path: &[&str]) -> &mut Self {
        self.0.push(PatchOperation::Remove(RemoveOperation { path: pointer(path) }));
        self
    }

    /// Sets and removes labels or annotations (`field`) so that only the difference is written.
    fn map(&mut self, field: &str, present: &BTreeMap<String, String>, set: &[(&str, Option<&str>)]) {
        if present.is_empty() && set.iter().any(|(_, value)| value.is_some()) {
            self.add(&["metadata", field], Value::Object(serde_json::Map::new()));
        }
        for (key, value) in set {
            let now = present.get(*key).map(String::as_str);
            match value {
                Some(value) if now != Some(*value) => drop(self.add(&["metadata", field, key], *value)),
                None if now.is_some() => drop(self.remove(&["metadata", field, key])),
                _ => {}
            }
        }
    }

    pub fn labels<K: Resource>(&mut self, object: &K, set: &[(&str, Option<&str>)]) -> &mut Self {
        self.map("labels", object.labels(), set);
        self
    }

    pub fn annotations<K: Resource>(&mut self, object: &K, set: &[(&str, Option<&str>)]) -> &mut Self {
        self.map("annotations", object.annotations(), set);
        self
    }

    /// Sends it, if it changes anything, and returns the object as the API server has stored it.
    pub async fn send<K>(self, api: &Api<K>, object: &K, what: &str) -> Result<K>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        if self.0.iter().all(|op| matches!(op, PatchOperation::Test(_))) {
            return Ok(object.clone());
        }
        let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PatchParams::default() };
        let patch = Patch::<Value>::Json(json_patch::Patch(self.0));
        api.patch(&object.name_any(), &params, &patch).await.map_err(|e| Error::from_kube(what, e))
    }
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

/// Preconditions and propagation of a DELETE of exactly this object in exactly this version.
pub fn delete_params(object: &DynamicObject, policy: kube::api::PropagationPolicy) -> kube::api::DeleteParams {
    kube::api::DeleteParams {
        propagation_policy: Some(policy),
        preconditions: Some(kube::api::Preconditions {
            uid: object.uid(),
            resource_version: object.resource_version(),
        }),
        ..kube::api::DeleteParams::default()
    }
}
