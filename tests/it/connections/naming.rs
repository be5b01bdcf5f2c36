//! How a provider is told for which API a token is: `audience` as at Auth0, scopes alone as at Entra. The provider's side,
//! with its sources, is in `support/provider/naming.rs`.

use std::time::Duration;

use tower_oidc::{ApiNaming, Config, Connection, OidcLayer, Resource, SharedAccount};

use super::app::{Site, connect, resource, script, state, token};
use crate::single_user::app::start;
use crate::support::app::{API, World, config};
use crate::support::params::Params;
use crate::support::provider;
use crate::support::test_store::TestStore;

const HOUR: Duration = Duration::from_secs(3601);
const AUDIENCE: provider::ApiNaming = provider::ApiNaming::Audience { several: true };
const OWN: &str = "openid offline_access";

fn named(api: &str) -> String {
    format!("api://{api}")
}

fn scope(api: &str) -> String {
    format!("api://{api}/read")
}

fn api(name: &str) -> Resource {
    resource(name).scope(scope(name))
}

/// The connection `suite` with these APIs, at a provider that names them so.
fn site(naming: ApiNaming, at_provider: provider::ApiNaming, apis: &[&str]) -> Site {
    let site = Site::with(|config| {
        let suite = Connection::new("suite").scope("offline_access");
        let suite = apis.iter().fold(suite, |suite, name| match naming {
            ApiNaming::Audience => suite.resource(api(name).indicator(named(name))),
            _ => suite.resource(api(name).optional_scope(format!("api://{name}/write"))),
        });
        let mut config = config.connection(suite);
        config.provider.api_naming = naming;
        config
    });
    site.op.set(|settings| settings.api_naming = at_provider);
    site
}

fn entra(apis: &[&str]) -> Site {
    site(ApiNaming::Scope, provider::ApiNaming::Scope, apis)
}

/// The parameters of every request that named an API, or could have.
fn asked(site: &World) -> Vec<Params> {
    let authorizations = site.op.authorizations().into_iter().map(|request| request.params);
    authorizations.chain(site.op.token_requests().into_iter().map(|request| request.params)).collect()
}

/// Each API's token is its own and has its scope, in turn, for hours.
async fn each_has_its_own(site: &Site, apis: &[&str], refreshes_at_first: usize) {
    let browser = site.signed_in("alice").await;
    connect(&browser, "suite").await;
    assert_eq!(state(&browser, "suite").await, "connected");
    for round in 0..3 {
        for name in apis {
            let token = token(&browser, name).await.unwrap_or_else(|code| panic!("{name}: {code}"));
            let issued = site.op.issued(&token).unwrap();
            assert_eq!(issued.resources, [named(name)], "{round}");
            assert!(issued.live && issued.scope.contains(&scope(name)), "{round}: {:?}", issued.scope);
            let needed = script(&browser, &format!("/need?r={name}&s={}", scope(name))).await;
            assert_eq!(needed.text(), "granted", "{round} {name}");
        }
        assert_eq!(site.op.refreshes().len(), refreshes_at_first + apis.len() * round, "{round}");
        assert_eq!(state(&browser, "suite").await, "connected", "{round}");
        site.clock.advance(HOUR);
    }
    assert_eq!(site.op.reuse_detected(), 0);
    assert!(asked(site).iter().all(|params| !params.has("resource")));
}

#[tokio::test]
async fn an_audience_names_the_api_at_both_endpoints() {
    let one = site(ApiNaming::Audience, AUDIENCE, &["a"]);
    each_has_its_own(&one, &["a"], 0).await;
    assert_eq!(one.op.last_authorization().all("audience"), ["api://a"]);
    assert_eq!(one.op.code_exchanges().pop().unwrap().params.all("audience"), ["api://a"]);
    assert_eq!(one.op.refreshes().pop().unwrap().params.all("audience"), ["api://a"]);
    // The first of several comes with the code.
    let several = site(ApiNaming::Audience, AUDIENCE, &["a", "b"]);
    each_has_its_own(&several, &["a", "b"], 1).await;
    assert_eq!(several.op.last_authorization().all("audience"), ["api://a"]);
    let refreshed: Vec<_> = several.op.refreshes().iter().map(|one| one.params.all("audience").concat()).collect();
    assert_eq!(refreshed, ["api://b", "api://a", "api://b", "api://a", "api://b"]);
    // The control: as RFC 8707 has it, this provider issues nothing for the API.
    let wrong = site(ApiNaming::Resource, AUDIENCE, &["a"]);
    let browser = wrong.signed_in("alice").await;
    connect(&browser, "suite").await;
    assert!(wrong.op.issued(&token(&browser, "a").await.unwrap()).unwrap().resources.is_empty());
}

