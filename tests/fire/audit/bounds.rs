//! What cannot hold at once, but soon: invariant 2, and how long it took.

use serde_json::Value;

use super::{
    Notes, Step,
    world::{HASH, World, selects, wanted},
};

/// The promise is 2 s on a quiet machine. Here a dozen stories share two cores, and operators are killed in them: what
/// takes this long was not slow, it was forgotten. The longest of all is printed.
const FORGOTTEN: u64 = 20_000;

/// 2: a side that has lost all its ready pods loses its traffic while the other can hold it.
pub fn check(step: &Step<'_>, notes: &mut Notes, breach: &mut impl FnMut(u32, String)) {
    if !matches!(step.change.kind.as_str(), "pods" | "httproutes" | "services" | "deployments") {
        return;
    }
    for (name, deployment) in step.after.targets() {
        match (dark(step.after, deployment), notes.dark.get(name).copied()) {
            (Some(_), None) => {
                notes.dark.insert(name.to_owned(), step.change.at);
            }
            (Some(service), Some(since)) if lasted(step, since) > FORGOTTEN => {
                breach(2, told(service, lasted(step, since)));
                notes.dark.insert(name.to_owned(), step.change.at);
            }
            (None, Some(since)) => {
                notes.dark.remove(name);
                notes.longest_dark = notes.longest_dark.max(lasted(step, since));
                if lasted(step, since) > FORGOTTEN {
                    breach(2, told(name, lasted(step, since)));
                }
            }
            _ => {}
        }
    }
}

const fn lasted(step: &Step<'_>, since: u64) -> u64 {
    step.change.at.saturating_sub(since)
}

fn told(name: &str, millis: u64) -> String {
    format!("{name} gets traffic without a ready pod for {millis} ms, and the other side could hold it")
}

/// A Service that gets traffic and has no ready pod, while enough pods of the workload are ready outside of it.
fn dark<'a>(world: &'a World, deployment: &'a Value) -> Option<&'a str> {
    let mine = &deployment["spec"]["selector"]["matchLabels"];
    let mut services = world.services_of(deployment).filter(|(name, _)| world.reached(name));
    services.find_map(|(name, service)| {
        let selector = &service["spec"]["selector"];
        let others = world.all("pods").filter(|(_, pod)| {
            let labels = &pod["metadata"]["labels"];
            super::world::ready(pod) && selects(mine, labels) && labels[HASH] != selector[HASH]
        });
        let holds = others.count() >= wanted(deployment) as usize;
        (world.ready(selector).is_empty() && holds).then_some(name)
    })
}
