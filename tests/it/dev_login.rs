//! The embedded development provider through the application's own layer.

use bytes::Bytes;
use http::{Method, Request};
use serde_json::Value;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, EventCode, OidcLayer, Resource};

use crate::support::app::{Events, routes};
use crate::support::browser::{Browser, Page};
use crate::support::clock::TestClock;
use crate::support::html::Form;
use crate::support::net::Net;
use crate::support::test_store::TestStore;

const LOCAL: &str = "http://localhost:3000";
const SECRET: &str = "a sealing secret of the tests, 32 bytes+";
const PROVIDER: &str = "http://localhost:3000/auth/development";

struct World {
    net: Net,
    clock: TestClock,
    events: Events,
}

impl World {
    fn new() -> Self {
        let world = Self { net: Net::new(), clock: TestClock::new(), events: Events::default() };
        let mut config = Config::development(([127, 0, 0, 1], 3000))
            .resource(Resource::new("cal", "https://api.test/cal/"))
            .http_client(world.net.http_client())
            .clock(world.clock.readings())
            .on_event(world.events.hook());
        config.session_secrets = vec![SECRET.into()];
        let layer = OidcLayer::per_user(config, TestStore::new()).unwrap();
        world.net.serve_service(LOCAL, layer.layer(routes()));
        world
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.net, &self.clock).strict_for(LOCAL)
    }

    /// The page that asks, for `/private`.
    async fn asked(&self) -> (Browser, Page) {
        let browser = self.browser();
        let page = browser.navigate(&format!("{LOCAL}/private?x=1")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        (browser, page)
    }

    async fn signed_in(&self, email: &str, admin: bool) -> (Browser, Page) {
        let (browser, page) = self.asked().await;
        let form = page.form().fill("email", email);
        let form = if admin { form.check("admin") } else { form };
        let page = browser.submit(&form.press("Sign in")).await;
        (browser.clone(), browser.settle(page).await)
    }
}

#[tokio::test]
async fn anybody_signs_in_as_anybody() {
    let world = World::new();
    let (_, page) = world.asked().await;
    let form = page.form();
    assert_eq!(form.fields.get("email"), Some("test@example.com"));
    assert!(form.unchecked.has("admin"));

    let (admin, page) = world.signed_in("test@example.com", true).await;
    assert_eq!(page.url.as_str(), "http://localhost:3000/private?x=1");
    let who = admin.navigate(&format!("{LOCAL}/who")).await.json();
    assert_eq!((who["email"].as_str(), who["admin"].as_bool()), (Some("test@example.com"), Some(true)));
    assert_eq!(who["issuer"], PROVIDER);
    assert_eq!(admin.navigate(&format!("{LOCAL}/admin")).await.status, 200);
    assert_eq!(admin.navigate(&format!("{LOCAL}/tok")).await.status, 200);

    let (user, page) = world.signed_in("TEST@Example.com", false).await;
    assert_eq!(page.json()["sub"], who["sub"], "the same person in capitals");
    assert_eq!(user.navigate(&format!("{LOCAL}/admin")).await.status, 403);

    let (other, page) = world.signed_in("other@example.com", false).await;
    assert_ne!(page.json()["sub"], who["sub"]);
    let links = other.navigate(&format!("{LOCAL}/links?to=/bye")).await.json();
    let out = other.visit(&format!("{LOCAL}{}", links["logout"]["ok"].as_str().unwrap())).await;
    assert_eq!(out.url.as_str(), "http://localhost:3000/bye");
    assert_eq!(other.navigate(&format!("{LOCAL}/who")).await.json(), Value::Null);
    let again = other.navigate(&format!("{LOCAL}/private")).await;
    assert_eq!(again.form().fields.get("email"), Some("other@example.com"), "it remembers, and asks");

    let (browser, page) = world.asked().await;
    let denied = browser.submit(&page.form().press("Deny")).await;
    assert_eq!(denied.status, 403);
    assert!(world.events.has(EventCode::DevelopmentProvider), "loudly");
}

