//! What is to be said of a Deployment that is released, and of what its pods read. Pure: the cluster was asked elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    contents::{self, Use},
    live::{Known, Live},
    manifests::{Kind, Manifest},
};
use crate::{
    api::{Release, names},
    observe::{preflight::Preflight, template},
};

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where the Deployment stands: `shop.yaml, document 2`.
    pub place: String,
    pub namespace: String,
    pub deployment: String,
    /// Where it names what the warning is about.
    pub fields: Vec<String>,
    /// With the cure.
    pub message: String,
}

/// A Deployment and the Release that releases it.
pub struct Released<'a> {
    pub place: &'a str,
    pub namespace: &'a str,
    pub deployment: &'a Value,
    pub release: &'a Release,
}

impl Released<'_> {
    fn name(&self) -> &str {
        self.release.spec.target_ref.name.as_str()
    }

    fn template(&self) -> &Value {
        self.deployment.pointer("/spec/template").unwrap_or(&Value::Null)
    }

    /// The manifests of ConfigMaps and Secrets that its pods read, each with the places that name it.
    fn contents<'m>(&self, manifests: &'m [Manifest]) -> Vec<(&'m Manifest, Vec<Use>)> {
        let mut named: BTreeMap<(Kind, String), Vec<Use>> = BTreeMap::new();
        for one in contents::uses(self.template()) {
            named.entry((one.kind, one.name.clone())).or_default().push(one);
        }
        let manifest = |kind: Kind, name: &str| {
            // Of two of one name the later counts, as when they are applied.
            manifests.iter().rev().find(|m| m.kind == kind && m.name == name && m.namespace == self.namespace)
        };
        named.into_iter().filter_map(|((kind, name), uses)| Some((manifest(kind, &name)?, uses))).collect()
    }
}

/// What must be compared with the cluster.
pub fn unhashed<'m>(released: &[Released<'_>], manifests: &'m [Manifest]) -> Vec<&'m Manifest> {
    let mut seen = BTreeSet::new();
    let read = released.iter().flat_map(|r| r.contents(manifests)).map(|(manifest, _)| manifest);
    read.filter(|m| !settled(m) && seen.insert((m.kind, m.namespace.clone(), m.name.clone()))).collect()
}

/// Its content cannot change under its name.
fn settled(manifest: &Manifest) -> bool {
    contents::hashed(&manifest.name) || manifest.object.get("immutable") == Some(&Value::Bool(true))
}

/// All warnings of one Deployment.
pub fn of(released: &Released<'_>, manifests: &[Manifest], known: &Known) -> Vec<Finding> {
    let finding = |fields: Vec<String>, message: String| Finding {
        place: released.place.to_owned(),
        namespace: released.namespace.to_owned(),
        deployment: released.name().to_owned(),
        fields,
        message,
    };
    let mut found: Vec<Finding> = preflight(released).into_iter().map(|message| finding(Vec::new(), message)).collect();
    for (manifest, uses) in released.contents(manifests) {
        if settled(manifest) {
            continue;
        }
        let live = known.get(&(manifest.kind, manifest.namespace.clone(), manifest.name.clone()));
        if let Some(message) = said(manifest, &uses, live) {
            found.push(finding(uses.into_iter().map(|u| u.field).collect(), message));
        }
    }
    found
}

/// What the operator would say before a release of it, as far as the Deployment alone tells.
fn preflight(released: &Released<'_>) -> Vec<String> {
    let Released { deployment, release, .. } = released;
    let (asked, _) = template::with_images(released.template(), &release.spec.images);
    let images: Vec<String> = template::images(&asked).into_values().collect();
    let spec = deployment.get("spec").unwrap_or(&Value::Null);
    let is = |pointer: &str, value: &Value| spec.pointer(pointer) == Some(value);
    // In the cluster a release may be under way.
    let labels = template::string_map(deployment.pointer("/metadata/labels"));
    let ours = labels.contains_key(names::PAUSED_BY) || labels.contains_key(names::HANDOVER);
    let preflight = Preflight {
        name: released.name(),
        spec,
        paused_by_user: is("/paused", &true.into()) && !release.spec.held() && !ours,
        recreate: is("/strategy/type", &"Recreate".into()) && !ours,
        single_node_claims: &BTreeSet::new(),
        images: &images,
        budgets: &[],
        autoscalers: &[],
    };
    [preflight.refusals(), preflight.warnings()].concat()
}

fn said(manifest: &Manifest, uses: &[Use], live: Option<&Live>) -> Option<String> {
    let Manifest { kind, name, .. } = manifest;
    let generator = if *kind == Kind::Secret { "secretGenerator" } else { "configMapGenerator" };
    let cure = format!("name it by its content (kustomize {generator}), see docs/gitops.md");
    let too =
        if uses.iter().any(|u| u.mounted) { "see it too, within minutes" } else { "read it too at their next start" };
    match live {
        Some(Live::Differs(keys)) if keys.is_empty() => None,
        Some(Live::Differs(keys)) => {
            let keys = format!("{} {}", if keys.len() == 1 { "key" } else { "keys" }, keys.join(", "));
            Some(format!("{kind} {name} changes under its name: {keys}; the old version's pods {too}; {cure}"))
        }
        Some(Live::Absent) | None => Some(format!(
            "{kind} {name} keeps its name when its content changes: then the old version's pods {too}; {cure}"
        )),
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::cli::lint::manifests;

    const FILES: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}, images: {app: 'shop:2'}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      volumes:
      - {name: config, configMap: {name: shop-config}}
      - {name: hashed, configMap: {name: shop-hashed-6ct58987ht}}
      containers:
      - name: app
        image: shop:1
        readinessProbe: {httpGet: {path: /, port: 80}}
        resources: {requests: {cpu: 10m}}
        lifecycle: {preStop: {sleep: {seconds: 10}}}
        volumeMounts: [{name: config, mountPath: /etc/shop}]
        envFrom: [{secretRef: {name: shop-login}}, {secretRef: {name: elsewhere}}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: shop-config}, data: {a: '1', b: '2'}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: shop-hashed-6ct58987ht}, data: {a: '1'}}
