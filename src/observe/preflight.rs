//! What speaks against releasing a workload, and what only deserves a warning. Pure: the objects are read elsewhere.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::template;

/// What a pod should wait before it ends gateways follow within a second, and most of what is slower within this.
const PRE_STOP: Duration = Duration::from_secs(10);

/// What preflight looks at.
pub struct Preflight<'a> {
    /// The Deployment's name.
    pub name: &'a str,
    /// The Deployment's `spec`.
    pub spec: &'a Value,
    /// `spec.paused`, and nobody but the user can have set it.
    pub paused_by_user: bool,
    /// `Recreate` is the user's own strategy, not ours of a hand-over.
    pub recreate: bool,
    /// Names of claims that only one node can mount.
    pub single_node_claims: &'a BTreeSet<String>,
    /// The images that are asked for.
    pub images: &'a [String],
    /// Names of PodDisruptionBudgets with `minAvailable` that select the template.
    pub budgets: &'a [String],
    /// What speaks against its HorizontalPodAutoscalers, one sentence each.
    pub autoscalers: &'a [String],
}

impl Preflight<'_> {
    fn template(&self) -> &Value {
        self.spec.get("template").unwrap_or(&Value::Null)
    }

    /// Why a release is refused, one sentence each, with the cure.
    pub fn refusals(&self) -> Vec<String> {
        let (name, template) = (self.name, self.template());
        let mut found = Vec::new();
        if self.paused_by_user {
            found.push(format!(
                "Deployment {name} is paused by its user; resume it with: kubectl rollout resume deployment/{name}"
            ));
        }
        if self.recreate {
            found.push(format!(
                "Deployment {name} has strategy Recreate, which says that two versions must never run at once; set strategy RollingUpdate if they may"
            ));
        }
        if template.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
            found.push(format!(
                "Deployment {name} uses hostNetwork: pods of two versions would fight for the node's ports; remove it"
            ));
        }
        for (container, port) in host_ports(template) {
            found.push(format!(
                "container {container} of Deployment {name} takes host port {port}: pods of two versions would fight for it; remove hostPort"
            ));
        }
        for claim in claims(template).into_iter().filter(|claim| self.single_node_claims.contains(claim)) {
            found.push(format!(
                "Deployment {name} mounts the claim {claim}, which one node only can write (ReadWriteOnce): pods of two versions may not share it; use ReadWriteMany or no shared claim"
            ));
        }
        let labels = template::labels(template);
        let selector = self.spec.pointer("/selector/matchLabels").and_then(Value::as_object);
        let pins_hash = |map: Option<&Value>| map.and_then(|m| m.get(crate::api::names::HASH)).is_some();
        if pins_hash(self.spec.pointer("/selector/matchLabels")) || labels.contains_key(crate::api::names::HASH) {
            found.push(format!(
                "Deployment {name} sets the label pod-template-hash itself, which Kubernetes needs to tell versions apart; remove it from its selector and template"
            ));
        } else if selector.is_some_and(|s| s.iter().any(|(k, v)| labels.get(k).map(String::as_str) != v.as_str())) {
            found.push(format!("the selector of Deployment {name} does not match the labels of its template"));
        }
        found
    }

    /// What a release should be warned of, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let (name, template) = (self.name, self.template());
        let mut found = Vec::new();
        for container in main_containers(template) {
            let label = template::name(container);
            if container.get("readinessProbe").is_none() {
                found.push(format!(
                    "container {label} of Deployment {name} has no readinessProbe: it counts as ready as soon as it runs"
                ));
            }
            if container
                .pointer("/resources/requests")
                .is_none_or(|r| r.as_object().is_none_or(serde_json::Map::is_empty))
            {
                found.push(format!(
                    "container {label} of Deployment {name} has no resource requests: the scheduler may put both versions on one full node"
                ));
            }
        }
        for image in self.images.iter().filter(|image| floats(image)) {
            found.push(format!(
                "image {image} names no version: what it stands for can change while it runs, and going back to it proves nothing; use a tag of its own or a digest"
            ));
        }
        let (delay, other_hook) = (pre_stop(template), main_containers(template).any(has_pre_stop));
        if delay.is_zero() && !other_hook {
            found.push(format!(
                "Deployment {name} has no preStop delay: requests can be lost when its pods end; add lifecycle.preStop.sleep of 10 seconds"
            ));
        } else if !delay.is_zero() && delay < PRE_STOP {
            found.push(format!(
                "the pods of Deployment {name} end {} s after they are told to: requests can be lost where a gateway follows later; give lifecycle.preStop.sleep {} seconds",
                delay.as_secs(),
                PRE_STOP.as_secs()
            ));
        }
        for budget in self.budgets {
            found.push(format!(
                "PodDisruptionBudget {budget} has minAvailable and counts the pods of both versions: all of the candidate's could be evicted at once; use maxUnavailable"
            ));
        }
        found.extend(self.autoscalers.iter().cloned());
        found
    }
}

