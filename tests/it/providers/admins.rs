//! Whose word makes an admin, with a second provider.

use tower_oidc::OidcLayer;
use tower_oidc::store::MemoryStore;

use super::{sign_in, two_logins_with, work};
use crate::support::app::{APP, config};
use crate::support::clock::TestClock;
use crate::support::net::Net;

/// A second provider may verify whatever it likes.
#[tokio::test]
async fn an_admins_email_counts_from_its_own_provider() {
    let world = two_logins_with(
        |mut config| {
            config.admins = vec!["default:Root@X.test".into()];
            config
        },
        |work| work,
    );
    for op in [&world.op, &world.op2] {
        op.user("root", |root| root.set("email", "root@x.test"));
        op.user("carl", |carl| {
            carl.set("email", "root@x.test");
            carl.set("email_verified", false);
        });
    }
    for (op, name, user, status) in [
        (&world.op, "default", "root", 200),
        (&world.op2, "work", "root", 403),
        (&world.op, "default", "carl", 403),
        (&world.op, "default", "alice", 403),
    ] {
        let browser = world.browser();
        let page = sign_in(&browser, op, name, user).await;
        assert_eq!(page.json()["admin"], status == 200, "{user} at {name}");
        for path in ["/admin", "/admins"] {
            let page = browser.navigate(&format!("{APP}{path}")).await;
            assert_eq!(page.status.as_u16(), status, "{user} at {name}: {path}");
        }
    }
}

/// Without saying whose word counts, the layer does not start, and says how to say it.
#[tokio::test]
async fn an_email_of_no_provider_is_refused_where_there_are_several() {
    let (net, clock) = (Net::new(), TestClock::new());
    let start = |admin: &str, several: bool| {
        let mut config = config(&net, &clock);
        config.admins = vec![admin.into()];
        let config = config.add_provider(if several { work() } else { work().without_login() });
        OidcLayer::per_user(config, MemoryStore::new()).map(drop).map_err(|error| error.to_string())
    };
    let refused = start("root@x.test", true).unwrap_err();
    assert!(refused.contains("default:root@x.test or work:root@x.test"), "{refused}");
    assert!(start("nobody:root@x.test", true).is_err());
    assert!(start("work:root@x.test", true).is_ok());
    assert!(start("root@x.test", false).is_ok(), "people sign in at one only");
    assert!(start("work:root@x.test", false).is_err(), "and not there");
}
