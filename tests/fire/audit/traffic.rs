//! Where traffic goes, and what stands behind it: invariants 1, 3, 4, 5, 7, 9, 10, 12, 16, 27.

use haldane::api::state::State;
use serde_json::Value;

use super::{
    Notes, Step,
    world::{
        HASH, Share, World, allowed, canary, header_rule, ready, refs, rules, selects, shares, split, state, wanted,
        weight,
    },
};

/// Pods that were ready a moment ago may have been read as ready.
const MOMENT: u64 = 2_000;
/// What is under way may end before pods go; a little less, for the auditor's clock is not the operator's.
const DRAINED: u64 = 4_000;

pub fn check(step: &Step<'_>, notes: &mut Notes, breach: &mut impl FnMut(u32, String)) {
    let change = step.change;
    match (change.kind.as_str(), &change.now) {
        ("pods", _) => lost(step, notes),
        ("httproutes", Some(route)) => {
            weights(step, route, breach);
            raised(step, route, notes, breach);
            only_ours(step, "httproutes", route, notes, breach);
        }
        ("services", Some(service)) => {
            selector(step, service, notes, breach);
            only_ours(step, "services", service, notes, breach);
        }
        ("replicasets", _) => shrunk(step, notes, breach),
        ("releases", Some(_)) if step.old.is_none() => remember_written(step.after, notes),
        _ => {}
    }
    if matches!(change.kind.as_str(), "pods" | "httproutes" | "services" | "replicasets" | "deployments") {
        served(step, notes, breach);
        pinned_and_paused(step, breach);
    }
}

fn lost(step: &Step<'_>, notes: &mut Notes) {
    let is = step.change.now.as_ref().is_some_and(ready);
    if let Some(old) = step.old.filter(|old| ready(old) && !is) {
        notes.lost.push((step.change.at, old["metadata"]["labels"].clone()));
    }
}

/// Ready pods behind a selector, those included that were lost a moment ago.
fn behind(world: &World, selector: &Value, notes: &Notes, at: u64) -> usize {
    behind_since(world, selector, notes, at.saturating_sub(MOMENT))
}

/// Ready pods behind a selector, those included that were lost since then.
fn behind_since(world: &World, selector: &Value, notes: &Notes, since: u64) -> usize {
    let recent = notes.lost.iter().filter(|(when, labels)| *when >= since && selects(selector, labels));
    world.ready(selector).len() + recent.count()
}

/// 3: whole numbers, not negative, summing up, never all 0.
fn weights(step: &Step<'_>, route: &Value, breach: &mut impl FnMut(u32, String)) {
    for (i, rule) in rules(route).iter().enumerate().filter(|(_, rule)| !refs(rule).is_empty()) {
        let named = format!("rule {i} of HTTPRoute {}", step.change.name);
        let odd = refs(rule).iter().find(|r| !r["weight"].is_null() && r["weight"].as_i64().is_none_or(|w| w < 0));
        if let Some(odd) = odd {
            breach(3, format!("{named} has the weight {}", odd["weight"]));
        }
        let sum: i64 = refs(rule).iter().map(weight).sum();
        if sum <= 0 {
            breach(3, format!("{named} sends its requests nowhere: all weights are 0"));
        }
        if refs(rule).len() == 2 && refs(rule).iter().filter(|r| canary(r)).count() == 1 && sum != 100 {
            breach(3, format!("{named} has weights that sum up to {sum}, not 100"));
        }
    }
}