/// Whether an image has no tag but `latest`, and no digest.
fn floats(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn main_containers(template: &Value) -> impl Iterator<Item = &Value> {
    template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten()
}

fn host_ports(template: &Value) -> Vec<(&str, u64)> {
    template::containers(template)
        .flat_map(|container| {
            let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
            ports.filter_map(|p| p.get("hostPort").and_then(Value::as_u64)).map(|p| (template::name(container), p))
        })
        .filter(|(_, port)| *port > 0)
        .collect()
}

/// The claims that a template mounts by name: all its pods share them.
pub fn claims(template: &Value) -> BTreeSet<String> {
    let volumes = template.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    volumes.filter_map(|v| v.pointer("/persistentVolumeClaim/claimName")?.as_str()).map(str::to_owned).collect()
}

/// What the hook does may take its time, and nobody can tell how much of it from here.
fn has_pre_stop(container: &Value) -> bool {
    container.pointer("/lifecycle/preStop").is_some()
}

/// The longest preStop delay of the containers: the sleep action, or a `sleep` of a command.
pub fn pre_stop(template: &Value) -> Duration {
    let delay = |container: &Value| {
        let hook = container.pointer("/lifecycle/preStop")?;
        if let Some(seconds) = hook.pointer("/sleep/seconds") {
            return seconds.as_u64();
        }
        let command = hook.pointer("/exec/command")?.as_array()?;
        let text: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
        let text = text.join(" ");
        let mut words = text.split(|c: char| c.is_whitespace() || c == ';' || c == '&').filter(|w| !w.is_empty());
        words.find(|word| *word == "sleep" || word.ends_with("/sleep"))?;
        words.next()?.trim_end_matches('s').parse().ok()
    };
    Duration::from_secs(template::containers(template).filter_map(delay).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> Value {
        json!({
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop", "tier": "web"}},
                "spec": {"containers": [{
                    "name": "app", "image": "app:1", "readinessProbe": {}, "resources": {"requests": {"cpu": "1m"}},
                    "lifecycle": {"preStop": {"sleep": {"seconds": 10}}}
                }]}
            }
        })
    }

    fn check(spec: &Value) -> (Vec<String>, Vec<String>) {
        let claims = BTreeSet::from(["data".to_owned()]);
        let preflight = Preflight {
            name: "shop",
            spec,
            paused_by_user: false,
            recreate: false,
            single_node_claims: &claims,
            images: &[],
            budgets: &[],
            autoscalers: &[],
        };
        (preflight.refusals(), preflight.warnings())
    }

    #[test]
    fn an_ordinary_workload_is_neither_refused_nor_warned_of() {
        assert_eq!(check(&spec()), (vec![], vec![]));
    }

    #[test]
    fn each_refusal_names_what_is_in_the_way() {
        let with = |pointer: &str, key: &str, value: Value| {
            let mut spec = spec();
            spec.pointer_mut(pointer).unwrap()[key] = value;
            check(&spec).0.join("\n")
        };
        assert!(with("/template/spec", "hostNetwork", json!(true)).contains("hostNetwork"));
        assert!(with("/template/spec/containers/0", "ports", json!([{"hostPort": 8080}])).contains("host port 8080"));
        let volumes = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]);
        assert!(with("/template/spec", "volumes", volumes).contains("claim data"));
        let volumes = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "shared"}}]);
        assert_eq!(with("/template/spec", "volumes", volumes), "");
        assert!(with("/selector/matchLabels", "pod-template-hash", json!("1")).contains("pod-template-hash"));
        assert!(with("/selector/matchLabels", "app", json!("other")).contains("does not match"));

        let preflight = Preflight {
            name: "shop",
            spec: &spec(),
            paused_by_user: true,
            recreate: true,
            single_node_claims: &BTreeSet::new(),
            images: &[],
            budgets: &["b".into()],
            autoscalers: &["h".into()],
        };
        let refusals = preflight.refusals();
        assert_eq!(refusals.len(), 2);
        assert!(refusals[0].contains("kubectl rollout resume deployment/shop"), "{refusals:?}");
        assert!(refusals[1].contains("Recreate"), "{refusals:?}");
        assert_eq!(preflight.warnings().len(), 2);
    }

    #[test]
    fn a_careless_workload_is_warned_of() {
        let mut careless = spec();
        careless["template"]["spec"]["containers"] = json!([{"name": "app", "image": "app:1"}]);
        let warnings = check(&careless).1;
        assert_eq!(warnings.len(), 3, "{warnings:?}");
    }

    #[test]
    fn a_short_delay_is_warned_of_and_a_hook_of_another_kind_is_not() {
        let with = |hook: Value| {
            let mut spec = spec();
            spec["template"]["spec"]["containers"][0]["lifecycle"]["preStop"] = hook;
            check(&spec).1.join("\n")
        };
        assert!(with(json!({"sleep": {"seconds": 3}})).contains("end 3 s after they are told to"));
        assert_eq!(with(json!({"sleep": {"seconds": 12}})), "");
        assert_eq!(with(json!({"httpGet": {"path": "/drain"}})), "", "how long it takes nobody knows");
    }

    #[test]
    fn an_image_that_names_no_version_floats() {
        for (image, expected) in [
            ("shop", true),
            ("registry.example:5000/web/shop", true),
            ("registry.example:5000/web/shop:latest", true),
            ("registry.example:5000/web/shop:1.4", false),
            ("shop@sha256:00", false),
            ("shop:latest@sha256:00", false),
        ] {
            assert_eq!(floats(image), expected, "{image}");
        }
    }

    #[test]
    fn the_longest_pre_stop_delay_counts() {
        let hooks = |hooks: Vec<Value>| {
            let containers: Vec<Value> = hooks.into_iter().map(|h| json!({"lifecycle": {"preStop": h}})).collect();
            pre_stop(&json!({"spec": {"containers": containers}})).as_secs()
        };
        assert_eq!(hooks(vec![json!({"sleep": {"seconds": 3}}), json!({"exec": {"command": ["sleep", "7"]}})]), 7);
        assert_eq!(hooks(vec![json!({"exec": {"command": ["sh", "-c", "nginx -s quit; /bin/sleep 12; true"]}})]), 12);
        assert_eq!(hooks(vec![json!({"httpGet": {"path": "/"}})]), 0);
        assert_eq!(hooks(vec![json!({"exec": {"command": ["sleep"]}})]), 0);
    }
}
