//! Errors as people see them: a navigation gets a page that says what to do, and a script the problem document. Pages of the
//! application's own in place of the layer's.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tower::util::MapResponseLayer;
use tower::{Layer, ServiceBuilder};
use tower_oidc::{AuthSession, Error, ErrorKind, Page, RequireLayer};

use crate::support::app::{API, APP, EVIL, OP, World, routes};
use crate::support::browser::{self, Browser};
use crate::support::fault::Fault;
use crate::support::store::Trouble;

const HOUR: Duration = Duration::from_secs(3601);

/// The same as a person and as a script: a page with this text and these links, and a problem document with this code.
async fn assert_shown(
    browser: &Browser, path: &str, (status, code): (u16, &str), (text, links): (&str, &[&str]),
) -> browser::Page {
    let url = format!("{APP}{path}");
    let page = browser.navigate(&url).await;
    assert_eq!((page.status.as_u16(), page.code().as_str()), (status, code), "{path}: {}", page.text());
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    for (name, value) in [("cache-control", "no-store"), ("x-frame-options", "DENY")] {
        assert_eq!(page.header(name), Some(value), "{path}");
    }
    assert!(page.text().contains(text), "{path}: {}", page.text());
    assert_eq!(page.links(), links, "{path}");
    let script = browser.fetch(Method::GET, &url, "", APP).await;
    assert_eq!((script.status.as_u16(), script.json()["code"].as_str()), (status, Some(code)), "{path}");
    assert_eq!(script.header("content-type"), Some("application/problem+json"), "{path}");
    assert_eq!(page.header("retry-after").is_some(), script.header("retry-after").is_some(), "{path}");
    page
}

#[tokio::test]
async fn what_a_person_may_not_do() {
    let world = World::new();
    world.serve(
        routes().route("/editors", get(|| async {}).layer(RequireLayer::role("editor"))).route(
            "/elsewhere",
            get(|users: AuthSession| async move { users.login_url("//evil.test").into_response() }),
        ),
    );
    let browser = world.signed_in("alice").await;
    let ask = "If you should have access, ask the operator of this application.";
    let page = assert_shown(&browser, "/admin", (403, "forbidden"), (ask, &["/"])).await;
    assert!(page.text().contains("Only admins may do this."), "{}", page.text());
    let page = assert_shown(&browser, "/editors", (403, "forbidden"), (ask, &["/"])).await;
    assert!(page.text().contains("This needs the role editor."), "{}", page.text());
    let not_ours = "The destination is not a path of this application.";
    assert_shown(&browser, "/elsewhere", (400, "invalid_destination"), (not_ours, &[])).await;
}

/// The developer's mistakes, and an API that fails. Neither the message nor the URL is for whoever asked.
#[tokio::test]
async fn what_is_not_the_persons_to_mend() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let fault = ("This application has a fault. Its operator finds the cause in its log.", &[][..]);
    let page = assert_shown(&browser, "/fetch?u=https://other.test/", (500, "no_token_for_url"), fault).await;
    assert!(!page.text().contains("no registered resource"), "{}", page.text());
    world.net.fault(API, "/cal/", Fault::Refuse);
    let service = ("A service that this page needs did not answer as it should.", &[""][..]);
    let path = format!("/fetch?u={API}/cal/x");
    let page = assert_shown(&browser, &path, (502, "upstream_error"), service).await;
    assert!(!page.text().contains(API), "{}", page.text());
    // "Try again" leads to the same address.
    world.net.heal(API);
    let page = browser.click(&page.links()[0]).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, path.as_str()));
}

#[tokio::test]
async fn a_provider_or_a_store_that_is_away() {
    let world = World::new();
    let (watched, _app) = world.watched();
    let browser = world.signed_in("alice").await;
    let away = ("This page cannot be shown at the moment.", &[""][..]);
    world.clock.advance(HOUR);
    world.net.fault(OP, "/token", Fault::Status(503));
    assert_shown(&browser, "/tok", (503, "unavailable"), away).await;
    world.net.heal(OP);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200, "the control");
    watched.break_down(&Trouble::Fail);
    world.clock.advance(Duration::from_secs(10));
    assert_shown(&browser, "/who", (503, "unavailable"), away).await;
    watched.heal();
    assert_eq!(browser.navigate(&format!("{APP}/who")).await.status, 200, "the control");
}

