//! One provider under two names: one for browsers, one for the application in a network of containers.

use std::collections::BTreeSet;

use serde_json::json;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, EventCode, FetchUserInfo, OidcLayer, ProviderConfig, PushedAuthorizationRequests, Resource};

use crate::support::app::{API, APP, App, World, config, logout_link, routes};
use crate::support::browser::Browser;
use crate::support::clock::TestClock;
use crate::support::net::{Caller, Net};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::resource::ResourceServer;
use crate::support::test_store::TestStore;

/// What the caller asked at this origin: paths below the issuer's.
fn asked(net: &Net, caller: Caller, origin: &str) -> BTreeSet<String> {
    let asked = net.requests(origin).into_iter().filter(|exchange| exchange.caller == caller);
    asked.map(|exchange| exchange.path.trim_start_matches("/realms/app").to_owned()).collect()
}

fn paths(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

const CALLED: [&str; 6] = ["/.well-known/openid-configuration", "/jwks", "/par", "/revoke", "/token", "/userinfo"];

#[tokio::test]
async fn the_application_calls_one_name_and_browsers_the_other() {
    let (public, internal) = ("https://login.test", "https://keycloak.internal");
    let (net, clock) = (Net::new(), TestClock::new());
    let op = LyingProvider::start(&net, &format!("{public}/realms/app"), &clock);
    op.also_at(&net, &format!("{internal}/realms/app"));
    op.set(|settings| settings.pushed_authorization = true);
    let api = ResourceServer::start(&net, API, op.resource_owners());
    let app = App::start(&net, &clock, TestStore::new(), |config| {
        let provider = ProviderConfig::new(op.issuer(), CLIENT_ID)
            .internal_url(format!("{internal}/realms/app"))
            .client_secret(CLIENT_SECRET)
            .fetch_user_info(FetchUserInfo::Always)
            .pushed_authorization_requests(PushedAuthorizationRequests::Always)
            .revoke_at_logout(true)
            .resource(Resource::new("cal", format!("{API}/cal/")));
        config.provider(provider)
    });
    op.sign_in_as("alice");
    let browser = Browser::new(&net, &clock).strict_for(APP);
    let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!((page.json()["sub"].as_str(), page.json()["issuer"].as_str()), (Some("a1"), Some(op.issuer())));
    clock.advance(std::time::Duration::from_secs(3600));
    assert_eq!(browser.navigate(&format!("{APP}/fetch?u={API}/cal/x")).await.status, 200);
    assert_eq!(op.token_requests().len(), 2, "a code and a refresh");
    assert_eq!(api.requests().len(), 1);
    browser.visit(&logout_link(&browser, "/").await).await;
    app.layer.drain().await;

    assert_eq!(asked(&net, Caller::Application, internal), paths(&CALLED));
    assert_eq!(asked(&net, Caller::Application, public), paths(&[]));
    assert_eq!(asked(&net, Caller::Browser, public), paths(&["/authorize", "/end_session"]));
    assert_eq!(asked(&net, Caller::Browser, internal), paths(&[]));
    assert!(!app.events.has(EventCode::ProviderNotEncrypted));
}

/// The first day with containers: everything is http, and the provider has the name of its container. Keycloak then names
/// the URL under which it was asked (`hostname-backchannel-dynamic`).
#[tokio::test]
async fn in_development_the_name_of_a_container_will_do() {
    let (home, public, internal) = ("http://localhost:3000", "http://localhost:8080", "http://keycloak:8080");
    for dynamic in [false, true] {
        let (net, clock) = (Net::new(), TestClock::new());
        let op = LyingProvider::start(&net, public, &clock);
        op.also_at(&net, internal);
        if dynamic {
            op.edit_discovery(move |document| {
                document["token_endpoint"] = json!(format!("{internal}/token"));
                document["jwks_uri"] = json!(format!("{internal}/jwks"));
                document["userinfo_endpoint"] = json!(format!("{internal}/userinfo"));
            });
        }
        op.sign_in_as("alice");
        let app = App::unserved(&net, &clock, TestStore::new(), |config| {
            let provider = ProviderConfig::new(public, CLIENT_ID).client_secret(CLIENT_SECRET);
            config.public_url(home).provider(provider.internal_url(internal))
        });
        net.serve_service(home, app.layer.layer(routes()));
        let page = Browser::new(&net, &clock).visit(&format!("{home}/auth/login?return_to=/who")).await;
        assert_eq!(page.json()["sub"], "a1", "{}", page.text());
        assert_eq!(asked(&net, Caller::Application, public), paths(&[]), "{dynamic}");
        assert!(asked(&net, Caller::Application, internal).contains("/token"), "{dynamic}");
        let events = app.events.all();
        let told = events.iter().find(|event| event.code == EventCode::ProviderNotEncrypted).unwrap();
        assert!(told.detail.contains("http://keycloak:8080/ is called over http"), "{told:?}");
    }
}

/// Another document than the issuer's is refused there, too.
#[tokio::test]
async fn the_issuer_stays_the_one_that_is_configured() {
    let world = World::with(|mut config| {
        config.provider.internal_url = Some("https://op2.test".to_owned());
        config
    });
    let page = world.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!(page.status, 503);
    let events = world.app.events.all();
    let told = events.iter().find(|event| event.code == EventCode::ProviderFailed).unwrap();
    assert!(told.detail.contains(r#"names the issuer "https://op2.test", expected "https://op.test""#), "{told:?}");
}

#[test]
fn an_internal_url_over_http_is_refused_outside_of_development() {
    let refused = |public_url: &str, internal_url: &str| {
        let mut config: Config = config(&Net::new(), &TestClock::new()).public_url(public_url);
        config.provider.internal_url = Some(internal_url.to_owned());
        let made = OidcLayer::per_user(config, MemoryStore::new());
        made.err().map(|error| error.to_string())
    };
    for (public_url, internal_url, allowed) in [
        ("https://app.test", "https://keycloak:8443/realms/app", true),
        ("https://app.test", "http://127.0.0.1:8080", true),
        ("https://app.test", "http://localhost:8080", true),
        ("https://app.test", "http://keycloak:8080", false),
        ("http://localhost:3000", "http://keycloak:8080", true),
        ("http://127.0.0.1:3000", "http://keycloak:8080/realms/app", true),
        ("http://localhost:3000", "http://keycloak.example:8080", false),
        ("http://localhost:3000", "http://10.0.0.7:8080", false),
        ("http://localhost:3000", "ftp://keycloak", false),
        ("http://localhost:3000", "keycloak:8080", false),
        ("https://app.test", "https://user@keycloak", false),
        ("https://app.test", "https://keycloak/?a", false),
    ] {
        let refused = refused(public_url, internal_url);
        assert_eq!(refused.is_none(), allowed, "{public_url} {internal_url}: {refused:?}");
        assert!(refused.is_none_or(|text| text.contains("internal_url") && text.contains("OIDC_INTERNAL_URL")));
    }
}
