//! What is sent to the provider, and how.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use sha2::{Digest, Sha256};
use tower_oidc::{ClientAuthMethod, Config};

use super::{assert_refused, login, login_with, pending};
use crate::support::app::{APP, OP, World};
use crate::support::fault::Fault;
use crate::support::html;
use crate::support::provider::{CLIENT_ID, Endpoint};

fn parameter(name: &str, value: impl Into<String>) -> impl FnOnce(Config) -> Config {
    let parameter = (name.to_owned(), value.into());
    |mut config| {
        config.provider.authorization_parameters.push(parameter);
        config
    }
}

#[tokio::test]
async fn the_host_header_is_not_believed() {
    let world = World::new();
    world.op.sign_in_as("alice");
    for (name, value) in [
        ("host", "evil.test"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-host", "evil.test, app.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "https://evil.test/"),
        ("forwarded", "host=evil.test;proto=http"),
    ] {
        let request = Request::get(login("/who")).header(name, value).body(Bytes::new()).unwrap();
        let answer = world.browser().raw(request).await;
        let sent = url::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        let redirect_uri = sent.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
        assert_eq!(redirect_uri, "https://app.test/auth/callback", "{name}: {value}");
        assert_eq!(sent.origin().ascii_serialization(), OP);
    }
}

#[tokio::test]
async fn what_the_request_says() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let mut drawn = HashSet::new();
    for _ in 0..50 {
        world.browser().visit(&login("/who")).await;
        let (request, exchange) = (world.op.last_authorization(), world.op.code_exchanges().pop().unwrap());
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
            ("redirect_uri", "https://app.test/auth/callback"),
            ("code_challenge_method", "S256"),
            ("scope", "openid email profile"),
        ] {
            assert_eq!(request.all(name), [value]);
        }
        let verifier = exchange.params.get("code_verifier").unwrap();
        assert_eq!(request.get("code_challenge"), Some(&*URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))));
        for value in [verifier, request.get("state").unwrap(), request.get("nonce").unwrap()] {
            assert_eq!(URL_SAFE_NO_PAD.decode(value).unwrap().len(), 32, "256 bits");
            assert!(drawn.insert(value.to_owned()), "drawn before");
        }
        assert!(!request.has("client_secret") && !request.has("code_verifier"));
    }
}

/// At its edge: 2,048 bytes are a redirect, one more is a form.
#[tokio::test]
async fn the_edge_between_redirect_and_form() {
    let length = async |padding: usize| {
        let world = World::with(parameter("pad", "x".repeat(padding)));
        let page = world.browser().step(&login("/who")).await;
        (page.status.as_u16(), page.location().map(str::len))
    };
    let (status, Some(short)) = length(1).await else { panic!("a short request is a redirect") };
    assert_eq!(status, 303);
    assert_eq!(length(1 + 2048 - short).await, (303, Some(2048)));
    assert_eq!(length(2 + 2048 - short).await, (200, None));
}

#[tokio::test]
async fn a_long_request_without_par_is_a_form() {
    let evil = "\"><script>alert(1)</script>'&amp;é";
    let world = World::with(|config| parameter("evil", evil)(parameter("claims", "x".repeat(3000))(config)));
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let page = browser.navigate(&login("/who")).await;
    assert_eq!((page.status.as_u16(), page.location()), (200, None));
    let form = page.form();
    assert_eq!((form.method.as_str(), form.action.as_str()), ("POST", "https://op.test/authorize"));
    assert_eq!(form.fields.all("evil"), [evil]);
    assert_eq!(form.fields.get("claims").map(str::len), Some(3000));
    assert_eq!(form.buttons.len(), 1, "for browsers without scripts");
    let scripts = html::scripts(&page.text());
    assert_eq!(scripts.len(), 1, "{}", page.text());
    let policy = page.header("content-security-policy").unwrap();
    assert!(scripts[0].0.len() > 20 && policy.contains(&format!("script-src 'nonce-{}'", scripts[0].0)), "{policy}");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let again = world.browser().navigate(&login("/who")).await;
    assert_ne!(html::scripts(&again.text())[0].0, scripts[0].0, "a nonce of its own for each answer");
    assert!(page.header("cache-control").unwrap().contains("no-store"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(browser.submit(&form.press("Continue")).await.json()["sub"], "a1", "by hand");
    assert_eq!(world.op.last_authorization().get("evil"), Some(evil));
    assert_eq!(world.browser().visit(&login("/who")).await.json()["sub"], "a1", "by the script");
    assert!(world.op.authorizations().iter().all(|request| request.method == "POST"));
}

#[tokio::test]
async fn a_long_request_is_pushed_where_that_is_offered() {
    for required in [false, true] {
        let world = World::with(parameter("claims", "x".repeat(if required { 1 } else { 3000 })));
        world.op.sign_in_as("alice");
        world.op.set(|s| s.pushed_authorization = true);
        world.op.edit_discovery(move |document| {
            document.insert("require_pushed_authorization_requests".into(), required.into());
        });
        let page = world.browser().visit(&login("/who")).await;
        assert_eq!(page.json()["sub"], "a1");
        let request = world.op.authorizations().pop().unwrap();
        let front = request.pushed_by.expect("it was pushed");
        let names: Vec<_> = front.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, request.method.as_str()), (vec!["client_id", "request_uri"], "GET"));
        assert_eq!(world.op.pushes().len(), 1);
        assert!(!world.net.requests_to(OP, "/par")[0].header("authorization").unwrap_or_default().is_empty());
    }
    // A short one need not.
    let world = World::new();
    world.op.sign_in_as("alice");
    world.op.set(|s| s.pushed_authorization = true);
    world.browser().visit(&login("/who")).await;
    assert!(world.op.pushes().is_empty());
}

