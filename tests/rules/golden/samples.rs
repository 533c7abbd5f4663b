//! What the golden files hold, as today's types write it: one Release per State, and one with every field.
//!
//! No `..`: a new field does not compile here until it has a value.

use haldane::api::{
    Release, ReleaseSpec, ReleaseStatus, State,
    notice::{Notice, Reason},
    plan::{FloatingTags, Plan},
    release::{Header, RouteRef},
    rollback::RollbackPlan,
    state::{
        Candidate, Cause, CauseKind, Gate, Part, PinnedTraffic, Proof, Report, Revision, StepOutcome, StepReport,
        Version,
    },
    status::{Ended, Evidence, FORMAT_VERSION, HistoryEntry, Judged, Memory, Outcome, Paused, Ratio, Rejected},
    units::At,
};
use kube::core::ObjectMeta;
use serde_json::{Value, json};

/// Seconds since all of it began.
pub fn at(second: i64) -> At {
    At::new(jiff::Timestamp::from_second(1_790_000_000 + second).unwrap())
}

fn version(name: &str, revision: &str) -> Version {
    Version {
        revision: Revision(revision.into()),
        name: Some(name.into()),
        images: [("app".into(), format!("registry.example/shop/checkout:{name}"))].into(),
    }
}

pub fn old() -> Version {
    version("1.4.1", "0a1b2c3d4e")
}

pub fn new() -> Version {
    version("1.4.2", "5f6a7b8c9d")
}

fn route() -> RouteRef {
    RouteRef { group: "gateway.networking.k8s.io".into(), kind: "HTTPRoute".into(), name: "checkout".into() }
}

fn plan() -> Plan {
    serde_json::from_value(json!({
        "steps": [{"pods": 1, "for": "600s"}, {"weight": 30, "for": "1800s"}, {"weight": 100}],
        "floatingTags": "Warn", "watch": {"for": "1800s"}, "deadline": "600s",
    }))
    .unwrap()
}

fn candidate() -> Candidate {
    Candidate {
        version: new(),
        id: "5f6a7b8c9d".into(),
        generation: 7,
        target_uid: "d-1".into(),
        plan: plan(),
        traffic: PinnedTraffic {
            services: vec!["checkout".into()],
            routes: vec![route()],
            header: Some(Header { name: "x-canary".into(), value: "true".into() }),
            weights: [].into(),
        },
        rollback: RollbackPlan::default(),
        undo: false,
        replaced: None,
    }
}

fn cause(kind: CauseKind) -> Cause {
    Cause { kind, message: "error rate 7.31 % > 5 % for 2 m at 30 %, stable 0.40 %".into() }
}

fn report(proof: Proof) -> Report {
    Report {
        decided_at: at(90),
        written_at: Some(at(91)),
        confirmed_at: (proof != Proof::Pending).then_some(at(92)),
        direct: false,
        turned_at: None,
        proven_at: (proof != Proof::Pending).then_some(at(98)),
        proof,
        recovered_at: None,
        requests_failed: (proof != Proof::Pending).then_some(31),
        steps: Vec::new(),
    }
}

/// One step of each outcome, with all that it may hold.
fn steps() -> Vec<StepReport> {
    use StepOutcome::{Failed, Pending, Running, Skipped, Succeeded, Unconfirmed};
    let step = |outcome: StepOutcome| StepReport {
        name: format!("{outcome:?}").to_lowercase(),
        outcome,
        attempt: 2,
        earlier: 1,
        at: at(99),
        job_seen: true,
        message: Some("what it said".into()),
        confirmed_by: Some("alice".into()),
    };
    [Pending, Unconfirmed, Running, Succeeded, Failed, Skipped].map(step).into()
}

fn plan_of_the_rollback() -> RollbackPlan {
    serde_json::from_value(json!({
        "required": true,
        "steps": [
            {
                "name": "schema",
                "job": {
                    "image": "schema:1", "command": ["a"], "args": ["b"],
                    "env": [{"name": "A", "value": "b"}, {"name": "P", "secret": {"name": "db", "key": "password"}}],
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
                },
                "timeout": "60s", "retries": 2, "onFailure": "Continue", "confirm": "Required",
            },
            {"name": "coupons", "redis": {"secretName": "redis", "keys": ["coupon:*"], "dryRun": true}, "timeout": "60s"},
        ],
    }))
    .unwrap()
}

