//! Where the layer stands: the three places that work, and the mistakes as they show themselves.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::ServiceExt;
use tower_oidc::store::MemoryStore;
use tower_oidc::{AuthSession, CurrentUser, ErrorKind, EventCode, OidcLayer, RequireLayer, UserTokens};

use crate::leaks::Log;
use crate::support::app::{APP, World, config, logout_link, routes};
use crate::support::browser::Browser;
use crate::support::clock::TestClock;
use crate::support::net::Net;

async fn assert_works(world: &World, what: &str) {
    let browser = world.signed_in("alice").await;
    assert_eq!(world.who(&browser).await, "a1", "{what}");
    assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200, "{what}");
    let missing = browser.navigate(&format!("{APP}/nowhere")).await;
    assert_eq!(missing.text(), "the application's own 404", "{what}");
    let out = browser.visit(&logout_link(&browser, "/bye").await).await;
    assert_eq!(out.url.path(), "/bye", "{what}");
    let anonymous = world.browser();
    let page = anonymous.visit(&format!("{APP}/private?x")).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/private?x"), "{what}");
    assert!(!world.app.events.has(EventCode::LayerMisplaced), "{what}");
}

#[tokio::test]
async fn last_on_the_router() {
    let world = World::new();
    world.net.serve_service(APP, routes().layer(world.app.layer.clone()));
    assert_works(&world, "Router::layer, after the last route and the fallback").await;
}

#[tokio::test]
async fn around_the_router_as_a_service() {
    let world = World::new();
    world.net.serve_service(APP, world.app.layer.layer(routes()));
    assert_works(&world, "layer(router)").await;
}

#[tokio::test]
async fn inside_with_the_endpoints_mounted_outside() {
    let world = World::new();
    let inner = routes().layer(world.app.layer.clone());
    let auth = world.app.layer.endpoints();
    let app = Router::new().route_service("/auth/{*path}", auth).fallback_service(inner);
    world.net.serve_service(APP, app);
    let browser = world.signed_in("alice").await;
    assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200);
    let out = browser.visit(&logout_link(&browser, "/bye").await).await;
    assert_eq!(out.url.path(), "/bye");
    let unknown = browser.navigate(&format!("{APP}/auth/unknown")).await;
    assert_eq!(unknown.status, 404);
    // What is no endpoint at all falls through to nothing.
    let direct = world.app.layer.endpoints().oneshot(Request::get("/elsewhere").body(Body::empty()).unwrap());
    assert_eq!(direct.await.unwrap().status(), 404);
}

/// A nested router takes its path away before the layer sees it.
#[tokio::test]
async fn inside_a_nested_router_with_its_path() {
    for (mounted_at, lands) in [(Some("/app"), "/app/private?x=1"), (None, "/private?x=1")] {
        let world = World::with(|mut config| {
            config.mounted_at = mounted_at.map(str::to_owned);
            config
        });
        let app = Router::new()
            .route_service("/auth/{*path}", world.app.layer.endpoints())
            .nest("/app", routes().layer(world.app.layer.clone()));
        world.net.serve_service(APP, app);
        world.op.sign_in_as("alice");
        let page = world.browser().visit(&format!("{APP}/app/private?x=1")).await;
        assert_eq!(page.path_and_query(), lands);
        assert_eq!(page.status.as_u16(), if mounted_at.is_some() { 200 } else { 404 });
    }
}

async fn ask_for_a_page_three_times(browser: &Browser, path: &str) -> u16 {
    let mut last = 0;
    for _ in 0..3 {
        let page = browser.navigate(&format!("{APP}{path}")).await;
        assert_eq!(page.url.path(), "/auth/login", "sent to a login");
        last = page.status.as_u16();
    }
    last
}

/// The mistake: `.layer(auth)` and then `.fallback(..)`. The fallback gets the login link.
#[tokio::test]
async fn mistake_a_fallback_after_the_layer() {
    let world = World::new();
    let app = Router::new().route("/private", get(|_: CurrentUser| async {})).layer(world.app.layer.clone());
    world.net.serve_service(APP, app.fallback(|| async { (http::StatusCode::NOT_FOUND, "not found") }));
    let browser = world.browser();
    browser.navigate(&format!("{APP}/private")).await;
    browser.navigate(&format!("{APP}/private")).await;
    assert!(!world.app.events.has(EventCode::LayerMisplaced), "twice may be chance");
    assert_eq!(ask_for_a_page_three_times(&browser, "/private").await, 404);
    assert_eq!(world.app.events.count(EventCode::LayerMisplaced), 1, "told once");
    let event = world.app.events.all().pop().unwrap();
    assert_eq!(event.code.as_str(), "layer.misplaced");
    assert!(event.detail.contains("after the last route and fallback"), "{}", event.detail);
}

