//! The demo as its users have it, against a certified provider: what a login, an API call, a refresh and a
//! logout look like from outside, for each way a client can be registered.
//!
//! Everything happens over real sockets; the provider's list of events says what it was asked.

mod assertions;
mod connections;
mod stateless;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{Client, Page};
use crate::support::process::{Demo, RealProvider, app_url, eventually, free_port};

const SCOPES: (&str, &str) = ("OIDC_SCOPES", "openid email profile");
const WEB: [(&str, &str); 3] = [("OIDC_CLIENT_ID", "web"), ("OIDC_CLIENT_SECRET", "web secret"), SCOPES];

/// A provider, and a demo registered at it as the client `web`. `None`: the test is skipped.
async fn start(provider: &[(&str, &str)], demo: &[(&str, &str)]) -> Option<(RealProvider, Demo)> {
    let port = free_port();
    let provider = RealProvider::start(&app_url(port), provider).await?;
    let env = [&[("OIDC_ISSUER", provider.issuer.as_str())], &WEB[..], demo].concat();
    let demo = Demo::start_at(port, &env).await;
    Some((provider, demo))
}

/// Logs `user` in through the provider's form and lands at `return_to`.
async fn sign_in(client: &mut Client, demo: &Demo, user: &str, return_to: &str) -> Page {
    let form = client.visit(&demo.at(&format!("/auth/login?return_to={return_to}"))).await;
    let page = client.submit(&form, &[("user", user)]).await;
    assert_eq!((page.url.as_str(), page.status.as_u16()), (&*demo.at(return_to), 200), "{page:?}");
    page
}

/// Status and JSON of a script's GET.
async fn fetch(client: &mut Client, url: &str) -> (u16, Value) {
    let page = client.get(url).await;
    (page.status.as_u16(), page.json())
}

