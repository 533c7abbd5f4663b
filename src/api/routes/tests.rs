//! What one kind of route has of its own. What all of them promise: `contract`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{gateway_api::HTTP_ROUTE, virtual_service::VirtualService, *};

/// Our side of route `web`, whose Services `shop` and `pay` are split.
struct Fixture {
    kind: &'static dyn RouteKind,
    services: Vec<String>,
    header: Header,
    weights: BTreeMap<String, i32>,
}

impl Fixture {
    /// Remembers the user's weights, as is done before the first split.
    fn of(kind: &'static dyn RouteKind, spec: &Value) -> Self {
        let header = Header { name: "X-Canary".into(), value: "true".into() };
        let services = vec!["shop".into(), "pay".into()];
        let mut fixture = Self { kind, services, header, weights: BTreeMap::new() };
        fixture.weights = kind.read(spec, &fixture.ours()).weights;
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
        self.kind.split(spec, &self.ours(), weight, header).unwrap()
    }

    fn restore(&self, spec: &Value) -> Value {
        self.kind.restore(spec, &self.ours())
    }

    fn problem(&self, spec: &Value) -> String {
        self.kind.read(spec, &self.ours()).problem.unwrap()
    }
}

#[test]
fn a_reference_finds_its_kind_by_group_and_kind() {
    let found = |group: &str, name: &str| {
        let route = RouteRef { group: group.into(), kind: name.into(), name: "web".into() };
        kind(&route).map(|kind| kind.resource().plural)
    };
    let gateway = "gateway.networking.k8s.io";
    assert_eq!(found(gateway, "HTTPRoute").as_deref(), Some("httproutes"));
    assert_eq!(found(gateway, "GRPCRoute").as_deref(), Some("grpcroutes"));
    assert_eq!(found("networking.istio.io", "VirtualService").as_deref(), Some("virtualservices"));
    assert_eq!(found(gateway, "VirtualService"), None);
    assert_eq!(found(gateway, "TCPRoute"), None);
}

#[test]
fn namesakes_of_two_kinds_remember_their_weights_apart() {
    let http = json!({"rules": [{"backendRefs": [{"name": "shop", "weight": 5}]}]});
    let istio = json!({"http": [{"route": [{"destination": {"host": "shop"}, "weight": 7}]}]});
    let keys = |kind, spec: &Value| Fixture::of(kind, spec).weights.into_iter().collect::<Vec<_>>();
    assert_eq!(
        keys(&HTTP_ROUTE, &http),
        [("web/0/0:shop".to_owned(), 5)],
        "as it stands in the status of old releases"
    );
    assert_eq!(keys(&VirtualService, &istio), [("VirtualService/web/0/0:shop".to_owned(), 7)]);
    assert_eq!(keys(&GRPC_ROUTE, &http), [("GRPCRoute/web/0/0:shop".to_owned(), 5)]);
}

#[test]
fn a_service_import_is_no_service() {
    let foreign = json!({"name": "shop", "port": 80, "kind": "ServiceImport", "group": "multicluster.x-k8s.io"});
    let spec = json!({"rules": [{"backendRefs": [foreign]}]});
    let problem = Fixture::of(&HTTP_ROUTE, &spec).problem(&spec);
    assert!(problem.starts_with("HTTPRoute web sends no traffic to Service shop, pay; name a route"), "{problem}");
}

#[test]
fn the_header_is_demanded_as_each_kind_writes_it() {
    let one_of = |kind, rules: &str, spec: Value| {
        let split = Fixture::of(kind, &spec).split(&spec, 0, true);
        split[rules][0].clone()
    };
    let own = json!({"type": "Exact", "name": "X-Canary", "value": "true"});
    let gateway = json!({"rules": [{"backendRefs": [{"name": "shop", "port": 80}]}]});
    let refs = json!([{"name": "shop-canary", "port": 80, "weight": 1}]);
    assert_eq!(
        one_of(&HTTP_ROUTE, "rules", gateway.clone()),
        json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [own]}], "backendRefs": refs})
    );
    assert_eq!(one_of(&GRPC_ROUTE, "rules", gateway), json!({"matches": [{"headers": [own]}], "backendRefs": refs}));
    let istio = json!({"http": [{"name": "all", "match": [{"uri": {"prefix": "/"}}, {"headers": {"a": {"regex": "b"}}}],
        "route": [{"destination": {"host": "shop", "subset": "v1"}, "headers": {"response": {"remove": ["x"]}}}]}]});
    assert_eq!(
        one_of(&VirtualService, "http", istio),
        json!({
            "match": [{"uri": {"prefix": "/"}, "headers": {"x-canary": {"exact": "true"}}},
                      {"headers": {"a": {"regex": "b"}, "x-canary": {"exact": "true"}}}],
            "route": [{"destination": {"host": "shop-canary", "subset": "v1"}, "headers": {"response": {"remove": ["x"]}}, "weight": 1}],
        }),
        "Istio wants names in lower case"
    );
}

