//! What a login can ask for: prompt, max_age, hints, silence, a hosted domain, a response by POST.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tower_oidc::{AuthSession, CurrentUser, Error, LoginOptions, Prompt, ResponseMode};

use super::{PENDING, SESSION, SILENT, Untouched, assert_refused, callback_of, login, login_with, pending, who};
use crate::support::app::{APP, OP, World, routes};
use crate::support::browser::Browser;
use crate::support::cookies::SameSite;
use crate::support::html::Form;
use crate::support::params::Params;

/// `/silent` tries to sign whoever comes in without asking; `/strong` is an address with every option.
fn world(world: World) -> World {
    let routes = routes().route("/silent", get(silent)).route("/strong", get(strong)).route("/auth-facts", get(facts));
    world.net.serve_service(APP, world.app.layer.layer(routes));
    world
}

async fn silent(user: Option<CurrentUser>, users: AuthSession) -> Result<Response, Error> {
    Ok(match users.silent_login_url("/silent")? {
        Some(url) => Redirect::to(&url).into_response(),
        None => user.map_or("nobody".to_owned(), |user| user.subject().to_owned()).into_response(),
    })
}

async fn strong(users: AuthSession) -> Result<String, Error> {
    let options = LoginOptions::new()
        .prompt(Prompt::SelectAccount)
        .max_age(Duration::from_secs(300))
        .login_hint("bob@example.com")
        .acr_values(["urn:a&b", "urn:c"]);
    Ok(users.login_url_with("/auth-facts", &options)?)
}

async fn facts(user: CurrentUser) -> Json<Value> {
    let auth_time = user.auth_time().map(|time| time.as_millis() / 1000);
    Json(json!({ "sub": user.subject(), "acr": user.acr(), "auth_time": auth_time }))
}

async fn go(browser: &Browser, more: &[(&str, &str)]) -> crate::support::browser::Page {
    browser.visit(&login_with("/who", more)).await
}

#[tokio::test]
async fn every_option_of_a_login_reaches_the_provider() {
    let world = world(World::new());
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let address = browser.navigate(&format!("{APP}/strong")).await.text();
    let facts = browser.visit(&format!("{APP}{address}")).await.json();
    assert_eq!((facts["sub"].as_str(), facts["acr"].as_str()), (Some("b1"), Some("urn:a&b")));
    assert_eq!(facts["auth_time"], world.clock.now());
    let request = world.op.last_authorization();
    for (name, value) in [
        ("prompt", "select_account"),
        ("max_age", "300"),
        ("login_hint", "bob@example.com"),
        ("acr_values", "urn:a&b urn:c"),
    ] {
        assert_eq!(request.all(name), [value]);
    }
    for prompt in ["login", "consent", "select_account"] {
        assert_eq!(go(&browser, &[("prompt", prompt)]).await.json()["sub"], "a1");
        assert_eq!(world.op.last_authorization().get("prompt"), Some(prompt));
    }
    go(&browser, &[]).await;
    for name in ["prompt", "max_age", "login_hint", "acr_values", "hd", "response_mode"] {
        assert!(!world.op.last_authorization().has(name), "{name} was not asked for");
    }
}

#[tokio::test]
async fn max_age_is_enforced_on_return() {
    for (since, max_age, accepted) in [
        (Some(0), "0", true),
        (Some(350), "300", true),
        (Some(361), "300", false),
        (Some(61), "0", false),
        (Some(100_000), "100000", true),
        (None, "300", false),
        (Some(1_000_000_000), "18446744073709551615", true),
    ] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let auth_time = since.map(|since| world.clock.now() - since);
        world.op.edit_id_token(move |draft| match auth_time {
            Some(auth_time) => draft.claim("auth_time", auth_time),
            None => draft.without("auth_time"),
        });
        let browser = world.browser();
        let page = go(&browser, &[("max_age", max_age)]).await;
        if accepted {
            assert_eq!(page.json()["sub"], "a1", "{since:?} of {max_age}");
        } else {
            assert_refused(&browser, &page, 403, &format!("{since:?} of {max_age}"));
        }
        assert_eq!(go(&world.browser(), &[]).await.json()["sub"], "a1", "not asked for, not looked at");
    }
}