#[tokio::test]
async fn login_by_query_and_by_form_post() {
    for mode in ["query", "form_post"] {
        let env = [("OIDC_RESPONSE_MODE", mode), ("ADMINS", "alice@example.test")];
        let Some((provider, demo)) = start(&[], &env).await else { return };
        let mut alice = Client::new();

        assert_eq!(fetch(&mut alice, &demo.at("/who")).await, (200, Value::Null));
        assert_eq!(alice.get(&demo.at("/me")).await.status, 401);
        assert_eq!(alice.get(&demo.at("/api")).await.status, 401);

        // A navigation to a protected page goes through the login and ends there.
        let form = alice.visit(&demo.at("/private?x=1&y=%2F")).await;
        let page = alice.submit(&form, &[("user", "alice")]).await;
        assert_eq!((page.url.as_str(), page.status.as_u16()), (&*demo.at("/private?x=1&y=%2F"), 200));

        let me = json!({
            "sub": "alice", "issuer": provider.issuer, "name": "User alice",
            "email": "alice@example.test", "email_verified": true, "admin": true,
        });
        assert_eq!(fetch(&mut alice, &demo.at("/me")).await, (200, me.clone()));
        assert_eq!(fetch(&mut alice, &demo.at("/who")).await, (200, me));
        assert_eq!(alice.get(&demo.at("/admin")).await.status, 200);

        // The provider's UserInfo, called with the token that was issued for this user.
        let (status, userinfo) = fetch(&mut alice, &demo.at("/api")).await;
        assert_eq!((status, &userinfo["sub"]), (200, &json!("alice")));
        assert_eq!(provider.events("userinfo").await.last().unwrap()["user"], "alice");

        let authorization = &provider.events("authorization.success").await[0];
        assert_eq!(authorization["code_challenge_method"], "S256");
        assert_eq!(authorization["response_mode"], mode);
        let by_post = alice.trail.iter().any(|url| url.as_str() == demo.at("/auth/callback"));
        assert_eq!(by_post, mode == "form_post", "no code in the URL of a form_post callback");
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn two_people_see_only_themselves() {
    let Some((provider, demo)) = start(&[], &[("ADMINS", "alice@example.test")]).await else { return };
    let (mut alice, mut bob) = (Client::new(), Client::new());
    sign_in(&mut alice, &demo, "alice", "/").await;
    sign_in(&mut bob, &demo, "bob", "/").await;
    assert_eq!(bob.get(&demo.at("/admin")).await.status, 403);
    for _ in 0..10 {
        for path in ["/me", "/who", "/api"] {
            let url = demo.at(path);
            let (one, other) = tokio::join!(fetch(&mut alice, &url), fetch(&mut bob, &url));
            assert_eq!((one.1["sub"].as_str(), other.1["sub"].as_str()), (Some("alice"), Some("bob")), "{path}");
        }
    }
    let api_users = provider.events("userinfo").await;
    assert!(api_users.iter().filter(|event| event["user"] == "alice").count() >= 10);
    assert!(api_users.iter().filter(|event| event["user"] == "bob").count() >= 10);
    // A third browser is nobody.
    assert_eq!(fetch(&mut Client::new(), &demo.at("/who")).await, (200, Value::Null));
}

/// The provider rotates refresh tokens and ends the whole grant when one comes twice.
#[tokio::test]
async fn expired_tokens_are_refreshed_each_refresh_token_once() {
    let Some((provider, demo)) = start(&[("TOKEN_SECONDS", "2")], &[]).await else { return };
    let mut alice = Client::new();
    sign_in(&mut alice, &demo, "alice", "/").await;
    let api = demo.at("/api");
    let refreshes = async || {
        let mut grants = provider.events("grant.success").await;
        grants.retain(|grant| grant["grant_type"] == "refresh_token");
        grants.len()
    };
    let started = Instant::now();
    eventually("three refreshes", Duration::from_secs(20), async || {
        let burst = (0..8).map(|_| {
            let (mut tab, api) = (alice.clone(), api.clone());
            async move { fetch(&mut tab, &api).await }
        });
        for (status, userinfo) in futures_util::future::join_all(burst).await {
            assert_eq!((status, &userinfo["sub"]), (200, &json!("alice")), "{userinfo}");
        }
        (refreshes().await >= 3).then_some(())
    })
    .await;
    // One for a token's life (or for the part of it after which it is renewed), not one for a request.
    let lives = usize::try_from(started.elapsed().as_millis() / 1000).unwrap() + 1;
    assert!(refreshes().await <= lives, "{} refreshes in {lives} s", refreshes().await);
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
    assert_eq!(fetch(&mut alice, &demo.at("/me")).await.1["sub"], "alice", "a refresh changes no user");
}

/// All that RFC 6749 appendix A.2 lets a secret hold is printable ASCII; this one uses it.
const SPECIAL: &str = r#"s:e c%r&t+/=?"'<\~"#;

/// Logs in as each registered client, with its secret, and checks how it authenticated.
async fn log_in_as(provider_env: &[(&str, &str)], registered: &[(&str, Option<&str>, &str)]) {
    let port = free_port();
    let Some(provider) = RealProvider::start(&app_url(port), provider_env).await else { return };
    for &(id, secret, method) in registered {
        println!("{id} by {method}");
        let mut env = vec![("OIDC_ISSUER", provider.issuer.as_str()), ("OIDC_CLIENT_ID", id), SCOPES];
        env.extend(secret.map(|secret| ("OIDC_CLIENT_SECRET", secret)));
        let demo = Demo::start_at(port, &env).await;
        let mut alice = Client::new();
        sign_in(&mut alice, &demo, "alice", "/me").await;
        let (status, userinfo) = fetch(&mut alice, &demo.at("/api")).await;
        assert_eq!((status, &userinfo["sub"]), (200, &json!("alice")));
        let grant = provider.events("grant.success").await.pop().unwrap();
        assert_eq!((&grant["client"], &grant["authenticated_by"]), (&json!(id), &json!(method)));
        demo.stop().await;
    }
    let pushed = provider.events("pushed_authorization_request.success").await.len();
    let demanded = provider_env.contains(&("REQUIRE_PAR", "1"));
    assert_eq!(pushed, if demanded { registered.len() } else { 0 }, "pushed where the provider demands it");
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

#[tokio::test]
async fn clients_by_basic_and_public_clients() {
    log_in_as(
        &[],
        &[("web", Some("web secret"), "basic"), ("special", Some(SPECIAL), "basic"), ("public", None, "none")],
    )
    .await;
}

#[tokio::test]
async fn clients_by_post_where_discovery_offers_nothing_else() {
    let registered = [("web", Some("web secret"), "post"), ("special", Some(SPECIAL), "post")];
    log_in_as(&[("AUTH_METHODS", "client_secret_post")], &registered).await;
}

#[tokio::test]
async fn clients_with_other_signature_algorithms() {
    let registered = [
        ("es256", Some("es256 secret"), "basic"),
        ("ps256", Some("ps256 secret"), "basic"),
        ("eddsa", Some("eddsa secret"), "basic"),
    ];
    log_in_as(&[], &registered).await;
}

/// RFC 9126 section 5, `require_pushed_authorization_requests`.
#[tokio::test]
async fn clients_of_a_provider_that_demands_pushed_requests() {
    let registered =
        [("web", Some("web secret"), "basic"), ("special", Some(SPECIAL), "basic"), ("public", None, "none")];
    log_in_as(&[("REQUIRE_PAR", "1")], &registered).await;
}

/// More than 2,048 bytes do not fit a redirect everywhere; the provider offers to take them by POST before.
#[tokio::test]
async fn a_long_authorization_request_is_pushed() {
    let unknown: Vec<_> = (0..120).map(|n| format!("a-scope-nobody-knows-{n}")).collect();
    let scopes = format!("openid email profile {}", unknown.join(" "));
    let Some((provider, demo)) = start(&[], &[("OIDC_SCOPES", &scopes)]).await else { return };
    let mut alice = Client::new();
    sign_in(&mut alice, &demo, "alice", "/me").await;
    assert_eq!(provider.events("pushed_authorization_request.success").await.len(), 1);
    let longest = alice.trail.iter().map(|url| url.as_str().len()).max().unwrap();
    assert!(longest <= 2048, "{longest}");
}

#[tokio::test]
async fn an_api_of_ones_own_gets_the_users_token() {
    let port = free_port();
    let Some(provider) = RealProvider::start(&app_url(port), &[]).await else { return };
    let agenda = format!("{}/agenda", provider.issuer);
    let env = [&WEB[..], &[("OIDC_ISSUER", &provider.issuer), ("API_URL", &agenda)]].concat();
    let demo = Demo::start_at(port, &env).await;
    let mut bob = Client::new();
    sign_in(&mut bob, &demo, "bob", "/").await;
    assert_eq!(fetch(&mut bob, &demo.at("/api")).await, (200, json!({ "agenda_of": "bob" })));
    assert_eq!(provider.events("agenda").await, [json!({ "event": "agenda", "user": "bob" })]);
}

#[tokio::test]
async fn who_refuses_sees_why_and_may_try_again() {
    for mode in ["query", "form_post"] {
        let Some((provider, demo)) = start(&[], &[("OIDC_RESPONSE_MODE", mode)]).await else { return };
        let mut browser = Client::new();
        let form = browser.visit(&demo.at("/auth/login?return_to=/me")).await;
        let refusal = browser.submit(&form, &[("user", "deny")]).await;
        assert_eq!(refusal.url.path(), "/auth/callback");
        assert!(refusal.status.is_client_error(), "{}", refusal.status);
        // The provider's words, if shown at all, are text.
        assert!(!refusal.body.contains(r#"<b>"no""#), "{}", refusal.body);
        assert_eq!(provider.events("authorization.error").await.len(), 1);
        assert_eq!(provider.events("grant.success").await.len(), 0);
        assert_eq!(fetch(&mut browser, &demo.at("/who")).await, (200, Value::Null));

        sign_in(&mut browser, &demo, "alice", "/me").await;
    }
}

#[tokio::test]
async fn logout_ends_the_session_here_and_at_the_provider() {
    let Some((provider, demo)) = start(&[], &[]).await else { return };
    let mut alice = Client::new();
    let home = sign_in(&mut alice, &demo, "alice", "/").await;
    let mut thief = alice.clone();
    assert_eq!(fetch(&mut thief, &demo.at("/who")).await.1["sub"], "alice");

    let confirm = alice.click(home.link("/auth/logout")).await;
    assert_eq!(confirm.url.origin().ascii_serialization(), provider.issuer);
    // The old cookie is dead from the first moment, whatever happens at the provider.
    assert_eq!(fetch(&mut thief, &demo.at("/who")).await, (200, Value::Null));
    assert_eq!(thief.get(&demo.at("/me")).await.status, 401);
    assert_eq!(thief.get(&demo.at("/api")).await.status, 401);

    let landed = alice.submit(&confirm, &[("logout", "yes")]).await;
    assert_eq!((landed.url.as_str(), landed.status.as_u16()), (&*demo.at("/"), 200));
    assert_eq!(fetch(&mut alice, &demo.at("/who")).await, (200, Value::Null));
    assert_eq!(provider.events("end_session.success").await.len(), 1);

    // The provider has forgotten them too: its form asks again.
    sign_in(&mut alice, &demo, "bob", "/").await;
    assert_eq!(fetch(&mut alice, &demo.at("/me")).await.1["sub"], "bob");
}

/// OpenID Connect Back-Channel Logout 1.0: she signs out at the provider, and was never asked here.
#[tokio::test]
async fn back_channel_logout() {
    for by in ["sid", "sub"] {
        let Some((provider, demo)) = start(&[("LOGOUT_BY", by)], &[]).await else { return };
        let (mut alice, mut bob) = (Client::new(), Client::new());
        sign_in(&mut alice, &demo, "alice", "/").await;
        sign_in(&mut bob, &demo, "bob", "/").await;
        let confirm = alice.visit(&format!("{}/session/end", provider.issuer)).await;
        alice.submit(&confirm, &[("logout", "yes")]).await;
        let told = eventually("the application is told", Duration::from_secs(10), async || {
            provider.events("backchannel.success").await.pop()
        })
        .await;
        assert_eq!((&told["client"], &told["user"]), (&json!("web"), &json!("alice")));
        assert_eq!(fetch(&mut alice, &demo.at("/who")).await, (200, Value::Null), "{by}");
        assert_eq!(alice.get(&demo.at("/api")).await.status, 401);
        assert_eq!(fetch(&mut bob, &demo.at("/me")).await.1["sub"], "bob", "{by}");
        assert_eq!(provider.complaints().await, [] as [Value; 0]);
        sign_in(&mut alice, &demo, "alice", "/").await;
    }
}

#[tokio::test]
async fn a_provider_that_is_down_at_start_is_found_later() {
    let (port, provider_port) = (free_port(), free_port());
    let issuer = format!("http://localhost:{provider_port}");
    // Asked first, so that the test is skipped as a whole.
    let Some(probe) = RealProvider::start(&app_url(port), &[]).await else { return };
    probe.stop().await;
    let demo = Demo::start_at(port, &[&WEB[..], &[("OIDC_ISSUER", &issuer)]].concat()).await;
    let mut alice = Client::new();
    assert_eq!(fetch(&mut alice, &demo.at("/who")).await, (200, Value::Null));

    let login = demo.at("/auth/login?return_to=/private");
    let page = alice.visit(&login).await;
    assert_eq!(page.status, 503);
    let seconds = page.headers["retry-after"].to_str().unwrap().parse::<u64>().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(page.body.contains("private"), "the page offers to try again, destination kept: {}", page.body);

    let listen = [("PORT", &*provider_port.to_string())];
    let provider = RealProvider::start(&app_url(port), &listen).await.expect("it was there before");
    assert_eq!(provider.issuer, issuer);
    eventually("the login recovers by itself", Duration::from_secs(15), async || {
        (alice.get(&login).await.status == 303).then_some(())
    })
    .await;
    sign_in(&mut alice, &demo, "alice", "/private").await;
}

#[tokio::test]
async fn a_provider_that_goes_away_signs_nobody_out() {
    let Some((provider, demo)) = start(&[("TOKEN_SECONDS", "1")], &[]).await else { return };
    let mut alice = Client::new();
    sign_in(&mut alice, &demo, "alice", "/").await;
    provider.stop().await;
    for _ in 0..3 {
        let answer = alice.get(&demo.at("/api")).await;
        assert!(answer.status.is_server_error(), "{answer:?}");
        assert_eq!(fetch(&mut alice, &demo.at("/me")).await.1["sub"], "alice");
    }
}

/// Not one secret in a log at its most talkative: neither ours, nor the provider's, nor the browser's.
#[tokio::test]
async fn the_log_holds_no_secret() {
    const SESSION_SECRET: &str = "the sealing secret of this very test";
    let Some((_provider, demo)) = start(&[], &[("SESSION_SECRET", SESSION_SECRET)]).await else { return };
    let mut alice = Client::new();
    let home = sign_in(&mut alice, &demo, "alice", "/").await;
    assert_eq!(alice.get(&demo.at("/api")).await.status, 200);
    let mut secrets: Vec<_> = alice.cookies("127.0.0.1").map(|(_, value)| value.to_owned()).collect();
    assert!(!secrets.is_empty());
    alice.click(home.link("/auth/logout")).await;

    secrets.extend(["web secret", "web+secret", "web%20secret", SESSION_SECRET].map(str::to_owned));
    for url in &alice.trail {
        let secret = |name: &str| matches!(name, "code" | "state" | "nonce" | "id_token_hint");
        secrets.extend(url.query_pairs().filter(|(name, _)| secret(name)).map(|(_, value)| value.into_owned()));
    }
    assert!(secrets.len() >= 9, "cookie, code, state, nonce and hint were seen: {secrets:?}");
    let log = demo.output();
    assert!(!log.is_empty());
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret:?} in the log:\n{log}");
    }
}
