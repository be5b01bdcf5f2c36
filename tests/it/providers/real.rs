//! Two certified providers: the demo with a login at each, and an account at the second that is linked in this process.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, Connection, CurrentUser, Error, OidcLayer, ProviderConfig, Resource, UserTokens};

use crate::support::http::Client;
use crate::support::process::{Demo, RealProvider, app_url, free_port};

pub(crate) const MODES: [&str; 2] = ["per-user", "stateless"];

/// Two providers, and a demo in this mode that is registered at both under the same name. `None`: the test is skipped.
pub(crate) async fn demo_at_two(mode: &str) -> Option<(RealProvider, RealProvider, Demo)> {
    let port = free_port();
    let first = RealProvider::start(&app_url(port), &[]).await?;
    let work = RealProvider::start(&app_url(port), &[]).await?;
    let demo = start_at_two(port, mode, &first, &work).await;
    Some((first, work, demo))
}

/// The demo alone, as it is started again.
pub(crate) async fn start_at_two(port: u16, mode: &str, first: &RealProvider, work: &RealProvider) -> Demo {
    let env = [
        ("MODE", mode),
        ("SESSION_SECRET", "one secret before and after: 32 bytes and more"),
        ("OIDC_ISSUER", first.issuer.as_str()),
        ("OIDC_CLIENT_ID", "web"),
        ("OIDC_CLIENT_SECRET", "web secret"),
        ("OIDC_SCOPES", "openid email profile"),
        ("OIDC_PROVIDERS", "work"),
        ("OIDC_WORK_ISSUER", work.issuer.as_str()),
        ("OIDC_WORK_CLIENT_ID", "web"),
        ("OIDC_WORK_CLIENT_SECRET", "web secret"),
        ("OIDC_WORK_DISPLAY_NAME", "Work & Sons"),
        ("ADMINS", "default:alice@example.test"),
    ];
    Demo::start_at(port, &env).await
}

/// The page that asks, a login at each, an admin of one only, and a logout at the right one.
#[tokio::test]
async fn at_two_real_providers() {
    for mode in MODES {
        let Some((first, work, demo)) = demo_at_two(mode).await else { return };
        for (name, own, other) in [("default", &first, &work), ("work", &work, &first)] {
            let before = other.events("grant.success").await.len();
            let mut alice = Client::new();
            let page = alice.visit(&demo.at("/private?q=1")).await;
            assert!(page.body.contains("Work &amp; Sons"), "{}", page.body);
            let form = alice.click(page.link(&format!("provider={name}"))).await;
            assert_eq!(form.url.origin().ascii_serialization(), own.issuer);
            let page = alice.submit(&form, &[("user", "alice")]).await;
            assert_eq!((page.url.as_str(), page.status.as_u16()), (&*demo.at("/private?q=1"), 200), "{page:?}");
            let me = alice.get(&demo.at("/me")).await.json();
            assert_eq!((&me["sub"], &me["issuer"]), (&json!("alice"), &json!(own.issuer)));
            assert_eq!(me["admin"], name == "default");
            assert_eq!(alice.get(&demo.at("/admin")).await.status, if name == "default" { 200 } else { 403 });
            assert_eq!(alice.get(&demo.at("/api")).await.json()["sub"], "alice", "its own UserInfo");

            let home = alice.visit(&demo.at("/")).await;
            let confirm = alice.click(home.link("/auth/logout")).await;
            assert_eq!(confirm.url.origin().ascii_serialization(), own.issuer);
            let landed = alice.submit(&confirm, &[("logout", "yes")]).await;
            assert_eq!(landed.url.as_str(), demo.at("/"));
            assert_eq!(alice.get(&demo.at("/who")).await.json(), Value::Null);
            assert!(landed.body.contains("provider=default") && landed.body.contains("provider=work"));
            assert_eq!(own.events("end_session.success").await.len(), 1, "{name}");
            assert_eq!(other.events("grant.success").await.len(), before, "{name}");
        }
        for provider in [&first, &work] {
            assert_eq!(provider.complaints().await, [] as [Value; 0]);
        }
    }
}

