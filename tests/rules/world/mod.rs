//! A small Kubernetes: one Deployment with its controllers, gateways that lag, Prometheus, and people.

mod guards;
mod seen;
mod write;

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use haldane::{
    api::{
        checks::SmokePoint,
        release::ReleaseSpec,
        state::{Attempt, State},
        units::At,
    },
    decide::Past,
    observe::seen::{Order, Point, SmokeSeen, Split},
};

use crate::autoscaler::Scaler;
pub use guards::{Prepared, Scope, Stop};

pub const SCRAPE: u64 = 2;
const REQUESTS: f64 = 100.0;

#[derive(Clone, Debug, Hash)]
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
    /// Our marks are off it: it is an ordinary set of the Deployment.
    pub handed: bool,
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
    /// Failed health checks in a row.
    pub failures: u32,
    /// It fails half of its requests, whatever its version.
    pub lemon: bool,
}

/// A Service, and what the data plane knows of its selector.
#[derive(Clone, Debug)]
pub struct WService {
    pub name: String,
    pub pin: Option<String>,
    pub live_pin: Option<String>,
    /// The hash that its canary Service selects.
    pub canary: Option<String>,
}

/// A route that divides the traffic of the Service of the same index, and what its gateway does.
#[derive(Clone, Debug)]
pub struct WRoute {
    pub split: Option<Split>,
    pub live: Option<Split>,
    pub pending: u32,
}

/// How well the gateways follow their routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateways {
    Follow,
    /// They do not follow any more, and do not say so either; Services they follow.
    Silent,
    /// They say that they follow, and do not; Services they follow.
    Lie,
    /// They say that they follow, and see neither routes nor Services any more.
    Blind,
}

/// The Job of one attempt of a rollback step.
#[derive(Clone, Debug, PartialEq)]
pub struct WJob {
    pub attempt: Attempt,
    /// Seconds until it ends.
    pub left: u32,
    pub fails: bool,
}

/// They make the same Job.
pub fn same(a: &Attempt, b: &Attempt) -> bool {
    (&a.step, a.number, a.decided_at) == (&b.step, b.number, b.decided_at)
}

/// One object's content, as a hash, and how often it has changed.
type Stamp = (u64, u64);

#[derive(Clone, Debug)]
pub struct World {
    pub spec: ReleaseSpec,
    pub generation: i64,
    pub now: At,
    /// What the Release's status holds.
    pub past: Past,
    pub finalizer: bool,
    pub deleted_at: Option<At>,
    pub gone: bool,
    /// Since when the operator is being uninstalled.
    pub retiring: Option<At>,
    /// An older Release for the same Deployment.
    pub rival: Option<String>,
    pub routed: bool,
    pub template: String,
    /// The API server pauses a held Deployment in the request that changes its template.
    pub at_change: bool,
    pub marked_held: bool,
    /// What our ControllerRevision keeps.
    pub kept: Option<String>,
    pub paused: bool,
    pub by_us: bool,
    pub observed: bool,
    pub wanted: u32,
    pub scaler: Option<Scaler>,
    pub handover: Option<String>,
    pub recreate: bool,
    pub sets: Vec<WSet>,
    pub pods: Vec<WPod>,
    pub services: Vec<WService>,
    pub routes: Vec<WRoute>,
    /// Seconds until a gateway follows its route.
    pub lag: u32,
    pub gateways: Gateways,
    pub bad: Vec<String>,
    /// So many of the next pods of a candidate are bad.
    pub lemons: u32,
    pub degraded: bool,
    pub no_data: bool,
    pub no_start: bool,
    pub unready: bool,
    /// Versions whose pods fail their health checks, and versions whose smoke test fails.
    pub sick: Vec<String>,
    pub broken: Vec<String>,
    pub smoke: BTreeMap<SmokePoint, SmokeSeen>,
    /// Seconds until the Job that tries the rollback plan ends, while it is there.
    pub trial: Option<u32>,
    /// The Jobs of rollback steps.
    pub jobs: Vec<WJob>,
    /// The first so many attempts of each step fail.
    pub failing: u32,
    pub orders: Vec<Order>,
    pub lost: f64,
    /// Seconds since somebody other than us took pods, pins or routes away.
    pub calm: u64,
    /// Pods ever started, by version.
    pub started: BTreeMap<String, u32>,
    /// Writes are done without their guards: what resourceVersions and tests are for.
    pub unguarded: bool,
    /// Grows with everything that a watch would tell.
    pub changes: u64,
    versions: BTreeMap<String, Stamp>,
    status_writes: u64,
    next: u64,
}

