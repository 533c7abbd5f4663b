//! What the executors look at once more before they write, and what the API server checks when the write arrives.
//! Mirrors `src/act`: the same questions in the same order.

use haldane::{
    act::effect::Effect,
    api::{
        names,
        state::{Candidate, Version},
    },
    observe::seen::Split,
};

use super::{WSet, World, same};

/// Whose release a write belongs to, as decided.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub stable: Version,
    pub candidate: Option<Candidate>,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The world must follow first; ends the pass without harm.
    NotYet(&'static str),
    /// Something else is there than was read; look again.
    Stale(&'static str),
    /// It must not be written at all.
    Refused(&'static str),
}

/// What must still be so when the write arrives.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Guard {
    /// `metadata.resourceVersion`.
    Version(String, u64),
    Canary(usize, Option<String>),
    /// A `test` of the rules of a route, on the way down.
    Split(usize, Option<Split>),
    /// A create.
    NoSet(String),
    /// The template that is kept: deleted by its UID, then created under the same name.
    Kept(Option<String>),
    /// Of what is deleted: nothing else ever has it.
    Uid,
}

/// A request that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub effect: Effect,
    /// Some effects are several writes.
    pub part: usize,
    pub scope: Scope,
    pub(super) guard: Option<Guard>,
}

use Stop::{NotYet, Refused, Stale};

type Ready = Result<Option<Guard>, Stop>;

impl World {
    /// How many writes an effect is.
    pub const fn writes(effect: &Effect) -> usize {
        match effect {
            Effect::FinishHandOver => 3,
            _ => 1,
        }
    }

    /// Reads once more; `None` when there is nothing to write.
    pub fn prepare(&self, effect: &Effect, part: usize, scope: &Scope) -> Result<Option<Prepared>, Stop> {
        let guard = self.look(effect, part, scope)?;
        Ok(guard.map(|guard| Prepared {
            effect: effect.clone(),
            part,
            scope: scope.clone(),
            guard: Some(guard).filter(|_| !self.unguarded),
        }))
    }

    /// Whether the API server would take the request.
    pub fn holds(&self, request: &Prepared) -> bool {
        request.guard.as_ref().is_none_or(|guard| match guard {
            Guard::Version(object, version) => self.version(object) == *version,
            Guard::Canary(i, canary) => self.services[*i].canary == *canary,
            Guard::Split(i, split) => self.routes[*i].split == *split,
            Guard::NoSet(name) => self.sets.iter().all(|s| s.name != *name),
            Guard::Kept(revision) => self.kept == *revision,
            Guard::Uid => true, // a pod that is gone is not deleted twice
        })
    }

    /// The request arrives.
    pub fn commit(&mut self, request: &Prepared) -> Result<(), Stop> {
        if !self.holds(request) {
            return Err(Stale("the object has changed"));
        }
        self.write(request);
        self.stamp();
        Ok(())
    }

    fn of(&self, object: &str) -> Guard {
        Guard::Version(object.to_owned(), self.version(object))
    }

    fn deployment(&self) -> Guard {
        self.of("deployment")
    }

    pub fn service(&self, name: &str) -> usize {
        self.services.iter().position(|s| s.name == name).unwrap()
    }

    pub fn route(&self, effect: &Effect) -> usize {
        let (Effect::Route { route, .. } | Effect::RestoreRoute { route }) = effect else { unreachable!() };
        self.spec.traffic.routes.iter().position(|r| r == route).unwrap()
    }

    /// The candidate's ReplicaSet: of this attempt, or any left over that the Deployment does not own.
    fn set(&self, scope: &Scope) -> Option<&WSet> {
        let id = scope.candidate.as_ref().map(|c| &c.id);
        match id {
            Some(id) => self.sets.iter().find(|s| s.id.as_ref() == Some(id) && !s.handed),
            None => self.sets.iter().filter(|s| s.id.is_some() && !s.handed && !s.owned).max_by_key(|s| s.size),
        }
    }

    fn attempt(&self, scope: &Scope) -> Option<&WSet> {
        let id = scope.candidate.as_ref().map(|c| &c.id).or(self.handover.as_ref());
        match id {
            Some(id) => self.sets.iter().find(|s| s.id.as_ref() == Some(id) && !s.handed),
            None => self.set(scope),
        }
    }

