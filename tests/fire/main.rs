//! Bad days on a real API server: the operator is killed before and after every write, its writes fail in every way, its
//! watches lie, its leader is frozen, its API server goes away. After each the end must be that of the undisturbed run,
//! and an auditor reads every revision of the store and checks what always holds. `docs/under-fire.md` says how.

/// Built-in objects are stored as JSON, so that the auditor can read them.
const API_SERVER_FLAGS: &str = "--storage-media-type=application/json";

/// All bodies of the operator's writes are audited.
const AUDITED_BODIES: &str = "";

#[cfg(test)]
mod audit;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod early;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod fault;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the other test binary, which uses the rest of it")]
#[path = "../it/harness/mod.rs"]
mod harness;
#[cfg(test)]
mod leaders;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod sink;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod views;
