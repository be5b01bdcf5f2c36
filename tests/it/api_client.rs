//! Where tokens go when an application calls APIs, and where they never do.

use std::time::Duration;

use axum::Json;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_oidc::{Config, Error, ErrorKind, EventCode, Resource, UserTokens};

use crate::support::app::{API, APP, EVIL, OP, World, routes};
use crate::support::browser::Browser;
use crate::support::fault::Fault;
use crate::support::net::{Exchange, answer};

/// A world in which alice is signed in, with a route that makes any call: `{method, url, headers, body}`.
async fn world(edit: impl FnOnce(Config) -> Config) -> (World, Browser) {
    let world = World::with(edit);
    world.net.serve_service(APP, world.app.layer.layer(routes().route("/call", post(call))));
    let alice = world.signed_in("alice").await;
    (world, alice)
}

/// What a call came to, in place of what the error would answer.
async fn call(tokens: UserTokens, Json(call): Json<Value>) -> Json<Value> {
    let text = |name: &str, default: &str| call[name].as_str().unwrap_or(default).to_owned();
    let method: Method = text("method", "GET").parse().unwrap();
    let mut request = tokens.client().request(method, &text("url", ""));
    for (name, value) in call["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap());
    }
    Json(match request.body(text("body", "")).send().await {
        Ok(answer) => json!({ "status": answer.status().as_u16(), "size": answer.bytes().len() }),
        Err(error) => json!({ "error": error.kind().code() }),
    })
}

async fn made(browser: &Browser, call: Value) -> Value {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let page = browser.fetch_with(Method::POST, &format!("{APP}/call"), headers, &call.to_string(), APP).await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.json()
}

async fn got(browser: &Browser, url: &str) -> Value {
    made(browser, json!({ "url": url })).await
}

/// What the application itself sent to an origin.
fn sent(world: &World, origin: &str) -> Vec<Exchange> {
    world.net.requests(origin)
}

fn no_token(exchange: &Exchange) -> bool {
    exchange.header("authorization").is_none()
}

/// What arrives: method, `Content-Type`, the `X-A` headers, body.
#[tokio::test]
async fn a_request_arrives_as_it_was_made() {
    let url = "https://api.test/cal/x?y=1";
    let made = move |tokens: UserTokens| async move {
        let (client, value) = (tokens.client(), json!({ "a": "ä&b" }));
        client.get(url).await?;
        client.delete(url).await?;
        client.post_json(url, &value).await?;
        client.request(Method::PUT, url).json(&value).send().await?;
        client.request(Method::PATCH, url).json(&value).send().await?;
        client.request(Method::POST, url).form([("a", "ä&b"), ("a", "")]).send().await?;
        let typed = client.request(Method::PUT, url).header("content-type", "text/x").header("x-a", "1");
        let authorized = typed.header("X-A", "2").header("authorization", "Basic abc").body("as it is");
        authorized.send().await.map(|answer| answer.text().into_owned())
    };
    let world = World::new();
    world.serve(routes().route("/made", post(made)));
    let alice = world.signed_in("alice").await;
    let last = alice.fetch(Method::POST, &format!("{APP}/made"), "", APP).await;
    assert_eq!(last.json()["owner"], "alice", "the token is the client's, whatever the request says");
    let text = |exchange: &Exchange| {
        let all = |name| {
            let values = exchange.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>().join(",")
        };
        let body = String::from_utf8_lossy(&exchange.body);
        format!("{} [{}] [{}] {body}", exchange.method, all("content-type"), all("x-a"))
    };
    let json = r#"[application/json] [] {"a":"ä&b"}"#;
    assert_eq!(
        sent(&world, API).iter().map(text).collect::<Vec<_>>(),
        [
            "GET [] [] ".to_owned(),
            "DELETE [] [] ".to_owned(),
            format!("POST {json}"),
            format!("PUT {json}"),
            format!("PATCH {json}"),
            "POST [application/x-www-form-urlencoded] [] a=%C3%A4%26b&a=".to_owned(),
            "PUT [text/x] [1,2] as it is".to_owned(),
        ]
    );
    assert!(sent(&world, API).iter().all(|exchange| exchange.query == "y=1"));
}

