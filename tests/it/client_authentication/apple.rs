//! Sign in with Apple: a client secret that a key of the team signs, and a name that comes once.

use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::store::MemoryStore;
use tower_oidc::{
    ClaimSource, Config, Connection, GrantLifetime, Mode, OidcLayer, ProviderConfig, Resource, SharedAccount,
};

use super::{RSA, key_set, p256, text, token};
use crate::support::app::{API, APP, World};
use crate::support::provider::{CLIENT_ID, LyingProvider};

const APPLE: &str = "https://appleid.apple.com";
const TEAM: &str = "TEAM123456";
const KEY: &str = "ABC123DEFG";

fn registered() -> ProviderConfig {
    let mut apple = ProviderConfig::presets().remove("apple").unwrap();
    apple.client_id = CLIENT_ID.to_owned();
    apple.private_key(text(&p256())).private_key_id(KEY).client_assertion_issuer(TEAM)
}

async fn at_apple(edit: impl FnOnce(&mut Config)) -> (World, LyingProvider) {
    let world = World::with(|mut config| {
        config.provider = registered();
        config = config.resource(Resource::new("cal", format!("{API}/cal/")));
        edit(&mut config);
        config
    });
    let apple = LyingProvider::start(&world.net, APPLE, &world.clock);
    apple.set(|settings| {
        settings.team = Some(TEAM.to_owned());
        settings.announce_iss = false;
        settings.send_iss = false;
        settings.claims_in_id_token = true;
    });
    apple.user("alice", |alice| {
        alice.unset("name");
        // A text, as Apple writes it.
        alice.set("email_verified", "true");
    });
    apple.register_keys(CLIENT_ID, &key_set(&world).await);
    apple.sign_in_as("alice");
    (world, apple)
}

/// What Apple posts with the first login, and never again.
fn says(apple: &LyingProvider, user: &str) {
    let user = user.to_owned();
    apple.edit_authorization_response(move |response| {
        response.params.0.push(("user".to_owned(), user.clone()));
    });
}

const NAME: &str = r#"{"name":{"firstName":"Alice","lastName":"Able"},"email":"someone.else@example.com"}"#;

async fn signed_in(world: &World) -> (crate::support::browser::Browser, Value) {
    let browser = world.browser();
    let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    (browser, page.json())
}

/// A secret for each request: none gets old.
#[tokio::test]
async fn the_secret_is_signed_for_each_request() {
    let (world, apple) = at_apple(|_| ()).await;
    let (alice, who) = signed_in(&world).await;
    assert_eq!((&who["sub"], &who["email_verified"]), (&json!("a1"), &json!(true)));
    let days = 200;
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(token(&alice).await.status, 200);
    world.clock.advance(Duration::from_secs(days * 24 * 60 * 60));
    signed_in(&world).await;
    let secrets = apple.assertions();
    assert_eq!(secrets.len(), 3);
    for secret in &secrets {
        assert_eq!([&secret.header["alg"], &secret.header["kid"]], ["ES256", KEY]);
        assert_eq!([&secret.claims["iss"], &secret.claims["sub"], &secret.claims["aud"]], [TEAM, CLIENT_ID, APPLE]);
    }
    assert_eq!(apple.last_authorization().get("response_mode"), Some("form_post"));
    assert_eq!(apple.discovery_fetches(), 0, "its metadata are in the table");
    for sent in world.net.requests_to(APPLE, "/auth/token") {
        assert!(!sent.form().has("client_assertion") && sent.form().all("client_secret").len() == 1);
    }
}

/// It is the user's own word: it names them, proves no address, and decides nothing.
#[tokio::test]
async fn the_name_comes_with_the_first_login() {
    let (world, apple) = at_apple(|_| ()).await;
    says(&apple, NAME);
    let (_, who) = signed_in(&world).await;
    assert_eq!((&who["name"], &who["email"]), (&json!("Alice Able"), &json!("alice@example.com")));
    apple.honest();
    assert_eq!(signed_in(&world).await.1["name"], Value::Null, "and with no other");
    for (user, name) in [
        (r#"{"name":{"firstName":"Alice"}}"#, json!("Alice")),
        (r#"{"name":{"firstName":7,"lastName":" Able\u0000 "}}"#, json!("Able")),
        (r#"{"name":{"firstName":"","lastName":""}}"#, Value::Null),
        ("no JSON", Value::Null),
        ("", Value::Null),
    ] {
        says(&apple, user);
        assert_eq!(signed_in(&world).await.1["name"], name, "{user}");
    }
    says(&apple, &json!({ "name": { "firstName": "a".repeat(9000) } }).to_string());
    assert_eq!(signed_in(&world).await.1["name"].as_str().unwrap().len(), 200);
    apple.user("alice", |alice| alice.set("name", "Signed"));
    says(&apple, NAME);
    assert_eq!(signed_in(&world).await.1["name"], "Signed");
}

#[tokio::test]
async fn no_rule_is_met_by_a_name_that_nobody_signed() {
    for (asks, admin) in [(true, false), (false, true)] {
        let (world, apple) = at_apple(|config| {
            config.provider = config.provider.clone().roles(ClaimSource::IdToken, "/name");
            config.admin_roles = vec!["Alice Able".to_owned()];
        })
        .await;
        says(&apple, NAME);
        if !asks {
            apple.user("alice", |alice| alice.set("name", "Alice Able"));
        }
        assert_eq!(signed_in(&world).await.1["admin"], admin);
    }
}

/// Other providers' responses name nobody.
#[tokio::test]
async fn elsewhere_the_parameter_is_not_looked_at() {
    let world = World::new();
    world.op.user("alice", |alice| alice.unset("name"));
    world.op.sign_in_as("alice");
    says(&world.op, NAME);
    assert_eq!(signed_in(&world).await.1["name"], Value::Null);
}

#[test]
fn what_apple_needs_is_named() {
    type Edit = fn(&mut ProviderConfig);
    let mistakes: [(Edit, &str); 5] = [
        (|apple| apple.private_keys = vec![text(RSA)], "is one for RS256 or PS256, and the algorithm is \"ES256\""),
        (|apple| apple.private_keys.clear(), "OIDC_PRIVATE_KEY_FILE"),
        (|apple| apple.private_key_id = None, "OIDC_PRIVATE_KEY_ID"),
        (|apple| apple.client_assertion_issuer = None, "OIDC_CLIENT_ASSERTION_ISSUER"),
        (|_| (), ""),
    ];
    for (edit, named) in mistakes {
        let mut apple = registered();
        edit(&mut apple);
        let made = OidcLayer::from_config(Config::new(APP, apple), MemoryStore::new());
        let error = made.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(error.contains(named) && error.is_empty() == named.is_empty(), "{error}");
    }
    let connection = || Connection::new("more").resource(Resource::new("cal", format!("{API}/cal/")));
    let connected = || registered().connection(connection().grant_lifetime(GrantLifetime::Session));
    let refused = |provider: ProviderConfig, mode: Mode| {
        let mut config = Config::new(APP, provider);
        config.mode = mode;
        let made = OidcLayer::from_config(config, MemoryStore::new());
        made.map_or_else(|error| error.to_string(), |_| String::new())
    };
    assert_eq!(refused(registered(), Mode::Stateless), "");
    assert!(refused(connected(), Mode::Stateless).contains("response_mode is form_post"));
    let account = Mode::SingleUser(SharedAccount::client_credentials());
    assert!(refused(registered(), account).contains("SharedAccount::client_credentials() needs"));
}
