//! What a request gets, and where the application is mounted.
//!
//! There are no rules that skip the layer: policies are the router's. A frame or a page loaded in advance is a navigation,
//! and gets the login. No custom header is asked for: Fetch Metadata and `Origin` decide.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::any;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tower::ServiceExt;
use tower_oidc::{CurrentUser, EventCode};

use crate::support::app::{APP, App, EVIL, SESSION, World, logout_link, routes, session_of};
use crate::support::html::Form;
use crate::support::test_store::TestStore;

const HTML: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

async fn send(world: &World, method: Method, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::builder().method(method).uri(format!("{APP}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.browser().raw(request.body(Bytes::new()).unwrap()).await
}

fn header<'a>(answer: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Path and query survive the login.
#[tokio::test]
async fn a_navigation_goes_to_the_login_and_comes_back() {
    let world = World::new();
    let browser = world.browser();
    let page = browser.step(&format!("{APP}/private?x=1&y=%26")).await;
    assert_eq!(page.status, 303);
    assert_eq!(page.location(), Some("/auth/login?return_to=%2Fprivate%3Fx%3D1%26y%3D%2526"));
    world.op.sign_in_as("alice");
    let page = browser.visit(&format!("{APP}/private?x=1&y=%26")).await;
    assert_eq!((page.url.as_str(), page.json()["sub"].as_str()), ("https://app.test/private?x=1&y=%26", Some("a1")));
}

/// Who is sent on, and who is told.
#[tokio::test]
async fn only_navigations_are_redirected() {
    let world = World::new();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let handler = move |_: CurrentUser| async move {
        count.fetch_add(1, Ordering::SeqCst);
    };
    world.serve(Router::new().route("/p", any(handler)));
    let navigate = ("sec-fetch-mode", "navigate");
    let cases: [(Method, &[(&str, &str)], u16); 16] = [
        (Method::GET, &[("accept", HTML)], 303),
        (Method::GET, &[("accept", HTML), navigate], 303),
        (Method::HEAD, &[("accept", HTML), navigate], 303),
        (Method::GET, &[("accept", HTML), navigate, ("sec-fetch-dest", "iframe")], 303),
        (Method::GET, &[("accept", HTML), navigate, ("sec-purpose", "prefetch")], 303),
        (Method::GET, &[("accept", HTML), ("sec-fetch-mode", "cors")], 401),
        (Method::GET, &[("accept", HTML), ("sec-fetch-mode", "no-cors")], 401),
        (Method::GET, &[("accept", "application/json")], 401),
        (Method::GET, &[("accept", "*/*"), navigate], 401),
        (Method::GET, &[], 401),
        (Method::HEAD, &[], 401),
        (Method::OPTIONS, &[("accept", HTML), navigate], 401),
        (Method::OPTIONS, &[("access-control-request-method", "POST")], 401),
        (Method::POST, &[("accept", HTML), navigate], 401),
        (Method::PUT, &[("accept", HTML)], 401),
        (Method::DELETE, &[("accept", HTML)], 401),
    ];
    for (method, headers, status) in cases {
        let answer = send(&world, method.clone(), "/p?q=1", headers).await;
        assert_eq!(answer.status(), status, "{method} {headers:?}");
        let kept = if method == Method::POST { "no-store" } else { "private, no-store" };
        assert_eq!(header(&answer, "cache-control"), Some(kept), "{method} {headers:?}");
        let location = header(&answer, "location");
        if status == 303 {
            assert_eq!(location, Some("/auth/login?return_to=%2Fp%3Fq%3D1"), "{method}");
            continue;
        }
        if method == Method::POST {
            // A form: what it sends is gone, and the page leads to the login.
            assert_eq!((location, header(&answer, "content-type")), (None, Some("text/html; charset=utf-8")));
            assert!(String::from_utf8_lossy(answer.body()).contains("href=\"/auth/login?return_to=%2F\""));
            continue;
        }
        assert_eq!((location, header(&answer, "content-type")), (None, Some("application/problem+json")));
        if method == Method::HEAD {
            continue;
        }
        let problem: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        // Nobody wants to come back to what a script asked for.
        let back = "%2F";
        let expected = json!({
            "type": "about:blank", "title": "Unauthorized", "status": 401, "code": "unauthenticated",
            "detail": "sign in first", "login_url": format!("/auth/login?return_to={back}"),
        });
        assert_eq!(problem, expected, "{method}");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 0, "the handler never ran");
}

/// The application decides otherwise.
#[tokio::test]
async fn the_unauthenticated_hook_answers_instead() {
    let world = World::with(|config| {
        config.on_unauthenticated(|request| {
            if !request.navigation {
                return request.answer();
            }
            let mut answer = Response::new(Bytes::from(format!("please: {}", request.login_url)));
            *answer.status_mut() = StatusCode::IM_A_TEAPOT;
            answer
        })
    });
    for path in ["/private", "/required", "/tok", "/admin"] {
        let page = world.browser().navigate(&format!("{APP}{path}")).await;
        assert_eq!(page.status, 418, "{path}");
        assert!(page.text().starts_with("please: /auth/login?return_to=%2F"), "{path}");
        assert_eq!(send(&world, Method::GET, path, &[]).await.status(), 401, "{path}: the default, by its name");
    }
}

/// Where a hook returns a response of axum's, its body is sent as bytes.
#[tokio::test]
async fn a_hook_returns_any_response_of_axums() {
    let world = World::with(|config| {
        config.on_unauthenticated(|request| match request.path.as_str() {
            // More than fits, and more than is there at once.
            "/required" => vec![b'x'; 1024 * 1024 + 1].into_response(),
            "/tok" => Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()).into_response(),
            "/admin" => vec![b'x'; 1024 * 1024].into_response(),
            path => (StatusCode::IM_A_TEAPOT, [("x-asked", path.to_owned())], axum::Json(path)).into_response(),
        })
    });
    let answer = send(&world, Method::GET, "/private", &[]).await;
    assert_eq!(
        (answer.status(), &answer.headers()["x-asked"]),
        (StatusCode::IM_A_TEAPOT, &"/private".parse().unwrap())
    );
    assert_eq!(
        (&answer.headers()["content-type"], &answer.body()[..]),
        (&"application/json".parse().unwrap(), &b"\"/private\""[..])
    );
    for (path, status, length) in [("/required", 500, 0), ("/tok", 500, 0), ("/admin", 200, 1024 * 1024)] {
        let answer = send(&world, Method::GET, path, &[]).await;
        assert_eq!((answer.status().as_u16(), answer.body().len()), (status, length), "{path}");
    }
}

/// The hook sees what was asked, and `Debug` of it shows no credential.
#[tokio::test]
async fn the_unauthenticated_hook_sees_the_request() {
    let world = World::with(|config| {
        config.on_unauthenticated(|request| {
            let accept = request.headers.get("accept").map_or("", |value| value.to_str().unwrap_or_default());
            let cookie = request.headers.contains_key("cookie");
            let seen = format!("{} {} {accept} {cookie} {request:?}", request.method, request.path);
            Response::new(Bytes::from(seen))
        })
    });
    let headers = [("accept", "text/x-ours"), ("cookie", "theirs=very-secret"), ("authorization", "Bearer hidden")];
    for method in [Method::GET, Method::POST] {
        let answer = send(&world, method.clone(), "/private?page=2", &headers).await;
        let seen = String::from_utf8(answer.body().to_vec()).unwrap();
        assert!(seen.starts_with(&format!("{method} /private?page=2 text/x-ours true")), "{seen}");
        assert!(!seen.contains("very-secret") && !seen.contains("hidden"), "{seen}");
    }
}

/// Unsafe methods with our cookie, by what the request says of its origin.
#[tokio::test]
async fn unsafe_requests_with_our_cookie_must_be_ours() {
    let world = World::with(|mut config| {
        config.trusted_origins = vec!["https://www.partner.test".into()];
        config
    });
    let cookie = format!("a=1; __Host-tower-oidc-session={}", session_of(&world.signed_in("alice").await));
    let (site, origin) = ("sec-fetch-site", "origin");
    let cases: [(&[(&str, &str)], bool); 14] = [
        (&[(site, "same-origin")], true),
        (&[(site, "none")], true),
        (&[(site, "same-origin"), (origin, APP)], true),
        (&[(origin, APP)], true),
        (&[(origin, "https://www.partner.test")], true),
        (&[(site, "cross-site"), (origin, "https://www.partner.test")], true),
        (&[(site, "cross-site")], false),
        (&[(site, "same-site")], false),
        (&[(site, "cross-site"), (origin, APP)], false),
        (&[(site, "")], false),
        (&[(origin, "https://app.test.evil.test")], false),
        (&[(origin, "http://app.test")], false),
        (&[(origin, "null")], false),
        (&[], false),
    ];
    for (headers, passes) in cases {
        let with_cookie = [headers, &[("cookie", cookie.as_str())]].concat();
        // Past what is reported of one kind at once.
        world.clock.advance(Duration::from_secs(10));
        let refused = world.app.events.count(EventCode::CrossSiteRefused);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = send(&world, method.clone(), "/who", &with_cookie).await;
            // `/who` takes GET only: what comes to the router is 405.
            assert_eq!(answer.status(), if passes { 405 } else { 403 }, "{method} {headers:?}");
        }
        let told = world.app.events.count(EventCode::CrossSiteRefused) - refused;
        assert_eq!(told, if passes { 0 } else { 4 }, "{headers:?}");
        assert_eq!(send(&world, Method::GET, "/who", &with_cookie).await.status(), 200, "{headers:?}");
        let private = send(&world, Method::POST, "/private", &with_cookie).await;
        assert_eq!(private.status(), if passes { 200 } else { 403 }, "{headers:?}");
        assert_eq!(send(&world, Method::POST, "/who", headers).await.status(), 405, "without it: a script");
    }
}

