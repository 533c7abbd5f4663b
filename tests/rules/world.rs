//! A small Kubernetes: one Deployment with its controllers, a gateway that lags, Prometheus, and people.

use std::collections::BTreeMap;

use haldane::{
    act::effect::Effect,
    api::{
        checks::SmokePoint,
        release::ReleaseSpec,
        state::{Revision, State},
        units::At,
    },
    decide::Past,
    observe::seen::{
        Asked, CandidateSet, Feed, Order, OwnedSet, Owner, Pod, PodSamples, PodTrouble, Point, ReleaseSeen, RouteSeen,
        Samples, Seen, ServiceSeen, Side, SmokeSeen, Split, Target, Unread, Workload,
    },
};

use super::autoscaler::Scaler;

pub const SCRAPE: u64 = 2;
const REQUESTS: f64 = 100.0;

#[derive(Clone, Debug)]
pub struct WSet {
    pub name: String,
    pub hash: String,
    pub rev: String,
    pub size: u32,
    pub owned: bool,
    pub number: u64,
    /// The attempt, for a candidate's set.
    pub id: Option<String>,
    pub offered: bool,
    pub mark: bool,
    /// Our marks are off it: since when it is an ordinary set of the Deployment.
    pub handed: Option<At>,
    pub deleting: bool,
}

#[derive(Clone, Debug)]
pub struct WPod {
    pub name: String,
    pub hash: String,
    pub rev: String,
    pub born: At,
    pub ready: bool,
    pub ending: Option<u32>,
    pub requests: f64,
    pub errors: f64,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug)]
pub struct World {
    pub spec: ReleaseSpec,
    pub generation: i64,
    pub now: At,
    pub past: Past,
    pub finalizer: bool,
    pub deleting: bool,
    pub gone: bool,
    pub routed: bool,
    pub template: String,
    pub paused: bool,
    pub by_us: bool,
    pub observed: bool,
    pub wanted: u32,
    pub scaler: Option<Scaler>,
    pub handover: Option<String>,
    pub recreate: bool,
    pub sets: Vec<WSet>,
    pub pods: Vec<WPod>,
    pub pin: Option<String>,
    /// The hash that `app-canary` selects.
    pub canary_service: Option<String>,
    pub split: Option<Split>,
    /// What the data plane does: follows after `lag` seconds.
    pub live_pin: Option<String>,
    pub live_split: Option<Split>,
    pub lag: u32,
    pub pending: u32,
    pub bad: Vec<String>,
    pub degraded: bool,
    pub no_data: bool,
    pub no_start: bool,
    pub unready: bool,
    pub smoke: BTreeMap<SmokePoint, SmokeSeen>,
    pub orders: Vec<Order>,
    pub route_written_at: Option<At>,
    pub lost: f64,
    /// Seconds since somebody other than us took pods, pins or routes away.
    pub calm: u64,
    next: u64,
}

