//! What a pass sees of the small Kubernetes: all of it, as it is now.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use haldane::{
    api::{
        release::RouteRef,
        state::{Revision, State},
    },
    observe::seen::{
        Asked, CandidateSet, Feed, Hold, JobSeen, Leaving, OwnedSet, Owner, Parting, Pod, PodSamples, PodTrouble,
        Point, Probe, ReleaseSeen, RouteSeen, Samples, Scrape, Scrapes, Seen, ServiceSeen, Side, StepJob, Target,
        Unread, Workload,
    },
};

use crate::autoscaler::Scaler;

use super::{Gateways, SCRAPE, WPod, WRoute, WService, World, same};

impl World {
    /// Without what only the operator's process knows.
    pub fn seen(&self) -> Seen {
        let ours = self.ours();
        let image = |rev: &str| BTreeMap::from([("app".to_owned(), rev.to_owned())]);
        let sets = self.sets.iter().filter(|s| s.owned);
        let owned: Vec<OwnedSet> = sets
            .map(|s| OwnedSet {
                name: s.name.clone(),
                uid: s.name.clone(),
                hash: s.hash.clone(),
                revision: Revision(s.rev.clone()),
                images: image(&s.rev),
                created_at: self
                    .sets
                    .iter()
                    .position(|t| t.name == s.name)
                    .map(|i| self.now.plus(Duration::from_secs(i as u64))),
                number: s.number,
                size: s.size,
                ready: self.ready(&s.hash),
                available: self.ready(&s.hash),
            })
            .collect();
        let side = |hash: &str| if ours.is_some_and(|c| c.hash == hash) { Side::Candidate } else { Side::Stable };
        let asked = self.asked();
        let stable_rev = self.past.state.as_ref().map(|s| s.stable().revision.0.clone());
        let previous =
            self.past.memory.history.iter().rev().find(|h| Some(&h.version.revision.0) == stable_rev.as_ref());
        let in_pause = || {
            let with_pods: Vec<_> = owned.iter().filter(|s| s.size > 0).collect();
            with_pods.len() <= 1 && with_pods.iter().all(|s| s.available == self.wanted)
        };
        let settled = if self.held() && self.paused {
            in_pause()
        } else {
            owned.iter().all(|s| if s.revision.0 == self.template { s.available == self.wanted } else { s.size == 0 })
                && owned.iter().any(|s| s.revision.0 == self.template)
        };
        let remembered = |rev: &Revision| owned.iter().any(|s| s.revision == *rev);
        let workload = Workload {
            name: "app".into(),
            uid: "target".into(),
            hold: self.hold(),
            marked_held: self.marked_held,
            kept: self.kept.clone().map(Revision).filter(|_| !self.past.state.as_ref().is_some_and(State::active)),
            observed: self.observed,
            paused: self.paused,
            marked_paused: self.by_us,
            wanted: self.wanted,
            revision: Revision(self.template.clone()),
            images: image(&self.template),
            asked: Asked { revision: Revision(asked.clone()), images: image(&asked), unknown: Vec::new() },
            previous: previous.filter(|h| !self.held() || remembered(&h.replaced.revision)).map(|h| Asked {
                revision: h.replaced.revision.clone(),
                images: h.replaced.images.clone(),
                unknown: Vec::new(),
            }),
            handover: self.handover.clone(),
            recreate: self.recreate,
            sets: owned,
            settled,
            autoscaler: self.scaler.map(Scaler::told),
            ..Workload::default()
        };
        let pods: Vec<Pod> = self
            .pods
            .iter()
            .map(|p| Pod {
                name: p.name.clone(),
                side: side(&p.hash),
                ready: p.ready,
                terminating: p.ending.is_some(),
                created_at: p.born,
                started_at: Some(p.born),
                ready_changed_at: Some(p.born.plus(Duration::from_secs(2))).filter(|_| p.ready),
                restarts: 0,
                trouble: (self.no_start && side(&p.hash) == Side::Candidate)
                    .then(|| PodTrouble::Crash("container app exited with 1 (Error), 3 restarts".into())),
            })
            .collect();
        let samples = Samples {
            pods: self.pods.iter().map(|p| PodSamples { pod: p.name.clone(), points: p.points.clone() }).collect(),
            scrape_interval: Duration::from_secs(SCRAPE),
            slow_bound: Some(2.0),
            scrapes: Scrapes {
                bounds: vec!["2".into(), "+Inf".into()],
                pods: self.pods.iter().map(|p| (p.name.clone(), p.points.iter().map(scrape).collect())).collect(),
                own_trouble: None,
            },
        };
        Seen {
            now: self.now,
            release: ReleaseSeen {
                namespace: "shop".into(),
                name: "app".into(),
                uid: "release".into(),
                generation: self.generation,
                leaving: match (self.deleted_at, self.retiring) {
                    (Some(at), _) => Some(Leaving::Deleted { at, how: Parting::InOrder }),
                    (None, since) => since.map(|since| Leaving::Uninstalled { since }),
                },
                finalizer: self.finalizer,
                conflict: self.rival.clone(),
                ..ReleaseSeen::default()
            },
            target: Target::Found(Box::new(workload)),
            candidate: ours.map(|c| CandidateSet {
                name: c.name.clone(),
                uid: c.name.clone(),
                id: c.id.clone().unwrap_or_default(),
                hash: c.hash.clone(),
                revision: Revision(c.rev.clone()),
                size: c.size,
                ready: self.ready(&c.hash),
                available: self.ready(&c.hash),
                deleting: c.deleting,
                observed: self.alive(&c.hash) == c.size,
                offered: c.offered,
                owner: if c.owned { Owner::Deployment } else { Owner::Nobody },
                carries_traffic: c.mark,
                marked: !c.handed,
            }),
            pods,
            services: self.services.iter().map(|s| self.service_seen(s, &side)).collect(),
            routes: self.routes_seen(),
            stands: None,
            metrics: if self.no_data { Feed::NoData { why: "HTTP 503".into() } } else { Feed::Data(samples) },
            probes: self.probes(),
            smoke: self.smoke.clone(),
            trial: self.trial_seen(),
            step_job: self.step_job(),
            orders: self.orders.clone(),
            route_written_at: None,
            delivered: Vec::new(),
            unread: Unread::default(),
        }
    }