#[tokio::test]
async fn scopes_name_the_api_with_one_refresh_token() {
    let one = entra(&["a"]);
    each_has_its_own(&one, &["a"], 0).await;
    assert_eq!(one.op.code_exchanges().pop().unwrap().params.get("scope"), Some(&*format!("{OWN} {}", scope("a"))));
    let several = entra(&["a", "b"]);
    each_has_its_own(&several, &["a", "b"], 2).await;
    assert_eq!(
        several.op.last_authorization().get("scope"),
        Some(&*format!("{OWN} {} {}", scope("a"), scope("b"))),
        "people are asked once"
    );
    assert_eq!(several.op.code_exchanges().pop().unwrap().params.get("scope"), Some(OWN), "of one API at most");
    for (refresh, name) in several.op.refreshes().iter().zip(["a", "b"].into_iter().cycle()) {
        assert_eq!(refresh.params.get("scope"), Some(&*scope(name)), "what the API needs and no more");
    }
    // The control: what is asked for two APIs at once is refused.
    let wrong = site(ApiNaming::Resource, provider::ApiNaming::Scope, &["a", "b"]);
    let browser = wrong.signed_in("alice").await;
    connect(&browser, "suite").await;
    let issued = wrong.op.issued(&token(&browser, "b").await.unwrap()).unwrap();
    assert_eq!(issued.resources, ["api://a"], "b would get the token of a");
}

/// What is granted for one API more is asked for beside all, and goes with the token of that API.
#[tokio::test]
async fn more_scopes_of_an_api_that_scopes_name() {
    let site = entra(&["a", "b"]);
    let browser = site.signed_in("alice").await;
    connect(&browser, "suite").await;
    let need = async || script(&browser, "/need?r=b&s=api://b/write").await;
    let refused = need().await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (403, &"consent_required".into()));
    browser.visit(&super::app::at("/need?r=b&s=api://b/write")).await;
    assert_eq!(need().await.text(), "granted");
    let last = site.op.last_authorization();
    assert_eq!(last.get("scope"), Some("openid offline_access api://a/read api://b/read api://b/write"));
    assert_eq!(state(&browser, "suite").await, "connected");
}

/// What is no API's: the token that comes with the code, and is refreshed with its own scopes, goes to no API that scopes name.
#[tokio::test]
async fn what_no_scope_names_has_the_token_of_the_code() {
    let site = Site::with(|config| {
        let suite = Connection::new("suite").scope("offline_access");
        let mut config = config.connection(suite.resource(api("a")).resource(api("b")).resource(resource("own")));
        config.provider.api_naming = ApiNaming::Scope;
        config
    });
    site.op.set(|settings| settings.api_naming = provider::ApiNaming::Scope);
    let browser = site.signed_in("alice").await;
    connect(&browser, "suite").await;
    for round in 0..3 {
        let issued = site.op.issued(&token(&browser, "own").await.unwrap()).unwrap();
        assert!(issued.live && issued.resources.is_empty(), "{round}: {issued:?}");
        let issued = site.op.issued(&token(&browser, "b").await.unwrap()).unwrap();
        assert_eq!(issued.resources, [named("b")], "{round}");
        site.clock.advance(HOUR);
    }
}

/// RFC 6749 section 4.4: without anybody, each dialect names the API, too.
#[tokio::test]
async fn client_credentials_name_the_api() {
    for (naming, at_provider, scope) in
        [(ApiNaming::Audience, AUDIENCE, "read"), (ApiNaming::Scope, provider::ApiNaming::Scope, "api://b/.default")]
    {
        let world = World::new();
        world.op.set(|settings| settings.api_naming = at_provider);
        let _app = start(&world, SharedAccount::client_credentials(), TestStore::new(), |mut config| {
            config.provider.api_naming = naming;
            config.provider.resources.clear();
            let [a, b] = ["a", "b"].map(|name| Resource::new(name, format!("{API}/{name}/")));
            let (a, b) = (a.scope(scope.replace("//b", "//a")), b.scope(scope));
            config.resource(a.indicator("api://a")).resource(b.indicator("api://b"))
        });
        let page = world.browser().navigate(&super::app::at(&format!("/fetch?u={API}/b/"))).await;
        assert_eq!(page.status, 200, "{naming:?}: {}", page.text());
        let request = world.op.token_requests().pop().unwrap();
        assert_eq!(request.params.get("scope"), Some(scope));
        assert_eq!(request.params.all("audience").len(), usize::from(naming == ApiNaming::Audience), "{naming:?}");
        assert!(!request.params.has("resource"), "{naming:?}");
        let sent = world.api.authorizations().pop().unwrap();
        let token = sent.strip_prefix("Bearer ").unwrap();
        assert_eq!(world.op.issued(token).unwrap().resources, ["api://b"], "{naming:?}");
    }
}

#[test]
fn the_parameter_of_the_dialect_is_not_set_by_hand() {
    let world = World::new();
    let refused = |naming| {
        let mut config: Config = config(&world.net, &world.clock);
        config.provider.api_naming = naming;
        config.provider = config.provider.authorization_parameter("audience", "x");
        OidcLayer::per_user(config, tower_oidc::store::MemoryStore::new()).err().map(|error| error.to_string())
    };
    assert!(refused(ApiNaming::Audience).unwrap().contains("\"audience\", which the layer sets"));
    assert_eq!(refused(ApiNaming::Resource), None, "the control");
}
