//! The shapes of real providers: what their metadata, ID tokens, token responses and UserInfo have, and have not, beside what
//! the specifications name. Keycloak runs itself in other tests.
//!
//! | provider | source |
//! |---|---|
//! | Google | <https://accounts.google.com/.well-known/openid-configuration>, <https://developers.google.com/identity/openid-connect/openid-connect> |
//! | Entra | <https://learn.microsoft.com/en-us/entra/identity-platform/v2-protocols-oidc>, <https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference>, <https://learn.microsoft.com/en-us/entra/identity-platform/userinfo> |
//! | Auth0 | <https://auth0.com/docs/get-started/applications/configure-applications-with-oidc-discovery>, <https://auth0.com/docs/secure/tokens/id-tokens/id-token-structure> |
//! | Cognito | <https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-id-token.html>, <https://docs.aws.amazon.com/cognito/latest/developerguide/userinfo-endpoint.html>, <https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html> |
//! | Zitadel | <https://zitadel.com/docs/apis/openidoauth/claims>, <https://github.com/holos-run/holos/issues/91> |

use std::time::Duration;

use axum::Json;
use axum::routing::get;
use serde_json::{Map, Value, json};
use tower_oidc::{CurrentUser, RequireLayer, UserTokens};

use crate::support::app::{APP, World, of_preset, routes};
use crate::support::provider::{ApiNaming, CLIENT_ID, LyingProvider};

struct Shape {
    preset: &'static str,
    metadata: Value,
    id_token: Value,
    tokens: Value,
    user_info: Value,
    /// Whether alice's address counts as verified, and her roles.
    verified: bool,
    roles: &'static [&'static str],
}

fn shapes() -> [Shape; 5] {
    let google =
        "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/userinfo.profile";
    [
        Shape {
            preset: "google",
            metadata: json!({
                "device_authorization_endpoint": "https://op.test/device", "end_session_endpoint": null,
                "scopes_supported": ["openid", "email", "profile"], "introspection_endpoint": null,
                "response_types_supported": ["code", "token", "id_token", "code token", "none"],
                "code_challenge_methods_supported": ["plain", "S256"],
                "authorization_response_iss_parameter_supported": true,
            }),
            id_token: json!({ "azp": CLIENT_ID, "sid": null, "auth_time": null, "hd": "example.com" }),
            tokens: json!({ "expires_in": 3599, "scope": google }),
            user_info: json!({ "picture": "https://lh3.test/a", "hd": "example.com" }),
            verified: true,
            roles: &[],
        },
        Shape {
            preset: "entra",
            metadata: json!({
                "tenant_region_scope": "WW", "cloud_instance_name": "microsoftonline.com", "http_logout_supported": true,
                "cloud_graph_host_name": "graph.windows.net", "msgraph_host": "graph.microsoft.com",
                "kerberos_endpoint": "https://op.test/kerberos", "rbac_url": "https://pas.windows.net",
                "code_challenge_methods_supported": null, "revocation_endpoint": null, "introspection_endpoint": null,
                "subject_types_supported": ["pairwise"], "request_uri_parameter_supported": false,
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            }),
            id_token: json!({
                "aio": "AXQAi/8TAAAA", "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474", "rh": "0.AAAA", "uti": "fqiBqXLPj0eQa",
                "tid": "9188040d-6c67-4c5b-b112-36a304b66dad", "ver": "2.0", "preferred_username": "alice@example.com",
                "sid": null, "auth_time": null, "at_hash": null, "email_verified": null,
            }),
            tokens: json!({ "ext_expires_in": 5000, "expires_in": 4500, "scope": "openid profile email" }),
            user_info: json!({ "family_name": "A", "given_name": "Alice", "email_verified": null }),
            verified: false,
            roles: &[],
        },
        Shape {
            preset: "auth0",
            metadata: json!({
                "mfa_challenge_endpoint": "https://op.test/mfa/challenge", "registration_endpoint": "https://op.test/oidc/register",
                "id_token_signing_alg_values_supported": ["HS256", "RS256", "PS256"], "request_parameter_supported": false,
                "end_session_endpoint": null, "introspection_endpoint": null,
            }),
            id_token: json!({ "nickname": "alice", "updated_at": "2026-11-30T10:00:00.000Z", "auth_time": null }),
            tokens: json!({ "expires_in": 7200 }),
            user_info: json!({ "nickname": "alice", "updated_at": "2026-11-30T10:00:00.000Z" }),
            verified: true,
            roles: &[],
        },
        Shape {
            preset: "cognito",
            metadata: json!({
                "response_types_supported": ["code", "token"], "scopes_supported": ["openid", "email", "phone", "profile"],
                "code_challenge_methods_supported": null, "introspection_endpoint": null, "grant_types_supported": null,
            }),
            id_token: json!({
                "cognito:username": "alice", "cognito:groups": ["editors"], "token_use": "id", "event_id": "e", "jti": "j",
                "origin_jti": "o", "sid": null, "email_verified": null,
            }),
            tokens: json!({ "scope": null }),
            user_info: json!({ "username": "alice", "email_verified": "true" }),
            verified: true,
            roles: &["editors"],
        },
        Shape {
            preset: "zitadel",
            metadata: json!({ "device_authorization_endpoint": "https://op.test/device", "request_parameter_supported": true }),
            id_token: json!({
                "aud": ["257714027772314751@platform", CLIENT_ID, "257713952794870157"], "azp": CLIENT_ID,
                "client_id": CLIENT_ID, "amr": ["mfa", "user"], "c_hash": "x0rza4Vnqf0NWeFdv8v0WA", "locale": null,
                "urn:zitadel:iam:org:project:roles": { "editor": { "257712562366383231": "example.org" } },
            }),
            tokens: json!({ "expires_in": 43199 }),
            user_info: json!({ "locale": null, "updated_at": 1_710_105_084 }),
            verified: true,
            roles: &[],
        },
    ]
}

