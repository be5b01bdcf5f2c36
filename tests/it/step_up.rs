//! A route demands another authentication than the login had: one way to the provider and back, and never round in circles.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tower_oidc::{
    Api, Config, Connection, GrantLifetime, LoginOptions, Prompt, ProviderConfig, RequireLayer, Resource,
};

use crate::provider_logout::{MODES, Mode};
use crate::support::app::{API, APP, EVIL, OP2, World, routes};
use crate::support::browser::{Browser, Page};
use crate::support::html::Form;
use crate::support::net::Caller;
use crate::support::params::Params;
use crate::support::provider::jwt::Draft;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};

const MINUTE: Duration = Duration::from_secs(60);

fn world(mode: Mode, edit: impl FnOnce(Config) -> Config) -> World {
    let world = mode.world(edit);
    world.serve(demanding());
    world
}

fn demanding() -> Router {
    let route = |layer: RequireLayer| get(|| async { "in" }).post(|| async { "in" }).layer(layer);
    let both = LoginOptions::new().acr_values(["gold"]).max_age(5 * MINUTE);
    routes()
        .route("/gold", route(RequireLayer::acr(["gold", "platinum"])))
        .route("/recent", route(RequireLayer::recent(5 * MINUTE)))
        .route("/now", route(RequireLayer::recent(Duration::ZERO)))
        .route("/both", route(RequireLayer::authentication(both)))
        .route(
            "/silent",
            route(RequireLayer::authentication(LoginOptions::new().acr_values(["gold"]).prompt(Prompt::None))),
        )
        .route("/mistake", route(RequireLayer::acr([""; 0])))
}

impl World {
    /// Goes to a page. Returns it, with how often the provider was asked on the way.
    async fn trips(&self, browser: &Browser, path: &str) -> (Page, usize) {
        let before = self.op.authorizations().len();
        let page = browser.visit(&format!("{APP}{path}")).await;
        (page, self.op.authorizations().len() - before)
    }

    async fn passes(&self, browser: &Browser, path: &str, trips: usize, what: &str) {
        let (page, asked) = self.trips(browser, path).await;
        let landed = (page.status.as_u16(), page.path_and_query(), asked);
        assert_eq!(landed, (200, path, trips), "{what}: {}", page.text());
        assert_eq!(page.text(), "in", "{what}");
    }

    /// A page says that the provider did not do what was demanded, and nothing else has changed.
    async fn fails(&self, browser: &Browser, path: &str, what: &str) {
        let before = self.who(browser).await;
        let (page, asked) = self.trips(browser, path).await;
        assert_eq!((page.status.as_u16(), asked), (403, 1), "{what}: {}", page.text());
        assert!(page.text().contains("did not authenticate you in the way"), "{what}: {}", page.text());
        assert_eq!(self.who(browser).await, before, "{what}: the session lasts");
    }

    async fn shows_token(&self, path: &str, token: &str) -> Response<Bytes> {
        let request = Request::get(format!("{APP}{path}")).header(AUTHORIZATION, format!("Bearer {token}"));
        self.net.call(Caller::Application, request.body(Bytes::new()).unwrap()).await.unwrap()
    }
}

#[tokio::test]
async fn less_the_same_and_more() {
    for mode in MODES {
        let world = world(mode, |config| config);
        let alice = world.signed_in("alice").await;
        world.op.edit_id_token(|token| token.claim("acr", "silver"));
        world.fails(&alice, "/gold", "less").await;
        world.op.edit_id_token(|token| token.without("acr"));
        world.fails(&alice, "/gold", "nothing").await;
        world.fails(&alice, "/gold", "once more, and once").await;
        assert_eq!(world.op.last_authorization().get("acr_values"), Some("gold platinum"), "{mode:?}");
        world.op.honest();
        world.passes(&alice, "/gold", 1, "the same").await;
        world.passes(&alice, "/gold", 0, "it has it now").await;
        let bob = world.signed_in("bob").await;
        world.op.edit_id_token(|token| token.claim("acr", "platinum"));
        world.passes(&bob, "/gold", 1, "more, which is listed").await;
        world.passes(&bob, "/gold", 0, "it has it now").await;
        world.op.edit_id_token(|token| token.claim("acr", "diamond"));
        let again = world.signed_in("alice").await;
        world.fails(&again, "/gold", "what nobody listed").await;
    }
}