/// Nothing is sent, and `send` says why.
#[tokio::test]
async fn a_request_that_cannot_be_made_is_an_error() {
    let (world, alice) = world(|config| config).await;
    let url = format!("{API}/cal/x");
    let with = |name: &str, value: &str| json!({ "url": url, "headers": { name: value } });
    assert_eq!(made(&alice, with("x-a", "b")).await["status"], 200, "the control");
    world.net.forget();
    for (name, value) in [("x a", "b"), ("x-a", "b\r\nx: y"), ("", "b")] {
        assert_eq!(made(&alice, with(name, value)).await, json!({ "error": "upstream_error" }), "{name:?}");
    }
    let elsewhere = json!({ "url": "javascript:1", "headers": { "x a": "b" } });
    assert_eq!(made(&alice, elsewhere).await, json!({ "error": "no_token_for_url" }), "the first fault");
    assert!(sent(&world, API).is_empty());
}

/// An answer of any status is one; whoever wants a success says so.
#[tokio::test]
async fn an_answer_is_read_as_bytes_text_or_json() {
    let read = |tokens: UserTokens| async move {
        let client = tokens.client();
        let got = |path: &str| {
            let url = format!("{API}/cal/{path}");
            let client = client.clone();
            async move { client.get(&url).await }
        };
        let fails = got("fails").await?;
        assert_eq!((fails.status().as_u16(), fails.text().as_ref()), (404, "{\"no\":\u{fffd}}"));
        assert_eq!(fails.bytes().as_ref(), b"{\"no\":\xff}");
        assert_eq!(fails.error_for_status().unwrap_err().kind(), ErrorKind::UpstreamError);
        assert_eq!(got("fails").await?.json::<Value>().unwrap_err().kind(), ErrorKind::UpstreamError);
        let whole = got("").await?.error_for_status()?;
        assert_eq!(whole.headers()["content-type"], "application/json");
        assert_eq!(whole.json::<u8>().unwrap_err().kind(), ErrorKind::UpstreamError, "it is no number");
        Ok::<_, Error>(Json(got("").await?.json::<Value>()?))
    };
    let world = World::new();
    let fails = |_| async { answer(404, &b"{\"no\":\xff}"[..]) };
    world.net.serve(&format!("{API}/cal/fails"), fails);
    world.serve(routes().route("/read", post(read)));
    let alice = world.signed_in("alice").await;
    let page = alice.fetch(Method::POST, &format!("{APP}/read"), "", APP).await;
    assert_eq!(page.json()["owner"], "alice", "{}", page.text());
}

#[tokio::test]
async fn a_url_that_no_resource_covers_is_an_error_and_nothing_is_sent() {
    let (world, alice) = world(|config| config).await;
    assert_eq!(got(&alice, &format!("{API}/cal/x?y")).await["status"], 200, "the control");
    world.net.forget();
    for url in [
        "https://api.test/calendar",
        "https://api.test/cal",
        "https://api.test/cal/../mail",
        "https://api.test/cal/%2e%2e/mail",
        "https://api.test/cal/.%2E/mail",
        "https://api.test/cal/%2f..%2fmail",
        "https://api.test/cal/%5c..%5cmail",
        "https://api.test/cal\\x",
        "https://api.test/CAL/x",
        "http://api.test/cal/x",
        "https://api.test:8443/cal/",
        "https://api.test.evil.test/cal/",
        "https://api.test:443@evil.test/cal/",
        "https://evil.test/https://api.test/cal/",
        "https://user@api.test/cal/",
        "https://@api.test/cal/",
        "https://api.test./cal/",
        "//api.test/cal/",
        "/cal/",
        " https://api.test/cal/",
        "https://api.test/cal/\u{a0}x\t",
        "ftp://api.test/cal/",
        "javascript:1",
        "",
    ] {
        assert_eq!(got(&alice, url).await, json!({ "error": "no_token_for_url" }), "{url:?}");
    }
    assert!([API, EVIL, "http://api.test"].iter().all(|origin| sent(&world, origin).is_empty()));
    for same in ["https://api.test:443/cal/x", "HTTPS://API.test/cal/x", "https://api.test/mail/../cal/x#f"] {
        assert_eq!(got(&alice, same).await["status"], 200, "{same}");
    }
}