/// With a browser: other sites' forms and scripts, and our own.
#[tokio::test]
async fn a_browsers_forms_and_scripts() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let form = Form::post(&format!("{APP}/private"), &[("a", "b")]);
    assert_eq!(browser.submit_from(&format!("{APP}/page"), &form).await.status, 200);
    assert_eq!(browser.fetch(Method::POST, &format!("{APP}/private"), "x", APP).await.status, 200);
    for from in [EVIL, "https://other.app.test/"] {
        let page = browser.submit_from(from, &form).await;
        assert!(matches!(page.status.as_u16(), 401 | 403), "{from}: {}", page.status);
        let page = browser.fetch(Method::POST, &format!("{APP}/private"), "x", from).await;
        assert!(matches!(page.status.as_u16(), 401 | 403), "{from}: {}", page.status);
    }
    let link = browser.click_from(EVIL, &format!("{APP}/private")).await;
    assert_eq!(link.status, 200, "a link from elsewhere is a visit");
}

/// A WebSocket is a GET, and not safe.
#[tokio::test]
async fn websockets_of_other_origins_are_refused() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let cookie = format!("__Host-tower-oidc-session={}", session_of(&alice));
    assert_eq!(alice.websocket(&format!("{APP}/who"), APP).await.status, 200);
    assert_eq!(alice.websocket(&format!("{APP}/who"), "https://other.app.test").await.status, 403);
    for upgrade in ["websocket", "WebSocket", "WEBSOCKET"] {
        for (origin, status) in [(Some(APP), 200), (Some(EVIL), 403), (Some("null"), 403), (None, 403)] {
            let mut headers = vec![("cookie", cookie.as_str()), ("upgrade", upgrade), ("connection", "Upgrade")];
            headers.extend(origin.map(|origin| ("origin", origin)));
            assert_eq!(send(&world, Method::GET, "/who", &headers).await.status(), status, "{upgrade} {origin:?}");
        }
    }
    let anonymous = world.browser().websocket(&format!("{APP}/who"), EVIL).await;
    assert_eq!((anonymous.status.as_u16(), anonymous.text().as_str()), (200, "null"), "nothing of anybody's is used");
}