/// 1, 7, 9, 10, 16: a share rises only with what carries it, what allows it, and not for what was given up.
fn raised(step: &Step<'_>, route: &Value, notes: &mut Notes, breach: &mut impl FnMut(u32, String)) {
    let Some(old) = step.old else { return };
    let (world, name, at) = (step.after, &step.change.name, step.change.at);
    let (before, after) = (sides(world, old), sides(world, route));
    for (selector, share) in &after {
        let of_rule = |all: &[(Value, Share)]| -> Vec<(Value, u32)> {
            let own = all.iter().filter(|(_, s)| s.rule == share.rule && s.percent > 0);
            own.map(|(selector, s)| (selector.clone(), s.percent)).collect()
        };
        if of_rule(&before) == of_rule(&after) {
            continue; // from one Service to another with the same pods: nobody is led anywhere
        }
        let same = |(s, b): &&(Value, Share)| s == selector && b.rule == share.rule;
        let was = before.iter().find(same).map_or(0, |(_, b)| b.percent);
        let targets = world.targets();
        let Some((_, deployment)) =
            targets.iter().find(|(_, d)| world.services_of(d).any(|(service, _)| service == share.service))
        else {
            continue;
        };
        let stands = behind(world, selector, notes, at);
        if share.percent > was {
            let need = (u64::from(share.percent) * u64::from(wanted(deployment))).div_ceil(100);
            if (stands as u64) < need {
                breach(
                    1,
                    format!(
                        "HTTPRoute {name} raises {} from {} to {} %, and {stands} of {need} pods behind it are ready",
                        share.service, was, share.percent
                    ),
                );
            }
        }
        if share.percent > 0 && stands == 0 && any_ready(world, deployment) {
            breach(
                7,
                format!(
                    "HTTPRoute {name} is written with {} % for {}, which has no ready pod",
                    share.percent, share.service
                ),
            );
        }
    }
    let ((from, _), (to, _)) = (split(old), split(route));
    let hash = candidate_hash(world, route);
    if from > 0 && to == 0 {
        notes.emptied.extend(hash.clone().map(|hash| (hash, at)));
    }
    if to > from {
        if let Some(hash) = hash.filter(|hash| notes.convicted.contains(hash)) {
            breach(16, format!("HTTPRoute {name} raises {hash} to {to} %, which was given up"));
        }
        let holder = world.all("releases").find_map(|(_, r)| {
            let state = state(r)?;
            let named = state.candidate()?.traffic.routes.iter().any(|r| r.name == *name);
            named.then_some((r, state))
        });
        let Some((release, state)) = holder else {
            breach(9, format!("HTTPRoute {name} gives the candidate {to} %, and no Release says so"));
            return;
        };
        let target = release["spec"]["targetRef"]["name"].as_str().unwrap_or_default();
        let pods = world.get("deployments", target).map_or(1, wanted);
        match allowed(&state, pods) {
            None => breach(9, format!("HTTPRoute {name} gives the candidate {to} % in State {}", state.name())),
            Some(share) if to > share => {
                breach(10, format!("HTTPRoute {name} gives the candidate {to} %, and its step {share} %"));
            }
            Some(_) => {}
        }
    }
}

/// The shares of a route by the pods that get them: two Services with one selector are one side.
fn sides(world: &World, route: &Value) -> Vec<(Value, Share)> {
    let mut sides: Vec<(Value, Share)> = Vec::new();
    for share in shares(route) {
        let Some(service) = world.get("services", &share.service) else { continue };
        let selector = &service["spec"]["selector"];
        match sides.iter_mut().find(|(s, known)| s == selector && known.rule == share.rule) {
            Some((_, known)) => known.percent += share.percent,
            None => sides.push((selector.clone(), share)),
        }
    }
    sides.sort_by_key(|(selector, share)| (share.rule, selector.to_string()));
    sides
}

/// The hash that the canary Service of a route selects.
fn candidate_hash(world: &World, route: &Value) -> Option<String> {
    let service = shares(route).into_iter().find(|s| s.service.ends_with("-canary"))?.service;
    let hash = &world.get("services", &service)?["spec"]["selector"][HASH];
    hash.as_str().map(str::to_owned)
}

fn any_ready(world: &World, deployment: &Value) -> bool {
    !world.ready(&deployment["spec"]["selector"]["matchLabels"]).is_empty()
}

/// 4: whenever a pod is ready, something with traffic has one.
fn served(step: &Step<'_>, notes: &Notes, breach: &mut impl FnMut(u32, String)) {
    let world = step.after;
    let since = step.change.at.saturating_sub(notes.grace.max(MOMENT));
    for (name, deployment) in world.targets() {
        let services: Vec<_> = world.services_of(deployment).filter(|(service, _)| world.reached(service)).collect();
        let dead = services.iter().all(|(_, s)| behind_since(world, &s["spec"]["selector"], notes, since) == 0);
        if !services.is_empty() && dead && any_ready(world, deployment) {
            let names: Vec<_> = services.iter().map(|(name, _)| *name).collect();
            breach(4, format!("pods of Deployment {name} are ready, but none behind {}", names.join(" and ")));
        }
    }
}

/// 27: a pin means a paused Deployment.
fn pinned_and_paused(step: &Step<'_>, breach: &mut impl FnMut(u32, String)) {
    for (name, deployment) in step.after.targets() {
        if deployment["spec"]["paused"] == true {
            continue;
        }
        for (service, object) in step.after.services_of(deployment) {
            if !service.ends_with("-canary") && !object["spec"]["selector"][HASH].is_null() {
                breach(27, format!("Service {service} is pinned and Deployment {name} is not paused"));
            }
        }
    }
}

