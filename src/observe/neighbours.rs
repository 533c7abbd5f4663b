//! Other Deployments of the namespace, and which of them share pods with this one as far as labels tell.

use std::collections::BTreeMap;

use kube::{
    Client, ResourceExt,
    api::{DynamicObject, ListParams},
};

use super::{raw, template};
use crate::error::{Error, Result};

/// The labels of the pods of the other Deployments, by their names; and whose selectors overlap, one sentence each.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    pub pods: BTreeMap<String, BTreeMap<String, String>>,
    pub overlaps: Vec<String>,
}

/// Looks at all of them.
pub async fn look(client: &Client, namespace: &str, deployment: &DynamicObject) -> Result<Neighbours> {
    let all = raw::deployments(client, namespace).list(&ListParams::default()).await;
    let all = all.map_err(|e| Error::from_kube("listing Deployments", e))?.items;
    Ok(beside(deployment, &all))
}

fn beside(deployment: &DynamicObject, all: &[DynamicObject]) -> Neighbours {
    let mut found = Neighbours::default();
    let own = template::labels(raw::pod_template(deployment));
    for other in all.iter().filter(|other| other.uid() != deployment.uid()) {
        let labels = template::labels(raw::pod_template(other));
        let selects = |of: &DynamicObject, labels| raw::selector(of).is_some_and(|s| raw::matches(&s, labels));
        if selects(other, &own) || selects(deployment, &labels) {
            found.overlaps.push(format!(
                "the selectors of the Deployments {} and {} overlap: one could take over and end the other's pods; give each a selector of its own",
                deployment.name_any(),
                other.name_any()
            ));
        }
        found.pods.insert(other.name_any(), labels);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(name: &str, selector: &Value, labels: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "uid": name},
            "spec": {"selector": {"matchLabels": selector}, "template": {"metadata": {"labels": labels}}},
        }))
        .expect("a Deployment")
    }

    #[test]
    fn selectors_that_overlap_in_either_direction_are_told() {
        let shop = deployment("shop", &json!({"app": "shop"}), &json!({"app": "shop", "tier": "web"}));
        for (selector, labels, overlaps) in [
            (json!({"app": "batch"}), json!({"app": "batch"}), false),
            (json!({"tier": "web"}), json!({"tier": "web"}), true), // it would take ours
            (json!({"job": "x"}), json!({"app": "shop", "job": "x"}), true), // ours would take its
        ] {
            let found = beside(&shop, &[shop.clone(), deployment("other", &selector, &labels)]);
            assert_eq!(found.overlaps.len(), usize::from(overlaps), "{selector} {labels}: {:?}", found.overlaps);
            assert!(found.overlaps.iter().all(|o| o.starts_with("the selectors of the Deployments shop and other")));
            assert_eq!(found.pods.keys().collect::<Vec<_>>(), ["other"]);
        }
    }
}