/// The tokens stay on the server.
#[tokio::test]
async fn no_token_comes_to_the_browser_by_itself() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    for path in ["/", "/who", "/private", "/fetch?u=https://api.test/cal/x", "/links?to=/", "/nowhere"] {
        let page = browser.navigate(&format!("{APP}{path}")).await;
        let all = format!("{:?} {}", page.headers, page.text());
        assert!(world.op.secrets().iter().all(|secret| !all.contains(secret.as_str())), "{path}: {all}");
    }
}

/// Nothing in a request says where the application is.
#[tokio::test]
async fn host_and_forwarded_headers_are_not_believed() {
    let world = World::new();
    for (name, value) in [
        ("host", "evil.test"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-host", "app.test, evil.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "8080"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "host=evil.test;proto=http"),
        ("forwarded", "host=\" evil.test\""),
        ("x-original-host", "evil.test"),
        ("x-rewrite-url", "/evil"),
        ("x-forwarded-uri", "/evil"),
    ] {
        let login = send(&world, Method::GET, "/auth/login?return_to=/who", &[(name, value)]).await;
        let location = header(&login, "location").unwrap();
        assert!(location.contains("redirect_uri=https%3A%2F%2Fapp.test%2Fauth%2Fcallback&"), "{name}: {location}");
        let all = format!("{:?}", login.headers());
        assert!(!all.contains("evil"), "{name}: {all}");
        let private = send(&world, Method::GET, "/private", &[(name, value), ("accept", HTML)]).await;
        assert_eq!(header(&private, "location"), Some("/auth/login?return_to=%2Fprivate"), "{name}");
        let (own, site) = (("origin", "https://evil.test"), ("sec-fetch-site", "cross-site"));
        let cookie = ("cookie", "__Host-tower-oidc-session=x");
        for says in [own, site] {
            let forged = send(&world, Method::POST, "/private", &[(name, value), says, cookie]).await;
            assert_eq!(forged.status(), 403, "{name}");
        }
    }
}

