//! Zitadel names, in the `aud` of an ID token, the client, its project and each application of the project, and the client
//! in `azp`: <https://zitadel.com/docs/apis/openidoauth/claims> (`aud`, `azp`), and
//! <https://github.com/zitadel/zitadel/issues/9200> for the list.

use tower_oidc::store::MemoryStore;
use tower_oidc::{Api, Config, OidcLayer};

use crate::support::app::{APP, World, config, of_preset};
use crate::support::provider::CLIENT_ID;

const AUDIENCES: [&str; 3] = ["other-app@project", CLIENT_ID, "286710000000000000"];

fn zitadel(config: Config) -> Config {
    of_preset("zitadel", config)
}

fn listed(mut config: Config) -> Config {
    config.provider.trusted_audiences = AUDIENCES.map(str::to_owned).to_vec();
    config
}

/// Whether alice is signed in, and the ID token of a refresh is accepted.
async fn signs_in(edit: fn(Config) -> Config, azp: Option<&'static str>) -> bool {
    let mut all = Vec::new();
    for world in [World::with(edit), World::stateless_with(edit)] {
        world.op.set(|settings| settings.audiences = AUDIENCES.to_vec());
        let of = move |jwt: &mut crate::support::provider::jwt::Draft| match azp {
            Some(azp) => jwt.claim("azp", azp),
            None => jwt.without("azp"),
        };
        world.op.edit_id_token(of);
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        let is_in = page.status == 200 && page.json()["sub"] == "a1";
        if is_in {
            world.clock.advance(std::time::Duration::from_secs(3601));
            assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200, "the refreshed one is of that kind");
        }
        all.push(is_in);
    }
    assert_eq!(all[0], all[1]);
    all[0]
}

#[tokio::test]
async fn any_audience_is_accepted_where_the_authorized_party_is_this_client() {
    assert!(signs_in(zitadel, Some(CLIENT_ID)).await);
    assert!(!signs_in(zitadel, Some("other-app@project")).await, "issued to another application of the project");
    assert!(!signs_in(zitadel, None).await);
    assert!(!signs_in(|config| config, Some(CLIENT_ID)).await, "it is off by default");
    assert!(signs_in(listed, Some(CLIENT_ID)).await, "the list beside it");
    assert!(!signs_in(listed, Some("other-app@project")).await);
}

/// The client itself is among the audiences all the same.
#[tokio::test]
async fn an_id_token_for_others_alone_is_refused() {
    let world = World::with(zitadel);
    world.op.set(|settings| settings.audiences = AUDIENCES.to_vec());
    world.op.edit_id_token(|jwt| jwt.claim("aud", serde_json::json!(["other-app@project", "286710000000000000"])));
    world.op.sign_in_as("alice");
    assert_eq!(world.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await.status, 400);
    world.op.honest();
    world.signed_in("alice").await;
}

/// A logout token has no authorized party: its audience is this client, as everywhere.
#[tokio::test]
async fn a_logout_token_for_others_too_is_refused() {
    let world = World::with(zitadel);
    let browser = world.signed_in("alice").await;
    let token = |audiences: &[&str]| {
        world.op.logout_token(CLIENT_ID, "alice", None, |jwt| jwt.claim("aud", serde_json::json!(audiences)))
    };
    assert_eq!(world.back_channel(&token(&AUDIENCES)).await.status(), 400);
    assert_eq!(world.who(&browser).await, "a1");
    assert_eq!(world.back_channel(&token(&[CLIENT_ID])).await.status(), 200, "the control");
    assert_eq!(world.who(&browser).await, serde_json::Value::Null);
}

/// ID tokens that name the API, with access tokens that have no type of their own: one would pass for the other.
#[test]
fn an_api_needs_typed_access_tokens_beside_it() {
    let world = World::new();
    let refused = |any: bool, plain: bool| {
        let mut config = config(&world.net, &world.clock);
        (config.provider.any_audience_with_azp, config.provider.plain_jwt_access_tokens) = (any, plain);
        config.api = Some(Api::new("286710000000000000"));
        let refused = OidcLayer::per_user(config, MemoryStore::new()).err();
        refused.is_some_and(|error| error.to_string().contains("any_audience_with_azp"))
    };
    assert!(refused(true, true));
    assert!(!refused(true, false) && !refused(false, true), "the controls");
}
