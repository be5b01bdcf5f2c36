//! One registration for several tenants, as at Microsoft Entra ID: each tenant is an issuer of its own.
//!
//! | what the provider does here | source |
//! |---|---|
//! | the discovery document of `organizations` names the issuer `https://…/{tenantid}/v2.0` | Microsoft Learn, "OpenID Connect on the Microsoft identity platform", "Fetch the OpenID configuration document" |
//! | an ID token's `iss` has the tenant in that place, and `tid` names it | "ID token claims reference", `iss` and `tid` |
//! | entries of the key set say for which issuer they sign | "Access tokens in the Microsoft identity platform", "Validate the signing key issuer" |

use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::store::MemoryStore;
use tower_oidc::{
    Config, Connection, EventCode, GrantLifetime, Mode, OidcLayer, ProviderConfig, Resource, SharedAccount, UserTokens,
};

use crate::support::app::{API, APP, App, Events, World, config, routes};
use crate::support::browser::{Browser, Page};
use crate::support::provider::jwt::Draft;
use crate::support::provider::{CLIENT_ID, LyingProvider};

const LOGIN: &str = "https://login.test/organizations/v2.0";
const HOUR: Duration = Duration::from_secs(3600);

fn issuer_of(tenant: &str) -> String {
    format!("https://login.test/{tenant}/v2.0")
}

/// From now on everybody is of this tenant.
fn of_tenant(op: &LyingProvider, tenant: &'static str) {
    let claims = move |draft: &mut Draft| {
        draft.claim("iss", issuer_of(tenant));
        draft.claim("tid", tenant);
    };
    op.edit_id_token(claims);
    op.edit_refreshed_id_token(claims);
    op.edit_authorization_response(move |response| {
        response.params.remove("iss");
        response.params.add("iss", issuer_of(tenant));
    });
}

fn of_entra(edit: impl FnOnce(Config) -> Config) -> impl FnOnce(Config) -> Config {
    |mut config| {
        config.provider.issuer = LOGIN.to_owned();
        edit(config)
    }
}

fn listed(mut config: Config) -> Config {
    config.provider.tenants = vec!["t1".into(), "t2".into()];
    config
}

/// The provider of several tenants, and the application in a mode.
fn world_in(mode: Mode, edit: impl FnOnce(Config) -> Config) -> World {
    let mut world = World::new();
    world.op = LyingProvider::start(&world.net, LOGIN, &world.clock);
    world.op.edit_discovery(|metadata| drop(metadata.insert("issuer".into(), json!(issuer_of("{tenantid}")))));
    of_tenant(&world.op, "t1");
    let events = Events::default();
    let config = of_entra(edit)(config(&world.net, &world.clock)).on_event(events.hook()).mode(mode);
    let layer = OidcLayer::from_config(config, MemoryStore::new()).unwrap_or_else(|error| panic!("{error}"));
    world.net.serve_service(APP, layer.layer(routes()));
    World { app: App { layer, store: MemoryStore::new().into(), events }, ..world }
}

fn world() -> World {
    world_in(Mode::PerUser, listed)
}

fn modes() -> [Mode; 3] {
    [Mode::PerUser, Mode::Stateless, Mode::SingleUser(SharedAccount::client_credentials())]
}

async fn attempt(world: &World, browser: &Browser) -> Page {
    world.op.sign_in_as("alice");
    browser.visit(&format!("{APP}/auth/login?return_to=/who")).await
}

async fn signed_in(world: &World, tenant: &'static str) -> Browser {
    of_tenant(&world.op, tenant);
    let browser = world.browser();
    let page = attempt(world, &browser).await;
    assert_eq!(page.json()["issuer"], issuer_of(tenant), "{}", page.text());
    browser
}

async fn who(browser: &Browser) -> Value {
    browser.navigate(&format!("{APP}/who")).await.json()
}

