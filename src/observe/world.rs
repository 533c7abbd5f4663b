//! One look at everything that concerns a Release: `observe`. All reads are answered by the API server's own storage,
//! side by side; what this process knows by itself is handed in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, ObjectMeta},
};

use super::{
    clock, orders, rollback_step,
    seen::{Feed, Leaving, Parting, Probe, ReleaseSeen, Seen, SmokeSeen, StepJob, Target, Unread},
    smoke,
    traffic::{self, PATIENCE, Raw, TrafficAsk},
    workload,
};
use crate::{
    api::{
        Release,
        checks::SmokePoint,
        names,
        release::FINALIZER,
        state::{State, Version},
        status::{Ended, Memory},
        units::At,
    },
    error::{Error, Result},
};

/// What this process knows and the cluster does not.
#[derive(Clone, Debug)]
pub struct Known {
    pub metrics: Feed,
    pub probes: Vec<Probe>,
    pub route_written_at: Option<At>,
    pub delivered: Vec<(u64, String)>,
    /// Objects of the operator's namespace that cannot be used: one sentence each.
    pub problems: Vec<String>,
    /// The API server proves who orders.
    pub orders_proven: bool,
    /// The API server pauses held Deployments itself. Asked for those only.
    pub holds_at_change: bool,
    /// Services and routes as this process read or wrote them last.
    pub last: Raw,
    /// The operator is being uninstalled: since when this process knows.
    pub retiring: Option<At>,
    /// `Seen.stands` of the last look.
    pub stood: Option<(u32, At)>,
}

/// What was seen, and what the sampler and the prober need to know of the pods.
#[derive(Clone, Debug)]
pub struct World {
    pub seen: Seen,
    pub addresses: BTreeMap<String, IpAddr>,
    /// Container ports of the Deployment's template, by name.
    pub ports: BTreeMap<String, u16>,
    /// To fall back on when it cannot be read again.
    pub raw: Raw,
}

/// Looks at the world around a Release: one snapshot, one `now`.
pub async fn observe(
    client: &Client,
    release: &Release,
    state: Option<&State>,
    memory: &Memory,
    known: Known,
) -> Result<World> {
    let namespace = release.namespace().unwrap_or_default();
    let (name, uid) = (release.name_any(), release.uid().unwrap_or_default());
    if abandoned(release) {
        return Ok(unseen(release, known)); // what cannot be read may be the very reason for it
    }
    let target = release.spec.target_ref.name.as_str();
    let previous = state.and_then(|s| before(s, memory));
    let ask = workload::Ask {
        images: &release.spec.images,
        at_change: known.holds_at_change,
        previous: previous.as_ref(),
        state,
        release: &name,
        release_uid: &uid,
    };
    // Until a release begins, what is written counts: it may still be corrected.
    let pinned = state.filter(|s| s.active()).and_then(State::candidate).map(|c| &c.traffic);
    let services = pinned.map(|p| p.services.as_slice()).or(release.spec.traffic.services.as_deref());
    let routes = pinned.map_or(&release.spec.traffic.routes, |p| &p.routes);
    // On its way a release does without much of this, so no read may hold up the others for long.
    let active = state.is_some_and(State::active);
    let limit = if active { PATIENCE } else { Duration::MAX };
    let (view, orders, conflict, jobs, terminating, reads) = tokio::try_join!(
        workload::look(client, &namespace, target, &ask),
        async {
            let orders = orders::look(client, &namespace, &name, known.orders_proven);
            Ok(traffic::in_time(PATIENCE, "listing ReleaseActions", orders).await)
        },
        conflict(client, &namespace, release, state),
        jobs(client, &namespace, release, state),
        terminating(client, &namespace, release),
        async { Ok(traffic::read(client, &namespace, services, routes, limit).await) },
    )?;
    let mut unread = Unread { around: view.unread, ..Unread::default() };
    let orders = unless_unreadable(orders, &mut unread.around);
    unread.around.extend(jobs.unread);
    let objects = if active {
        let (objects, sentences) = reads.or_last(&known.last, routes);
        unread.traffic = sentences;
        objects
    } else {
        reads.whole()?
    };
    let none = BTreeMap::new();
    let now = clock::now();
    let sides = view.pods.iter().map(|p| (p.name.clone(), p.side)).collect();
    let asked = TrafficAsk {
        release: &name,
        services,
        routes,
        header: pinned.map_or(release.spec.traffic.canary_header.as_ref(), |p| p.header.as_ref()),
        template_labels: &view.template_labels,
        candidate_hash: view.candidate_hash.as_deref(),
        weights: pinned.map_or(&none, |p| &p.weights),
        neighbours: &view.neighbours,
        pods: &sides,
        now,
    };
    let (traffic, raw) = traffic::see(&namespace, &asked, objects, &known.last);
    let problems = if matches!(view.target, Target::Missing) { Vec::new() } else { known.problems };
    let mut world = World {
        seen: Seen {
            now,
            release: ReleaseSeen {
                conflict,
                problems,
                ..itself(
                    release,
                    known.retiring,
                    if terminating { Parting::WithItsNamespace } else { Parting::InOrder },
                )
            },
            target: view.target,
            candidate: view.candidate,
            pods: view.pods,
            services: traffic.services,
            routes: traffic.routes,
            stands: None,
            metrics: known.metrics,
            probes: known.probes,
            smoke: jobs.smoke,
            trial: jobs.trial,
            step_job: jobs.step,
            orders,
            route_written_at: known.route_written_at,
            delivered: known.delivered,
            unread,
        },
        addresses: view.addresses,
        ports: view.ports,
        raw,
    };
    world.seen.stand(known.stood);
    Ok(world)
}