    fn look(&self, effect: &Effect, part: usize, scope: &Scope) -> Ready {
        match effect {
            Effect::AddFinalizer if self.gone => Err(Stale("the Release is gone")),
            Effect::AddFinalizer => Ok((!self.finalizer).then(|| self.of("release"))),
            Effect::DropFinalizer => Ok(self.finalizer.then(|| self.of("release"))),
            Effect::Pause if self.paused && self.by_us => Ok(None),
            Effect::Pause if self.paused => Err(Refused("its user has paused it")),
            Effect::Pause => Ok(Some(self.deployment())),
            Effect::Hold if !self.observed => Err(NotYet("not seen as it is now")),
            Effect::Hold if !self.paused && self.template != scope.stable.revision.0 => Err(Stale("the template")),
            Effect::Hold => {
                let pauses = !self.at_change || self.paused && self.template != scope.stable.revision.0;
                Ok((!self.marked_held || pauses && !(self.paused && self.by_us)).then(|| self.deployment()))
            }
            Effect::LetGo { rolling } => self.look_let_go(*rolling, scope),
            Effect::KeepTemplate => {
                self.stable_template(scope)?;
                let there = self.kept.clone();
                Ok((there.as_ref() != Some(&scope.stable.revision.0)).then_some(Guard::Kept(there)))
            }
            Effect::ForgetTemplate => Ok(self.kept.is_some().then(|| Guard::Kept(self.kept.clone()))),
            Effect::RestoreStable { unpause } => self.look_restore_stable(*unpause, scope),
            Effect::Unpause { any_template } => self.look_unpause(*any_template, scope),
            Effect::Pin { service, hash } => Ok(self.look_pin(service, Some(hash))),
            Effect::Unpin { service } => Ok(self.look_pin(service, None)),
            Effect::CreateCanaryService { service } => {
                let i = self.service(service);
                let hash = scope.candidate.as_ref().map(|c| names::candidate_hash(&c.id));
                let there = self.services[i].canary.clone();
                Ok((there != hash).then_some(Guard::Canary(i, there)))
            }
            Effect::TurnCanaryService { service, hash } => {
                let i = self.service(service);
                let there = self.services[i].canary.clone();
                Ok((there.is_some() && there.as_ref() != Some(hash)).then_some(Guard::Canary(i, there)))
            }
            Effect::DeleteCanaryService { service } => {
                let i = self.service(service);
                let there = self.services[i].canary.clone();
                Ok(there.is_some().then_some(Guard::Canary(i, there)))
            }
            Effect::CreateCandidate => self.look_create(scope),
            Effect::ScaleCandidate { size } => {
                let set = self.set(scope).ok_or(NotYet("no set"))?;
                if set.owned && self.handover != set.id {
                    return Err(Refused("the Deployment sets its size"));
                }
                Ok((set.size != *size).then(|| self.of(&set.name)))
            }
            Effect::MarkCandidate { carries_traffic } => match self.set(scope) {
                None if *carries_traffic => Err(NotYet("no set to mark")),
                None => Ok(None),
                Some(set) => Ok((set.mark != *carries_traffic).then(|| self.of(&set.name))),
            },
            Effect::ReplacePod { pod } => {
                let there = self.pods.iter().any(|p| p.name == *pod && p.ending.is_none());
                Ok(there.then_some(Guard::Uid))
            }
            Effect::DeleteCandidate => match self.set(scope) {
                None => Ok(None),
                Some(set) if set.owned => Err(Refused("the Deployment owns it")),
                Some(set) => Ok((!set.deleting).then(|| self.of(&set.name))),
            },
            Effect::Route { weight, header, .. } => {
                let i = self.route(effect);
                let wanted = Split { weight: *weight, header: *header, uneven: false };
                let there = self.routes[i].split;
                let down = *weight == 0 && !header;
                let guard = || if down { Guard::Split(i, there) } else { self.of(&format!("route {i}")) };
                Ok((there != Some(wanted)).then(guard))
            }
            Effect::RestoreRoute { .. } => {
                let i = self.route(effect);
                Ok(self.routes[i].split.is_some().then(|| self.of(&format!("route {i}"))))
            }
            Effect::DeleteEqualSet { name } => self.look_equal(name, scope),
            Effect::TakeTemplate => self.look_take(scope),
            Effect::Offer { wanted } => self.look_offer(*wanted, scope),
            Effect::Withdraw => Ok(self.attempt(scope).filter(|s| s.offered).map(|s| self.of(&s.name))),
            Effect::RestoreTemplate => self.look_restore(scope),
            Effect::FinishHandOver => self.look_finish(part, scope),
            Effect::StartSmoke { point } => Ok((!self.smoke.contains_key(point)).then(|| self.of("job"))),
            Effect::StartTrial => Ok(self.trial.is_none().then(|| self.of("job"))),
            Effect::StartStep { attempt } => {
                let there = self.jobs.iter().any(|job| same(&job.attempt, attempt));
                Ok((!there).then(|| self.of("job")))
            }
            Effect::DeleteSmoke { point } => Ok(self.smoke.contains_key(point).then(|| self.of("job"))),
        }
    }