/// What one provider answered comes to the other's address.
#[tokio::test]
async fn answers_of_two_real_providers_are_not_mixed_up() {
    for mode in MODES {
        let Some((first, work, demo)) = demo_at_two(mode).await else { return };
        let [at_first, at_work] = ["/auth/callback/default", "/auth/callback/work"];
        for (name, own, right, wrong) in [("default", &first, at_first, at_work), ("work", &work, at_work, at_first)] {
            let mut alice = Client::new();
            let form = alice.visit(&demo.at(&format!("/auth/login?return_to=/who&provider={name}"))).await;
            alice.halt_at = Some(right);
            let stopped = alice.submit(&form, &[("user", "alice")]).await;
            alice.halt_at = None;
            let callback = stopped.headers["location"].to_str().expect("a URL").to_owned();
            assert!(callback.starts_with(&demo.at(right)) && callback.contains("iss="), "{callback}");
            let mixed = callback.replace(right, wrong);
            assert_eq!(alice.get(&mixed).await.status, 400);
            for provider in [&first, &work] {
                assert_eq!(provider.complaints().await, [] as [Value; 0], "nobody was asked to exchange it");
            }
            let before = own.events("grant.success").await.len();
            assert_eq!(alice.visit(&callback).await.json()["issuer"], own.issuer, "the control");
            assert_eq!(own.events("grant.success").await.len(), before + 1);
        }
    }
}

/// Alice of the first provider links Bob's account at the second, which is refreshed and revoked there.
#[tokio::test]
async fn an_account_at_another_real_provider_is_linked() {
    let port = free_port();
    let app = app_url(port);
    let Some(first) = RealProvider::start(&app, &[]).await else { return };
    let Some(home) = RealProvider::start(&app, &[("TOKEN_SECONDS", "2")]).await else { return };
    let api = format!("{}/cal/today", home.issuer);
    let mut config = Config::new(&app, ProviderConfig::new(&first.issuer, "web").client_secret("web secret"));
    config.session_secrets = vec!["a sealing secret of the tests, 32 bytes+".into()];
    let config = config.add_provider(
        ProviderConfig::new(&home.issuer, "web").client_secret("web secret").name("work").without_login().connection(
            Connection::new("cal").resource(Resource::new("cal", format!("{}/cal/", home.issuer)).scope("cal")),
        ),
    );
    let layer = OidcLayer::per_user(config, MemoryStore::new()).unwrap_or_else(|error| panic!("{error}"));
    let routes = Router::new()
        .route("/who", get(|user: CurrentUser| async move { Json(json!([user.issuer(), user.subject()])) }))
        .route("/list", get(|tokens: UserTokens| async move { tokens.connections().await.map(Json) }))
        .route(
            "/api",
            get(move |tokens: UserTokens| {
                let api = api.clone();
                async move { Ok::<_, Error>(tokens.client().get(&api).await?.status().to_string()) }
            }),
        );
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    let service = Router::new().fallback_service(layer.layer(routes));
    tokio::spawn(async move { axum::serve(listener, service).await });

    let mut alice = Client::new();
    let form = alice.visit(&format!("{app}/auth/login?return_to=/who")).await;
    let page = alice.submit(&form, &[("user", "alice")]).await;
    assert_eq!(page.json(), json!([first.issuer, "alice"]));
    assert_eq!(alice.get(&format!("{app}/api")).await.status, 403, "not yet");
    let form = alice.visit(&format!("{app}/auth/connect?connection=cal&return_to=/list")).await;
    assert_eq!(form.url.origin().ascii_serialization(), home.issuer);
    let list = alice.submit(&form, &[("user", "bob")]).await.json();
    assert_eq!((&list[0]["account"], &list[0]["issuer"]), (&json!("bob"), &json!(home.issuer)));
    assert_eq!(list[0]["state"], "connected");

    let refreshes = async |provider: &RealProvider| {
        let grants = provider.events("grant.success").await;
        grants.iter().filter(|grant| grant["grant_type"] == "refresh_token").count()
    };
    let patience = std::time::Duration::from_secs(20);
    crate::support::process::eventually("a refresh at the second", patience, async || {
        let mut tab = alice.clone();
        let answer = tab.get(&format!("{app}/api")).await;
        assert_eq!(answer.body, "200 OK", "{answer:?}");
        (refreshes(&home).await >= 1).then_some(())
    })
    .await;
    assert_eq!(refreshes(&first).await, 0);
    assert_eq!(home.events("api").await.last().expect("a call")["user"], "bob");

    let question = alice.visit(&format!("{app}/auth/disconnect?connection=cal&return_to=/list")).await;
    let list = alice.submit(&question, &[]).await.json();
    assert_eq!(list[0]["state"], "not_connected");
    assert_eq!(home.events("revocation").await.len(), 1);
    assert_eq!(first.events("revocation").await.len(), 0);
    assert_eq!(alice.get(&format!("{app}/who")).await.json(), json!([first.issuer, "alice"]));
    assert_eq!(alice.get(&format!("{app}/api")).await.status, 403);
    for provider in [&first, &home] {
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}
