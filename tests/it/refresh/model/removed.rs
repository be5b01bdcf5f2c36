//! The rules, removed one by one: each has a property that breaks without it, and that holds with it in the same cluster.

use super::world::{Faults, Rule};
use super::{
    APART, BEHIND, BESIDE, Cluster, DELETED, ENDED, FAR, KEPT, NEWEST, NONE, ONCE, UNREVOKED, WELL, WRITTEN, explore,
};

fn breaks(rule: Rule, property: &str, cluster: impl Fn() -> Cluster) {
    let (broken, _) = explore(cluster());
    assert!(broken.is_empty(), "with every rule: {broken:?}");
    let (broken, _) = explore(cluster().without(rule));
    assert!(broken.contains(property), "without {rule:?}: {broken:?}");
}

#[test]
fn without_a_lease_a_token_is_spent_twice() {
    breaks(Rule::Lease, ONCE, || Cluster::new("two requests", APART, 1, NONE));
}

#[test]
fn without_renewal_a_slow_provider_has_a_token_spent_twice() {
    breaks(Rule::Renewal, ONCE, || Cluster::new("a slow provider", APART, 1, NONE).slow(6));
}

#[test]
fn without_a_grace_an_outage_of_the_store_has_a_token_spent_twice() {
    let outage = Faults { outages: 1, ..NONE };
    breaks(Rule::Grace, ONCE, || Cluster::new("an outage", APART, 1, outage));
    breaks(Rule::Watch, ONCE, || Cluster::new("an outage, and clocks far apart", FAR, 1, outage));
    breaks(Rule::Grace, ONCE, || Cluster::new("clocks far apart", FAR, 1, NONE));
}

#[test]
fn without_reading_again_what_was_lost_is_spent_and_overwritten() {
    breaks(Rule::ReRead, ONCE, || Cluster::new("two requests", APART, 1, NONE));
    breaks(Rule::ReRead, NEWEST, || Cluster::new("consent anew", APART, 1, Faults { consents: 1, ..NONE }));
}

#[test]
fn without_comparing_generations_a_good_grant_is_ended() {
    let consent = Faults { consents: 1, lost: 1, ..NONE };
    breaks(Rule::Generations, ENDED, || Cluster::new("consent anew", APART, 1, consent));
}

#[test]
fn without_respect_for_the_lease_of_another_a_good_grant_is_ended() {
    let cut = Faults { cuts: 1, lost: 1, ..NONE };
    breaks(Rule::OwnLease, ENDED, || Cluster::new("cut off", BEHIND, 1, cut).forgiving());
}

#[test]
fn without_writing_first_a_token_is_used_that_nobody_has_kept() {
    breaks(Rule::WriteFirst, WRITTEN, || Cluster::new("one request", APART, 1, NONE));
}

#[test]
fn without_compare_and_swap_what_was_taken_away_comes_back() {
    let deletion = Faults { deletions: 1, ..NONE };
    breaks(Rule::CompareAndSwap, DELETED, || Cluster::new("taken away", APART, 1, deletion));
}

#[test]
fn without_the_number_of_refreshes_a_consent_loses_the_rotated_token() {
    let reconsent = Faults { reconsents: 1, ..NONE };
    breaks(Rule::Refreshes, KEPT, || Cluster::new("consent without a refresh token", APART, 1, reconsent));
}

#[test]
fn without_its_lease_a_consent_has_a_token_spent_twice() {
    let reconsent = Faults { reconsents: 1, expiries: 1, ..NONE };
    breaks(Rule::LeaseStays, ONCE, || Cluster::new("consent without a refresh token", APART, 1, reconsent));
}

#[test]
fn without_stripping_what_a_consent_brought_ends_with_an_older_refresh_token() {
    let reconsent = Faults { reconsents: 1, lost: 1, ..NONE };
    breaks(Rule::Strips, BESIDE, || Cluster::new("consent without a refresh token", APART, 1, reconsent));
}

#[test]
fn with_a_revocation_of_what_is_not_written_a_good_grant_loses_its_token() {
    let store = Faults { store: 1, ..NONE };
    breaks(Rule::Keeps, UNREVOKED, || Cluster::new("a store that errs", APART, 1, store));
}

#[test]
fn without_the_remedy_of_a_refusal_a_good_grant_is_ended() {
    let refusal = Faults { failures: 1, ..NONE };
    breaks(Rule::Remedies, ENDED, || Cluster::new("a refusal", APART, 1, refusal));
}

#[test]
fn without_writing_what_was_rotated_an_identity_endpoint_that_fails_has_a_token_spent_twice() {
    let failure = Faults { failures: 1, ..NONE };
    breaks(Rule::Rotates, ONCE, || Cluster::new("an identity endpoint that fails", APART, 1, failure).endpoint());
}

#[test]
fn without_giving_up_what_the_store_refuses_nobody_is_served() {
    let store = Faults { store: 1, ..NONE };
    breaks(Rule::GivesUp, WELL, || Cluster::new("one process", &[0], 1, store));
}
