//! The workload on a real API server: what is seen of it, and the candidate's own ReplicaSet.

use std::collections::BTreeMap;

use haldane::{
    act::{finalizer, patch::Edit, scope::Scope, smoke, workload},
    api::{
        checks::{Smoke, SmokePoint},
        names,
        plan::Plan,
        release::FINALIZER,
        rollback::RollbackPlan,
        state::{Candidate, PinnedTraffic, State, Version},
        units::Span,
    },
    error::{Error, Result},
    observe::{
        self, clock, raw,
        seen::{Owner, PodTrouble, Side, SmokeSeen, Target, Workload},
        template,
        workload::{Ask, View},
    },
};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::harness::{self, Plane, SOON, eventually, pods};

/// A Deployment `shop` that runs, the Release `shop` that wants the image `shop:2`, and the operator's client.
pub struct Stage {
    pub plane: Plane,
    pub ns: String,
    pub agent: pods::Agent,
    pub client: Client,
    pub uid: String,
    pub images: BTreeMap<String, String>,
    pub stable: Version,
    pub candidate: Candidate,
}

const SHOP: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  labels: {app.kubernetes.io/instance: shop}
  annotations: {argocd.argoproj.io/tracking-id: 'shop:apps/Deployment:shop'}
spec:
  replicas: 3
  minReadySeconds: 0
  selector: {matchLabels: {app: shop}}
  strategy: {rollingUpdate: {maxSurge: 2}}
  template:
    metadata: {labels: {app: shop, tier: web}, annotations: {note: kept}}
    spec:
      initContainers: [{name: migrate, image: 'migrate:1'}]
      containers:
      - {name: app, image: 'shop:1', ports: [{containerPort: 80}], env: [{name: A, value: b}]}
      - {name: side, image: 'side:1'}
";

impl Stage {
    pub async fn new() -> Self {
        Self::on(harness::plane().await, SHOP).await
    }

    pub async fn own() -> Self {
        Self::on(harness::own_plane().await, SHOP).await
    }

    pub async fn on(plane: Plane, yaml: &str) -> Self {
        let ns = plane.namespace().await;
        let agent = pods::Agent::start(&plane, &ns);
        plane.apply_yaml(&ns, yaml).await;
        let client = plane.operator_client();
        let images = BTreeMap::from([("app".to_owned(), "shop:2".to_owned())]);
        let ask = Ask {
            images: &images,
            at_change: false,
            state: None,
            previous: None,
            release: "shop",
            release_uid: "uid-of-release",
        };
        let workload = eventually("the Deployment runs", SOON, async || {
            let view = observe::workload::look(&client, &ns, "shop", &ask).await.expect("a view");
            match view.target {
                Target::Found(workload) if workload.settled => Ok(*workload),
                other => Err(other),
            }
        })
        .await;
        let candidate = Candidate {
            version: Version {
                revision: workload.asked.revision.clone(),
                name: Some("2".into()),
                images: workload.asked.images.clone(),
            },
            id: workload.asked.revision.0.clone(),
            target_uid: workload.uid.clone(),
            generation: 1,
            plan: Plan::default(),
            traffic: PinnedTraffic::default(),
            rollback: RollbackPlan::default(),
            undo: false,
            replaced: None,
        };
        let stable = Version { revision: workload.revision, name: None, images: workload.images };
        Self { plane, ns, agent, client, uid: workload.uid, images, stable, candidate }
    }

