//! The auditor must be seen to fail: for each invariant a made-up sequence of stored objects that breaks it.

use serde_json::{Value, json};

use super::{Change, Ledger};

/// A namespace whose candidate is ready for its first step of 20 %.
struct Made {
    ledger: Ledger,
    at: u64,
}

impl Made {
    fn new(state: Value) -> Self {
        let mut made = Self { ledger: Ledger::default(), at: 0 };
        made.put("deployments", "shop", deployment());
        made.put("replicasets", "shop-a", stable_set(2));
        made.put("services", "shop", service("a"));
        made.put("httproutes", "shop", route(100, None, 1));
        made.put("pods", "s1", pod("a", true));
        made.put("pods", "s2", pod("a", true));
        made.put("releases", "shop", release("shop", state));
        made.put("services", "shop-canary", service("hc"));
        made.put("replicasets", "shop-rc", candidate_set());
        made.put("pods", "c1", pod("hc", true));
        made
    }

    fn put(&mut self, kind: &str, name: &str, now: Value) {
        self.change(kind, name, Some(now));
    }

    fn delete(&mut self, kind: &str, name: &str) {
        self.change(kind, name, None);
    }

    fn change(&mut self, kind: &str, name: &str, now: Option<Value>) {
        self.at += 10_000;
        let revision = i64::try_from(self.at).expect("small");
        let (kind, name, namespace) = (kind.to_owned(), name.to_owned(), "t".to_owned());
        self.ledger.take(&Change { revision, at: self.at, namespace, kind, name, now });
    }

    /// The numbers of the invariants that were broken.
    fn broken(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.ledger.breaches.iter().map(|b| b.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// At its first step with 20 %, as it should be.
fn at_20() -> Made {
    let mut made = Made::new(stepping(0));
    made.put("httproutes", "shop", route(80, Some(20), 2));
    made
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "shop", "labels": {}},
        "spec": {
            "replicas": 2, "paused": true, "selector": {"matchLabels": {"app": "shop"}},
            "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"image": "shop:1"}]}},
        },
    })
}

fn set(hash: &str, size: u32) -> Value {
    json!({
        "metadata": {"labels": {"pod-template-hash": hash}, "annotations": {}},
        "spec": {"replicas": size, "template": {"metadata": {"labels": {"app": "shop", "pod-template-hash": hash}}}},
        "status": {"replicas": size},
    })
}

fn stable_set(size: u32) -> Value {
    let mut set = set("a", size);
    set["metadata"]["ownerReferences"] = json!([{"name": "shop"}]);
    set
}

fn candidate_set() -> Value {
    let mut set = set("hc", 1);
    set["metadata"]["annotations"]["haldane.dev/attempt"] = json!("c");
    set
}

fn going(mut object: Value) -> Value {
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object
}

fn service(hash: &str) -> Value {
    json!({"metadata": {}, "spec": {"selector": {"app": "shop", "pod-template-hash": hash}}})
}

fn pod(hash: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({
        "metadata": {"labels": {"app": "shop", "pod-template-hash": hash}},
        "status": {"conditions": [{"type": "Ready", "status": status}]},
    })
}

/// Accepted by its gateway.
fn route(user: i64, canary: Option<i64>, generation: i64) -> Value {
    let mut refs = vec![json!({"name": "shop", "weight": user})];
    refs.extend(canary.map(|weight| json!({"name": "shop-canary", "weight": weight})));
    let conditions = json!([{"type": "Accepted", "status": "True", "observedGeneration": generation}]);
    json!({
        "metadata": {"generation": generation},
        "spec": {"rules": [{"backendRefs": refs}, {"backendRefs": [{"name": "other", "weight": 7}]}]},
        "status": {"parents": [{"conditions": conditions}]},
    })
}

fn version(revision: &str) -> Value {
    json!({"revision": revision, "images": {}})
}

fn candidate() -> Value {
    json!({
        "revision": "new", "images": {}, "id": "c", "generation": 1, "targetUid": "u",
        "plan": {"steps": [{"weight": 20, "for": "1s"}, {"weight": 100}], "watch": {"for": "1s"}, "deadline": "1m"},
        "traffic": {
            "services": ["shop"],
            "routes": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "shop"}],
        },
    })
}

fn on_the_way(name: &str, more: &Value) -> Value {
    let mut inner = json!({"stable": version("old"), "candidate": candidate(), "since": "2026-01-01T00:00:00Z"});
    for (key, value) in more.as_object().into_iter().flatten() {
        inner[key] = value.clone();
    }
    json!({name: inner})
}

fn stepping(step: u32) -> Value {
    on_the_way("stepping", &json!({"step": step}))
}

fn draining() -> Value {
    let report = json!({"decidedAt": "2026-01-01T00:00:00Z", "proof": "Pending"});
    on_the_way("draining", &json!({"cause": {"kind": "Bad", "message": "bad"}, "report": report}))
}