/// OpenID Connect Core Error Code unmet_authentication_requirements 1.0.
#[tokio::test]
async fn a_provider_that_says_that_it_cannot() {
    for mode in MODES {
        let world = world(mode, |config| config);
        let alice = world.signed_in("alice").await;
        world.op.edit_authorization_response(|response| {
            response.params.remove("code");
            response.params.set("error", "unmet_authentication_requirements");
        });
        world.fails(&alice, "/gold", "an error").await;
    }
}

#[tokio::test]
async fn an_authentication_that_is_too_long_ago() {
    for mode in MODES {
        let world = world(mode, |config| config);
        let alice = world.signed_in("alice").await;
        world.passes(&alice, "/recent", 0, "a moment ago").await;
        world.clock.advance(6 * MINUTE);
        world.passes(&alice, "/recent", 0, "within the leeway").await;
        world.clock.advance(Duration::from_secs(1));
        let signed_in_at = world.clock.now() - 361;
        world.op.edit_id_token(move |token| token.claim("auth_time", signed_in_at));
        world.fails(&alice, "/recent", "one that says the same again").await;
        world.op.edit_id_token(|token| token.without("auth_time"));
        world.fails(&alice, "/recent", "one that does not say it").await;
        world.op.honest();
        world.passes(&alice, "/recent", 1, "one that asks").await;
        assert_eq!(world.op.last_authorization().get("max_age"), Some("300"), "{mode:?}");
        world.passes(&alice, "/recent", 0, "it is recent now").await;
        world.passes(&alice, "/now", 0, "the leeway").await;
        world.clock.advance(Duration::from_secs(61));
        world.passes(&alice, "/now", 1, "it is asked each time").await;
    }
}

/// One login asks for both, also of somebody who was not signed in.
#[tokio::test]
async fn both_demands_are_one_way() {
    for mode in MODES {
        let world = world(mode, |config| config);
        let alice = world.signed_in("alice").await;
        world.clock.advance(10 * MINUTE);
        world.passes(&alice, "/both", 1, "signed in").await;
        let asked = world.op.last_authorization();
        assert_eq!((asked.get("acr_values"), asked.get("max_age")), (Some("gold"), Some("300")), "{mode:?}");
        let nobody = world.browser();
        for path in ["/gold", "/both"] {
            world.passes(&world.browser(), path, 1, "anonymous").await;
        }
        world.passes(&nobody, "/recent", 1, "anonymous").await;
        // A silent login could not do it, and would come back with the same.
        world.passes(&world.signed_in("bob").await, "/silent", 1, "silent").await;
        assert_eq!(world.op.last_authorization().get("prompt"), None, "{mode:?}");
        let (page, trips) = world.trips(&alice, "/mistake").await;
        assert_eq!((page.status.as_u16(), trips), (403, 0), "{mode:?}: no class is listed");
    }
}

/// A link of another site leads there all the same, without a question.
#[tokio::test]
async fn another_sites_link() {
    for mode in MODES {
        let world = world(mode, |config| config);
        let alice = world.signed_in("alice").await;
        let page = alice.settle(alice.click_from(EVIL, &format!("{APP}/gold?x=1")).await).await;
        assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/gold?x=1"), "{mode:?}: {}", page.text());
    }
}

#[tokio::test]
async fn a_script_is_told() {
    for mode in MODES {
        let world = world(mode, |config| config);
        let alice = world.signed_in("alice").await;
        let before = world.op.authorizations().len();
        for method in [Method::GET, Method::POST] {
            let page = alice.fetch(method, &format!("{APP}/gold"), "", APP).await;
            let told = page.json();
            assert_eq!((page.status.as_u16(), &told["code"]), (401, &json!("insufficient_user_authentication")));
            assert!(page.header("www-authenticate").is_none() && told["connect_url"] == Value::Null);
            let login = told["login_url"].as_str().unwrap().to_owned();
            assert!(login.contains("acr_values=gold+platinum"), "{mode:?}: {login}");
            assert_eq!(world.op.authorizations().len(), before, "{mode:?}");
        }
        let told = alice.fetch(Method::GET, &format!("{APP}/gold"), "", APP).await.json();
        let page = alice.visit(&format!("{APP}{}", told["login_url"].as_str().unwrap())).await;
        assert_eq!(page.status, 200, "{mode:?}: {}", page.text());
        assert_eq!(alice.fetch(Method::POST, &format!("{APP}/gold"), "", APP).await.status, 200, "{mode:?}");
    }
}

