//! Who is signed in where: the same subject at two providers is two people, each with tokens, refreshes and a logout at
//! their own.

use std::time::Duration;

use serde_json::Value;
use tower_oidc::{EventCode, GrantLifetime};

use super::{login_at, sign_in, two_logins, two_logins_with};
use crate::support::app::{API, APP, App, OP, OP2, logout_link};
use crate::support::provider::{CLIENT_ID, LyingProvider};

/// Who the token belongs to that an API got last.
fn last_owner(op: &LyingProvider, header: &str) -> Option<String> {
    op.owner_of(header.strip_prefix("Bearer ")?)
}

async fn fetch(browser: &crate::support::browser::Browser, path: &str) -> u16 {
    let url = format!("{APP}/fetch?u={API}{path}");
    browser.fetch(http::Method::GET, &url, "", APP).await.status.as_u16()
}

/// Across providers: not even a grant that outlives the session is the other's.
#[tokio::test]
async fn the_same_subject_at_two_providers_is_two_people() {
    for grant_lifetime in [GrantLifetime::Session, GrantLifetime::Persistent] {
        let world = two_logins_with(
            |mut config| {
                config.login_grant_lifetime = grant_lifetime;
                config
            },
            |work| work,
        );
        let (one, other) = (world.browser(), world.browser());
        let first = sign_in(&one, &world.op, "default", "alice").await.json();
        let second = sign_in(&other, &world.op2, "work", "alice").await.json();
        assert_eq!((&first["sub"], &second["sub"]), (&"a1".into(), &"a1".into()));
        assert_ne!(first["issuer"], second["issuer"]);
        for _ in 0..2 {
            world.api.forget();
            assert_eq!(fetch(&one, "/both/").await, 200);
            assert_eq!(fetch(&other, "/both/").await, 200);
            let sent = world.api.authorizations();
            assert_eq!(last_owner(&world.op, &sent[0]).as_deref(), Some("alice"), "{grant_lifetime:?}");
            assert_eq!(last_owner(&world.op2, &sent[0]), None, "{grant_lifetime:?}");
            assert_eq!(last_owner(&world.op2, &sent[1]).as_deref(), Some("alice"), "{grant_lifetime:?}");
            assert_eq!(last_owner(&world.op, &sent[1]), None, "{grant_lifetime:?}");
            world.clock.advance(Duration::from_secs(3600));
        }
        // Whoever signs in as the other in the same browser is the other.
        sign_in(&one, &world.op2, "work", "alice").await;
        world.api.forget();
        assert_eq!(fetch(&one, "/both/").await, 200);
        assert_eq!(last_owner(&world.op, &world.api.authorizations()[0]), None, "{grant_lifetime:?}");
    }
}

/// An API that takes the tokens of one provider gets none of the other's.
#[tokio::test]
async fn tokens_go_to_the_apis_of_their_own_provider() {
    let world = two_logins();
    let (one, other) = (world.browser(), world.browser());
    sign_in(&one, &world.op, "default", "alice").await;
    sign_in(&other, &world.op2, "work", "alice").await;
    for (browser, path, status) in
        [(&one, "/cal/", 200), (&one, "/work/", 500), (&other, "/work/", 200), (&other, "/cal/", 500)]
    {
        world.api.forget();
        assert_eq!(fetch(browser, path).await, status, "{path}");
        assert_eq!(world.api.requests().len(), usize::from(status == 200), "{path}");
    }
    // Nor does one's UserInfo get the other's.
    for (browser, of, status) in [(&one, OP, 200), (&one, OP2, 500), (&other, OP2, 200), (&other, OP, 500)] {
        let page = browser.fetch(http::Method::GET, &format!("{APP}/fetch?u={of}/userinfo"), "", APP).await;
        assert_eq!(page.status.as_u16(), status, "{of}: {}", page.text());
    }
}

