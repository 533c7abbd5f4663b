//! What a split may change in a route, what it must not, and that it can be taken back.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::json;

use super::{http_route::HttpRoute, *};

fn header() -> Header {
    Header { name: "x-canary".into(), value: "true".into() }
}

/// Our side of route `web`, whose Services `shop` and `pay` are split.
struct Fixture {
    services: Vec<String>,
    header: Header,
    weights: BTreeMap<String, i32>,
}

impl Fixture {
    fn new() -> Self {
        Self { services: vec!["shop".into(), "pay".into()], header: header(), weights: BTreeMap::new() }
    }

    /// Remembers the user's weights, as is done before the first split.
    fn of(spec: &Value) -> Self {
        let mut fixture = Self::new();
        fixture.weights = HttpRoute.read(spec, &fixture.ours()).weights;
        fixture
    }

    fn ours(&self) -> Ours<'_> {
        Ours {
            namespace: "shop-ns",
            route: "web",
            services: &self.services,
            header: Some(&self.header),
            weights: &self.weights,
        }
    }

    fn split(&self, spec: &Value, weight: u32, header: bool) -> Value {
        HttpRoute.split(spec, &self.ours(), weight, header).unwrap()
    }

    fn restore(&self, spec: &Value) -> Value {
        HttpRoute.restore(spec, &self.ours())
    }

    fn read(&self, spec: &Value) -> Option<Split> {
        HttpRoute.read(spec, &self.ours()).split
    }

    fn problem(&self, spec: &Value) -> String {
        HttpRoute.read(spec, &self.ours()).problem.unwrap()
    }
}

fn refs(spec: &Value, rule: usize) -> Vec<(String, i64)> {
    let refs = spec["rules"][rule]["backendRefs"].as_array().unwrap();
    refs.iter().map(|r| (r["name"].as_str().unwrap().into(), r["weight"].as_i64().unwrap_or(1))).collect()
}

fn even(weight: u32, header: bool) -> Split {
    Split { weight, header, uneven: false }
}

#[test]
fn a_service_alone_is_split_in_percent() {
    let spec = json!({"rules": [{"backendRefs": [{"name": "shop", "port": 80}]}]});
    let f = Fixture::of(&spec);
    for weight in [0, 1, 30, 99, 100] {
        let split = f.split(&spec, weight, false);
        let w = i64::from(weight);
        assert_eq!(refs(&split, 0), [("shop".into(), 100 - w), ("shop-canary".into(), w)]);
        assert_eq!(split["rules"][0]["backendRefs"][1]["port"], 80);
        assert_eq!(f.read(&split), Some(even(weight, false)));
    }
    assert_eq!(f.read(&spec), None);
}

#[test]
fn beside_other_backends_the_users_weight_stays_the_sum() {
    let other = json!({"name": "legacy", "port": 80, "weight": 700});
    let spec = json!({"rules": [{"backendRefs": [{"name": "shop", "port": 80, "weight": 305}, other]}]});
    let f = Fixture::of(&spec);
    let split = f.split(&spec, 30, true);
    assert_eq!(refs(&split, 0), [("shop-canary".into(), 1)], "the header rule is the candidate's alone");
    assert_eq!(refs(&split, 1), [("shop".into(), 214), ("shop-canary".into(), 91), ("legacy".into(), 700)]);
    assert_eq!(f.read(&split), Some(even(30, true)));
    assert_eq!(f.restore(&split), spec);
}

#[test]
fn too_small_a_weight_beside_others_is_refused_with_the_cure_but_never_when_traffic_is_taken_away() {
    let spec =
        json!({"rules": [{"backendRefs": [{"name": "shop", "port": 80, "weight": 9}, {"name": "x", "port": 80}]}]});
    let f = Fixture::of(&spec);
    assert_eq!(
        f.problem(&spec),
        "rule 1 of HTTPRoute web gives Service shop the weight 9 beside other backends, which cannot be split by \
         percent; multiply all weights of this rule by 100"
    );
    assert!(HttpRoute.split(&spec, &f.ours(), 30, false).is_err());
    assert_eq!(refs(&f.split(&spec, 0, false), 0), [("shop".into(), 9), ("shop-canary".into(), 0), ("x".into(), 1)]);
}

