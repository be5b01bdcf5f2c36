//! Clients that call the application with access tokens of Keycloak.

use http::Request;
use serde_json::{Value, json};
use tower_oidc::{Api, ClaimSource, LoginDecision, VerifiedLogin};
use url::Url;

use super::{World, step, tokens_of, with_roles};
use crate::support::http::{Page, send};
use crate::support::keycloak::mapper;

/// What the realm calls the application as an API.
const AUDIENCE: &str = "https://notes.example.test/api";

/// The scope `notes.read`, which brings the audience: to all tokens of the client, if an administrator clicks so.
async fn register_api(world: &World) {
    let audience = json!({
        "included.custom.audience": AUDIENCE, "access.token.claim": "true", "id.token.claim": "true",
    });
    let scope = world.realm.create(
        "/client-scopes",
        json!({
            "name": "notes.read", "protocol": "openid-connect", "attributes": { "include.in.token.scope": "true" },
            "protocolMappers": [mapper("audience", "oidc-audience-mapper", audience)],
        }),
    );
    let scope = scope.await;
    for (client, kind) in [("cli", "optional"), ("nightly", "default")] {
        let client = world.realm.client(client).await;
        world.realm.put(&format!("/clients/{client}/{kind}-client-scopes/{scope}"), json!({})).await;
    }
}

impl World {
    async fn with_api(edit_api: impl FnOnce(Api) -> Api, plain: bool, refuse_machines: bool) -> Option<Self> {
        let world = Self::start(
            |_| (),
            |mut config, _| {
                config.provider = with_roles(config.provider, ClaimSource::AccessToken).plain_jwt_access_tokens(plain);
                let config = config.api(edit_api(Api::new(AUDIENCE).scopes(["notes.read"])));
                if refuse_machines { config.on_bearer(no_machines) } else { config }
            },
        );
        let world = world.await?;
        register_api(&world).await;
        Some(world)
    }

    /// What a client of alice's gets for her.
    async fn tokens_of_alice(&self, scope: &str) -> Value {
        tokens_of(&self.realm, "alice", scope).await
    }

    async fn token_of_a_machine(&self) -> Value {
        let form =
            [("grant_type", "client_credentials"), ("client_id", "nightly"), ("client_secret", "nightly's secret")];
        self.realm.token(&form).await["access_token"].clone()
    }

    async fn shows(&self, path: &str, token: &Value) -> Page {
        let token = token.as_str().unwrap_or_else(|| panic!("no token: {token}"));
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        send(Url::parse(&self.at(path)).unwrap(), request, String::new()).await.unwrap()
    }

    async fn refuses(&self, what: &str, token: &Value, why: &str) {
        let page = self.shows("/me", token).await;
        let challenge = page.headers["www-authenticate"].to_str().unwrap();
        assert_eq!(page.status, 401, "{what}: {page:?}");
        assert!(challenge.contains("error=\"invalid_token\"") && challenge.contains(why), "{what}: {challenge}");
    }
}

/// As the guide has it: accounts of machines are users of Keycloak, with a name of this form.
async fn no_machines(login: VerifiedLogin) -> LoginDecision {
    let name = login.claims.get("preferred_username").and_then(Value::as_str);
    match name {
        Some(name) if !name.starts_with("service-account-") => LoginDecision::Allow,
        _ => LoginDecision::Deny("for people".to_owned()),
    }
}

#[tokio::test]
async fn a_users_token_is_their_user() {
    let Some(world) = World::with_api(|api| api, true, false).await else { return };
    let accepted = async {
        let tokens = world.tokens_of_alice("openid notes.read").await;
        let me = world.shows("/me", &tokens["access_token"]).await;
        assert_eq!(me.status, 200, "{me:?}");
        let me = me.json();
        assert_eq!(me["sub"], world.realm.user("alice").await);
        assert_eq!((&me["email"], &me["client"]), (&json!("alice@example.test"), &json!("cli")));
        assert!(me["scopes"].as_array().unwrap().contains(&json!("notes.read")), "{me}");
        // The roles of realm and client are in the access token as Keycloak comes.
        for (path, status) in [("/notes", 200), ("/all-notes", 403), ("/staff", 200), ("/editors", 200)] {
            let page = world.shows(path, &tokens["access_token"]).await;
            assert_eq!(page.status, status, "{path}: {page:?}");
        }
    };
    step("a user's access token", accepted).await;
}

/// The audience mapper puts the API into the ID token, too; and its refresh tokens are JWTs with the same claims.
#[tokio::test]
async fn other_tokens_of_keycloak_are_refused() {
    let Some(world) = World::with_api(|api| api, true, false).await else { return };
    let refused = async {
        let tokens = world.tokens_of_alice("openid notes.read").await;
        world.refuses("an ID token", &tokens["id_token"], "").await;
        world.refuses("a refresh token", &tokens["refresh_token"], "alg is").await;
        let without = world.tokens_of_alice("openid").await;
        world.refuses("another audience", &without["access_token"], "aud is").await;
        assert_eq!(world.shows("/me", &tokens["access_token"]).await.status, 200, "the control");
    };
    step("other tokens", refused).await;
}

/// The account of a machine is a user of Keycloak, unless the hook refuses it.
#[tokio::test]
async fn a_machines_token_is_what_the_hook_says() {
    for (refuse_machines, status) in [(false, 200), (true, 403)] {
        let Some(world) = World::with_api(|api| api, true, refuse_machines).await else { return };
        let decided = async {
            let page = world.shows("/me", &world.token_of_a_machine().await).await;
            assert_eq!(page.status, status, "{page:?}");
            let tokens = world.tokens_of_alice("openid notes.read").await;
            assert_eq!(world.shows("/me", &tokens["access_token"]).await.status, 200, "the control");
        };
        step("a service account's token", decided).await;
    }
}

/// "Use "at+jwt" as access token header type", in the client's advanced settings: then nothing is said here.
#[tokio::test]
async fn typed_access_tokens_need_no_setting() {
    let Some(world) = World::with_api(|api| api, false, false).await else { return };
    let typed = async {
        let tokens = world.tokens_of_alice("openid notes.read").await;
        world.refuses("a plain one", &tokens["access_token"], "typ is 'JWT', expected at+jwt").await;
        let client = world.realm.client("cli").await;
        let mut registration = world.realm.get(&format!("/clients/{client}")).await;
        registration["attributes"]["access.token.header.type.rfc9068"] = json!("true");
        world.realm.put(&format!("/clients/{client}"), registration).await;
        let tokens = world.tokens_of_alice("openid notes.read").await;
        let page = world.shows("/me", &tokens["access_token"]).await;
        assert_eq!(page.status, 200, "{page:?}");
        world.refuses("an ID token", &tokens["id_token"], "typ is 'JWT'").await;
    };
    step("access tokens with a type", typed).await;
}

/// Keycloak has no opaque tokens; what it says of one that it does not know is what an application must bear.
#[tokio::test]
async fn keycloak_is_asked_about_what_is_no_token_of_its_own() {
    let Some(world) = World::with_api(|api| api.introspect_at("default"), true, false).await else { return };
    let asked = async {
        world.refuses("an opaque one", &json!("o".repeat(43)), "not active").await;
        assert_eq!(world.realm.events("INTROSPECT_TOKEN_ERROR").await.len(), 1, "Keycloak was asked");
        let tokens = world.tokens_of_alice("openid notes.read").await;
        assert_eq!(world.shows("/me", &tokens["access_token"]).await.status, 200);
        world.refuses("a refresh token", &tokens["refresh_token"], "").await;
    };
    step("introspection", asked).await;
}
