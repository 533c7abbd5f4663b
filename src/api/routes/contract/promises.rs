//! Examples, one function for each promise.

use serde_json::{Value, json};

use super::model::{Backend, Fixture, Kind, Manner, Rule, even, plain, rule, weighing};
use crate::api::routes::Split;

fn named(shares: &[(&str, i64)]) -> Vec<(String, i64)> {
    shares.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

pub fn one_backend_beside_each(kind: &Kind) {
    let spec = kind.route(&[rule(&[plain("shop")])]);
    let f = Fixture::of(kind, &spec);
    assert_eq!(f.read(&spec), None);
    for weight in [0, 1, 30, 99, 100] {
        let split = f.split(&spec, weight, false);
        let w = i64::from(weight);
        assert_eq!(kind.shares(&split[kind.rules][0]), named(&[("shop", 100 - w), ("shop-canary", w)]));
        assert_eq!(f.read(&split), Some(even(weight, false)));
    }
    let spec = kind.route(&[rule(&[weighing("shop", 305), weighing("legacy", 700)])]);
    let f = Fixture::of(kind, &spec);
    let split = f.split(&spec, 30, true);
    let shares = |i: usize| kind.shares(&split[kind.rules][i]);
    assert_eq!(shares(1), named(&[("shop", 214), ("shop-canary", 91), ("legacy", 700)]), "his weight is the sum");
    assert_eq!(shares(0).len(), 1, "the header rule is the candidate's alone: {split}");
    assert_eq!(f.read(&split), Some(even(30, true)));
    assert_eq!(f.restore(&split), spec);
}

pub fn a_backend_without_traffic_stays_alone(kind: &Kind) {
    let spec = kind.route(&[rule(&[weighing("shop", 0), weighing("pay", 5)])]);
    let f = Fixture::of(kind, &spec);
    let split = f.split(&spec, 40, false);
    assert_eq!(kind.shares(&split[kind.rules][0]), named(&[("shop", 0), ("pay", 60), ("pay-canary", 40)]));
    assert_eq!(f.restore(&split), spec);

    // One alone, whatever is written: it has everything where the API says so, and else what is written.
    for weight in [None, Some(0), Some(7), Some(100)] {
        let spec = kind.route(&[rule(&[Backend { weight, ..plain("shop") }])]);
        let f = Fixture::of(kind, &spec);
        let had = kind.shares(&spec[kind.rules][0])[0].1 > 0;
        assert_eq!(f.problem(&spec).is_empty(), had, "{weight:?}");
        let split = f.split(&spec, 0, false);
        assert_eq!(kind.shares(&split[kind.rules][0]).len(), if had { 2 } else { 1 }, "{split}");
        assert_eq!(f.restore(&split), spec);
    }
    // Without a weight beside one that has one.
    let spec = kind.route(&[rule(&[plain("shop"), weighing("pay", 500)])]);
    let f = Fixture::of(kind, &spec);
    let split = f.split(&spec, 100, false);
    let had = kind.shares(&spec[kind.rules][0])[0].1 > 0;
    assert_eq!(kind.shares(&split[kind.rules][0]).iter().any(|(name, _)| name == "shop-canary"), had);
    assert_eq!(f.restore(&split), spec);
}

pub fn two_services_and_two_ports_are_told_apart(kind: &Kind) {
    let other_port = Backend { port: 81, ..weighing("shop", 200) };
    let other = Backend { manner: Manner::Rich, ..weighing("pay", 300) };
    let spec =
        kind.route(&[rule(&[weighing("shop", 100), other_port, other, weighing("x", 1)]), rule(&[plain("pay")])]);
    let f = Fixture::of(kind, &spec);
    let split = f.split(&spec, 10, false);
    let expected = named(&[
        ("shop", 90),
        ("shop-canary", 10),
        ("shop", 180),
        ("shop-canary", 20),
        ("pay", 270),
        ("pay-canary", 30),
        ("x", 1),
    ]);
    assert_eq!(kind.shares(&split[kind.rules][0]), expected);
    assert_eq!(kind.shares(&split[kind.rules][1]), named(&[("pay", 90), ("pay-canary", 10)]));
    assert_eq!(f.restore(&split), spec);

    // Of two for one Service the one that was asked for is beside each: a canary's port is that of its neighbour.
    let mut moved = split.clone();
    moved[kind.rules][0][kind.backends].as_array_mut().unwrap().swap(1, 3);
    assert!(f.read(&moved).unwrap().uneven, "{moved}");
    assert_eq!(f.split(&moved, 10, false), split);
}

pub fn only_services_of_the_namespace_are_split(kind: &Kind) {
    let elsewhere = Backend { manner: Manner::Elsewhere, ..plain("shop") };
    let spec = kind.route(&[rule(std::slice::from_ref(&elsewhere))]);
    let f = Fixture::of(kind, &spec);
    let says = format!("{} web sends no traffic to Service shop, pay; name a route", kind.name);
    assert!(f.problem(&spec).starts_with(&says), "{}", f.problem(&spec));
    let mixed = kind.route(&[rule(&[Backend { weight: Some(500), ..elsewhere }, weighing("shop", 500)])]);
    let f = Fixture::of(kind, &mixed);
    let split = f.split(&mixed, 20, true);
    let expected = named(&[("shop elsewhere", 500), ("shop", 400), ("shop-canary", 100)]);
    assert_eq!(kind.shares(&split[kind.rules][1]), expected);

    let spelled = kind.route(&[rule(&[Backend { manner: Manner::Spelled, ..plain("shop") }])]);
    let f = Fixture::of(kind, &spelled);
    let split = f.split(&spelled, 7, true);
    assert_eq!(f.read(&split), Some(even(7, true)));
    let text = split.to_string();
    assert!(text.contains("shop-canary") && !text.contains("shop-canary.shop-canary"), "{text}");
}

pub fn requests_with_the_header_have_a_rule_of_their_own(kind: &Kind) {
    let matched =
        Rule { matches: Some(vec![0, 1]), rich: true, ..rule(&[Backend { manner: Manner::Rich, ..plain("shop") }]) };
    let spec = kind.route(&[matched, rule(&[plain("other")]), rule(&[plain("pay")])]);
    let f = Fixture::of(kind, &spec);
    let split = f.split(&spec, 0, true);
    let rules = split[kind.rules].as_array().unwrap();
    assert_eq!(rules.len(), 5);
    assert_eq!(rules[0].get("name"), None, "names of rules are unique");
    assert_eq!((&rules[1]["name"], &rules[2]), (&json!("main"), &spec[kind.rules][1]));
    for (field, value) in spec[kind.rules][0].as_object().unwrap() {
        let ours = ["name", kind.backends, kind.matches].contains(&field.as_str());
        assert!(ours || rules[0][field] == *value, "{field}: {}", rules[0]);
    }
    assert_eq!(kind.shares(&rules[0]).iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["shop-canary"]);
    assert_eq!(rules[0][kind.matches].as_array().unwrap().len(), 2, "alternatives stay alternatives");
    for one in rules[0][kind.matches].as_array().unwrap().iter().chain(rules[3][kind.matches].as_array().unwrap()) {
        let text = one["headers"].to_string().to_lowercase();
        assert!(text.contains("x-canary") && text.contains("\"true\"") && text.contains("exact"), "{one}");
    }
    assert_eq!(rules[3][kind.matches].as_array().unwrap().len(), 1, "a rule for everything gets one");
    assert_eq!(f.read(&split), Some(even(0, true)));
    assert_eq!(f.read(&f.split(&split, 0, false)), Some(even(0, false)));
}

pub fn what_the_user_edits_meanwhile_is_kept(kind: &Kind) {
    let spec = kind.route(&[rule(&[weighing("shop", 5)])]);
    let f = Fixture::of(kind, &spec);
    let mut split = f.split(&spec, 30, true);
    split["future"] = json!("edited");
    let added = kind.rule(&Rule { matches: Some(vec![0]), ..rule(&[plain("pay")]) });
    split[kind.rules].as_array_mut().unwrap().insert(0, added.clone());
    // The remembered position fits no more: an even split alone in its rule leaves no weight.
    let mut expected = kind.route(&[rule(&[plain("shop")])]);
    expected["future"] = json!("edited");
    expected[kind.rules].as_array_mut().unwrap().insert(0, added);
    assert_eq!(f.restore(&split), expected);

    let mut split = f.split(&spec, 30, true);
    let legacy = kind.backend(&weighing("legacy", 100));
    split[kind.rules][1][kind.backends].as_array_mut().unwrap().push(legacy);
    let restored = f.restore(&split);
    let expected = named(&[("shop", 100), ("legacy", 100)]);
    assert_eq!(kind.shares(&restored[kind.rules][0]), expected, "whoever added it saw the weights 70 and 30");

    let mut split = f.split(&spec, 30, false);
    let user = split[kind.rules][0][kind.backends][0].as_object_mut().unwrap();
    user.insert("edited".into(), json!({"deep": [1]}));
    let healed = f.split(&split, 30, false);
    for at in [0, 1] {
        assert_eq!(healed[kind.rules][0][kind.backends][at]["edited"], json!({"deep": [1]}), "{healed}");
    }
}

pub fn foreign_edits_of_our_entries_show_and_heal(kind: &Kind) {
    let two = [rule(&[plain("shop")]), rule(&[Backend { port: 81, ..plain("shop") }])];
    let spec = kind.route(&two);
    let f = Fixture::of(kind, &spec);
    let good = f.split(&spec, 30, true);
    let at = |rule: usize, backend: usize| format!("/{}/{rule}/{}/{backend}", kind.rules, kind.backends);
    let uneven = |weight, header| Split { weight, header, uneven: true };
    let edits: [(String, Value, Split, bool); 5] = [
        (at(1, 1) + "/weight", json!(70), uneven(50, true), true), // 70 of 140
        (at(1, 1) + "/weight", json!(0), uneven(30, true), true),
        (format!("/{}/0/{}/0/headers", kind.rules, kind.matches), json!({}), uneven(30, true), true),
        (format!("/{}/0", kind.rules), kind.rule(&two[0]), uneven(30, true), false),
        (format!("/{}/1", kind.rules), kind.rule(&two[0]), uneven(30, true), true),
    ];
    for (path, value, seen, heals) in edits {
        let mut spec = good.clone();
        *spec.pointer_mut(&path).unwrap() = value;
        assert_eq!(f.read(&spec), Some(seen), "{path}: {spec}");
        if heals {
            assert_eq!(f.split(&spec, 30, true), good, "healed by the same write: {path}");
        }
    }
    // With all traffic on the candidate, the user's own entry says 0: taking ours away must not leave it so.
    let alone = kind.route(&two[..1]);
    let full = Fixture::of(kind, &alone).split(&alone, 100, false);
    for weight in [None, Some(5), Some(400)] {
        let spec = kind.route(&[rule(&[Backend { weight, ..plain("shop") }])]);
        let f = Fixture::of(kind, &spec);
        let mut moved = full.clone();
        let ours = moved[kind.rules][0][kind.backends].as_array_mut().unwrap().pop().unwrap();
        moved[kind.rules][0][kind.backends].as_array_mut().unwrap().insert(0, ours);
        assert_eq!(f.split(&moved, 0, false), f.split(&spec, 0, false), "{moved}");
        assert_eq!(f.restore(&moved), spec);
    }

    let mut gone = good.clone();
    gone[kind.rules][1][kind.backends].as_array_mut().unwrap().remove(1);
    assert!(f.read(&gone).unwrap().uneven);
    let mut other_port = good.clone();
    other_port[kind.rules][1][kind.backends][1] = good[kind.rules][3][kind.backends][1].clone();
    assert!(f.read(&other_port).unwrap().uneven);
}

pub fn what_cannot_be_split_says_why_and_what_to_do(kind: &Kind) {
    let small = kind.route(&[rule(&[plain("other")]), rule(&[weighing("shop", 9), weighing("x", 1)])]);
    let f = Fixture::of(kind, &small);
    let says = format!(
        "rule 2 of {} web gives Service shop the weight 9 beside other backends, which cannot be split by percent; \
         multiply all weights of this rule by 100",
        kind.name
    );
    assert_eq!(f.problem(&small), says);
    assert_eq!(f.try_split(&small, 30, false), Err(says));
    let none = f.split(&small, 0, false);
    assert_eq!(kind.shares(&none[kind.rules][1]), named(&[("shop", 9), ("shop-canary", 0), ("x", 1)]));

    for spec in [kind.route(&[rule(&[plain("other")])]), kind.route(&[]), json!({})] {
        let problem = Fixture::of(kind, &spec).problem(&spec);
        let says = format!("{} web sends no traffic to Service shop, pay; name a route that does in", kind.name);
        assert!(problem.starts_with(&says), "{problem}");
        assert!(Fixture::of(kind, &spec).try_split(&spec, 1, false).is_err());
        assert_eq!(Fixture::of(kind, &spec).split(&spec, 0, false), spec, "nothing to take away");
    }

    // What was made with our header is what a user would have made.
    let spec = kind.route(&[rule(&[plain("shop")])]);
    let split = f.split(&spec, 0, true);
    let mut his = spec.clone();
    his[kind.rules][0][kind.matches] = split[kind.rules][0][kind.matches].clone();
    let problem = f.problem(&his);
    let says = format!("rule 1 of {} web already matches the header X-Canary; choose another name", kind.name);
    assert!(problem.starts_with(&says), "{problem}");
}

pub fn a_stray_of_ours_can_be_taken_away(kind: &Kind) {
    let stray = kind.route(&[rule(&[weighing("x", 1), weighing("shop-canary", 3)])]);
    let f = Fixture::of(kind, &stray);
    assert_eq!(f.read(&stray), Some(Split { weight: 75, header: false, uneven: true }));
    assert_eq!(kind.shares(&f.split(&stray, 0, false)[kind.rules][0])[0].0, "x");
    assert_eq!(f.split(&stray, 0, false)[kind.rules][0][kind.backends].as_array().unwrap().len(), 1);
    assert!(f.try_split(&stray, 5, false).is_err());
    let alone = kind.route(&[rule(&[weighing("shop-canary", 3)]), rule(&[plain("x")])]);
    assert_eq!(f.restore(&alone), kind.route(&[rule(&[plain("x")])]), "a rule that sends to it alone is ours");
}

pub fn odd_input_is_survived(kind: &Kind) {
    let (rules, backends, matches) = (kind.rules, kind.backends, kind.matches);
    let backend = |weight: Value| {
        let mut one = kind.backend(&plain("shop"));
        one["weight"] = weight;
        one
    };
    let canary = |weight: i64| kind.backend(&weighing("shop-canary", weight));
    for odd in [
        json!(null),
        json!(7),
        json!({}),
        json!({rules: 1}),
        json!({rules: [null, 1, "x", {backends: 1}, {backends: [null, 7, {"name": 3}, {"destination": 4}, {"destination": {"host": 5}}]}]}),
        json!({rules: [{matches: [null, 3], backends: [backend(json!(i64::MAX)), canary(-1)]}]}),
        json!({rules: [{matches: 4, backends: [backend(json!("many")), backend(json!(u64::MAX))]}]}),
        json!({rules: [{matches: [{"headers": 4}], backends: [backend(json!(-5)), canary(i64::MIN)]}], "tcp": 1, "tls": [null, {"route": 3}]}),
    ] {
        let f = Fixture::of(kind, &odd);
        for weight in [0, 50, 100, 101, u32::MAX] {
            for header in [false, true] {
                f.reading(&f.try_split(&odd, weight, header).unwrap_or_else(|_| odd.clone()));
            }
        }
        f.restore(&odd);
    }
}