impl World {
    /// `services`: how many Services (and, if the spec names routes, as many of those) divide the traffic.
    pub fn new(spec: ReleaseSpec, wanted: u32, services: usize) -> Self {
        let routed = !spec.traffic.routes.is_empty();
        let names = ["app", "api", "admin"];
        let service = |name: &&str| WService { name: (*name).to_owned(), pin: None, live_pin: None, canary: None };
        let mut world = Self {
            generation: 1,
            now: At::from_epoch(1_700_000_000.0).unwrap(),
            past: Past::default(),
            finalizer: false,
            deleted_at: None,
            gone: false,
            retiring: None,
            rival: None,
            routed,
            template: "A".into(),
            at_change: false,
            marked_held: false,
            kept: None,
            paused: false,
            by_us: false,
            observed: true,
            wanted,
            scaler: None,
            handover: None,
            recreate: false,
            sets: Vec::new(),
            pods: Vec::new(),
            services: names.iter().take(services).map(service).collect(),
            routes: spec.traffic.routes.iter().map(|_| WRoute { split: None, live: None, pending: 0 }).collect(),
            lag: 1,
            gateways: Gateways::Follow,
            bad: Vec::new(),
            lemons: 0,
            degraded: false,
            no_data: false,
            no_start: false,
            unready: false,
            sick: Vec::new(),
            broken: Vec::new(),
            smoke: BTreeMap::new(),
            trial: None,
            jobs: Vec::new(),
            failing: 1,
            orders: Vec::new(),
            lost: 0.0,
            calm: 1000,
            started: BTreeMap::new(),
            unguarded: false,
            changes: 0,
            versions: BTreeMap::new(),
            status_writes: 0,
            next: 0,
            spec,
        };
        for _ in 0..8 {
            world.tick();
        }
        world.lost = 0.0;
        world
    }

    /// The Release names no images.
    pub fn held(&self) -> bool {
        self.spec.held()
    }

    /// Which version is asked for.
    pub fn asked(&self) -> String {
        self.spec.images.get("app").unwrap_or(&self.template).clone()
    }

    /// Somebody writes another template. During a hand-over the admission policy refuses it.
    pub fn edit_template(&mut self, version: &str) {
        if self.handover.is_none() && self.template != version {
            (self.template, self.observed) = (version.into(), false);
            if self.at_change && self.marked_held {
                (self.paused, self.by_us) = (true, true);
            }
        }
    }