    pub fn scope(&self) -> Scope<'_> {
        Scope {
            client: self.client.clone(),
            namespace: &self.ns,
            release: "shop",
            release_uid: "uid-of-release",
            target: "shop",
            target_uid: &self.uid,
            hold: haldane::observe::seen::Hold::No,
            image: None,
            stable: &self.stable,
            candidate: Some(&self.candidate),
            traffic: &self.candidate.traffic,
        }
    }

    pub fn state(&self) -> State {
        let (stable, candidate) = (self.stable.clone(), self.candidate.clone());
        State::Preparing { stable, candidate, since: clock::now(), resume: None }
    }

    pub async fn view(&self) -> View {
        let state = self.state();
        self.view_with(Some(&state)).await
    }

    pub async fn view_with(&self, state: Option<&State>) -> View {
        let ask = Ask {
            images: &self.images,
            at_change: false,
            state,
            previous: None,
            release: "shop",
            release_uid: "uid-of-release",
        };
        observe::workload::look(&self.client, &self.ns, "shop", &ask).await.expect("a view")
    }

    pub async fn seen(&self) -> Workload {
        self.view().await.target.found().expect("the Deployment").clone()
    }

    pub async fn deployment(&self) -> DynamicObject {
        raw::deployments(&self.plane.client(), &self.ns).get("shop").await.expect("the Deployment")
    }

    pub fn set_name(&self) -> String {
        names::candidate_set("shop", &self.candidate.id)
    }

    pub async fn set(&self) -> Option<DynamicObject> {
        raw::replica_sets(&self.plane.client(), &self.ns).get_opt(&self.set_name()).await.expect("an answer")
    }

    /// The UIDs of the pods of a side that are ready, by name.
    pub async fn pods(&self, side: Side) -> BTreeMap<String, String> {
        let candidate = names::candidate_hash(&self.candidate.id);
        let api: Api<Pod> = Api::namespaced(self.plane.client(), &self.ns);
        let pods = api.list(&ListParams::default().labels("app=shop")).await.expect("pods").items;
        let of_side = |pod: &Pod| (pod.labels()[names::HASH] == candidate) == (side == Side::Candidate);
        let live = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        pods.iter().filter(|p| of_side(p) && live(p)).map(|p| (p.name_any(), p.uid().expect("a UID"))).collect()
    }

    /// The administrator changes the Deployment.
    pub async fn admin_patch(&self, patch: Value) -> kube::Result<DynamicObject> {
        let api = raw::deployments(&self.plane.client(), &self.ns);
        api.patch("shop", &PatchParams::default(), &Patch::Merge(patch)).await
    }

    pub async fn admin_image(&self, image: &str) -> kube::Result<DynamicObject> {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
        let api = raw::deployments(&self.plane.client(), &self.ns);
        api.patch("shop", &PatchParams::default(), &Patch::Strategic(patch)).await
    }

    /// Paused, and the candidate's pods are available.
    pub async fn prepare(&self, size: u32) {
        soon("paused", async || workload::pause(&self.scope()).await).await;
        soon("created", async || workload::create_candidate(&self.scope()).await).await;
        soon("sized", async || workload::scale_candidate(&self.scope(), size).await).await;
        self.available(size).await;
    }

    pub async fn available(&self, size: u32) {
        eventually("the candidate's pods are available", SOON, async || {
            let set = self.view().await.candidate;
            if set.as_ref().is_some_and(|s| s.observed && s.size == size && s.available == size) {
                Ok(())
            } else {
                Err(set)
            }
        })
        .await;
    }
}

/// Does it again while the world is not ready for it, as the pass would.
pub async fn soon(what: &str, mut write: impl AsyncFnMut() -> Result<()>) {
    eventually(what, SOON, async || match write().await {
        Err(e @ (Error::Stale(_) | Error::NotYet { .. })) => Err(e),
        Err(e) => panic!("{what}: {e}"),
        Ok(()) => Ok(()),
    })
    .await;
}

/// The sentence of a write that must wait.
pub fn waits(result: Result<()>) -> String {
    match result {
        Err(e @ (Error::NotYet { .. } | Error::Stale(_))) => e.to_string(),
        other => panic!("expected to wait, got {other:?}"),
    }
}