#[tokio::test]
async fn the_longest_prefix_has_the_url_in_every_order() {
    for turned in [false, true] {
        let (world, alice) = world(|mut config| {
            config.provider.resources.clear();
            let all = Resource::new("all", format!("{API}/")).indicator("urn:all");
            let cal = Resource::new("cal", format!("{API}/cal/")).indicator("urn:cal");
            let (first, second) = if turned { (cal, all) } else { (all, cal) };
            config.resource(first).resource(second)
        })
        .await;
        for _ in 0..50 {
            for path in ["/cal/x", "/mail/x"] {
                assert_eq!(got(&alice, &format!("{API}{path}")).await["status"], 200);
            }
        }
        for seen in world.api.requests() {
            let token = seen.authorization.unwrap().split_off("Bearer ".len());
            let meant = if seen.path_and_query == "/cal/x" { "urn:cal" } else { "urn:all" };
            assert_eq!(world.op.issued(&token).unwrap().resources, [meant]);
        }
    }
}

#[tokio::test]
async fn a_redirect_out_of_the_resource_leaves_the_token_behind() {
    let (world, alice) = world(|config| config.resource(Resource::new("other", "https://other.test/"))).await;
    for status in [301, 302, 303, 307, 308] {
        for (to, arrives) in [
            (EVIL, "https://evil.test/"),
            ("//evil.test/x", "https://evil.test/x"),
            ("\\\\evil.test\\x", "https://evil.test/x"),
            ("/mail", "https://api.test/mail"),
            ("../mail", "https://api.test/mail"),
            ("%2e%2e/mail", "https://api.test/mail"),
            ("https://api.test:8443/cal/", "https://api.test:8443/cal/"),
            // A resource of its own: the same person's, and not the one that was called.
            ("https://other.test/x", "https://other.test/x"),
            ("https://op.test/userinfo", "https://op.test/userinfo"),
        ] {
            world.api.behave();
            world.net.forget();
            world.api.redirect("/cal/r", status, to);
            got(&alice, &format!("{API}/cal/r")).await;
            let all = world.net.exchanges();
            let landed = all.iter().find(|exchange| exchange.url() == arrives);
            let landed = landed.unwrap_or_else(|| panic!("{status} to {to} never arrived"));
            assert!(no_token(landed), "{status} to {to}");
            assert!(!all.iter().any(|e| e.origin == EVIL && !no_token(e)));
        }
        // Within the resource it goes along, however the address is spelled.
        for to in ["/cal/x", "x", "./x", "?q", "/mail/../cal/x", "https://API.test:443/cal/x"] {
            world.api.behave();
            world.api.redirect("/cal/r", status, to);
            if to == "?q" {
                // The same path, which redirects for ever.
                assert_eq!(got(&alice, &format!("{API}/cal/r")).await["error"], "upstream_error");
                continue;
            }
            assert_eq!(got(&alice, &format!("{API}/cal/r")).await["status"], 200, "{status} to {to}");
        }
    }
}

#[tokio::test]
async fn what_is_not_safe_is_not_followed() {
    let (world, alice) = world(|config| config).await;
    for to in [
        "http://api.test/",
        "http://api.test/cal/x",
        "http://127.0.0.1:9/cal/",
        "http://localhost/",
        "https://user:word@api.test/cal/x",
        "/cal/%2f..%2fmail",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://api.test/cal/x",
    ] {
        world.api.behave();
        world.api.redirect("/cal/r", 302, to);
        world.net.forget();
        assert_eq!(got(&alice, &format!("{API}/cal/r")).await, json!({ "error": "upstream_error" }), "{to}");
        let sent: Vec<_> = world.net.exchanges().iter().map(Exchange::url).filter(|u| !u.starts_with(APP)).collect();
        assert_eq!(sent, [format!("{API}/cal/r")], "{to}");
    }
    // No address at all is an answer like any other.
    world.api.behave();
    world.api.fail("/cal/r", 302);
    assert_eq!(got(&alice, &format!("{API}/cal/r")).await["status"], 302);
}

#[tokio::test]
async fn a_token_that_was_left_behind_does_not_come_back() {
    let (world, alice) = world(|config| config).await;
    world.api.redirect("/cal/r", 302, "https://evil.test/back");
    world.evil.redirect("/back", 302, "https://api.test/cal/x");
    world.net.forget();
    assert_eq!(got(&alice, &format!("{API}/cal/r")).await["status"], 401, "the API says so, and is believed");
    let last = sent(&world, API).pop().unwrap();
    assert_eq!((last.path.as_str(), no_token(&last)), ("/cal/x", true));
    assert!(world.op.refreshes().is_empty(), "nothing is wrong with the token");
}

