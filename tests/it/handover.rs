//! The hand-over on a real API server with the real controllers: the user's Deployment adopts the proven pods, each of
//! them started once; until the old ones go all of it can be taken back.

use std::collections::BTreeMap;

use haldane::{
    act::{promote, scope::Scope, workload},
    api::{names, state::Version},
    error::Error,
    observe::{
        raw,
        seen::{Owner, Side},
        template,
    },
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    harness::{SOON, eventually},
    workload::{Stage, refused, soon, waits},
};

impl Stage {
    async fn take(&self) {
        soon("template taken", async || promote::take_template(&self.scope()).await).await;
    }

    async fn offer(&self, wanted: u32) {
        soon("offered", async || promote::offer(&self.scope(), wanted).await).await;
    }

    async fn adopted(&self) {
        self.owner(Owner::Deployment).await;
    }

    async fn owner(&self, owner: Owner) {
        eventually("the owner changes", SOON, async || {
            let set = self.view().await.candidate;
            if set.as_ref().is_some_and(|s| s.owner == owner) { Ok(()) } else { Err(set) }
        })
        .await;
    }

    /// To the end, as a pass would that looks again whenever something has to wait.
    async fn finish(&self) {
        soon("mark off", async || workload::mark_candidate(&self.scope(), false).await).await;
        soon("finished", async || promote::finish_hand_over(&self.scope()).await).await;
        eventually("settled", SOON, async || {
            let seen = self.seen().await;
            if seen.settled && !seen.paused { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    /// All pods of the workload that were ever seen, so that a pod too many is noticed even if it is gone again.
    async fn all_pods(&self) -> BTreeMap<String, String> {
        let api: Api<Pod> = Api::namespaced(self.plane.client(), &self.ns);
        let pods = api.list(&ListParams::default().labels("app=shop")).await.expect("pods").items;
        let live = pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none());
        live.map(|p| (p.name_any(), p.uid().expect("a UID"))).collect()
    }

    /// How many pods the ReplicaSet controller has made for the candidate, by its own events.
    async fn pods_made(&self) -> usize {
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.plane.client(), &self.ns);
        let events = events.list(&ListParams::default()).await.expect("events").items;
        let of_candidate = |e: &&k8s_openapi::api::core::v1::Event| {
            e.involved_object.name.as_deref() == Some(self.set_name().as_str())
                && e.reason.as_deref() == Some("SuccessfulCreate")
        };
        events.iter().filter(of_candidate).map(|e| usize::try_from(e.count.unwrap_or(1)).expect("a count")).sum()
    }

    async fn scale(&self, replicas: u32) {
        self.admin_patch(json!({"spec": {"replicas": replicas}})).await.expect("scaled");
        eventually("the controller has seen the size", SOON, async || self.seen().await.observed.then_some(())).await;
    }
}

/// What the user wrote, but for what a rollout changes.
fn users_own(deployment: &kube::api::DynamicObject) -> Value {
    let mut spec = deployment.data["spec"].clone();
    spec.as_object_mut().expect("a spec").remove("template");
    let of_user = |map: &BTreeMap<String, String>| {
        map.iter()
            .filter(|(k, _)| !k.starts_with("deployment.kubernetes.io/"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    let (labels, annotations): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (of_user(deployment.labels()), of_user(deployment.annotations()));
    json!({"spec": spec, "labels": labels, "annotations": annotations})
}

#[tokio::test]
async fn the_proven_pods_become_the_users() {
    let stage = Stage::new().await;
    let before = stage.deployment().await;
    stage.prepare(3).await;
    soon("marked", async || workload::mark_candidate(&stage.scope(), true).await).await;
    let proven = stage.pods(Side::Candidate).await;
    stage.take().await;
    promote::take_template(&stage.scope()).await.expect("again is the same");
    stage.offer(3).await;
    stage.adopted().await;
    promote::offer(&stage.scope(), 3).await.expect("again is the same");
    stage.finish().await;
    promote::finish_hand_over(&stage.scope()).await.expect("again is the same");

    assert_eq!(stage.all_pods().await, proven, "the same pods, and no others");
    assert_eq!(stage.pods_made().await, 3, "none was started twice");
    let after = stage.deployment().await;
    assert_eq!(users_own(&after), users_own(&before));
    assert_eq!(template::images(raw::pod_template(&after))["app"], "shop:2");
    let set = stage.set().await.expect("the ReplicaSet");
    let ours = |map: &BTreeMap<String, String>| map.keys().any(|k| k.starts_with(names::PREFIX));
    assert!(!ours(set.labels()) && !ours(set.annotations()), "{:?}", set.metadata);
    let seen = stage.seen().await;
    let newest = &seen.sets[0];
    assert_eq!((newest.name.as_str(), newest.number, newest.size), (stage.set_name().as_str(), 2, 3));
    assert_eq!(seen.sets[1].size, 0);

    assert!(
        stage
            .plane
            .kubectl(&stage.ns, &["rollout", "status", "deployment/shop", "--timeout=30s"])
            .await
            .contains("successfully rolled out")
    );
    let history = stage.plane.kubectl(&stage.ns, &["rollout", "history", "deployment/shop"]).await;
    assert!(history.lines().filter(|l| l.starts_with(['1', '2'])).count() == 2, "{history}");
    stage.plane.kubectl(&stage.ns, &["rollout", "undo", "deployment/shop"]).await;
    stage.plane.kubectl(&stage.ns, &["rollout", "status", "deployment/shop", "--timeout=60s"]).await;
    let undone = stage.deployment().await;
    assert_eq!(template::revision(raw::pod_template(&undone)), stage.stable.revision);
    assert_eq!(users_own(&undone), users_own(&before), "nothing of ours comes back with an undo");
}

#[tokio::test]
async fn it_is_finished_though_status_was_lost() {
    let stage = Stage::new().await;
    let before = stage.deployment().await;
    stage.prepare(3).await;
    let proven = stage.pods(Side::Candidate).await;
    stage.take().await;
    stage.offer(3).await;
    stage.adopted().await;
    // Past the turning point. Nothing is remembered of the candidate; the Deployment's label names the attempt.
    let scope = Scope { candidate: None, ..stage.scope() };
    soon("finished", async || promote::finish_hand_over(&scope).await).await;
    eventually("settled", SOON, async || {
        let seen = stage.seen().await;
        if seen.settled && !seen.paused && seen.handover.is_none() { Ok(()) } else { Err(seen) }
    })
    .await;
    assert_eq!(stage.all_pods().await, proven, "the same pods, and no others");
    assert_eq!(users_own(&stage.deployment().await), users_own(&before));
}

#[tokio::test]
async fn an_old_replica_set_with_the_same_template_is_out_of_the_way_first() {
    let mut stage = Stage::own().await;
    // The user has rolled from the first version to the second by himself; now the first is released again.
    let first = stage.stable.clone();
    stage.admin_image("shop:2").await.expect("changed");
    eventually("rolled", SOON, async || {
        let seen = stage.seen().await;
        if seen.settled && seen.sets.len() == 2 { Ok(()) } else { Err(seen) }
    })
    .await;
    stage.stable = stage.candidate.version.clone();
    stage.candidate.id = format!("{}-2", first.revision);
    stage.candidate.version = Version { name: None, ..first };
    stage.prepare(3).await;
    let proven = stage.pods(Side::Candidate).await;

    let old = stage.seen().await.sets.into_iter().find(|s| s.revision == stage.candidate.version.revision);
    let old = old.expect("the old ReplicaSet");
    assert!(waits(promote::take_template(&stage.scope()).await).contains(&old.name));
    let busy = stage.seen().await.sets[0].name.clone();
    assert!(refused(workload::delete_equal_set(&stage.scope(), &busy).await).contains("not the candidate's"));
    let own = stage.set_name();
    assert!(refused(workload::delete_equal_set(&stage.scope(), &own).await).contains("not an old one"));
    stage.plane.stop_controllers();
    let sets = raw::replica_sets(&stage.plane.client(), &stage.ns);
    for (size, refusal) in [(1, Some("it has pods")), (0, None)] {
        let sized = Patch::Merge(json!({"spec": {"replicas": size}}));
        sets.patch(&old.name, &PatchParams::default(), &sized).await.expect("sized");
        if let Some(why) = refusal {
            assert!(refused(workload::delete_equal_set(&stage.scope(), &old.name).await).contains(why));
        }
    }
    stage.plane.continue_controllers();
    soon("deleted", async || workload::delete_equal_set(&stage.scope(), &old.name).await).await;
    workload::delete_equal_set(&stage.scope(), &old.name).await.expect("deleted already");
    stage.take().await;
    stage.offer(3).await;
    stage.adopted().await;
    stage.finish().await;
    assert_eq!(stage.all_pods().await, proven);
    // As after a crash before our marks were off: it is the Deployment's all the same.
    let marked = Patch::Merge(json!({"metadata": {"annotations": {names::RELEASE: "shop"}}}));
    sets.patch(&own, &PatchParams::default(), &marked).await.expect("marked");
    assert!(refused(workload::scale_candidate(&stage.scope(), 5).await).contains("sets its size"));
}

#[tokio::test]
async fn unready_pods_are_not_handed_over() {
    let stage = Stage::new().await;
    stage.prepare(3).await;
    let one = stage.pods(Side::Candidate).await.into_keys().next().expect("a pod");
    let available = async |count| {
        eventually("so many are available", SOON, async || {
            let set = stage.view().await.candidate.expect("the candidate");
            if set.available == count { Ok(()) } else { Err(set) }
        })
        .await;
    };
    stage.agent.unready(crate::harness::pods::named(&one));
    available(2).await;
    assert!(waits(promote::take_template(&stage.scope()).await).contains("2 of 3 pods available"));
    assert!(!stage.deployment().await.labels().contains_key(names::HANDOVER));
    stage.agent.ready(crate::harness::pods::named(&one));
    available(3).await;
    stage.take().await;
    stage.agent.unready(crate::harness::pods::named(&one));
    available(2).await;
    assert!(waits(promote::offer(&stage.scope(), 3).await).contains("2 of 3 pods available"));
    assert!(!stage.view().await.candidate.expect("the candidate").offered);
    assert_eq!(stage.pods(Side::Stable).await.len(), 3);
}

#[tokio::test]
async fn a_wrong_size_is_not_handed_over() {
    let stage = Stage::new().await;
    stage.prepare(2).await;
    assert!(waits(promote::take_template(&stage.scope()).await).contains("3 are wanted"));
}

#[tokio::test]
async fn a_pause_that_the_controllers_have_not_seen_is_none_yet() {
    let stage = Stage::own().await;
    stage.prepare(3).await;
    stage.plane.stop_controllers();
    stage.admin_patch(json!({"spec": {"progressDeadlineSeconds": 599}})).await.expect("edited");
    assert!(waits(promote::take_template(&stage.scope()).await).contains("not paused yet"));
    assert!(!stage.deployment().await.labels().contains_key(names::HANDOVER));
    stage.plane.continue_controllers();
    stage.take().await;
}

#[tokio::test]
async fn its_last_marks_go_when_the_controllers_have_seen_the_end() {
    let stage = Stage::own().await;
    stage.prepare(3).await;
    stage.take().await;
    stage.offer(3).await;
    stage.adopted().await;
    soon("mark off", async || workload::mark_candidate(&stage.scope(), false).await).await;
    eventually("nothing else is in the way", SOON, async || {
        let sets = stage.seen().await.sets;
        let old: u32 = sets.iter().filter(|s| s.name != stage.set_name()).map(|s| s.size).sum();
        (old == 0 && stage.seen().await.observed).then_some(())
    })
    .await;
    stage.plane.stop_controllers();
    let ours = async || {
        let set = stage.set().await.expect("the ReplicaSet");
        set.labels().keys().chain(set.annotations().keys()).filter(|k| k.starts_with(names::PREFIX)).cloned().collect()
    };
    for _ in 0..2 {
        assert!(waits(promote::finish_hand_over(&stage.scope()).await).contains("has not seen its end"));
        assert!(!stage.deployment().await.labels().contains_key(names::HANDOVER), "it has ended all the same");
        let marks: Vec<String> = ours().await;
        assert!(!marks.is_empty(), "they go last");
    }
    stage.plane.continue_controllers();
    stage.finish().await;
    assert_eq!(ours().await, Vec::<String>::new());
}

#[tokio::test]
async fn it_does_not_end_while_a_service_is_pinned() {
    let stage = Stage::new().await;
    stage.prepare(3).await;
    stage.take().await;
    stage.offer(3).await;
    stage.adopted().await;
    let hash = stage.view().await.candidate.expect("the candidate").hash;
    let service = |pin: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: shop}}\nspec: {{selector: {{app: shop{pin}}}, ports: [{{port: 80}}]}}"
        )
    };
    stage.plane.apply_yaml(&stage.ns, &service(&format!(", pod-template-hash: '{hash}'"))).await;
    soon("mark off", async || workload::mark_candidate(&stage.scope(), false).await).await;
    eventually("nothing else is in the way", SOON, async || {
        let why = promote::finish_hand_over(&stage.scope()).await.expect_err("it is pinned").to_string();
        if why.contains("Service shop is still pinned") { Ok(()) } else { Err(why) }
    })
    .await;
    assert!(stage.seen().await.paused);
    stage.plane.apply_yaml(&stage.ns, &service("")).await;
    stage.finish().await;
}

#[tokio::test]
async fn it_does_not_end_before_the_old_pods_go_nor_by_un_pausing() {
    let stage = Stage::own().await;
    stage.prepare(3).await;
    stage.take().await;
    assert!(refused(workload::unpause(&stage.scope(), false).await).contains("has begun and is not finished"));
    let observed = async || eventually("seen", SOON, async || stage.seen().await.observed.then_some(())).await;
    observed().await;
    stage.plane.stop_controllers();
    stage.offer(3).await;
    stage.admin_patch(json!({"spec": {"replicas": 4}})).await.expect("scaled");
    stage.plane.continue_controllers();
    stage.adopted().await;
    observed().await;
    // Adopted, of the right size, and the controller dies before it ends the old pods.
    stage.plane.stop_controllers();
    stage.admin_patch(json!({"spec": {"replicas": 3}})).await.expect("scaled");
    let generation = stage.deployment().await.metadata.generation;
    let status = Patch::Merge(json!({"status": {"observedGeneration": generation}}));
    let deployments = raw::deployments(&stage.plane.client(), &stage.ns);
    soon("mark off", async || workload::mark_candidate(&stage.scope(), false).await).await;
    // A write that the controller had sent before it stopped may still arrive.
    eventually("nothing else is in the way", SOON, async || {
        deployments.patch_status("shop", &PatchParams::default(), &status).await.expect("a status");
        let why = waits(promote::finish_hand_over(&stage.scope()).await);
        if why.contains("still has 3 pods") { Ok(()) } else { Err(why) }
    })
    .await;
    stage.plane.continue_controllers();
    stage.finish().await;
}

#[tokio::test]
async fn the_number_of_pods_may_change_before_the_offer() {
    for wanted in [5, 2] {
        let stage = Stage::new().await;
        stage.prepare(3).await;
        let proven = stage.pods(Side::Candidate).await;
        stage.take().await;
        stage.scale(wanted).await;
        assert!(waits(promote::offer(&stage.scope(), 3).await).contains("the size of Deployment shop"));
        assert!(waits(promote::offer(&stage.scope(), wanted).await).contains("are wanted"));
        // Recreate and paused: the stable side follows alone, as it should while it may be needed.
        eventually("the stable side follows", SOON, async || {
            let pods = stage.pods(Side::Stable).await;
            if pods.len() == wanted as usize { Ok(()) } else { Err(pods) }
        })
        .await;
        soon("scaled", async || workload::scale_candidate(&stage.scope(), wanted).await).await;
        stage.available(wanted).await;
        stage.offer(wanted).await;
        stage.adopted().await;
        stage.finish().await;
        let after = stage.all_pods().await;
        assert_eq!(after.len(), wanted as usize);
        let kept = proven.iter().filter(|(name, uid)| after.get(*name) == Some(uid)).count();
        assert_eq!(kept, 3.min(wanted as usize), "no proven pod was ended but by the smaller size");
    }
}

#[tokio::test]
async fn the_number_of_pods_may_change_after_the_offer() {
    for wanted in [5, 2] {
        let stage = Stage::own().await;
        stage.prepare(3).await;
        let proven = stage.pods(Side::Candidate).await;
        stage.take().await;
        eventually("seen", SOON, async || stage.seen().await.observed.then_some(())).await;
        stage.plane.stop_controllers();
        stage.offer(3).await;
        stage.admin_patch(json!({"spec": {"replicas": wanted}})).await.expect("scaled");
        stage.plane.continue_controllers();
        stage.adopted().await;
        stage.offer(wanted).await;
        stage.finish().await;
        let after = stage.all_pods().await;
        assert_eq!(after.len(), wanted as usize);
        let kept = proven.iter().filter(|(name, uid)| after.get(*name) == Some(uid)).count();
        assert_eq!(kept, 3.min(wanted as usize), "no proven pod was ended but by the smaller size");
    }
}

#[tokio::test]
async fn nobody_else_writes_the_template_meanwhile_and_scaling_stays_free() {
    let stage = Stage::new().await;
    stage.prepare(3).await;
    stage.take().await;
    let healed = stage.admin_image("shop:1").await.expect_err("a self-heal is refused");
    assert!(healed.to_string().contains("may not change spec.template"), "{healed}");
    for other in [
        json!({"spec": {"paused": false}}),
        json!({"spec": {"strategy": {"type": "RollingUpdate"}}}),
        json!({"metadata": {"labels": {names::HANDOVER: null}}}),
    ] {
        stage.admin_patch(other.clone()).await.expect_err(&format!("{other} is refused"));
    }
    stage.scale(4).await;
    stage.admin_patch(json!({"metadata": {"annotations": {"a": "b"}}})).await.expect("everything else is free");
}

#[tokio::test]
async fn a_third_version_is_not_run_over() {
    let stage = Stage::new().await;
    stage.prepare(3).await;
    stage.admin_image("shop:3").await.expect("the user may");
    eventually("seen", SOON, async || stage.seen().await.observed.then_some(())).await;
    let why = refused(promote::take_template(&stage.scope()).await);
    assert!(why.contains("was changed to revision"), "{why}");
    refused(promote::restore_template(&stage.scope()).await);
    refused(workload::unpause(&stage.scope(), false).await);
    assert_eq!(template::images(raw::pod_template(&stage.deployment().await))["app"], "shop:3");
    assert_eq!(stage.pods(Side::Stable).await.len(), 3, "the stable pods go on");
}

#[tokio::test]
async fn it_is_taken_back_before_the_offer() {
    let stage = Stage::new().await;
    let before = stage.deployment().await;
    stage.prepare(3).await;
    let pods = stage.all_pods().await;
    stage.take().await;
    refused(workload::unpause(&stage.scope(), false).await);
    assert!(waits(promote::finish_hand_over(&stage.scope()).await).contains("not adopted"));
    soon("withdrawn", async || promote::withdraw(&stage.scope()).await).await;
    soon("restored", async || promote::restore_template(&stage.scope()).await).await;
    promote::restore_template(&stage.scope()).await.expect("again is the same");
    soon("un-paused", async || workload::unpause(&stage.scope(), false).await).await;
    eventually("settled", SOON, async || stage.seen().await.settled.then_some(())).await;
    let after = stage.deployment().await;
    assert_eq!(users_own(&after), users_own(&before));
    assert_eq!(raw::pod_template(&after), raw::pod_template(&before));
    assert_eq!(stage.all_pods().await, pods, "both sides keep all their pods");
}

#[tokio::test]
async fn it_is_taken_back_after_the_adoption() {
    let stage = Stage::own().await;
    let before = stage.deployment().await;
    stage.prepare(3).await;
    let pods = stage.all_pods().await;
    stage.take().await;
    eventually("seen", SOON, async || stage.seen().await.observed.then_some(())).await;
    stage.plane.stop_controllers();
    stage.offer(3).await;
    // One more is wanted when the controllers look: adopted, not saturated, and the old pods stay.
    stage.admin_patch(json!({"spec": {"replicas": 4}})).await.expect("scaled");
    stage.plane.continue_controllers();
    stage.adopted().await;
    assert!(waits(promote::restore_template(&stage.scope()).await).contains("not released"));
    assert!(refused(workload::delete_candidate(&stage.scope()).await).contains("owns it"));
    soon("withdrawn", async || promote::withdraw(&stage.scope()).await).await;
    stage.owner(Owner::Nobody).await;
    soon("withdrawn already", async || promote::withdraw(&stage.scope()).await).await;
    let now = stage.all_pods().await;
    assert!(pods.iter().all(|(name, uid)| now.get(name) == Some(uid)), "all six go on: {now:?}");
    soon("restored", async || promote::restore_template(&stage.scope()).await).await;
    soon("un-paused", async || workload::unpause(&stage.scope(), false).await).await;
    eventually("settled", SOON, async || {
        let seen = stage.seen().await;
        if seen.settled && seen.observed { Ok(()) } else { Err(seen) }
    })
    .await;
    let now = stage.all_pods().await;
    assert!(pods.iter().all(|(name, uid)| now.get(name) == Some(uid)), "all six go on: {now:?}");
    assert_eq!(now.len(), 7, "and the one that was wanted more: {now:?}");
    let mut after = users_own(&stage.deployment().await);
    after["spec"]["replicas"] = json!(3);
    assert_eq!(after, users_own(&before));
    soon("deleted", async || workload::delete_candidate(&stage.scope()).await).await;
    eventually("the candidate's pods go", SOON, async || stage.pods(Side::Candidate).await.is_empty().then_some(()))
        .await;
    assert_eq!(stage.pods(Side::Stable).await.len(), 4);
}

#[tokio::test]
async fn the_way_back_needs_no_stable_replica_set() {
    let stage = Stage::new().await;
    let before = stage.deployment().await;
    stage.prepare(3).await;
    stage.take().await;
    let stable = stage.seen().await.sets[0].name.clone();
    let sets = raw::replica_sets(&stage.plane.client(), &stage.ns);
    sets.delete(&stable, &kube::api::DeleteParams::default()).await.expect("somebody deletes it");
    eventually("it is gone", SOON, async || stage.seen().await.sets.is_empty().then_some(())).await;
    soon("restored", async || promote::restore_template(&stage.scope()).await).await;
    assert_eq!(raw::pod_template(&stage.deployment().await), raw::pod_template(&before));
}

#[tokio::test]
async fn the_controllers_may_be_away_in_every_gap() {
    let mut stage = Stage::own().await;
    for gap in 0..5 {
        let away = |n: usize| {
            if n == gap {
                stage.plane.stop_controllers();
            }
        };
        // Whatever waits for the controllers says so, and goes on when they are back.
        let back = async |look: Result<(), Error>| {
            if let Err(e) = look {
                assert!(matches!(e, Error::NotYet { .. } | Error::Stale(_)), "gap {gap}: {e}");
            }
            stage.plane.continue_controllers();
        };
        let scope = stage.scope();
        away(0);
        workload::pause(&scope).await.expect("paused");
        back(workload::create_candidate(&scope).await).await;
        soon("created", async || workload::create_candidate(&scope).await).await;
        soon("sized", async || workload::scale_candidate(&scope, 3).await).await;
        away(1);
        back(promote::take_template(&scope).await).await;
        stage.available(3).await;
        let proven = stage.pods(Side::Candidate).await;
        away(2);
        stage.take().await;
        back(promote::offer(&scope, 3).await).await;
        away(3);
        stage.offer(3).await;
        back(promote::finish_hand_over(&scope).await).await;
        stage.adopted().await;
        eventually("the old pods go", SOON, async || stage.pods(Side::Stable).await.is_empty().then_some(())).await;
        away(4);
        back(promote::finish_hand_over(&scope).await).await;
        stage.finish().await;
        assert_eq!(stage.all_pods().await, proven, "gap {gap}");

        // The next round releases the next version of the same workload.
        let images = BTreeMap::from([("app".to_owned(), format!("shop:{}", gap + 3))]);
        stage.stable = stage.candidate.version.clone();
        stage.images = images;
        let asked = stage.seen().await.asked;
        stage.candidate.version = Version { revision: asked.revision.clone(), name: None, images: asked.images };
        stage.candidate.id = asked.revision.0;
    }
}

#[tokio::test]
async fn a_lost_answer_in_the_middle_leaves_the_old_strategy_findable() {
    let stage = Stage::new().await;
    let before = stage.deployment().await;
    stage.prepare(3).await;
    stage.take().await;
    let held = stage.deployment().await;
    let saved: Value = serde_json::from_str(&held.annotations()[names::STRATEGY]).expect("JSON");
    assert_eq!(saved, before.data["spec"]["strategy"]);
    // The annotation cannot be lost to others, and the operator refuses to guess.
    stage.admin_patch(json!({"metadata": {"annotations": {names::STRATEGY: null}}})).await.expect_err("protected");
    let operator = raw::deployments(&stage.client, &stage.ns);
    let lost = Patch::Merge(json!({"metadata": {"annotations": {names::STRATEGY: null}}}));
    operator.patch("shop", &PatchParams::default(), &lost).await.expect("the operator may");
    assert!(refused(promote::restore_template(&stage.scope()).await).contains("set spec.strategy by hand"));
}