#[tokio::test]
async fn acr_values_are_enforced_on_return() {
    for (acr, accepted) in [
        (Some("urn:a"), true),
        (Some("urn:b"), true),
        (Some("urn:c"), false),
        (Some("URN:A"), false),
        (Some(""), false),
        (None, false),
    ] {
        let world = World::new();
        world.op.sign_in_as("alice");
        world.op.edit_id_token(move |draft| match acr {
            Some(acr) => draft.claim("acr", acr),
            None => draft.without("acr"),
        });
        let browser = world.browser();
        let page = go(&browser, &[("acr_values", "urn:a urn:b")]).await;
        match accepted {
            true => assert_eq!(page.json()["sub"], "a1", "{acr:?}"),
            false => assert_refused(&browser, &page, 403, &format!("{acr:?}")),
        }
        assert_eq!(go(&world.browser(), &[]).await.json()["sub"], "a1", "not asked for, not looked at");
    }
}

#[tokio::test]
async fn the_hosted_domain_is_sent_and_verified() {
    for (hd, accepted) in [
        (json!("example.com"), true),
        (json!("other.com"), false),
        (Value::Null, false),
        (json!(""), false),
        (json!("EXAMPLE.com"), false),
        (json!(["example.com"]), false),
        (json!("evil.example.com"), false),
        (json!(true), false),
    ] {
        let world = World::with(|mut config| {
            config.provider.hosted_domain = Some("example.com".to_owned());
            config.provider.revocation_is_per_token = true;
            config
        });
        world.op.user("alice", |user| if hd.is_null() { user.unset("hd") } else { user.set("hd", hd.clone()) });
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let page = go(&browser, &[]).await;
        assert_eq!(world.op.last_authorization().all("hd"), ["example.com"]);
        if accepted {
            assert_eq!(page.json()["sub"], "a1");
            continue;
        }
        assert_refused(&browser, &page, 403, &hd.to_string());
        assert_eq!(world.app.store.len(), 2, "{hd}: the index key and a spent login");
        assert_eq!(world.op.revocations().len(), 1, "{hd}: the fresh tokens are given back");
        assert!(world.op.live_refresh_tokens().is_empty());
    }
}

#[tokio::test]
async fn silent_login_signs_in_whoever_is_there() {
    let world = world(World::new());
    let browser = world.browser();
    browser.navigate(&format!("{OP}/signin?user=bob")).await;
    assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "b1");
    assert_eq!(world.op.last_authorization().get("prompt"), Some("none"));
    let asked = world.op.authorizations().len();
    assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "b1");
    assert_eq!(world.op.authorizations().len(), asked, "who is signed in is not asked");
}

#[tokio::test]
async fn silent_login_comes_back_anonymous_and_does_not_loop() {
    for answer in ["login_required", "interaction_required", "consent_required", "account_selection_required"] {
        let world = world(World::new());
        world.op.edit_authorization_response(move |response| {
            response.params.set("error", answer);
            response.params.remove("code");
        });
        let browser = world.browser();
        for _ in 0..3 {
            assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "nobody", "{answer}");
        }
        // The address itself does not lead to the provider either.
        assert_eq!(go(&browser, &[("prompt", "none")]).await.text(), "null");
        assert_eq!((world.op.authorizations().len(), pending(&browser).len()), (1, 0), "asked once");
        world.clock.advance(Duration::from_secs(61));
        assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "nobody");
        assert_eq!(world.op.authorizations().len(), 2, "and again after a minute");
        // Any other login works meanwhile, and ends the silence.
        world.op.honest();
        world.sign_in(&browser, "alice").await;
        assert!(browser.cookie(SILENT).is_none());
        assert_eq!(world.op.code_exchanges().len(), 1);
        // Without silence the same answer is an error.
        world.op.edit_authorization_response(move |response| {
            response.params.set("error", answer);
            response.params.remove("code");
        });
        assert_eq!(go(&world.browser(), &[]).await.status, 400, "{answer}");
    }
}

