//! Roles of a realm (`realm_access`) and of a client (`resource_access`), where Keycloak's mappers put them.

use serde_json::{Value, json};
use tower_oidc::{AdminClaim, FetchUserInfo};

use super::{World, step};
use crate::support::keycloak::mapper;

/// The mappers of the guide: one flat, for a rule of admins, and the two nested ones that access tokens have anyway.
fn mappers(in_id_token: bool) -> Value {
    let config = |claim: &str| {
        json!({
            "claim.name": claim, "multivalued": "true", "jsonType.label": "String",
            "id.token.claim": in_id_token.to_string(), "userinfo.token.claim": (!in_id_token).to_string(),
        })
    };
    let of_realm = "oidc-usermodel-realm-role-mapper";
    let mut of_client = config("resource_access.${client_id}.roles");
    of_client["usermodel.clientRoleMapping.clientId"] = json!("app");
    json!([
        mapper("roles", of_realm, config("roles")),
        mapper("realm_access", of_realm, config("realm_access.roles")),
        mapper("resource_access", "oidc-usermodel-client-role-mapper", of_client),
    ])
}

const FOR_SOME: [&str; 3] = ["/admins", "/staff", "/editors"];

#[tokio::test]
async fn roles_decide_in_the_id_token_and_at_user_info() {
    for (place, fetch) in [("ID token", FetchUserInfo::Never), ("UserInfo", FetchUserInfo::Always)] {
        let world = World::start(
            |realm| realm["clients"][0]["protocolMappers"] = mappers(fetch == FetchUserInfo::Never),
            |mut config, _| {
                config.provider = config.provider.fetch_user_info(fetch);
                config.admin_claim(AdminClaim::new("roles", "staff"))
            },
        );
        let Some(world) = world.await else { return };
        let who_may = async {
            for (user, status) in [("alice", 200), ("bob", 403)] {
                let mut browser = world.signed_in(user).await;
                assert_eq!(browser.get(&world.at("/me")).await.json()["admin"], user == "alice");
                for path in FOR_SOME {
                    assert_eq!(
                        browser.get(&world.at(path)).await.status,
                        status,
                        "{user} at {path}, {place}"
                    );
                }
                world.signs_out(&mut browser).await;
                assert_eq!(browser.get(&world.at("/staff")).await.status, 401);
            }
        };
        step(&format!("roles in the {place}"), who_may).await;
        assert_eq!(world.realm.complaints().await, [] as [Value; 0]);
    }
}

/// As Keycloak comes, they are in the access token alone.
#[tokio::test]
async fn without_a_mapper_no_role_is_in_a_session() {
    let world = World::start(|_| (), |config, _| config.admin_claim(AdminClaim::new("roles", "staff"))).await;
    let Some(world) = world else { return };
    let mut alice = step("roles without a mapper", world.signed_in("alice")).await;
    for path in FOR_SOME {
        assert_eq!(alice.get(&world.at(path)).await.status, 403, "{path}");
    }
}
