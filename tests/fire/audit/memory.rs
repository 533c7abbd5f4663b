//! What was remembered, and in which order it was done: invariants 6, 8, 9, 13, 16, 17, 18, 19, 22.

use haldane::api::state::{CauseKind, Part, State};
use serde_json::Value;

use super::{
    Notes, Step,
    world::{HASH, OURS, World, ready, split, state, wanted},
};

pub fn check(step: &Step<'_>, notes: &mut Notes, breach: &mut impl FnMut(u32, String)) {
    let change = step.change;
    match (change.kind.as_str(), &change.now) {
        ("releases", Some(release)) => {
            one_per_workload(step, breach);
            advance(step, release, breach);
            rollback(step, release, notes, breach);
        }
        ("releases", None) => left_behind(step, breach),
        ("deployments", Some(deployment)) => template(step, deployment, breach),
        ("replicasets", Some(set)) => candidate(step, set, breach),
        ("services", Some(service)) => pin(step, service, breach),
        _ => {}
    }
    route_first(step, notes, breach);
}

/// The Release about a Deployment, with its State.
fn holder<'a>(world: &'a World, deployment: &str) -> Option<(&'a str, &'a Value, Option<State>)> {
    let found = world.all("releases").filter(|(_, r)| r["spec"]["targetRef"]["name"] == deployment);
    let mut found: Vec<_> = found.map(|(name, r)| (name, r, state(r))).collect();
    found.sort_by_key(|(_, _, state)| !state.as_ref().is_some_and(State::active));
    found.into_iter().next()
}

/// 13: one Release works on a workload.
fn one_per_workload(step: &Step<'_>, breach: &mut impl FnMut(u32, String)) {
    for (target, _) in step.after.targets() {
        let of_target = step.after.all("releases").filter(|(_, r)| r["spec"]["targetRef"]["name"] == target);
        let active: Vec<&str> =
            of_target.filter(|(_, r)| state(r).is_some_and(|s| s.active())).map(|(name, _)| name).collect();
        if active.len() > 1 {
            breach(13, format!("the Releases {} work on Deployment {target} at once", active.join(" and ")));
        }
    }
}

/// 9: a step ends with a stored verdict, or by an order.
fn advance(step: &Step<'_>, release: &Value, breach: &mut impl FnMut(u32, String)) {
    let Some(old) = step.old else { return };
    let (Some(before), Some(after)) = (state(old), state(release)) else { return };
    let advanced = match (&before, &after) {
        (State::Stepping { step: from, .. }, State::Stepping { step: to, .. }) => to > from,
        (State::Stepping { .. }, State::Observing { .. }) => true,
        (State::Observing { candidate, .. }, State::Promoting { .. }) => !candidate.undo,
        _ => false,
    };
    let healthy = [old, release].iter().any(|r| r["status"]["verdict"] == "Healthy");
    let ordered = step.after.all("releaseactions").any(|(_, a)| a["spec"]["type"] == "Promote");
    if advanced && !healthy && !ordered {
        let verdict = &release["status"]["verdict"];
        breach(9, format!("Release {} leaves {} with the verdict {verdict}", step.change.name, before.name()));
    }
}

/// 16, 17 and the beginning of 8: a rollback is decided once, and never leads to what was given up.
fn rollback(step: &Step<'_>, release: &Value, notes: &mut Notes, breach: &mut impl FnMut(u32, String)) {
    let name = &step.change.name;
    let Some(after) = state(release) else { return };
    let before = step.old.and_then(state);
    if let State::Draining { stable, candidate, .. } | State::Reverting { stable, candidate, .. } = &after {
        let rejected = release["status"]["rejected"].as_array().map_or(&[][..], Vec::as_slice);
        if !candidate.undo && rejected.iter().any(|r| r["revision"] == stable.revision.0.as_str()) {
            breach(17, format!("Release {name} goes back to {}, which was rejected", stable.revision));
        }
    }
    let State::Draining { candidate, cause, .. } = &after else { return };
    if matches!(before, Some(State::Draining { .. })) {
        return;
    }
    let times = notes.drained.entry(candidate.id.clone()).or_default();
    *times += 1;
    if *times > 1 {
        breach(17, format!("Release {name} takes {} back for the {times}th time", candidate.id));
    }
    if matches!(cause.kind, CauseKind::Bad | CauseKind::NotReady | CauseKind::Ordered) {
        notes.convicted.insert(format!("h{}", candidate.id));
    }
    let sends = |(_, route): (&str, &Value)| split(route).0 > 0 || split(route).1;
    if step.after.all("httproutes").any(sends) {
        notes.first_write_due.insert(name.clone());
    }
}