/// The sentence of a write that was refused.
pub fn refused(result: Result<()>) -> String {
    match result {
        Err(e @ Error::Refused { .. }) => e.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn the_candidate_is_nobodys_and_has_the_template_to_the_last_field() {
    let stage = Stage::new().await;
    let (before, stable_pods) = (stage.deployment().await, stage.pods(Side::Stable).await);
    waits(workload::create_candidate(&stage.scope()).await); // not before the pause is confirmed
    soon("paused", async || workload::pause(&stage.scope()).await).await;
    soon("created", async || workload::create_candidate(&stage.scope()).await).await;
    let born = stage.set().await.expect("the ReplicaSet");
    assert_eq!(born.data["spec"]["replicas"], 0, "a create that arrives when all is over starts no pod");
    stage.prepare(2).await;
    workload::create_candidate(&stage.scope()).await.expect("again is the same");

    let set = stage.set().await.expect("the ReplicaSet");
    assert_eq!(set.labels().keys().collect::<Vec<_>>(), [names::RELEASE]);
    assert!(set.annotations().keys().all(|key| key.starts_with(names::PREFIX)), "{:?}", set.annotations());
    assert!(set.metadata.owner_references.is_none());
    let (asked, _) = template::with_images(raw::pod_template(&before), &stage.images);
    assert_eq!(template::difference(&template::bare(raw::pod_template(&set)), &asked), None);

    let view = stage.view().await;
    let seen = view.candidate.expect("the candidate");
    assert_eq!((seen.revision, seen.owner), (stage.candidate.version.revision.clone(), Owner::Nobody));
    assert!(!seen.offered && !seen.carries_traffic && !seen.deleting);
    assert_eq!(view.candidate_hash.as_deref(), Some(seen.hash.as_str()));
    let workload = view.target.found().expect("the Deployment");
    assert_eq!(view.stable_hash.as_deref(), Some(workload.sets[0].hash.as_str()));
    assert_eq!(workload.sets.len(), 1);
    assert!(workload.paused && workload.settled && workload.refusals.is_empty(), "{workload:?}");
    let count = |side| view.pods.iter().filter(|p| p.side == side && p.ready).count();
    assert_eq!((count(Side::Stable), count(Side::Candidate)), (3, 2));
    assert_eq!(stage.pods(Side::Stable).await, stable_pods);
    assert_eq!(view.selector_labels, BTreeMap::from([("app".into(), "shop".into())]));
}

#[tokio::test]
async fn rules_of_where_pods_may_run_are_kept_to_the_byte() {
    let rules = "
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: shop}}, matchLabelKeys: [pod-template-hash]}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: shop}}, matchLabelKeys: [pod-template-hash]}
      - {maxSkew: 2, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: shop}}}
      tolerations: [{key: spot, operator: Exists}]
      nodeSelector: {disk: ssd}
      initContainers:";
    let stage = Stage::on(harness::plane().await, &SHOP.replace("\n      initContainers:", rules)).await;
    let before = stage.deployment().await;
    stage.prepare(1).await;
    let set = stage.set().await.expect("the ReplicaSet");
    let of_set = raw::pod_template(&set);
    let (asked, _) = template::with_images(raw::pod_template(&before), &stage.images);
    let hash = template::labels(of_set).remove(names::HASH).expect("our hash");
    // But for our hash and the image every byte is the user's.
    let text = |template: &Value| serde_json::to_string(template).expect("JSON");
    assert_eq!(text(of_set), text(&template::with_hash(&asked, &hash)));
    for field in ["affinity", "topologySpreadConstraints", "tolerations", "nodeSelector"] {
        assert!(!of_set["spec"][field].is_null(), "{field}");
        assert_eq!(text(&of_set["spec"][field]), text(&raw::pod_template(&before)["spec"][field]), "{field}");
    }
    // The API server puts the value of pod-template-hash into both rules, so each version is spread by itself.
    let pods: Api<Pod> = Api::namespaced(stage.plane.client(), &stage.ns);
    let of_candidate = ListParams::default().labels(&format!("{}={hash}", names::HASH));
    let pod = pods.list(&of_candidate).await.expect("pods").items.remove(0);
    let affinity = serde_json::to_string(&pod.spec.expect("a spec").affinity).expect("JSON");
    assert!(affinity.contains(&hash), "{affinity}");
}

