//! ConfigMaps and Secrets: which of them a pod template names, what their names say, and how two of one name differ. Pure;
//! of a value nothing is ever said.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::manifests::Kind;
use crate::observe::template;

/// One place in a pod template that names a ConfigMap or a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub kind: Kind,
    pub name: String,
    /// `spec.template.spec.volumes[config]`.
    pub field: String,
    /// As files, which follow a change while the pod runs.
    pub mounted: bool,
}

/// Everything that the pods of a template read.
pub fn uses(template: &Value) -> Vec<Use> {
    let mut found = Vec::new();
    for volume in list(template, "/spec/volumes") {
        let name = template::name(volume);
        let field = format!("spec.template.spec.volumes[{name}]");
        let mounted = follows(template, name);
        let mut add = |source: &Value, field: &str| {
            for (kind, pointer) in [
                (Kind::ConfigMap, "/configMap/name"),
                (Kind::Secret, "/secret/secretName"),
                (Kind::Secret, "/secret/name"),
            ] {
                if let Some(name) = source.pointer(pointer).and_then(Value::as_str) {
                    found.push(Use { kind, name: name.to_owned(), field: field.to_owned(), mounted });
                }
            }
        };
        add(volume, &field);
        for (index, source) in list(volume, "/projected/sources").enumerate() {
            add(source, &format!("{field}.projected.sources[{index}]"));
        }
    }
    for part in ["initContainers", "containers"] {
        for container in list(template, &format!("/spec/{part}")) {
            of_container(container, &format!("spec.template.spec.{part}[{}]", template::name(container)), &mut found);
        }
    }
    found
}

fn of_container(container: &Value, field: &str, found: &mut Vec<Use>) {
    let mut add = |source: &Value, pairs: [(Kind, &str); 2], field: String| {
        for (kind, pointer) in pairs {
            if let Some(name) = source.pointer(pointer).and_then(Value::as_str) {
                found.push(Use { kind, name: name.to_owned(), field: field.clone(), mounted: false });
            }
        }
    };
    for (index, source) in list(container, "/envFrom").enumerate() {
        let pairs = [(Kind::ConfigMap, "/configMapRef/name"), (Kind::Secret, "/secretRef/name")];
        add(source, pairs, format!("{field}.envFrom[{index}]"));
    }
    for variable in list(container, "/env") {
        let pairs =
            [(Kind::ConfigMap, "/valueFrom/configMapKeyRef/name"), (Kind::Secret, "/valueFrom/secretKeyRef/name")];
        add(variable, pairs, format!("{field}.env[{}]", template::name(variable)));
    }
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Whether some container sees the files of a volume change: those mounted by `subPath` stay as they were.
fn follows(template: &Value, volume: &str) -> bool {
    let mut mounts = template::containers(template).flat_map(|container| list(container, "/volumeMounts"));
    mounts.any(|mount| {
        let part = |key: &str| mount.get(key).and_then(Value::as_str).is_some_and(|path| !path.is_empty());
        template::name(mount) == volume && !part("subPath") && !part("subPathExpr")
    })
}

/// Whether the name says what is in it: a suffix as kustomize makes it (ten of its own letters), or hexadecimal digits as
/// `sha256sum` does. Words are neither.
pub fn hashed(name: &str) -> bool {
    let Some((_, suffix)) = name.rsplit_once('-') else { return false };
    let only = |letters: &str| suffix.chars().all(|c| letters.contains(c));
    let digits = suffix.chars().filter(char::is_ascii_digit).count();
    suffix.len() == 10 && only("bcdfghkmt2456789") || suffix.len() >= 8 && digits > 0 && only("0123456789abcdef")
}

/// The keys whose values differ between two objects of one name, or that only one of them has.
pub fn changed(kind: Kind, one: &Value, other: &Value) -> Vec<String> {
    let (one, other) = (entries(kind, one), entries(kind, other));
    let mut keys: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| one.get(key) != other.get(key));
    keys
}