/// Our Jobs that matter in this State.
struct Jobs {
    smoke: BTreeMap<SmokePoint, SmokeSeen>,
    step: StepJob,
    trial: StepJob,
    unread: Vec<String>,
}

async fn jobs(client: &Client, namespace: &str, release: &Release, state: Option<&State>) -> Result<Jobs> {
    let (name, uid) = (release.name_any(), release.uid().unwrap_or_default());
    let smoke = async {
        match (state.and_then(State::candidate), &release.spec.checks.smoke) {
            (Some(candidate), Some(_)) => {
                let jobs = smoke::look(client, namespace, &name, &uid, &candidate.id);
                traffic::in_time(PATIENCE, "reading smoke Jobs", jobs).await
            }
            _ => Ok(BTreeMap::new()),
        }
    };
    let step = async {
        match state.and_then(State::attempt) {
            Some(attempt) => {
                let job = rollback_step::job_name(&name, &uid, &attempt);
                let job = rollback_step::look(client, namespace, &uid, &job);
                traffic::in_time(PATIENCE, "reading the Job of a rollback step", job).await
            }
            None => Ok(StepJob::Unknown),
        }
    };
    let trial = async {
        match state.and_then(State::on_trial) {
            Some(candidate) => {
                let job = rollback_step::trial_name(&name, &uid, candidate);
                rollback_step::look(client, namespace, &uid, &job).await
            }
            None => Ok(StepJob::Unknown),
        }
    };
    let (smoke, step, trial) = tokio::join!(smoke, step, trial);
    let mut unread = Vec::new();
    let (smoke, step) = (unless_unreadable(smoke, &mut unread), unless_unreadable(step, &mut unread));
    Ok(Jobs { smoke, step, trial: trial?, unread })
}

/// What the Release's own metadata say, and how it goes if it is deleted.
fn itself(release: &Release, retiring: Option<At>, how: Parting) -> ReleaseSeen {
    let meta = &release.metadata;
    let deleted = meta.deletion_timestamp.as_ref().map(|t| Leaving::Deleted { at: At::new(t.0), how });
    ReleaseSeen {
        namespace: release.namespace().unwrap_or_default(),
        name: release.name_any(),
        uid: release.uid().unwrap_or_default(),
        generation: meta.generation.unwrap_or(0),
        created_at: meta.creation_timestamp.as_ref().map(|t| At::new(t.0)),
        leaving: deleted.or_else(|| retiring.map(|since| Leaving::Uninstalled { since })),
        finalizer: release.finalizers().iter().any(|f| f == FINALIZER),
        ..ReleaseSeen::default()
    }
}

/// Its user waits no longer for us. Counts for nothing while the Release is not deleted.
fn abandoned(release: &Release) -> bool {
    release.metadata.deletion_timestamp.is_some()
        && release.annotations().get(names::ABANDON).is_some_and(|value| value == "true")
}

/// Nothing is looked at, and nothing but the finalizer will be written.
fn unseen(release: &Release, known: Known) -> World {
    World {
        seen: Seen {
            now: clock::now(),
            release: itself(release, None, Parting::Abandoned),
            target: Target::Missing,
            candidate: None,
            pods: Vec::new(),
            services: Vec::new(),
            routes: Vec::new(),
            stands: None,
            metrics: known.metrics,
            probes: Vec::new(),
            smoke: BTreeMap::new(),
            trial: StepJob::Unknown,
            step_job: StepJob::Unknown,
            orders: Vec::new(),
            route_written_at: known.route_written_at,
            delivered: known.delivered,
            unread: Unread::default(),
        },
        addresses: BTreeMap::new(),
        ports: BTreeMap::new(),
        raw: known.last,
    }
}