#[tokio::test]
async fn size_mark_and_end_of_the_candidate() {
    let stage = Stage::new().await;
    stage.prepare(1).await;
    soon("scaled", async || workload::scale_candidate(&stage.scope(), 3).await).await;
    stage.available(3).await;
    soon("marked", async || workload::mark_candidate(&stage.scope(), true).await).await;
    assert!(stage.view().await.candidate.expect("the candidate").carries_traffic);
    let admin = raw::replica_sets(&stage.plane.client(), &stage.ns);
    let denied = admin.delete(&stage.set_name(), &DeleteParams::default()).await.expect_err("the mark protects it");
    assert!(denied.to_string().contains("carries-traffic"), "{denied}");

    // A pod takes long to end: the ReplicaSet stays in sight as long.
    stage.agent.linger(pods::named(&stage.set_name()));
    soon("deleted", async || workload::delete_candidate(&stage.scope()).await).await;
    let seen = stage.view().await.candidate.expect("still there");
    assert!(seen.deleting);
    let again = workload::create_candidate(&stage.scope()).await;
    assert!(waits(again).contains("still being deleted"));
    stage.agent.finish();
    eventually("gone", SOON, async || stage.set().await.is_none().then_some(())).await;
    workload::delete_candidate(&stage.scope()).await.expect("what is gone is deleted");
    soon("un-paused", async || workload::unpause(&stage.scope(), false).await).await;
    let seen = stage.seen().await;
    assert!(!seen.paused && !stage.deployment().await.labels().contains_key(names::PAUSED_BY));
    assert_eq!(stage.pods(Side::Stable).await.len(), 3);
}

#[tokio::test]
async fn what_a_lost_status_left_behind_is_found_and_cleared() {
    let stage = Stage::new().await;
    stage.prepare(1).await;
    let view = stage.view_with(None).await;
    assert_eq!(view.candidate.expect("found by its label").id, stage.candidate.id);
    let workload = view.target.found().expect("the Deployment");
    assert!(
        workload.paused_by_us() && workload.refusals.is_empty(),
        "our own pause is none of the user's: {workload:?}"
    );
    let scope = Scope { candidate: None, ..stage.scope() };
    // A mark that a hand-over left on a ReplicaSet of the Deployment makes no candidate of it.
    let marks = json!({names::RELEASE: scope.release});
    let marks = json!({"metadata": {"labels": marks, "annotations": marks}});
    let sets = raw::replica_sets(&stage.plane.client(), &stage.ns);
    let marked = sets.patch(&workload.sets[0].name, &PatchParams::default(), &Patch::Merge(marks)).await;
    assert_eq!(raw::size(&marked.expect("marked")), 3);
    soon("deleted", async || workload::delete_candidate(&scope).await).await;
    eventually("gone", SOON, async || stage.view_with(None).await.candidate.is_none().then_some(())).await;

    let api = raw::deployments(&stage.plane.client(), &stage.ns);
    api.delete("shop", &DeleteParams::default()).await.expect("deleted");
    eventually("missing", SOON, async || (stage.view().await.target == Target::Missing).then_some(())).await;
    stage.plane.apply_yaml(&stage.ns, SHOP).await;
    assert!(waits(workload::pause(&stage.scope()).await).contains("created anew"));
}

#[tokio::test]
async fn strangers_are_not_touched() {
    let stage = Stage::new().await;
    let stranger = format!(
        "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {{name: {}}}\nspec: {{replicas: 0, selector: {{matchLabels: {{x: y}}}}, \
         template: {{metadata: {{labels: {{x: y}}}}, spec: {{containers: [{{name: a, image: b}}]}}}}}}",
        stage.set_name()
    );
    stage.plane.apply_yaml(&stage.ns, &stranger).await;
    soon("paused", async || workload::pause(&stage.scope()).await).await;
    eventually("paused and seen", SOON, async || stage.seen().await.observed.then_some(())).await;
    assert!(refused(workload::create_candidate(&stage.scope()).await).contains("does not belong to this Release"));
    assert!(stage.view().await.candidate.is_none());
    workload::delete_candidate(&stage.scope()).await.expect("nothing of ours");
    assert!(stage.set().await.is_some());
}

