//! The admission policies and the operator's rights, each rule broken once.

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment, ReplicaSet},
    core::v1::{Namespace, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::harness::{self, SOON, eventually};

const SHOP: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, annotations: {haldane.dev/strategy: '{}'}}
spec:
  replicas: 1
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: app, image: 'shop:1'}]}
";

const CANDIDATE: &str = "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: shop-r1, annotations: {haldane.dev/carries-traffic: 'true'}}
spec:
  replicas: 0
  selector: {matchLabels: {app: shop, pod-template-hash: h1}}
  template:
    metadata: {labels: {app: shop, pod-template-hash: h1}}
    spec: {containers: [{name: app, image: 'shop:2'}]}
";

async fn patch(api: &Api<Deployment>, patch: Value) -> Result<Deployment, String> {
    api.patch("shop", &PatchParams::default(), &Patch::Merge(patch)).await.map_err(|e| e.to_string())
}

/// One of Kubernetes' own controllers, with no more than its own rights.
fn controller(plane: &harness::Plane, name: &str) -> Client {
    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
    plane.client_as(&format!("system:serviceaccount:kube-system:{name}"), &groups)
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
}

#[tokio::test]
async fn during_the_hand_over_only_the_operator_changes_what_pods_depend_on() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    plane.apply_yaml(&ns, SHOP).await;
    let stranger: Api<Deployment> = Api::namespaced(plane.client(), &ns);
    let operator: Api<Deployment> = Api::namespaced(plane.operator_client(), &ns);
    let label = |value: Value| json!({"metadata": {"labels": {"haldane.dev/handover": value}}});

    let refused = patch(&stranger, label("r1".into())).await.expect_err("only the operator sets the label");
    assert!(refused.contains("admin may not set metadata.labels[haldane.dev/handover] on Deployment"), "{refused}");
    let labelled = SHOP.replace("{name: shop,", "{name: other, labels: {haldane.dev/handover: r1},");
    let refused = plane.create_yaml(&plane.client(), &ns, &labelled).await.expect_err("nor at creation");
    assert!(refused.contains("only haldane does; remove the label from what you apply"), "{refused}");
    patch(&stranger, image("shop:2")).await.expect("at rest the template is the user's");

    patch(&operator, label("r1".into())).await.expect("the operator sets the label");
    let forbidden = [
        (image("shop:3"), "spec.template"),
        (json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}), "spec.template"),
        (json!({"spec": {"paused": true}}), "spec.paused"),
        (json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}), "spec.strategy"),
        (json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 2}}}}), "spec.strategy"),
        (label(Value::Null), "metadata.labels[haldane.dev/handover]"),
        (label("r2".into()), "metadata.labels[haldane.dev/handover]"),
        (
            json!({"metadata": {"annotations": {"haldane.dev/strategy": "x"}}}),
            "metadata.annotations[haldane.dev/strategy]",
        ),
        (
            json!({"metadata": {"annotations": {"haldane.dev/strategy": null}}}),
            "metadata.annotations[haldane.dev/strategy]",
        ),
    ];
    for (change, what) in forbidden {
        let refused = patch(&stranger, change.clone()).await.expect_err(&change.to_string());
        let sentence =
            format!("admin may not change {what} of Deployment {ns}/shop while haldane hands a release over");
        assert!(refused.contains(&sentence), "{change}: {refused}");
    }
    patch(&stranger, json!({"spec": {"replicas": 2}})).await.expect("scaling is allowed");
    let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
    stranger.patch_scale("shop", &PatchParams::default(), &scale).await.expect("also as an autoscaler does it");
    patch(&stranger, json!({"metadata": {"labels": {"team": "a"}, "annotations": {"b": "c"}}}))
        .await
        .expect("metadata too");

    let changed = patch(&operator, image("shop:4")).await.expect("the operator changes the template");
    eventually("the Deployment controller goes on working", SOON, async || {
        let now = operator.get("shop").await.expect("the Deployment");
        let seen = now.status.as_ref().and_then(|s| s.observed_generation);
        (seen >= changed.metadata.generation && now.annotations().contains_key("deployment.kubernetes.io/revision"))
            .then_some(())
    })
    .await;
    patch(&operator, label(Value::Null)).await.expect("the operator takes the label off");
    patch(&stranger, image("shop:5")).await.expect("and the template is the user's again");
}

