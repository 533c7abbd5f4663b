//! One rule of a route, taken apart into what is the user's and what is ours.

use serde_json::Value;

use super::{
    Ours, canary_name,
    dialect::{Dialect, Names},
};
use crate::api::release::Header;

/// Whose rule it is: the kind of route, and what of it is ours.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub dialect: &'a dyn Dialect,
    pub ours: &'a Ours<'a>,
}

impl<'a> Place<'a> {
    pub fn names(&self) -> &'static Names {
        self.dialect.names()
    }

    /// Where the weight of a split backend is remembered.
    pub fn key(&self, rule: usize, backend: usize, service: &str) -> String {
        format!("{}{}/{rule}/{backend}:{service}", self.names().prefix(), self.ours.route)
    }

    /// What a backend weighs among several.
    fn weight(&self, backend: &Value) -> i64 {
        let written = backend.get("weight").and_then(Value::as_i64);
        written.unwrap_or(self.dialect.unwritten_weight()).clamp(0, self.dialect.max_weight())
    }

    fn service<'v>(&self, backend: &'v Value) -> Option<&'v str> {
        self.dialect.service(backend, self.ours.namespace)
    }

    /// The Service of ours that has this name.
    fn split_service(&self, name: &str) -> Option<&'a str> {
        self.ours.services.iter().find(|s| *s == name).map(String::as_str)
    }
}

/// A rule of the user. A rule that sends to our canary Services alone is ours, never his.
pub struct UserRule<'a> {
    at: Place<'a>,
    whole: &'a Value,
    backends: Vec<Backend<'a>>,
    /// Canary backends of ours that stand beside none of the user: somebody moved or copied them.
    strays: Vec<&'a Value>,
}

/// A backend of the user, with ours beside it.
struct Backend<'a> {
    user: &'a Value,
    canary: Option<&'a Value>,
    /// Its Service, if that one is split.
    service: Option<&'a str>,
}