/// A session cookie that is worth nothing any more must not hide that the browser was asked already.
#[tokio::test]
async fn silent_login_does_not_loop_with_a_session_that_has_ended() {
    let world = world(World::new());
    let browser = world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(25 * 3600));
    browser.with_jar(|jar| jar.all_mut().retain(|cookie| !cookie.domain.contains("op.test")));
    world.op.sign_in_nobody();
    let asked = world.op.authorizations().len();
    for _ in 0..3 {
        assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "nobody");
    }
    assert!(browser.cookie(SESSION).is_some(), "the cookie outlives the session");
    assert_eq!(world.op.authorizations().len(), asked + 1);
}

#[tokio::test]
async fn silence_after_logout() {
    let world = world(World::new());
    let browser = world.signed_in("alice").await;
    let links = browser.navigate(&format!("{APP}/links?to=/silent")).await.json();
    world.op.set(|s| s.end_session = false);
    browser.navigate(&format!("{OP}/signin?user=alice")).await;
    let asked = world.op.authorizations().len();
    let out = browser.step(&format!("{APP}{}", links["logout"]["ok"].as_str().unwrap())).await;
    assert_eq!(out.status, 303);
    assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "nobody", "who signs out is out");
    assert_eq!(world.op.authorizations().len(), asked);
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "a1");
}

/// A silent login in a browser that is signed in, and refused, costs nobody their session.
#[tokio::test]
async fn silent_login_refused_keeps_the_session_that_there_is() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    browser.with_jar(|jar| jar.all_mut().retain(|cookie| !cookie.domain.contains("op.test")));
    world.op.sign_in_nobody();
    assert_eq!(go(&browser, &[("prompt", "none")]).await.json()["sub"], "a1");
}

/// A page that signs everybody in silently stays up while the provider is down.
#[tokio::test]
async fn silent_login_comes_back_anonymous_while_the_provider_is_away() {
    let world = world(World::new());
    world.net.fault(OP, "/", crate::support::fault::Fault::Refuse);
    let browser = world.browser();
    assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "nobody");
    assert_eq!(go(&browser, &[]).await.status, 503, "who asks for it is told");
}

/// Nor does it end at a page about somebody whom nobody asked to sign in.
#[tokio::test]
async fn silent_login_comes_back_anonymous_when_the_application_refuses() {
    let world = world(World::with(|config| {
        config.on_login(|_| async { tower_oidc::LoginDecision::Deny("not you".to_owned()) })
    }));
    world.op.sign_in_as("alice");
    let browser = world.browser();
    assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "nobody");
    let asked = world.op.authorizations().len();
    assert_eq!(browser.visit(&format!("{APP}/silent")).await.text(), "nobody");
    assert_eq!(world.op.authorizations().len(), asked, "and is not asked again at once");
    assert_eq!(go(&browser, &[]).await.status, 403, "who asks for it is told");
}

fn posting(mut config: tower_oidc::Config) -> tower_oidc::Config {
    config.provider.response_mode = ResponseMode::FormPost;
    config
}