    /// Somebody un-pauses the Deployment. During a hand-over the admission policy refuses it.
    pub fn resume(&mut self) {
        if self.handover.is_none() && !(self.at_change && self.marked_held) {
            (self.paused, self.observed) = (false, false);
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn candidate(&self) -> Option<&WSet> {
        let ours = self.past.state.as_ref().and_then(State::candidate).map(|c| c.id.as_str());
        let present = |s: &WSet| ours.is_some() && s.id.as_deref() == ours;
        self.sets.iter().filter(|s| s.id.is_some()).max_by_key(|s| (present(s), !s.owned, s.number))
    }

    /// The candidate's set of the present attempt, or what a lost status left behind.
    fn ours(&self) -> Option<&WSet> {
        let id =
            self.past.state.as_ref().and_then(State::candidate).map(|c| c.id.as_str()).or(self.handover.as_deref());
        let named = self.sets.iter().find(|s| id.is_some() && s.id.as_deref() == id);
        named.or_else(|| self.sets.iter().find(|s| s.id.is_some() && !s.owned))
    }

    pub fn ready(&self, hash: &str) -> u32 {
        u32::try_from(self.pods.iter().filter(|p| p.hash == hash && p.ready && p.ending.is_none()).count()).unwrap()
    }

    fn alive(&self, hash: &str) -> u32 {
        u32::try_from(self.pods.iter().filter(|p| p.hash == hash && p.ending.is_none()).count()).unwrap()
    }

    /// The highest share that a route gives the candidate, as written.
    pub fn written_weight(&self) -> u32 {
        self.routes.iter().filter_map(|r| r.split).map(|s| s.weight).max().unwrap_or(0)
    }

    /// The highest share that a gateway gives the candidate.
    pub fn live_weight(&self) -> u32 {
        self.routes.iter().filter_map(|r| r.live).map(|s| s.weight).max().unwrap_or(0)
    }

    /// The highest share that reaches the candidate's pods: where gateways do not follow, it may end elsewhere.
    pub fn share_of_the_candidate(&self) -> u32 {
        if self.gateways == Gateways::Follow {
            return self.live_weight();
        }
        let ours = |i: &usize| self.sets.iter().any(|s| s.hash == self.pods[*i].hash && !s.owned);
        let shares = self.routes.iter().zip(&self.services).filter(|(_, s)| self.reached(s).iter().any(ours));
        shares.filter_map(|(r, _)| r.live).map(|s| s.weight).max().unwrap_or(0)
    }

    pub fn pinned(&self) -> bool {
        self.services.iter().any(|s| s.pin.is_some())
    }

    /// Somebody other than us did something that takes a moment to put right.
    pub fn stirred(&mut self) {
        self.calm = 0;
        self.stamp();
    }

    /// One second: controllers, pods, data plane, requests, scrapes.
    pub fn tick(&mut self) {
        self.now = self.now.plus(Duration::from_secs(1));
        self.calm += 1;
        self.autoscale();
        self.controllers();
        self.kubelet();
        for route in &mut self.routes {
            if self.gateways != Gateways::Silent {
                route.pending = route.pending.saturating_sub(1);
            }
            if route.pending == 0 && self.gateways == Gateways::Follow {
                route.live = route.split;
            }
        }
        for service in &mut self.services {
            service.live_pin.clone_from(&service.pin);
        }
        self.trial = self.trial.map(|left| left.saturating_sub(1));
        for job in &mut self.jobs {
            job.left = job.left.saturating_sub(1);
        }
        self.requests();
        if (self.now.epoch() as u64).is_multiple_of(SCRAPE) {
            for pod in &mut self.pods {
                let (requests, errors) = (pod.requests, pod.errors);
                pod.points.push(Point { at: self.now, requests, errors, timed: requests, slow: 0.0 });
                let over = pod.points.len().saturating_sub(40);
                pod.points.drain(..over);
            }
            // Where a release is on its way, the sampler wakes the operator.
            self.changes += u64::from(self.past.state.as_ref().is_some_and(State::active));
        }
        self.stamp();
    }

    /// Gives every object that has changed a new resourceVersion.
    pub fn stamp(&mut self) {
        let release = (self.generation, &self.spec.images, self.finalizer, self.deleted_at, self.status_writes);
        let mut contents = vec![("release".to_owned(), hash_of(&release))];
        let pods: Vec<_> = self.pods.iter().map(|p| (p.ready, p.ending.is_some())).collect();
        let deployment = (&self.template, self.paused, self.by_us, self.observed, self.wanted, &self.handover, pods);
        contents.push(("deployment".to_owned(), hash_of(&(deployment, self.recreate, self.marked_held))));
        for set in &self.sets {
            let status = (self.ready(&set.hash), self.alive(&set.hash));
            contents.push((set.name.clone(), hash_of(&(set, status))));
        }
        let traffic = |r: &WRoute| (r.split.map(|s| (s.weight, s.header, s.uneven)), r.pending == 0);
        let traffic: Vec<_> = self.routes.iter().map(traffic).collect();
        let services: Vec<_> = self.services.iter().map(|s| (&s.pin, &s.live_pin, &s.canary)).collect();
        contents.push(("kept".to_owned(), hash_of(&self.kept)));
        contents.push(("traffic".to_owned(), hash_of(&(traffic, services, self.orders.len()))));
        for service in &self.services {
            contents.push((format!("service {}", service.name), hash_of(&service.pin)));
        }
        for (i, route) in self.routes.iter().enumerate() {
            contents.push((format!("route {i}"), hash_of(&route.split.map(|s| (s.weight, s.header, s.uneven)))));
        }
        contents.extend(self.trial.map(|left| ("trial".to_owned(), u64::from(left == 0))));
        contents.extend(self.jobs.iter().map(|job| (format!("{:?}", job.attempt), u64::from(job.left == 0))));
        let known = self.versions.len();
        self.versions.retain(|name, _| contents.iter().any(|(there, _)| there == name));
        self.changes += (known - self.versions.len()) as u64;
        for (name, content) in contents {
            let next = self.next;
            let stamp = self.versions.entry(name).or_insert((0, next));
            if stamp.0 != content {
                self.next += 1;
                self.changes += 1;
                *stamp = (content, self.next);
            }
        }
    }

    /// The status is stored.
    pub fn remember(&mut self, past: Past) {
        self.past = past;
        self.status_writes += 1;
        self.stamp();
    }

    pub fn version_of_release(&self) -> u64 {
        self.version("release")
    }

    fn version(&self, object: &str) -> u64 {
        self.versions.get(object).map_or(0, |stamp| stamp.1)
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
        // Of equal ones the oldest: Kubernetes' own rule.
        let newest = self.sets.iter().position(|s| s.owned && s.rev == template);
        if let Some(i) = newest
            && self.sets[i].number < number - 1
        {
            self.sets[i].number = number;
        }
        // Paused or not, a single set with pods follows `spec.replicas`.
        let (wanted, active) = (self.wanted, self.sets.iter().filter(|s| s.owned && s.size > 0).count());
        for set in self.sets.iter_mut().filter(|s| active == 1 && s.owned && s.size > 0) {
            set.size = wanted;
        }
        if self.paused && active == 0 {
            // The one with its template, else the newest of all.
            let newest = newest.or_else(|| self.sets.iter().rposition(|s| s.owned));
            if let Some(i) = newest {
                self.sets[i].size = wanted;
            }
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
                    handed: false,
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
        let sets: Vec<_> = self.sets.iter().map(|s| (s.hash.clone(), s.rev.clone(), s.size, s.id.is_some())).collect();
        for (hash, rev, size, ours) in sets {
            let alive = self.alive(&hash);
            for _ in alive..size {
                let n = self.fresh();
                *self.started.entry(rev.clone()).or_default() += 1;
                let lemon = ours && self.lemons > 0;
                self.lemons -= u32::from(lemon);
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
                    failures: 0,
                    lemon,
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
                let sick = self.sick.contains(&pod.rev);
                pod.failures = if sick && pod.ready { pod.failures + 1 } else { 0 };
            }
        }
        self.pods.retain(|p| p.ending != Some(0));
    }

    /// Ready pods behind a Service of the user, as the data plane knows them.
    fn behind(&self, service: &WService) -> Vec<usize> {
        let pin = service.live_pin.as_deref();
        (0..self.pods.len())
            .filter(|&i| {
                self.pods[i].ready && self.pods[i].ending.is_none() && pin.is_none_or(|p| p == self.pods[i].hash)
            })
            .collect()
    }

    fn behind_canary(&self, service: &WService) -> Vec<usize> {
        let ready = |p: &WPod| p.ready && service.canary.as_ref() == Some(&p.hash);
        (0..self.pods.len()).filter(|&i| ready(&self.pods[i])).collect()
    }

    /// Where a gateway sends the canary's share.
    fn reached(&self, service: &WService) -> Vec<usize> {
        if self.gateways != Gateways::Blind {
            return self.behind_canary(service);
        }
        let ours = |p: &WPod| self.sets.iter().any(|s| s.hash == p.hash && !s.owned);
        (0..self.pods.len()).filter(|&i| self.pods[i].ready && ours(&self.pods[i])).collect()
    }

    fn requests(&mut self) {
        let mut shares: Vec<(Vec<usize>, f64)> = Vec::new();
        let part = 1.0 / f64::from(u32::try_from(self.services.len().max(1)).unwrap());
        for (i, service) in self.services.iter().enumerate() {
            let weight = self.routes.get(i).and_then(|r| r.live).map_or(0, |s| s.weight);
            shares.push((self.reached(service), f64::from(weight) * part));
            shares.push((self.behind(service), f64::from(100 - weight) * part));
        }
        if self.services.is_empty() {
            // A worker: whoever is ready takes work.
            shares.push(((0..self.pods.len()).filter(|&i| self.pods[i].ready).collect(), 100.0));
        }
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
                let fails = self.degraded || self.pods[i].lemon || self.bad.contains(&self.pods[i].rev);
                self.pods[i].requests += each;
                self.pods[i].errors += if fails { each / 2.0 } else { 0.0 };
            }
        }
    }
}

fn hash_of(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
