//! What cannot be kept is refused at construction, by a message that names the fix.

use tower_oidc::store::MemoryStore;
use tower_oidc::{Connection, GrantLifetime, OidcLayer, ResponseMode};

use crate::support::app::{World, config};

#[test]
fn what_nobody_would_keep_is_refused_by_name() {
    let world = World::new();
    let base = || config(&world.net, &world.clock);
    let problem = |config| OidcLayer::stateless(config, MemoryStore::new()).expect_err("it is refused").to_string();
    let mail = || Connection::new("mail");
    let kept = problem(base().connection(mail()));
    assert!(
        kept.contains("\"mail\"") && kept.contains("GrantLifetime::Session") && kept.contains("per_user"),
        "{kept}"
    );
    let mut with_login = base();
    with_login.login_grant_lifetime = GrantLifetime::Persistent;
    assert!(problem(with_login).contains("login_grant_lifetime"));
    let mut posted = base().connection(mail().grant_lifetime(GrantLifetime::Session));
    posted.provider.response_mode = ResponseMode::FormPost;
    assert!(problem(posted).contains("ResponseMode::Query"));
    let bytes = |most| {
        let mut config = base();
        config.max_cookie_bytes = most;
        config
    };
    for most in [0, 100, 511] {
        let small = problem(bytes(most));
        assert!(small.contains("max_cookie_bytes") && small.contains("6144"), "{small}");
    }
    // What each message says, helps.
    assert!(OidcLayer::stateless(bytes(6144), MemoryStore::new()).is_ok());
    assert!(OidcLayer::stateless(bytes(512), MemoryStore::new()).is_ok());
    assert!(OidcLayer::per_user(bytes(0), MemoryStore::new()).is_ok(), "where it says nothing");
    assert!(
        OidcLayer::stateless(base().connection(mail().grant_lifetime(GrantLifetime::Session)), MemoryStore::new())
            .is_ok()
    );
    let mut posted = base();
    posted.provider.response_mode = ResponseMode::FormPost;
    assert!(OidcLayer::stateless(posted, MemoryStore::new()).is_ok());
}