    fn look_pin(&self, service: &str, hash: Option<&String>) -> Option<Guard> {
        let i = self.service(service);
        let there = self.services[i].pin.clone();
        (there.as_ref() != hash).then(|| self.of(&format!("service {service}")))
    }

    fn look_unpause(&self, any_template: bool, scope: &Scope) -> Ready {
        if self.handover.is_some() {
            return Err(Refused("the hand-over is not finished"));
        }
        if self.paused && self.template != scope.stable.revision.0 && !any_template {
            return Err(Refused("un-pausing would roll out a template that nobody has released"));
        }
        self.no_pins()?;
        Ok((self.paused || self.by_us).then(|| self.deployment()))
    }

    /// Whether the stable template is still to be had.
    fn stable_template(&self, scope: &Scope) -> Result<(), Stop> {
        let stable = &scope.stable.revision.0;
        let known = self.sets.iter().any(|s| s.owned && s.rev == *stable)
            || self.template == *stable
            || self.kept.as_ref() == Some(stable);
        if known { Ok(()) } else { Err(Refused("no ReplicaSet with the stable revision is left")) }
    }

    fn look_let_go(&self, rolling: bool, scope: &Scope) -> Ready {
        if self.handover.is_some() {
            return Err(Refused("the hand-over is not finished"));
        }
        if self.paused && self.by_us {
            if !rolling {
                self.stable_template(scope)?;
            }
            self.no_pins()?;
        }
        Ok((self.marked_held || self.by_us).then(|| self.deployment()))
    }

    fn look_restore_stable(&self, unpause: bool, scope: &Scope) -> Ready {
        if self.handover.is_some() {
            return Err(Refused("the hand-over is not finished"));
        }
        if !self.by_us {
            return Err(Stale("the pause of the Deployment"));
        }
        self.stable_template(scope)?;
        if unpause {
            self.no_pins()?;
        }
        Ok((unpause || self.template != scope.stable.revision.0).then(|| self.deployment()))
    }

    /// Of a held Deployment the template is the user's, but for an undo.
    pub(super) fn ours_to_restore(&self, scope: &Scope) -> bool {
        !self.held() || scope.candidate.as_ref().is_some_and(|c| c.undo)
    }

    fn no_pins(&self) -> Result<(), Stop> {
        if self.paused && self.pinned() { Err(NotYet("a Service is still pinned")) } else { Ok(()) }
    }

    fn look_create(&self, scope: &Scope) -> Ready {
        let candidate = scope.candidate.as_ref().ok_or(Refused("no candidate"))?;
        if !self.paused || !self.observed {
            return Err(NotYet("not paused yet"));
        }
        let name = names::candidate_set("app", &candidate.id);
        if let Some(there) = self.sets.iter().find(|s| s.name == name) {
            return if there.deleting { Err(NotYet("the former one is being deleted")) } else { Ok(None) };
        }
        let asked = &candidate.version.revision.0;
        let derived = self.template == scope.stable.revision.0 || self.template == *asked;
        let remembered = candidate.undo && self.sets.iter().any(|s| s.owned && s.rev == *asked);
        if derived || remembered { Ok(Some(Guard::NoSet(name))) } else { Err(Stale("the template has changed")) }
    }

    fn look_equal(&self, name: &str, scope: &Scope) -> Ready {
        let candidate = scope.candidate.as_ref().ok_or(Refused("no candidate"))?;
        let Some(set) = self.sets.iter().find(|s| s.name == name) else { return Ok(None) };
        if !set.owned || set.hash == names::candidate_hash(&candidate.id) {
            return Err(Refused("it is not an old one of the Deployment"));
        }
        if set.rev != candidate.version.revision.0 {
            return Err(Refused("its template is not the candidate's"));
        }
        if set.size > 0 || self.alive(&set.hash) > 0 {
            return Err(Refused("it has pods"));
        }
        Ok(Some(self.of(name)))
    }

