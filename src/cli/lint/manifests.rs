//! Manifests as people keep them: files and folders of YAML or JSON, or a pipe from `kustomize` or `helm template`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

/// One object, and where it stands.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// `shop.yaml, document 2`.
    pub place: String,
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub object: Value,
}

/// The kinds that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Release,
    Deployment,
    ConfigMap,
    Secret,
}

impl Kind {
    fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        match (group, kind) {
            ("haldane.dev", "Release") => Some(Self::Release),
            ("apps", "Deployment") => Some(Self::Deployment),
            ("", "ConfigMap") => Some(Self::ConfigMap),
            ("", "Secret") => Some(Self::Secret),
            _ => None,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// Everything that the paths name; `-` is standard input. `namespace` is for objects that name none.
pub fn read(paths: &[PathBuf], recursive: bool, namespace: &str) -> anyhow::Result<Vec<Manifest>> {
    let mut all = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input")?;
            all.extend(parse("standard input", &text, namespace)?);
            continue;
        }
        let mut files = Vec::new();
        files_of(path, recursive, &mut files)?;
        if files.is_empty() {
            bail!("{} has no file that ends in .yaml, .yml or .json", path.display());
        }
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            all.extend(parse(&file.display().to_string(), &text, namespace)?);
        }
    }
    Ok(all)
}

/// The file itself, or what a folder holds, in the order of the names.
fn files_of(path: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let named = || path.display().to_string();
    if !fs::metadata(path).with_context(named)?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(named)?.map(|entry| entry.map(|e| e.path()));
    let mut entries = entries.collect::<Result<Vec<_>, _>>().with_context(named)?;
    entries.sort();
    for entry in entries {
        let manifest = entry.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if entry.is_dir() {
            if recursive {
                files_of(&entry, recursive, found)?;
            }
        } else if manifest {
            found.push(entry);
        }
    }
    Ok(())
}

/// The objects of one text that matter here.
pub fn parse(origin: &str, text: &str, namespace: &str) -> anyhow::Result<Vec<Manifest>> {
    let mut all = Vec::new();
    for (index, document) in documents(text).into_iter().enumerate() {
        let place = format!("{origin}, document {}", index + 1);
        let document = document.map_err(|wrong| {
            let hint = if text.contains("{{") {
                "; a template is not YAML yet: helm template … | kubectl haldane lint -f -"
            } else {
                ""
            };
            anyhow::anyhow!("{place}: {wrong}{hint}")
        })?;
        if !document.is_null() {
            object(place, document, namespace, &mut all)?;
        }
    }
    Ok(all)
}

/// JSON may be written with tabs, which YAML does not allow.
fn documents(text: &str) -> Vec<Result<Value, String>> {
    if text.trim_start().starts_with('{') {
        let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        if let Ok(json) = json {
            return json.into_iter().map(Ok).collect();
        }
    }
    let mut all = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let document = Value::deserialize(document).map_err(|e| e.to_string());
        let wrong = document.is_err();
        all.push(document);
        if wrong {
            break; // what follows cannot be told from it
        }
    }
    all
}