#[test]
fn a_backend_without_traffic_is_left_alone() {
    let spec = json!({"rules": [
        {"backendRefs": [{"name": "shop", "port": 80, "weight": 0}, {"name": "pay", "port": 80, "weight": 5}]}
    ]});
    let f = Fixture::of(&spec);
    let split = f.split(&spec, 40, false);
    assert_eq!(refs(&split, 0), [("shop".into(), 0), ("pay".into(), 60), ("pay-canary".into(), 40)]);
    assert_eq!(f.restore(&split), spec);
}

#[test]
fn only_services_of_the_same_namespace_are_split() {
    for foreign in [
        json!({"name": "shop", "port": 80, "namespace": "elsewhere"}),
        json!({"name": "shop", "port": 80, "kind": "ServiceImport", "group": "multicluster.x-k8s.io"}),
    ] {
        let spec = json!({"rules": [{"backendRefs": [foreign]}]});
        let problem = Fixture::of(&spec).problem(&spec);
        assert!(problem.starts_with("HTTPRoute web sends no traffic to Service shop, pay; name a route"), "{problem}");
    }
    let spelled = json!({"name": "shop", "port": 80, "group": "", "kind": "Service", "namespace": "shop-ns"});
    let spec = json!({"rules": [{"backendRefs": [spelled]}]});
    assert_eq!(Fixture::of(&spec).read(&Fixture::of(&spec).split(&spec, 7, true)), Some(even(7, true)));
}

#[test]
fn the_header_rule_copies_all_but_the_name_and_stands_before_its_rule() {
    let spec = json!({"rules": [
        {"matches": [{"path": {"type": "Exact", "value": "/a"}, "headers": [{"name": "tenant", "value": "x"}]}, {"method": "GET"}],
         "name": "main", "filters": [{"type": "RequestMirror"}], "timeouts": {"request": "3s"},
         "backendRefs": [{"name": "shop", "port": 80, "filters": [{"type": "CORS"}]}]},
        {"backendRefs": [{"name": "other", "port": 80}]},
        {"backendRefs": [{"name": "pay", "port": 81}]}
    ]});
    let f = Fixture::of(&spec);
    let split = f.split(&spec, 0, true);
    let own = json!({"type": "Exact", "name": "x-canary", "value": "true"});
    assert_eq!(
        split["rules"][0],
        json!({"matches": [
            {"path": {"type": "Exact", "value": "/a"}, "headers": [{"name": "tenant", "value": "x"}, own]},
            {"method": "GET", "headers": [own]}],
         "filters": [{"type": "RequestMirror"}], "timeouts": {"request": "3s"},
         "backendRefs": [{"name": "shop-canary", "port": 80, "filters": [{"type": "CORS"}], "weight": 1}]})
    );
    assert_eq!(split["rules"][1]["name"], "main");
    assert_eq!(split["rules"][2], spec["rules"][1]);
    assert_eq!(split["rules"][3]["matches"], json!([{"path": {"type": "PathPrefix", "value": "/"}, "headers": [own]}]));
    assert_eq!(split["rules"].as_array().unwrap().len(), 5);
    assert_eq!(f.read(&split), Some(even(0, true)));
    assert_eq!(f.read(&f.split(&split, 0, false)), Some(even(0, false)));
}

#[test]
fn a_header_the_user_matches_already_and_limits_of_the_api_are_refused() {
    let backend = json!([{"name": "shop", "port": 80}]);
    let clash =
        json!({"rules": [{"matches": [{"headers": [{"name": "X-Canary", "value": "no"}]}], "backendRefs": backend}]});
    let problem = Fixture::of(&clash).problem(&clash);
    assert!(problem.contains("already matches the header x-canary; choose another name"), "{problem}");

    let rule = json!({"matches": [{"method": "GET"}], "backendRefs": backend});
    let many_rules = json!({"rules": vec![rule; 9]});
    let problem = Fixture::of(&many_rules).problem(&many_rules);
    assert!(problem.contains("would have 18 rules") && problem.contains("16 are allowed"), "{problem}");

    let rule = json!({"matches": vec![json!({"method": "GET"}); 33], "backendRefs": backend});
    let many_matches = json!({"rules": [rule, rule]});
    let problem = Fixture::of(&many_matches).problem(&many_matches);
    assert!(problem.contains("would have 132 matches"), "{problem}");
}

