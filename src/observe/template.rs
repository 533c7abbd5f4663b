//! Pod templates as the API server returned them: identity, images, equality. Pure.
//!
//! They are raw JSON throughout: a typed struct would drop the fields of a newer API server, and a template that lost
//! a field is another template.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::api::{names, state::Revision};

/// The template without what differs between ReplicaSets of one template: the hash label, an empty creation time.
pub fn bare(template: &Value) -> Value {
    let mut bare = template.clone();
    let Some(metadata) = bare.get_mut("metadata").and_then(Value::as_object_mut) else { return bare };
    if metadata.get("creationTimestamp").is_some_and(|t| t.is_null() || t.as_str() == Some("")) {
        metadata.remove("creationTimestamp");
    }
    let labels_gone = metadata.get_mut("labels").and_then(Value::as_object_mut).is_some_and(|labels| {
        labels.remove(names::HASH);
        labels.is_empty()
    });
    if labels_gone {
        metadata.remove("labels");
    }
    bare
}

/// The template with our value of the hash label.
pub fn with_hash(template: &Value, hash: &str) -> Value {
    let mut marked = bare(template);
    if let Some(template) = marked.as_object_mut() {
        let metadata = template.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            let labels = metadata.entry("labels").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(names::HASH.into(), hash.into());
            }
        }
    }
    marked
}

/// Identity: the first ten hexadecimal digits of the hash of the bare template with sorted keys.
pub fn revision(template: &Value) -> Revision {
    let mut canonical = String::new();
    write_sorted(&bare(template), &mut canonical);
    Revision(digest(&canonical, 10))
}

/// The first hexadecimal digits of a text's SHA-256.
pub fn digest(text: &str, digits: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let halves = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| char::from_digit(u32::from(half), 16)).take(digits).collect()
}

/// JSON with sorted keys, whatever order the map keeps them in.
fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            out.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// Equal but for the hash, as Kubernetes compares when a Deployment looks for its newest ReplicaSet.
pub fn equal(one: &Value, other: &Value) -> bool {
    bare(one) == bare(other)
}

/// The first field in which two values differ, for example `spec.containers.0.image`.
pub fn difference(one: &Value, other: &Value) -> Option<String> {
    fn walk(one: &Value, other: &Value, path: &mut Vec<String>) -> bool {
        match (one, other) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
                keys.into_iter().any(|key| {
                    path.push(key.clone());
                    let (a, b) = (a.get(key), b.get(key));
                    let differs = match (a, b) {
                        (Some(a), Some(b)) => walk(a, b, path),
                        _ => true,
                    };
                    if !differs {
                        path.pop();
                    }
                    differs
                })
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                a.iter().zip(b).enumerate().any(|(index, (a, b))| {
                    path.push(index.to_string());
                    let differs = walk(a, b, path);
                    if !differs {
                        path.pop();
                    }
                    differs
                })
            }
            _ => one != other,
        }
    }
    let mut path = Vec::new();
    walk(one, other, &mut path).then(|| path.join("."))
}

/// The lists of a template that hold containers with images.
const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

/// All containers of a template, init containers first.
pub fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    CONTAINERS
        .into_iter()
        .filter_map(move |list| template.get("spec").and_then(|spec| spec.get(list)).and_then(Value::as_array))
        .flatten()
}

/// The name of a container, or of anything else that has one.
pub fn name(container: &Value) -> &str {
    container.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// The image of each container, init containers included: their names differ by Kubernetes' own rule.
pub fn images(template: &Value) -> BTreeMap<String, String> {
    containers(template)
        .map(|c| (name(c).to_owned(), c.get("image").and_then(Value::as_str).unwrap_or_default().to_owned()))
        .collect()
}

/// The template with these images put in, and the names among them that it has no container for.
pub fn with_images(template: &Value, images: &BTreeMap<String, String>) -> (Value, Vec<String>) {
    let mut changed = template.clone();
    let mut unknown: Vec<String> = images.keys().cloned().collect();
    for list in CONTAINERS {
        let Some(items) = changed.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut) else { continue };
        for container in items.iter_mut().filter_map(Value::as_object_mut) {
            let Some(name) = container.get("name").and_then(Value::as_str).map(str::to_owned) else { continue };
            if let Some(image) = images.get(&name) {
                container.insert("image".into(), image.as_str().into());
                unknown.retain(|other| *other != name);
            }
        }
    }
    (changed, unknown)
}

