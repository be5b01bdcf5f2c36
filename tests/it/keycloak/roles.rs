//! Roles of a realm (`realm_access`) and of a client (`resource_access`), where Keycloak puts them.

use serde_json::{Value, json};
use tower_oidc::{ClaimSource, Config};

use super::{World, step, with_roles};
use crate::support::keycloak::mapper;

/// The mappers that access tokens have anyway, for another source.
fn mappers(source: ClaimSource) -> Value {
    let config = |claim: &str| {
        json!({
            "claim.name": claim, "multivalued": "true", "jsonType.label": "String",
            "id.token.claim": (source == ClaimSource::IdToken).to_string(),
            "userinfo.token.claim": (source == ClaimSource::UserInfo).to_string(),
        })
    };
    let mut of_client = config("resource_access.${client_id}.roles");
    of_client["usermodel.clientRoleMapping.clientId"] = json!("app");
    json!([
        mapper("realm_access", "oidc-usermodel-realm-role-mapper", config("realm_access.roles")),
        mapper("resource_access", "oidc-usermodel-client-role-mapper", of_client),
    ])
}

/// The configuration of the guide.
fn configured(mut config: Config, source: ClaimSource) -> Config {
    config.provider = with_roles(config.provider, source);
    if source == ClaimSource::AccessToken {
        config.provider = config.provider.plain_jwt_access_tokens(true).access_token_audience("account");
    }
    config.admin_roles(["staff"])
}

const FOR_SOME: [&str; 3] = ["/admins", "/staff", "/editors"];

/// In the access token they are as Keycloak comes.
#[tokio::test]
async fn roles_decide_in_each_source() {
    for source in [ClaimSource::IdToken, ClaimSource::UserInfo, ClaimSource::AccessToken] {
        let edit_realm = |realm: &mut Value| {
            if source != ClaimSource::AccessToken {
                realm["clients"][0]["protocolMappers"] = mappers(source);
            }
        };
        let Some(world) = World::start(edit_realm, |config, _| configured(config, source)).await else {
            return;
        };
        let who_may = async {
            for (user, status) in [("alice", 200), ("bob", 403)] {
                let mut browser = world.signed_in(user).await;
                assert_eq!(browser.get(&world.at("/me")).await.json()["admin"], user == "alice");
                for path in FOR_SOME {
                    let page = browser.get(&world.at(path)).await;
                    assert_eq!(page.status, status, "{user} at {path}, {source:?}");
                }
                world.signs_out(&mut browser).await;
                assert_eq!(browser.get(&world.at("/staff")).await.status, 401);
            }
        };
        step(&format!("roles, {source:?}"), who_may).await;
        assert_eq!(world.realm.complaints().await, [] as [Value; 0]);
    }
}

/// As Keycloak comes, they are in the access token alone.
#[tokio::test]
async fn without_a_mapper_no_role_is_in_other_sources() {
    for source in [ClaimSource::IdToken, ClaimSource::UserInfo] {
        let Some(world) = World::start(|_| (), |config, _| configured(config, source)).await else { return };
        let mut alice = step("roles without a mapper", world.signed_in("alice")).await;
        for path in FOR_SOME {
            assert_eq!(alice.get(&world.at(path)).await.status, 403, "{path}, {source:?}");
        }
    }
}