/// The mistakes that hide the endpoints, on a developer's machine: told a second after the first redirect.
#[tokio::test(start_paused = true)]
async fn on_loopback_the_first_redirect_tells() {
    type Place = fn(OidcLayer) -> Router;
    fn page() -> MethodRouter {
        get(|_: CurrentUser| async {})
    }
    let places: [(&str, usize, Place); 4] = [
        ("route_layer", 1, |auth| Router::new().route("/page", page()).route_layer(auth)),
        ("a fallback after it", 1, |auth| Router::new().route("/page", page()).layer(auth).fallback(|| async {})),
        ("nested", 1, |auth| Router::new().nest("/page", Router::new().route("/", page()).layer(auth))),
        ("the control", 0, |auth| Router::new().route("/page", page()).layer(auth)),
    ];
    for (what, told, place) in places {
        let world = World::with(|mut config| {
            config.public_url = "http://localhost:3000".to_owned();
            config
        });
        let app = place(world.app.layer.clone());
        let open = |path: String| {
            let request = Request::get(path).header("host", "localhost:3000").header("accept", "text/html");
            app.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        let sent = open("/page".to_owned()).await.unwrap();
        let login = sent.headers()["location"].to_str().unwrap().to_owned();
        assert!(login.starts_with("/auth/login?"), "{what}: {login}");
        open(login).await.unwrap();
        assert!(!world.app.events.has(EventCode::LayerMisplaced), "{what}: the browser has its second");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.app.events.count(EventCode::LayerMisplaced), told, "{what}");
        for _ in 0..5 {
            open("/page".to_owned()).await.unwrap();
        }
        assert_eq!(world.app.events.count(EventCode::LayerMisplaced), told, "{what}: it is told once");
    }
}

/// The mistake: `RequireLayer` outside. It is said at the first request, and names the order.
#[tokio::test]
async fn mistake_require_layer_outside() {
    let world = World::new();
    let inner = Router::new().route("/page", get(|_: CurrentUser| async {})).layer(world.app.layer.clone());
    world.net.serve_service(APP, inner.layer(RequireLayer::login()));
    let (log, guard) = Log::listen();
    let page = world.browser().navigate(&format!("{APP}/page")).await;
    drop(guard);
    assert_eq!((page.status.as_u16(), page.json()["code"].as_str()), (500, Some("missing_layer")));
    let words = "around this handler or RequireLayer";
    assert!(log.text().contains(words) && log.text().contains("fallback and RequireLayer"), "{}", log.text());
    let page = || get(|_: CurrentUser| async {});
    let right = Router::new().route("/page", page()).layer(RequireLayer::login()).layer(world.app.layer.clone());
    world.net.serve_service(APP, right);
    world.op.sign_in_as("alice");
    assert_eq!(world.browser().visit(&format!("{APP}/page")).await.status, 200);
}

/// The mistake: two layers. Each takes the other's sessions for nobody's: said once, and nobody is sent round in circles.
#[tokio::test]
async fn mistake_two_layers() {
    let world = World::new();
    let two = world.another(|config| config.cookie_name("other"));
    world.net.serve_service(APP, world.app.layer.layer(routes().layer(two.layer.clone())));
    for _ in 0..3 {
        let page = world.browser().visit(&format!("{APP}/private")).await;
        assert_eq!((page.status.as_u16(), page.hops_at(APP).len()), (500, 1), "not sent anywhere");
        assert_eq!(page.code(), "missing_layer");
    }
    let events = two.events.all();
    assert_eq!(events.iter().map(|event| event.code).collect::<Vec<_>>(), [EventCode::LayerMisplaced]);
    assert!(events[0].detail.contains("two OidcLayers are around one handler"), "{}", events[0].detail);
}

#[tokio::test]
async fn two_clones_of_a_layer_are_one() {
    for world in [World::new(), World::stateless()] {
        world.net.serve_service(APP, world.app.layer.layer(routes().layer(world.app.layer.clone())));
        assert_works(&world, "twice the same").await;
    }
}

/// Two layers that share neither cookie nor endpoints do not disturb each other.
#[tokio::test]
async fn two_layers_with_names_of_their_own() {
    let world = World::new();
    let other = world.another(|config| config.cookie_name("other").base_path("/inner/auth"));
    world.net.serve_service(APP, world.app.layer.layer(routes().layer(other.layer.clone())));
    world.op.sign_in_as("alice");
    let page = world.browser().visit(&format!("{APP}/private")).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/private"));
    assert!(page.chain.iter().any(|hop| hop.url.path() == "/inner/auth/login"), "signed in at the inner layer");
    assert!(!other.events.has(EventCode::LayerMisplaced));
}

/// The mistake: the layer inside a nested router. The outer one answers for `/auth/`.
#[tokio::test]
async fn mistake_the_layer_inside_a_nested_router() {
    let world = World::new();
    let inner = Router::new().route("/page", get(|_: CurrentUser| async {})).layer(world.app.layer.clone());
    world.net.serve_service(APP, Router::new().nest("/inner", inner));
    let browser = world.browser();
    assert_eq!(ask_for_a_page_three_times(&browser, "/inner/page").await, 404);
    assert_eq!(world.app.events.count(EventCode::LayerMisplaced), 1);
    let page = browser.step(&format!("{APP}/inner/page?x=1")).await;
    assert!(page.location().is_some(), "it still sends people to the login, and says where they wanted to go");
}

