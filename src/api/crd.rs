//! The CustomResourceDefinitions as the API server gets them: the derived schemas, made small and exact.
//!
//! The derive knows nothing of the API server's habits. Here `null` stops being a value (the server then drops it, so that
//! `has()` in a CEL rule means what it says), formats that only Rust knows go (each would be a warning to the user), and
//! what only the operator writes loses its prose, its defaults and its rules: each variant of the State repeats the whole
//! candidate, and the object would pass the size a client can apply.

use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::{MetricProvider, Notifier, Release, ReleaseAction};

/// All four definitions, in the order they should be applied.
///
/// # Errors
/// When a definition cannot be written as JSON, which no input can cause.
pub fn all() -> serde_json::Result<Vec<Value>> {
    [Release::crd(), ReleaseAction::crd(), MetricProvider::crd(), Notifier::crd()]
        .into_iter()
        .map(|crd| {
            let mut crd = serde_json::to_value(crd)?;
            finish(&mut crd);
            Ok(crd)
        })
        .collect()
}

/// The schema of a definition's only version.
pub fn schema(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn finish(crd: &mut Value) {
    let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
    let root = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    // kube describes the root by the name of its derive macro; the spec carries what we wrote.
    root["description"] = root["properties"]["spec"]["description"].take();
    root["properties"]["spec"]["description"] = format!("What is wanted of this {kind}.").into();
    tidy(root, &[]);
}

/// Walks the schema; `path` holds the names of the fields above.
fn tidy(schema: &mut Value, path: &[&str]) {
    let Some(node) = schema.as_object_mut() else { return };
    node.remove("nullable");
    node.remove("title");
    plain_numbers(node);
    if path.first() == Some(&"status") {
        // The operator writes these and nobody else: a default would be a memory it never had.
        node.remove("default");
    }
    if path.starts_with(&["status", "state"]) {
        if let [.., "candidate", "plan" | "traffic" | "rollback"] | [_, _, _, "report"] = path {
            // What was pinned when the release began, and how a way back went: what it means stands at the spec's own fields and at
            // those of the history.
            return free(node);
        }
        for word in [
            "description",
            "pattern",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
        ] {
            node.remove(word);
        }
        node.remove("x-kubernetes-validations");
        node.remove("x-kubernetes-list-type");
        node.remove("x-kubernetes-list-map-keys");
    }
    if let Some(fields) = node.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, field) in fields {
            tidy(field, &[path, &[name.as_str()]].concat());
        }
    }
    for below in ["items", "additionalProperties"] {
        if let Some(element) = node.get_mut(below) {
            tidy(element, &[path, &["[]"]].concat());
        }
    }
}

/// Any object: only the operator writes it.
fn free(node: &mut Map<String, Value>) {
    node.clear();
    node.insert("type".into(), "object".into());
    node.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
}

/// `uint32` and the like are unknown to the API server; and whole limits are written without a fraction.
fn plain_numbers(node: &mut Map<String, Value>) {
    let unsigned = node.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint"));
    if unsigned {
        node.insert("format".into(), "int64".into());
    }
    for limit in ["minimum", "maximum"] {
        if let Some(whole) = node.get(limit).and_then(Value::as_f64).and_then(whole) {
            node.insert(limit.into(), whole.into());
        }
    }
}

fn whole(limit: f64) -> Option<i64> {
    format!("{limit}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schema node below, with its path.
    fn nodes<'a>(schema: &'a Value, path: &str, out: &mut Vec<(String, &'a Map<String, Value>)>) {
        let node = schema.as_object().unwrap();
        out.push((path.to_owned(), node));
        for (name, field) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            nodes(field, &format!("{path}.{name}"), out);
        }
        for below in ["items", "additionalProperties"] {
            if let Some(element) = node.get(below).filter(|e| e.is_object()) {
                nodes(element, &format!("{path}[]"), out);
            }
        }
    }

    fn every_node(check: impl Fn(&str, &Map<String, Value>)) {
        for crd in all().unwrap() {
            let mut found = Vec::new();
            nodes(schema(&crd), crd["spec"]["names"]["kind"].as_str().unwrap(), &mut found);
            assert!(found.len() >= 10, "the walk found only {} nodes", found.len());
            for (path, node) in &found {
                check(path, node);
            }
        }
    }

    #[test]
    fn every_definition_is_smaller_than_100_kb() {
        for crd in all().unwrap() {
            let yaml = serde_yaml_ng::to_string(&crd).unwrap();
            assert!(yaml.len() < 100_000, "{} has {} bytes", crd["metadata"]["name"], yaml.len());
        }
    }

    #[test]
    fn schemas_are_structural_and_hold_only_words_the_api_server_knows() {
        every_node(|path, node| {
            assert!(node.get("type").is_some_and(Value::is_string), "{path} has no single type");
            for word in ["nullable", "anyOf", "allOf", "not", "$ref", "definitions", "title"] {
                assert!(!node.contains_key(word), "{path} has {word}");
            }
            if let Some(format) = node.get("format") {
                assert!(
                    ["int32", "int64", "date-time"].iter().any(|known| format == known),
                    "{path} has format {format}"
                );
            }
            assert!(!node.contains_key("oneOf") || path == "Release.status.state", "{path} has oneOf");
        });
    }

    #[test]
    fn exactly_one_variant_of_the_state_is_allowed() {
        let crds = all().unwrap();
        let state = &schema(&crds[0])["properties"]["status"]["properties"]["state"];
        let variants: Vec<&String> = state["properties"].as_object().unwrap().keys().collect();
        let mut allowed: Vec<&str> =
            state["oneOf"].as_array().unwrap().iter().map(|one| one["required"][0].as_str().unwrap()).collect();
        allowed.sort_unstable();
        assert_eq!(variants, allowed);
        assert_eq!(variants.len(), 10);
    }

    #[test]
    fn no_field_and_no_fixed_word_is_one_that_yaml_takes_for_a_boolean() {
        let boolean = |word: &str| ["y", "n", "yes", "no", "on", "off", "true", "false"].contains(&word);
        every_node(|path, node| {
            assert!(!boolean(path.rsplit('.').next().unwrap()), "{path}");
            let words = node.get("enum").and_then(Value::as_array).into_iter().flatten();
            for word in words.filter_map(Value::as_str) {
                assert!(!boolean(&word.to_lowercase()), "{path}: {word}");
            }
        });
    }

    #[test]
    fn the_server_puts_no_defaults_into_the_memory() {
        every_node(|path, node| {
            assert!(!path.contains(".status.") || !node.contains_key("default"), "{path} has a default");
        });
    }

    #[test]
    fn everything_people_write_says_what_it_means() {
        every_node(|path, node| {
            let written = path.contains(".spec.") && !path.ends_with("[]");
            assert!(!written || node.contains_key("description"), "{path} has no description");
        });
    }
}
