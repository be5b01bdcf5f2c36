//! The demo in stateless mode as a process: at a certified provider, and behind the real nginx.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::http::{Client, Page};
use crate::support::net::Net;
use crate::support::nginx::Nginx;
use crate::support::process::{Demo, RealProvider, app_url, eventually, free_port, requirement};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::socket::expose;

const SECRET: (&str, &str) = ("SESSION_SECRET", "one secret for all processes: 32 bytes and more");

/// The provider rotates refresh tokens and ends the whole grant when one comes twice. The demo keeps nothing, and is
/// killed in between.
#[tokio::test]
async fn a_certified_provider_that_rotates() {
    let port = free_port();
    let Some(provider) = RealProvider::start(&app_url(port), &[("TOKEN_SECONDS", "2")]).await else { return };
    let env = [
        ("MODE", "stateless"),
        SECRET,
        ("OIDC_ISSUER", provider.issuer.as_str()),
        ("OIDC_CLIENT_ID", "web"),
        ("OIDC_CLIENT_SECRET", "web secret"),
        ("OIDC_SCOPES", "openid email profile"),
        ("ADMINS", "alice@example.test"),
    ];
    let demo = Demo::start_at(port, &env).await;
    let mut alice = Client::new();
    let form = alice.visit(&demo.at("/auth/login?return_to=/private")).await;
    let page = alice.submit(&form, &[("user", "alice")]).await;
    assert_eq!((page.url.as_str(), page.status.as_u16()), (&*demo.at("/private"), 200), "{page:?}");
    let refreshes = async || {
        let mut grants = provider.events("grant.success").await;
        grants.retain(|grant| grant["grant_type"] == "refresh_token");
        grants.len()
    };
    eventually("three refreshes", Duration::from_secs(20), async || {
        // Tabs whose answers are lost, and one whose answer arrives.
        let burst = (0..7).map(|_| {
            let (mut tab, api) = (alice.clone(), demo.at("/api"));
            async move { tab.get(&api).await }
        });
        for page in futures_util::future::join_all(burst).await {
            assert_eq!((page.status.as_u16(), &page.json()["sub"]), (200, &json!("alice")), "{page:?}");
        }
        assert_eq!(alice.get(&demo.at("/api")).await.json()["sub"], "alice");
        (refreshes().await >= 3).then_some(())
    })
    .await;
    // Nothing is kept: another process goes on with what the browser has. Which is the newest once an answer has come
    // after a refresh: of one in the background, the answer that began it knows nothing.
    eventually("a refresh whose answer arrived", Duration::from_secs(20), async || {
        let before = refreshes().await;
        assert_eq!(alice.get(&demo.at("/api")).await.json()["sub"], "alice");
        let refreshed = refreshes().await;
        eventually("what the provider granted has landed", Duration::from_secs(20), async || {
            (demo.output().matches("refresh.succeeded").count() >= refreshed).then_some(())
        })
        .await;
        assert_eq!(alice.get(&demo.at("/api")).await.json()["sub"], "alice");
        (refreshed > before && refreshes().await == refreshed).then_some(())
    })
    .await;
    demo.stop().await;
    let demo = Demo::start_at(port, &env).await;
    let me = alice.get(&demo.at("/me")).await.json();
    assert_eq!((&me["sub"], &me["admin"]), (&json!("alice"), &json!(true)));
    assert_eq!(alice.get(&demo.at("/api")).await.json()["sub"], "alice");
    let home = alice.visit(&demo.at("/")).await;
    alice.click(home.link("/auth/logout")).await;
    assert_eq!(alice.get(&demo.at("/who")).await.json(), Value::Null);
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

/// A login behind nginx whose access token is longer by so many characters.
async fn login_behind(nginx: &Nginx, demo_port: u16, padding: usize) -> Page {
    let net = Net::new();
    let issuer = format!("http://localhost:{}", free_port());
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let op = LyingProvider::with_clock(&net, &issuer, Arc::new(seconds));
    op.set(|op| op.access_token_padding = padding);
    op.sign_in_as("alice");
    expose(&net, &issuer).await;
    let public_url = app_url(nginx.port);
    let env = [
        ("MODE", "stateless"),
        SECRET,
        ("PUBLIC_URL", &*public_url),
        ("OIDC_ISSUER", &*issuer),
        ("OIDC_CLIENT_ID", CLIENT_ID),
        ("OIDC_CLIENT_SECRET", CLIENT_SECRET),
    ];
    let demo = Demo::start_at(demo_port, &env).await;
    let mut alice = Client::new();
    let page = alice.visit(&format!("{public_url}/auth/login?return_to=/who")).await;
    if page.status == 200 {
        let again = alice.get(&format!("{public_url}/who")).await;
        assert_eq!((again.status.as_u16(), &again.json()["sub"]), (200, &json!("a1")), "{again:?}");
    }
    demo.stop().await;
    page
}

/// What the documentation says of proxies. Of `x` alone no more can be packed than of a real token.
#[tokio::test]
async fn logins_behind_nginx_need_what_the_documentation_says() {
    if requirement("TOWER_OIDC_NGINX", "nginx").is_none() {
        return;
    }
    let (small, large) = (2, 3_602);
    let (port, demo) = (free_port(), free_port());
    let defaults = format!(
        "server {{\n    listen 127.0.0.1:{port};\n    location / {{ proxy_pass http://127.0.0.1:{demo}; }}\n}}"
    );
    let nginx = Nginx::start(port, &defaults).await;
    assert_eq!(login_behind(&nginx, demo, small).await.status, 200, "{}", nginx.log());
    assert_eq!(login_behind(&nginx, demo, large).await.status, 502, "an answer's head above 4 KiB");
    drop(nginx);
    let (port, demo) = (free_port(), free_port());
    let documented = Nginx::documented(include_str!("../../../src/docs/stateless.md"), &[demo], port).await;
    let nginx = documented.expect("it is installed");
    let page = login_behind(&nginx, demo, large).await;
    assert_eq!((page.status.as_u16(), &page.json()["sub"]), (200, &json!("a1")), "{}", nginx.log());
}
