//! `client_secret_jwt`, and which method is chosen.

use std::time::Duration;

use tower_oidc::{ClientAuthMethod, Config, EventCode};

use super::{p256, text, token};
use crate::support::app::{APP, OP, World};
use crate::support::provider::CLIENT_ID;

const LONG: &str = "a client secret that has at least as many bytes as the hash";

fn with_secret(mut config: Config) -> Config {
    config.provider.client_secret = Some(LONG.into());
    config
}

#[tokio::test]
async fn the_secret_makes_the_assertion_and_is_not_sent() {
    for configured in [None, Some(ClientAuthMethod::ClientSecretJwt)] {
        let world = World::with(|config| {
            let mut config = with_secret(config);
            config.provider.client_auth = configured;
            config
        });
        world.op.register(CLIENT_ID, Some(LONG));
        world.op.set(|settings| settings.auth_methods = vec!["client_secret_jwt"]);
        let alice = world.signed_in("alice").await;
        world.clock.advance(Duration::from_secs(3601));
        assert_eq!(token(&alice).await.status, 200);
        assert_eq!(world.op.token_requests().len(), 2);
        for (request, sent) in world.op.token_requests().iter().zip(world.net.requests_to(OP, "/token")) {
            assert_eq!(request.auth_method, "client_secret_jwt");
            assert!(!String::from_utf8_lossy(&sent.body).contains("a+client+secret"));
            assert!(sent.header("authorization").is_none());
        }
        world.op.register(CLIENT_ID, Some("another"));
        world.clock.advance(Duration::from_secs(3601));
        assert_eq!(token(&alice).await.status, 503);
        assert_eq!(world.op.assertions().pop().unwrap().refused, Some("the keyed hash does not hold"));
        assert_eq!(world.who(&alice).await, "a1");
    }
}

/// What the provider announces and the configuration cannot do is named; nothing else is tried.
#[tokio::test]
async fn a_provider_that_announces_only_what_cannot_be_done_is_refused_by_name() {
    type Edit = fn(&mut Config);
    let secret: Edit = |config| config.provider.client_secret = Some(LONG.into());
    let key: Edit = |config| {
        config.provider.client_secret = None;
        config.provider.private_keys = vec![text(&p256())];
    };
    let both: Edit = |config| config.provider.private_keys = vec![text(&p256())];
    let file: Edit = |config| {
        config.provider.client_secret = None;
        config.provider.client_assertion_file = Some("/does/not/exist".into());
    };
    let methods = "token_endpoint_auth_methods_supported";
    let cases: [(Edit, &'static [&'static str], &[&str]); 4] = [
        (secret, &["private_key_jwt", "tls_client_auth"], &[methods, "client_secret_basic", "tls_client_auth"]),
        (key, &["client_secret_basic"], &[methods, "private_key_jwt"]),
        (file, &["client_secret_basic"], &[methods, "private_key_jwt"]),
        (both, &["tls_client_auth"], &[methods, "private_key_jwt", "client_secret_post"]),
    ];
    for (edit, announced, named) in cases {
        let world = World::with(|mut config| {
            edit(&mut config);
            config
        });
        world.op.set(|settings| settings.auth_methods = announced.to_vec());
        world.op.sign_in_as("alice");
        assert_eq!(world.browser().visit(&format!("{APP}/auth/login")).await.status, 503, "{announced:?}");
        assert_eq!(world.op.token_requests().len(), 0);
        assert!(world.app.events.has(EventCode::ProviderFailed));
        let told = format!("{:?}", world.app.events.all());
        for name in named.iter().chain(&["OIDC_CLIENT_AUTH_METHOD"]) {
            assert!(told.contains(name), "{name}: {told}");
        }
    }
    // The control: what is announced and can be done is done, and what is configured counts whatever is announced.
    for (configured, announced, used) in [
        (None, vec!["tls_client_auth", "client_secret_post"], "client_secret_post"),
        (Some(ClientAuthMethod::ClientSecretBasic), vec!["client_secret_basic"], "client_secret_basic"),
    ] {
        let world = World::with(|mut config| {
            both(&mut config);
            config.provider.client_auth = configured;
            config
        });
        world.op.set(|settings| settings.auth_methods = announced);
        if configured.is_some() {
            world.op.edit_discovery(|document| {
                document.insert("token_endpoint_auth_methods_supported".to_owned(), vec!["tls_client_auth"].into());
            });
        }
        world.signed_in("alice").await;
        assert_eq!(world.op.code_exchanges()[0].auth_method, used);
    }
}
