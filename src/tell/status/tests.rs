//! What status says in each State.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;
use crate::api::{
    notice::Notice,
    plan::Plan,
    rollback::RollbackPlan,
    state::{Candidate, Cause, CauseKind, Gate, Part, PinnedTraffic, Report, Revision, Version},
    status::{Outcome, Paused, Rejected},
};

fn at(second: i64) -> At {
    At::new(jiff::Timestamp::from_second(1_790_000_000 + second).unwrap())
}

fn version(name: &str) -> Version {
    Version {
        revision: Revision(format!("{name}0123456")),
        name: Some(name.into()),
        images: [("app".into(), format!("shop:{name}"))].into(),
    }
}

fn candidate() -> Candidate {
    Candidate {
        version: version("v2"),
        id: "v20123456".into(),
        generation: 3,
        target_uid: "target".into(),
        plan: Plan::default(),
        traffic: PinnedTraffic::default(),
        rollback: RollbackPlan::default(),
        undo: false,
        replaced: None,
    }
}

/// One State of each kind, in the order of a life.
fn states() -> Vec<State> {
    let (stable, candidate, since) = (version("v1"), candidate(), at(0));
    let closed = vec![Gate { name: "Rolling".into(), message: "a rollout is going on".into() }];
    let report = Report::new(at(0));
    let cause = |kind| Cause { kind, message: "error rate 7.31 % > 5 %".into() };
    macro_rules! with {
        ($name:ident { $($rest:tt)* }) => {
            State::$name { stable: stable.clone(), candidate: candidate.clone(), $($rest)* }
        };
    }
    vec![
        State::Idle { stable: stable.clone() },
        with!(Waiting { since, closed }),
        with!(Preparing { since, resume: None }),
        with!(Stepping { step: 1, since, settled: None }),
        with!(Observing { since, settled: None }),
        with!(Promoting { since, part: Part::TakeOver }),
        with!(Draining { since, cause: cause(CauseKind::Bad), report: report.clone() }),
        with!(Reverting { since, cause: cause(CauseKind::Bad), report: report.clone() }),
        State::RolledBack {
            stable: stable.clone(),
            candidate: candidate.version.clone(),
            cause: cause(CauseKind::Bad),
            report: report.clone(),
        },
        with!(RollbackFailed { cause: cause(CauseKind::Bad), report, problem: "still failing".into() }),
    ]
}

fn shown<'a>(state: &'a State, memory: &'a Memory) -> Shown<'a> {
    Shown {
        generation: 3,
        now: at(10),
        state: Some(state),
        memory,
        version: Some("v2"),
        spec_paused: false,
        verdict: None,
        weight: 30,
        message: "step 2 of 3",
        accepted: Ok(()),
        stalled: None,
        drifted: None,
        metrics_available: None,
        gated: false,
        pending: false,
    }
}

fn find<'a>(status: &'a ReleaseStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|c| c.type_ == kind).unwrap()
}

/// The rules of kstatus, in its order, for an object that is not being deleted.
fn kstatus(status: &ReleaseStatus, generation: i64) -> &'static str {
    let is = |kind: &str, value: &str| find(status, kind).status == value;
    if status.observed_generation != generation || is("Reconciling", "True") {
        "InProgress"
    } else if is("Stalled", "True") {
        "Failed"
    } else if is("Ready", "True") {
        "Current"
    } else {
        "InProgress"
    }
}

#[test]
fn tools_see_progress_success_and_failure_where_people_do() {
    let expected = [
        ("Idle", "Current", "AtRest"),
        ("Waiting", "InProgress", "AwaitingGate"),
        ("Preparing", "InProgress", "Preparing"),
        ("Stepping", "InProgress", "Stepping"),
        ("Observing", "InProgress", "Observing"),
        ("Promoting", "InProgress", "Promoting"),
        ("Draining", "InProgress", "RollingBack"),
        ("Reverting", "InProgress", "RollingBack"),
        ("RolledBack", "Failed", "RolledBack"),
        ("RollbackFailed", "Failed", "RollbackFailed"),
    ];
    let memory = Memory::default();
    for (state, (phase, verdict, reason)) in states().iter().zip(expected) {
        let status = status(&shown(state, &memory), None);
        assert_eq!((status.phase.as_str(), kstatus(&status, 3)), (phase, verdict));
        assert_eq!(kstatus(&status, 4), "InProgress", "a generation that was not looked at is never current");
        assert_eq!(find(&status, "Ready").reason, reason);
        let kinds: Vec<&str> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(kinds, ["Accepted", "Ready", "Reconciling", "Stalled", "Drifted", "MetricsAvailable"]);
        assert!(status.conditions.iter().all(|c| c.observed_generation == Some(3)));
        assert_ne!((&*find(&status, "Reconciling").status, &*find(&status, "Stalled").status), ("True", "True"));
    }
}