/// 8: between the record of a rollback and the route nothing of the workload is written.
fn route_first(step: &Step<'_>, notes: &mut Notes, breach: &mut impl FnMut(u32, String)) {
    if notes.first_write_due.is_empty() {
        return;
    }
    let change = step.change;
    let marks = |object: &Value, field: &str| {
        let all = object["metadata"][field].as_object().cloned().unwrap_or_default();
        all.into_iter().filter(|(key, _)| key.starts_with(OURS)).collect::<serde_json::Map<_, _>>()
    };
    let written = |old: &Value, now: &Value| {
        old["spec"] != now["spec"]
            || !now["metadata"]["deletionTimestamp"].is_null() && old["metadata"]["deletionTimestamp"].is_null()
            || ["labels", "annotations"].iter().any(|field| marks(old, field) != marks(now, field))
    };
    match (change.kind.as_str(), step.old, &change.now) {
        ("httproutes", _, Some(route)) if split(route) == (0, false) => notes.first_write_due.clear(),
        ("deployments" | "replicasets" | "services", Some(old), Some(now)) if written(old, now) => {
            breach(8, format!("{} {} is written before the route of a rollback", change.kind, change.name));
        }
        ("releases", _, None) => notes.first_write_due.clear(),
        _ => {}
    }
}

/// 6 and 18: the user's template and his stable pods stay as they are until the Deployment takes the candidate over.
fn template(step: &Step<'_>, deployment: &Value, breach: &mut impl FnMut(u32, String)) {
    let Some(old) = step.old else { return };
    let name = &step.change.name;
    let Some((_, _, state)) = holder(step.after, name) else { return };
    let held = old["metadata"]["labels"]["haldane.dev/held"].is_string(); // its template is its user's at any time
    let handed = |d: &Value| d["metadata"]["labels"]["haldane.dev/handover"].as_str().map(str::to_owned);
    if old["spec"]["template"] != deployment["spec"]["template"] && handed(old).is_none() && !held {
        match &state {
            Some(State::Promoting { candidate, .. }) if handed(deployment).as_ref() == Some(&candidate.id) => {}
            other => {
                let at = other.as_ref().map_or("no State", State::name);
                breach(6, format!("the template of Deployment {name} is changed in {at}"));
            }
        }
    }
    if handed(old).is_none() && handed(deployment).is_some() && !matches!(&state, Some(State::Promoting { .. })) {
        breach(18, format!("Deployment {name} is handed over, and its Release does not say Promoting"));
    }
}

/// 6 and 18 for ReplicaSets: the stable one keeps its size; the candidate's is made and ended as its Release says.
fn candidate(step: &Step<'_>, set: &Value, breach: &mut impl FnMut(u32, String)) {
    let name = &step.change.name;
    let owner = set["metadata"]["ownerReferences"][0]["name"].as_str();
    if let Some((target, old)) = owner.zip(step.old) {
        let (Some((_, _, Some(state))), Some(deployment)) =
            (holder(step.after, target), step.after.get("deployments", target))
        else {
            return;
        };
        let size = |s: &Value| s["spec"]["replicas"].as_u64().unwrap_or(0);
        let stable = state
            .candidate()
            .is_some_and(|c| set["metadata"]["labels"][HASH].as_str().is_some_and(|hash| hash != format!("h{}", c.id)));
        let early = matches!(state, State::Preparing { .. } | State::Stepping { .. } | State::Observing { .. });
        if early && stable && size(set) < size(old) && size(set) < u64::from(wanted(deployment)) {
            breach(6, format!("the stable ReplicaSet {name} is scaled to {} in {}", size(set), state.name()));
        }
        return;
    }
    let Some(id) = set["metadata"]["annotations"]["haldane.dev/attempt"].as_str() else { return };
    let states: Vec<State> = step.after.all("releases").filter_map(|(_, r)| state(r)).collect();
    let state = states.iter().find(|s| s.candidate().is_some_and(|c| c.id == id));
    if step.old.is_none() && !state.is_some_and(State::active) {
        breach(18, format!("ReplicaSet {name} is made, and no Release says that {id} is on its way"));
    }
    let gone = |s: &Value| !s["metadata"]["deletionTimestamp"].is_null();
    let deleting = step.after.all("releases").any(|(_, r)| gone(r));
    let up = |s: &State| {
        matches!(
            s,
            State::Waiting { .. }
                | State::Preparing { .. }
                | State::Stepping { .. }
                | State::Observing { .. }
                | State::Promoting { part: Part::TakeOver | Part::GiveBack, .. }
        )
    };
    if gone(set) && !step.old.is_some_and(gone) && state.is_some_and(up) && !deleting {
        let at = state.map_or("no State", State::name);
        breach(18, format!("ReplicaSet {name} is deleted while its Release says {at}"));
    }
}

