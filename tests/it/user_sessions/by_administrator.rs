//! An administrator and the sessions of one user, without a request of that user.

use serde_json::Value;
use tower_oidc::{Error, ErrorKind, SessionAdmin};

use super::{TWO, act, listed, with_sessions, worlds};
use crate::support::app::{APP, OP, OP2, World};
use crate::support::store::Trouble;

async fn ids(admin: &SessionAdmin, issuer: &str, subject: &str) -> Vec<String> {
    let sessions = admin.sessions(issuer, subject).await.unwrap();
    assert!(sessions.iter().all(|session| !session.current));
    sessions.into_iter().map(|session| session.id).collect()
}

#[tokio::test]
async fn an_administrator_lists_and_ends() {
    for world in worlds(|config| config) {
        let admin = world.app.layer.session_admin();
        let (first, second) = (world.signed_in("alice").await, world.signed_in("alice").await);
        let bob = world.signed_in("bob").await;
        let of_alice = ids(&admin, OP, "a1").await;
        let own: Vec<_> = listed(&first).await.iter().map(super::id).collect();
        assert_eq!(of_alice, own, "as she sees them");
        let own = listed(&first).await.iter().find(|session| session["current"] == true).map(super::id);
        assert!(admin.end_session(OP, "a1", &own.unwrap()).await.unwrap());
        assert_eq!((world.who(&first).await, world.who(&second).await), (Value::Null, "a1".into()));
        admin.end_all_sessions(OP, "a1").await.unwrap();
        assert_eq!(world.who(&second).await, Value::Null);
        assert_eq!(ids(&admin, OP, "a1").await, [] as [&str; 0]);
        assert_eq!(world.who(&bob).await, "b1");
    }
}

/// Issuer and subject, both, name a user; an id counts for its own user only.
#[tokio::test]
async fn each_user_is_one_of_their_provider() {
    let world = World::new();
    world.serve(with_sessions());
    let admin = world.app.layer.session_admin();
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let of_bob = ids(&admin, OP, "b1").await;
    for (issuer, subject) in [(OP2, "b1"), (OP, "a1"), (OP, ""), ("", "b1"), (OP, "B1")] {
        assert!(!admin.end_session(issuer, subject, &of_bob[0]).await.unwrap(), "{issuer} {subject}");
        assert!(!ids(&admin, issuer, subject).await.contains(&of_bob[0]));
        if subject != "a1" {
            admin.end_all_sessions(issuer, subject).await.unwrap();
        }
    }
    assert_eq!((world.who(&alice).await, world.who(&bob).await), ("a1".into(), "b1".into()));
    assert!(admin.end_session(OP, "b1", &of_bob[0]).await.unwrap(), "the control");
}

/// The session of a user ends at the process that has their requests, whichever the administrator asked.
#[tokio::test]
async fn an_end_counts_in_every_process() {
    let world = World::new();
    world.serve(with_sessions());
    let two = world.second(world.app.store.clone(), |config| config);
    let (alice, there) = (world.signed_in("alice").await, world.signed_in("alice").await);
    assert!(world.is_in_at(TWO, &there).await && world.is_in_at(APP, &alice).await);
    two.layer.session_admin().end_all_sessions(OP, "a1").await.unwrap();
    world.told().await;
    for origin in [APP, TWO] {
        assert!(!world.is_in_at(origin, &alice).await && !world.is_in_at(origin, &there).await, "{origin}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let (store, watched) = world.watched();
    let admin = watched.layer.session_admin();
    let of_alice = ids(&admin, OP, "a1").await;
    store.break_down(&Trouble::Fail);
    let kind = |error: Error| error.kind();
    assert_eq!(admin.sessions(OP, "a1").await.map_err(kind), Err(ErrorKind::Unavailable));
    assert_eq!(admin.end_session(OP, "a1", &of_alice[0]).await.map_err(kind), Err(ErrorKind::Unavailable));
    assert_eq!(admin.end_all_sessions(OP, "a1").await.map_err(kind), Err(ErrorKind::Unavailable));
    store.heal();
    assert_eq!(world.who(&alice).await, "a1");
}

/// A session that a removed secret sealed: who ends all is told that one may come back with the secret.
#[tokio::test]
async fn a_session_that_cannot_be_read_is_no_success() {
    let world = World::new();
    let _alice = world.signed_in("alice").await;
    let other = world.another(|config| config.session_secrets(["another sealing secret of the tests, 32 bytes"]));
    let admin = other.layer.session_admin();
    // The key under which rows are named cannot be read either.
    assert_eq!(admin.end_all_sessions(OP, "a1").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn in_stateless_mode_only_all_can_be_ended() {
    let world = World::stateless();
    world.serve(with_sessions());
    let alice = world.signed_in("alice").await;
    let admin = world.app.layer.session_admin();
    let refused = admin.sessions(OP, "a1").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotInThisMode);
    assert!(refused.to_string().contains("OidcLayer::per_user"), "{refused}");
    assert_eq!(admin.end_session(OP, "a1", "x").await.unwrap_err().kind(), ErrorKind::NotInThisMode);
    admin.end_all_sessions(OP, "b1").await.unwrap();
    assert_eq!(world.who(&alice).await, "a1");
    admin.end_all_sessions(OP, "a1").await.unwrap();
    assert_eq!(act(&alice, "end-all").await.status, 401);
}
