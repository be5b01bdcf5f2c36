//! Beside an OpenID Provider: no answer of one is taken for the other's, and no person.

use std::time::Duration;

use axum::routing::get;
use serde_json::json;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Connection, Error, GrantLifetime, Mode, OidcLayer, ProviderConfig, Resource, UserTokens};
use url::Url;

use super::{preset, shapes};
use crate::support::app::{API, APP, World, config, routes};
use crate::support::browser::Browser;
use crate::support::oauth2::OAuth2Provider;

const PSEUDO: &str = "oauth2:github.com/login/oauth/access_token";

/// `default` is the OpenID Provider, `hub` is GitHub.
fn both() -> (World, OAuth2Provider) {
    let mut hub = preset("github").name("hub");
    hub.resources.clear();
    let world = World::with(|config| config.add_provider(hub).admins(["default:alice@example.com"]));
    let provider = OAuth2Provider::start(&world.net, &world.clock, shapes::github());
    world.op.sign_in_as("alice");
    (world, provider)
}

fn login_at(name: &str) -> String {
    format!("{APP}/auth/login?return_to=/who&provider={name}")
}

async fn callback_of(browser: &Browser, name: &str) -> Url {
    let sent = browser.step(&login_at(name)).await;
    let back = browser.follow(&sent).await;
    back.header("location").unwrap().parse().unwrap()
}

/// RFC 9700 section 4.4.2.2: each has a redirect URI of its own, and a code goes to no other token endpoint.
#[tokio::test]
async fn a_response_ends_at_the_redirect_uri_of_its_provider() {
    let (world, hub) = both();
    for (name, other) in [("hub", "default"), ("default", "hub")] {
        let browser = world.browser();
        let callback = callback_of(&browser, name).await;
        assert_eq!(callback.path(), format!("/auth/callback/{name}"));
        for iss in [None, Some("https://op.test"), Some("https://github.com/login/oauth"), Some(PSEUDO)] {
            let mut moved = callback.clone();
            moved.set_path(&format!("/auth/callback/{other}"));
            let kept: Vec<_> = callback.query_pairs().filter(|(key, _)| key != "iss").collect();
            moved.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(iss.map(|iss| ("iss", iss)));
            assert_eq!(browser.navigate(moved.as_str()).await.status, 400, "{name} at {other}, {iss:?}");
        }
        assert_eq!((hub.token_requests().len(), world.op.token_requests().len()), (0, 0), "{name}");
    }
    let browser = world.browser();
    assert_eq!(browser.visit(&login_at("hub")).await.json()["issuer"], PSEUDO, "the control");
    assert_eq!(world.browser().visit(&login_at("default")).await.json()["issuer"], "https://op.test");
}

/// An OpenID Provider cannot call itself, or a person, as if it were the other.
#[tokio::test]
async fn no_id_token_makes_a_person_of_the_other_provider() {
    let (world, hub) = both();
    for iss in [PSEUDO, "https://github.com/login/oauth"] {
        world.op.edit_id_token(move |draft| {
            draft.claim("iss", iss);
            draft.claim("sub", "583231");
        });
        for name in ["default", "hub"] {
            hub.sign_in_as("bob");
            let browser = world.browser();
            let page = browser.visit(&login_at(name)).await;
            let expected = if name == "hub" { 200 } else { 400 };
            assert_eq!(page.status.as_u16(), expected, "{name}: {}", page.text());
            let who = browser.navigate(&format!("{APP}/who")).await.json();
            assert_ne!(who["sub"], "583231", "{name}");
        }
    }
}

/// The same subject at both is two people, and an admin of one is nobody at the other.
#[tokio::test]
async fn one_subject_at_both_is_two_people() {
    let (world, hub) = both();
    hub.edit(|answer| {
        if answer.is_object() {
            answer["id"] = json!("a1");
        }
    });
    let (one, other) = (world.browser(), world.browser());
    let at_op = one.visit(&login_at("default")).await.json();
    let at_hub = other.visit(&login_at("hub")).await.json();
    assert_eq!((&at_op["sub"], &at_hub["sub"]), (&json!("a1"), &json!("a1")));
    assert_ne!(at_op["issuer"], at_hub["issuer"]);
    assert_eq!((&at_op["email"], &at_hub["email"]), (&json!("alice@example.com"), &json!("alice@example.com")));
    assert_eq!((&at_op["admin"], &at_hub["admin"]), (&json!(true), &json!(false)));
}

/// Whoever signed in elsewhere links an account here: what is granted is asked for by its own scopes, and is theirs.
#[tokio::test]
async fn an_account_is_linked_by_a_person_of_the_openid_provider() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = World::new();
        let hub = OAuth2Provider::start(&world.net, &world.clock, shapes::github_app());
        let api = Resource::new("code", format!("{API}/code/"));
        let code = Connection::new("code").scope("repo").resource(api).grant_lifetime(GrantLifetime::Session);
        let mut linked = preset("github").name("hub").without_login().connection(code);
        linked.resources.clear();
        let config = config(&world.net, &world.clock).add_provider(linked).mode(mode);
        let layer = OidcLayer::from_config(config, MemoryStore::new()).unwrap();
        let token = get(|tokens: UserTokens| async move {
            let token = tokens.access_token(&format!("{API}/code/")).await?;
            Ok::<_, Error>(token.expose_secret().to_owned())
        });
        world.net.serve_service(APP, layer.layer(routes().route("/code", token)));
        let alice = world.signed_in("alice").await;
        hub.sign_in_as("bob");
        let page = alice.visit(&format!("{APP}/code")).await;
        assert_eq!(hub.owner_of(&page.text()).as_deref(), Some("bob"), "{}", page.text());
        assert_eq!(hub.authorizations().pop().unwrap().get("scope"), Some("repo"));
        assert_eq!(world.who(&alice).await, "a1", "who they are is another matter");
        // Somebody else at the other end of a refresh ends it, as everywhere.
        world.clock.advance(Duration::from_secs(9 * 3600));
        let refreshed = alice.visit(&format!("{APP}/code")).await;
        assert_eq!(hub.owner_of(&refreshed.text()).as_deref(), Some("bob"));
        assert_eq!(hub.reuse(), 0);
        assert_eq!(world.browser().fetch(http::Method::GET, &format!("{APP}/code"), "", APP).await.status, 401);
    }
}

#[test]
fn two_providers_with_one_pseudo_issuer_are_refused() {
    let world = World::new();
    let refused = |second: ProviderConfig| {
        let config = config(&world.net, &world.clock).provider(preset("github").name("a"));
        let mut second = second.name("b");
        second.resources.clear();
        let layer = OidcLayer::per_user(config.add_provider(second), MemoryStore::new());
        layer.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused(preset("github")).contains("has the same issuer"));
    let elsewhere = preset("github").endpoint("authorization_endpoint", "https://evil.test/authorize");
    assert!(refused(elsewhere).contains("has the same issuer"), "the token endpoint issues");
    let mut named = preset("todoist");
    named.issuer = PSEUDO.into();
    assert!(refused(named).contains("has the same issuer"));
    assert_eq!(refused(preset("github").endpoint("token_endpoint", "https://ghe.test/token")), "");
}