/// The template's labels.
pub fn labels(template: &Value) -> BTreeMap<String, String> {
    string_map(template.pointer("/metadata/labels"))
}

/// A JSON object of texts.
pub fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some(map) = value.and_then(Value::as_object) else { return BTreeMap::new() };
    map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template() -> Value {
        json!({
            "metadata": {"creationTimestamp": null, "labels": {"app": "shop"}},
            "spec": {
                "initContainers": [{"name": "migrate", "image": "migrate:1"}],
                "containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 80}]}, {"name": "side", "image": "side:1"}],
                "fieldOfANewerApi": {"a": 1}
            }
        })
    }

    #[test]
    fn the_revision_ignores_the_hash_label_and_an_empty_creation_time_only() {
        let plain = template();
        let mut without_time = plain.clone();
        without_time["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
        assert_eq!(revision(&plain), revision(&without_time));
        assert_eq!(revision(&plain), revision(&with_hash(&plain, "h1")));
        assert!(equal(&plain, &with_hash(&plain, "h1")));
        assert_eq!(revision(&plain).0.len(), 10);

        let mut annotated = plain.clone();
        annotated["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/restartedAt": "now"});
        assert_ne!(revision(&plain), revision(&annotated));
        let mut unknown_field = plain.clone();
        unknown_field["spec"]["fieldOfANewerApi"]["a"] = json!(2);
        assert_ne!(revision(&plain), revision(&unknown_field));
    }

    #[test]
    fn the_revision_does_not_depend_on_the_order_of_keys() {
        let one: Value = serde_json::from_str(r#"{"spec":{"a":1,"b":[{"x":1,"y":2}]}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"spec":{"b":[{"y":2,"x":1}],"a":1}}"#).unwrap();
        assert_eq!(revision(&one), revision(&other));
        // Fixed for all time: an upgrade of ours must not make a new version out of what runs.
        assert_eq!(revision(&template()).0, "0d1b2ef51f");
    }

    #[test]
    fn images_are_put_into_named_containers_and_nowhere_else() {
        let asked = BTreeMap::from([("app".into(), "app:2".into()), ("migrate".into(), "migrate:2".into())]);
        let (changed, unknown) = with_images(&template(), &asked);
        assert!(unknown.is_empty());
        assert_eq!(
            images(&changed),
            BTreeMap::from([
                ("app".into(), "app:2".into()),
                ("migrate".into(), "migrate:2".into()),
                ("side".into(), "side:1".into())
            ])
        );
        assert_eq!(difference(&template(), &changed).as_deref(), Some("spec.containers.0.image"));
        let (back, _) = with_images(&changed, &images(&template()));
        assert_eq!(back, template());

        let (same, unknown) = with_images(&template(), &BTreeMap::from([("nobody".into(), "x".into())]));
        assert_eq!(same, template());
        assert_eq!(unknown, ["nobody"]);
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        assert_eq!(difference(&template(), &template()), None);
        let mut more = template();
        more["spec"]["containers"][0]["ports"].as_array_mut().unwrap().push(json!({"containerPort": 81}));
        assert_eq!(difference(&template(), &more).as_deref(), Some("spec.containers.0.ports"));
        let mut annotated = template();
        annotated["metadata"]["annotations"] = json!({"a": "b"});
        assert_eq!(difference(&template(), &annotated).as_deref(), Some("metadata.annotations"));
    }

    #[test]
    fn hostile_templates_are_values_not_panics() {
        for odd in [json!(null), json!([]), json!({"metadata": 3, "spec": "x"}), json!({"spec": {"containers": {}}})] {
            let _ = (revision(&odd), images(&odd), with_hash(&odd, "h"), labels(&odd));
            let _ = with_images(&odd, &BTreeMap::from([("a".into(), "b".into())]));
        }
    }
}