#[tokio::test]
async fn a_template_that_changed_is_not_the_one_accepted() {
    let stage = Stage::new().await;
    soon("paused", async || workload::pause(&stage.scope()).await).await;
    stage.plane.apply_yaml(&stage.ns, &SHOP.replace("note: kept", "note: changed")).await;
    eventually("seen", SOON, async || stage.seen().await.observed.then_some(())).await;
    assert!(waits(workload::create_candidate(&stage.scope()).await).contains("template of Deployment shop changed"));
    assert!(refused(workload::unpause(&stage.scope(), false).await).contains("un-pausing would roll that out"));
    assert_ne!(stage.seen().await.revision, stage.stable.revision);
}

#[tokio::test]
async fn a_pause_that_is_the_users_own_is_refused() {
    let stage = Stage::new().await;
    stage.admin_patch(json!({"spec": {"paused": true}})).await.expect("paused");
    let refusals = stage.view_with(None).await.target.found().expect("the Deployment").refusals.clone();
    assert!(refusals[0].contains("paused by its user"), "{refusals:?}");
    assert!(refused(workload::pause(&stage.scope()).await).contains("its user has paused it"));
}

#[tokio::test]
async fn no_un_pausing_while_a_service_is_pinned() {
    let stage = Stage::new().await;
    soon("paused", async || workload::pause(&stage.scope()).await).await;
    let hash = stage.view().await.stable_hash.expect("a hash");
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: shop}}\nspec: {{selector: {{app: shop, pod-template-hash: '{hash}'}}, ports: [{{port: 80}}]}}"
    );
    stage.plane.apply_yaml(&stage.ns, &service).await;
    assert!(waits(workload::unpause(&stage.scope(), false).await).contains("Service shop is still pinned"));
    let services: Api<Service> = Api::namespaced(stage.plane.client(), &stage.ns);
    let unpin = json!([{"op": "remove", "path": "/spec/selector/pod-template-hash"}]);
    let unpin = Patch::<Value>::Json(serde_json::from_value(unpin).expect("a patch"));
    services.patch("shop", &PatchParams::default(), &unpin).await.expect("un-pinned");
    soon("un-paused", async || workload::unpause(&stage.scope(), false).await).await;
}

#[tokio::test]
async fn a_write_to_what_has_changed_since_is_stale() {
    let stage = Stage::new().await;
    let read = stage.deployment().await;
    stage.admin_patch(json!({"metadata": {"annotations": {"somebody": "else"}}})).await.expect("changed");
    let mut edit = Edit::of(&read);
    edit.add(&["spec", "paused"], true);
    let late = edit.send(&raw::deployments(&stage.client, &stage.ns), &read, "pausing").await;
    assert!(matches!(late, Err(Error::Stale(_))), "{late:?}");
    assert!(!raw::paused(&stage.deployment().await));
}

#[tokio::test]
async fn troubles_and_circumstances_are_seen() {
    let stage = Stage::new().await;
    stage.agent.crash(pods::of_image("shop:2"));
    soon("paused", async || workload::pause(&stage.scope()).await).await;
    soon("created", async || workload::create_candidate(&stage.scope()).await).await;
    soon("sized", async || workload::scale_candidate(&stage.scope(), 1).await).await;
    eventually("the crash is seen", SOON, async || {
        let pods = stage.view().await.pods;
        let crashes = |p: &haldane::observe::seen::Pod| matches!(&p.trouble, Some(PodTrouble::Crash(_)));
        if pods.iter().any(|p| p.side == Side::Candidate && crashes(p)) { Ok(()) } else { Err(pods) }
    })
    .await;

    let around = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: keep}
