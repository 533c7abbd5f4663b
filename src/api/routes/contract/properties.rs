//! Promises on many random routes, one function for each. What is expected is worked out from the API of the kind and the
//! two routes alone, never with the code that is tried.

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::{Map, Value};

use super::model::{Fixture, Kind, Rule, even, rules};
use crate::api::routes::canary_name;

type Outcome = Result<(), TestCaseError>;

fn always<T: std::fmt::Debug>(kind: &Kind, more: impl Strategy<Value = T>, holds: impl Fn(&Value, T) -> Outcome) {
    let mut runner = TestRunner::new(Config { cases: 700, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(rules(), more), |(rules, more): (Vec<Rule>, T)| holds(&kind.route(&rules), more));
    outcome.unwrap_or_else(|e| panic!("{}: {e}", kind.name));
}

fn list<'v>(spec: &'v Value, kind: &Kind) -> &'v [Value] {
    spec[kind.rules].as_array().map_or(&[], Vec::as_slice)
}

fn is_canary(name: &str) -> bool {
    ["shop", "pay"].iter().any(|service| canary_name(service) == name)
}

/// The rules of a split route that are the user's, by their place in his own.
fn of_the_user<'v>(split: &'v Value, kind: &Kind) -> Vec<&'v Value> {
    let ours = |rule: &&Value| {
        let shares = kind.shares(rule);
        !shares.is_empty() && shares.iter().all(|(name, _)| is_canary(name))
    };
    list(split, kind).iter().filter(|rule| !ours(rule)).collect()
}

pub fn shares_are_what_was_asked(kind: &Kind) {
    always(kind, (0_u32..=100, any::<bool>()), |spec, (weight, header)| {
        let f = Fixture::of(kind, spec);
        let Ok(split) = f.try_split(spec, weight, header) else { return Ok(()) };
        let users = of_the_user(&split, kind);
        prop_assert_eq!(users.len(), list(spec, kind).len());
        for (before, after) in list(spec, kind).iter().zip(users) {
            let (before, after) = (kind.shares(before), kind.shares(after));
            let sum = |shares: &[(String, i64)], of: &str| -> i128 {
                shares.iter().filter(|(name, _)| name == of).map(|(_, w)| i128::from(*w)).sum()
            };
            let total = |shares: &[(String, i64)]| shares.iter().map(|(_, w)| i128::from(*w)).sum::<i128>();
            let (had, has) = (total(&before), total(&after));
            prop_assert!(after.iter().all(|(_, w)| *w >= 0));
            prop_assert_eq!(had == 0, has == 0, "never all vanish, never out of nothing");
            for (name, _) in &before {
                let canary = sum(&after, &canary_name(name));
                // The two together have exactly the part of the rule's traffic that the one had.
                prop_assert_eq!((sum(&after, name) + canary) * had, sum(&before, name) * has, "{}: {}", name, split);
                let asked = sum(&before, name) * i128::from(weight) * has;
                prop_assert!(canary * 100 * had <= asked || !["shop", "pay"].contains(&name.as_str()));
                let backends = i128::try_from(after.len()).unwrap();
                let split_it = ["shop", "pay"].contains(&name.as_str()) && had > 0;
                prop_assert!(!split_it || (canary + backends) * 100 * had >= asked, "{}: {}", name, split);
            }
        }
        Ok(())
    });
}

/// The backends without ours, and without the weights of those that may have been split.
fn bare(rule: &Value, kind: &Kind) -> Value {
    let mut rule = rule.clone();
    let Some(backends) = rule.get_mut(kind.backends).and_then(Value::as_array_mut) else { return rule };
    backends.retain(|b| !matches!(kind.named(b), (name, true) if is_canary(name)));
    for backend in backends {
        if matches!(kind.named(backend), ("shop" | "pay", true)) {
            backend.as_object_mut().map(|fields| fields.remove("weight"));
        }
    }
    rule
}

