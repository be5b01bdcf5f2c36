//! The demo with one account for everybody, as a process: at a certified provider and at its own.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::folder::Folder;
use crate::support::http::{Client, Page};
use crate::support::process::{Demo, RealProvider, app_url, demo_refuses, eventually, free_port};

const SECRET: (&str, &str) = ("SESSION_SECRET", "the sealing secret of this very test");

/// A provider, and the demo with its API `/cal/`. `None`: the test is skipped.
async fn start(client: &str, provider: &[(&str, &str)], demo: &[(&str, &str)]) -> Option<(RealProvider, Demo)> {
    let port = free_port();
    let provider = RealProvider::start(&app_url(port), provider).await?;
    let demo = demo_at(port, &provider, client, demo).await;
    Some((provider, demo))
}

async fn demo_at(port: u16, provider: &RealProvider, client: &str, env: &[(&str, &str)]) -> Demo {
    let (secret, api) = (format!("{client} secret"), format!("{}/cal/", provider.issuer));
    let common = [
        ("MODE", "single-user"),
        ("OIDC_ISSUER", provider.issuer.as_str()),
        ("OIDC_CLIENT_ID", client),
        ("OIDC_CLIENT_SECRET", &secret),
        ("API_URL", &api),
        ("ADMINS", "alice@example.test"),
    ];
    Demo::start_at(port, &[&common, env].concat()).await
}

async fn sign_in(client: &mut Client, demo: &Demo, user: &str) {
    let form = client.visit(&demo.at("/auth/login?return_to=/who")).await;
    let page = client.submit(&form, &[("user", user)]).await;
    assert_eq!(page.json()["sub"], user, "{page:?}");
}

/// Whose data `/api` gets for this browser, or the problem's code.
async fn reads_as(client: &mut Client, demo: &Demo) -> Value {
    let page = client.get(&demo.at("/api")).await;
    let answer = page.json();
    if page.status == 200 { answer["user"].clone() } else { answer["code"].clone() }
}

/// An admin connects the account by the link on the home page, and signs in at the provider as this user.
async fn connect_as(admin: &mut Client, demo: &Demo, user: &str) -> Page {
    let home = admin.visit(&demo.at("/")).await;
    let asks = admin.click(home.link("/auth/connect")).await;
    let form = admin.submit(&asks, &[]).await;
    admin.submit(&form, &[("user", user)]).await
}

#[tokio::test]
async fn client_credentials_at_a_certified_provider() {
    let Some((provider, demo)) = start("robot", &[("TOKEN_SECONDS", "2")], &[]).await else { return };
    let mut anonymous = Client::new();
    eventually("the token was fetched again", Duration::from_secs(20), async || {
        assert_eq!(reads_as(&mut anonymous, &demo).await, "robot");
        let grants = provider.events("grant.success").await;
        assert!(grants.iter().all(|grant| grant["grant_type"] == "client_credentials"), "{grants:?}");
        (grants.len() >= 3).then_some(())
    })
    .await;
    let mut bob = Client::new();
    sign_in(&mut bob, &demo, "bob").await;
    assert_eq!(reads_as(&mut bob, &demo).await, "robot");
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

/// A refresh token that this user grants to the client `web`, as an operator gets one elsewhere.
async fn refresh_token_of(provider: &RealProvider, app: &str, user: &str) -> String {
    let verifier = "0123456789abcdef0123456789abcdef0123456789a";
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let redirect_uri = format!("{app}/auth/callback");
    let mut browser = Client::new();
    let asked = format!(
        "{}/auth?client_id=web&response_type=code&scope=openid%20cal&redirect_uri={redirect_uri}\
         &code_challenge={challenge}&code_challenge_method=S256&state=s",
        provider.issuer
    );
    let form = browser.visit(&asked).await;
    browser.halt_at = Some("/auth/callback");
    let back = browser.submit(&form, &[("user", user)]).await;
    let back = url::Url::parse(back.headers["location"].to_str().expect("text")).expect("a URL");
    let (_, code) = back.query_pairs().find(|(name, _)| name == "code").expect("a code");
    let answer = reqwest::Client::new()
        .post(format!("{}/token", provider.issuer))
        .basic_auth("web", Some("web+secret"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "grant_type=authorization_code&code={code}&redirect_uri={redirect_uri}&code_verifier={verifier}"
        ));
    let answer = answer.send().await.expect("an answer").text().await.expect("text");
    let tokens: Value = serde_json::from_str(&answer).expect("JSON");
    tokens["refresh_token"].as_str().unwrap_or_else(|| panic!("no refresh token: {tokens}")).to_owned()
}

/// The provider rotates it: what came for it is in a file, and each is used once.
#[tokio::test]
async fn a_configured_token_at_a_certified_provider() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.file().display());
    let port = free_port();
    let provider_env = [("TOKEN_SECONDS", "2"), ("GRANTS", "separate")];
    let Some(provider) = RealProvider::start(&app_url(port), &provider_env).await else { return };
    let token = refresh_token_of(&provider, &app_url(port), "office").await;
    let env = [("ACCOUNT", "refresh-token"), ("ACCOUNT_REFRESH_TOKEN", &*token), ("TOKEN_STORE", &*store), SECRET];
    let refreshes = async || {
        let grants = provider.events("grant.success").await;
        grants.iter().filter(|grant| grant["grant_type"] == "refresh_token").count()
    };
    for starts in 1..=3 {
        let mut demo = demo_at(port, &provider, "web", &env).await;
        let (mut anonymous, mut bob) = (Client::new(), Client::new());
        sign_in(&mut bob, &demo, "bob").await;
        let before = refreshes().await;
        eventually("a refresh", Duration::from_secs(20), async || {
            assert_eq!(reads_as(&mut anonymous, &demo).await, "office", "start {starts}");
            assert_eq!(reads_as(&mut bob, &demo).await, "office");
            (refreshes().await > before).then_some(())
        })
        .await;
        assert!(!demo.output().contains(&token), "in no log");
        // As a deploy does: who is killed while a token is being spent loses what comes for it.
        demo.terminate();
        assert_eq!(demo.ended().await, Some(0));
    }
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