#[tokio::test]
async fn what_was_meant_for_one_server_is_none_of_the_next_ones_business() {
    let (world, alice) = world(|config| config).await;
    let headers = json!({ "cookie": "a=b", "host": "api.test", "proxy-authorization": "Basic x", "x-own": "1" });
    world.api.redirect("/cal/r", 307, EVIL);
    world.api.redirect("/cal/s", 307, "/cal/x");
    for path in ["r", "s"] {
        made(&alice, json!({ "url": format!("{API}/cal/{path}"), "headers": headers })).await;
    }
    let evil = sent(&world, EVIL).pop().unwrap();
    assert_eq!((evil.header("cookie"), evil.header("proxy-authorization")), (None, None));
    assert_eq!((evil.header("host"), evil.header("x-own")), (Some("evil.test"), Some("1")));
    assert_eq!(sent(&world, API).pop().unwrap().header("cookie"), Some("a=b"), "the same server keeps them");
}

#[tokio::test]
async fn bodies_and_methods_follow_a_redirect_as_http_has_it() {
    let (world, alice) = world(|config| config).await;
    for (method, status, arrives, body) in [
        ("POST", 301, "GET", ""),
        ("POST", 302, "GET", ""),
        ("POST", 303, "GET", ""),
        ("PUT", 303, "GET", ""),
        ("POST", 307, "POST", "{\"a\":1}"),
        ("POST", 308, "POST", "{\"a\":1}"),
        ("PUT", 307, "PUT", "{\"a\":1}"),
        ("HEAD", 302, "HEAD", ""),
        ("HEAD", 303, "HEAD", ""),
        ("DELETE", 307, "DELETE", ""),
    ] {
        world.api.behave();
        world.api.forget();
        world.net.forget();
        world.api.redirect("/cal/r", status, "/cal/x");
        let sent_body = if method == "HEAD" || method == "DELETE" { "" } else { "{\"a\":1}" };
        let headers = json!({ "content-type": "application/json", "authorization": "Bearer forged" });
        let call = json!({ "url": format!("{API}/cal/r"), "method": method, "body": sent_body, "headers": headers });
        assert_eq!(made(&alice, call).await["status"], 200, "{method} {status}");
        let seen = world.api.requests();
        assert_eq!(
            (seen[1].method.as_str(), &seen[1].body[..], seen[1].owner.as_deref()),
            (arrives, body.as_bytes(), Some("alice")),
            "{method} {status}"
        );
        let carries = sent(&world, API)[1].header("content-type").is_some();
        assert_eq!(carries, arrives == method, "{method} {status}");
        assert!(sent(&world, API).iter().all(|e| e.headers.get_all("authorization").iter().count() == 1));
    }
}

#[tokio::test]
async fn ten_redirects_are_followed_and_no_more() {
    let (world, alice) = world(|config| config).await;
    let hops: Vec<_> = ('a'..='l').collect();
    for pair in hops.windows(2) {
        world.api.redirect(&format!("/cal/{}", pair[0]), 302, &format!("/cal/{}", pair[1]));
    }
    assert_eq!(got(&alice, &format!("{API}/cal/b")).await["status"], 200);
    world.api.forget();
    assert_eq!(got(&alice, &format!("{API}/cal/a")).await, json!({ "error": "upstream_error" }));
    assert_eq!(world.api.requests().len(), 11);
    // A renewal on the way is no redirect.
    world.api.refuse("/cal/l", 1, "Bearer");
    assert_eq!(got(&alice, &format!("{API}/cal/b")).await["status"], 200);
}

#[tokio::test]
async fn a_401_is_one_refresh_and_one_retry_with_the_same_body() {
    let (world, alice) = world(|config| config).await;
    world.api.refuse("/cal/x", 1, "Bearer error=\"invalid_token\"");
    let call = json!({ "url": format!("{API}/cal/x"), "method": "POST", "body": "once" });
    assert_eq!(made(&alice, call).await["status"], 200);
    let seen = world.api.requests();
    assert_eq!((seen.len(), world.op.refreshes().len()), (2, 1));
    assert!(seen.iter().all(|seen| seen.body == "once" && seen.method == Method::POST));
    assert_ne!(seen[0].authorization, seen[1].authorization, "the refused one is not sent again");
    assert!(seen.iter().all(|seen| seen.owner.as_deref() == Some("alice")));
}