/// One login that arrives is enough to know: no false alarm in an application that only ever redirects.
#[tokio::test]
async fn no_event_where_the_layer_is_reached() {
    let world = World::new();
    let browser = world.browser();
    browser.step(&format!("{APP}/auth/login")).await;
    for _ in 0..10 {
        browser.step(&format!("{APP}/private")).await;
    }
    assert!(!world.app.events.has(EventCode::LayerMisplaced));
}

/// No layer at all: an error that names the remedy to the developer, and nothing to the visitor.
#[tokio::test]
async fn without_the_layer_every_extractor_says_so() {
    let world = World::new();
    world.net.serve_service(APP, routes());
    for path in ["/who", "/private", "/admin", "/tok", "/links?to=/", "/required", "/admins"] {
        let page = world.browser().navigate(&format!("{APP}{path}")).await;
        assert_eq!((page.status.as_u16(), page.json()["code"].as_str()), (500, Some("missing_layer")), "{path}");
        assert!(page.json().get("detail").is_none(), "{path}");
    }
    let extensions = http::Extensions::new();
    for error in [AuthSession::from_extensions(&extensions).err(), UserTokens::from_extensions(&extensions).err()] {
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::MissingLayer);
        assert!(error.to_string().contains(".layer(auth)"), "{error}");
    }
}

/// Any tower service, without axum: what the extensions hold.
async fn plain(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let extensions = request.extensions();
    let user = extensions.get::<CurrentUser>().map_or("nobody", CurrentUser::subject);
    let users = AuthSession::from_extensions(extensions).unwrap();
    let tokens = UserTokens::from_extensions(extensions).map_err(|error| error.kind());
    let token = match &tokens {
        Ok(tokens) => tokens.access_token("https://api.test/cal/").await.unwrap().expose_secret().to_owned(),
        Err(kind) => format!("{kind:?}"),
    };
    let text = format!("{user} {token} {} {}", users.login_url("/").unwrap(), users.logout_url("/").unwrap());
    Ok(Response::new(Full::new(Bytes::from(text))))
}

#[tokio::test]
async fn a_plain_tower_service_finds_everything_in_the_extensions() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let service = world.app.layer.layer(tower::service_fn(plain));
    world.net.serve(APP, move |request: Request<Bytes>| {
        let service = service.clone();
        async move {
            let (parts, body) = service.oneshot(request.map(Full::new)).await.unwrap().into_parts();
            Response::from_parts(parts, http_body_util::BodyExt::collect(body).await.unwrap().to_bytes())
        }
    });
    let known = browser.navigate(&format!("{APP}/any")).await.text();
    let words: Vec<&str> = known.split(' ').collect();
    assert_eq!((words[0], world.op.owner_of(words[1]).as_deref()), ("a1", Some("alice")));
    assert!(words[3].contains("&token="), "{known}");
    let unknown = world.browser().navigate(&format!("{APP}/any")).await.text();
    assert_eq!(unknown, "nobody Unauthenticated /auth/login?return_to=%2F /auth/logout?return_to=%2F");
}

/// What is the same for everybody is cached as its handler says, and knows nobody.
#[tokio::test]
async fn paths_that_are_the_same_for_everybody() {
    let cached = || async { ([("cache-control", "public, max-age=60")], "body{}") };
    let app = routes()
        .route("/static/a.css", get(cached))
        .route("/static/plain", get(|| async { "plain" }))
        .route("/statics", get(|| async { "plain" }))
        .route("/static/who", get(|_: Option<CurrentUser>| async {}));
    let world = World::with(|config| config.shared_paths(["/static"]));
    world.serve(app);
    let browser = world.signed_in("alice").await;
    for (path, cache_control) in [
        ("/static/a.css", Some("public, max-age=60")),
        ("/static/plain", None),
        ("/statics", Some("private, no-store")),
    ] {
        let page = browser.navigate(&format!("{APP}{path}")).await;
        assert_eq!(page.header("cache-control"), cache_control, "{path}");
    }
    let page = browser.navigate(&format!("{APP}/static/who")).await;
    assert_eq!((page.status.as_u16(), page.json()["code"].as_str()), (500, Some("missing_layer")));
    let error = AuthSession::from_extensions(&http::Extensions::new()).err().unwrap();
    assert!(error.to_string().contains("shared_paths"), "{error}");
    assert_eq!(world.who(&browser).await, "a1", "elsewhere everything is as it was");
}

#[test]
fn a_shared_path_is_a_path() {
    for (path, allowed) in
        [("/static", true), ("/a/b", true), ("/", false), ("static", false), ("/static/", false), ("", false)]
    {
        let new = || config(&Net::new(), &TestClock::new());
        for config in [new().shared_paths([path]), new().mounted_at(path)] {
            let refused = OidcLayer::per_user(config, MemoryStore::new()).err();
            assert_eq!(refused.is_none(), allowed, "{path:?}");
            assert!(refused.is_none_or(|error| error.to_string().contains("shared_paths")), "{path:?}");
        }
    }
}