#[tokio::test]
async fn two_tenants_with_one_subject_are_two_people() {
    for mode in modes() {
        let world = world_in(mode, listed);
        let (one, other) = (signed_in(&world, "t1").await, signed_in(&world, "t2").await);
        let (one, other) = (who(&one).await, who(&other).await);
        assert_eq!((&one["sub"], &other["sub"]), (&json!("a1"), &json!("a1")));
        assert_ne!(one["issuer"], other["issuer"]);
    }
    // Whoever is let in from anywhere is let in by a word of its own.
    let world = world_in(Mode::PerUser, |mut config| {
        config.provider.any_tenant = true;
        config
    });
    signed_in(&world, "t9").await;
}

/// A signed UserInfo response is of the tenant whose ID token it was, and not of another one that may sign in, too.
#[tokio::test]
async fn signed_user_info_is_of_the_same_tenant() {
    for (tenant, signed_in) in [("t1", true), ("t2", false)] {
        let world = world_in(Mode::PerUser, |config| {
            let mut config = listed(config);
            config.provider.fetch_user_info = tower_oidc::FetchUserInfo::Always;
            config
        });
        world.op.set(|s| s.sign_userinfo = true);
        world.op.edit_signed_userinfo(move |draft| {
            draft.claim("iss", issuer_of(tenant));
            draft.claim("tid", tenant);
        });
        let page = attempt(&world, &world.browser()).await;
        assert_eq!(page.status == 200, signed_in, "{tenant}: {}", page.text());
    }
}

/// A login that begins at the provider names the issuer of a tenant.
#[tokio::test]
async fn the_issuer_of_a_tenant_begins_a_login() {
    let world = world();
    world.op.sign_in_as("alice");
    let address = |issuer: &str| format!("{APP}/auth/initiate?target_link_uri=/who&iss={issuer}");
    for tenant in ["t1", "t2"] {
        of_tenant(&world.op, tenant);
        let page = world.browser().visit(&address(&issuer_of(tenant))).await;
        assert_eq!(page.json()["issuer"], issuer_of(tenant), "{}", page.text());
    }
    for other in [&issuer_of("t9"), &issuer_of("t1/t2"), LOGIN, "https://login.test/"] {
        assert_eq!(world.browser().step(&address(other)).await.status, 400, "{other}");
    }
}

/// What a visitor of one tenant granted is not taken over by somebody of another, though both have one subject.
#[tokio::test]
async fn a_grant_of_another_tenants_account_is_not_taken_over() {
    let contacts = |config: Config| {
        let contacts = Connection::new("contacts")
            .resource(Resource::new("contacts", format!("{API}/contacts/")).scope("contacts"))
            .scope("openid")
            .grant_lifetime(GrantLifetime::Session)
            .allow_visitors();
        listed(config).connection(contacts)
    };
    for (granted_by, taken) in [("t2", json!([])), ("t1", json!(["contacts"]))] {
        let world = world_in(Mode::PerUser, contacts);
        let adopt = |tokens: UserTokens| async move { tokens.adopt_visitor_grants().await.map(axum::Json) };
        world.serve(routes().route("/claim", axum::routing::post(adopt)));
        of_tenant(&world.op, granted_by);
        world.op.sign_in_as("alice");
        let browser = world.browser();
        browser.visit(&format!("{APP}/auth/connect?connection=contacts&return_to=/who")).await;
        of_tenant(&world.op, "t1");
        attempt(&world, &browser).await;
        let claimed = browser.fetch(http::Method::POST, &format!("{APP}/claim"), "", APP).await;
        assert_eq!(claimed.json(), taken, "{granted_by}");
    }
}

