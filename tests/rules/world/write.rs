//! The writes themselves, as the API server does them.

use haldane::{
    act::effect::Effect,
    api::names,
    observe::seen::{Hold, SmokeSeen, Split},
};

use super::{Prepared, WJob, WSet, World};

impl World {
    pub(super) fn write(&mut self, request: &Prepared) {
        let Prepared { effect, part, scope, .. } = request;
        let id = scope.candidate.as_ref().map(|c| c.id.clone()).or_else(|| self.handover.clone());
        let lag = self.lag;
        let i = self.sets.iter().position(|s| match &id {
            Some(id) => s.id.as_ref() == Some(id),
            None => s.id.is_some() && !s.owned,
        });
        let set = i.map(|i| &mut self.sets[i]);
        match (effect, set) {
            (Effect::AddFinalizer, _) => self.finalizer = true,
            (Effect::DropFinalizer, _) => {
                self.finalizer = false;
                self.gone = self.deleted_at.is_some();
            }
            (Effect::Hold, _) => {
                self.marked_held = true;
                let stable = self.template == scope.stable.revision.0;
                if !self.at_change || self.paused && !stable {
                    (self.paused, self.by_us, self.observed) = (true, true, self.observed && self.paused);
                }
            }
            (Effect::LetGo { rolling }, _) => {
                if self.paused && self.by_us && !rolling {
                    self.template.clone_from(&scope.stable.revision.0);
                }
                self.observed = !(self.paused && self.by_us);
                (self.paused, self.by_us) = (self.paused && !self.by_us, false);
                self.marked_held = false;
            }
            (Effect::Pause, _) => (self.paused, self.by_us, self.observed) = (true, true, false),
            (Effect::Unpause { .. }, _) => (self.paused, self.by_us, self.observed) = (false, false, false),
            (Effect::KeepTemplate, _) => self.kept = Some(scope.stable.revision.0.clone()),
            (Effect::ForgetTemplate, _) => self.kept = None,
            (Effect::RestoreStable { unpause }, _) => {
                self.template.clone_from(&scope.stable.revision.0);
                self.observed = false;
                if *unpause {
                    (self.paused, self.by_us) = (false, false);
                }
            }
            (Effect::Pin { service, hash }, _) => {
                let i = self.service(service);
                self.services[i].pin = Some(hash.clone());
            }
            (Effect::Unpin { service }, _) => {
                let i = self.service(service);
                self.services[i].pin = None;
            }
            (Effect::CreateCanaryService { service }, _) => {
                let i = self.service(service);
                self.services[i].canary = scope.candidate.as_ref().map(|c| names::candidate_hash(&c.id));
            }
            (Effect::TurnCanaryService { service, hash }, _) => {
                let i = self.service(service);
                self.services[i].canary = self.services[i].canary.is_some().then(|| hash.clone());
            }
            (Effect::DeleteCanaryService { service }, _) => {
                let i = self.service(service);
                self.services[i].canary = None;
            }
            (Effect::CreateCandidate, None) => {
                let Some(c) = scope.candidate.clone() else { return };
                self.sets.push(WSet {
                    name: names::candidate_set("app", &c.id),
                    hash: names::candidate_hash(&c.id),
                    rev: c.version.revision.0,
                    size: 0,
                    owned: false,
                    number: 0,
                    id: Some(c.id),
                    offered: false,
                    mark: false,
                    handed: false,
                    deleting: false,
                });
            }
            (Effect::ScaleCandidate { size }, Some(set)) => set.size = *size,
            (Effect::MarkCandidate { carries_traffic }, Some(set)) => set.mark = *carries_traffic,
            (Effect::DeleteCandidate, Some(set)) => set.deleting = true,
            (Effect::ReplacePod { pod }, _) => {
                for pod in self.pods.iter_mut().filter(|p| p.name == *pod && p.ending.is_none()) {
                    pod.ending = Some(2);
                }
            }
            (Effect::Route { weight, header, .. }, _) => {
                let i = self.route(effect);
                let route = &mut self.routes[i];
                route.split = Some(Split { weight: *weight, header: *header, uneven: false });
                route.pending = lag;
            }
            (Effect::RestoreRoute { .. }, _) => {
                let i = self.route(effect);
                (self.routes[i].split, self.routes[i].pending) = (None, lag);
            }
            (Effect::DeleteEqualSet { name }, _) => self.sets.retain(|s| s.name != *name),
            (Effect::TakeTemplate, Some(set)) => {
                self.template = set.rev.clone();
                self.handover.clone_from(&set.id);
                (self.recreate, self.observed) = (true, false);
            }
            (Effect::Offer { wanted }, Some(set)) => (set.offered, set.size) = (true, *wanted),
            (Effect::Withdraw, Some(set)) => set.offered = false,
            (Effect::RestoreTemplate, _) => {
                if self.ours_to_restore(scope) {
                    self.template.clone_from(&scope.stable.revision.0);
                }
                self.handover = None;
                (self.recreate, self.observed) = (false, false);
            }
            (Effect::StartSmoke { point }, _) => {
                let fails = scope.candidate.as_ref().is_some_and(|c| self.broken.contains(&c.version.revision.0));
                let outcome = if fails { SmokeSeen::Failed("exit code 1".into()) } else { SmokeSeen::Succeeded };
                self.smoke.insert(*point, outcome);
            }
            (Effect::StartTrial, _) => self.trial = Some(2),
            (Effect::StartStep { attempt }, _) => {
                let before = self.jobs.iter().filter(|job| job.attempt.step == attempt.step).count();
                self.jobs.push(WJob { attempt: attempt.clone(), left: 2, fails: before < self.failing as usize });
            }
            (Effect::DeleteSmoke { point }, _) => drop(self.smoke.remove(point)),
            (Effect::FinishHandOver, Some(set)) => match part {
                0 => set.mark = false,
                1 => {
                    self.handover = None;
                    (self.recreate, self.observed) = (false, false);
                    if self.hold() != Hold::Always {
                        (self.paused, self.by_us) = (false, false);
                    }
                }
                _ => set.handed = true,
            },
            _ => {}
        }
    }
}
