//! A newcomer's mistakes. Each ends in one line of the terminal that names its cause and its remedy, in a program that shows
//! warnings, such as `examples/minimal`: at start, as an error of the configuration; or at the first request or login. (A
//! redirect URI that is not registered is the provider's page: the program prints at start which one it is.)
//!
//! | mistake | where the line appears |
//! |---|---|
//! | issuer: a slash, another path | the first login |
//! | issuer: another scheme | start |
//! | no secret, a wrong one, a wrong method | the first callback |
//! | redirect URI not registered | start, and with INFO the first login |
//! | the browser uses another address than `PUBLIC_URL` | the first callback; on loopback the first request |
//! | a clock off by ten minutes | the first callback |
//! | the layer in a wrong place | the first redirect on loopback, elsewhere the third; no layer, or two: the first request |
//! | no `SESSION_SECRET` | start |
//! | a feature that is not enabled | start: `examples/grpc` is built without it |

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::Request;
use serde_json::Value;
use tower::ServiceExt;
use tower_oidc::store::MemoryStore;
use tower_oidc::{ClientAuthMethod, Config, ConfigError, CurrentUser, OidcLayer, ProviderConfig};

use crate::leaks::Log;
use crate::support::app::{APP, App, OP, World, config, routes};
use crate::support::folder::repository;
use crate::support::provider::CLIENT_ID;
use crate::support::store::Shared;

/// What a subscriber for `level` and worse shows of a program that does this.
async fn terminal<T>(level: &[&str], program: impl Future<Output = T>) -> Vec<String> {
    let (log, guard) = Log::listen();
    drop(program.await);
    drop(guard);
    let text = log.text();
    let shown = |line: &&str| level.iter().any(|level| line.contains(&format!(" {level} ")));
    text.lines().filter(shown).map(str::to_owned).collect()
}

const WARN: &[&str] = &["WARN", "ERROR"];

/// One line has all of these words, of which the event's code is the first; and it is not lost among many.
fn assert_helps(lines: &[String], words: &[&str]) {
    assert!(lines.len() <= 2, "{lines:#?}");
    let Some(line) = lines.iter().find(|line| line.contains(words[0])) else { panic!("{words:?}: {lines:#?}") };
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?} of {lines:#?}");
    }
}

/// Somebody opens a page and signs in. The status of what they see.
async fn first_login(world: &World) -> u16 {
    world.op.sign_in_as("alice");
    world.browser().visit(&format!("{APP}/private")).await.status.as_u16()
}

async fn with(edit: impl FnOnce(Config) -> Config) -> Vec<String> {
    let world = World::with(edit);
    terminal(WARN, first_login(&world)).await
}

#[tokio::test]
async fn nothing_is_said_without_a_mistake() {
    let world = World::new();
    let program = async { assert_eq!(first_login(&world).await, 200) };
    assert_eq!(terminal(WARN, program).await, Vec::<String>::new());
}

fn refused(config: Config) -> ConfigError {
    OidcLayer::per_user(config, MemoryStore::new()).expect_err("it is refused")
}

/// One problem, and so one line.
fn problem(error: &ConfigError) -> &str {
    let [problem] = error.problems() else { panic!("{error}") };
    assert!(!problem.contains('\n'), "{problem:?}");
    assert!(format!("{error:?}").contains(&format!("\n  - {problem}")), "as `main` prints it: {error:?}");
    problem
}

fn issuer(issuer: &'static str) -> impl FnOnce(Config) -> Config {
    move |mut config| {
        config.provider.issuer = issuer.to_owned();
        config
    }
}

#[tokio::test]
async fn the_issuer_with_a_slash() {
    let lines = with(issuer("https://op.test/")).await;
    let both = ["names the issuer \"https://op.test\"", "expected \"https://op.test/\""];
    assert_helps(&lines, &["provider.failed", both[0], both[1], "exactly so (OIDC_ISSUER)"]);
}

#[tokio::test]
async fn the_issuer_with_another_path() {
    let lines = with(issuer("https://op.test/realms/example")).await;
    let asked = "https://op.test/realms/example/.well-known/openid-configuration answered 404";
    assert_helps(&lines, &["provider.failed", asked, "is the issuer correct (OIDC_ISSUER)?"]);
}