/// Behind a proxy that serves the application below a path, and strips that path or leaves it.
#[tokio::test]
async fn a_mount_path_works_stripped_and_left() {
    for strips in [true, false] {
        let world = World::new();
        let app = App::unserved(&world.net, &world.clock, TestStore::new(), |mut config| {
            config.public_url = format!("{APP}/app");
            config
        });
        world.net.serve(APP, |_| async { crate::support::net::answer(404, "the proxy's") });
        let routes = if strips { routes() } else { Router::new().nest("/app", routes()) };
        let service = app.layer.layer(routes);
        let proxy = tower::service_fn(move |mut request: Request<axum::body::Body>| {
            if strips {
                let target = request.uri().to_string();
                let target = target.strip_prefix("/app").unwrap_or(&target);
                let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
                *request.uri_mut() = target.parse().unwrap();
            }
            service.clone().oneshot(request)
        });
        world.net.serve_service(&format!("{APP}/app"), proxy);
        let browser = world.browser();
        let page = browser.step(&format!("{APP}/app/private?x=1")).await;
        assert_eq!(page.location(), Some("/app/auth/login?return_to=%2Fapp%2Fprivate%3Fx%3D1"), "{strips}");
        world.op.sign_in_as("alice");
        let page = browser.visit(&format!("{APP}/app/private?x=1")).await;
        assert_eq!((page.url.as_str(), page.status.as_u16()), ("https://app.test/app/private?x=1", 200), "{strips}");
        let authorization = world.op.last_authorization();
        assert_eq!(authorization.get("redirect_uri"), Some("https://app.test/app/auth/callback"));
        let links = browser.navigate(&format!("{APP}/app/links?to=/app/bye")).await.json();
        let link = links["logout"]["ok"].as_str().unwrap();
        assert!(link.starts_with("/app/auth/logout?return_to=%2Fapp%2Fbye&token="), "{link}");
        let out = browser.visit(&format!("{APP}{link}")).await;
        assert_eq!(out.url.as_str(), format!("{APP}/app/bye"), "{strips}");
        assert_eq!(world.op.logouts()[0].get("post_logout_redirect_uri"), Some("https://app.test/app"));
        assert_eq!(browser.navigate(&format!("{APP}/app/who")).await.text(), "null");
    }
}

/// Methods and paths of the layer's own that are not there.
#[tokio::test]
async fn the_layers_own_paths_answer_for_themselves() {
    let world = World::new();
    for (method, path, status) in [
        (Method::POST, "/auth/login", 405),
        (Method::DELETE, "/auth/logout", 405),
        (Method::OPTIONS, "/auth/callback", 405),
        (Method::GET, "/auth", 404),
        (Method::GET, "/auth/", 404),
        (Method::GET, "/auth/login/", 404),
        (Method::GET, "/auth/development/authorize", 404),
        (Method::POST, "/auth/callback", 400),
        (Method::GET, "/auth/logout", 303),
        (Method::HEAD, "/auth/login", 303),
    ] {
        assert_eq!(send(&world, method.clone(), path, &[]).await.status(), status, "{method} {path}");
    }
    for path in ["/authx", "/AUTH/login", "/x/auth/login", "//auth/login", "/auth%2flogin"] {
        let answer = send(&world, Method::GET, path, &[]).await;
        assert_eq!(answer.body(), "the application's own 404", "{path}");
    }
    let browser = world.signed_in("alice").await;
    let big = Request::post(format!("{APP}/auth/callback")).body(Bytes::from(vec![b'a'; 70_000])).unwrap();
    assert_eq!(browser.raw(big).await.status(), 413);
    assert_eq!(browser.navigate(&logout_link(&browser, "/bye").await).await.url.path(), "/bye");
}

