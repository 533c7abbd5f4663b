//! What people are shown, in every State.

use clap::CommandFactory;
use serde_json::json;

use super::{
    explain::Explanation,
    fixture::{at, conditions, now, release, states},
    order::{Wish, action},
    render::{Style, Tone, age, clean},
    table::{Columns, table},
    tree::tree,
    wait::{End, Follow, at_timeout},
};
use crate::api::{
    Release,
    action::{ActionType, PromoteTo},
};

const PLAIN: Style = Style { color: false, symbols: true };

/// What the operator would show beside each State.
fn shown(name: &str) -> Release {
    let (step, weight, verdict) = match name {
        "Preparing" => (json!("0/3"), json!(0), json!(null)),
        "Stepping" => (json!("2/3"), json!(30), json!("Healthy")),
        "Observing" => (json!("3/3"), json!(100), json!("Watching")),
        "Promoting" => (json!("3/3"), json!(100), json!(null)),
        "Draining" | "Reverting" => (json!(null), json!(0), json!("Bad")),
        _ => (json!(null), json!(null), json!(null)),
    };
    let evidence =
        if verdict.is_null() { json!(null) } else { json!({"requests": 1204, "failed": 5, "failedTotal": 9}) };
    release(name, json!({"step": step, "weight": weight, "verdict": verdict, "evidence": evidence}))
}

#[test]
fn the_command_line_is_well_formed() {
    super::Cli::command().debug_assert();
}

#[test]
fn one_release_as_a_picture() {
    let all: Vec<String> = states().iter().map(|(name, _)| tree(&shown(name), now(), PLAIN)).collect();
    insta::assert_snapshot!("tree", all.join("\n"));
}

#[test]
fn a_picture_of_pauses_drift_and_the_last_rollback() {
    let history = json!([{
        "version": super::fixture::stable(), "replaced": super::fixture::stable(), "outcome": "RolledBack",
        "at": "2026-03-01T09:00:00Z", "message": "error rate 7.31 % > 5 % for 2 m at 30 %, stable 0.40 %",
        "report": super::fixture::report(),
    }]);
    let drift = json!([{
        "type": "Drifted", "status": "True", "reason": "Drifted", "lastTransitionTime": "2026-03-02T14:00:00Z",
        "message": "somebody took the pin from Service checkout",
    }]);
    let paused = json!({"by": "alice", "since": "2026-03-02T14:09:00Z", "until": "2026-03-02T14:40:00Z"});
    let mut release = release(
        "Stepping",
        json!({"paused": paused, "conditions": drift, "history": history, "step": "2/3", "weight": 30}),
    );
    release.spec.paused = true;
    insta::assert_snapshot!("tree_with_trouble", tree(&release, now(), Style { color: false, symbols: false }));
}

#[test]
fn colours_are_used_only_where_they_are_wanted() {
    let style = Style { color: true, symbols: true };
    assert!(tree(&shown("Stepping"), now(), style).contains("\x1b[32m"));
    assert!(states().iter().all(|(name, _)| !tree(&shown(name), now(), PLAIN).contains('\x1b')));
    assert_eq!(PLAIN.paint(Tone::Bad, "x"), "x");
}

#[test]
fn a_message_cannot_steer_the_terminal() {
    assert_eq!(clean("a\x1b[2Jb\nc"), "a [2Jb c");
    let hostile = json!({"message": "\u{1b}]0;owned\u{7}", "verdict": "\u{1b}[31m"});
    for (name, _) in states() {
        let release = release(name, hostile.clone());
        let all = Columns { namespace: true, wide: true, header: true };
        let text = tree(&release, now(), PLAIN)
            + &Explanation::of(&release, now(), "").to_string()
            + &table(&[release], all, now());
        assert!(!text.contains('\x1b') && !text.contains('\u{7}'), "{name}: {text:?}");
    }
}

