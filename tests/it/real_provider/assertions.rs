//! Client assertions, as a certified provider verifies them: with the keys that it reads at the application, each once. And
//! what it signs in its turn: UserInfo.

use std::fs;

use serde_json::{Value, json};

use super::{SCOPES, fetch, sign_in};
use crate::client_authentication::{RSA, ed25519, p256, replace};
use crate::support::folder::Folder;
use crate::support::http::Client;
use crate::support::process::{Demo, RealProvider, app_url, free_port};

/// A login whose request was pushed: two assertions, one for each endpoint.
async fn log_in(provider: &RealProvider, demo: &Demo) {
    let mut alice = Client::new();
    sign_in(&mut alice, demo, "alice", "/me").await;
    let (status, userinfo) = fetch(&mut alice, &demo.at("/api")).await;
    assert_eq!((status, &userinfo["sub"]), (200, &json!("alice")));
    let grant = provider.events("grant.success").await.pop().unwrap();
    assert_eq!((&grant["client"], &grant["authenticated_by"]), (&json!("web"), &json!("assertion")));
}

#[tokio::test]
async fn private_keys_of_each_kind_and_their_rotation() {
    let (port, folder) = (free_port(), Folder::new());
    let path = folder.path().join("key.pem");
    let keys = [(RSA.to_owned(), "RS256"), (RSA.to_owned(), "PS256"), (p256(), "ES256"), (ed25519(), "EdDSA")];
    for (key, algorithm) in keys {
        let env = [("AUTH_METHODS", "private_key_jwt"), ("REQUIRE_PAR", "1")];
        let Some(provider) = RealProvider::start(&app_url(port), &env).await else { return };
        fs::write(&path, key).unwrap();
        let demo = [
            ("OIDC_ISSUER", provider.issuer.as_str()),
            ("OIDC_CLIENT_ID", "web"),
            SCOPES,
            ("OIDC_PRIVATE_KEY_FILE", path.to_str().unwrap()),
            ("OIDC_TOKEN_ENDPOINT_AUTH_SIGNING_ALG", algorithm),
        ];
        let demo = Demo::start_at(port, &demo).await;
        log_in(&provider, &demo).await;
        if algorithm == "ES256" {
            // The provider has a minute-old key set, and does not read it again for an unknown key.
            replace(&path, &p256());
            log_in(&provider, &demo).await;
        }
        let complaints = provider.complaints().await;
        assert_eq!(complaints, [] as [Value; 0], "{algorithm}");
        demo.stop().await;
        provider.stop().await;
    }
}

#[tokio::test]
async fn a_secret_that_is_not_sent() {
    let port = free_port();
    let env = [("AUTH_METHODS", "client_secret_jwt"), ("REQUIRE_PAR", "1")];
    let Some(provider) = RealProvider::start(&app_url(port), &env).await else { return };
    let secret = format!("{:.<32}", "web secret");
    let demo =
        [("OIDC_ISSUER", provider.issuer.as_str()), ("OIDC_CLIENT_ID", "web"), SCOPES, ("OIDC_CLIENT_SECRET", &secret)];
    let demo = Demo::start_at(port, &demo).await;
    log_in(&provider, &demo).await;
    assert_eq!(provider.complaints().await, [] as [Value; 0]);
}

#[tokio::test]
async fn user_info_that_is_signed() {
    for (signed, registered) in [("ES256", "ES256"), ("PS256", "PS256"), ("EdDSA", "RS256")] {
        let port = free_port();
        let Some(provider) = RealProvider::start(&app_url(port), &[("USERINFO_ALG", signed)]).await else { return };
        let demo = [
            ("OIDC_ISSUER", provider.issuer.as_str()),
            ("OIDC_CLIENT_ID", "web"),
            SCOPES,
            ("OIDC_CLIENT_SECRET", "web secret"),
            ("OIDC_FETCH_USER_INFO", "always"),
            ("OIDC_USERINFO_SIGNED_RESPONSE_ALG", registered),
        ];
        let demo = Demo::start_at(port, &demo).await;
        let mut alice = Client::new();
        if signed == registered {
            sign_in(&mut alice, &demo, "alice", "/me").await;
        } else {
            // The control: another algorithm than that of the registration is none.
            let page = alice.visit(&demo.at("/auth/login?return_to=/me&login_hint=alice")).await;
            assert_eq!(page.status.as_u16(), 400, "{page:?}");
        }
        assert_eq!(provider.complaints().await, [] as [Value; 0], "{signed}");
        demo.stop().await;
        provider.stop().await;
    }
}