/// The whole way by form_post: the callback is a cross-site POST, which carries no Lax cookie.
#[tokio::test]
async fn form_post_the_whole_way() {
    for strict in [false, true] {
        let world = World::with(posting);
        let browser = if strict { world.browser().redirects_count_for_same_site() } else { world.browser() };
        world.op.sign_in_as("alice");
        let page = browser.navigate(&login("/who")).await;
        let cookie = browser.cookies().into_iter().find(|cookie| cookie.name.starts_with(PENDING)).unwrap();
        assert_eq!((cookie.same_site, cookie.secure, cookie.http_only), (SameSite::None, true, true));
        let landed = browser.settle(page).await;
        assert_eq!(landed.path_and_query(), "/who");
        assert_eq!(who(&browser).await.as_deref(), Some("a1"), "strict: {strict}");
        assert_eq!(browser.cookie(SESSION).unwrap().same_site, SameSite::Lax);
        assert!(pending(&browser).is_empty());
        let callback = &world.net.requests_to(APP, "/auth/callback")[0];
        assert_eq!((callback.method.as_str(), callback.header("sec-fetch-site")), ("POST", Some("cross-site")));
        assert!(callback.query.is_empty(), "nothing in an address");
        assert_eq!(world.op.last_authorization().get("response_mode"), Some("form_post"));
        // The session that the browser had is replaced, although its cookie did not come along.
        let old = browser.clone_jar();
        let rows = world.app.store.len();
        browser.visit(&login("/who")).await;
        assert_eq!(who(&browser).await.as_deref(), Some("a1"));
        assert_eq!(world.app.store.len(), rows + 1, "one more spent login, and as many sessions and grants");
        browser.replace_jar(old);
        assert_eq!(who(&browser).await, None);
    }
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    callback_of(&browser, &login("/who")).await;
    let cookie = browser.cookies().into_iter().find(|cookie| cookie.name.starts_with(PENDING)).unwrap();
    assert_eq!(cookie.same_site, SameSite::Lax, "by query nothing needs more");
}

/// The form_post response mode: fragments and empty bodies.
#[tokio::test]
async fn form_post_takes_nothing_but_its_form() {
    let world = World::with(posting);
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let at_op = browser.navigate(&login("/who")).await;
    let form = at_op.form();
    let query = form.fields.append_to(&form.action);
    let before = Untouched::now(&world);
    let refused = async |why: &str, edit: fn(&mut Params)| {
        let mut form = form.clone();
        edit(&mut form.fields);
        assert_refused(&browser, &browser.submit_from(OP, &form).await, 400, why);
        assert_eq!(Untouched::now(&world), before, "{why}");
    };
    assert_refused(&browser, &browser.navigate(&query).await, 400, "a GET");
    let empty = Form { action: query, fields: Params::default(), ..form.clone() };
    assert_refused(&browser, &browser.submit_from(OP, &empty).await, 400, "an empty POST with the answer in its query");
    refused("state missing", |p| p.remove("state")).await;
    refused("state wrong", |p| p.set("state", "A".repeat(43))).await;
    refused("state twice", |p| p.duplicate("state")).await;
    refused("code twice", |p| p.duplicate("code")).await;
    refused("iss twice", |p| p.duplicate("iss")).await;
    refused("iss wrong", |p| p.set("iss", "https://evil.test")).await;
    refused("iss missing", |p| p.remove("iss")).await;
    for kind in ["text/plain", "application/json", "multipart/form-data; boundary=x", ""] {
        let request = http::Request::post(format!("{APP}/auth/callback")).header("content-type", kind);
        let answer = browser.raw_with_cookies(request.body(form.fields.encode().into()).unwrap()).await;
        assert_eq!(answer.status(), 400, "{kind}");
    }
    assert_eq!(Untouched::now(&world), before);
    browser.submit_from(OP, &form).await;
    assert_eq!(who(&browser).await.as_deref(), Some("a1"), "the control");
}

/// An error by form, in a login that was silent and wanted a fresh authentication.
#[tokio::test]
async fn form_post_error_of_a_silent_login() {
    let world = World::with(posting);
    let browser = world.browser();
    let page = go(&browser, &[("prompt", "none"), ("max_age", "0")]).await;
    assert_eq!((page.path_and_query(), page.text().as_str()), ("/who", "null"));
    world.op.set(|s| s.deny = true);
    assert_refused(&browser, &go(&browser, &[]).await, 403, "an error by form is a page");
}