#[tokio::test]
async fn a_candidate_under_traffic_is_not_deleted_by_strangers() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let stranger: Api<ReplicaSet> = Api::namespaced(plane.client(), &ns);
    let operator: Api<ReplicaSet> = Api::namespaced(plane.operator_client(), &ns);
    let now = DeleteParams::default();
    let create = async || {
        plane.create_yaml(&plane.operator_client(), &ns, CANDIDATE).await.expect("the operator creates candidates");
    };

    create().await;
    let refused = stranger.delete("shop-r1", &now).await.expect_err("it carries traffic").to_string();
    let sentence =
        format!("admin may not delete ReplicaSet {ns}/shop-r1: its annotation haldane.dev/carries-traffic says");
    assert!(refused.contains(&sentence), "{refused}");
    let all = stranger.delete_collection(&now, &ListParams::default()).await;
    assert!(all.is_err_and(|e| e.to_string().contains(&sentence)), "nor together with others");
    operator.delete("shop-r1", &now).await.expect("the operator may");

    create().await;
    let unmarked = Patch::Merge(json!({"metadata": {"annotations": {"haldane.dev/carries-traffic": "false"}}}));
    operator.patch("shop-r1", &PatchParams::default(), &unmarked).await.expect("no traffic any more");
    stranger.delete("shop-r1", &now).await.expect("without traffic anybody may");

    create().await;
    let collector: Api<ReplicaSet> = Api::namespaced(controller(&plane, "generic-garbage-collector"), &ns);
    collector.delete("shop-r1", &now).await.expect("the garbage collector may");

    create().await;
    let namespaces: Api<Namespace> = Api::all(plane.client());
    namespaces.delete(&ns, &now).await.expect("the namespace is deleted");
    eventually("the namespace is gone", SOON, async || match namespaces.get_opt(&ns).await.expect("an answer") {
        None => Ok(()),
        Some(still) => Err(still.status),
    })
    .await;
}

#[tokio::test]
async fn an_order_bears_its_senders_name() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let order = |name: &str, by: &str| {
        format!(
            "{{apiVersion: haldane.dev/v1alpha1, kind: ReleaseAction, metadata: {{name: {name}}}, \
             spec: {{release: shop, releaseUid: u, revision: r, type: Promote, by: {by}}}}}"
        )
    };
    let alice = plane.client_as("alice", &["system:masters"]);
    let refused = plane.create_yaml(&alice, &ns, &order("a", "bob")).await.expect_err("forged");
    let sentence =
        "spec.by is bob but the API server knows you as alice; write that name there, or use kubectl haldane";
    assert!(refused.contains(sentence), "{refused}");
    plane.create_yaml(&alice, &ns, &order("a", "alice")).await.expect("her own name");
    let rightless = plane.client_as("carol", &["system:authenticated"]);
    let refused = plane.create_yaml(&rightless, &ns, &order("b", "carol")).await.expect_err("no right to order");
    assert!(refused.contains("cannot create resource \"releaseactions\""), "{refused}");
}

#[tokio::test]
async fn editors_order_and_viewers_look() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    for role in ["edit", "view"] {
        let binding = format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: {role}}}, \
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}, \
             subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {role}or}}]}}"
        );
        plane.apply_yaml(&ns, &binding).await;
    }
    let order = |by: &str| {
        format!(
            "{{apiVersion: haldane.dev/v1alpha1, kind: ReleaseAction, metadata: {{name: a}}, \
             spec: {{release: shop, releaseUid: u, revision: r, type: Pause, by: {by}}}}}"
        )
    };
    let editor = plane.client_as("editor", &["system:authenticated"]);
    let viewer = plane.client_as("viewor", &["system:authenticated"]);
    // Kubernetes adds our rules to its own roles a moment after the binding.
    eventually("editors may order", SOON, async || plane.try_yaml(&editor, &ns, &order("editor")).await).await;
    let releases: Api<haldane::api::Release> = Api::namespaced(viewer.clone(), &ns);
    releases.list(&ListParams::default()).await.expect("viewers look");
    let refused = plane.try_yaml(&viewer, &ns, &order("viewor")).await.expect_err("viewers only look");
    assert!(refused.contains("cannot create resource \"releaseactions\""), "{refused}");
}