#[test]
fn foreign_edits_show_as_uneven_and_are_never_shown_as_less_than_they_are() {
    let rule = |port: u16| json!({"backendRefs": [{"name": "shop", "port": port}]});
    let spec = json!({"rules": [rule(80), rule(81)]});
    let f = Fixture::of(&spec);
    let good = f.split(&spec, 30, true);
    let changed = |path: &str, value: Value| {
        let mut spec = good.clone();
        *spec.pointer_mut(path).unwrap() = value;
        f.read(&spec).unwrap()
    };
    let uneven = |weight, header| Split { weight, header, uneven: true };
    assert_eq!(changed("/rules/1/backendRefs/1/weight", 70.into()), uneven(50, true), "70 of 140");
    assert_eq!(changed("/rules/1", rule(80)), uneven(30, true), "one rule as the user wrote it");
    assert_eq!(changed("/rules/0/matches/0/headers/0/value", "no".into()), uneven(30, true));
    assert_eq!(changed("/rules/0", rule(80)), uneven(30, true));
    assert_eq!(changed("/rules/1/backendRefs/0/name", "x".into()), uneven(30, true));
    assert!(changed("/rules/1/backendRefs/1/port", 99.into()).uneven);
    for (path, value) in
        [("/rules/1/backendRefs/1/weight", json!(70)), ("/rules/0/matches/0/headers/0/value", json!("no"))]
    {
        let mut spec = good.clone();
        *spec.pointer_mut(path).unwrap() = value;
        assert_eq!(f.split(&spec, 30, true), good, "healed by the same write");
    }
}

#[test]
fn what_the_user_edits_meanwhile_is_kept() {
    let spec = json!({"hostnames": ["a"], "rules": [{"backendRefs": [{"name": "shop", "port": 80, "weight": 5}]}]});
    let f = Fixture::of(&spec);
    let mut split = f.split(&spec, 30, true);
    split["hostnames"] = json!(["b"]);
    let added = json!({"matches": [{"path": {"value": "/new"}}], "backendRefs": [{"name": "pay", "port": 1}]});
    split["rules"].as_array_mut().unwrap().insert(0, added.clone());
    // The remembered position fits no more: an even split alone in its rule leaves no weight.
    let expected = json!({"hostnames": ["b"], "rules": [added, {"backendRefs": [{"name": "shop", "port": 80}]}]});
    assert_eq!(f.restore(&split), expected);

    let mut split = f.split(&spec, 30, true);
    split["rules"][1]["backendRefs"].as_array_mut().unwrap().push(json!({"name": "legacy", "port": 1, "weight": 100}));
    let expected = [("shop".into(), 100), ("legacy".into(), 100)];
    assert_eq!(refs(&f.restore(&split), 0), expected, "whoever added it saw the weights 70 and 30");
}

#[test]
fn a_weight_of_ours_switched_off_by_hand_comes_back_to_the_users_own() {
    let spec = json!({"rules": [{"backendRefs": [
        {"name": "shop", "port": 80, "weight": 100}, {"name": "x", "port": 80, "weight": 900}]}]});
    let f = Fixture::of(&spec);
    let mut split = f.split(&spec, 40, false);
    split["rules"][0]["backendRefs"][1]["weight"] = 0.into();
    assert_eq!(f.restore(&split), spec);
    assert_eq!(f.split(&split, 40, false), f.split(&spec, 40, false));
}

#[test]
fn traffic_can_be_taken_away_from_a_route_that_no_longer_names_the_service() {
    let f = Fixture::new();
    let left = json!({"rules": [{"backendRefs": [{"name": "x", "port": 80}, {"name": "shop-canary", "port": 80, "weight": 3}]}]});
    assert_eq!(f.read(&left), Some(Split { weight: 75, header: false, uneven: true }));
    assert_eq!(refs(&f.split(&left, 0, false), 0), [("x".into(), 1)]);
    assert!(HttpRoute.split(&left, &f.ours(), 5, false).is_err());
}

#[test]
fn odd_input_is_survived() {
    let f = Fixture::new();
    for odd in [
        json!(null),
        json!({}),
        json!({"rules": 1}),
        json!({"rules": [null, 1, "x", {"backendRefs": 1}, {"backendRefs": [null, 7, {"name": 3}]}]}),
        json!({"rules": [{"matches": [null, 3], "backendRefs": [{"name": "shop", "weight": i64::MAX}, {"name": "shop-canary", "weight": -1}]}]}),
        json!({"rules": [{"matches": 4, "backendRefs": [{"name": "shop", "weight": "many"}, {"name": "x", "weight": u64::MAX}]}]}),
    ] {
        let reading = HttpRoute.read(&odd, &f.ours());
        for weight in [0, 50, 100, 101] {
            let split = HttpRoute.split(&odd, &f.ours(), weight, true).unwrap_or(odd.clone());
            if reading.split.is_none() {
                f.read(&split);
            }
        }
        f.restore(&odd);
    }
}

