//! A week of the demo at Keycloak, with four settings that nobody changes: what people do, and what administrators do.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{CLIENT_SECRET, REALM, SOON, step, submit, tokens_of};
use crate::support::http::Client;
use crate::support::keycloak::{Keycloak, Realm};
use crate::support::process::{Demo, app_url, eventually, free_port};

/// The life of an access token: short, so that each step meets one that has ended.
const LIFE: Duration = Duration::from_secs(5);

struct Week {
    realm: Realm,
    demo: Demo,
}

#[tokio::test]
async fn a_week_of_the_demo() {
    let Some(mut keycloak) = Keycloak::shared().await else { return };
    let port = free_port();
    let short = |realm: &mut Value| realm["accessTokenLifespan"] = json!(LIFE.as_secs());
    let realm = keycloak.realm(REALM, &app_url(port), short).await;
    let env = [
        ("OIDC_ISSUER", realm.issuer.as_str()),
        ("OIDC_CLIENT_ID", "app"),
        ("OIDC_CLIENT_SECRET", CLIENT_SECRET),
        ("ADMINS", "alice@example.test"),
    ];
    let demo = Demo::start_at(port, &env).await;
    let week = Week { realm, demo };

    let [mut alice, mut bob] = step("sign in", week.two_sign_in()).await;
    step("call an API", week.each_calls_with_their_own_token([&mut alice, &mut bob])).await;
    step("refresh, with rotation", week.tokens_are_refreshed(&alice)).await;
    step("an administrator ends a session", week.a_session_is_ended([&mut alice, &mut bob])).await;
    step("an administrator signs a person out", week.a_person_is_signed_out(&mut alice)).await;
    step("key rotation", week.keys_rotate(&mut alice, &mut bob)).await;
    keycloak.while_stopped(step("while Keycloak is away", week.is_away(&mut alice))).await;
    step("Keycloak is back", week.is_back(&mut alice)).await;
    step("sign out", week.sign_out(&mut alice)).await;
    assert_eq!(week.realm.complaints().await, [] as [Value; 0]);
}

impl Week {
    async fn sign_in(&self, browser: &mut Client, user: &str) {
        let form = browser.visit(&self.demo.at("/private?x=1&y=%2F")).await;
        assert!(form.url.as_str().starts_with(&self.realm.issuer), "{form:?}");
        let page = submit(browser, &form, user).await;
        let wanted = self.demo.at("/private?x=1&y=%2F");
        assert_eq!((page.url.as_str(), page.status.as_u16()), (&*wanted, 200), "{page:?}");
    }

    async fn who(&self, browser: &mut Client) -> Value {
        browser.get(&self.demo.at("/who")).await.json()["email"].clone()
    }

    /// Status, and who the token is of that Keycloak's UserInfo was shown.
    async fn api(&self, browser: &mut Client) -> (u16, Value) {
        let page = browser.get(&self.demo.at("/api")).await;
        (page.status.as_u16(), page.json()["email"].clone())
    }

    async fn is_told_to_sign_out(&self, browser: &mut Client) {
        let mut again = browser.clone();
        eventually("the application is told", SOON, async || self.who(&mut again).await.is_null().then_some(())).await;
        assert_eq!(browser.get(&self.demo.at("/api")).await.status, 401);
    }

    async fn two_sign_in(&self) -> [Client; 2] {
        let mut browsers = [Client::new(), Client::new()];
        for (browser, (user, name)) in browsers.iter_mut().zip([("alice", "Alice Adams"), ("bob", "Bob Brown")]) {
            self.sign_in(browser, user).await;
            let me = json!({
                "sub": self.realm.user(user).await, "issuer": self.realm.issuer, "name": name,
                "email": format!("{user}@example.test"), "email_verified": true, "admin": user == "alice",
            });
            assert_eq!(browser.get(&self.demo.at("/me")).await.json(), me);
            let admin = browser.get(&self.demo.at("/admin")).await.status;
            assert_eq!(admin, if user == "alice" { 200 } else { 403 });
        }
        browsers
    }

    async fn each_calls_with_their_own_token(&self, [alice, bob]: [&mut Client; 2]) {
        assert_eq!(self.api(alice).await, (200, json!("alice@example.test")));
        assert_eq!(self.api(bob).await, (200, json!("bob@example.test")));
        assert_eq!(self.realm.events("USER_INFO_REQUEST").await.len(), 2);
    }

    /// Keycloak takes each refresh token once (`revokeRefreshToken`, reuse 0), and refuses the second use.
    async fn tokens_are_refreshed(&self, alice: &Client) {
        let began = Instant::now();
        for least in 1..=3 {
            tokio::time::sleep(LIFE).await;
            let burst = (0..8).map(async |_| self.api(&mut alice.clone()).await);
            for got in join_all(burst).await {
                assert_eq!(got, (200, json!("alice@example.test")));
            }
            // One for a token's life, or for the part of it after which it is renewed: not one for a request.
            let most = usize::try_from(2 * began.elapsed().as_secs() / LIFE.as_secs()).unwrap();
            let refreshes = self.realm.events("REFRESH_TOKEN").await.len();
            assert!((least..=most).contains(&refreshes), "{refreshes}, expected {least} to {most}");
        }
        assert_eq!(self.realm.complaints().await, [] as [Value; 0]);
    }