#[tokio::test]
async fn of_all_pods_the_operator_deletes_those_of_candidates_only() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let pod = |name: &str, hash: &str, set: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{pod-template-hash: '{hash}'}}, ownerReferences: \
             [{{apiVersion: apps/v1, kind: ReplicaSet, name: '{set}', uid: u, controller: true}}]}}, \
             spec: {{nodeName: nowhere, containers: [{{name: app, image: 'shop:1'}}]}}}}"
        )
    };
    // The owners are names only: made last, so that the garbage collector does not come first.
    let made =
        [("a", "h1f-2", "shop-r1f-2"), ("b", "h1f", "shop-r2f"), ("c", "5d6f8", "shop-5d6f8"), ("d", "", "shop-r")];
    let theirs: Api<Pod> = Api::namespaced(plane.operator_client(), &ns);
    for (name, hash, set) in made {
        // On a busy machine the collector may come first all the same: then once more.
        let answer = eventually("an answer about this pod", SOON, async || {
            plane.create_yaml(&plane.client(), &ns, &pod(name, hash, set)).await?;
            match theirs.delete(name, &DeleteParams::default()).await.map(drop) {
                Err(kube::Error::Api(status)) if status.is_not_found() => Err("it is gone".to_owned()),
                // Of what ends already no policy is asked.
                Ok(()) if name != "a" => {
                    let all: Api<Pod> = Api::namespaced(plane.client(), &ns);
                    let _gone = all.delete(name, &DeleteParams::default().grace_period(0)).await;
                    Err("the operator, or the collector before it, has deleted it".to_owned())
                }
                answer => Ok(answer),
            }
        })
        .await;
        if name == "a" {
            answer.expect("a pod of a candidate");
        } else {
            let refused = answer.expect_err("a pod of somebody else").to_string();
            assert!(
                refused.contains(&format!("may not delete pod {ns}/{name}: it does not belong to a candidate")),
                "{refused}"
            );
        }
    }
}

#[tokio::test]
async fn of_all_controller_revisions_the_operator_deletes_its_own_only() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let theirs: Api<ControllerRevision> = Api::namespaced(plane.operator_client(), &ns);
    for (name, annotation, may) in [
        ("shop-haldane-stable", "haldane.dev/release", true),
        ("db-haldane-stable", "a", false),
        ("db-1", "haldane.dev/release", false),
    ] {
        let text = format!(
            "{{apiVersion: apps/v1, kind: ControllerRevision, metadata: {{name: {name}, annotations: {{{annotation}: shop}}}}, revision: 1, data: {{}}}}"
        );
        plane.create_yaml(&plane.client(), &ns, &text).await.expect("a revision");
        let answer = theirs.delete(name, &DeleteParams::default()).await.map(drop);
        if may {
            answer.expect("its own");
        } else {
            let refused = answer.expect_err("somebody else's").to_string();
            assert!(refused.contains("it does not keep the template of a held Deployment"), "{refused}");
        }
    }
}

#[tokio::test]
async fn the_operator_may_not_do_more_than_it_does() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let operator = plane.operator_client();
    let list = ListParams::default();
    let forbidden = |answer: Result<(), kube::Error>, what: &str| {
        let refused = matches!(&answer, Err(kube::Error::Api(s)) if s.code == 403);
        assert!(refused, "{what}: {answer:?}");
    };
    let secrets: Api<Secret> = Api::all(operator.clone());
    forbidden(secrets.list(&list).await.map(drop), "listing all secrets");
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), &ns);
    forbidden(secrets.list(&list).await.map(drop), "listing a tenant's secrets");
    forbidden(secrets.get("a").await.map(drop), "reading a tenant's secret");
    let own: Api<Secret> = Api::namespaced(operator.clone(), "haldane-system");
    forbidden(own.list(&list).await.map(drop), "listing its own secrets");
    assert!(own.get_opt("a").await.expect("it reads a secret of its own namespace by name").is_none());
    let now = DeleteParams::default();
    let deployments: Api<Deployment> = Api::namespaced(operator.clone(), &ns);
    forbidden(deployments.delete("a", &now).await.map(drop), "deleting a Deployment");
    let releases: Api<haldane::api::Release> = Api::namespaced(operator.clone(), &ns);
    forbidden(releases.delete("a", &now).await.map(drop), "deleting a Release");
    let order = "{apiVersion: haldane.dev/v1alpha1, kind: ReleaseAction, metadata: {name: a}, spec: {release: a, releaseUid: u, \
                 revision: r, type: Promote, by: 'system:serviceaccount:haldane-system:haldane'}}";
    let refused = plane.try_yaml(&operator, &ns, order).await.expect_err("it never orders");
    assert!(refused.contains("cannot create resource \"releaseactions\""), "{refused}");
}