impl<'a> UserRule<'a> {
    /// `None` for a rule of ours.
    pub fn new(rule: &'a Value, at: Place<'a>) -> Option<Self> {
        let refs = rule.get(at.names().backends).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (mut backends, mut strays) = (Vec::<Backend<'_>>::new(), Vec::new());
        for one in refs {
            let named = at.service(one);
            if !named.is_some_and(|n| at.ours.services.iter().any(|s| canary_name(s) == n)) {
                let service = named.and_then(|n| at.split_service(n));
                backends.push(Backend { user: one, canary: None, service });
                continue;
            }
            match backends.last_mut() {
                Some(last)
                    if last.canary.is_none()
                        && last.service.map(canary_name).as_deref() == named
                        && at.dialect.beside(last.user, one) =>
                {
                    last.canary = Some(one);
                }
                _ => strays.push(one),
            }
        }
        (!backends.is_empty() || strays.is_empty()).then_some(Self { at, whole: rule, backends, strays })
    }

    /// What the user's backend and ours weigh together.
    fn sum(&self, backend: &Backend<'_>) -> i64 {
        self.at.weight(backend.user) + backend.canary.map_or(0, |canary| self.at.weight(canary))
    }

    /// Our backend for this one of the user.
    fn canary(&self, backend: &Backend<'_>, weight: i64) -> Value {
        let mut canary = backend.user.clone();
        let service = backend.service.unwrap_or_default();
        self.at.dialect.rename(&mut canary, service, &canary_name(service));
        canary["weight"] = weight.into();
        canary
    }

    /// The weight the user wrote at `index`; `None` where he wrote none.
    fn own(&self, index: usize, remembered: Option<i32>) -> Option<i64> {
        let backend = &self.backends[index];
        let (remembered, sum) = (remembered.map(i64::from), self.sum(backend));
        if backend.canary.is_none() {
            let written = backend.user.get("weight").and_then(Value::as_i64);
            if self.displaced(backend) {
                // What is written is what we left him. Alone, or too little to be divided: he wrote none.
                return remembered.or(written.filter(|weight| *weight > 1 && !self.alone(index)));
            }
            return written;
        }
        if self.alone(index) {
            let stable = self.at.weight(backend.user);
            return remembered.or_else(|| (sum != 100 && stable != 0).then_some(stable));
        }
        // The sum is the user's own weight. Less than 100 is never ours: somebody changed one of the two.
        match remembered {
            Some(before) if sum < 100 && before >= 100 => Some(before),
            None if sum == self.at.dialect.unwritten_weight() => None,
            _ => Some(sum),
        }
    }

    /// Whether ours for this one stands somewhere else in the rule: then his weight is what is left of it.
    fn displaced(&self, backend: &Backend<'_>) -> bool {
        let canary = backend.service.map(canary_name);
        backend.canary.is_none()
            && canary.is_some()
            && self.strays.iter().any(|s| self.at.service(s) == canary.as_deref())
    }

    /// Whether no other backend of the rule gets traffic: then the split is in percent.
    fn alone(&self, index: usize) -> bool {
        self.backends.iter().enumerate().all(|(i, b)| i == index || self.sum(b) == 0)
    }

    /// Whether a backend with this weight of the user's gets any traffic.
    fn gets_traffic(&self, own: Option<i64>) -> bool {
        self.backends.len() == 1 && self.at.dialect.alone_is_all()
            || own.unwrap_or(self.at.dialect.unwritten_weight()) != 0
    }

    /// The backends that are split: their position, Service, and the user's weight. One he gave no traffic stays alone.
    pub fn split_refs(&self, rule: usize) -> Vec<(usize, &'a str, Option<i64>)> {
        let named = self.backends.iter().enumerate().filter_map(|(i, b)| Some((i, b.service?)));
        named
            .map(|(i, service)| (i, service, self.own(i, self.remembered(rule, i, service))))
            .filter(|(_, _, own)| self.gets_traffic(*own))
            .collect()
    }

    fn remembered(&self, rule: usize, index: usize, service: &str) -> Option<i32> {
        self.at.ours.weights.get(&self.at.key(rule, index, service)).copied()
    }

    /// The rule without anything of ours.
    pub fn restored(&self, rule: usize) -> Value {
        let refs = self.backends.iter().enumerate().map(|(i, backend)| {
            let touched = backend.canary.is_some() || self.displaced(backend);
            let Some(service) = backend.service.filter(|_| touched) else {
                return backend.user.clone();
            };
            let mut user = backend.user.clone();
            match (self.own(i, self.remembered(rule, i, service)), user.as_object_mut()) {
                (Some(own), _) => user["weight"] = own.into(),
                (None, Some(fields)) => drop(fields.remove("weight")),
                (None, None) => {}
            }
            user
        });
        self.with_refs(refs.collect())
    }

    /// The rule with `percent` of each of our Services' shares on their canaries.
    pub fn split(&self, rule: usize, percent: u32) -> Result<Value, String> {
        let restored = self.restored(rule);
        let split = self.split_refs(rule);
        let names = self.at.names();
        let mut refs = Vec::new();
        for (i, backend) in self.backends.iter().enumerate() {
            let Some(&(_, service, own)) = split.iter().find(|(at, ..)| *at == i) else {
                refs.push(restored[names.backends][i].clone());
                continue;
            };
            let own = own.unwrap_or(self.at.dialect.unwritten_weight());
            let all = if self.alone(i) { 100 } else { own };
            if all < 100 && !matches!(percent, 0 | 100) {
                return Err(format!(
                    "rule {} of {} {} gives Service {service} the weight {own} beside other backends, which cannot be \
                     split by percent; multiply all weights of this rule by 100",
                    rule + 1,
                    names.kind,
                    self.at.ours.route
                ));
            }
            let canary = all.saturating_mul(percent.into()) / 100;
            let mut user = backend.user.clone();
            user["weight"] = (all - canary).into();
            refs.push(user);
            refs.push(self.canary(backend, canary));
        }
        Ok(self.with_refs(refs))
    }

    /// The rule before this one that sends requests with the header to the candidate; `None` if nothing here is split.
    pub fn header_rule(&self, rule: usize, header: &Header) -> Result<Option<Value>, String> {
        let (names, dialect) = (self.at.names(), self.at.dialect);
        let split = self.split_refs(rule);
        // Weights are always written out: the API server may add a default, and the next look find a difference.
        let refs: Vec<Value> = match split.as_slice() {
            [] => return Ok(None),
            [(i, ..)] => vec![self.canary(&self.backends[*i], 1)],
            many => many
                .iter()
                .map(|(i, _, own)| self.canary(&self.backends[*i], own.unwrap_or(dialect.unwritten_weight())))
                .collect(),
        };
        let mut matches = self.whole.get(names.matches).and_then(Value::as_array).cloned().unwrap_or_default();
        if matches.is_empty() {
            matches.push(dialect.default_match());
        }
        for fields in matches.iter_mut().filter_map(Value::as_object_mut) {
            if !dialect.demand(fields, header) {
                return Err(format!(
                    "rule {} of {} {} already matches the header {}; choose another name in spec.traffic.canaryHeader",
                    rule + 1,
                    names.kind,
                    self.at.ours.route,
                    header.name
                ));
            }
        }
        let mut whole = self.whole.as_object().cloned().unwrap_or_default();
        whole.remove("name"); // names of rules are unique
        whole.insert(names.backends.into(), refs.into());
        whole.insert(names.matches.into(), matches.into());
        Ok(Some(whole.into()))
    }

    /// The candidate's share in percent, the highest of its backends. `None`: nothing of ours is here.
    pub fn share(&self) -> Option<u32> {
        // Rounded up: it undoes the rounding down of `split`, and a share is never shown as less than it is.
        let share =
            |part: i64, all: i64| u32::try_from((part * 100 + all - 1).checked_div(all).unwrap_or(0)).unwrap_or(0);
        let weight = |backend: &Value| self.at.weight(backend);
        let all = self.backends.iter().map(|b| self.sum(b)).chain(self.strays.iter().map(|s| weight(s))).sum();
        let pairs = self.backends.iter().filter_map(|b| Some(share(weight(b.canary?), self.sum(b))));
        let strays = self.strays.iter().map(|s| share(weight(s), all));
        pairs.chain(strays).max()
    }

    fn with_refs(&self, refs: Vec<Value>) -> Value {
        let mut whole = self.whole.clone();
        if let Some(old) = whole.get_mut(self.at.names().backends).filter(|old| old.is_array()) {
            *old = refs.into();
        }
        whole
    }
}
