use std::cell::Cell;

use super::*;
use crate::clock::{Clock, Random};
use crate::events::Events;
use crate::records::{KeyRing, Records};
use crate::store::{Change, MemoryStore};

fn index(key: [u8; 32]) -> BlindIndexKey {
    let (store, ring) = (Arc::new(MemoryStore::new()), KeyRing::new(&["secret".into()], b"app"));
    let records = Records::new(store, ring, Some(key), Clock::system(), Random::system(), Events::default());
    records.known_index().unwrap()
}

fn sids(sids: &[&str]) -> Vec<String> {
    sids.iter().map(|sid| (*sid).to_owned()).collect()
}

#[test]
fn a_newer_id_token_is_handed_out_once_and_its_sid_is_asked_about_once() {
    let sessions = ProviderSessions::new(sids(&["s1"]));
    assert!(sessions.take_id_token().is_none());
    let learn = |sid, id_token: &str| sessions.learn(sid, &id_token.into());
    assert!(!learn(None, "t0") && !learn(Some("s1"), "t1"));
    assert!(!sessions.is_unsealed(), "the browser has it");
    assert_eq!(sessions.take_id_token(), Some("t1".into()));
    assert!(sessions.take_id_token().is_none());
    assert!(learn(Some("s2"), "t2") && sessions.is_unsealed());
    assert!(!learn(Some("s1"), "t3"), "it is known");
    assert_eq!(sessions.sids(), sids(&["s2", "s1"]), "the newest last");
}

#[test]
fn what_the_browser_shows_is_sealed_and_what_it_shows_first_is_learned() {
    let sessions = ProviderSessions::new(sids(&["s1"]));
    sessions.learn(Some("s2"), &"t".into());
    assert!(!sessions.shows(&sids(&["s1"])) && sessions.is_unsealed(), "an older cookie");
    assert!(!sessions.shows(&sids(&["s1", "s2"])) && !sessions.is_unsealed());
    assert!(!sessions.shows(&[]));
    assert!(sessions.shows(&sids(&["s2", "s3"])), "another process has learned it");
    assert_eq!(sessions.sids(), sids(&["s1", "s2", "s3"]));
}

#[test]
fn notes_are_looked_for_anew_under_another_key_and_for_another_sid() {
    let sessions = ProviderSessions::new(sids(&["s1"]));
    let keys = [[1; 32], [2; 32]].map(index);
    let looked = Cell::new(0);
    let notes = |at: usize| {
        let notes = sessions.notes(&keys[at], |sids| {
            looked.set(looked.get() + 1);
            vec![Key([sids.len() as u8; 32])]
        });
        (notes[0].0, looked.get())
    };
    assert_eq!([notes(0), notes(0)], [(Key([1; 32]), 1); 2]);
    assert_eq!([notes(1), notes(1)], [(Key([1; 32]), 2); 2]);
    sessions.learn(Some("s2"), &"t".into());
    assert_eq!([notes(1), notes(1)], [(Key([2; 32]), 3); 2]);
    let invalidations = Invalidations::default();
    invalidations.hear(Change::Row(Key([9; 32])));
    assert!(!sessions.has_news(0, &invalidations), "of something else");
    invalidations.hear(Change::Row(Key([2; 32])));
    assert!(sessions.has_news(0, &invalidations));
    assert!(!sessions.has_news(invalidations.heard(), &invalidations));
}