/// What an object holds, however it is written down.
fn entries(kind: Kind, object: &Value) -> BTreeMap<String, Vec<u8>> {
    let plain: (&str, fn(&str) -> Vec<u8>) = ("data", |text| text.as_bytes().to_vec());
    let coded: fn(&str) -> Vec<u8> = |text| {
        let dense: String = text.split_whitespace().collect();
        STANDARD.decode(&dense).unwrap_or_else(|_| text.as_bytes().to_vec())
    };
    let fields = match kind {
        Kind::Secret => [("data", coded), ("stringData", plain.1)],
        _ => [plain, ("binaryData", coded)],
    };
    let mut all = BTreeMap::new();
    for (field, read) in fields {
        for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            all.insert(key.clone(), read(&text));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_place_that_names_one_is_found() {
        let template = json!({"spec": {
            "volumes": [
                {"name": "a", "configMap": {"name": "cm-file"}},
                {"name": "b", "secret": {"secretName": "s-file"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "cm-part"}}, {"secret": {"name": "s-part"}}, {"downwardAPI": {}}]}},
                {"name": "d", "emptyDir": {}},
            ],
            "initContainers": [{"name": "init", "envFrom": [{"secretRef": {"name": "s-init"}}]}],
            "containers": [{
                "name": "app",
                "volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/b", "subPath": "x"}],
                "envFrom": [{"configMapRef": {"name": "cm-env"}}],
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm-key", "key": "k"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s-key", "key": "k"}}},
                    {"name": "C", "value": "plain"},
                ],
            }],
        }});
        let found: Vec<String> = uses(&template)
            .into_iter()
            .map(|u| format!("{} {} {}{}", u.kind, u.name, u.field, if u.mounted { " as files" } else { "" }))
            .collect();
        assert_eq!(
            found,
            [
                "ConfigMap cm-file spec.template.spec.volumes[a] as files",
                "Secret s-file spec.template.spec.volumes[b]",
                "ConfigMap cm-part spec.template.spec.volumes[c].projected.sources[0]",
                "Secret s-part spec.template.spec.volumes[c].projected.sources[1]",
                "Secret s-init spec.template.spec.initContainers[init].envFrom[0]",
                "ConfigMap cm-env spec.template.spec.containers[app].envFrom[0]",
                "ConfigMap cm-key spec.template.spec.containers[app].env[A]",
                "Secret s-key spec.template.spec.containers[app].env[B]",
            ]
        );
        assert!(uses(&json!({"spec": {"volumes": 3, "containers": [{"env": "x"}]}})).is_empty());
    }

    #[test]
    fn a_name_with_a_hash_is_told_from_a_name_of_words() {
        for (name, expected) in [
            ("shop-config-6ct58987ht", true), // kustomize
            ("shop-config-9f86d081", true),   // sha256sum | cut -c1-8
            ("shop-config-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", true),
            ("shop-config", false),
            ("shop-configuration", false),
            ("shop-credentials", false),
            ("shop-version2", false),
            ("shop-deadbeef", false),
            ("shop-1234567", false),
            ("shop", false),
            ("6ct58987ht", false),
        ] {
            assert_eq!(hashed(name), expected, "{name}");
        }
    }

    #[test]
    fn what_differs_is_named_by_its_key_whatever_way_it_is_written() {
        let file = json!({"data": {"same": "YQ==", "other": "Yg==", "gone": "Yw=="}, "stringData": {"plain": "d"}});
        let live = json!({"data": {"same": "YQ==\n", "other": "eA==", "plain": "ZA==", "new": "ZQ=="}});
        assert_eq!(changed(Kind::Secret, &file, &live), ["gone", "new", "other"]);
        let file = json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "YQ=="}});
        let live = json!({"data": {"a": "1", "b": "3"}, "binaryData": {"c": "YQ=="}});
        assert_eq!(changed(Kind::ConfigMap, &file, &live), ["b"]);
        assert!(changed(Kind::ConfigMap, &file, &file).is_empty());
        assert!(changed(Kind::ConfigMap, &json!({"data": null}), &json!({})).is_empty());
    }
}