#[test]
fn the_issuer_with_another_scheme() {
    let error = refused(Config::new(APP, ProviderConfig::new("http://op.test", CLIENT_ID)));
    for word in ["issuer is \"http://op.test\" (OIDC_ISSUER)", "use the provider's https URL"] {
        assert!(problem(&error).contains(word), "{error}");
    }
}

/// The provider answers all three alike. The line tells them apart by how the application authenticated.
#[tokio::test]
async fn the_client_secret() {
    type Edit = fn(&mut ProviderConfig);
    let mistakes: [(Edit, &str); 3] = [
        (|provider| provider.client_secret = None, "https://op.test/token (no client secret)"),
        (|provider| provider.client_secret = Some("wrong".into()), "https://op.test/token (client_secret_basic)"),
        (
            |provider| provider.client_auth = Some(ClientAuthMethod::ClientSecretPost),
            "https://op.test/token (client_secret_post)",
        ),
    ];
    for (edit, asked) in mistakes {
        let world = World::with(|mut config| {
            edit(&mut config.provider);
            config
        });
        world.op.set(|settings| settings.auth_methods = vec!["client_secret_basic"]);
        let lines = terminal(WARN, first_login(&world)).await;
        let answer = format!("{asked} answered 401, invalid_client");
        let remedy = "(OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_CLIENT_AUTH_METHOD, OIDC_SCOPES)";
        assert_helps(&lines, &["login.refused", &answer, remedy]);
        assert!(!lines.concat().contains("wrong"), "{lines:?}");
    }
}

/// The person sees the provider's page, and nothing comes back. The address is in the terminal all the same.
#[tokio::test]
async fn the_redirect_uri_is_not_registered() {
    let world = World::new();
    world.op.set(|settings| settings.redirect_uris = vec![format!("{APP}/callback")]);
    world.op.sign_in_as("alice");
    let page = world.browser().visit(&format!("{APP}/private")).await;
    assert_eq!((page.url.origin().ascii_serialization().as_str(), page.status.as_u16()), (OP, 400));
    let lines = terminal(&["INFO"], first_login(&world)).await;
    let last = lines.last().expect("a line");
    for word in ["login.started", OP, "must have the redirect URI https://app.test/auth/callback"] {
        assert!(last.contains(word), "{lines:#?}");
    }
    let minimal = std::fs::read_to_string(repository().join("examples/minimal.rs")).unwrap();
    assert!(minimal.contains("the redirect URI is {0}/auth/callback"), "printed at start");
}

#[tokio::test]
async fn the_browser_uses_another_address() {
    let world = World::new();
    let elsewhere = "https://www.app.test";
    world.net.serve_service(elsewhere, world.app.layer.layer(routes()));
    world.op.sign_in_as("alice");
    let program = async {
        let page = world.browser().visit(&format!("{elsewhere}/private")).await;
        assert_eq!(page.status, 400);
    };
    let lines = terminal(WARN, program).await;
    assert_helps(&lines, &["login.refused", "began outside of PUBLIC_URL"]);
}

/// On a developer's own machine: refused at once.
#[tokio::test]
async fn the_browser_uses_another_name_of_this_machine() {
    let world = World::new();
    let mut config = config(&world.net, &world.clock);
    config.public_url = "http://localhost:3000".to_owned();
    let app = OidcLayer::per_user(config, MemoryStore::new()).unwrap().layer(routes());
    let open = |host: &'static str| {
        let request = Request::get("/who").header("host", host).body(axum::body::Body::empty());
        let app = app.clone();
        async move { assert!(app.oneshot(request.unwrap()).await.is_ok()) }
    };
    let lines = terminal(WARN, open("laptop.test:3000")).await;
    assert_helps(&lines, &["request.not_loopback", "laptop.test:3000", "development_hosts", "PUBLIC_URL"]);
    assert_eq!(terminal(WARN, open("localhost:3000")).await, Vec::<String>::new(), "the control");
}