fn memory() -> Memory {
    Memory {
        rejected: Vec::new(),
        paused: None,
        handled_actions: Vec::new(),
        handled_before: None,
        result: None,
        evidence: None,
        outbox: Vec::new(),
        stuck: None,
        notices: 5,
        history: Vec::new(),
    }
}

fn rejected(cause: CauseKind) -> Rejected {
    Rejected { revision: new().revision, cause, message: "error rate 7.31 % > 5 %".into(), at: at(40) }
}

fn result(outcome: Ended) -> Outcome {
    Outcome { generation: 7, outcome, at: at(60), message: "1.4.2 replaced 1.4.1".into() }
}

fn spec(asked: &Version) -> Value {
    json!({
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
        "version": asked.name, "images": asked.images,
        "traffic": {"routes": [route()], "canaryHeader": {"name": "x-canary", "value": "true"}},
        "plan": plan(),
    })
}

/// As `kubectl get -o json` shows it, without what is new each time.
fn release(spec: Value, state: State, memory: Memory) -> Release {
    let spec: ReleaseSpec = serde_json::from_value(spec).unwrap();
    let status = ReleaseStatus {
        format_version: FORMAT_VERSION,
        observed_generation: 7,
        phase: state.name().into(),
        step: state.candidate().map(|c| format!("2/{}", c.plan.steps.len())),
        weight: state.active().then_some(30),
        version: Some("1.4.2".into()),
        stable_revision: Some(state.stable().revision.0.clone()),
        candidate_revision: state.candidate().map(|c| c.version.revision.0.clone()),
        verdict: state.active().then(|| "Healthy".into()),
        message: "the sentence that tells where it stands".into(),
        conditions: serde_json::from_value(json!([{
            "type": "Ready", "status": "False", "reason": state.name(), "message": "the same sentence",
            "lastTransitionTime": "2026-09-21T14:13:20Z", "observedGeneration": 7,
        }]))
        .unwrap(),
        state: Some(state),
        memory,
    };
    let metadata = ObjectMeta {
        name: Some("checkout".into()),
        namespace: Some("shop".into()),
        uid: Some("u-1".into()),
        generation: Some(7),
        ..ObjectMeta::default()
    };
    Release { metadata, spec, status: Some(status) }
}

/// The file of a State. A new State does not compile here until it has one.
const fn file(state: &State) -> &'static str {
    match state {
        State::Idle { .. } => "idle",
        State::Waiting { .. } => "waiting",
        State::Preparing { .. } => "preparing",
        State::Stepping { .. } => "stepping",
        State::Observing { .. } => "observing",
        State::Promoting { part: Part::TakeOver, .. } => "promoting",
        State::Promoting { part: Part::GiveBack, .. } => "promoting-give-back",
        State::Draining { .. } => "draining",
        State::Reverting { .. } => "reverting",
        State::RolledBack { .. } => "rolled-back",
        State::RollbackFailed { .. } => "rollback-failed",
    }
}