#[tokio::test]
async fn an_id_token_names_a_tenant_of_the_list_in_both_claims() {
    for mode in modes() {
        let world = world_in(mode, listed);
        for (iss, tid, told) in [
            (issuer_of("t3"), Some("t3"), r#"tid is "t3", expected a tenant that is configured: t1, t2"#),
            (issuer_of("t1"), Some("t2"), r#"expected "https://login.test/t2/v2.0""#),
            (issuer_of("t1"), None, "tid is missing, expected a tenant"),
            (issuer_of("{tenantid}"), Some("t1"), r#"expected "https://login.test/t1/v2.0""#),
            (LOGIN.to_owned(), Some("t1"), r#"expected "https://login.test/t1/v2.0""#),
        ] {
            world.op.edit_id_token(move |draft| {
                draft.claim("iss", iss.clone());
                tid.into_iter().for_each(|tid| draft.claim("tid", tid));
            });
            let browser = world.browser();
            let page = attempt(&world, &browser).await;
            assert_eq!(page.status, 400, "{told}: {}", page.text());
            assert_eq!(who(&browser).await, Value::Null, "{told}");
            let events = world.app.events.all();
            let last = events.iter().rfind(|event| event.code == EventCode::LoginRefused).unwrap();
            assert!(last.detail.contains(told), "{last:?}, expected {told}");
        }
        signed_in(&world, "t1").await;
    }
}

/// A template is what a provider of several tenants has, and nobody else; and then its own.
#[tokio::test]
async fn a_template_is_read_where_tenants_are_configured() {
    let without = world_in(Mode::PerUser, |config| config);
    assert_eq!(attempt(&without, &without.browser()).await.status, 503);
    let failed = without.app.events.all().into_iter().find(|event| event.code == EventCode::ProviderFailed);
    assert!(failed.unwrap().detail.contains(&format!("expected {LOGIN:?}")));
    for named in ["https://login.test/organizations/v2.0", "https://evil.test/{tenantid}/v2.0", "{tenantid}"] {
        let world = world();
        world.op.edit_discovery(move |metadata| drop(metadata.insert("issuer".into(), json!(named))));
        assert_eq!(attempt(&world, &world.browser()).await.status, 503, "{named}");
    }
    signed_in(&world(), "t1").await;
}

/// RFC 9207: the tenant that the response names is one of ours, and the one whose ID token came.
#[tokio::test]
async fn a_response_of_one_tenant_brings_nobody_of_another() {
    let world = world();
    for named in ["t2", "t3"] {
        of_tenant(&world.op, "t1");
        world.op.edit_authorization_response(move |response| {
            response.params.remove("iss");
            response.params.add("iss", issuer_of(named));
        });
        let browser = world.browser();
        assert_eq!(attempt(&world, &browser).await.status, 400, "{named}");
        assert_eq!(who(&browser).await, Value::Null, "{named}");
    }
    // What is not of the list is refused before the code goes anywhere.
    assert_eq!(world.op.code_exchanges().len(), 1);
    signed_in(&world, "t2").await;
}

#[tokio::test]
async fn a_refresh_is_the_same_tenants() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = world_in(mode, listed);
        let (same, other, none) =
            (signed_in(&world, "t1").await, signed_in(&world, "t1").await, signed_in(&world, "t1").await);
        world.clock.advance(HOUR);
        assert_eq!(world.tok(&same).await.0, 200);
        of_tenant(&world.op, "t2");
        assert_eq!(world.tok(&other).await.0, 403, "another tenant's person of that name");
        assert!(world.app.events.has(EventCode::RefreshOwnerMismatch));
        world.op.edit_refreshed_id_token(|draft| draft.claim("iss", issuer_of("t1")));
        assert_eq!(world.tok(&none).await.0, 403, "it names no tenant");
    }
}

#[tokio::test]
async fn a_logout_token_ends_the_sessions_of_its_tenant() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = world_in(mode, listed);
        let (one, other) = (signed_in(&world, "t1").await, signed_in(&world, "t2").await);
        let token = |iss: &'static str, tid: Option<&'static str>| {
            world.op.logout_token(CLIENT_ID, "alice", None, move |draft| {
                draft.claim("iss", issuer_of(iss));
                tid.into_iter().for_each(|tid| draft.claim("tid", tid));
            })
        };
        for (iss, tid) in [("t1", None), ("t1", Some("t2")), ("t3", Some("t3"))] {
            assert_eq!(world.back_channel(&token(iss, tid)).await.status(), 400, "{iss} {tid:?}");
        }
        assert_eq!(world.back_channel(&token("t1", Some("t1"))).await.status(), 200);
        world.clock.advance(Duration::from_secs(3));
        assert_eq!(who(&one).await, Value::Null);
        assert_eq!(who(&other).await["sub"], "a1");
    }
}