#[test]
fn what_is_asked_for_but_not_begun_is_not_ready() {
    let (state, memory) = (states().remove(0), Memory::default());
    let status = status(&Shown { pending: true, ..shown(&state, &memory) }, None);
    assert_eq!(kstatus(&status, 3), "InProgress");
    assert_eq!(find(&status, "Ready").status, "False");
}

#[test]
fn at_rest_the_result_of_this_very_generation_is_the_phase() {
    let state = states().remove(0);
    let result = |generation, outcome| Memory {
        result: Some(Outcome { generation, outcome, at: at(0), message: String::new() }),
        ..Memory::default()
    };
    let phase = |memory: &Memory| status(&shown(&state, memory), None).phase;
    assert_eq!(phase(&result(3, Ended::Succeeded)), "Succeeded");
    assert_eq!(phase(&result(3, Ended::RolledBack)), "RolledBack");
    assert_eq!(phase(&result(2, Ended::Succeeded)), "Idle");
    let memory = result(3, Ended::Succeeded);
    assert_eq!(find(&status(&shown(&state, &memory), None), "Ready").reason, "Succeeded");
}

#[test]
fn a_spec_that_cannot_be_carried_out_stalls_at_rest_and_lets_a_running_release_end() {
    let memory = Memory::default();
    for state in states() {
        let refused = Err((Reason::Conflict, "Release other, which is older, has this Deployment".to_owned()));
        let status = status(&Shown { accepted: refused, ..shown(&state, &memory) }, None);
        let accepted = find(&status, "Accepted");
        assert_eq!((accepted.status.as_str(), accepted.reason.as_str()), ("False", "Conflict"));
        let seen = kstatus(&status, 3);
        assert_eq!(seen, if state.active() { "InProgress" } else { "Failed" }, "{}", state.name());
    }
}

#[test]
fn a_stall_beside_the_state_shows_its_own_sentence() {
    let memory = Memory::default();
    let state = states().remove(3);
    let stalled = Some((Reason::TargetMissing, "Deployment checkout does not exist".to_owned()));
    let status = status(&Shown { stalled, ..shown(&state, &memory) }, None);
    assert_eq!(kstatus(&status, 3), "Failed");
    assert_eq!(find(&status, "Stalled").message, "Deployment checkout does not exist");
}

#[test]
fn without_a_deployment_there_is_no_state_but_a_word() {
    let memory = Memory::default();
    let state = states().remove(0);
    let refused = Err((Reason::TargetMissing, "Deployment checkout does not exist".to_owned()));
    let told = status(&Shown { state: None, accepted: refused, ..shown(&state, &memory) }, None);
    assert_eq!((kstatus(&told, 3), told.phase.as_str(), told.state.as_ref()), ("Failed", "Stalled", None));
    let told = status(&Shown { state: None, ..shown(&state, &memory) }, None);
    assert_eq!(kstatus(&told, 3), "InProgress");
}

#[test]
fn waiting_names_who_it_waits_for() {
    let memory = Memory::default();
    let state = states().remove(3);
    let reason = |shown: &Shown| find(&status(shown, None), "Reconciling").reason.clone();
    assert_eq!(reason(&Shown { gated: true, ..shown(&state, &memory) }), "AwaitingGate");
    assert_eq!(reason(&Shown { spec_paused: true, gated: true, ..shown(&state, &memory) }), "Paused");
    let paused = Memory { paused: Some(Paused { by: "ann".into(), since: at(0), until: None }), ..Memory::default() };
    assert_eq!(reason(&shown(&state, &paused)), "Paused");
}