#[test]
fn limits_of_the_gateway_api_are_told_before_the_api_server_refuses() {
    for (kind, name) in [(&HTTP_ROUTE, "HTTPRoute"), (&GRPC_ROUTE, "GRPCRoute")] {
        let backend = json!([{"name": "shop", "port": 80}]);
        let rule = json!({"matches": [{"future": true}], "backendRefs": backend});
        let many_rules = json!({"rules": vec![rule; 9]});
        let problem = Fixture::of(kind, &many_rules).problem(&many_rules);
        assert!(problem.starts_with(&format!("{name} web would have 18 rules")), "{problem}");
        assert!(problem.contains("16 are allowed; divide it into several routes"), "{problem}");

        let rule = json!({"matches": vec![json!({"future": true}); 33], "backendRefs": backend});
        let many_matches = json!({"rules": [rule, rule]});
        let problem = Fixture::of(kind, &many_matches).problem(&many_matches);
        assert!(problem.contains("would have 132 matches"), "{problem}");

        let headers: Vec<Value> = (0..16).map(|i| json!({"name": format!("h{i}"), "value": "v"})).collect();
        let many_headers = json!({"rules": [{"matches": [{"headers": headers}], "backendRefs": backend}]});
        let problem = Fixture::of(kind, &many_headers).problem(&many_headers);
        assert!(problem.contains("would have 17 headers in a match"), "{problem}");

        let many_backends =
            json!({"rules": [{"backendRefs": vec![json!({"name": "shop", "port": 80, "weight": 100}); 9]}]});
        let problem = Fixture::of(kind, &many_backends).problem(&many_backends);
        assert!(problem.contains("would have 18 backendRefs in a rule"), "{problem}");
    }
}

#[test]
fn a_weight_of_ours_switched_off_by_hand_comes_back_to_the_users_own() {
    let spec = json!({"rules": [{"backendRefs": [
        {"name": "shop", "port": 80, "weight": 100}, {"name": "x", "port": 80, "weight": 900}]}]});
    let f = Fixture::of(&HTTP_ROUTE, &spec);
    let mut split = f.split(&spec, 40, false);
    split["rules"][0]["backendRefs"][1]["weight"] = 0.into();
    assert_eq!(f.restore(&split), spec);
    assert_eq!(f.split(&split, 40, false), f.split(&spec, 40, false));
}

fn destinations(spec: &Value, rule: usize) -> Vec<(String, String, i64)> {
    let text = |one: &Value, at: &str| one.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = spec["http"][rule]["route"].as_array().unwrap();
    all.iter()
        .map(|d| (text(d, "/destination/host"), text(d, "/destination/subset"), d["weight"].as_i64().unwrap()))
        .collect()
}