/// Every State, by the name of its file.
pub fn all() -> Vec<(&'static str, Release)> {
    let (stable, candidate, since) = (old(), candidate(), at(10));
    let bad = || cause(CauseKind::Bad);
    macro_rules! with {
        ($name:ident { $($rest:tt)* }) => {
            State::$name { stable: stable.clone(), candidate: candidate.clone(), $($rest)* }
        };
    }
    let given_up = || Memory { rejected: vec![rejected(CauseKind::Bad)], ..memory() };
    let ended = |outcome| Memory { result: Some(result(outcome)), ..given_up() };
    let closed = vec![Gate { name: "Rolling".into(), message: "Deployment checkout is still rolling".into() }];
    let problem = "the stable version still fails 12.00 % of its requests after 5 m".to_owned();
    let draining = |kind, turned: Option<At>| {
        let report = Report { direct: turned.is_some(), turned_at: turned, ..report(Proof::Pending) };
        with!(Draining { since: at(90), cause: cause(kind), report })
    };
    let superseded = Memory { result: Some(Outcome { generation: 6, ..result(Ended::Superseded) }), ..memory() };
    let states = vec![
        (None, State::Idle { stable: new() }, Memory { result: Some(result(Ended::Succeeded)), ..memory() }),
        (None, with!(Waiting { since, closed }), memory()),
        (None, with!(Preparing { since, resume: Some(1) }), memory()),
        (None, with!(Stepping { step: 1, since, settled: Some(at(20)) }), memory()),
        (None, with!(Observing { since, settled: Some(at(20)) }), memory()),
        (None, with!(Promoting { since, part: Part::TakeOver }), memory()),
        (None, with!(Promoting { since, part: Part::GiveBack }), memory()),
        (None, draining(CauseKind::Bad, None), given_up()),
        (Some("draining-turned"), draining(CauseKind::NotReady, Some(at(99))), given_up()),
        (Some("draining-superseded"), draining(CauseKind::Superseded, None), superseded),
        (Some("draining-inconclusive"), draining(CauseKind::Inconclusive, None), memory()),
        (
            None,
            with!(Reverting { since: at(98), cause: cause(CauseKind::Ordered), report: report(Proof::Counters) }),
            given_up(),
        ),
        (
            None,
            State::RolledBack {
                stable: stable.clone(),
                candidate: new(),
                cause: bad(),
                report: Report { recovered_at: Some(at(60)), ..report(Proof::NoPods) },
            },
            ended(Ended::RolledBack),
        ),
        (
            None,
            with!(RollbackFailed { cause: bad(), report: report(Proof::Unavailable), problem }),
            ended(Ended::RollbackFailed),
        ),
    ];
    let named = |(name, state, memory): (Option<&'static str>, State, Memory)| {
        (name.unwrap_or_else(|| file(&state)), release(spec(&new()), state, memory))
    };
    let mut all: Vec<_> = states.into_iter().map(named).collect();
    // Without images a version is called after the image in the template.
    let called = |version: Version| Version { name: version.name.map(|name| format!("checkout:{name}")), ..version };
    let kept = Memory { result: Some(result(Ended::Succeeded)), ..memory() };
    all.push(("idle-held", held(release(spec(&new()), State::Idle { stable: called(new()) }, kept))));
    let report = Report { recovered_at: Some(at(60)), ..report(Proof::NoPods) };
    let state = State::RolledBack {
        stable: called(stable),
        candidate: called(new()),
        cause: cause(CauseKind::Ordered),
        report,
    };
    all.push(("rolled-back-held", held(release(spec(&new()), state, ended(Ended::RolledBack)))));
    all.push(("everything", everything()));
    all.push(("rollback-plan", with_a_plan()));
    all
}

fn notice((seq, reason): (u64, Reason)) -> Notice {
    Notice {
        seq,
        reason,
        at: at(30),
        message: "what was told".into(),
        revision: Some(new().revision.0),
        pending: vec!["event".into(), "oncall".into()],
        attempts: 2,
    }
}

/// Rolled back with a plan of which not all was done.
fn with_a_plan() -> Release {
    let candidate = Candidate { rollback: plan_of_the_rollback(), ..candidate() };
    let report = || Report { steps: steps(), recovered_at: Some(at(60)), ..report(Proof::Counters) };
    let entry = HistoryEntry {
        version: version("1.4.0", "9d8c7b6a5f"),
        replaced: version("1.3.9", "4e3d2c1b0a"),
        outcome: Ended::RolledBack,
        at: at(-600),
        message: "how it ended".into(),
        report: Some(report()),
    };
    let memory = Memory {
        rejected: vec![rejected(CauseKind::Bad)],
        result: Some(result(Ended::RollbackFailed)),
        outbox: (6..).zip([Reason::StepFailed, Reason::ConfirmationNeeded]).map(notice).collect(),
        notices: 7,
        history: vec![entry],
        ..memory()
    };
    let state = State::RollbackFailed {
        stable: old(),
        candidate,
        cause: cause(CauseKind::Bad),
        report: report(),
        problem: "step failed failed: what it said".into(),
    };
    let mut spec = spec(&new());
    spec["rollback"] = json!(plan_of_the_rollback());
    release(spec, state, memory)
}

/// Names no images.
fn held(mut release: Release) -> Release {
    release.spec.images.clear();
    release.spec.version = None;
    release
}