---
{apiVersion: v1, kind: Secret, metadata: {name: shop-login}, stringData: {password: hunter2}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: nobodys}, data: {a: '1'}}
";

    fn findings(text: &str, known: &Known) -> Vec<Finding> {
        let all = manifests::parse("shop.yaml", text, "shop").unwrap();
        let one = |kind: Kind| all.iter().find(|m| m.kind == kind).unwrap();
        let release: Release = serde_json::from_value(one(Kind::Release).object.clone()).unwrap();
        let deployment = one(Kind::Deployment);
        let released = Released {
            place: &deployment.place,
            namespace: &deployment.namespace,
            deployment: &deployment.object,
            release: &release,
        };
        of(&released, &all, known)
    }

    fn messages(text: &str, known: &Known) -> Vec<String> {
        findings(text, known).into_iter().map(|f| f.message).collect()
    }

    fn live(kind: Kind, name: &str, live: Live) -> ((Kind, String, String), Live) {
        ((kind, "shop".into(), name.into()), live)
    }

    #[test]
    fn without_a_cluster_every_name_that_stays_is_warned_of() {
        let found = findings(FILES, &Known::new());
        assert_eq!(
            found.iter().map(|f| f.message.as_str()).collect::<Vec<_>>(),
            [
                "ConfigMap shop-config keeps its name when its content changes: then the old version's pods see it too, within \
                 minutes; name it by its content (kustomize configMapGenerator), see docs/gitops.md",
                "Secret shop-login keeps its name when its content changes: then the old version's pods read it too at their next \
                 start; name it by its content (kustomize secretGenerator), see docs/gitops.md",
            ]
        );
        assert_eq!(found[0].place, "shop.yaml, document 2");
        assert_eq!(found[1].fields, ["spec.template.spec.containers[app].envFrom[0]"]);
    }

    #[test]
    fn with_a_cluster_only_what_changes_is_warned_of_and_by_its_keys() {
        let same = Live::Differs(Vec::new());
        let known = Known::from([
            live(Kind::ConfigMap, "shop-config", Live::Differs(vec!["a".into(), "b".into()])),
            live(Kind::Secret, "shop-login", same.clone()),
        ]);
        assert_eq!(
            messages(FILES, &known),
            [
                "ConfigMap shop-config changes under its name: keys a, b; the old version's pods see it too, within minutes; name it \
              by its content (kustomize configMapGenerator), see docs/gitops.md"
            ]
        );
        let known = Known::from([
            live(Kind::ConfigMap, "shop-config", same),
            live(Kind::Secret, "shop-login", Live::Differs(vec!["password".into()])),
        ]);
        let said = messages(FILES, &known);
        assert!(said.len() == 1 && said[0].contains("changes under its name: key password; "), "{said:?}");
        assert!(!said[0].contains("hunter2"));
        let known = Known::from([live(Kind::ConfigMap, "shop-config", Live::Absent)]);
        assert_eq!(messages(FILES, &known).len(), 2, "what is not there yet is as if there were no cluster");
    }

    #[test]
    fn what_cannot_change_is_not_warned_of() {
        let fixed = FILES.replace("{name: shop-config}, data", "{name: shop-config}, immutable: true, data");
        assert_eq!(messages(&fixed, &Known::new()).len(), 1);
        let all = manifests::parse("a", &fixed, "shop").unwrap();
        let release: Release = serde_json::from_value(all[0].object.clone()).unwrap();
        let released = [Released { place: "", namespace: "shop", deployment: &all[1].object, release: &release }];
        let asked: Vec<_> = unhashed(&released, &all).into_iter().map(|m| m.name.as_str()).collect();
        assert_eq!(asked, ["shop-login"]);
    }

    #[test]
    fn what_the_operator_would_say_of_the_deployment_is_said_before() {
        let careless = FILES
            .replace("        readinessProbe: {httpGet: {path: /, port: 80}}\n", "")
            .replace("        lifecycle: {preStop: {sleep: {seconds: 10}}}\n", "")
            .replace("'shop:2'", "'shop:latest'")
            .replace("      volumes:", "      hostNetwork: true\n      volumes:");
        let said = messages(&careless, &Known::new());
        for part in ["uses hostNetwork", "no readinessProbe", "no preStop delay", "image shop:latest names no version"]
        {
            assert!(said.iter().any(|s| s.contains(part)), "{part}: {said:?}");
        }
        assert_eq!(said.len(), 6, "{said:?}");
    }
}