/// What is the account's is nobody's in per-user mode over the same store, and what is a person's is not everybody's.
#[tokio::test]
async fn modes_on_one_store_at_a_certified_provider() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.file().display());
    let env = [("ACCOUNT", "operator"), ("TOKEN_STORE", &*store), SECRET];
    let Some((provider, demo)) = start("web", &[("GRANTS", "separate")], &env).await else { return };
    let port = demo.port();
    let (mut alice, mut bob) = (Client::new(), Client::new());
    sign_in(&mut alice, &demo, "alice").await;
    connect_as(&mut alice, &demo, "office").await;
    assert_eq!(reads_as(&mut bob, &demo).await, "office");
    demo.stop().await;

    let per_user = [("MODE", "per-user"), ("TOKEN_STORE", &*store), SECRET];
    let demo = demo_at(port, &provider, "web", &per_user).await;
    assert_eq!(reads_as(&mut Client::new(), &demo).await, "unauthenticated");
    sign_in(&mut bob, &demo, "bob").await;
    assert_eq!(reads_as(&mut bob, &demo).await, "bob", "his own");
    let mut admin = Client::new();
    sign_in(&mut admin, &demo, "alice").await;
    assert_eq!(reads_as(&mut admin, &demo).await, "alice", "an admin has nothing more");
    demo.stop().await;

    let demo = demo_at(port, &provider, "web", &env).await;
    for browser in [&mut Client::new(), &mut bob, &mut admin] {
        assert_eq!(reads_as(browser, &demo).await, "office", "the account's is still there");
    }
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