/// What a form sends is gone: its answer is no redirect to the login, and the page leads there.
#[tokio::test]
async fn a_form_of_nobody() {
    let world = World::new();
    let page = || async { ([(CONTENT_TYPE, "text/html")], "<form method=post action=/private></form>") };
    world.serve(routes().route("/form", get(page)));
    let browser = world.browser();
    let form = browser.navigate(&format!("{APP}/form")).await.form();
    let page = browser.submit(&form).await;
    assert_eq!((page.status.as_u16(), page.code().as_str()), (401, "unauthenticated"));
    assert!(page.text().contains("Sign in first."), "{}", page.text());
    assert_eq!(page.links(), ["/auth/login?return_to=%2Fform"]);
    let script = browser.fetch(Method::POST, &format!("{APP}/private"), "", APP).await;
    assert_eq!(script.json()["code"], "unauthenticated");
    world.op.sign_in_as("alice");
    let back = browser.click(&page.links()[0]).await;
    assert_eq!((back.status.as_u16(), back.path_and_query()), (200, "/form"));
}

/// What the application puts in the place of an error's answer is its own; what a layer in between only encodes is not.
#[tokio::test]
async fn an_application_has_the_last_word() {
    let world = World::new();
    let own = |response: Response| {
        let (mut parts, _) = response.into_parts();
        let kind = parts.extensions.get::<Arc<Error>>().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Forbidden));
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Response::from_parts(parts, axum::body::Body::from("our own"))
    };
    let encode = |mut response: Response| {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response.headers_mut().insert("x-other", HeaderValue::from_static("kept"));
        response
    };
    let admins = || Router::new().route("/", get(|| async {}).layer(RequireLayer::admin()));
    let service = ServiceBuilder::new();
    let app = routes()
        .nest("/own", admins().layer(service.clone().layer(MapResponseLayer::new(own))))
        .nest("/encoded", admins().layer(service.layer(MapResponseLayer::new(encode))));
    world.serve(app);
    let browser = world.signed_in("alice").await;
    let page = browser.navigate(&format!("{APP}/own")).await;
    assert_eq!((page.status, page.text().as_str()), (StatusCode::FORBIDDEN, "our own"));
    let page = browser.navigate(&format!("{APP}/encoded")).await;
    assert_eq!((page.status.as_u16(), page.code().as_str()), (403, "forbidden"));
    assert_eq!((page.header("content-encoding"), page.header("x-other")), (None, Some("kept")));
}

/// Each page can be shown in another way: its contents are in the response, and a script's answer has none.
#[tokio::test]
async fn an_application_shows_pages_of_its_own() {
    let world = World::new();
    let shown = |mut response: http::Response<axum::body::Body>| {
        if let Some(page) = response.extensions_mut().remove::<Page>() {
            let links: Vec<_> = page.links.iter().map(|(address, label)| format!("{label}: {address}")).collect();
            let button = page.button.map(|(action, label)| format!("{label}! {action}"));
            let own = format!("own|{}|{}|{}|{}", page.heading, page.text, links.join(","), button.unwrap_or_default());
            *response.body_mut() = own.into();
        }
        response
    };
    let app = axum::Router::new().fallback_service(world.app.layer.layer(routes()));
    world.net.serve_service(APP, MapResponseLayer::new(shown).layer(app));
    let said = async |browser: &Browser, path: &str| {
        let page = browser.navigate(&format!("{APP}{path}")).await;
        format!("{} {}", page.status.as_u16(), page.text())
    };
    let alice = world.signed_in("alice").await;
    let question = alice.click_from(EVIL, &format!("{APP}/auth/logout")).await.text();
    assert!(question.starts_with("own|Do you want to sign out?||Cancel: /|Sign out! /auth/logout?"), "{question}");
    assert_eq!(said(&alice, "/auth/nothing").await, "404 own|Not Found|Not found.||");
    let ask = "If you should have access, ask the operator of this application.";
    let text = format!("403 own|Forbidden|Only admins may do this. {ask} (forbidden)|Start page: /|");
    assert_eq!(said(&alice, "/admin").await, text);
    let bob = world.browser();
    let lost = said(&bob, "/auth/callback?state=x&code=y").await;
    assert!(lost.starts_with("400 own|Sign-in failed|") && lost.contains("|Try again: "), "{lost}");
    // What is no page of the layer stays as it is.
    assert_eq!(said(&alice, "/").await, "200 home");
    let script = alice.fetch(Method::GET, &format!("{APP}/admin"), "", APP).await;
    assert_eq!(script.json()["code"], "forbidden");
}

/// Neither of the two headers alone makes a navigation.
#[tokio::test]
async fn who_gets_a_page() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    for (accept, mode, is_page) in [
        ("text/html,*/*", "navigate", true),
        ("text/html,*/*", "cors", false),
        ("*/*", "navigate", false),
        ("application/json", "navigate", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static(accept));
        headers.insert("sec-fetch-mode", HeaderValue::from_static(mode));
        let answer = browser.fetch_with(Method::GET, &format!("{APP}/admin"), headers, "", APP).await;
        let is_html = answer.header("content-type").is_some_and(|found| found.starts_with("text/html"));
        assert_eq!((answer.status.as_u16(), is_html), (403, is_page), "{accept} {mode}");
    }
}