/// Hostile input is text, and only the page's own form counts.
#[tokio::test]
async fn hostile_input_and_forged_cookies() {
    let world = World::new();
    let (browser, page) = world.asked().await;
    let hostile = "\"><script>alert(1)</script>@x";
    let refused = browser.submit(&page.form().fill("email", hostile).press("Sign in")).await;
    assert_eq!(refused.status, 400);
    assert!(!refused.text().contains("<script>alert"), "{}", refused.text());
    assert_eq!(refused.form().fields.get("email"), Some(hostile), "escaped, and still there to be corrected");
    for email in ["no-at-sign", "", "a@b@c", "a b@c"] {
        let page = browser.submit(&browser.page().form().fill("email", email).press("Sign in")).await;
        assert_eq!(page.status, 400, "{email:?}");
    }

    for to in ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)"] {
        let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
        let page = world.browser().navigate(&format!("{LOCAL}/auth/login?return_to={to}")).await;
        assert_eq!((page.status.as_u16(), page.location()), (400, None), "{to}");
    }

    let (victim, page) = world.asked().await;
    let mut form = page.form().fill("email", "evil@example.com").press("Sign in");
    form.action = page.url.join(&form.action).unwrap().to_string();
    for from in ["https://evil.test/", "http://evil.localhost:3000/", "http://localhost:4000/"] {
        let page = victim.submit_from(from, &form).await;
        assert_eq!(page.status, 403, "{from}");
    }
    let thief = world.browser();
    let stolen = thief.submit_from(&format!("{PROVIDER}/authorize"), &form).await;
    assert_eq!(stolen.status, 400, "another browser's page");

    for cookie in [
        "dev_appserver_login=root@x.test:True:1",
        "tower-oidc-session=root@x.test",
        "tower-oidc-development=root@x.test",
        "ACSID=root@x.test; SACSID=root@x.test",
    ] {
        let request = Request::get(format!("{LOCAL}/who")).header("cookie", cookie);
        let answer = world.browser().raw(request.body(Bytes::new()).unwrap()).await;
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"null"[..]), "{cookie}");
    }
}

/// Only where nobody else can reach it.
#[test]
fn loopback_only() {
    let at = |public_url: &str| {
        let mut config = Config::development(([127, 0, 0, 1], 3000));
        config.public_url = public_url.to_owned();
        OidcLayer::per_user(config, MemoryStore::new())
    };
    for public_url in ["https://app.test", "https://localhost.evil.test", "http://192.168.0.7:3000", "http://0.0.0.0"] {
        let refused = at(public_url).unwrap_err();
        assert!(refused.to_string().contains("public_url") || refused.to_string().contains("OIDC_ISSUER"), "{refused}");
    }
    for public_url in ["http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000", "https://localhost"] {
        assert!(at(public_url).is_ok(), "{public_url}");
    }
}

/// It is a provider like any other.
#[tokio::test]
async fn development_takes_the_path_of_production() {
    let world = World::new();
    let (browser, page) = world.signed_in("test@example.com", false).await;
    let asked = page.chain.iter().map(|hop| hop.url.path().to_owned()).collect::<Vec<_>>();
    assert!(asked.contains(&"/auth/callback".to_owned()), "{asked:?}");
    let authorize = world.net.requests_to(LOCAL, "/auth/development/authorize");
    let request = authorize[0].query_params();
    assert_eq!((request.get("response_type"), request.get("code_challenge_method")), (Some("code"), Some("S256")));
    assert!(request.has("state") && request.has("nonce") && request.has("code_challenge"));

    let metadata = browser.fetch(Method::GET, &format!("{PROVIDER}/.well-known/openid-configuration"), "", LOCAL).await;
    let metadata = metadata.json();
    assert_eq!(metadata["issuer"], PROVIDER);
    let keys = browser.fetch(Method::GET, metadata["jwks_uri"].as_str().unwrap(), "", LOCAL).await.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1));
    assert!(keys["keys"][0].get("d").is_none(), "the public half");

    let callback = page.chain.iter().find(|hop| hop.url.path() == "/auth/callback").unwrap().url.clone();
    let replayed = browser.navigate(callback.as_str()).await;
    assert_eq!(replayed.status, 400, "the login is finished");
    let code = callback.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let exchange = Form::post(
        metadata["token_endpoint"].as_str().unwrap(),
        &[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("client_id", "development"),
            ("redirect_uri", "http://localhost:3000/auth/callback"),
            ("code_verifier", &"v".repeat(43)),
        ],
    );
    let refused = world.browser().submit_from(&format!("{LOCAL}/"), &exchange).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"].as_str()), (400, Some("invalid_grant")));
}