    fn trial_seen(&self) -> StepJob {
        if self.past.state.as_ref().and_then(State::on_trial).is_none() {
            return StepJob::Unknown;
        }
        match self.trial {
            None => StepJob::Absent,
            Some(0) => StepJob::There(JobSeen::Succeeded { said: None }),
            Some(_) => StepJob::There(JobSeen::Running { since: self.now, stuck: None }),
        }
    }

    fn step_job(&self) -> StepJob {
        let Some(attempt) = self.past.state.as_ref().and_then(State::attempt) else { return StepJob::Unknown };
        let job = self.jobs.iter().find(|job| same(&job.attempt, &attempt));
        job.map_or(StepJob::Absent, |job| {
            StepJob::There(match (job.left, job.fails) {
                (1.., _) => JobSeen::Running { since: self.now, stuck: None },
                (0, true) => JobSeen::Failed("exit code 1".into()),
                (0, false) => JobSeen::Succeeded { said: Some("done".into()) },
            })
        })
    }

    pub fn hold(&self) -> Hold {
        match (self.held(), self.at_change) {
            (false, _) => Hold::No,
            (true, false) => Hold::Always,
            (true, true) => Hold::AtChange,
        }
    }

    fn service_seen(&self, service: &WService, side: &dyn Fn(&str) -> Side) -> ServiceSeen {
        let behind = self.behind(service);
        let count = |wanted: Side| {
            u32::try_from(behind.iter().filter(|&&i| side(&self.pods[i].hash) == wanted).count()).unwrap()
        };
        let candidate = self.ours().map(|c| &c.hash);
        let left = candidate.is_some() && service.canary.as_ref() != candidate;
        ServiceSeen {
            name: service.name.clone(),
            pin: service.pin.clone(),
            stable_endpoints: count(Side::Stable),
            candidate_endpoints: count(Side::Candidate),
            canary_service: service.canary.is_some() && !left,
            canary_left: service.canary.is_some() && left,
            rules_copied: true,
            canary_endpoints: u32::try_from(self.behind_canary(service).len()).unwrap(),
            problem: None,
        }
    }

    fn routes_seen(&self) -> Vec<RouteSeen> {
        let seen = |(route, named): (&WRoute, &RouteRef)| RouteSeen {
            route: named.clone(),
            problem: None,
            split: route.split,
            weights: BTreeMap::new(),
            confirmed: route.pending == 0 && (route.live == route.split || self.gateways != Gateways::Follow),
            complaint: None,
            settles_at: None,
        };
        self.routes.iter().zip(&self.spec.traffic.routes).map(seen).collect()
    }

    fn probes(&self) -> Vec<Probe> {
        let probe = |p: &WPod| Probe {
            pod: p.name.clone(),
            failures: p.failures,
            successes: u32::from(p.failures == 0),
            last: "HTTP 500".into(),
        };
        self.pods.iter().filter(|p| p.ready).map(probe).collect()
    }
}

fn scrape(point: &Point) -> Arc<Scrape> {
    Arc::new(Scrape {
        at: point.at,
        requests: point.requests,
        errors: Some(point.errors),
        within: vec![point.timed - point.slow, point.timed],
        own: BTreeMap::new(),
    })
}