impl World {
    pub fn new(spec: ReleaseSpec, wanted: u32) -> Self {
        let routed = !spec.traffic.routes.is_empty();
        let mut world = Self {
            spec,
            generation: 1,
            now: At::from_epoch(1_700_000_000.0).unwrap(),
            past: Past::default(),
            finalizer: false,
            deleting: false,
            gone: false,
            routed,
            template: "A".into(),
            paused: false,
            by_us: false,
            observed: true,
            wanted,
            scaler: None,
            handover: None,
            recreate: false,
            sets: Vec::new(),
            pods: Vec::new(),
            pin: None,
            canary_service: None,
            split: None,
            live_pin: None,
            live_split: None,
            lag: 1,
            pending: 0,
            bad: Vec::new(),
            degraded: false,
            no_data: false,
            no_start: false,
            unready: false,
            smoke: BTreeMap::new(),
            orders: Vec::new(),
            route_written_at: None,
            lost: 0.0,
            calm: 1000,
            next: 0,
        };
        for _ in 0..8 {
            world.tick();
        }
        world.lost = 0.0;
        world
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn candidate(&self) -> Option<&WSet> {
        self.sets.iter().filter(|s| s.id.is_some()).max_by_key(|s| (!s.owned, s.number))
    }

    /// The candidate's set of the present attempt.
    fn ours(&self) -> Option<&WSet> {
        let id = self.past.state.as_ref().and_then(State::candidate).map(|c| c.id.as_str());
        match id {
            Some(id) => self.sets.iter().find(|s| s.id.as_deref() == Some(id)),
            None => self.sets.iter().find(|s| s.id.is_some() && !s.owned),
        }
    }

    pub fn ready(&self, hash: &str) -> u32 {
        u32::try_from(self.pods.iter().filter(|p| p.hash == hash && p.ready && p.ending.is_none()).count()).unwrap()
    }

    fn alive(&self, hash: &str) -> u32 {
        u32::try_from(self.pods.iter().filter(|p| p.hash == hash && p.ending.is_none()).count()).unwrap()
    }

    /// One second: controllers, pods, data plane, requests, scrapes.
    pub fn tick(&mut self) {
        self.now = self.now.plus(std::time::Duration::from_secs(1));
        self.calm += 1;
        self.autoscale();
        self.controllers();
        self.kubelet();
        if self.pending > 0 {
            self.pending -= 1;
        }
        if self.pending == 0 {
            self.live_split = self.split;
        }
        self.live_pin.clone_from(&self.pin);
        self.requests();
        if (self.now.epoch() as u64).is_multiple_of(SCRAPE) {
            for pod in &mut self.pods {
                let (requests, errors) = (pod.requests, pod.errors);
                pod.points.push(Point { at: self.now, requests, errors, timed: requests, slow: 0.0 });
                let over = pod.points.len().saturating_sub(100);
                pod.points.drain(..over);
            }
        }
    }

    fn controllers(&mut self) {
        self.observed = true;
        let template = self.template.clone();
        let number = self.sets.iter().map(|s| s.number).max().unwrap_or(0) + 1;
        for set in &mut self.sets {
            if set.id.is_some() && !set.owned && set.offered && set.rev == template {
                (set.owned, set.number) = (true, number);
            } else if set.id.is_some() && set.owned && !set.offered {
                set.owned = false;
            }
        }
        let newest =
            self.sets.iter().enumerate().filter(|(_, s)| s.owned && s.rev == template).max_by_key(|(_, s)| s.number);
        let newest = newest.map(|(i, _)| i);
        // Paused or not, a single set with pods follows `spec.replicas`.
        let (wanted, active) = (self.wanted, self.sets.iter().filter(|s| s.owned && s.size > 0).count());
        for set in self.sets.iter_mut().filter(|s| active == 1 && s.owned && s.size > 0) {
            set.size = wanted;
        }
        match newest {
            None if !self.paused => {
                let n = self.fresh();
                self.sets.push(WSet {
                    name: format!("app-{n}"),
                    hash: format!("k{n}"),
                    rev: template,
                    size: self.wanted,
                    owned: true,
                    number,
                    id: None,
                    offered: false,
                    mark: false,
                    handed: None,
                    deleting: false,
                });
            }
            None => {}
            Some(i) => {
                if !self.paused {
                    self.sets[i].size = self.wanted;
                }
                let full = self.sets[i].size == self.wanted && self.ready(&self.sets[i].hash.clone()) >= self.wanted;
                if full {
                    for (j, set) in self.sets.iter_mut().enumerate() {
                        if j != i && set.owned {
                            set.size = 0;
                        }
                    }
                }
            }
        }
        let dead: Vec<String> = self.sets.iter().filter(|s| s.deleting).map(|s| s.hash.clone()).collect();
        self.sets.retain(|s| !s.deleting);
        for pod in self.pods.iter_mut().filter(|p| dead.contains(&p.hash) && p.ending.is_none()) {
            pod.ending = Some(2);
        }
    }

    fn kubelet(&mut self) {
        let now = self.now;
        for (hash, rev, size) in self.sets.iter().map(|s| (s.hash.clone(), s.rev.clone(), s.size)).collect::<Vec<_>>() {
            let alive = self.alive(&hash);
            for _ in alive..size {
                let n = self.fresh();
                self.pods.push(WPod {
                    name: format!("app-{hash}-{n}"),
                    hash: hash.clone(),
                    rev: rev.clone(),
                    born: now,
                    ready: false,
                    ending: None,
                    requests: 0.0,
                    errors: 0.0,
                    points: Vec::new(),
                });
            }
            let mut surplus = alive.saturating_sub(size);
            for pod in self.pods.iter_mut().rev().filter(|p| p.hash == hash && p.ending.is_none()) {
                if surplus == 0 {
                    break;
                }
                pod.ending = Some(2);
                surplus -= 1;
            }
        }
        let (stuck, unready) = (self.no_start, self.unready);
        let canary: Vec<String> = self.sets.iter().filter(|s| s.id.is_some()).map(|s| s.hash.clone()).collect();
        for pod in &mut self.pods {
            if let Some(left) = &mut pod.ending {
                *left = left.saturating_sub(1);
                pod.ready = false;
            } else {
                let ours = canary.contains(&pod.hash);
                pod.ready = now.since(pod.born).as_secs() >= 2 && !(stuck && ours) && !(unready && ours);
            }
        }
        self.pods.retain(|p| p.ending != Some(0));
    }

    /// Ready pods behind the user's Service, as the data plane knows them.
    fn service(&self) -> Vec<usize> {
        let pin = self.live_pin.as_deref();
        (0..self.pods.len())
            .filter(|&i| {
                self.pods[i].ready && self.pods[i].ending.is_none() && pin.is_none_or(|p| p == self.pods[i].hash)
            })
            .collect()
    }

    fn canary_pods(&self) -> Vec<usize> {
        let ready = |p: &WPod| p.ready && self.canary_service.as_ref() == Some(&p.hash);
        (0..self.pods.len()).filter(|&i| ready(&self.pods[i])).collect()
    }

    fn requests(&mut self) {
        let weight = self.live_split.map_or(0, |s| s.weight);
        let shares = [(self.canary_pods(), f64::from(weight)), (self.service(), f64::from(100 - weight))];
        for (to, share) in shares {
            if share == 0.0 {
                continue;
            }
            let n = REQUESTS * share / 100.0;
            if to.is_empty() {
                let could = self.pods.iter().any(|p| p.ready);
                self.lost += if could { n } else { 0.0 };
                continue;
            }
            let each = n / f64::from(u32::try_from(to.len()).unwrap());
            for i in to {
                let fails = self.degraded || self.bad.contains(&self.pods[i].rev);
                self.pods[i].requests += each;
                self.pods[i].errors += if fails { each / 2.0 } else { 0.0 };
            }
        }
    }

    pub fn seen(&self) -> Seen {
        let ours = self.ours();
        let sets = self.sets.iter().filter(|s| s.owned);
        let owned: Vec<OwnedSet> = sets
            .map(|s| OwnedSet {
                name: s.name.clone(),
                uid: s.name.clone(),
                hash: s.hash.clone(),
                revision: Revision(s.rev.clone()),
                number: s.number,
                size: s.size,
                ready: self.ready(&s.hash),
                available: self.ready(&s.hash),
            })
            .collect();
        let side = |hash: &str| if ours.is_some_and(|c| c.hash == hash) { Side::Candidate } else { Side::Stable };
        let image = |rev: &str| BTreeMap::from([("app".to_owned(), rev.to_owned())]);
        let asked = self.spec.images["app"].clone();
        let stable_rev = self.past.state.as_ref().map(|s| s.stable().revision.0.clone());
        let previous =
            self.past.memory.history.iter().rev().find(|h| Some(&h.version.revision.0) == stable_rev.as_ref());
        let settled =
            owned.iter().all(|s| if s.revision.0 == self.template { s.available == self.wanted } else { s.size == 0 })
                && owned.iter().any(|s| s.revision.0 == self.template);
        let workload = Workload {
            name: "app".into(),
            uid: "target".into(),
            observed: self.observed,
            paused: self.paused,
            paused_by_us: self.by_us,
            wanted: self.wanted,
            autoscaler: self.scaler.map(Scaler::told),
            revision: Revision(self.template.clone()),
            images: image(&self.template),
            asked: Asked { revision: Revision(asked.clone()), images: image(&asked), unknown: Vec::new() },
            previous: previous.map(|h| Asked {
                revision: h.replaced.revision.clone(),
                images: h.replaced.images.clone(),
                unknown: Vec::new(),
            }),
            handover: self.handover.clone(),
            recreate: self.recreate,
            sets: owned,
            settled,
            ..Workload::default()
        };
        let count = |pods: Vec<usize>, side_is: Side| {
            u32::try_from(pods.iter().filter(|&&i| side(&self.pods[i].hash) == side_is).count()).unwrap()
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
                ready_changed_at: Some(p.born.plus(std::time::Duration::from_secs(2))).filter(|_| p.ready),
                restarts: 0,
                trouble: (self.no_start && side(&p.hash) == Side::Candidate)
                    .then(|| PodTrouble::Crash("container app exited with 1 (Error), 3 restarts".into())),
            })
            .collect();
        let samples = Samples {
            pods: self.pods.iter().map(|p| PodSamples { pod: p.name.clone(), points: p.points.clone() }).collect(),
            scrape_interval: std::time::Duration::from_secs(SCRAPE),
            slow_bound: Some(2.0),
        };
        Seen {
            now: self.now,
            release: ReleaseSeen {
                namespace: "shop".into(),
                name: "app".into(),
                uid: "release".into(),
                generation: self.generation,
                deleting: self.deleting,
                finalizer: self.finalizer,
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
                marked: c.handed.is_none(),
            }),
            pods,
            services: vec![ServiceSeen {
                name: "app".into(),
                pin: self.pin.clone(),
                stable_endpoints: count(self.service(), Side::Stable),
                candidate_endpoints: count(self.service(), Side::Candidate),
                canary_service: self.canary_service.is_some(),
                canary_endpoints: u32::try_from(self.canary_pods().len()).unwrap(),
                problem: None,
            }],
            routes: if self.routed {
                vec![RouteSeen {
                    route: self.spec.traffic.routes[0].clone(),
                    problem: None,
                    split: self.split,
                    weights: BTreeMap::new(),
                    confirmed: self.live_split == self.split && self.pending == 0,
                    complaint: None,
                }]
            } else {
                Vec::new()
            },
            metrics: if self.no_data { Feed::NoData { why: "HTTP 503".into() } } else { Feed::Data(samples) },
            probes: Vec::new(),
            smoke: self.smoke.clone(),
            orders: self.orders.clone(),
            route_written_at: self.route_written_at,
            delivered: self
                .past
                .memory
                .outbox
                .iter()
                .flat_map(|n| n.pending.iter().map(|c| (n.seq, c.clone())))
                .collect(),
            unread: Unread::default(),
        }
    }

    /// Does one write, as the executors do: idempotent, refusing what no longer fits.
    pub fn apply(&mut self, effect: &Effect) {
        let candidate = self.past.state.as_ref().and_then(State::candidate).cloned();
        let ours = self.ours().map(|c| c.name.clone());
        let set = self.sets.iter_mut().find(|s| Some(&s.name) == ours.as_ref());
        match (effect, set) {
            (Effect::AddFinalizer, _) => self.finalizer = true,
            (Effect::DropFinalizer, _) => {
                self.finalizer = false;
                self.gone = self.deleting;
            }
            (Effect::Pause, _) => (self.paused, self.by_us, self.observed) = (true, true, false),
            (Effect::Unpause { .. }, _) => (self.paused, self.by_us, self.observed) = (false, false, false),
            (Effect::Pin { hash, .. }, _) => self.pin = Some(hash.clone()),
            (Effect::Unpin { .. }, _) => self.pin = None,
            (Effect::CreateCanaryService { .. }, _) => self.canary_service = candidate.map(|c| format!("h{}", c.id)),
            (Effect::DeleteCanaryService { .. }, _) => self.canary_service = None,
            (Effect::CreateCandidate { size }, None) => {
                if let Some(c) = candidate
                    .filter(|_| Some(&self.template) == self.past.state.as_ref().map(|s| &s.stable().revision.0))
                {
                    self.sets.push(WSet {
                        name: format!("app-h{}", c.id),
                        hash: format!("h{}", c.id),
                        rev: c.version.revision.0,
                        size: *size,
                        owned: false,
                        number: 0,
                        id: Some(c.id),
                        offered: false,
                        mark: false,
                        handed: None,
                        deleting: false,
                    });
                }
            }
            (Effect::ScaleCandidate { size }, Some(set)) => set.size = *size,
            (Effect::MarkCandidate { carries_traffic }, Some(set)) => set.mark = *carries_traffic,
            (Effect::DeleteCandidate, Some(set)) if !set.owned => set.deleting = true,
            (Effect::Route { weight, header, .. }, _) => {
                self.split = Some(Split { weight: *weight, header: *header, uneven: false });
                self.pending = self.lag;
                self.route_written_at = Some(self.now);
            }
            (Effect::RestoreRoute { .. }, _) => {
                self.split = None;
                self.pending = self.lag;
            }
            (Effect::DeleteEqualSet { name }, _) => self.sets.retain(|s| s.name != *name || s.size > 0),
            (Effect::TakeTemplate, Some(set)) => {
                self.template = set.rev.clone();
                self.handover.clone_from(&set.id);
                (self.recreate, self.observed) = (true, false);
            }
            (Effect::Offer { .. }, Some(set)) => set.offered = true,
            (Effect::Withdraw, Some(set)) => set.offered = false,
            (Effect::RestoreTemplate, _) => {
                if let Some(state) = &self.past.state {
                    self.template = state.stable().revision.0.clone();
                }
                self.handover = None;
                (self.recreate, self.observed) = (false, false);
            }
            (Effect::StartSmoke { point }, _) => {
                self.smoke.insert(*point, SmokeSeen::Succeeded);
            }
            (Effect::DeleteSmoke { point }, _) => {
                self.smoke.remove(point);
            }
            (Effect::FinishHandOver, set) => {
                // Two writes: the second may be lost with the operator, and is then done by the next pass.
                if let Some(set) = set.filter(|_| self.handover.is_none() || self.next.is_multiple_of(2)) {
                    set.handed = Some(self.now);
                }
                self.handover = None;
                (self.recreate, self.paused, self.by_us, self.observed) = (false, false, false, false);
            }
            _ => {}
        }
    }
}