#[test]
fn a_host_keeps_its_spelling_and_a_subset_its_name() {
    let spec = json!({"http": [{"route": [
        {"destination": {"host": "shop.shop-ns.svc.corp.example", "subset": "v1"}, "weight": 900},
        {"destination": {"host": "shop.shop-ns.svc.corp.example", "subset": "v2"}, "weight": 100},
        {"destination": {"host": "pay.shop-ns"}},
    ]}]});
    let f = Fixture::of(&VirtualService, &spec);
    let split = f.split(&spec, 30, false);
    let (shop, canary) = ("shop.shop-ns.svc.corp.example", "shop-canary.shop-ns.svc.corp.example");
    let expected = [(shop, "v1", 630), (canary, "v1", 270), (shop, "v2", 70), (canary, "v2", 30)];
    let expected = expected.map(|(h, s, w)| (h.to_owned(), s.to_owned(), w));
    let mut bare = split.clone();
    let last = bare["http"][0]["route"].as_array_mut().unwrap().pop().unwrap();
    assert_eq!(last, spec["http"][0]["route"][2], "without a weight among several it gets nothing");
    assert_eq!(destinations(&bare, 0), expected);
    assert_eq!(f.restore(&split), spec);

    let mut wrong = split.clone();
    wrong["http"][0]["route"][1]["destination"]["subset"] = "v2".into();
    assert!(VirtualService.read(&wrong, &f.ours()).split.unwrap().uneven, "that is not the subset beside it");
    let mut wrong = split.clone();
    wrong["http"][0]["route"][1]["destination"]["host"] = "shop-canary".into();
    assert!(VirtualService.read(&wrong, &f.ours()).split.unwrap().uneven, "that is not how its neighbour is spelled");
    assert_eq!(f.split(&wrong, 30, false), split);
}

#[test]
fn a_destination_alone_has_all_traffic_whatever_its_weight_says() {
    for weight in [json!(null), json!(0), json!(30), json!(100)] {
        let mut spec = json!({"http": [{"route": [{"destination": {"host": "shop"}}]}]});
        if !weight.is_null() {
            spec["http"][0]["route"][0]["weight"] = weight;
        }
        let f = Fixture::of(&VirtualService, &spec);
        let split = f.split(&spec, 10, false);
        assert_eq!(destinations(&split, 0)[1], ("shop-canary".into(), String::new(), 10));
        assert_eq!(destinations(&split, 0)[0].2, 90);
        assert_eq!(f.restore(&split), spec);
    }
}

#[test]
fn rules_that_send_nowhere_and_delegates_are_left_alone() {
    let spec = json!({"http": [
        {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/new"}},
        {"match": [{"uri": {"exact": "/down"}}], "directResponse": {"status": 503}},
        {"match": [{"uri": {"prefix": "/team"}}], "delegate": {"name": "team", "namespace": "team"}},
        {"route": [{"destination": {"host": "shop"}}], "mirror": {"host": "shop"}, "mirrors": [{"destination": {"host": "shop"}}]},
    ]});
    let f = Fixture::of(&VirtualService, &spec);
    let split = f.split(&spec, 10, true);
    let rules = split["http"].as_array().unwrap();
    assert_eq!(rules[..3], spec["http"].as_array().unwrap()[..3]);
    assert_eq!(
        (rules.len(), &rules[4]["mirror"], &rules[4]["mirrors"]),
        (5, &json!({"host": "shop"}), &spec["http"][3]["mirrors"])
    );
    assert_eq!(f.restore(&split), spec);
}

#[test]
fn connections_to_the_service_are_refused_but_can_be_taken_away() {
    for field in ["tcp", "tls"] {
        let mut spec = json!({"http": [{"route": [{"destination": {"host": "shop"}}]}]});
        spec[field] = json!([{"route": [{"destination": {"host": "other"}}]}]);
        let f = Fixture::of(&VirtualService, &spec);
        let split = f.split(&spec, 30, true);
        assert_eq!(split[field], spec[field]);
        spec[field][0]["route"][0]["destination"]["host"] = "shop.shop-ns.svc.cluster.local".into();
        assert_eq!(
            f.problem(&spec),
            format!(
                "spec.{field} of VirtualService web sends connections to Service shop, which cannot be divided by request; \
                 send them to another Service, or leave out shop in spec.traffic.services"
            )
        );
        let mut late = split.clone();
        late[field] = spec[field].clone();
        assert!(VirtualService.split(&late, &f.ours(), 40, true).is_err());
        assert_eq!(f.restore(&f.split(&late, 0, false)), spec);
    }
}

#[test]
fn a_match_that_speaks_of_the_header_in_any_way_is_refused() {
    for field in ["headers", "withoutHeaders"] {
        let spec =
            json!({"http": [{"match": [{field: {"x-canary": {}}}], "route": [{"destination": {"host": "shop"}}]}]});
        let problem = Fixture::of(&VirtualService, &spec).problem(&spec);
        assert!(problem.contains("already matches the header X-Canary; choose another name"), "{problem}");
    }
}