#[tokio::test]
async fn a_clock_that_is_off_by_ten_minutes() {
    let world = World::new();
    // ID tokens that are good for five minutes, as many are.
    world.op.edit_id_token(|jwt| jwt.claim("exp", jwt.now() + 300));
    let clock = world.clock.of_a_process();
    let _app = App::start(&world.net, &clock, world.app.store.clone(), |config| config);
    let ten_minutes = Duration::from_secs(600);
    clock.rewind(ten_minutes);
    let behind = terminal(WARN, first_login(&world)).await;
    assert_helps(&behind, &["login.refused", "iat is", "600 s after this clock", "set the clock that is wrong"]);
    clock.set_forward(2 * ten_minutes);
    let ahead = terminal(WARN, first_login(&world)).await;
    assert_helps(&ahead, &["login.refused", "exp is", "300 s before this clock", "set the clock that is wrong"]);
    clock.correct();
    assert_eq!(terminal(WARN, first_login(&world)).await, Vec::<String>::new(), "the control");
}

#[tokio::test]
async fn the_layer_in_a_wrong_place() {
    let world = World::new();
    let inner = Router::new().route("/page", get(|_: CurrentUser| async {})).layer(world.app.layer.clone());
    world.net.serve_service(APP, Router::new().nest("/inner", inner));
    let program = async {
        for _ in 0..3 {
            world.browser().step(&format!("{APP}/inner/page")).await;
        }
    };
    let lines = terminal(WARN, program).await;
    let remedy = "add the layer after the last route and fallback, around the outermost router";
    assert_helps(&lines, &["layer.misplaced", "no request for it arrives", remedy]);
}

#[tokio::test]
async fn no_layer_at_all() {
    let program = async {
        let request = Request::get("/private").body(axum::body::Body::empty()).unwrap();
        assert_eq!(routes().oneshot(request).await.unwrap().status(), 500);
    };
    let lines = terminal(WARN, program).await;
    assert_helps(&lines, &["missing_layer", "no OidcLayer is around this handler", "`.layer(auth)`"]);
}

#[tokio::test]
async fn no_session_secret() {
    let without = || Config::new(APP, ProviderConfig::new(OP, CLIENT_ID).client_secret("another secret"));
    let program = async { assert!(OidcLayer::per_user(without(), MemoryStore::new()).is_ok()) };
    let lines = terminal(WARN, program).await;
    assert_helps(&lines, &["secret.generated", "no SESSION_SECRET (32 random bytes or more)"]);
    // Beside a store that lasts it is an error.
    let error = OidcLayer::per_user(without(), Shared(MemoryStore::new())).unwrap_err();
    for word in ["SESSION_SECRET", "the store outlives this process", "at least 32 bytes"] {
        assert!(problem(&error).contains(word), "{error}");
    }
    let secret = without().session_secrets(["a sealing secret of the tests, 32 bytes+"]);
    let control = async { assert!(OidcLayer::per_user(secret, MemoryStore::new()).is_ok()) };
    assert_eq!(terminal(WARN, control).await, Vec::<String>::new());
}

#[test]
fn nothing_is_set() {
    let error = Config::from_env_with(|_| None).unwrap_err();
    for word in ["no issuer is set", "OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_ISSUER=development"] {
        assert!(problem(&error).contains(word), "{error}");
    }
    assert!(Config::from_env_with(|name| (name == "OIDC_ISSUER").then(|| OP.to_owned())).is_ok());
}

/// Lines are for terminals: what a provider sends cannot write one of its own.
#[tokio::test]
async fn a_line_stays_one_line() {
    let world = World::new();
    world.op.edit_discovery(|document| {
        document.insert("issuer".to_owned(), Value::from("https://op.test/\n2026 WARN forged"));
    });
    let lines = terminal(WARN, first_login(&world)).await;
    assert!(lines.iter().all(|line| line.contains("tower_oidc")), "{lines:#?}");
    assert_helps(&lines, &["provider.failed", "forged"]);
}

/// Each error is said once, and the one beneath it after it.
#[tokio::test]
async fn the_issuer_does_not_answer() {
    let lines = with(issuer("https://nowhere.test")).await;
    assert_helps(&lines, &["provider.failed", "https://nowhere.test", "the connection failed"]);
    assert_eq!(lines[0].matches("the connection failed").count(), 1, "{lines:#?}");
}