/// 1 and 5 for Services: who stands behind one changes only where that is safe.
fn selector(step: &Step<'_>, service: &Value, notes: &Notes, breach: &mut impl FnMut(u32, String)) {
    let (world, name) = (step.after, &step.change.name);
    let Some(old) = step.old.filter(|old| old["spec"]["selector"] != service["spec"]["selector"]) else { return };
    let targets = world.targets();
    let Some((target, deployment)) = targets.iter().find(|(_, d)| world.services_of(d).any(|(s, _)| s == name)) else {
        return;
    };
    let holder = world.all("releases").find(|(_, r)| r["spec"]["targetRef"]["name"] == **target);
    let state = holder.and_then(|(_, release)| state(release));
    let selector = &service["spec"]["selector"];
    let hash = selector[HASH].as_str().unwrap_or_default();
    let to_candidate = state.as_ref().and_then(State::candidate).is_some_and(|c| hash == format!("h{}", c.id));
    let need = if to_candidate { wanted(deployment) as usize } else { usize::from(any_ready(world, deployment)) };
    let stands = behind(world, selector, notes, step.change.at);
    if stands < need && world.reached(name) {
        breach(1, format!("Service {name} is turned to {selector}, and {stands} of {need} pods behind it are ready"));
    }
    let routed = state.as_ref().and_then(State::candidate).is_some_and(|c| c.traffic.routed());
    let up = |s: &State| !matches!(s, State::Draining { .. } | State::Reverting { .. }) && s.candidate().is_some();
    if routed && world.reached(name) && state.as_ref().is_some_and(up) {
        let mut pods = [world.ready(&old["spec"]["selector"]), world.ready(selector)];
        for names in &mut pods {
            names.sort_unstable();
        }
        if pods[0] != pods[1] {
            breach(5, format!("Service {name} has traffic and is turned from {:?} to {:?}", pods[0], pods[1]));
        }
    }
}

/// 5: pods do not go while anything sends to them, and not at once after.
fn shrunk(step: &Step<'_>, notes: &Notes, breach: &mut impl FnMut(u32, String)) {
    let (world, name) = (step.after, &step.change.name);
    let Some(old) = step.old else { return };
    let size = |set: &Value| set["spec"]["replicas"].as_u64().unwrap_or(1);
    let going = |set: &Value| !set["metadata"]["deletionTimestamp"].is_null();
    let shrinks = match &step.change.now {
        None => !going(old),
        Some(now) => size(now) < size(old) || going(now) && !going(old),
    };
    if !shrinks || size(old) == 0 || old["status"]["replicas"].as_u64().unwrap_or(0) == 0 {
        return;
    }
    let labels = &old["spec"]["template"]["metadata"]["labels"];
    let hash = labels[HASH].as_str().unwrap_or_default();
    for (_, deployment) in world.targets() {
        for (service, object) in world.services_of(deployment) {
            let chosen = selects(&object["spec"]["selector"], labels);
            if chosen && world.reached(service) {
                breach(5, format!("pods of ReplicaSet {name} are taken away while Service {service} sends to them"));
            } else if chosen && !world.confirmed(service) {
                breach(
                    5,
                    format!(
                        "pods of ReplicaSet {name} are taken away before the gateway confirmed that {service} gets nothing"
                    ),
                );
            }
        }
    }
    if !old["metadata"]["ownerReferences"].is_null() {
        return; // a Deployment's: its traffic moved with the Services, not with a candidate's weight
    }
    if let Some(since) = notes.emptied.get(hash).map(|at| step.change.at.saturating_sub(*at)).filter(|s| *s < DRAINED) {
        breach(5, format!("pods of ReplicaSet {name} are taken away {since} ms after the candidate's weight became 0"));
    }
}

/// The user's objects as they are when his Release comes.
fn remember_written(world: &World, notes: &mut Notes) {
    for kind in ["httproutes", "services"] {
        for (name, object) in world.all(kind) {
            let key = (kind.to_owned(), name.to_owned());
            notes.written.entry(key).or_insert_with(|| without_ours(kind, object));
        }
    }
}

/// 12: of a route only our backendRefs and header rule change, of a selector only our key.
fn only_ours(step: &Step<'_>, kind: &str, object: &Value, notes: &Notes, breach: &mut impl FnMut(u32, String)) {
    let Some(written) = notes.written.get(&(kind.to_owned(), step.change.name.clone())) else { return };
    let now = without_ours(kind, object);
    if now != *written {
        breach(12, format!("{kind} {} was {written} and is {now} but for what is ours", step.change.name));
    }
}

/// The spec without what is ours, and without the weight of a ref that may be split.
fn without_ours(kind: &str, object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    if kind == "services" {
        if let Some(selector) = spec["selector"].as_object_mut() {
            selector.remove(HASH);
        }
        return spec;
    }
    let Some(rules) = spec["rules"].as_array_mut() else { return spec };
    rules.retain(|rule| !header_rule(rule));
    for rule in rules {
        let Some(refs) = rule["backendRefs"].as_array_mut() else { continue };
        refs.retain(|r| !canary(r));
        if let [one] = refs.as_mut_slice() {
            // Alone in its rule its weight means nothing, beside ours it is the rest to 100.
            one.as_object_mut().map(|fields| fields.remove("weight"));
        }
    }
    spec
}