/// In its second step and paused by an order, with every field that there is.
fn everything() -> Release {
    let mut candidate = Candidate { undo: true, replaced: Some("checkout-r5f6a7b8c9d-x".into()), ..candidate() };
    candidate.plan.floating_tags = FloatingTags::Refuse;
    candidate.traffic.weights = [("HTTPRoute checkout/0/checkout".into(), 7)].into();
    let (stable, since) = (old(), at(10));
    let evidence = Evidence {
        watermark: Some(at(98)),
        errors_since: Some(at(97)),
        slow_since: Some(at(97)),
        degraded_since: Some(at(97)),
        stable_well_since: Some(at(97)),
        outlier_since: Some(at(97)),
        no_data_since: Some(at(97)),
        requests: 1204,
        failed: 5,
        failed_total: 9,
        healthy_at: Some(at(96)),
        ratio: Some(Ratio { at_least: "0.4".into(), at_most: Some("1.9".into()) }),
        log: vec![Judged { to: at(95), weight: 30, counts: "120 1 280 2".into() }],
        engine: Some(json!({"v": 1, "capital": "1.25"})),
    };
    let reasons = [
        Reason::Accepted,
        Reason::Waiting,
        Reason::Preparing,
        Reason::StepStarted,
        Reason::Watching,
        Reason::Promoting,
        Reason::Succeeded,
        Reason::RollingBack,
        Reason::Reverting,
        Reason::Withdrawn,
        Reason::Superseded,
        Reason::RolledBack,
        Reason::RollbackFailed,
        Reason::Paused,
        Reason::Resumed,
        Reason::Retried,
        Reason::Stuck,
        Reason::ChangedOutsideRelease,
        Reason::Drifted,
        Reason::Degraded,
        Reason::NoData,
        Reason::OrderRefused,
        Reason::HistoryDropped,
        Reason::TargetMissing,
        Reason::Invalid,
        Reason::Conflict,
        Reason::StatusLost,
        Reason::Abandoned,
    ];
    let entry = |outcome, proof| HistoryEntry {
        version: version("1.4.0", "9d8c7b6a5f"),
        replaced: version("1.3.9", "4e3d2c1b0a"),
        outcome,
        at: at(-600),
        message: "how it ended".into(),
        report: Some(Report { direct: true, turned_at: Some(at(45)), recovered_at: Some(at(60)), ..report(proof) }),
    };
    let kinds =
        [CauseKind::Bad, CauseKind::NotReady, CauseKind::Ordered, CauseKind::Superseded, CauseKind::Inconclusive];
    let other = |kind| Rejected { revision: Revision("9d8c7b6a5f".into()), ..rejected(kind) };
    let memory = Memory {
        rejected: kinds.into_iter().map(other).collect(),
        paused: Some(Paused { by: "alice".into(), since: at(90), until: Some(at(9_000)) }),
        handled_actions: vec!["a-1".into()],
        handled_before: Some(at(-900)),
        result: Some(Outcome { generation: 6, ..result(Ended::Succeeded) }),
        evidence: Some(evidence),
        outbox: (1..).zip(reasons).map(notice).collect(),
        stuck: Some(since),
        notices: 28,
        history: vec![
            entry(Ended::Succeeded, Proof::Pending),
            entry(Ended::RolledBack, Proof::Counters),
            entry(Ended::RollbackFailed, Proof::Unavailable),
            entry(Ended::Superseded, Proof::NoPods),
        ],
    };
    let mut spec = spec(&new());
    spec["traffic"]["services"] = json!(["checkout"]);
    spec["checks"] = json!({
        "provider": "prometheus",
        "source": {"preset": "Custom", "total": "a", "errors": "b", "latency": "c"},
        "errorRate": {"max": "4%", "for": "100s"},
        "latency": {"percentile": 95, "max": "3s", "for": "200s"},
        "health": {"failures": 4, "every": "7s", "http": {"path": "/healthz", "port": "http"}},
        "smoke": {"image": "smoke:1", "command": ["a"], "args": ["b"], "timeout": "90s", "after": ["FirstStep", "Full"]},
        "metrics": [
            {"name": "orders", "query": "orders_total", "kind": "Counter", "mustNotDrop": "20%"},
            {"name": "heap", "query": "heap_bytes", "kind": "Gauge", "mustNotRise": "30%"},
        ],
        "sequential": {
            "enabled": true, "alpha": "0.05%", "tolerance": "1.5", "floor": "0.2%", "phiFloor": "2",
            "blockCap": "8", "requireProof": true,
        },
        "strict": true, "minRequests": 80, "warmUp": "20s", "settleScrapes": 2,
        "onNoData": {"after": "3600s", "then": "Pause"}, "onDegraded": {"after": "3600s", "then": "Rollback"},
    });
    spec["notify"] = json!([{"notifier": "oncall", "reasons": ["RolledBack", "Stuck"]}]);
    release(spec, State::Stepping { stable, candidate, step: 1, since, settled: Some(at(20)) }, memory)
}
