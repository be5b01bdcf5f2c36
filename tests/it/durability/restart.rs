//! Processes come and go, sessions and grants stay.

use super::{PATIENCE, SECRET, Town, retire};
use crate::connections::app::{Site, connect, token};
use crate::support::database::Kind;
use crate::support::process::eventually;
use crate::support::test_store::TestStore;

/// Who an admin is, the running configuration says, and no session.
#[tokio::test]
async fn admins_are_not_frozen_over_a_restart() {
    for kind in Kind::ALL {
        let Some(database) = kind.database() else { continue };
        let town = Town::new(database).await;
        let mut alice = None;
        for admins in ["person0@example.com", "", "person0@example.com"] {
            let demo = town.demo(SECRET, &[("ADMINS", admins)]).await;
            if alice.is_none() {
                alice = Some(town.people(&demo, 1).await.remove(0));
            }
            let alice = alice.as_mut().expect("she is signed in");
            let admin = if admins.is_empty() { 403 } else { 200 };
            assert_eq!(alice.client.get(&demo.at("/admin")).await.status, admin, "{kind:?}");
            assert_eq!(alice.client.get(&demo.at("/private")).await.status, 200, "{kind:?}");
            retire(demo).await;
        }
        assert_eq!(town.op.authorizations().len(), 1, "{kind:?}: nobody had to sign in again");
    }
}

/// For the grant of a login: the same browser goes on, with refreshes on both sides of the restart.
#[tokio::test]
async fn a_session_and_its_grant_persist() {
    for kind in Kind::ALL {
        let Some(database) = kind.database() else { continue };
        let town = Town::new(database).await;
        town.op.set(|op| op.access_token_lifetime = 1);
        let demo = town.demo(SECRET, &[]).await;
        let mut people = town.people(&demo, 2).await;
        retire(demo).await;
        let refreshes = town.op.refreshes().len();
        let demo = town.demo(SECRET, &[]).await;
        eventually("it refreshes with the refresh tokens that were kept", PATIENCE, async || {
            for person in &mut people {
                assert_eq!(person.who(demo.at("")).await, "known", "{kind:?}");
                assert_eq!(person.api(demo.at("")).await, "fetched", "{kind:?}");
            }
            (town.op.refreshes().len() >= refreshes + 2).then_some(())
        })
        .await;
        assert_eq!((town.op.authorizations().len(), town.op.reuse_detected()), (2, 0), "{kind:?}");
    }
}

/// For a connection: granted once, there for the person's other browsers and after restarts.
#[tokio::test]
async fn a_connection_persists() {
    for kind in Kind::ALL {
        let Some(database) = kind.database() else { continue };
        let mut site = Site::on(TestStore::on(database));
        let alice = site.signed_in("alice").await;
        connect(&alice, "mail").await;
        let granted = site.op.authorizations().len();
        let old = token(&alice, "mail").await.expect("granted");
        site.restart();
        let (alice, bob) = (site.signed_in("alice").await, site.signed_in("bob").await);
        assert_eq!(site.op.authorizations().len(), granted + 2, "{kind:?}: two logins");
        assert_eq!(token(&alice, "mail").await.as_deref(), Ok(old.as_str()), "{kind:?}");
        assert_eq!(site.op.authorizations().len(), granted + 2, "{kind:?}: without consent");
        assert_eq!(token(&bob, "mail").await, Err("consent_required".to_owned()), "{kind:?}");
    }
}