/// A script learns what it must send, or whose origin is refused; a person sees a page.
#[tokio::test]
async fn a_script_is_told_why_it_counts_as_another_site() {
    let world = World::with(|config| config.trusted_origins(["https://www.test"]));
    let cookie = format!("{SESSION}={}", session_of(&world.signed_in("alice").await));
    let cookie = ("cookie", cookie.as_str());
    let json = ("accept", "application/json");
    let evil = ("origin", EVIL);
    let from_evil = r#"its Origin is "https://evil.test""#;
    let neither = "its Origin is missing and its Sec-Fetch-Site is missing";
    for (path, headers, detail) in [
        ("/private", vec![cookie], neither),
        ("/private", vec![cookie, ("accept", HTML), ("sec-fetch-mode", "cors"), evil], from_evil),
        ("/private", vec![cookie, json, evil, ("sec-fetch-site", "cross-site")], from_evil),
        (
            "/private",
            vec![cookie, json, ("sec-fetch-site", "cross-site")],
            r#"its Origin is missing and its Sec-Fetch-Site is "cross-site""#,
        ),
        ("/auth/logout", vec![cookie, json], neither),
        ("/auth/logout", vec![cookie, json, evil], from_evil),
    ] {
        let answer = send(&world, Method::POST, path, &headers).await;
        assert_eq!(answer.status(), 403, "{path} {headers:?}");
        assert_eq!(header(&answer, "content-type"), Some("application/problem+json"), "{path} {headers:?}");
        let problem: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(problem["code"], "cross_site");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        let events = world.app.events.all();
        let told = events.iter().rfind(|event| event.code == EventCode::CrossSiteRefused).unwrap();
        assert!(told.detail.contains(detail), "{told:?}");
    }
    for path in ["/private", "/auth/logout"] {
        let answer = send(&world, Method::POST, path, &[cookie, ("accept", HTML), evil]).await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "content-type")),
            (403, Some("text/html; charset=utf-8"))
        );
        assert!(!String::from_utf8_lossy(answer.body()).contains("evil"), "{path}");
    }
    for own in [("origin", APP), ("origin", "https://www.test"), ("sec-fetch-site", "same-origin")] {
        assert_eq!(send(&world, Method::POST, "/private", &[cookie, json, own]).await.status(), 200, "{own:?}");
    }
}

/// Whoever signs in because of a script wants to see its page again, and no raw answer of an API.
#[tokio::test]
async fn a_script_comes_back_to_its_page() {
    let world = World::new();
    let json = ("accept", "application/json");
    let page = "https://app.test/page?x=1";
    for (method, headers, back) in [
        (Method::GET, vec![json, ("referer", page)], "%2Fpage%3Fx%3D1"),
        (Method::POST, vec![json, ("referer", page), ("origin", APP)], "%2Fpage%3Fx%3D1"),
        (Method::GET, vec![json], "%2F"),
        (Method::GET, vec![json, ("referer", "https://evil.test/page")], "%2F"),
        (Method::GET, vec![json, ("referer", "https://app.test//evil.test")], "%2F"),
    ] {
        for path in ["/private", "/required"] {
            let answer = send(&world, method.clone(), path, &headers).await;
            assert_eq!(answer.status(), 401);
            let problem: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(problem["login_url"], format!("/auth/login?return_to={back}"), "{headers:?}");
        }
    }
    let navigation = send(&world, Method::GET, "/private", &[("accept", HTML), ("referer", page)]).await;
    assert_eq!(header(&navigation, "location"), Some("/auth/login?return_to=%2Fprivate"));
}
