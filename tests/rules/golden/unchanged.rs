//! The world as it is when an operator of yesterday has just written its State and one of today takes its place.

use std::collections::BTreeMap;

use haldane::{
    api::{
        Release, State,
        state::{Part, Revision, Version},
    },
    observe::seen::{
        Asked, CandidateSet, Feed, Hold, OwnedSet, Owner, Pod, ReleaseSeen, RouteSeen, Seen, ServiceSeen, Side, Split,
        StepJob, Target, Unread, Workload,
    },
};

use super::samples::at;

/// How many pods the Deployment wants.
const WANTED: u32 = 4;
const NOW: i64 = 100;
/// The values of `pod-template-hash`.
const OLD: &str = "7f9c";
const NEW: &str = "h5f6a7b8c9d";

/// What differs from State to State.
struct Here {
    /// The candidate's ReplicaSet: pods, ready ones.
    set: Option<(u32, u32)>,
    split: Option<u32>,
    header: bool,
    /// Where the Service is pinned to.
    pin: Option<&'static str>,
    confirmed: bool,
    settled: bool,
    part: Option<Part>,
}

fn here(state: &State) -> Here {
    let rest = Here { set: None, split: None, header: false, pin: None, confirmed: true, settled: true, part: None };
    let started =
        |set, split, pin| Here { set: Some(set), split: Some(split), header: split > 0, pin: Some(pin), ..rest };
    match state {
        State::Waiting { .. } => Here { settled: false, ..rest },
        State::Preparing { .. } => started((2, 0), 0, OLD),
        State::Stepping { .. } => started((2, 2), 30, OLD),
        State::Observing { .. } => started((WANTED, WANTED), 100, NEW),
        State::Promoting { part, .. } => Here { part: Some(*part), ..started((WANTED, WANTED), 100, NEW) },
        State::Draining { .. } => Here { confirmed: false, ..started((2, 2), 0, OLD) },
        State::Idle { .. } | State::Reverting { .. } | State::RolledBack { .. } | State::RollbackFailed { .. } => rest,
    }
}

fn pods(side: Side, count: u32, ready: u32) -> impl Iterator<Item = Pod> {
    (0..count).map(move |n| Pod {
        name: format!("{side:?}-{n}"),
        side,
        ready: n < ready,
        terminating: false,
        created_at: at(0),
        started_at: Some(at(0)),
        ready_changed_at: Some(at(NOW - 5)),
        restarts: 0,
        trouble: None,
    })
}

fn owned(version: &Version, hash: &str, number: u64) -> OwnedSet {
    OwnedSet {
        name: format!("checkout-{hash}"),
        uid: hash.into(),
        hash: hash.into(),
        revision: version.revision.clone(),
        images: version.images.clone(),
        created_at: Some(at(0)),
        number,
        size: WANTED,
        ready: WANTED,
        available: WANTED,
    }
}

/// Agrees with the State in everything.
pub fn seen(release: &Release) -> Seen {
    let state = release.status.as_ref().and_then(|s| s.state.as_ref()).unwrap();
    let (stable, here) = (state.stable(), here(state));
    let asked = match state {
        State::Idle { stable } => stable,
        State::RolledBack { candidate, .. } => candidate,
        other => &other.candidate().unwrap().version,
    };
    let taken = here.part.is_some();
    let given = here.part == Some(Part::GiveBack);
    let mut sets = vec![owned(stable, OLD, 7)];
    if given {
        sets.insert(0, owned(asked, NEW, 8));
    }
    let held = release.spec.held();
    let shown = if taken || held { asked } else { stable };
    let paused = held || state.active() && !matches!(state, State::Reverting { .. });
    let workload = Workload {
        name: "checkout".into(),
        uid: "d-1".into(),
        observed: true,
        hold: if held { Hold::Always } else { Hold::No },
        marked_held: held,
        kept: held.then(|| stable.revision.clone()),
        paused,
        marked_paused: paused,
        wanted: WANTED,
        revision: shown.revision.clone(),
        images: shown.images.clone(),
        asked: Asked { revision: asked.revision.clone(), images: asked.images.clone(), unknown: Vec::new() },
        handover: taken.then(|| "5f6a7b8c9d".into()),
        recreate: taken,
        sets,
        settled: here.settled,
        ..Workload::default()
    };
    let candidate = here.set.map(|(size, ready)| CandidateSet {
        name: "checkout-r5f6a7b8c9d".into(),
        uid: "set".into(),
        id: "5f6a7b8c9d".into(),
        hash: NEW.into(),
        revision: Revision(asked.revision.0.clone()),
        size,
        ready,
        available: ready,
        deleting: false,
        observed: true,
        offered: taken,
        owner: if given { Owner::Deployment } else { Owner::Nobody },
        carries_traffic: here.split > Some(0),
        marked: true,
    });
    let (size, ready) = here.set.unwrap_or_default();
    let turned = matches!(state, State::Draining { report, .. } if report.turned_at.is_some());
    let service = ServiceSeen {
        name: "checkout".into(),
        pin: here.pin.map(str::to_owned),
        stable_endpoints: if here.pin == Some(NEW) { 0 } else { WANTED },
        candidate_endpoints: if here.pin == Some(NEW) { ready } else { 0 },
        canary_service: here.set.is_some() && !turned,
        canary_left: turned,
        rules_copied: true,
        canary_endpoints: ready,
        problem: None,
    };
    let routes = release.spec.traffic.routes.iter().map(|route| RouteSeen {
        route: route.clone(),
        problem: None,
        split: here.split.map(|weight| Split { weight, header: here.header, uneven: false }),
        weights: BTreeMap::new(),
        confirmed: here.confirmed,
        complaint: None,
        settles_at: None,
    });
    Seen {
        now: at(NOW),
        release: ReleaseSeen {
            namespace: "shop".into(),
            name: "checkout".into(),
            uid: "u-1".into(),
            generation: 7,
            finalizer: held || state.active(),
            ..ReleaseSeen::default()
        },
        target: Target::Found(Box::new(workload)),
        candidate,
        pods: pods(Side::Stable, WANTED, WANTED).chain(pods(Side::Candidate, size, ready)).collect(),
        services: vec![service],
        routes: routes.collect(),
        stands: None,
        metrics: Feed::Unset,
        probes: Vec::new(),
        smoke: BTreeMap::new(),
        trial: StepJob::Unknown,
        step_job: StepJob::Unknown,
        orders: Vec::new(),
        route_written_at: None,
        delivered: Vec::new(),
        unread: Unread::default(),
    }
}
