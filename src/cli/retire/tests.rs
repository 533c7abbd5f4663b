//! Whose end the command waits for, what it says, and when it takes the operator for gone.

use super::*;
use crate::api::release::FINALIZER;

fn release(finalizers: &[&str], state: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "Release",
        "metadata": {"name": "shop", "namespace": "team", "finalizers": finalizers},
        "status": {"phase": "Draining", "message": "the gateway\nis slow", "state": {state: {}}},
    }))
    .expect("a Release")
}

#[test]
fn home_is_without_our_finalizer_and_nothing_begun() {
    assert_eq!(Left::of(&release(&[], "idle")), None);
    assert_eq!(Left::of(&release(&["other"], "rolledBack")), None);
    assert_eq!(Left::of(&release(&[], "draining")), None);
    assert!(Left::of(&release(&[], "preparing")).is_some_and(|left| left.finalizer.is_none()));
    assert!(Left::of(&release(&["other", FINALIZER], "idle")).is_some_and(|left| left.finalizer == Some(1)));
}

#[tokio::test]
async fn who_is_left_is_named_with_the_last_resort() {
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, _>(tower::BoxError::from("nobody answers"))
    });
    let wish = Retire {
        client: Client::new(nobody, "default"),
        namespace: "haldane-system".into(),
        lease: "haldane".into(),
        watched: Vec::new(),
        timeout: Duration::from_secs(90),
    };
    let left = Left::of(&release(&["other", FINALIZER], "draining")).expect("it is left");
    let said = wish.sentence(&Outcome::Late(vec![left.clone()]));
    assert!(
        said.starts_with("not home after 1 m 30 s:\n  Release team/shop: Draining: the gateway is slow\n"),
        "{said}"
    );
    let patch = "kubectl patch release shop -n team --type=json -p '[{\"op\":\"test\",\"path\":\"/metadata/finalizers/1\",\
                 \"value\":\"haldane.dev/release\"},{\"op\":\"remove\",\"path\":\"/metadata/finalizers/1\"}]'";
    assert!(said.contains(patch), "{said}");
    assert!(said.contains("pod-template-hash") && said.contains("helm uninstall --no-hooks"), "{said}");
    let said = wish.sentence(&Outcome::NoLeader(vec![left]));
    assert!(
        said.starts_with("no operator runs") && said.contains("kubectl -n haldane-system get pods,lease"),
        "{said}"
    );
}

#[test]
fn a_lease_that_stands_still_has_no_leader() {
    let (start, wall) = (clock::monotonic(), At::from_epoch(1_700_000_000.0).expect("a time"));
    let after = |s| start + Duration::from_secs(s);
    let at = |holder: &str, renewed: u64| Record {
        holder: holder.into(),
        renewed: Some(wall.plus(Duration::from_secs(renewed)).timestamp()),
        ..Record::default()
    };
    let mut leader = Leader { last: None, alive: start };
    leader.see(&at("a", 0), start);
    assert!(!leader.gone(&at("a", 0), after(29), wall.plus(Duration::from_secs(29))));
    assert!(leader.gone(&at("a", 0), after(30), wall.plus(Duration::from_secs(30))));
    // It lives, though its clock is far behind ours.
    let ahead = wall.plus(Duration::from_hours(1));
    leader.see(&at("a", 2), after(2));
    assert!(!leader.gone(&at("a", 2), after(6), ahead));
    // Given back and not taken: nobody for long, or only for a moment.
    leader.see(&at("", 3), after(7));
    assert!(leader.gone(&at("", 3), after(7), ahead) && !leader.gone(&at("", 3), after(7), wall));
    assert!(leader.gone(&Record::default(), after(7), wall), "there is no lease at all");
}