    async fn sessions(&self, user: &str) -> Vec<String> {
        let id = self.realm.user(user).await;
        let sessions = self.realm.get(&format!("/users/{id}/sessions")).await;
        let sessions = sessions.as_array().expect("a list");
        sessions.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    }

    async fn a_session_is_ended(&self, [alice, bob]: [&mut Client; 2]) {
        let [session] = &self.sessions("alice").await[..] else { panic!("one browser, one session") };
        self.realm.delete(&format!("/sessions/{session}")).await;
        self.is_told_to_sign_out(alice).await;
        assert_eq!(self.who(bob).await, "bob@example.test");
    }

    async fn a_person_is_signed_out(&self, alice: &mut Client) {
        let mut elsewhere = Client::new();
        self.sign_in(alice, "alice").await;
        self.sign_in(&mut elsewhere, "alice").await;
        let id = self.realm.user("alice").await;
        self.realm.post(&format!("/users/{id}/logout"), json!({})).await;
        self.is_told_to_sign_out(alice).await;
        self.is_told_to_sign_out(&mut elsewhere).await;
    }

    async fn signing_key(&self) -> Value {
        self.realm.get("/keys").await["active"]["RS256"].clone()
    }

    /// A login, a refresh and a logout token under a key that the application has not seen.
    async fn keys_rotate(&self, alice: &mut Client, bob: &mut Client) {
        let before = self.signing_key().await;
        let newer = json!({
            "name": "newer", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
            "config": { "priority": ["200"], "keySize": ["2048"], "algorithm": ["RS256"] },
        });
        self.realm.create("/components", newer).await;
        assert_ne!(self.signing_key().await, before);
        self.sign_in(alice, "alice").await;
        tokio::time::sleep(LIFE).await;
        assert_eq!(self.api(bob).await, (200, json!("bob@example.test")));
        let [session] = &self.sessions("bob").await[..] else { panic!("one browser, one session") };
        self.realm.delete(&format!("/sessions/{session}")).await;
        self.is_told_to_sign_out(bob).await;
        assert_eq!(self.api(alice).await, (200, json!("alice@example.test")));
    }

    /// Who is signed in stays so. What needs Keycloak says to try again.
    async fn is_away(&self, alice: &mut Client) {
        tokio::time::sleep(LIFE).await;
        assert_eq!(self.who(alice).await, "alice@example.test");
        let page = alice.get(&self.demo.at("/api")).await;
        assert_eq!(page.status, 503, "{page:?}");
        assert!(page.headers.contains_key("retry-after"), "{page:?}");
    }

    /// The first refresh of a Keycloak that has just started may take longer than an application waits for it, and then the
    /// token that came is lost with the answer. Here another client has that one.
    async fn is_back(&self, alice: &mut Client) {
        let refresh_token = tokens_of(&self.realm, "bob", "openid").await["refresh_token"].clone();
        let refresh_token = refresh_token.as_str().expect("a refresh token");
        let form = [("grant_type", "refresh_token"), ("client_id", "cli"), ("refresh_token", refresh_token)];
        assert!(self.realm.token(&form).await["access_token"].is_string());
        let began = Instant::now();
        let mut page = alice.get(&self.demo.at("/api")).await;
        while page.status == 503 && began.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(100)).await;
            page = alice.get(&self.demo.at("/api")).await;
        }
        let heard = self.demo.output();
        let heard: Vec<_> = heard.lines().filter(|line| line.contains("code")).collect();
        assert_eq!(page.status, 200, "{page:?} {heard:#?}");
        assert_eq!(page.json()["email"], "alice@example.test");
        self.sign_in(&mut Client::new(), "bob").await;
    }

    async fn sign_out(&self, alice: &mut Client) {
        assert_eq!(self.sessions("alice").await.len(), 1);
        let home = alice.visit(&self.demo.at("/")).await;
        let landed = alice.click(home.link("/auth/logout")).await;
        assert_eq!((landed.url.as_str(), landed.status.as_u16()), (&*self.demo.at("/"), 200), "{landed:?}");
        let through = |path: &str| alice.trail.iter().any(|url| url.path().ends_with(path));
        assert!(through("/protocol/openid-connect/logout"), "{:?}", alice.trail);
        assert_eq!(self.who(alice).await, Value::Null);
        assert_eq!(self.sessions("alice").await, [] as [String; 0]);
        self.sign_in(alice, "bob").await;
        assert_eq!(self.who(alice).await, "bob@example.test");
    }
}
