//! The demo as a process, at a provider of a preset and at an OpenID Provider.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::shapes::{self, number};
use crate::support::clock::TestClock;
use crate::support::http::Client;
use crate::support::net::Net;
use crate::support::oauth2::{OAuth2Provider, Shape};
use crate::support::process::{Demo, free_port};
use crate::support::provider::keys::Alg;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::socket::expose;

#[tokio::test]
async fn the_demo_signs_in_at_github_and_at_another_provider() {
    let net = Net::new();
    let [hub, work] = [(); 2].map(|()| format!("http://localhost:{}", free_port()));
    let at_hub = |path: &str| -> &'static str { Box::leak(format!("{hub}{path}").into_boxed_str()) };
    let [authorize, token, user] = ["/login/oauth/authorize", "/login/oauth/access_token", "/user"].map(at_hub);
    let github = shapes::github();
    let about = github.about.iter().map(|(url, about)| (at_hub(url.trim_start_matches(super::HUB)), *about)).collect();
    let hub_provider =
        OAuth2Provider::start(&net, &TestClock::new(), Shape { authorization: authorize, token, about, ..github });
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let op = LyingProvider::with_clock(&net, &work, Arc::new(now));
    op.set(|op| op.signing = Alg::Es256);
    op.user("carol", |carol| carol.sub = "subject-of-carol".to_owned());
    op.sign_in_as("carol");
    expose(&net, &hub).await;
    expose(&net, &work).await;
    let demo = Demo::start(&[
        ("OIDC_PRESET", "github"),
        ("OIDC_AUTHORIZATION_ENDPOINT", authorize),
        ("OIDC_TOKEN_ENDPOINT", token),
        ("OIDC_IDENTITY_ENDPOINT", user),
        ("OIDC_CLIENT_ID", "app"),
        ("OIDC_CLIENT_SECRET", "secret"),
        ("OIDC_PROVIDERS", "work"),
        ("OIDC_WORK_ISSUER", &work),
        ("OIDC_WORK_CLIENT_ID", CLIENT_ID),
        ("OIDC_WORK_CLIENT_SECRET", CLIENT_SECRET),
        ("OIDC_WORK_DISPLAY_NAME", "Work"),
    ])
    .await;
    hub_provider.sign_in_as("bob");
    let host = hub.trim_start_matches("http://");
    for (choice, subject, issuer) in [
        (
            "provider=default",
            json!(number("bob").to_string()),
            json!(format!("oauth2:{host}/login/oauth/access_token")),
        ),
        ("provider=work", json!("subject-of-carol"), json!(work)),
    ] {
        let mut browser = Client::new();
        let chooser = browser.visit(&demo.at("/auth/login?return_to=/who")).await;
        assert!(chooser.body.contains("GitHub") && chooser.body.contains("Work"), "{chooser:?}");
        let who = browser.click(chooser.link(choice)).await.json();
        assert_eq!((&who["sub"], &who["issuer"]), (&subject, &issuer), "{choice}: {who}");
    }
    demo.stop().await;
}