    /// Whether this candidate's hand-over has begun; another one's is in the way.
    fn begun(&self, attempt: &str) -> Result<bool, Stop> {
        match &self.handover {
            None => Ok(false),
            Some(id) if id == attempt && self.recreate && self.paused => Ok(true),
            Some(id) if id == attempt => Err(Refused("strategy or pause were changed by somebody else")),
            Some(_) => Err(Refused("the hand-over of another attempt is not finished")),
        }
    }

    fn ready_for_hand_over(&self, set: &WSet) -> Result<(), Stop> {
        if !self.paused || !self.observed {
            return Err(NotYet("not paused yet"));
        }
        if set.deleting {
            return Err(NotYet("it is being deleted"));
        }
        if set.size != self.wanted || self.ready(&set.hash) != self.wanted || self.alive(&set.hash) != set.size {
            return Err(NotYet("not all of its pods are available"));
        }
        Ok(())
    }

    fn no_equal_set(&self, candidate: &WSet) -> Result<(), Stop> {
        let equal = self.sets.iter().find(|s| s.owned && s.name != candidate.name && s.rev == candidate.rev);
        match equal {
            None => Ok(()),
            Some(set) if set.size > 0 || self.alive(&set.hash) > 0 => Err(Refused("an equal set has pods")),
            Some(_) => Err(NotYet("an equal set must be deleted first")),
        }
    }

    fn same(&self, set: &WSet) -> Result<(), Stop> {
        if self.template == set.rev { Ok(()) } else { Err(Refused("the template differs from the proven one")) }
    }

    fn look_take(&self, scope: &Scope) -> Ready {
        let candidate = scope.candidate.as_ref().ok_or(Refused("no candidate"))?;
        let set = self.set(scope).ok_or(NotYet("no set"))?;
        if self.begun(&candidate.id)? {
            return self.same(set).map(|()| None);
        }
        self.ready_for_hand_over(set)?;
        if set.owned {
            return Err(Refused("something else owns the set"));
        }
        if self.template != scope.stable.revision.0 && self.template != set.rev {
            return Err(Refused("the template was changed during the release"));
        }
        self.no_equal_set(set)?;
        Ok(Some(self.deployment()))
    }

    fn look_offer(&self, wanted: u32, scope: &Scope) -> Ready {
        let candidate = scope.candidate.as_ref().ok_or(Refused("no candidate"))?;
        let set = self.set(scope).ok_or(NotYet("no set"))?;
        if !self.begun(&candidate.id)? {
            return Err(NotYet("the Deployment does not have its template yet"));
        }
        self.same(set)?;
        if self.wanted != wanted {
            return Err(Stale("the size of the Deployment"));
        }
        if !set.owned {
            self.ready_for_hand_over(set)?;
            self.no_equal_set(set)?;
        }
        Ok((!set.offered || set.size != wanted).then(|| self.of(&set.name)))
    }

    fn look_restore(&self, scope: &Scope) -> Ready {
        if self.handover.is_none() {
            let ours = self.template == scope.stable.revision.0 || !self.ours_to_restore(scope);
            return if ours { Ok(None) } else { Err(Refused("the template was not written by this release")) };
        }
        if self.attempt(scope).is_some_and(|set| set.offered || set.owned) {
            return Err(NotYet("it has not released the set yet"));
        }
        Ok(Some(self.deployment()))
    }

    fn look_finish(&self, part: usize, scope: &Scope) -> Ready {
        let id = scope.candidate.as_ref().map(|c| &c.id).or(self.handover.as_ref());
        let id = id.ok_or(Refused("no hand-over has begun"))?;
        let adopted = self.sets.iter().find(|s| s.owned && s.id.as_ref() == Some(id));
        let adopted = adopted.ok_or(NotYet("the Deployment has not adopted the set yet"))?;
        if self.handover.is_none() {
            if part < 2 || adopted.handed {
                return Ok(None);
            }
            return if self.observed {
                Ok(Some(self.of(&adopted.name)))
            } else {
                Err(NotYet("its end has not been seen"))
            };
        }
        self.begun(id)?;
        self.same(adopted)?;
        self.ready_for_hand_over(adopted)?;
        if self.sets.iter().any(|s| s.owned && s.name != adopted.name && s.size > 0) {
            return Err(NotYet("an old set still has pods"));
        }
        self.no_pins()?;
        match part {
            0 => Ok(adopted.mark.then(|| self.of(&adopted.name))),
            1 => Ok(Some(self.deployment())),
            _ => Ok((!adopted.handed).then(|| self.of(&adopted.name))),
        }
    }
}