#[test]
fn the_steps_of_a_rollback_plan_are_shown_and_who_is_waited_for() {
    let with = |name: &str, variant: &str, steps: serde_json::Value| -> Release {
        let mut release = serde_json::to_value(shown(name)).unwrap();
        release["status"]["state"][variant]["report"]["steps"] = steps;
        serde_json::from_value(release).unwrap()
    };
    let at = "2026-03-02T14:06:00Z";
    let waits = json!([
        {"name": "cache", "outcome": "Succeeded", "attempt": 1, "at": at, "message": "deleted: 42 keys like coupon:*"},
        {"name": "schema", "outcome": "Unconfirmed", "at": at},
        {"name": "seeds", "outcome": "Pending", "at": at},
    ]);
    let waiting = with("Reverting", "reverting", waits);
    let text = tree(&waiting, now(), PLAIN) + &Explanation::of(&waiting, now(), " -n shop").to_string();
    insta::assert_snapshot!("rollback_plan_waits", text);
    let failed = json!([
        {"name": "schema", "outcome": "Failed", "attempt": 2, "at": at, "confirmedBy": "alice", "message": "relation in use"},
        {"name": "seeds", "outcome": "Skipped", "at": at, "message": "step schema failed"},
    ]);
    let failed = with("RollbackFailed", "rollbackFailed", failed);
    let text = tree(&failed, now(), PLAIN) + &Explanation::of(&failed, now(), " -n shop").to_string();
    insta::assert_snapshot!("rollback_plan_failed", text);
}

#[test]
fn many_releases_as_a_table() {
    let all: Vec<Release> = states().iter().map(|(name, _)| shown(name)).collect();
    let wide = Columns { namespace: true, wide: true, header: true };
    let narrow = Columns { header: true, ..Columns::default() };
    insta::assert_snapshot!("table", table(&all, narrow, now()));
    insta::assert_snapshot!("table_wide", table(&all[3..5], wide, now()));
}

#[test]
fn ages_are_written_as_kubectl_does() {
    for (created, text) in [
        ("2026-03-02T14:09:58Z", "2s"),
        ("2026-03-02T14:07:57Z", "2m3s"),
        ("2026-03-02T13:40:00Z", "30m"),
        ("2026-03-02T10:00:00Z", "4h10m"),
        ("2026-02-28T12:10:00Z", "2d2h"),
        ("2026-01-31T14:10:00Z", "30d"),
    ] {
        assert_eq!(age(at(created), now()), text);
    }
}

#[test]
fn every_state_is_explained() {
    let explained = |name| {
        format!(
            "{name}
{}",
            Explanation::of(&shown(name), now(), " -n shop")
        )
    };
    let all: Vec<String> = states().iter().map(|(name, _)| explained(*name)).collect();
    insta::assert_snapshot!(
        "explain",
        all.join(
            "
"
        )
    );
}