/// 18 for Services: nothing is turned to a candidate before its Release says that it may serve.
fn pin(step: &Step<'_>, service: &Value, breach: &mut impl FnMut(u32, String)) {
    let hash = |s: &Value| s["spec"]["selector"][HASH].as_str().map(str::to_owned);
    let name = &step.change.name;
    let Some(pin) = hash(service).filter(|pin| step.old.and_then(hash).as_ref() != Some(pin)) else { return };
    if name.ends_with("-canary") {
        return;
    }
    let states: Vec<State> = step.after.all("releases").filter_map(|(_, r)| state(r)).collect();
    let at = states.iter().find(|s| s.candidate().is_some_and(|c| pin == format!("h{}", c.id)));
    let may = |s: &State| matches!(s, State::Stepping { .. } | State::Observing { .. } | State::Promoting { .. });
    if at.is_some_and(|s| !may(s)) {
        breach(18, format!("Service {name} is pinned to the candidate in {}", at.map_or("no State", State::name)));
    }
}

/// 22: a Release that is gone leaves nothing of ours, and its Services lead to ready pods.
fn left_behind(step: &Step<'_>, breach: &mut impl FnMut(u32, String)) {
    let world = step.after;
    let marked = |object: &Value| {
        ["labels", "annotations"].iter().any(|field| {
            let all = object["metadata"][field].as_object();
            all.is_some_and(|all| all.keys().any(|key| key.starts_with(OURS)))
        })
    };
    let target = step.old.map(|r| r["spec"]["targetRef"]["name"].clone()).unwrap_or_default();
    for (kind, name, object) in world.everything() {
        let split_route =
            kind == "httproutes" && (split(object) != (0, false) || object["spec"].to_string().contains("-canary"));
        let mine = ["deployments", "replicasets", "services", "httproutes", "jobs"].contains(&kind);
        let pinned = kind == "services" && !object["spec"]["selector"][HASH].is_null();
        let going = !object["metadata"]["deletionTimestamp"].is_null();
        if mine && !going && (marked(object) || split_route || pinned) {
            breach(22, format!("Release {} is gone and {kind} {name} bears a mark of ours", step.change.name));
        }
    }
    let Some(deployment) = target.as_str().and_then(|name| world.get("deployments", name)) else { return };
    if deployment["spec"]["paused"] == true {
        breach(22, format!("Release {} is gone and its Deployment is still paused", step.change.name));
    }
    for (service, object) in world.services_of(deployment) {
        if world.ready(&object["spec"]["selector"]).is_empty() && world.all("pods").any(|(_, pod)| ready(pod)) {
            breach(22, format!("Release {} is gone and no pod behind Service {service} is ready", step.change.name));
        }
    }
}

/// 19: all that was told was told as an Event too, under its own number.
pub fn at_the_end(world: &World, breach: &mut dyn FnMut(u32, String)) {
    for (name, release) in world.all("releases") {
        let told = release["status"]["notices"].as_u64().unwrap_or(0);
        let outbox = release["status"]["outbox"].as_array().into_iter().flatten();
        let pending = outbox.filter_map(|notice| notice["pending"].as_array()).flatten();
        let untold = pending.filter(|channel| *channel != "event").count(); // that an Event was created may not be stored yet
        if untold > 0 {
            breach(19, format!("{untold} notices of Release {name} are still in its outbox"));
        }
        for seq in 1..=told {
            let end = format!(".{seq}");
            if !world.all("events").any(|(event, _)| event.starts_with(&format!("{name}.")) && event.ends_with(&end)) {
                breach(19, format!("notice {seq} of {told} of Release {name} is no Event"));
            }
        }
    }
}
