//! One rule of an HTTPRoute, taken apart into what is the user's and what is ours.

use serde_json::{Value, json};

use super::{Ours, canary_name};
use crate::api::release::Header;

/// A rule of the user. A rule that sends to our canary Services alone is ours, never his.
pub struct UserRule<'a> {
    whole: &'a Value,
    backends: Vec<Backend<'a>>,
    /// Canary refs of ours that stand beside no ref of the user: somebody moved or copied them.
    strays: Vec<&'a Value>,
}

/// A backendRef of the user, with ours beside it.
struct Backend<'a> {
    user: &'a Value,
    canary: Option<&'a Value>,
    /// Its Service, if that one is split.
    service: Option<&'a str>,
}

/// The weight of a ref without one, and the highest that the API allows.
const DEFAULT_WEIGHT: i64 = 1;
const MAX_WEIGHT: i64 = 1_000_000;

fn weight(backend: &Value) -> i64 {
    backend.get("weight").and_then(Value::as_i64).unwrap_or(DEFAULT_WEIGHT).clamp(0, MAX_WEIGHT)
}

/// The Service of the route's own namespace that a ref names.
fn service<'a>(backend: &'a Value, namespace: &str) -> Option<&'a str> {
    let is = |field: &str, or: &[&str]| backend.get(field).and_then(Value::as_str).is_none_or(|v| or.contains(&v));
    let local = is("kind", &["Service"]) && is("group", &[""]) && is("namespace", &[namespace]);
    backend.get("name").and_then(Value::as_str).filter(|_| local)
}

impl Backend<'_> {
    /// What the user's ref and ours weigh together.
    fn sum(&self) -> i64 {
        weight(self.user) + self.canary.map_or(0, weight)
    }

    fn canary(&self, weight: i64) -> Value {
        let mut canary = self.user.clone();
        canary["name"] = canary_name(self.service.unwrap_or_default()).into();
        canary["weight"] = weight.into();
        canary
    }
}

