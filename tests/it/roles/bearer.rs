//! The roles of a request with an access token are in that token.

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower_oidc::{Api, ClaimSource, Config, EventCode};

use super::{AUDIENCE, SOURCES, rules, world};
use crate::provider_logout::{MODES, Mode};
use crate::support::app::{APP, World};
use crate::support::net::Caller;
use crate::support::provider::Endpoint;

fn api(config: Config, source: ClaimSource) -> Config {
    let api = Api::new(AUDIENCE).introspect_at("default").allow_clients(true);
    let mut config = rules(config, &[(source, "/groups")]).api(api).admin_roles(["boss"]);
    // The audience of the API is the default.
    config.provider.access_token_audience = None;
    config
}

async fn shows(world: &World, path: &str, token: &str) -> Response<Bytes> {
    let request = Request::get(format!("{APP}{path}")).header("authorization", format!("Bearer {token}"));
    world.net.call(Caller::Application, request.body(Bytes::new()).unwrap()).await.unwrap()
}

async fn roles_of(world: &World, token: &str) -> Value {
    let answer = shows(world, "/roles", token).await;
    assert_eq!(answer.status(), 200);
    serde_json::from_slice::<Value>(answer.body()).unwrap()["roles"].clone()
}

#[tokio::test]
async fn an_access_token_names_its_roles() {
    for mode in MODES {
        for source in SOURCES {
            let world = world(mode, |config| api(config, source));
            let token = |roles: Value| {
                world.op.access_jwt(Some("alice"), AUDIENCE, |token| token.claim("groups", roles.clone()))
            };
            let counts = source == ClaimSource::AccessToken;
            let (editor, boss) = (token(json!(["editor"])), token(json!("boss")));
            let expected = if counts { json!(["editor"]) } else { json!([]) };
            assert_eq!(roles_of(&world, &editor).await, expected, "{mode:?} {source:?}");
            assert_eq!(roles_of(&world, &editor).await, expected, "{mode:?} {source:?}: remembered");
            for (path, token, status) in [
                ("/editors", &editor, if counts { 200 } else { 403 }),
                ("/editors", &boss, 403),
                ("/admin", &boss, if counts { 200 } else { 403 }),
                ("/admin", &editor, 403),
            ] {
                assert_eq!(shows(&world, path, token).await.status(), status, "{mode:?} {source:?} {path}");
            }
            assert!(!world.app.events.has(EventCode::RolesUnreadable), "{mode:?} {source:?}");
        }
    }
}

/// A token that is asked about names its roles in the answer.
#[tokio::test]
async fn introspection_names_roles() {
    let world = world(Mode::PerUser, |config| api(config, ClaimSource::AccessToken));
    let about = json!({ "active": true, "aud": AUDIENCE, "sub": "a1", "groups": ["editor"] }).to_string();
    world.op.answer(Endpoint::Introspection, 200, "application/json", about);
    assert_eq!(roles_of(&world, "opaque").await, json!(["editor"]));
}

/// A client is no user: roles in its own token open nothing.
#[tokio::test]
async fn a_clients_own_token_has_no_roles() {
    let world = world(Mode::PerUser, |config| api(config, ClaimSource::AccessToken));
    let token = world.op.access_jwt(None, AUDIENCE, |token| token.claim("groups", json!(["editor", "boss"])));
    for path in ["/editors", "/any", "/admin"] {
        assert_eq!(shows(&world, path, &token).await.status(), 401, "{path}");
    }
    let of_user = world.op.access_jwt(Some("alice"), AUDIENCE, |token| token.claim("groups", json!(["editor"])));
    assert_eq!(shows(&world, "/editors", &of_user).await.status(), 200, "the control");
}