/// What is null is not there.
fn patch(members: &mut Map<String, Value>, shape: &Value) {
    for (name, value) in shape.as_object().expect("an object") {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
}

fn tell(op: &LyingProvider, shape: &Shape) {
    let shared = |value: &Value| value.clone();
    let (metadata, tokens, user_info) = (shared(&shape.metadata), shared(&shape.tokens), shared(&shape.user_info));
    let (id_token, refreshed, refreshed_tokens) = (shared(&shape.id_token), shared(&shape.id_token), tokens.clone());
    op.edit_discovery(move |members| patch(members, &metadata));
    op.edit_tokens(move |members| patch(members, &tokens));
    op.edit_refreshed_tokens(move |members| patch(members, &refreshed_tokens));
    op.edit_userinfo(move |members| patch(members, &user_info));
    op.edit_id_token(move |jwt| patch(&mut jwt.claims, &id_token));
    op.edit_refreshed_id_token(move |jwt| patch(&mut jwt.claims, &refreshed));
}

#[tokio::test]
async fn people_sign_in_and_their_tokens_are_refreshed() {
    for shape in shapes() {
        for stateless in [false, true] {
            let edit = |config| of_preset(shape.preset, config);
            let world = if stateless { World::stateless_with(edit) } else { World::with(edit) };
            let roles = get(|user: CurrentUser| async move { Json(json!(user.roles())) });
            let status = get(|tokens: UserTokens| async move { tokens.connection_status("login").await.map(Json) });
            let connected = get(|| async { "in" }).layer(RequireLayer::connection("login"));
            world.serve(routes().route("/roles", roles).route("/status", status).route("/connected", connected));
            tell(&world.op, &shape);
            world.op.set(|settings| {
                settings.claims_in_id_token = shape.preset == "google" || shape.preset == "auth0";
                settings.api_naming = match shape.preset {
                    "auth0" => ApiNaming::Audience { several: true },
                    "entra" => ApiNaming::Scope,
                    _ => ApiNaming::Resource,
                };
            });
            let preset = shape.preset;
            let browser = world.signed_in("alice").await;
            let who = browser.navigate(&format!("{APP}/who")).await.json();
            assert_eq!((&who["email"], &who["name"]), (&json!("alice@example.com"), &json!("Alice")), "{preset}");
            assert_eq!(who["email_verified"], shape.verified, "{preset}");
            assert_eq!(browser.navigate(&format!("{APP}/roles")).await.json(), json!(shape.roles), "{preset}");
            for refreshes in 0..2 {
                assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200, "{preset}");
                assert_eq!(world.op.refreshes().len(), refreshes, "{preset}");
                let status = browser.navigate(&format!("{APP}/status")).await.json();
                assert_eq!(status["state"], "connected", "{preset}: {status}");
                assert_eq!(browser.navigate(&format!("{APP}/connected")).await.text(), "in", "{preset}");
                world.clock.advance(Duration::from_secs(43_201));
            }
        }
    }
}