impl<'a> UserRule<'a> {
    /// `None` for a rule of ours.
    pub fn new(rule: &'a Value, ours: &Ours<'a>) -> Option<Self> {
        let refs = rule.get("backendRefs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (mut backends, mut strays) = (Vec::<Backend<'_>>::new(), Vec::new());
        for one in refs {
            let named = service(one, ours.namespace);
            if !named.is_some_and(|n| ours.services.iter().any(|s| canary_name(s) == n)) {
                let service = named.and_then(|n| ours.services.iter().find(|s| *s == n)).map(String::as_str);
                backends.push(Backend { user: one, canary: None, service });
                continue;
            }
            match backends.last_mut() {
                Some(last)
                    if last.canary.is_none()
                        && last.service.map(canary_name).as_deref() == named
                        && last.user.get("port") == one.get("port") =>
                {
                    last.canary = Some(one);
                }
                _ => strays.push(one),
            }
        }
        (!backends.is_empty() || strays.is_empty()).then_some(Self { whole: rule, backends, strays })
    }

    /// The weight the user wrote at `index`; `None` where he wrote none.
    fn own(&self, index: usize, remembered: Option<i32>) -> Option<i64> {
        let backend = &self.backends[index];
        if backend.canary.is_none() {
            return backend.user.get("weight").and_then(Value::as_i64);
        }
        let (remembered, sum) = (remembered.map(i64::from), backend.sum());
        if self.alone(index) {
            let stable = weight(backend.user);
            return remembered.or_else(|| (sum != 100 && stable != 0).then_some(stable));
        }
        // The sum is the user's own weight. Less than 100 is never ours: somebody changed one of the two.
        match remembered {
            Some(before) if sum < 100 && before >= 100 => Some(before),
            None if sum == DEFAULT_WEIGHT => None,
            _ => Some(sum),
        }
    }

    /// Whether no other backend of the rule gets traffic: then the split is in percent.
    fn alone(&self, index: usize) -> bool {
        self.backends.iter().enumerate().all(|(i, b)| i == index || b.sum() == 0)
    }

    /// The refs that are split: their position, Service, and the user's weight. A ref he gave no traffic stays alone.
    pub fn split_refs(&self, rule: usize, ours: &Ours<'_>) -> Vec<(usize, &'a str, Option<i64>)> {
        let named = self.backends.iter().enumerate().filter_map(|(i, b)| Some((i, b.service?)));
        named
            .map(|(i, service)| (i, service, self.own(i, ours.weights.get(&key(ours, rule, i, service)).copied())))
            .filter(|(_, _, own)| own.unwrap_or(DEFAULT_WEIGHT) != 0)
            .collect()
    }

    /// The rule without anything of ours.
    pub fn restored(&self, rule: usize, ours: &Ours<'_>) -> Value {
        let refs = self.backends.iter().enumerate().map(|(i, backend)| {
            let Some(service) = backend.service.filter(|_| backend.canary.is_some()) else {
                return backend.user.clone();
            };
            let mut user = backend.user.clone();
            let own = self.own(i, ours.weights.get(&key(ours, rule, i, service)).copied());
            match (own, user.as_object_mut()) {
                (Some(own), _) => user["weight"] = own.into(),
                (None, Some(fields)) => drop(fields.remove("weight")),
                (None, None) => {}
            }
            user
        });
        self.with_refs(refs.collect())
    }

    /// The rule with `percent` of each of our Services' shares on their canaries.
    pub fn split(&self, rule: usize, ours: &Ours<'_>, percent: u32) -> Result<Value, String> {
        let restored = self.restored(rule, ours);
        let split = self.split_refs(rule, ours);
        let mut refs = Vec::new();
        for (i, backend) in self.backends.iter().enumerate() {
            let Some(&(_, service, own)) = split.iter().find(|(at, ..)| *at == i) else {
                refs.push(restored["backendRefs"][i].clone());
                continue;
            };
            let own = own.unwrap_or(DEFAULT_WEIGHT);
            let all = if self.alone(i) { 100 } else { own };
            if all < 100 && !matches!(percent, 0 | 100) {
                return Err(format!(
                    "rule {} of HTTPRoute {} gives Service {service} the weight {own} beside other backends, which \
                     cannot be split by percent; multiply all weights of this rule by 100",
                    rule + 1,
                    ours.route
                ));
            }
            let canary = all.saturating_mul(percent.into()) / 100;
            let mut user = backend.user.clone();
            user["weight"] = (all - canary).into();
            refs.push(user);
            refs.push(backend.canary(canary));
        }
        Ok(self.with_refs(refs))
    }

    /// The rule before this one that sends requests with the header to the candidate; `None` if nothing here is split.
    pub fn header_rule(&self, rule: usize, ours: &Ours<'_>, header: &Header) -> Result<Option<Value>, String> {
        let split = self.split_refs(rule, ours);
        // Weights are always written out: the API server would add the default, and the next look find a difference.
        let refs: Vec<Value> = match split.as_slice() {
            [] => return Ok(None),
            [(i, ..)] => vec![self.backends[*i].canary(DEFAULT_WEIGHT)],
            many => many.iter().map(|(i, _, own)| self.backends[*i].canary(own.unwrap_or(DEFAULT_WEIGHT))).collect(),
        };
        let mut matches = self.whole.get("matches").and_then(Value::as_array).cloned().unwrap_or_default();
        if matches.is_empty() {
            matches.push(json!({"path": {"type": "PathPrefix", "value": "/"}}));
        }
        for fields in matches.iter_mut().filter_map(Value::as_object_mut) {
            let mut headers = fields.get("headers").and_then(Value::as_array).cloned().unwrap_or_default();
            let same = |h: &Value| h["name"].as_str().is_some_and(|n| n.eq_ignore_ascii_case(&header.name));
            if headers.iter().any(same) {
                return Err(format!(
                    "rule {} of HTTPRoute {} already matches the header {}; choose another name in \
                     spec.traffic.canaryHeader",
                    rule + 1,
                    ours.route,
                    header.name
                ));
            }
            headers.push(json!({"type": "Exact", "name": header.name, "value": header.value}));
            fields.insert("headers".into(), headers.into());
        }
        let mut whole = self.whole.as_object().cloned().unwrap_or_default();
        whole.remove("name"); // names of rules are unique
        whole.insert("backendRefs".into(), refs.into());
        whole.insert("matches".into(), matches.into());
        Ok(Some(whole.into()))
    }

    /// The candidate's share in percent, the highest of its refs. `None`: nothing of ours is here.
    pub fn share(&self) -> Option<u32> {
        // Rounded up: it undoes the rounding down of `split`, and a share is never shown as less than it is.
        let share =
            |part: i64, all: i64| u32::try_from((part * 100 + all - 1).checked_div(all).unwrap_or(0)).unwrap_or(0);
        let all = self.backends.iter().map(Backend::sum).chain(self.strays.iter().map(|s| weight(s))).sum();
        let pairs = self.backends.iter().filter_map(|b| Some(share(weight(b.canary?), b.sum())));
        let strays = self.strays.iter().map(|s| share(weight(s), all));
        pairs.chain(strays).max()
    }

    fn with_refs(&self, refs: Vec<Value>) -> Value {
        let mut whole = self.whole.clone();
        if let Some(old) = whole.get_mut("backendRefs") {
            *old = refs.into();
        }
        whole
    }
}

/// Where the weight of a split ref is remembered.
pub fn key(ours: &Ours<'_>, rule: usize, backend: usize, service: &str) -> String {
    format!("{}/{rule}/{backend}:{service}", ours.route)
}