/// At the provider where they signed in a person grants with the account that they signed in with.
#[tokio::test]
async fn an_account_of_another_tenant_is_another_account() {
    let connect = format!("{APP}/auth/connect?connection=mail&return_to=/who");
    let world = world_in(Mode::PerUser, |config| listed(config).connection(Connection::new("mail")));
    let browser = signed_in(&world, "t1").await;
    of_tenant(&world.op, "t2");
    let page = browser.visit(&connect).await;
    assert_eq!(page.status, 403, "{}", page.text());
    assert!(page.text().contains("AccountMismatch"));
    of_tenant(&world.op, "t1");
    assert_eq!(browser.visit(&connect).await.status, 200, "the control");
}

/// A key of the set that is one tenant's own signs for that one alone.
#[tokio::test]
async fn a_key_signs_for_the_issuer_that_its_entry_names() {
    let world = world();
    let key_of = |tenant: &'static str| {
        world.op.edit_key_set(move |set| {
            set["keys"][0]["issuer"] = json!(issuer_of(tenant));
        });
        world.clock.advance(2 * HOUR);
    };
    signed_in(&world, "t2").await;
    for (tenant, status) in [("t2", 400), ("{tenantid}", 200), ("t1", 200)] {
        key_of(tenant);
        // What is old is read again beside this login, and counts for the next.
        attempt(&world, &world.browser()).await;
        world.app.layer.drain().await;
        of_tenant(&world.op, "t1");
        assert_eq!(attempt(&world, &world.browser()).await.status, status, "{tenant}");
    }
}

#[test]
fn what_cannot_be_is_refused_at_construction() {
    let world = World::new();
    let refused = |edit: fn(&mut Config)| {
        let mut config = of_entra(listed)(config(&world.net, &world.clock));
        edit(&mut config);
        OidcLayer::per_user(config, MemoryStore::new()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(|_| ()), "", "the control");
    assert!(refused(|config| config.provider.any_tenant = true).contains("any_tenant"));
    assert!(refused(|config| config.provider.issuer = "https://login.test".into()).contains("place for a tenant"));
    assert!(refused(|config| config.admins = vec!["a@x.test".into()]).contains("TENANT:a@x.test"));
    assert_eq!(refused(|config| config.admins = vec!["t1:a@x.test".into()]), "");
    fn beside(config: &mut Config, issuer: &str, tenants: &[&str]) {
        let second = ProviderConfig::new(issuer, "c").client_secret("s").name("b").tenants(tenants.to_vec());
        config.more_providers.push(second);
    }
    assert!(refused(|config| beside(config, LOGIN, &["t2"])).contains("a tenant of it"));
    assert!(refused(|config| beside(config, &issuer_of("t1"), &[])).contains("a tenant of it"));
    assert_eq!(refused(|config| beside(config, LOGIN, &["t3"])), "");
    assert_eq!(refused(|config| beside(config, &issuer_of("t3"), &[])), "");
}

/// The administrator of one tenant is nobody at another one.
#[tokio::test]
async fn an_admin_is_an_admin_of_one_tenant() {
    let world = world_in(Mode::PerUser, |config| listed(config).admin_subjects(["t1:a1"]));
    let (one, other) = (signed_in(&world, "t1").await, signed_in(&world, "t2").await);
    assert_eq!((&who(&one).await["admin"], &who(&other).await["admin"]), (&json!(true), &json!(false)));
}

#[test]
fn the_environment_lists_tenants() {
    let read = |tenants: &'static str| {
        let variable = move |name: &str| match name {
            "OIDC_ISSUER" => Some(LOGIN.to_owned()),
            "OIDC_CLIENT_ID" => Some("c".to_owned()),
            "OIDC_TENANTS" => Some(tenants.to_owned()),
            _ => None,
        };
        let config = Config::from_env_with(variable).unwrap();
        (config.provider.tenants, config.provider.any_tenant)
    };
    assert_eq!(read("t1, t2"), (vec!["t1".to_owned(), "t2".to_owned()], false));
    assert_eq!(read("*"), (vec![], true));
    assert_eq!(read(""), (vec![], false));
}
