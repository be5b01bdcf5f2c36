//! Entra leaves the claim `groups` out where somebody is in too many groups, and says so:
//! <https://learn.microsoft.com/en-us/security/zero-trust/develop/configure-tokens-group-claims-app-roles>.

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tower_oidc::{ClaimSource, Config, LoginDecision};

use crate::support::app::{World, of_preset};

type Seen = Arc<Mutex<Map<String, Value>>>;

fn entra(config: Config, seen: &Seen) -> Config {
    let seen = Arc::clone(seen);
    let mut config = of_preset("entra", config).on_login(move |login| {
        *seen.lock().unwrap() = login.claims;
        async { LoginDecision::Allow }
    });
    config.provider = config.provider.roles(ClaimSource::IdToken, "/groups");
    config
}

#[tokio::test]
async fn the_login_hook_sees_that_groups_are_missing() {
    let overage = [
        ("_claim_names", json!({ "groups": "src1" })),
        ("_claim_sources", json!({ "src1": { "endpoint": "https://graph.test/users/a1/getMemberObjects" } })),
        ("hasgroups", json!(true)),
    ];
    for stateless in [false, true] {
        let seen = Seen::default();
        let edit = |config: Config| entra(config, &seen);
        let world = if stateless { World::stateless_with(edit) } else { World::with(edit) };
        for (claim, value) in overage.clone() {
            world.op.user("alice", |user| user.set(claim, value));
        }
        world.op.user("bob", |user| user.set("groups", json!(["editors"])));
        world.signed_in("alice").await;
        for (claim, value) in &overage {
            assert_eq!(seen.lock().unwrap().get(*claim), Some(value), "{claim}");
        }
        assert_eq!(seen.lock().unwrap().get("groups"), None);
        world.signed_in("bob").await;
        let seen = seen.lock().unwrap();
        assert_eq!(seen.get("groups"), Some(&json!(["editors"])), "the control");
        assert!(overage.iter().all(|(claim, _)| !seen.contains_key(*claim)));
    }
}
