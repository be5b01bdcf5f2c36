//! Rules for roles as they are written, and roles without a real provider: in tests, and at the development provider.

use axum::Router;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_oidc::dev_provider::ScriptedLogin;
use tower_oidc::store::MemoryStore;
use tower_oidc::{ClaimSource, Config, FetchUserInfo, OAuth2, OidcLayer, ProviderConfig, Resource, RoleClaim, testing};

use super::with_roles;
use crate::support::app::{API, APP, OP, World};
use crate::support::browser::Browser;
use crate::support::clock::TestClock;
use crate::support::net::Net;

const SECRET: &str = "a sealing secret of the tests, 32 bytes+";

fn problems(edit: impl FnOnce(Config) -> Config) -> String {
    let config = Config::new(APP, ProviderConfig::new(OP, "c").client_secret("s")).session_secrets([SECRET]);
    OidcLayer::per_user(edit(config), MemoryStore::new()).err().map(|error| error.to_string()).unwrap_or_default()
}

fn provider(edit: impl FnOnce(ProviderConfig) -> ProviderConfig) -> String {
    problems(|mut config| {
        config.provider = edit(config.provider);
        config
    })
}

#[test]
fn each_mistake_is_named() {
    for at in ["", "groups", "/groups~", "/~2"] {
        assert!(provider(|op| op.roles(ClaimSource::IdToken, at)).contains("OIDC_ROLES"), "{at}");
    }
    let never = |op: ProviderConfig| op.fetch_user_info(FetchUserInfo::Never);
    assert!(provider(|op| never(op.roles(ClaimSource::UserInfo, "/g"))).contains("fetch_user_info is never"));
    assert!(provider(|op| op.roles(ClaimSource::AccessToken, "/g")).contains("OIDC_ACCESS_TOKEN_AUDIENCE"));
    let oauth2 = |source| {
        let op = ProviderConfig::new("", "c").oauth2(OAuth2::new("https://op.test/me")).client_secret("s");
        let op =
            op.endpoint("authorization_endpoint", "https://op.test/a").endpoint("token_endpoint", "https://op.test/t");
        problems(|config| config.provider(op.roles(source, "/groups")))
    };
    assert!(oauth2(ClaimSource::IdToken).contains("use user_info"));
    assert!(oauth2(ClaimSource::AccessToken).contains("use user_info"));
    assert!(!oauth2(ClaimSource::UserInfo).contains("use user_info"));
    let elsewhere = ProviderConfig::new("https://op3.test", "c").client_secret("s").name("files").without_login();
    let elsewhere = elsewhere.roles(ClaimSource::IdToken, "/groups");
    assert!(problems(|config| config.add_provider(elsewhere)).contains("without logins"));
    // A refresh for one API would take the roles away that another one's access token names.
    let apis = |names: [&str; 2]| {
        provider(|op| {
            let api =
                |name: &str| Resource::new(name, format!("{API}/{name}/")).indicator(format!("{API}/{}", &name[..1]));
            let op = op.resource(api(names[0])).resource(api(names[1])).access_token_audience("account");
            op.roles(ClaimSource::AccessToken, "/g")
        })
    };
    assert!(apis(["one", "two"]).contains("each API has others"));
    assert_eq!(apis(["one", "other"]), "", "the control");
    assert!(problems(|config| config.admin_roles(["boss"])).contains("set roles (OIDC_ROLES)"));
    let silent = || ProviderConfig::new("https://op3.test", "c").client_secret("s").name("work");
    assert!(problems(|config| config.add_provider(silent()).admin_roles(["work:boss"])).contains("set roles"));
    let several = || silent().roles(ClaimSource::IdToken, "/groups");
    assert!(problems(|config| config.add_provider(several()).admin_roles(["boss"])).contains("work:boss"));
    assert_eq!(problems(|config| config.add_provider(several()).admin_roles(["work:boss"])), "");
    // The controls.
    assert_eq!(provider(|op| op.roles(ClaimSource::AccessToken, "/g").access_token_audience("account")), "");
    assert_eq!(provider(|op| op.roles(ClaimSource::UserInfo, "/a~1b/c")), "");
    let with_roles = |config: Config| {
        let mut config = config.admin_roles(["boss"]);
        config.provider = config.provider.roles(ClaimSource::IdToken, "/groups");
        config
    };
    assert_eq!(problems(with_roles), "");
}