fn release(name: &str, state: Value) -> Value {
    let mut release = json!({
        "metadata": {"name": name}, "spec": {"targetRef": {"name": "shop"}},
        "status": {"verdict": "Healthy", "notices": 0},
    });
    release["status"]["state"] = state;
    release
}

#[track_caller]
fn breaks(number: u32, mut made: Made, change: impl FnOnce(&mut Made)) {
    assert_eq!(made.broken(), [] as [u32; 0], "before: {:?}", made.ledger.breaches);
    change(&mut made);
    assert!(made.broken().contains(&number), "{number}: {:?}", made.ledger.breaches);
}

#[test]
fn a_sound_way_there_and_back_breaks_nothing() {
    let mut made = at_20();
    made.put("releases", "shop", release("shop", draining()));
    made.put("httproutes", "shop", route(100, Some(0), 3));
    let reverting = json!({"reverting": draining()["draining"]});
    made.put("releases", "shop", release("shop", reverting));
    made.put("replicasets", "shop-rc", going(candidate_set()));
    made.delete("pods", "c1");
    made.delete("replicasets", "shop-rc");
    made.put("httproutes", "shop", route(100, None, 4));
    made.delete("services", "shop-canary");
    let mut open = service("a");
    open["spec"]["selector"] = json!({"app": "shop"});
    made.put("services", "shop", open);
    let mut running = deployment();
    running["spec"]["paused"] = json!(false);
    made.put("deployments", "shop", running);
    made.delete("releases", "shop");
    made.ledger.close();
    assert_eq!(made.ledger.breaches, []);
    assert_eq!(made.ledger.made["pods"], (3, 1));
}

#[test]
fn breaks_1_a_share_without_pods_that_carry_it() {
    breaks(1, Made::new(stepping(0)), |made| {
        made.put("pods", "c1", pod("hc", false));
        made.put("httproutes", "shop", route(80, Some(20), 2));
    });
    breaks(1, Made::new(stepping(1)), |made| made.put("httproutes", "shop", route(0, Some(100), 2)));
    breaks(1, Made::new(stepping(1)), |made| made.put("services", "shop", service("hc")));
}

#[test]
fn the_same_pods_behind_another_service_are_no_rise() {
    let mut made = Made::new(on_the_way("observing", &json!({})));
    made.put("pods", "c2", pod("hc", true));
    made.put("httproutes", "shop", route(0, Some(100), 2));
    made.put("services", "shop", service("hc"));
    made.put("releases", "shop", release("shop", draining()));
    made.put("pods", "c1", pod("hc", false));
    made.put("pods", "c2", pod("hc", false));
    made.at -= 9_000; // within the moment in which a lost pod is still counted
    made.put("httproutes", "shop", route(100, Some(0), 3));
    made.at -= 9_000;
    made.put("services", "shop", service("a"));
    assert_eq!(made.ledger.breaches, []);
    assert_eq!(made.ledger.longest_dark(), 2_000);
}

#[test]
fn breaks_2_traffic_that_stays_where_no_pod_is_ready() {
    breaks(2, at_20(), |made| {
        made.put("pods", "c1", pod("hc", false));
        made.put("pods", "x", pod("x", true));
        made.put("pods", "y", pod("x", true));
        made.put("httproutes", "shop", route(100, Some(0), 3));
    });
}

#[test]
fn breaks_3_weights_that_make_no_sense() {
    breaks(3, at_20(), |made| made.put("httproutes", "shop", route(80, Some(10), 3)));
    breaks(3, at_20(), |made| made.put("httproutes", "shop", route(0, Some(0), 3)));
    breaks(3, at_20(), |made| made.put("httproutes", "shop", route(120, Some(-20), 3)));
}

#[test]
fn breaks_4_traffic_that_meets_no_pod() {
    breaks(4, Made::new(stepping(0)), |made| made.put("services", "shop", service("nobody")));
}

#[test]
fn breaks_5_pods_that_go_while_they_serve() {
    breaks(5, at_20(), |made| made.put("replicasets", "shop-rc", going(candidate_set())));
    breaks(5, at_20(), |made| made.put("replicasets", "shop-a", stable_set(1)));
    breaks(5, at_20(), |made| {
        let mut unconfirmed = route(100, Some(0), 3);
        unconfirmed["metadata"]["generation"] = json!(4);
        made.put("httproutes", "shop", unconfirmed);
        made.put("replicasets", "shop-rc", going(candidate_set()));
    });
    breaks(5, at_20(), |made| {
        made.put("httproutes", "shop", route(100, Some(0), 3));
        made.at -= 9_900;
        made.put("replicasets", "shop-rc", going(candidate_set()));
    });
    breaks(5, Made::new(on_the_way("preparing", &json!({}))), |made| made.put("services", "shop", service("hc")));
}