/// What a rollback can do without must not hold one up: unreadable is as good as absent until the next look.
fn unless_unreadable<T: Default>(found: Result<T>, unread: &mut Vec<String>) -> T {
    found.unwrap_or_else(|error| {
        unread.push(error.to_string());
        T::default()
    })
}

/// What the last success replaced: where an undo goes.
fn before(state: &State, memory: &Memory) -> Option<Version> {
    let stable = &state.stable().revision;
    let entry = memory.history.iter().rev().find(|h| h.version.revision == *stable && h.outcome == Ended::Succeeded)?;
    Some(entry.replaced.clone())
}

/// An older Release for the same Deployment or the same route goes first; the one under way is never disturbed.
async fn conflict(
    client: &Client,
    namespace: &str,
    release: &Release,
    state: Option<&State>,
) -> Result<Option<String>> {
    if state.is_some_and(State::active) {
        return Ok(None);
    }
    // Untyped: one Release that cannot be read, or whose status cannot, stops no other.
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Release>(&()));
    let all = api.list(&ListParams::default()).await.map_err(|e| Error::from_kube("listing Releases", e))?;
    let age = |meta: &ObjectMeta| (meta.creation_timestamp.as_ref().map(|t| t.0), meta.name.clone());
    let others = all.items.into_iter().filter(|other| other.metadata.uid != release.metadata.uid);
    let older = others.filter(|other| age(&other.metadata) < age(&release.metadata));
    let mut readable = older.filter_map(|mut other| {
        let spec = serde_json::from_value(other.data["spec"].take()).ok()?;
        Some(Release { metadata: other.metadata, spec, status: None })
    });
    Ok(readable.find_map(|other| clash(&other, release)))
}

/// What two Releases would both write.
fn clash(older: &Release, release: &Release) -> Option<String> {
    let (name, target) = (older.name_any(), &release.spec.target_ref.name);
    if older.spec.target_ref.name == *target {
        return Some(format!("Release {name} already releases Deployment {target}"));
    }
    // Namesakes of different kinds are different routes.
    let theirs: BTreeSet<_> = older.spec.traffic.routes.iter().collect();
    let shared = release.spec.traffic.routes.iter().find(|r| theirs.contains(r))?;
    let common = match (&older.spec.traffic.services, &release.spec.traffic.services) {
        (Some(a), Some(b)) => a.iter().any(|s| b.contains(s)),
        _ => false, // by default each has the Services of its own Deployment
    };
    common.then(|| format!("Release {name} already splits the same Services in {shared}"))
}

/// Whether the namespace is being deleted. Asked only when the Release is.
async fn terminating(client: &Client, namespace: &str, release: &Release) -> Result<bool> {
    if release.metadata.deletion_timestamp.is_none() {
        return Ok(false);
    }
    let found = Api::<Namespace>::all(client.clone()).get_opt(namespace).await;
    let found = found.map_err(|e| Error::from_kube(format!("reading namespace {namespace}"), e))?;
    Ok(found.is_none_or(|n| n.metadata.deletion_timestamp.is_some()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn two_releases_clash_over_one_deployment_or_the_same_services_of_one_route() {
        let release = |target: &str, routes: Value, services: Value| -> Release {
            serde_json::from_value(json!({
                "apiVersion": "haldane.dev/v1alpha1", "kind": "Release", "metadata": {"name": target},
                "spec": {
                    "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "images": {"app": "a:1"},
                    "traffic": {"routes": routes, "services": services},
                },
            }))
            .unwrap()
        };
        let mesh = json!([{"group": "networking.istio.io", "kind": "VirtualService", "name": "web"}]);
        let shop = release("shop", mesh.clone(), json!(["web", "api"]));
        let with = |routes: Value, services: Value| clash(&shop, &release("pay", routes, services));
        let says = "Release shop already splits the same Services in VirtualService web";
        assert_eq!(with(mesh.clone(), json!(["api"])).as_deref(), Some(says));
        assert_eq!(with(mesh.clone(), json!(["other"])), None, "of one route each may have its own Services");
        assert_eq!(with(mesh.clone(), Value::Null), None);
        assert_eq!(with(json!([{"name": "web"}]), json!(["api"])), None, "a namesake of another kind is another route");
        assert_eq!(with(json!([{"kind": "GRPCRoute", "name": "web"}]), json!(["api"])), None);
        let same = clash(&shop, &release("shop", json!([]), Value::Null));
        assert_eq!(same.as_deref(), Some("Release shop already releases Deployment shop"));
    }
}