/// Fifty requests met by a 401 at once share the renewal.
#[tokio::test]
async fn a_401_for_everybody_is_one_refresh() {
    let (world, alice) = world(|config| config).await;
    world.api.refuse("/cal/", 50, "Bearer");
    let path = format!("/fetch?u={API}/cal/x");
    // All fifty are refused before the renewal that the first of them started has its answer.
    let gate = crate::support::fault::Gate::new();
    world.net.fault(OP, "/token", Fault::Gate(gate.clone()));
    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(world.ask(APP, &alice, &path))).collect();
    while world.api.requests().len() < 50 {
        tokio::task::yield_now().await;
    }
    gate.open();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!((world.op.refreshes().len(), world.api.requests().len()), (1, 100));
}

#[tokio::test]
async fn an_api_that_always_says_401_is_called_twice_and_then_consent_is_needed() {
    let (world, alice) = world(|config| config).await;
    world.api.refuse_always("/cal/", "Bearer error=\"invalid_token\"");
    let answer = alice.fetch(Method::GET, &format!("{APP}/fetch?u={API}/cal/x"), "", APP).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "consent_required"));
    assert!(answer.json()["connect_url"].as_str().unwrap().starts_with("/auth/connect?connection=login&"));
    assert_eq!((world.api.requests().len(), world.op.refreshes().len()), (2, 1));
    // A page is sent to the provider, comes back, and is not sent round for ever.
    let page = alice.visit(&format!("{APP}/fetch?u={API}/cal/x")).await;
    assert_eq!((page.status, page.code().as_str()), (StatusCode::FORBIDDEN, "consent_required"));
    assert_eq!(world.op.code_exchanges().len(), 2, "asked once more");
    // Later the person may be asked again.
    world.clock.advance(Duration::from_secs(601));
    assert_eq!(alice.step(&format!("{APP}/fetch?u={API}/cal/x")).await.status, 303);
}

/// An API that refuses what came for the token that it had refused costs no refresh a call.
#[tokio::test]
async fn a_token_that_was_refreshed_and_is_refused_again_is_not_refreshed_for_a_minute() {
    let (world, alice) = world(|config| config).await;
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(got(&alice, &format!("{API}/cal/x")).await["status"], 200);
    assert_eq!(world.op.refreshes().len(), 1, "it was over");
    world.api.refuse_always("/cal/", "Bearer error=\"invalid_token\"");
    for _ in 0..10 {
        let answer = alice.fetch(Method::GET, &format!("{APP}/fetch?u={API}/cal/x"), "", APP).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "consent_required"));
    }
    assert_eq!(world.op.refreshes().len(), 2, "ten calls, and one refresh");
    assert_eq!(world.app.events.count(EventCode::RefreshFailed), 9);
    for minute in 1..=2 {
        world.clock.advance(Duration::from_secs(60));
        for _ in 0..10 {
            let answer = alice.fetch(Method::GET, &format!("{APP}/fetch?u={API}/cal/x"), "", APP).await;
            assert_eq!(answer.status, 403);
        }
        assert_eq!(world.op.refreshes().len(), 2 + minute, "one more try");
    }
    // The control: an API that takes the token again gets it.
    world.api.behave();
    assert_eq!(got(&alice, &format!("{API}/cal/x")).await["status"], 200);
}

/// Where nothing can renew the token, its refusal needs the person at once, and not for ever either.
#[tokio::test]
async fn without_a_refresh_token_the_first_401_needs_consent() {
    let (world, _) = world(|config| config).await;
    world.op.set(|op| op.issue_refresh_tokens = false);
    // A browser of its own: what an earlier login brought would go on.
    let alice = world.signed_in("alice").await;
    world.api.refuse_always("/cal/", "Bearer");
    let page = alice.visit(&format!("{APP}/fetch?u={API}/cal/x")).await;
    assert_eq!(page.code(), "consent_required");
    assert!(world.api.requests().len() <= 3 && world.op.refreshes().is_empty());
}

