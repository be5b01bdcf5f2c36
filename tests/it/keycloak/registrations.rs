//! Registrations that ask for more: client assertions, pushed authorization requests, and signed UserInfo.

use serde_json::{Value, json};
use tower_oidc::{Config, FetchUserInfo, ProviderConfig, PushedAuthorizationRequests};

use super::{World, step};
use crate::client_authentication::{RSA, p256, text};

/// Signs somebody in at a client that authenticates so, with pushed requests and UserInfo in a JWT.
async fn signs_in(
    method: (&str, &str, &str), secret: &str, edit: impl FnOnce(ProviderConfig) -> ProviderConfig,
) -> Option<()> {
    let (kind, attribute, algorithm) = method;
    let world = World::start(
        |realm| {
            let client = &mut realm["clients"][0];
            client["clientAuthenticatorType"] = json!(kind);
            client["secret"] = json!(secret);
            let jwks = client["redirectUris"][0].as_str().expect("a URL").replace("/callback", "/jwks.json");
            for (name, value) in [
                (attribute, algorithm),
                ("use.jwks.url", "true"),
                ("jwks.url", &jwks),
                ("require.pushed.authorization.requests", "true"),
                ("user.info.response.signature.alg", "ES256"),
            ] {
                client["attributes"][name] = json!(value);
            }
        },
        |mut config: Config, _| {
            config.provider.client_secret = None;
            config.provider = edit(config.provider)
                .pushed_authorization_requests(PushedAuthorizationRequests::Always)
                .fetch_user_info(FetchUserInfo::Always)
                .userinfo_signed_response_alg("ES256");
            config
        },
    );
    let world = world.await?;
    step(&format!("sign in with {kind}, {algorithm}"), async {
        let mut alice = world.signed_in("alice").await;
        let me = alice.get(&world.at("/me")).await.json();
        assert_eq!(me["email"], "alice@example.test");
        let info = alice.get(&world.at("/userinfo")).await;
        assert_eq!(info.body.split('.').count(), 3, "UserInfo is a JWT: {info:?}");
        world.signs_out(&mut alice).await;
    })
    .await;
    assert_eq!(world.realm.complaints().await, [] as [Value; 0]);
    Some(())
}

#[tokio::test]
async fn client_assertions_pushed_requests_and_signed_user_info() {
    const ALGORITHM: &str = "token.endpoint.auth.signing.alg";
    let secret = format!("{:.<32}", "app's secret");
    for (key, algorithm) in [(RSA.to_owned(), "PS256"), (p256(), "ES256")] {
        let with_key =
            |provider: ProviderConfig| provider.private_key(text(&key)).token_endpoint_auth_signing_alg(algorithm);
        if signs_in(("client-jwt", ALGORITHM, algorithm), &secret, with_key).await.is_none() {
            return;
        }
    }
    let method = ("client-secret-jwt", ALGORITHM, "HS256");
    signs_in(method, &secret, |provider| {
        provider.client_secret(secret.as_str()).client_auth(tower_oidc::ClientAuthMethod::ClientSecretJwt)
    })
    .await;
}
