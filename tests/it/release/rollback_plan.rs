//! The rest of a rollback, with real Jobs: tried before, run after the traffic is back, and never twice.

use haldane::api::state::{Report, State, StepOutcome};
use k8s_openapi::api::batch::v1::Job;
use kube::{ResourceExt, api::ListParams};
use serde_json::json;

use super::{STAYS, Shop, Wish};
use crate::harness::pods;

const PLAN: Wish<'static> = Wish {
    rollback: "required: true, steps: [
        {name: schema, retries: 1, job: {image: 'schema:1', args: [undo], env: [{name: A, value: b}, {name: PASSWORD, secret: {name: db, key: password}}],
         resources: {limits: {memory: 64Mi}}}},
        {name: coupons, redis: {secretName: redis, keys: ['coupon:*']}}]",
    ..STAYS
};

fn steps(state: Option<&State>) -> Vec<(String, StepOutcome, u32)> {
    let of = |report: &Report| report.steps.iter().map(|s| (s.name.clone(), s.outcome, s.attempt)).collect();
    match state {
        Some(
            State::Reverting { report, .. } | State::RolledBack { report, .. } | State::RollbackFailed { report, .. },
        ) => of(report),
        _ => Vec::new(),
    }
}

async fn jobs(shop: &Shop, step: &str) -> Vec<Job> {
    let of = ListParams::default().labels(&format!("haldane.dev/rollback-step={step}"));
    shop.api::<Job>().list(&of).await.expect("a list").items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_tried_first_and_carried_out_after_the_traffic() {
    use StepOutcome::{Failed, Skipped, Succeeded};
    let shop = Shop::open().await;
    shop.agent.without_secret(pods::named("shop-rollback-trial"));
    shop.wish(PLAN).await;
    let why = "the rollback plan cannot be carried out: container schema: CreateContainerConfigError: as the test says";
    shop.until("shop", "why it waits", |s| s.phase == "Waiting" && s.message.contains(why)).await;
    assert!(
        shop.writes().iter().all(|w| w.resource == "releases/status" || w.resource == "jobs"),
        "nothing is touched"
    );
    let trial = &jobs(&shop, "trial").await[0];
    let pod = serde_json::to_value(&trial.spec.as_ref().expect("a spec").template.spec).expect("JSON");
    assert_eq!(pod["containers"][0]["image"], json!("haldane:it"));
    assert_eq!(pod["containers"][0]["env"].as_array().map(Vec::len), Some(1), "the Secret alone: {pod}");
    assert_eq!(pod["containers"][1]["args"], json!(["unlink-keys", "--pattern=coupon:*", "--dry-run"]));

    shop.agent.end(pods::named("shop-rollback-trial"), true);
    shop.in_step().await;
    shop.agent.end(pods::of_image("schema:1"), false);
    shop.agent.end(pods::of_image("haldane:it"), true);
    shop.order("Rollback", "").await;
    let failed = shop.phase("shop", "RollbackFailed").await;
    assert_eq!(steps(failed.state.as_ref()), [("schema".into(), Failed, 2), ("coupons".into(), Skipped, 0)]);
    assert!(failed.message.contains("step schema failed: the pod of Job shop-rollback-schema-"), "{}", failed.message);
    assert!(failed.message.contains("relation in use, password=…; not tried: coupons"), "{}", failed.message);
    assert!(!serde_json::to_string(&failed).expect("JSON").contains("hunter2"), "secrets are taken out");
    assert_eq!(jobs(&shop, "schema").await.len(), 2);
    shop.assert_home("shop:1").await;

    shop.agent.end(pods::of_image("schema:1"), true);
    shop.order("Rollback", "").await;
    let done = shop.phase("shop", "RolledBack").await;
    assert_eq!(steps(done.state.as_ref()), [("schema".into(), Succeeded, 3), ("coupons".into(), Succeeded, 1)]);
    let attempts = jobs(&shop, "schema").await;
    assert_eq!(attempts.len(), 3, "{:?}", attempts.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
    for job in attempts.iter().chain(&jobs(&shop, "coupons").await) {
        assert!(job.owner_references().is_empty(), "it outlives its Release");
        let pod = serde_json::to_value(&job.spec.as_ref().expect("a spec").template.spec).expect("JSON");
        assert_eq!(pod["automountServiceAccountToken"], json!(false));
        assert_eq!(pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"], json!(false));
    }
    shop.told("shop", "StepFailed").await;
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_waits_for_a_persons_yes() {
    let shop = Shop::open().await;
    let plan = "steps: [{name: schema, confirm: Required, job: {image: 'schema:1'}}]";
    shop.wish(Wish { rollback: plan, ..STAYS }).await;
    shop.in_step().await;
    shop.agent.end(pods::of_image("schema:1"), true);
    shop.order("Rollback", "").await;
    let told = shop.told("shop", "ConfirmationNeeded").await;
    assert!(told.contains(&format!("kubectl haldane confirm shop schema -n {}", shop.ns)), "{told}");
    shop.order("Confirm", ", step: coupons").await;
    let refused = shop.told("shop", "OrderRefused").await;
    assert!(refused.contains("no step coupons of a rollback waits for a yes"), "{refused}");
    assert_eq!(jobs(&shop, "schema").await.len(), 0);
    shop.order("Confirm", ", step: schema").await;
    let done = shop.phase("shop", "RolledBack").await;
    let Some(State::RolledBack { report, .. }) = &done.state else { panic!("{:?}", done.state) };
    assert_eq!(report.steps[0].confirmed_by.as_deref(), Some("sam"));
    shop.assert_home("shop:1").await;
}