spec: {minAvailable: 1, selector: {matchLabels: {app: shop}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: auto}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 5
  metrics: [{type: External, external: {metric: {name: queue}, target: {type: Value, value: '5'}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: shop}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers: [{name: app, image: 'web:1'}]
      volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]
";
    stage.plane.apply_yaml(&stage.ns, around).await;
    let ask = Ask {
        images: &stage.images,
        at_change: false,
        state: None,
        previous: None,
        release: "web",
        release_uid: "other",
    };
    let view = observe::workload::look(&stage.client, &stage.ns, "web", &ask).await.expect("a view");
    let web = view.target.found().expect("the Deployment");
    assert!(
        view.candidate.is_none() && view.pods.is_empty(),
        "the pods of shop match its selector and are not its own"
    );
    let told = web.refusals.join("\n");
    assert!(told.contains("strategy Recreate") && told.contains("claim data"), "{told}");
    let told = web.warnings.join("\n");
    for part in ["PodDisruptionBudget keep", "HorizontalPodAutoscaler auto", "readinessProbe", "preStop", "requests"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(web.autoscaler.map(|a| (a.max, a.load)), Some((5, None)));
}

#[tokio::test]
async fn the_smoke_test_runs_under_the_restricted_standard() {
    let mut stage = Stage::new().await;
    let admin = stage.plane.client();
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(admin.clone());
    let enforce = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces.patch(&stage.ns, &PatchParams::default(), &Patch::Merge(enforce)).await.expect("labelled");
    stage
        .plane
        .apply_yaml(
            &stage.ns,
            "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}, images: {app: 'shop:2'}}
",
        )
        .await;
    let releases: Api<haldane::api::Release> = Api::namespaced(admin.clone(), &stage.ns);
    let uid = releases.get("shop").await.expect("the Release").uid().expect("a UID");
    stage.candidate.id = format!("{}-2", stage.candidate.id);
    let scope = Scope { release_uid: &uid, ..stage.scope() };

    let test = Smoke {
        image: "smoke:1".into(),
        command: vec![],
        args: vec!["run".into()],
        timeout: Span::secs(20),
        after: vec![SmokePoint::Full],
    };
    smoke::start_smoke(&scope, SmokePoint::Full, &test).await.expect("started");
    smoke::start_smoke(&scope, SmokePoint::Full, &test).await.expect("started already");
    let seen = async || {
        observe::smoke::look(&stage.client, &stage.ns, "shop", &uid, &stage.candidate.id).await.expect("an answer")
    };
    let all = seen().await;
    assert!(matches!(all.get(&SmokePoint::Full), Some(SmokeSeen::Running { .. })) && all.len() == 1, "{all:?}");
    let pods: Api<Pod> = Api::namespaced(admin, &stage.ns);
    let pod = eventually("the Job's pod is admitted", SOON, async || {
        let found = pods.list(&ListParams::default().labels(names::SMOKE)).await.expect("pods").items;
        found.into_iter().next()
    })
    .await;
    assert_eq!(pod.spec.expect("a spec").automount_service_account_token, Some(false));
    smoke::delete_smoke(&scope, SmokePoint::Full).await.expect("deleted");
    smoke::delete_smoke(&scope, SmokePoint::Full).await.expect("deleted already");
    eventually("the Job is gone", SOON, async || seen().await.is_empty().then_some(())).await;

    soon("held", async || finalizer::add_finalizer(&scope).await).await;
    soon("held already", async || finalizer::add_finalizer(&scope).await).await;
    let held = releases.get("shop").await.expect("the Release");
    assert_eq!(held.finalizers(), [FINALIZER]);
    soon("let go", async || finalizer::drop_finalizer(&scope).await).await;
    assert!(releases.get("shop").await.expect("the Release").finalizers().is_empty());
}