/// A client may have to push what its provider's metadata do not demand, or be unable to.
#[tokio::test]
async fn the_configuration_decides_what_is_pushed() {
    use tower_oidc::PushedAuthorizationRequests::{Always, Auto, Never};
    for (setting, required, long, pushes) in [
        (Auto, false, false, 0),
        (Auto, true, false, 1),
        (Always, false, false, 1),
        (Never, true, false, 0),
        (Never, false, true, 0),
    ] {
        let world = World::with(|mut config| {
            config.provider.pushed_authorization_requests = setting;
            parameter("claims", "x".repeat(if long { 3000 } else { 1 }))(config)
        });
        world.op.sign_in_as("alice");
        world.op.set(|s| s.pushed_authorization = true);
        world.op.edit_discovery(move |document| {
            document.insert("require_pushed_authorization_requests".into(), required.into());
        });
        world.browser().visit(&login("/who")).await;
        assert_eq!(world.op.pushes().len(), pushes, "{setting:?}, required: {required}, long: {long}");
    }
}

/// An endpoint that is missing, fails, or answers nonsense. Never a redirect with half a request.
#[tokio::test]
async fn pushing_fails() {
    type Break = fn(&World);
    let cases: [(&str, u16, Break); 9] = [
        ("refused", 502, |w| w.op.answer_error(Endpoint::Par, 400, "invalid_request")),
        ("refuses with a script", 502, |w| w.op.answer_error(Endpoint::Par, 400, "<script>")),
        ("no request_uri", 502, |w| w.op.answer(Endpoint::Par, 201, "application/json", "{}")),
        ("request_uri empty", 502, |w| w.op.answer(Endpoint::Par, 201, "application/json", r#"{"request_uri":""}"#)),
        ("request_uri no text", 502, |w| w.op.answer(Endpoint::Par, 201, "application/json", r#"{"request_uri":1}"#)),
        ("HTML", 502, |w| w.op.answer(Endpoint::Par, 200, "text/html", "<h1>Oops</h1>")),
        ("500", 503, |w| w.op.answer(Endpoint::Par, 500, "text/html", "<h1>Oops</h1>")),
        ("429", 503, |w| w.op.answer(Endpoint::Par, 429, "text/html", "slower")),
        ("away", 503, |w| w.net.fault(OP, "/par", Fault::Refuse)),
    ];
    for (why, status, break_it) in cases {
        let world = World::with(parameter("claims", "x".repeat(3000)));
        world.op.sign_in_as("alice");
        world.op.set(|s| s.pushed_authorization = true);
        let browser = world.browser();
        break_it(&world);
        let page = browser.visit(&login("/who")).await;
        assert_refused(&browser, &page, status, why);
        assert!(page.location().is_none() && pending(&browser).is_empty() && !page.text().contains("<script"), "{why}");
        assert!(world.op.authorizations().is_empty(), "{why}");
        world.op.honest();
        world.net.heal(OP);
        assert_eq!(browser.visit(&login("/who")).await.json()["sub"], "a1", "{why}: the control");
    }
}

/// Neither the login's address nor its destination reaches the provider as a parameter.
#[tokio::test]
async fn nothing_is_overridden_from_outside() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let injected = [
        ("redirect_uri", "https://evil.test/"),
        ("state", "s"),
        ("nonce", "n"),
        ("code_challenge", "c"),
        ("code_challenge_method", "plain"),
        ("code_verifier", "v"),
        ("client_id", "evil"),
        ("scope", "admin"),
        ("response_type", "token"),
        ("response_mode", "fragment"),
        ("request", "e30.e30."),
        ("hd", "evil.test"),
        ("request_uri", "https://evil.test/r"),
        ("iss", "https://evil.test"),
        ("resource", "https://evil.test/"),
        ("target_link_uri", "https://evil.test/"),
    ];
    let plain: HashSet<_> = {
        world.browser().visit(&login("/who")).await;
        world.op.last_authorization().0.into_iter().map(|(name, _)| name).collect()
    };
    let destination: crate::support::params::Params = injected.iter().copied().collect();
    for address in [
        login_with("/who", &injected),
        login(&destination.append_to("/who")),
        login(&destination.append_to("/who?x#&")),
    ] {
        let page = world.browser().visit(&address).await;
        assert_eq!(page.json()["sub"], "a1");
        let request = world.op.last_authorization();
        for (name, value) in injected {
            assert!(!request.all(name).contains(&value), "{name}");
        }
        let names: HashSet<_> = request.0.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!((names.len(), names), (request.0.len(), plain.clone()));
    }
    assert!(world.net.requests("https://evil.test").is_empty());
}

#[tokio::test]
async fn what_a_login_cannot_ask_for() {
    let world = World::new();
    let long = "a".repeat(513);
    for (name, value) in [
        ("max_age", "-1"),
        ("max_age", "abc"),
        ("max_age", ""),
        ("max_age", "1.5"),
        ("max_age", "+5"),
        ("max_age", " 5"),
        ("max_age", "99999999999999999999999"),
        ("prompt", "create"),
        ("prompt", ""),
        ("prompt", "none login"),
        ("prompt", "NONE"),
        ("prompt", "login consent"),
        ("login_hint", &long),
        ("acr_values", &long),
        ("provider", "https://evil.test"),
        ("provider", "op2"),
        ("provider", ""),
        ("return_to", "/"),
    ] {
        let browser = world.browser();
        let page = browser.navigate(&login_with("/", &[(name, value)])).await;
        assert_refused(&browser, &page, 400, &format!("{name}={value}"));
        assert!(pending(&browser).is_empty());
    }
    for twice in ["max_age", "prompt", "login_hint", "acr_values", "provider"] {
        let value = match twice {
            "max_age" => "1",
            "prompt" => "login",
            "provider" => "default",
            _ => "x",
        };
        let browser = world.browser();
        assert_eq!(browser.step(&login_with("/", &[(twice, value)])).await.status, 303, "{twice}: the control");
        assert_eq!(browser.step(&login_with("/", &[(twice, value), (twice, value)])).await.status, 400, "{twice}");
    }
    let many: String = (0..100).map(|at| format!("&p{at}=v")).collect();
    assert_eq!(world.browser().step(&(login("/") + &many)).await.status, 400);
    for seconds in ["0", "18446744073709551615"] {
        assert_eq!(world.browser().step(&login_with("/", &[("max_age", seconds)])).await.status, 303);
    }
}

/// The secret has a colon, a percent sign, blanks and an umlaut: it is encoded before it is joined.
#[tokio::test]
async fn the_application_proves_itself_as_the_provider_wants() {
    const BASIC: &str = "client_secret_basic";
    const POST: &str = "client_secret_post";
    for (configured, accepted, announced, used) in [
        (None, vec![BASIC, POST], true, BASIC),
        (None, vec![POST], true, POST),
        (None, vec![BASIC], false, BASIC),
        (Some(ClientAuthMethod::ClientSecretPost), vec![BASIC, POST], true, POST),
        (Some(ClientAuthMethod::ClientSecretBasic), vec![BASIC], true, BASIC),
    ] {
        let world = World::with(|mut config| {
            config.provider.client_auth = configured;
            config
        });
        world.op.set(|s| (s.auth_methods, s.announce_auth_methods) = (accepted, announced));
        world.signed_in("alice").await;
        assert_eq!(world.op.code_exchanges()[0].auth_method, used);
        assert_eq!(world.net.urls_with("secret").len(), 0);
    }
    let world = World::with(|mut config| {
        (config.provider.client_id, config.provider.client_secret) = ("public".to_owned(), None);
        config
    });
    world.op.register("public", None);
    world.signed_in("alice").await;
    assert_eq!(world.op.code_exchanges()[0].auth_method, "none");
}

/// Other methods are answered, and start nothing.
#[tokio::test]
async fn a_login_starts_by_get_alone() {
    let world = World::new();
    let browser = world.browser();
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = Request::builder().method(method).uri(login("/")).body(Bytes::new()).unwrap();
        let answer = browser.raw_with_cookies(request).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    }
    assert!(pending(&browser).is_empty());
    assert_eq!(browser.navigate(&format!("{APP}/auth/login/x")).await.status, 404);
}
