//! Logouts in a provider's own way.
//!
//! | what Cognito does here | source |
//! |---|---|
//! | `GET /logout` with `client_id` and `logout_uri`, which is an allowed sign-out URL; an error without them | <https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html> |
//! | the discovery document names that endpoint all the same | <https://github.com/swisstopo/swissgeol-boreholes-suite/pull/1066> |
//! | no `state` comes back | <https://github.com/awsdocs/amazon-cognito-developer-guide/issues/15> |

use serde_json::Value;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, OidcLayer, SharedAccount};

use crate::single_user::app::start;
use crate::support::app::{APP, OP, World, config, logout_link, of_preset};
use crate::support::html::Form;

fn cognito(config: Config) -> Config {
    of_preset("cognito", config)
}

fn at_cognito(world: World) -> World {
    world.op.set(|settings| settings.logout_parameter = "logout_uri");
    world
}

#[tokio::test]
async fn cognito_signs_out_by_client_id_and_logout_uri() {
    let single_user = World::new();
    let app = start(&single_user, SharedAccount::client_credentials(), MemoryStore::new(), cognito);
    for world in [World::with(cognito), World::stateless_with(cognito), World { app, ..single_user }] {
        let world = at_cognito(world);
        for by_form in [false, true] {
            let browser = world.signed_in("alice").await;
            let page = if by_form {
                let post = Form::post(&format!("{APP}/auth/logout?return_to=/bye"), &[]);
                let page = browser.submit_from(APP, &post).await;
                browser.settle(page).await
            } else {
                browser.visit(&logout_link(&browser, "/bye").await).await
            };
            assert_eq!(page.url.as_str(), format!("{APP}/"), "where the provider may lead to");
            assert_eq!(world.who(&browser).await, Value::Null);
            let asked = world.op.logouts().pop().unwrap();
            let asked: Vec<_> = asked.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(asked, [("client_id", "app"), ("logout_uri", "https://app.test/")], "and no token");
        }
    }
    // The control: what other providers are asked is an error there.
    let world = at_cognito(World::new());
    let browser = world.signed_in("alice").await;
    let page = browser.visit(&logout_link(&browser, "/bye").await).await;
    assert_eq!((page.status.as_u16(), page.url.origin().ascii_serialization().as_str()), (400, OP));
}

/// Where the metadata have no endpoint, the template says all of it, encoded.
#[tokio::test]
async fn a_template_stands_in_for_an_endpoint() {
    const ID: &str = "a b&logout_uri=https://evil.test/{post_logout_redirect_uri}";
    let world = World::with(|mut config| {
        config.provider.client_id = ID.to_owned();
        config.provider.logout_url =
            Some(format!("{OP}/end_session?c={{client_id}}&logout_uri={{post_logout_redirect_uri}}&x=1"));
        config.post_logout_url(format!("{APP}/bye?a=1&b=%20"))
    });
    world.op.register(ID, Some(crate::support::provider::CLIENT_SECRET));
    world.op.set(|settings| settings.end_session = false);
    let browser = world.signed_in("alice").await;
    browser.step(&logout_link(&browser, "").await).await;
    let page = browser.visit(&logout_link(&browser, "").await).await;
    assert_eq!(page.url.path(), "/", "signed out already");
    let browser = world.signed_in("alice").await;
    browser.visit(&logout_link(&browser, "").await).await;
    let asked = world.op.logouts().pop().unwrap();
    let back = format!("{APP}/bye?a=1&b=%20");
    assert_eq!(asked.0, [("c", ID), ("logout_uri", &back), ("x", "1")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    // A preset's template needs the endpoint of the metadata; without one the logout ends here.
    let world = World::with(cognito);
    world.op.set(|settings| settings.end_session = false);
    let browser = world.signed_in("alice").await;
    let page = browser.visit(&logout_link(&browser, "/bye").await).await;
    assert_eq!(page.url.as_str(), format!("{APP}/bye"));
    assert!(world.op.logouts().is_empty());
}

#[tokio::test]
async fn no_id_token_is_kept_for_a_logout_that_takes_none() {
    let carried = async |edit: fn(Config) -> Config| {
        let browser = World::stateless_with(edit).signed_in("alice").await;
        browser.cookies().iter().map(|cookie| cookie.value.len()).sum::<usize>()
    };
    let (own, usual) = (carried(cognito).await, carried(|config| config).await);
    assert!(own + 300 < usual, "{own} bytes, {usual} with an ID token");
}

#[tokio::test]
async fn a_check_misses_no_endpoint_where_a_template_stands_in_for_it() {
    let world = World::new();
    world.op.set(|settings| settings.end_session = false);
    let warns = async |logout_url: Option<&str>| {
        let mut config = config(&world.net, &world.clock);
        config.provider.logout_url = logout_url.map(str::to_owned);
        let report = OidcLayer::per_user(config, MemoryStore::new()).unwrap().check().await;
        report.findings.iter().any(|finding| finding.subject.contains("end_session_endpoint"))
    };
    assert!(!warns(Some("https://op.test/out?c={client_id}")).await);
    assert!(warns(None).await, "the control");
}

#[test]
fn a_template_is_an_https_url() {
    let world = World::new();
    let refused = |template: &str| {
        let mut config = config(&world.net, &world.clock);
        config.provider.logout_url = Some(template.to_owned());
        OidcLayer::per_user(config, MemoryStore::new()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for wrong in ["", "/logout", "http://op.test/logout?c={client_id}", "javascript:alert(1)", "{client_id}"] {
        assert!(refused(wrong).contains("logout_url (OIDC_LOGOUT_URL)"), "{wrong}");
    }
    for right in ["https://op.test/logout?c={client_id}", "http://127.0.0.1/logout", "{end_session_endpoint}?a=1"] {
        assert_eq!(refused(right), "", "{right}");
    }
}