pub fn nothing_else_changes(kind: &Kind) {
    always(kind, (0_u32..=100, any::<bool>()), |spec, (weight, header)| {
        let f = Fixture::of(kind, spec);
        let Ok(split) = f.try_split(spec, weight, header) else { return Ok(()) };
        let outside = |spec: &Value| -> Map<String, Value> {
            spec.as_object().unwrap().clone().into_iter().filter(|(field, _)| field != kind.rules).collect()
        };
        prop_assert_eq!(outside(spec), outside(&split));
        let before: Vec<Value> = list(spec, kind).iter().map(|rule| bare(rule, kind)).collect();
        let after: Vec<Value> = of_the_user(&split, kind).into_iter().map(|rule| bare(rule, kind)).collect();
        prop_assert_eq!(serde_json::to_string(&after).unwrap(), serde_json::to_string(&before).unwrap());
        for rule in list(&split, kind) {
            let backends = rule[kind.backends].as_array().map_or(&[][..], Vec::as_slice);
            for pair in backends.windows(2).filter(|pair| is_canary(kind.named(&pair[1]).0)) {
                if is_canary(kind.named(&pair[0]).0) {
                    continue; // a header rule
                }
                let text = |b: &Value| {
                    let mut b = b.clone();
                    b["weight"] = 0.into();
                    b.to_string()
                };
                let (user, name) = (&pair[0], kind.named(&pair[0]).0);
                prop_assert_eq!(
                    text(&pair[1]),
                    text(user).replacen(name, &canary_name(name), 1),
                    "ours is a copy of his"
                );
            }
        }
        Ok(())
    });
}

pub fn the_header_rule_is_exact(kind: &Kind) {
    always(kind, 0_u32..=100, |spec, weight| {
        let f = Fixture::of(kind, spec);
        let Ok(split) = f.try_split(spec, weight, true) else { return Ok(()) };
        let mut rules = list(&split, kind).iter();
        for user in list(spec, kind) {
            let shares = kind.shares(user);
            let any = shares.iter().any(|(name, weight)| ["shop", "pay"].contains(&name.as_str()) && *weight > 0);
            let mut next = rules.next().unwrap();
            if any {
                let ours = kind.shares(next);
                prop_assert!(ours.iter().all(|(name, _)| is_canary(name)) && !ours.is_empty(), "{}", next);
                let count = |rule: &Value| rule[kind.matches].as_array().map_or(0, Vec::len);
                prop_assert_eq!(count(next), count(user).max(1));
                for one in next[kind.matches].as_array().unwrap() {
                    prop_assert!(one["headers"].to_string().to_lowercase().contains("x-canary"), "{}", one);
                }
                next = rules.next().unwrap();
            }
            prop_assert_eq!(&user[kind.matches], &next[kind.matches], "his rule follows, and matches what it did");
        }
        prop_assert_eq!(rules.next(), None);
        Ok(())
    });
}

pub fn splitting_is_idempotent_and_forgets(kind: &Kind) {
    always(kind, (0_u32..=100, 0_u32..=100, any::<bool>()), |spec, (a, b, header)| {
        let f = Fixture::of(kind, spec);
        let Ok(direct) = f.try_split(spec, b, header) else { return Ok(()) };
        let before = f.try_split(spec, a, !header).unwrap_or_else(|_| spec.clone());
        prop_assert_eq!(&f.split(&before, b, header), &direct);
        prop_assert_eq!(&f.split(&direct, b, header), &direct);
        if direct != *spec {
            prop_assert_eq!(f.read(&direct), Some(even(b, header)));
        }
        prop_assert_eq!(&f.reading(&direct).weights, &f.weights);
        Ok(())
    });
}

pub fn restoring_gives_the_route_back(kind: &Kind) {
    always(kind, vec((0_u32..=100, any::<bool>()), 1..4), |spec, weights| {
        let f = Fixture::of(kind, spec);
        let mut now = spec.clone();
        for (weight, header) in weights {
            now = f.try_split(&now, weight, header).unwrap_or(now);
            prop_assert_eq!(f.restore(&now).to_string(), spec.to_string());
        }
        Ok(())
    });
}

pub fn taking_away_never_fails(kind: &Kind) {
    always(kind, (0_u32..=100, any::<bool>(), 0_usize..6), |spec, (weight, header, lost)| {
        let f = Fixture::of(kind, spec);
        let mut now = f.try_split(spec, weight, header).unwrap_or_else(|_| spec.clone());
        // Somebody takes something out meanwhile.
        if let Some(rule) = now[kind.rules].as_array_mut().and_then(|rules| rules.get_mut(lost % 3))
            && let Some(backends) = rule.get_mut(kind.backends).and_then(Value::as_array_mut)
            && lost / 3 < backends.len()
        {
            backends.remove(lost / 3);
        }
        let taken = f.split(&now, 0, false);
        prop_assert!(f.read(&taken).is_none_or(|split| split.weight == 0 && !split.header), "{}", taken);
        let restored = f.restore(&now);
        prop_assert_eq!(f.read(&restored), None, "{}", restored);
        Ok(())
    });
}