#[test]
fn variables_name_roles() {
    let read = |variables: &[(&str, &str)]| {
        let all = [("OIDC_ISSUER", OP), ("OIDC_CLIENT_ID", "c"), ("OIDC_PROVIDERS", "at-work")];
        let work = [("OIDC_AT_WORK_ISSUER", "https://op2.test"), ("OIDC_AT_WORK_CLIENT_ID", "c")];
        let all: Vec<_> = all.iter().chain(&work).chain(variables).copied().collect();
        Config::from_env_with(|name| all.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned()))
    };
    let config = read(&[
        ("OIDC_ROLES", "id_token:/realm_access/roles, user-info:/groups"),
        ("OIDC_AT_WORK_ROLES", "access_token:/roles"),
        ("OIDC_AT_WORK_ACCESS_TOKEN_AUDIENCE", "account"),
        ("ADMIN_ROLES", "default:boss, at-work:chief"),
    ])
    .unwrap();
    let first = [(ClaimSource::IdToken, "/realm_access/roles"), (ClaimSource::UserInfo, "/groups")];
    assert_eq!(config.provider.roles, first.map(|(from, at)| RoleClaim::new(from, at)));
    let work = &config.more_providers[0];
    assert_eq!(work.roles, [RoleClaim::new(ClaimSource::AccessToken, "/roles")]);
    assert_eq!(work.access_token_audience.as_deref(), Some("account"));
    assert_eq!(config.admin_roles, ["default:boss", "at-work:chief"]);
    for wrong in ["/groups", "cookie:/groups", "id_token"] {
        let refused = read(&[("OIDC_ROLES", wrong)]).unwrap_err().to_string();
        assert!(refused.contains("OIDC_ROLES is") && refused.contains("id_token:/groups"), "{refused}");
    }
    let read: Config = serde_json::from_str(
        r#"{"provider":{"roles":[{"from":"id_token","at":"/groups"},{"from":"user_info","at":"/g"}]}}"#,
    )
    .unwrap();
    assert_eq!(read.provider.roles.len(), 2);
}

async fn ask(app: Router, path: &str, cookie: &str) -> (u16, Value) {
    let request = Request::get(path).header("cookie", cookie).body(axum::body::Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 100_000).await.unwrap();
    (status, serde_json::from_slice::<Value>(&body).map(|it| it["roles"].clone()).unwrap_or_default())
}

#[tokio::test]
async fn a_test_gives_roles() {
    let ann = || with_roles().layer(testing::as_user("ann").roles(["author", "editor"]));
    assert_eq!(ask(ann(), "/roles", "").await, (200, json!(["author", "editor"])));
    assert_eq!(ask(ann(), "/all", "").await.0, 200);
    let eve = || with_roles().layer(testing::as_user("eve"));
    assert_eq!(ask(eve(), "/editors", "").await.0, 403);
    // By claims, where the configuration says that roles are there.
    for (path, expected) in [("/groups", json!(["editor"])), ("/teams", json!([]))] {
        let world = World::with(|mut config| {
            config.provider = config.provider.roles(ClaimSource::UserInfo, path);
            config
        });
        let claims = json!({ "groups": ["editor"] }).as_object().cloned().unwrap();
        let cookie = testing::start_session(&world.app.layer, OP, "a1", claims).await.unwrap();
        let app = with_roles().layer(world.app.layer.clone());
        assert_eq!(ask(app, "/roles", &cookie).await, (200, expected), "{path}");
    }
}

/// The page has a field, and a script has a method.
#[tokio::test]
async fn the_development_provider_has_roles() {
    const LOCAL: &str = "http://localhost:3000";
    let (net, clock) = (Net::new(), TestClock::new());
    let config = testing::development_config(LOCAL).http_client(net.http_client()).clock(clock.readings());
    let layer = OidcLayer::per_user(config.admin_roles(["boss"]), MemoryStore::new()).unwrap();
    net.serve_service(LOCAL, layer.layer(with_roles()));
    let browser = || Browser::new(&net, &clock).strict_for(LOCAL);
    let said = async |browser: &Browser| browser.navigate(&format!("{LOCAL}/roles")).await.json();

    let ann = browser();
    let page = ann.navigate(&format!("{LOCAL}/private")).await;
    let form = page.form().fill("email", "ann@example.com").fill("roles", " editor, ,boss ");
    ann.settle(ann.submit(&form.press("Sign in")).await).await;
    let roles = said(&ann).await;
    assert_eq!((&roles["roles"], &roles["admin"]), (&json!(["boss", "editor"]), &true.into()));

    let provider = testing::development_provider(&layer).unwrap();
    provider.roles("Bob@example.com", ["reader"]);
    for (email, expected) in [("bob@example.com", json!(["reader"])), ("eve@example.com", json!([]))] {
        provider.script(Some(ScriptedLogin::SignIn { email: email.into(), admin: false }));
        let roles = said(&browser()).await;
        assert_eq!((&roles["roles"], &roles["admin"]), (&expected, &false.into()), "{email}");
    }
}