#[tokio::test]
async fn a_renewal_that_fails_is_no_answer_of_the_api() {
    let (world, alice) = world(|config| config).await;
    world.api.refuse("/cal/x", 1, "Bearer");
    world.net.fault(OP, "/token", Fault::Status(503));
    assert_eq!(got(&alice, &format!("{API}/cal/x")).await, json!({ "error": "unavailable" }));
    assert_eq!(world.api.requests().len(), 1, "the refused token is not tried again");
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_at_most_thirty_seconds_however_it_is_spent() {
    let (world, alice) = world(|config| config).await;
    for hops in [0, 3] {
        world.api.behave();
        world.net.heal(API);
        let delay = if hops == 0 { Fault::Hang } else { Fault::Slow(Duration::from_secs(12)) };
        world.net.fault(API, "/", delay);
        ('a'..='c').zip('b'..='d').take(hops).for_each(|(from, to)| {
            world.api.redirect(&format!("/cal/{from}"), 302, &format!("/cal/{to}"));
        });
        let started = tokio::time::Instant::now();
        assert_eq!(got(&alice, &format!("{API}/cal/a")).await, json!({ "error": "upstream_error" }));
        assert_eq!(started.elapsed().as_secs(), 30, "{hops} hops");
    }
    world.net.heal(API);
    world.net.fault(API, "/", Fault::Slow(Duration::from_secs(29)));
    assert_eq!(got(&alice, &format!("{API}/cal/x")).await["status"], 200);
}

/// Once for each call: where, without the query, and why.
#[tokio::test(start_paused = true)]
async fn an_api_that_fails_is_an_event() {
    const TOO_MUCH: usize = 16 * 1024 * 1024 + 1;
    let (world, alice) = world(|config| config).await;
    let told = || {
        let events = world.app.events.all().into_iter().filter(|event| event.code == EventCode::ApiFailed);
        events.map(|event| event.detail).collect::<Vec<_>>()
    };
    let url = format!("{API}/cal/x?key=s3cret");
    for status in [200, 503] {
        world.api.fail("/cal/x", status);
        assert_eq!(got(&alice, &url).await["status"], status);
    }
    assert_eq!(got(&alice, "https://elsewhere.test/").await, json!({ "error": "no_token_for_url" }));
    assert!(told().is_empty(), "none of these is an API that fails");
    world.api.behave();
    for (count, (fault, why)) in [
        (Fault::Refuse, "the connection failed"),
        (Fault::DropAnswer, "the connection failed"),
        (Fault::Hang, "the API takes too long"),
    ]
    .into_iter()
    .enumerate()
    {
        world.net.fault(API, "/", fault);
        assert_eq!(got(&alice, &url).await, json!({ "error": "upstream_error" }));
        world.net.heal(API);
        assert_eq!(told().len(), count + 1, "{why}");
        assert!(told()[count].starts_with(&format!("{API}/cal/x: {why}")), "{:?}", told());
    }
    world.net.serve(&url[..url.find('?').unwrap()], |_| async { answer(200, Bytes::from(vec![b'x'; TOO_MUCH])) });
    got(&alice, &url).await;
    assert_eq!(told()[3], format!("{API}/cal/x: the answer has more than {} bytes", TOO_MUCH - 1));
    // A client of the application's own, whose words may say anything.
    let own = async |tokens: UserTokens| {
        let client = service_fn(|request: Request<Bytes>| async move {
            Err::<Response<Bytes>, _>(format!("no way to {}", request.uri()))
        });
        let request = Request::get(format!("{API}/cal/x?key=s3cret")).body(Bytes::new()).unwrap();
        tokens.layer().layer(client).oneshot(request).await.map(|_| ())
    };
    world.net.serve_service(APP, world.app.layer.layer(routes().route("/own", get(own))));
    assert_eq!(alice.navigate(&format!("{APP}/own")).await.status, 502);
    assert_eq!(told()[4], format!("{API}/cal/x: the API does not answer"));
    assert!(!format!("{:?}", told()).contains("s3cret"), "{:?}", told());
}

#[tokio::test]
async fn an_answer_has_at_most_sixteen_mebibytes() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let (world, alice) = world(|config| config).await;
    for (size, expected) in
        [(LIMIT, json!({ "status": 200, "size": LIMIT })), (LIMIT + 1, json!({ "error": "upstream_error" }))]
    {
        world.net.serve(&format!("{API}/cal/big"), move |_| async move { answer(200, Bytes::from(vec![b'x'; size])) });
        assert_eq!(got(&alice, &format!("{API}/cal/big")).await, expected);
    }
}

#[tokio::test]
async fn what_the_api_says_is_passed_on_and_what_is_no_http_is_an_error() {
    let (world, alice) = world(|config| config).await;
    for status in [200, 204, 304, 400, 403, 404, 429, 500, 503] {
        world.api.behave();
        world.api.fail("/cal/x", status);
        assert_eq!(got(&alice, &format!("{API}/cal/x")).await["status"], status);
    }
    world.net.fault(API, "/", Fault::Refuse);
    assert_eq!(got(&alice, &format!("{API}/cal/x")).await, json!({ "error": "upstream_error" }));
    let page = alice.navigate(&format!("{APP}/fetch?u={API}/cal/x")).await;
    assert_eq!(page.status, 502);
}
