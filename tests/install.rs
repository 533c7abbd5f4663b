//! What the rendered install manifest grants and how the operator's pod is locked down. Needs no cluster.

use serde::Deserialize;
use serde_json::{Value, json};

fn manifest() -> Vec<Value> {
    documents(include_str!("../deploy/install.yaml"))
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .filter_map(|document| Value::deserialize(document).ok())
        .filter(|object| !object.is_null())
        .collect()
}

fn all<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert!(!found.is_empty(), "no {kind} in the manifest");
    found
}

/// `(role's name, group, resource, verb)` of everything the operator's account is granted, by kind of role.
fn granted(objects: &[Value], kind: &str) -> Vec<(String, String, String, String)> {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut out = Vec::new();
    for role in all(objects, kind) {
        let labels = role["metadata"]["labels"].as_object();
        if labels.is_some_and(|labels| labels.keys().any(|label| label.contains("aggregate-to"))) {
            continue; // for people, not for the operator
        }
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        out.push((name.to_owned(), group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    assert!(!out.is_empty(), "no {kind} grants anything");
    out
}

#[test]
fn the_operator_gets_no_wildcard_and_no_secrets_of_others() {
    let objects = manifest();
    for kind in ["ClusterRole", "Role"] {
        for (role, group, resource, verb) in granted(&objects, kind) {
            assert!(
                ![&group, &resource, &verb].iter().any(|word| word.contains('*')),
                "{role}: {group}/{resource} {verb}"
            );
        }
    }
    let powers = ["secrets", "configmaps", "serviceaccounts", "pods/exec", "nodes", "roles", "clusterroles"];
    for (role, group, resource, verb) in granted(&objects, "ClusterRole") {
        assert!(!powers.contains(&resource.as_str()), "{role}: {verb} {resource}");
        assert!(!["escalate", "bind", "impersonate", "deletecollection"].contains(&verb.as_str()), "{role}: {verb}");
        let admission = group == "admissionregistration.k8s.io" && verb != "get";
        assert!(!admission, "{role}: {verb} {resource}");
    }
    let writes = |resource: &str| {
        let mut verbs: Vec<String> = granted(&objects, "ClusterRole")
            .into_iter()
            .filter(|(_, _, name, verb)| name == resource && !["get", "list", "watch"].contains(&verb.as_str()))
            .map(|(_, _, _, verb)| verb)
            .collect();
        verbs.sort();
        verbs
    };
    assert_eq!(writes("deployments"), ["patch"], "a Deployment is the user's: never created, never deleted");
    for route in ["httproutes", "grpcroutes", "virtualservices"] {
        assert_eq!(writes(route), ["patch"], "a route is the user's: never created, never deleted");
    }
    assert_eq!(writes("destinationrules"), ["create", "delete", "patch"], "copies for the canary Service");
    assert_eq!(writes("pods"), ["delete"], "one bad pod of a candidate; the policy haldane-pods keeps it to such");
    assert!(writes("releaseactions").is_empty(), "orders are for people");
}

#[test]
fn secrets_are_read_one_by_one_in_the_operators_namespace() {
    let objects = manifest();
    let secrets: Vec<_> =
        granted(&objects, "Role").into_iter().filter(|(_, _, resource, _)| resource == "secrets").collect();
    assert_eq!(secrets, [("haldane".into(), String::new(), "secrets".into(), "get".into())]);
    for role in all(&objects, "Role") {
        assert_eq!(role["metadata"]["namespace"], "haldane-system");
    }
}

#[test]
fn the_pod_is_locked_down_and_watched() {
    let objects = manifest();
    let deployment = all(&objects, "Deployment")[0];
    assert_eq!(deployment["spec"]["replicas"], 2);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    let locked = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(container["securityContext"], locked);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert!(
        container["resources"]["requests"]["memory"].is_string()
            && container["resources"]["limits"]["memory"].is_string()
    );
    let namespace = all(&objects, "Namespace")[0];
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn definitions_survive_the_chart_and_policies_fail_closed() {
    let objects = manifest();
    let definitions = all(&objects, "CustomResourceDefinition");
    assert_eq!(definitions.len(), 4);
    for definition in definitions {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    let policies = all(&objects, "ValidatingAdmissionPolicy");
    assert_eq!(policies.len(), 6);
    for policy in policies {
        let name = &policy["metadata"]["name"];
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{name}");
        let binding =
            |b: &&&Value| b["spec"]["policyName"] == *name && b["spec"]["validationActions"] == json!(["Deny"]);
        assert_eq!(all(&objects, "ValidatingAdmissionPolicyBinding").iter().filter(binding).count(), 1, "{name}");
        for validation in policy["spec"]["validations"].as_array().expect("validations") {
            assert!(validation["messageExpression"].is_string(), "{name} refuses without a sentence");
        }
    }
    let text = include_str!("../deploy/install.yaml");
    assert_eq!(
        text.matches("'system:serviceaccount:haldane-system:haldane'").count(),
        5,
        "the policies know the operator"
    );
}

/// The Job that Helm runs before an uninstall, as the chart renders it.
fn retire_job() -> Value {
    let objects = documents(include_str!("../deploy/retire.yaml"));
    assert_eq!(objects.len(), 1, "one Job and nothing else");
    objects[0].clone()
}

#[test]
fn the_chart_brings_every_release_home_before_it_goes() {
    let job = retire_job();
    assert_eq!((&job["kind"], &job["apiVersion"]), (&json!("Job"), &json!("batch/v1")));
    let annotations = json!({
        "helm.sh/hook": "pre-delete", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    });
    assert_eq!(job["metadata"]["annotations"], annotations);
    let pod = &job["spec"]["template"]["spec"];
    let args = json!(["retire", "--namespace=haldane-system", "--timeout=4m"]);
    assert_eq!(pod["containers"][0]["args"], args, "shorter than Helm's own patience of 5 minutes");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 300, "longer than the command's own");
    assert_eq!((&job["spec"]["backoffLimit"], &pod["restartPolicy"]), (&json!(2), &json!("Never")));
    let rules =
        json!([{"action": "FailJob", "onExitCodes": {"containerName": "haldane", "operator": "In", "values": [1]}}]);
    assert_eq!(job["spec"]["podFailurePolicy"]["rules"], rules, "what the command says is final");
}

#[test]
fn it_never_runs_by_itself_and_is_no_pod_of_the_operator() {
    let objects = manifest();
    assert!(
        objects.iter().all(|o| o["metadata"]["annotations"]["helm.sh/hook"].is_null()),
        "applied, it would run at once"
    );
    let deployment = all(&objects, "Deployment")[0];
    let selector = deployment["spec"]["selector"]["matchLabels"].as_object().expect("a selector");
    let job = retire_job();
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert!(selector.iter().any(|(key, value)| labels[key] != *value), "{labels}");
    // Locked down as the operator's own, the same image and account.
    let (ours, theirs) = (&job["spec"]["template"]["spec"], &deployment["spec"]["template"]["spec"]);
    for field in ["securityContext", "serviceAccountName"] {
        assert_eq!(ours[field], theirs[field], "{field}");
        assert!(!ours[field].is_null(), "{field}");
    }
    for field in ["image", "imagePullPolicy", "securityContext", "resources"] {
        assert_eq!(ours["containers"][0][field], theirs["containers"][0][field], "{field}");
        assert!(!ours["containers"][0][field].is_null(), "{field}");
    }
}

#[test]
fn an_uninstall_needs_no_more_rights_than_the_operator_has() {
    let objects = manifest();
    let verbs = |kind: &str, resource: &str| {
        let mut verbs: Vec<String> = granted(&objects, kind)
            .into_iter()
            .filter(|(_, _, r, _)| r == resource)
            .map(|(_, _, _, verb)| verb)
            .collect();
        verbs.sort();
        verbs
    };
    // It reads and marks the Lease, and lists Releases. Nobody deletes either.
    assert_eq!(verbs("Role", "leases"), ["create", "get", "list", "patch", "update", "watch"]);
    assert!(verbs("ClusterRole", "leases").is_empty());
    assert_eq!(verbs("ClusterRole", "releases"), ["get", "list", "patch", "update", "watch"]);
    // The stable template of a held Deployment is kept, watched, and goes with it.
    assert_eq!(verbs("ClusterRole", "controllerrevisions"), ["create", "delete", "get", "list", "watch"]);
}