#[test]
fn people_see_step_weight_and_version() {
    let memory = Memory::default();
    let seen: Vec<_> = states()
        .iter()
        .map(|s| status(&shown(s, &memory), None))
        .map(|s| (s.step.unwrap_or_default(), s.weight, s.version.unwrap()))
        .collect();
    let row = |step: &str, weight| (step.to_owned(), weight, "v2".to_owned());
    let expected = [
        row("", None),
        row("", Some(30)),
        row("0/3", Some(30)),
        row("2/3", Some(30)),
        row("3/3", Some(30)),
        row("3/3", Some(30)),
        row("", Some(30)),
        row("", Some(30)),
        row("", None),
        row("", Some(30)),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_conditions_time_moves_only_with_its_status() {
    let memory = Memory::default();
    let all = states();
    let first = status(&shown(&all[2], &memory), None);
    let second = status(&Shown { now: at(99), message: "other words", ..shown(&all[3], &memory) }, Some(&first));
    assert_eq!(find(&second, "Reconciling").last_transition_time, find(&first, "Reconciling").last_transition_time);
    let third = status(&Shown { now: at(200), ..shown(&all[8], &memory) }, Some(&second));
    assert_ne!(find(&third, "Reconciling").last_transition_time, find(&first, "Reconciling").last_transition_time);
    assert_eq!(find(&third, "Ready").last_transition_time, find(&first, "Ready").last_transition_time);
}

#[test]
fn the_same_facts_are_not_written_again() {
    let evidence = |watermark, requests| Memory {
        evidence: Some(Evidence { watermark: Some(at(watermark)), requests, ..Evidence::default() }),
        ..Memory::default()
    };
    let state = states().remove(3);
    let (early, late) = (evidence(0, 10), evidence(30, 99));
    let before = status(&shown(&state, &early), None);
    let after = |shown: &Shown| status(shown, Some(&before));
    assert_eq!(change(None, &before), Change::Hard);
    assert_eq!(change(Some(&before), &after(&Shown { now: at(500), ..shown(&state, &early) })), Change::None);
    assert_eq!(change(Some(&before), &after(&shown(&state, &late))), Change::Soft);
    assert_eq!(
        change(Some(&before), &after(&Shown { message: "needs 12 more", ..shown(&state, &early) })),
        Change::Soft
    );
    assert_eq!(change(Some(&before), &after(&Shown { weight: 31, ..shown(&state, &early) })), Change::Hard);
    assert_eq!(change(Some(&before), &after(&Shown { verdict: Some("Bad"), ..shown(&state, &early) })), Change::Hard);
    let mut over = early.clone();
    over.evidence.as_mut().unwrap().errors_since = Some(at(5));
    assert_eq!(change(Some(&before), &after(&shown(&state, &over))), Change::Hard);
    // What is stored reads back equal: else each pass would write.
    let stored: ReleaseStatus = serde_json::from_value(serde_json::to_value(&before).unwrap()).unwrap();
    assert_eq!(change(Some(&stored), &before), Change::None);
}

#[test]
fn nothing_in_a_status_grows_without_end() {
    let notice = |seq, reason| Notice {
        seq,
        reason,
        at: at(0),
        message: "é".repeat(5000),
        revision: None,
        pending: vec!["event".into()],
        attempts: 0,
    };
    let mut outbox = vec![notice(1, Reason::RollbackFailed)];
    outbox.extend((2..=60).map(|seq| notice(seq, Reason::StepStarted)));
    outbox.push(notice(61, Reason::RolledBack));
    let rejected = |n: i64| Rejected {
        revision: Revision(format!("r{n}")),
        cause: CauseKind::Bad,
        message: "é".repeat(5000),
        at: at(n),
    };
    let memory = Memory {
        outbox,
        rejected: (0..40).map(rejected).collect(),
        handled_actions: (0..99).map(|n| format!("uid-{n}")).collect(),
        ..Memory::default()
    };
    let state = states().remove(3);
    let long = "ü".repeat(40_000);
    let status = status(&Shown { message: &long, ..shown(&state, &memory) }, None);
    let m = &status.memory;
    assert_eq!((m.outbox.len(), m.rejected.len(), m.handled_actions.len()), (32, 10, 20));
    let kept: Vec<u64> = m.outbox.iter().map(|n| n.seq).collect();
    assert_eq!((kept[0], kept[1], kept[31]), (1, 31, 61), "quiet notices go before loud ones, old before new");
    assert_eq!(m.rejected[9].revision.0, "r39");
    assert!(serde_json::to_string(&status).unwrap().len() < 64 * 1024);
    assert!(status.message.len() <= LONGEST_MESSAGE && status.message.ends_with('…'));
}

#[test]
fn a_newer_layout_is_recognised() {
    let newer = ReleaseStatus { format_version: FORMAT_VERSION + 1, ..ReleaseStatus::default() };
    assert_eq!(too_new(Some(&newer)), Some(FORMAT_VERSION + 1));
    assert_eq!(too_new(Some(&ReleaseStatus { format_version: FORMAT_VERSION, ..newer })), None);
    assert_eq!(too_new(None), None);
}