fn backend() -> impl Strategy<Value = Value> {
    let name = select(vec!["shop", "pay", "other", "legacy"]);
    let weight = option::of(prop_oneof![Just(0), 1..100, 100..2000, Just(1_000_000)]);
    let more = option::of(select(vec![
        json!({"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}}]}),
        json!({"future": {"deep": [1, {"x": null}]}}),
        json!({"namespace": "elsewhere"}),
        json!({"group": "", "kind": "Service"}),
        json!({"group": "example.dev", "kind": "Other"}),
    ]));
    (name, 80..83, weight, more).prop_map(|(name, port, weight, more)| {
        let mut backend = json!({"name": name, "port": port});
        if let Some(weight) = weight {
            backend["weight"] = weight.into();
        }
        merge(backend, more)
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let one_match = select(vec![
        json!({"path": {"type": "PathPrefix", "value": "/a"}}),
        json!({"method": "POST", "headers": [{"type": "Exact", "name": "tenant", "value": "x"}]}),
        json!({"future": true}),
    ]);
    let more = option::of(select(vec![
        json!({"name": "main"}),
        json!({"timeouts": {"request": "1s"}, "retry": {"codes": [503]}}),
        json!({"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shop", "port": 80}}}]}),
    ]));
    (option::of(vec(one_match, 0..3)), option::of(vec(backend(), 0..4)), more).prop_map(|(matches, backends, more)| {
        let mut rule = json!({});
        if let Some(matches) = matches {
            rule["matches"] = matches.into();
        }
        if let Some(backends) = backends {
            rule["backendRefs"] = backends.into();
        }
        merge(rule, more)
    })
}

fn route() -> impl Strategy<Value = Value> {
    (vec(rule(), 1..5), option::of(Just(json!({"future": [1, 2], "hostnames": ["h"]}))))
        .prop_map(|(rules, more)| merge(json!({"parentRefs": [{"name": "gw"}], "rules": rules}), more))
}

fn merge(mut into: Value, more: Option<Value>) -> Value {
    if let Some(Value::Object(more)) = more {
        into.as_object_mut().unwrap().extend(more);
    }
    into
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn restoring_a_split_gives_the_route_back(spec in route(), weights in vec((0_u32..=100, any::<bool>()), 1..4)) {
        let f = Fixture::of(&spec);
        let mut now = spec.clone();
        for (weight, header) in weights {
            now = HttpRoute.split(&now, &f.ours(), weight, header).unwrap_or(now);
            prop_assert_eq!(&f.restore(&now), &spec);
        }
    }

    #[test]
    fn a_split_does_not_depend_on_the_one_before_and_reads_back(spec in route(), a in 0_u32..=100, b in 0_u32..=100, header: bool) {
        let f = Fixture::of(&spec);
        let Ok(direct) = HttpRoute.split(&spec, &f.ours(), b, header) else { return Ok(()) };
        let before = HttpRoute.split(&spec, &f.ours(), a, !header).unwrap_or(spec.clone());
        prop_assert_eq!(&f.split(&before, b, header), &direct);
        prop_assert_eq!(&f.split(&direct, b, header), &direct);
        if direct != spec {
            prop_assert_eq!(f.read(&direct), Some(even(b, header)));
        }
        prop_assert_eq!(HttpRoute.read(&direct, &f.ours()).weights, f.weights);
    }

    #[test]
    fn weights_sum_up_and_never_all_vanish(spec in route(), weight in 0_u32..=100) {
        let f = Fixture::of(&spec);
        let Ok(split) = HttpRoute.split(&spec, &f.ours(), weight, false) else { return Ok(()) };
        for (i, rule) in spec["rules"].as_array().unwrap().iter().enumerate() {
            if rule.get("backendRefs").is_none() { continue }
            let total = |spec: &Value| refs(spec, i).iter().map(|(_, w)| *w).sum::<i64>();
            let (before, after) = (total(&spec), total(&split));
            prop_assert!(refs(&split, i).iter().all(|(_, w)| *w >= 0));
            prop_assert!(after == before || after == 100, "{before} became {after}");
            prop_assert_eq!(before == 0, after == 0);
        }
    }
}