/// What was posted is gone: the person comes back to a page that says so, and sends it again.
#[tokio::test]
async fn a_form_is_not_sent_again_by_itself() {
    for mode in MODES {
        let world = world(mode, |config| config);
        let alice = world.signed_in("alice").await;
        let before = world.op.authorizations().len();
        let form = Form::post(&format!("{APP}/gold"), &[("a", "1")]);
        alice.navigate(&format!("{APP}/who")).await;
        let page = alice.settle(alice.submit_from(&format!("{APP}/who"), &form).await).await;
        assert!(page.path_and_query().starts_with("/auth/granted"), "{mode:?}: {}", page.path_and_query());
        assert!(page.status == 200 && page.text().contains("was not processed"), "{mode:?}: {}", page.text());
        assert_eq!(world.op.authorizations().len(), before + 1, "{mode:?}");
        let page = alice.submit_from(&format!("{APP}/who"), &form).await;
        assert_eq!((page.status.as_u16(), page.text()), (200, "in".to_owned()), "{mode:?}");
    }
}

/// The person goes on with what they granted.
#[tokio::test]
async fn the_grants_of_the_session_last() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = world(mode, |config| {
            let mail = Resource::new("mail", format!("{API}/mail/")).scope("mail.read");
            config.connection(Connection::new("mail").resource(mail).grant_lifetime(GrantLifetime::Session))
        });
        let alice = world.signed_in("alice").await;
        let fetch = format!("/fetch?u={API}/mail/inbox");
        let (page, trips) = world.trips(&alice, &fetch).await;
        assert_eq!((page.status.as_u16(), trips), (200, 1), "{mode:?}: it is granted");
        world.passes(&alice, "/gold", 1, "the step up").await;
        for path in [fetch, format!("/fetch?u={API}/cal/today")] {
            let (page, trips) = world.trips(&alice, &path).await;
            assert_eq!((page.status.as_u16(), trips), (200, 0), "{mode:?} {path}: {}", page.text());
        }
        assert_eq!(world.who(&alice).await, "a1");
    }
}

/// Where people sign in at several providers, theirs is asked, without a choice.
#[tokio::test]
async fn the_provider_of_the_session_is_asked() {
    let two = |config: Config| {
        config.add_provider(ProviderConfig::new(OP2, CLIENT_ID).client_secret(CLIENT_SECRET).name("work"))
    };
    for world in [World::with(two), World::stateless_with(two)] {
        world.serve(demanding());
        let browser = world.browser();
        world.op2.sign_in_as("alice");
        let to: Params = [("return_to", "/who"), ("provider", "work")].into_iter().collect();
        browser.visit(&to.append_to(&format!("{APP}/auth/login"))).await;
        let before = world.op2.authorizations().len();
        world.passes(&browser, "/gold", 0, "nothing of the other provider").await;
        assert_eq!(world.op2.authorizations().len(), before + 1);
    }
}

/// RFC 9470 section 3.
#[tokio::test]
async fn a_client_is_told_what_its_token_lacks() {
    let world = world(Mode::PerUser, |config| config.api(Api::new("https://app.test/api")));
    let token = |edit: &dyn Fn(&mut Draft)| world.op.access_jwt(Some("alice"), "https://app.test/api", |it| edit(it));
    let gold = token(&|token| token.claim("acr", "gold"));
    let now = world.clock.now();
    let fresh = token(&|token| token.claim("auth_time", now));
    let old = token(&|token| token.claim("auth_time", now - 1000));
    let both = token(&|token| {
        token.claim("acr", "gold");
        token.claim("auth_time", now);
    });
    for (path, token, demand) in [
        ("/gold", &fresh, Some(r#"acr_values="gold platinum""#)),
        ("/gold", &gold, None),
        ("/recent", &gold, Some(r#"max_age="300""#)),
        ("/recent", &old, Some(r#"max_age="300""#)),
        ("/recent", &fresh, None),
        ("/both", &gold, Some(r#"acr_values="gold", max_age="300""#)),
        ("/both", &fresh, Some(r#"acr_values="gold", max_age="300""#)),
        ("/both", &both, None),
    ] {
        let answer = world.shows_token(path, token).await;
        let Some(demand) = demand else {
            assert_eq!(answer.status(), 200, "{path}");
            continue;
        };
        assert_eq!(answer.status(), 401, "{path}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        let expected = format!("Bearer error=\"insufficient_user_authentication\", {demand}, resource_metadata=");
        assert!(challenge.starts_with(&expected), "{path}: {challenge}");
        let told: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!((&told["code"], &told["login_url"]), (&json!("insufficient_user_authentication"), &Value::Null));
    }
}