#[tokio::test]
async fn a_grant_is_refreshed_where_it_came_from() {
    let world = two_logins();
    let (one, other) = (world.browser(), world.browser());
    sign_in(&one, &world.op, "default", "alice").await;
    sign_in(&other, &world.op2, "work", "alice").await;
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(fetch(&other, "/work/").await, 200);
    assert_eq!((world.op.refreshes().len(), world.op2.refreshes().len()), (0, 1));
    assert_eq!(fetch(&one, "/cal/").await, 200);
    assert_eq!((world.op.refreshes().len(), world.op2.refreshes().len()), (1, 1));
    assert!([&world.op, &world.op2].iter().all(|op| op.token_requests().iter().all(|one| one.outcome.is_ok())));
}

/// With two: a provider signs its own people out, and nobody of another's whom it calls the same.
#[tokio::test]
async fn a_logout_token_counts_for_its_own_providers_people() {
    use crate::support::provider::CLIENT_ID;
    let world = two_logins();
    let (one, other) = (world.browser(), world.browser());
    sign_in(&one, &world.op, "default", "alice").await;
    sign_in(&other, &world.op2, "work", "alice").await;
    world.clock.advance(Duration::from_secs(1));
    let tell = async |token: String| {
        let request = http::Request::post(format!("{APP}/auth/backchannel-logout"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("logout_token={token}").into());
        world.browser().raw(request.unwrap()).await.status().as_u16()
    };
    let forged = world.op2.logout_token(CLIENT_ID, "alice", None, |draft| draft.claim("iss", OP));
    assert_eq!(tell(forged).await, 400, "its keys are not the other's");
    assert_eq!((world.who(&one).await, world.who(&other).await), ("a1".into(), "a1".into()));
    assert_eq!(tell(world.op2.logout_token(CLIENT_ID, "alice", None, |_| {})).await, 200);
    assert_eq!((world.who(&one).await, world.who(&other).await), ("a1".into(), Value::Null));
    assert_eq!(tell(world.op.logout_token(CLIENT_ID, "alice", None, |_| {})).await, 200);
    assert_eq!(world.who(&one).await, Value::Null);
}

/// For each: at the session's provider, with its ID token, and back.
#[tokio::test]
async fn a_logout_is_at_the_provider_of_the_session() {
    let world = two_logins_with(
        |config| config,
        |mut work| {
            work.revoke_at_logout = true;
            work
        },
    );
    for (op, name, revoked) in [(&world.op, "default", 0), (&world.op2, "work", 1)] {
        let browser = world.browser();
        sign_in(&browser, op, name, "alice").await;
        world.op.forget();
        world.op2.forget();
        let link = logout_link(&browser, "/private-no-more").await;
        let landed = browser.navigate(&link).await;
        assert_eq!(landed.path_and_query(), "/private-no-more", "{name}");
        assert_eq!(world.who(&browser).await, Value::Null);
        world.app.layer.drain().await;
        for each in [&world.op, &world.op2] {
            let own = each.issuer() == op.issuer();
            assert_eq!(each.logouts().len(), usize::from(own), "{name}: {}", each.issuer());
            assert_eq!(each.revocations().len(), if own { revoked } else { 0 }, "{name}: {}", each.issuer());
        }
        let asked = op.logouts().remove(0);
        let hint = crate::support::provider::jwt::claims_of(asked.get("id_token_hint").unwrap());
        assert_eq!(hint["iss"], op.issuer());
        assert_eq!(asked.get("post_logout_redirect_uri"), Some("https://app.test/"));
    }
}

/// Across providers: each signs out its own people, by its own keys, and the other's cannot.
#[tokio::test]
async fn a_provider_signs_out_its_own_people_only() {
    let world = two_logins();
    let (one, other) = (world.browser(), world.browser());
    sign_in(&one, &world.op, "default", "alice").await;
    sign_in(&other, &world.op2, "work", "alice").await;
    let stranger = world.op2.logout_token(CLIENT_ID, "alice", None, |jwt| jwt.claim("iss", OP));
    assert_eq!(world.back_channel(&stranger).await.status(), 400, "in the other's name, by its own key");
    assert_eq!((world.who(&one).await, world.who(&other).await), ("a1".into(), "a1".into()));
    let own = world.op2.logout_token(CLIENT_ID, "alice", None, |jwt| jwt.claim("jti", "the same"));
    assert_eq!(world.back_channel(&own).await.status(), 200);
    assert_eq!((world.who(&one).await, world.who(&other).await), ("a1".into(), Value::Null));
    let own = world.op.logout_token(CLIENT_ID, "alice", None, |jwt| jwt.claim("jti", "the same"));
    assert_eq!(world.back_channel(&own).await.status(), 200, "a jti is its issuer's own");
    assert_eq!(world.who(&one).await, Value::Null);
}

/// `logout_at_provider` is each provider's own, too.
#[tokio::test]
async fn a_provider_may_be_left_out_of_logout() {
    let world = two_logins_with(
        |config| config,
        |mut work| {
            work.logout_at_provider = false;
            work
        },
    );
    for (op, name, asked) in [(&world.op2, "work", 0), (&world.op, "default", 1)] {
        let browser = world.browser();
        sign_in(&browser, op, name, "alice").await;
        let link = logout_link(&browser, "/who").await;
        assert_eq!(browser.navigate(&link).await.text(), "null");
        assert_eq!(op.logouts().len(), asked, "{name}");
    }
}

/// Whom the operator does not let in any more is not in; nor is anything of theirs sent to another provider.
#[tokio::test]
async fn a_provider_that_was_taken_away_signs_nobody_in() {
    let world = two_logins();
    let (one, other) = (world.browser(), world.browser());
    sign_in(&one, &world.op, "default", "alice").await;
    sign_in(&other, &world.op2, "work", "alice").await;
    let edits: [fn(tower_oidc::Config) -> tower_oidc::Config; 2] =
        [|config| config, |config| config.add_provider(super::work().without_login())];
    for edit in edits {
        let _without = world.another(edit);
        world.op2.forget();
        world.api.forget();
        assert_eq!(world.who(&other).await, Value::Null);
        assert_eq!(fetch(&other, "/cal/").await, 401);
        assert_eq!(world.who(&one).await, "a1", "the control");
        assert_eq!(fetch(&one, "/cal/").await, 200, "the control");
        assert_eq!(world.op2.token_requests().len() + world.api.requests().len(), 1);
    }
    let again: App = world.another(|config| config.add_provider(super::work()));
    assert_eq!(world.who(&other).await, "a1", "it may come back");
    assert!(!again.events.has(EventCode::Tampered));
}

/// A login begun before the operator took the provider away, or moved its registration, is begun for nothing.
#[tokio::test]
async fn a_login_under_way_ends_at_the_registration_it_was_begun_for() {
    let world = two_logins();
    world.op2.sign_in_as("alice");
    let browser = world.browser();
    let callback = super::callback_of(&browser, &login_at("work", "/who")).await;
    let edits: [(fn(tower_oidc::Config) -> tower_oidc::Config, u16); 3] = [
        (|config| config, 404),
        (|config| config.add_provider(super::work().without_login()), 400),
        (
            |config| {
                config
                    .add_provider(tower_oidc::ProviderConfig::new(OP2, "another").client_secret("secret").name("work"))
            },
            400,
        ),
    ];
    for (edit, status) in edits {
        let _changed = world.another(edit);
        let page = browser.navigate(callback.as_str()).await;
        assert_eq!(page.status, status, "{}", page.text());
        super::assert_no_exchange(&world, "changed");
    }
    let _same = world.another(|config| config.add_provider(super::work()));
    assert_eq!(browser.navigate(callback.as_str()).await.json()["sub"], "a1", "the control");
}