fn object(place: String, object: Value, namespace: &str, all: &mut Vec<Manifest>) -> anyhow::Result<()> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
        let missing = if text("/apiVersion").is_none() { "apiVersion" } else { "kind" };
        if place.contains("kustomization.y") {
            bail!(
                "{place}: {missing} is missing; a kustomization is no manifest, lint what it makes: kubectl kustomize … | kubectl haldane lint -f -"
            );
        }
        bail!("{place}: {missing} is missing; each document is an object with apiVersion, kind and metadata.name");
    };
    if kind == "Kustomization" && version.starts_with("kustomize.config.k8s.io/") {
        bail!(
            "{place}: a kustomization is no manifest; lint what it makes: kubectl kustomize … | kubectl haldane lint -f -"
        );
    }
    if kind.ends_with("List") && object.get("items").is_some() {
        let items = object.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        for (index, item) in items.into_iter().enumerate() {
            self::object(format!("{place}, items[{index}]"), item, namespace, all)?;
        }
        return Ok(());
    }
    let Some(kind) = Kind::of(version, kind) else { return Ok(()) };
    let Some(name) = text("/metadata/name") else {
        bail!("{place}: metadata.name of the {kind} is missing; give it a name");
    };
    let namespace = text("/metadata/namespace").unwrap_or(namespace);
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    all.push(Manifest { place, kind, namespace, name, object });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let found = parse("a.yaml", text, "here").unwrap();
        found.iter().map(|m| format!("{}: {} {}/{}", m.place, m.kind, m.namespace, m.name)).collect()
    }

    fn wrong(origin: &str, text: &str) -> String {
        parse(origin, text, "here").unwrap_err().to_string()
    }

    #[test]
    fn documents_lists_and_json_are_read() {
        let text = "---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\n---\n\
                    apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: c}}\n- {apiVersion: v1, kind: Service}\n";
        assert_eq!(names(text), ["a.yaml, document 2: ConfigMap b/a", "a.yaml, document 3, items[0]: Secret here/c"]);
        let json = "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"a\"}}\n\
                    {\"apiVersion\": \"apps/v1\", \"kind\": \"Deployment\", \"metadata\": {\"name\": \"b\"}}";
        assert_eq!(names(json), ["a.yaml, document 1: Secret here/a", "a.yaml, document 2: Deployment here/b"]);
        assert!(names("").is_empty());
        // The same word in another group is another kind.
        assert!(names("{apiVersion: example.org/v1, kind: Deployment, metadata: {name: a}}").is_empty());
    }

    #[test]
    fn an_error_names_the_file_the_document_the_field_and_the_cure() {
        let broken = wrong("a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\nkind: [\n");
        assert!(broken.starts_with("a.yaml, document 2: "), "{broken}");
        let template = wrong("t.yaml", "kind: {{ .Values.kind }}\n");
        assert!(template.contains("helm template … | kubectl haldane lint -f -"), "{template}");
        assert_eq!(
            wrong("a.yaml", "apiVersion: v1\nkind: Secret\n"),
            "a.yaml, document 1: metadata.name of the Secret is missing; give it a name"
        );
        assert_eq!(
            wrong("a.yaml", "apiVersion: v1\n"),
            "a.yaml, document 1: kind is missing; each document is an object with apiVersion, kind and metadata.name"
        );
        let kustomization = wrong("k/kustomization.yaml", "resources: [a.yaml]\n");
        assert!(kustomization.contains("kubectl kustomize … | kubectl haldane lint -f -"), "{kustomization}");
    }

    #[test]
    fn folders_are_read_in_order_and_deeper_ones_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let secret = |name: &str| format!("{{apiVersion: v1, kind: Secret, metadata: {{name: {name}}}}}");
        fs::create_dir(dir.path().join("deep")).unwrap();
        for (file, name) in [("b.yml", "two"), ("a.yaml", "one"), ("README.md", "none"), ("deep/c.json", "three")] {
            fs::write(dir.path().join(file), secret(name)).unwrap();
        }
        let read = |recursive| -> Vec<String> {
            read(&[dir.path().to_owned()], recursive, "x").unwrap().into_iter().map(|m| m.name).collect()
        };
        assert_eq!(read(false), ["one", "two"]);
        assert_eq!(read(true), ["one", "two", "three"]);
        let empty = tempfile::tempdir().unwrap();
        let nothing = super::read(&[empty.path().to_owned()], true, "x").unwrap_err().to_string();
        assert!(nothing.contains("no file that ends in .yaml"), "{nothing}");
        let missing = format!("{:#}", super::read(&["nowhere.yaml".into()], false, "x").unwrap_err());
        assert!(missing.starts_with("nowhere.yaml: "), "{missing}");
    }
}
