//! What every kind of route promises, tried on every kind: examples that tell the promise, and many random routes. The table
//! in docs/traffic.md is written from `PROMISES`.

mod model;
mod promises;
mod properties;
mod table;

use model::{KINDS, Kind};

/// A promise, and what shows that one kind keeps it.
pub struct Promise {
    /// As docs/traffic.md says it.
    pub sentence: &'static str,
    /// By examples.
    shown: Option<fn(&Kind)>,
    /// On many random routes.
    random: Option<fn(&Kind)>,
    /// The test of `tests/it/every_route.rs` that shows it on an API server, for every kind.
    pub on_a_server: Option<&'static str>,
}

const fn promise(sentence: &'static str) -> Promise {
    Promise { sentence, shown: None, random: None, on_a_server: None }
}

const PROMISES: [Promise; 13] = [
    Promise {
        shown: Some(promises::one_backend_beside_each),
        random: Some(properties::shares_are_what_was_asked),
        on_a_server: Some("every_kind_walks_through_all_shares_and_comes_back_byte_for_byte"),
        ..promise(
            "Beside each backend that names the Service stands one of ours; the weights are whole numbers and sum up",
        )
    },
    Promise {
        shown: Some(promises::a_backend_without_traffic_stays_alone),
        ..promise("A backend without a weight has the weight its API says; one that gets no traffic is left alone")
    },
    Promise {
        shown: Some(promises::two_services_and_two_ports_are_told_apart),
        ..promise("Several Services, ports and rules are each split by themselves")
    },
    Promise {
        shown: Some(promises::only_services_of_the_namespace_are_split),
        ..promise("A namesake in another namespace is not the Service")
    },
    Promise {
        random: Some(properties::nothing_else_changes),
        on_a_server: Some("every_kind_walks_through_all_shares_and_comes_back_byte_for_byte"),
        ..promise("All that is not ours stays byte for byte, fields that nobody here has heard of included")
    },
    Promise {
        shown: Some(promises::requests_with_the_header_have_a_rule_of_their_own),
        random: Some(properties::the_header_rule_is_exact),
        on_a_server: Some("every_kind_walks_through_all_shares_and_comes_back_byte_for_byte"),
        ..promise(
            "Requests with the header have a rule of their own before the user's, which matches nothing that his does not",
        )
    },
    Promise {
        random: Some(properties::splitting_is_idempotent_and_forgets),
        on_a_server: Some("every_kind_walks_through_all_shares_and_comes_back_byte_for_byte"),
        ..promise(
            "The same share twice is the same route, whatever the share was before; it reads back as it was asked",
        )
    },
    Promise {
        random: Some(properties::restoring_gives_the_route_back),
        on_a_server: Some("every_kind_walks_through_all_shares_and_comes_back_byte_for_byte"),
        ..promise("Restoring gives the user's route back, after any shares")
    },
    Promise {
        shown: Some(promises::what_the_user_edits_meanwhile_is_kept),
        on_a_server: Some("every_kind_keeps_what_its_user_edits_in_between"),
        ..promise("What the user edits meanwhile is kept")
    },
    Promise {
        shown: Some(promises::foreign_edits_of_our_entries_show_and_heal),
        on_a_server: Some("every_kind_keeps_what_its_user_edits_in_between"),
        ..promise(
            "Somebody else's change of our entries shows, is never shown as less than it is, and heals with the next write",
        )
    },
    Promise {
        shown: Some(promises::what_cannot_be_split_says_why_and_what_to_do),
        on_a_server: Some("every_kind_says_what_is_missing"),
        ..promise("What cannot be split is refused before anything is touched, with the reason and the cure")
    },
    Promise {
        shown: Some(promises::a_stray_of_ours_can_be_taken_away),
        random: Some(properties::taking_away_never_fails),
        on_a_server: Some("every_kind_may_be_deleted_in_the_middle"),
        ..promise("Taking traffic away never fails")
    },
    Promise { shown: Some(promises::odd_input_is_survived), ..promise("No input makes it panic") },
];

#[test]
fn every_kind_keeps_every_promise() {
    for promise in &PROMISES {
        assert!(promise.shown.is_some() || promise.random.is_some(), "nothing shows: {}", promise.sentence);
        for kind in &KINDS {
            println!("{}: {}", kind.name, promise.sentence);
            promise.shown.into_iter().chain(promise.random).for_each(|show| show(kind));
        }
    }
}

#[test]
fn every_kind_is_tried() {
    let all = super::kinds().map(|kind| kind.resource().kind);
    assert_eq!(all.to_vec(), KINDS.iter().map(|k| k.name).collect::<Vec<_>>());
}