#[test]
fn breaks_6_the_users_template_and_pods_before_their_time() {
    breaks(6, at_20(), |made| {
        let mut changed = deployment();
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop:2");
        made.put("deployments", "shop", changed);
    });
    breaks(6, at_20(), |made| made.put("replicasets", "shop-a", stable_set(1)));
}

#[test]
fn breaks_7_a_route_to_pods_that_are_not_ready() {
    breaks(7, at_20(), |made| {
        made.put("pods", "c1", pod("hc", false));
        made.put("httproutes", "shop", route(90, Some(10), 3));
    });
}

#[test]
fn breaks_8_anything_before_the_route_of_a_rollback() {
    for early in [
        ("services", "shop", service("b")),
        ("replicasets", "shop-rc", going(candidate_set())),
        ("deployments", "shop", {
            let mut written = deployment();
            written["metadata"]["labels"] = json!({"haldane.dev/paused-by": "u"});
            written
        }),
    ] {
        breaks(8, at_20(), |made| {
            made.put("releases", "shop", release("shop", draining()));
            made.put(early.0, early.1, early.2);
        });
    }
}

#[test]
fn breaks_9_a_share_that_nothing_stored_allows() {
    breaks(9, Made::new(on_the_way("preparing", &json!({}))), |made| {
        made.put("httproutes", "shop", route(80, Some(20), 2));
    });
    breaks(9, at_20(), |made| {
        let mut next = release("shop", on_the_way("observing", &json!({})));
        next["status"]["verdict"] = json!("Watching");
        let mut before = release("shop", stepping(0));
        before["status"]["verdict"] = json!("Watching");
        made.put("releases", "shop", before);
        made.put("releases", "shop", next);
    });
}

#[test]
fn breaks_10_a_share_above_its_step() {
    breaks(10, Made::new(stepping(0)), |made| made.put("httproutes", "shop", route(50, Some(50), 2)));
}

#[test]
fn breaks_12_what_is_the_users() {
    breaks(12, at_20(), |made| {
        let mut changed = route(80, Some(20), 3);
        changed["spec"]["rules"][1]["backendRefs"][0]["weight"] = json!(8);
        changed["spec"]["rules"][1]["filters"] = json!([{"type": "URLRewrite"}]);
        made.put("httproutes", "shop", changed);
    });
    breaks(12, at_20(), |made| {
        let mut changed = service("a");
        changed["spec"]["ports"] = json!([{"port": 81}]);
        made.put("services", "shop", changed);
    });
}

#[test]
fn breaks_13_two_releases_of_one_workload() {
    breaks(13, at_20(), |made| made.put("releases", "too", release("too", stepping(0))));
}

#[test]
fn breaks_16_traffic_for_what_was_given_up() {
    breaks(16, at_20(), |made| {
        made.put("releases", "shop", release("shop", draining()));
        made.put("httproutes", "shop", route(100, Some(0), 3));
        made.put("releases", "shop", release("shop", stepping(0)));
        made.put("httproutes", "shop", route(80, Some(20), 4));
    });
}

#[test]
fn breaks_17_a_way_back_that_is_no_way_back() {
    breaks(17, at_20(), |made| {
        let mut rejected = release("shop", draining());
        rejected["status"]["rejected"] = json!([{"revision": "old"}]);
        made.put("releases", "shop", rejected);
    });
    breaks(17, at_20(), |made| {
        made.put("releases", "shop", release("shop", draining()));
        made.put("releases", "shop", release("shop", stepping(0)));
        made.put("releases", "shop", release("shop", draining()));
    });
}

#[test]
fn breaks_18_what_was_done_before_it_was_stored() {
    breaks(18, Made::new(stepping(0)), |made| {
        let mut other = candidate_set();
        other["metadata"]["annotations"]["haldane.dev/attempt"] = json!("d");
        made.put("replicasets", "shop-rd", other);
    });
    breaks(18, Made::new(on_the_way("preparing", &json!({}))), |made| made.put("services", "shop", service("hc")));
    breaks(18, Made::new(stepping(0)), |made| made.put("replicasets", "shop-rc", going(candidate_set())));
    breaks(18, Made::new(on_the_way("observing", &json!({}))), |made| {
        let mut handed = deployment();
        handed["metadata"]["labels"]["haldane.dev/handover"] = json!("c");
        made.put("deployments", "shop", handed);
    });
}

#[test]
fn breaks_19_what_was_never_told() {
    breaks(19, at_20(), |made| {
        let mut told = release("shop", stepping(0));
        told["status"]["notices"] = json!(2);
        made.put("releases", "shop", told);
        made.put("events", "shop.1234.1", json!({}));
        made.ledger.close();
    });
}

#[test]
fn breaks_22_what_is_left_behind() {
    breaks(22, at_20(), |made| made.delete("releases", "shop"));
}

#[test]
fn breaks_27_a_pin_beside_a_running_deployment() {
    breaks(27, at_20(), |made| {
        let mut running = deployment();
        running["spec"]["paused"] = json!(false);
        made.put("deployments", "shop", running);
    });
}