#[test]
fn pauses_and_first_moments_are_explained() {
    let paused = json!({"paused": {"by": "alice", "since": "2026-03-02T14:09:00Z", "until": "2026-03-02T14:40:00Z"}});
    let by_order = Explanation::of(&release("Stepping", paused), now(), "");
    assert!(
        by_order.waits_for[0].starts_with("the pause to end (by alice, since 14:09:00 UTC (1 m), ends at 14:40:00 UTC")
    );
    assert_eq!(by_order.command.unwrap(), "kubectl haldane resume checkout   # go on");

    let mut by_spec = release("Waiting", json!({}));
    by_spec.spec.paused = true;
    if let Some(crate::api::State::Waiting { closed, .. }) = by_spec.status.as_mut().and_then(|s| s.state.as_mut()) {
        closed[0].name = "Paused".into();
    }
    let command = Explanation::of(&by_spec, now(), " -n shop").command.unwrap();
    assert_eq!(command, r#"kubectl patch release checkout -n shop --type merge -p '{"spec":{"paused":false}}'"#);

    let mut unseen = release("Idle", json!({}));
    unseen.status = None;
    assert!(Explanation::of(&unseen, now(), "").stands.contains("has not been seen by the operator"));
    let early = json!({"state": {"stepping": {"stable": super::fixture::stable(), "candidate": super::fixture::candidate(), "step": 0, "since": "2026-03-02T14:09:30Z"}}});
    let early = Explanation::of(&release("Stepping", early), now(), "");
    assert_eq!(early.waits_for[0], "the step's pods to be ready and its traffic to have arrived");
    assert_eq!(early.next, "10 m of watching, then step 2");
}

#[test]
fn invalid_specs_and_drift_are_what_it_waits_for_first() {
    let conditions = json!([
        {"type": "Accepted", "status": "False", "reason": "Invalid", "message": "spec.images names container web, which the Deployment does not have", "lastTransitionTime": "2026-03-02T14:00:00Z"},
    ]);
    let answer = Explanation::of(&release("Idle", json!({"conditions": conditions})), now(), "");
    assert_eq!(answer.waits_for, ["Invalid: spec.images names container web, which the Deployment does not have"]);
}

fn end(name: &str, status: serde_json::Value) -> Option<End> {
    Follow::new(7).see(&release(name, status))
}

fn result(generation: i64, outcome: &str) -> serde_json::Value {
    json!({"generation": generation, "outcome": outcome, "at": "2026-03-02T14:05:00Z", "message": "done"})
}

#[test]
fn the_end_of_a_wait_is_what_the_status_says_of_its_generation() {
    let rest = || conditions("True", "False", "False");
    let stuck = || conditions("False", "False", "True");
    for (outcome, expected) in [
        ("Succeeded", End::Succeeded),
        ("RolledBack", End::RolledBack),
        ("RollbackFailed", End::RollbackFailed),
        ("Superseded", End::Superseded),
    ] {
        assert_eq!(end("Idle", json!({"conditions": rest(), "result": result(7, outcome)})), Some(expected));
    }
    // What an earlier generation came to says nothing of this one.
    let old = json!({"conditions": conditions("False", "True", "False"), "result": result(6, "Succeeded")});
    assert_eq!(end("Idle", old), None);
    assert_eq!(
        end("Idle", json!({"conditions": rest(), "observedGeneration": 6, "result": result(6, "Succeeded")})),
        None
    );
    // Applied again without another image: a success at once. A rejected version applied again: rolled back at once.
    assert_eq!(end("Idle", json!({"conditions": rest()})), Some(End::Succeeded));
    assert_eq!(end("RolledBack", json!({"conditions": stuck()})), Some(End::RolledBack));
    assert_eq!(end("RollbackFailed", json!({"conditions": stuck()})), Some(End::RollbackFailed));
    // Invalid: it can still be put in order.
    assert_eq!(end("Idle", json!({"conditions": stuck()})), None);
    assert_eq!(end("Idle", json!({"conditions": rest(), "result": result(8, "Succeeded")})), Some(End::Superseded));
}

#[test]
fn a_wait_goes_on_while_the_release_does_even_if_an_earlier_try_ended() {
    for name in ["Waiting", "Preparing", "Stepping", "Observing", "Promoting", "Draining", "Reverting"] {
        assert_eq!(end(name, json!({"result": result(7, "RolledBack")})), None, "{name}");
        assert_eq!(Follow::new(6).see(&release(name, json!({}))), Some(End::Superseded), "{name}");
    }
    // An edit of the checks raises the generation; the candidate is still the one that is waited for.
    let mut follow = Follow::new(7);
    assert_eq!(follow.see(&release("Stepping", json!({"observedGeneration": 8}))), None);
    let ended = json!({"conditions": conditions("True", "False", "False"), "result": result(8, "Succeeded")});
    assert_eq!(follow.see(&release("Idle", ended)), Some(End::Succeeded));
}

#[test]
fn a_timeout_tells_a_closed_gate_from_slowness() {
    let ends = |name: &str, status| at_timeout(&release(name, status));
    assert_eq!(ends("Waiting", json!({})), End::Gated);
    assert_eq!(ends("Stepping", json!({})), End::Timeout);
    let mut paused = conditions("False", "True", "False");
    paused[0]["reason"] = "Paused".into();
    assert_eq!(ends("Stepping", json!({"conditions": paused})), End::Gated);
    assert_eq!(ends("Idle", json!({"conditions": conditions("False", "False", "True")})), End::Gated);
    let codes = [End::Succeeded, End::RolledBack, End::Gated, End::Timeout, End::RollbackFailed, End::Superseded];
    assert_eq!(codes.map(|end| end as u8), [0, 2, 3, 4, 5, 6]);
}

#[test]
fn a_wait_prints_a_line_per_change_and_none_twice() {
    let mut follow = Follow::new(7);
    let stepping = shown("Stepping");
    assert_eq!(follow.news(&stepping).unwrap(), "Stepping 2/3 at 30 %: the sentence of the operator");
    assert_eq!(follow.news(&stepping), None);
    let mut moved = stepping;
    moved.status.as_mut().unwrap().message = "another number".into();
    assert_eq!(follow.news(&moved), None, "numbers that move are no news");
    assert!(follow.news(&shown("Draining")).is_some());
}

fn ordered(name: &str, wish: &Wish) -> Result<crate::api::ReleaseActionSpec, String> {
    action(&shown(name), wish, "alice".into(), Some("because".into())).map_err(|e| e.to_string())
}

#[test]
fn an_order_names_the_release_and_the_revision_that_was_seen() {
    let promote = ordered("Stepping", &Wish::Promote { full: true }).unwrap();
    assert_eq!(
        (promote.release.as_str(), promote.release_uid.as_str(), promote.by.as_str()),
        ("checkout", "u-1", "alice")
    );
    assert_eq!((promote.revision.as_str(), promote.r#type), ("5f6a7b8c9d", ActionType::Promote));
    assert_eq!((promote.to, promote.until), (Some(PromoteTo::Full), None));
    let undo = ordered("Idle", &Wish::Rollback).unwrap();
    assert_eq!((undo.revision.as_str(), undo.to), ("0a1b2c3d4e", None));
    let pause = ordered("Waiting", &Wish::Pause { until: Some(now()) }).unwrap();
    assert_eq!(pause.until, Some(now()));
    assert_eq!(ordered("RolledBack", &Wish::Retry { revision: None }).unwrap().revision, "5f6a7b8c9d");
    let named = Wish::Retry { revision: Some("abc".into()) };
    assert_eq!(ordered("Idle", &named).unwrap().revision, "abc");
}

#[test]
fn an_order_that_could_do_nothing_is_refused_with_a_sentence() {
    let refused = |name, wish| ordered(name, &wish).unwrap_err();
    assert_eq!(
        refused("Idle", Wish::Promote { full: false }),
        "Release checkout is Idle: only a release in its steps can be promoted"
    );
    assert_eq!(refused("RolledBack", Wish::Rollback), "Release checkout is RolledBack already");
    assert_eq!(refused("Stepping", Wish::Resume), "Release checkout is not paused");
    assert_eq!(refused("Idle", Wish::Retry { revision: None }), "Release checkout has no rejected revision to retry");
    let yes = Wish::Confirm { step: "schema".into() };
    assert_eq!(refused("Reverting", yes), "no step of a rollback of Release checkout waits for a yes: it is Reverting");
}

#[test]
fn a_notice_is_shown_without_its_secrets() {
    let key = json!({"name": "chat", "key": "url"});
    let mail =
        json!({"host": "mail.example", "from": "haldane@example.org", "to": ["a@example.org"], "language": "zh"});
    for (channel, shown) in [
        (json!({"webhook": {"url": "https://hooks.example/a"}}), "POST https://hooks.example/a\n"),
        (json!({"dingtalk": {"urlFrom": key}}), "POST … (key url of Secret chat)\n"),
        (json!({"feishu": {"urlFrom": key, "signingSecret": key}}), "\"sign\": \"…\""),
        (json!({"wecom": {"urlFrom": key}}), "\"msgtype\": \"text\""),
        (json!({"slack": {"token": key, "channel": "C1"}}), "POST https://slack.com/api/chat.postMessage\n"),
        (json!({"teams": {"urlFrom": key}}), "\"type\": \"AdaptiveCard\""),
        (json!({"pagerduty": {"routingKey": key}}), "\"routing_key\": \"…\""),
        (json!({"alertmanager": {"url": "http://am:9093"}}), "\"severity\": \"critical\""),
        (json!({"email": mail}), "MAIL to mail.example\n"),
        (
            json!({"github": {"repository": "shop/ops", "token": key}}),
            "POST https://api.github.com/repos/shop/ops/issues\n",
        ),
    ] {
        let spec = serde_json::from_value(channel.clone()).unwrap();
        let letter =
            super::notify::letter("oncall", "haldane-system", crate::api::notice::Reason::RollbackFailed, now());
        let text = super::notify::shown(&spec, &letter).unwrap();
        assert!(text.contains(shown), "{channel}: {text}");
        assert!(text.contains("7.31 %"), "{channel}: {text}");
        assert!(text.lines().all(|line| !line.chars().any(char::is_control)), "{text:?}");
    }
    let two = serde_json::from_value(json!({})).unwrap();
    let letter = super::notify::letter("oncall", "haldane-system", crate::api::notice::Reason::RolledBack, now());
    let said = super::notify::shown(&two, &letter).unwrap_err().to_string();
    assert_eq!(said, "Notifier oncall: its spec must have exactly one channel");
}