#[tokio::test]
async fn an_operator_connects_at_a_certified_provider() {
    let env = [("ACCOUNT", "operator")];
    let Some((provider, demo)) = start("web", &[("TOKEN_SECONDS", "2"), ("GRANTS", "separate")], &env).await else {
        return;
    };
    let mut anonymous = Client::new();
    assert_eq!(reads_as(&mut anonymous, &demo).await, "operator_action_required");
    let (mut alice, mut bob) = (Client::new(), Client::new());
    sign_in(&mut alice, &demo, "alice").await;
    sign_in(&mut bob, &demo, "bob").await;
    assert_eq!(bob.get(&demo.at("/auth/connect?connection=login&return_to=/")).await.status, 403);
    let page = connect_as(&mut alice, &demo, "office").await;
    assert_eq!(page.url.path(), "/", "{page:?}");
    assert!(page.body.contains("The account for everybody"), "{}", page.body);
    assert!(page.body.contains(">connected<") && page.body.contains("as office"), "{}", page.body);
    eventually("it was refreshed", Duration::from_secs(20), async || {
        for browser in [&mut anonymous, &mut alice, &mut bob] {
            assert_eq!(reads_as(browser, &demo).await, "office");
        }
        let grants = provider.events("grant.success").await;
        let refreshes = grants.iter().filter(|grant| grant["grant_type"] == "refresh_token");
        (refreshes.count() >= 2).then_some(())
    })
    .await;
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

/// Each connection is one grant more of the account's, which the page shows to everybody and admins connect.
#[tokio::test]
async fn an_operator_connects_each_connection_on_the_page() {
    let port = free_port();
    let Some(provider) = RealProvider::start(&app_url(port), &[("GRANTS", "separate")]).await else { return };
    let mail = format!("{}/mail/today", provider.issuer);
    let env = [
        ("ACCOUNT", "operator"),
        ("CONNECTIONS", "mail"),
        ("CONNECTION_MAIL_API_URL", mail.as_str()),
        ("CONNECTION_MAIL_SCOPES", "mail"),
    ];
    let demo = demo_at(port, &provider, "web", &env).await;
    let (mut anonymous, mut alice) = (Client::new(), Client::new());
    let home = anonymous.visit(&demo.at("/")).await;
    assert!(home.body.contains("connection-mail") && home.body.contains("needs its operator"), "{home:?}");
    assert!(!home.body.contains("href=\"/auth/connect"), "it is an admin's to connect");
    assert_eq!(anonymous.get(&demo.at("/api/mail")).await.json()["code"], "operator_action_required");

    sign_in(&mut alice, &demo, "alice").await;
    let home = alice.visit(&demo.at("/")).await;
    let asks = alice.click(home.link("/auth/connect?connection=mail")).await;
    let form = alice.submit(&asks, &[]).await;
    let home = alice.submit(&form, &[("user", "office")]).await;
    assert!(home.body.contains("as office"), "{home:?}");
    for browser in [&mut anonymous, &mut alice] {
        let read = browser.get(&demo.at("/api/mail")).await.json();
        assert_eq!(read, json!({ "user": "office", "scope": "openid mail" }));
        assert_eq!(reads_as(browser, &demo).await, "operator_action_required", "the login's own is another grant");
    }
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

/// In a file, and not in the process: whoever comes after a restart uses what was connected before.
#[tokio::test]
async fn a_connected_account_outlives_the_process() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.file().display());
    let secret = ("SESSION_SECRET", "the sealing secret of this very test");
    let env = [("ACCOUNT", "operator"), ("TOKEN_STORE", store.as_str()), secret];
    let provider_env = [("TOKEN_SECONDS", "2"), ("GRANTS", "separate")];
    let Some((provider, demo)) = start("web", &provider_env, &env).await else { return };
    let mut alice = Client::new();
    sign_in(&mut alice, &demo, "alice").await;
    connect_as(&mut alice, &demo, "office").await;
    assert_eq!(reads_as(&mut Client::new(), &demo).await, "office");
    let mut demo = demo;
    for restart in 1..=2 {
        let port = demo.port();
        // As a deploy does: who is killed while a token is being spent loses what comes for it.
        demo.terminate();
        assert_eq!(demo.ended().await, Some(0));
        demo = demo_at(port, &provider, "web", &env).await;
        assert_eq!(reads_as(&mut Client::new(), &demo).await, "office", "after {restart} restarts");
    }
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

/// With the provider that it brings: an API of the test sees one token, whoever asks.
#[tokio::test]
async fn the_demo_alone() {
    use std::sync::{Arc, Mutex};

    use axum::http::HeaderMap;
    use axum::routing::get;
    use axum::{Json, Router};

    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let api = {
        let seen = seen.clone();
        get(move |headers: HeaderMap| async move {
            let token = headers["authorization"].to_str().unwrap().to_owned();
            seen.lock().unwrap().push(token);
            Json(json!({ "user": "whoever shows it" }))
        })
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/data", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/data", api)).await });
    let demo = Demo::start(&[("MODE", "single-user"), ("API_URL", &url)]).await;
    let mut ann = Client::new();
    let form = ann.visit(&demo.at("/auth/login?return_to=/who")).await;
    let who = ann.submit(&form, &[("email", "ann@example.test")]).await.json();
    assert_eq!(who["email"], "ann@example.test");
    for client in [&mut Client::new(), &mut ann, &mut Client::new()] {
        assert_eq!(reads_as(client, &demo).await, "whoever shows it");
    }
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() == 3 && seen.iter().all(|token| *token == seen[0] && token.starts_with("Bearer ")));
    assert!(!demo.output().contains(seen[0].trim_start_matches("Bearer ")));
}

#[tokio::test]
async fn the_demo_says_what_is_missing() {
    let issuer = ("OIDC_ISSUER", "https://op.example.test");
    let web = [("MODE", "single-user"), issuer, ("OIDC_CLIENT_ID", "web")];
    for (env, named) in [
        (&[][..], "OIDC_CLIENT_SECRET"),
        (&[("ACCOUNT", "operator"), ("OIDC_CLIENT_SECRET", "s")], "ADMINS"),
        (&[("ACCOUNT", "refresh-token"), ("OIDC_CLIENT_SECRET", "s")], "ACCOUNT_REFRESH_TOKEN"),
        (&[("ACCOUNT", "robot")], "ACCOUNT is"),
    ] {
        let says = demo_refuses(&[&web, env].concat()).await;
        assert!(says.contains(named), "{named}: {says}");
    }
}
