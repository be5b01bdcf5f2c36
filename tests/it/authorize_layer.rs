//! The outgoing side: where a token goes and where it does not. Through the ready client
//! (`/fetch`) and through the layer over another client with bodies of its own (`/via`).

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::json;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_oidc::{ErrorKind, UserTokens};

use crate::connections::app::{Site, at, connect, log_out, script};
use crate::support::app::{API, EVIL};
use crate::support::browser::Browser;

const CLIENTS: [&str; 2] = ["fetch", "via"];

async fn signed_in() -> (Site, Browser) {
    let site = Site::new();
    let browser = site.signed_in("alice").await;
    connect(&browser, "mail").await;
    site.op.forget();
    (site, browser)
}

fn call(client: &str, url: &str) -> String {
    let url: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    format!("/{client}?u={url}")
}

#[tokio::test]
async fn a_token_goes_to_its_resource_and_nowhere_else() {
    let (site, browser) = signed_in().await;
    for client in CLIENTS {
        for url in ["/cal/", "/cal/x?y", "/cal/a/../x", "/cal/%41", "/mail/x"] {
            let page = script(&browser, &call(client, &format!("{API}{url}"))).await;
            assert_eq!(page.json()["saw"], 200, "{client} {url}");
        }
        site.net.forget();
        for url in [
            "https://api.test/calendar",
            "https://api.test/cal/../secret",
            "https://api.test/cal/%2e%2e/secret",
            "https://api.test/cal/%2E./secret",
            "https://api.test/cal/..%2fsecret",
            "https://api.test/cal/x%5c..%5csecret",
            "https://api.test/cal\\..\\secret",
            "https://api.test/",
            "http://api.test/cal/x",
            "https://api.test:8443/cal/",
            "https://api.test.evil.test/cal/",
            "https://api.test:443@evil.test/cal/",
            "https://evil.test#@api.test/cal/",
            "https://user@api.test/cal/",
            "https://@api.test/cal/",
            "//api.test/cal/",
            "/cal/",
            "",
        ] {
            let page = script(&browser, &call(client, url)).await;
            // What the other client's own URL type does not read never comes to the layer.
            let unread = client == "via" && page.status == 418;
            let refused = page.status == 500 && page.json()["code"] == "no_token_for_url";
            assert!(unread || refused, "{client} {url}: {} {}", page.status, page.text());
        }
        assert_eq!(
            site.api.authorizations().len() + site.evil.requests().len(),
            5 * (1 + usize::from(client == "via"))
        );
        assert_eq!(site.net.requests(API).len() + site.net.requests(EVIL).len(), 0, "nothing is sent");
    }
}

#[tokio::test]
async fn a_redirect_out_of_the_resource_leaves_the_token_behind() {
    for client in CLIENTS {
        let (site, browser) = signed_in().await;
        for (to, saw) in [
            ("https://evil.test/cal/x", 401),
            ("https://api.test/calendar", 401),
            // The same person's token, and another resource.
            ("https://api.test/tasks/x", 401),
            ("https://api.test/mail/x", 401),
            ("https://api.test/cal/y", 200),
            ("y", 200),
        ] {
            for status in [301, 302, 303, 307, 308] {
                site.api.behave();
                site.api.redirect("/cal/r", status, to);
                site.api.forget();
                let page = script(&browser, &call(client, &format!("{API}/cal/r"))).await;
                assert_eq!(page.json()["saw"], saw, "{client} {status} {to}");
                assert_eq!(site.evil.authorizations(), [""; 0], "{client} {status} {to}");
                let sent = site.api.authorizations().len();
                assert_eq!(sent, 1 + usize::from(saw == 200), "{client} {status} {to}");
            }
        }
        // Once outside, always outside: who was sent away does not get the token by sending back.
        site.api.behave();
        site.api.redirect("/cal/r", 302, "https://evil.test/back");
        site.evil.redirect("/back", 302, "https://api.test/cal/x");
        site.api.forget();
        let page = script(&browser, &call(client, &format!("{API}/cal/r"))).await;
        assert_eq!((page.json()["saw"].as_u64(), site.api.authorizations().len()), (Some(401), 1));
        // Out of https is an error, as is a circle.
        for to in ["http://api.test/cal/x", "http://evil.test/", "https://user@api.test/cal/x", "/cal/r"] {
            site.api.behave();
            site.api.redirect("/cal/r", 302, to);
            let page = script(&browser, &call(client, &format!("{API}/cal/r"))).await;
            assert_eq!((page.status.as_u16(), &page.json()["code"]), (502, &json!("upstream_error")), "{to}");
        }
        assert_eq!(site.op.refreshes().len(), 0, "nobody's 401 but the resource's own renews anything");
    }
}

#[tokio::test]
async fn one_refusal_is_one_refresh_and_one_retry() {
    for client in CLIENTS {
        let (site, browser) = signed_in().await;
        site.api.refuse("/mail/x", 1, "Bearer error=\"invalid_token\"");
        let page = script(&browser, &(call(client, &format!("{API}/mail/x")) + "&m=PUT")).await;
        assert_eq!(page.json()["saw"], 200);
        let seen = site.api.requests();
        let bodies: Vec<_> = seen.iter().map(|seen| (seen.method.as_str(), &*seen.body)).collect();
        assert_eq!(bodies, [("PUT", &b"the body"[..]); 2], "{client}: sent again, whole");
        assert_ne!(seen[0].authorization, seen[1].authorization);
        assert!(seen.iter().all(|seen| seen.owner.as_deref() == Some("alice")));
        assert_eq!(site.op.refreshes().len(), 1);

        site.api.forget();
        // What was refreshed within a minute is not refreshed again.
        site.clock.advance(std::time::Duration::from_secs(60));
        site.api.refuse_always("/mail/x", "Bearer error=\"invalid_token\"");
        let page = script(&browser, &call(client, &format!("{API}/mail/x"))).await;
        assert_eq!((page.status.as_u16(), &page.json()["code"]), (403, &json!("consent_required")), "{client}");
        assert_eq!((site.api.requests().len(), site.op.refreshes().len()), (2, 2), "{client}");
    }
}

/// One request as another client got it.
#[derive(Debug)]
struct Got {
    method: Method,
    url: String,
    headers: http::HeaderMap,
    body: Bytes,
    span: Option<&'static str>,
}

type Log = Arc<Mutex<Vec<Got>>>;

/// Calls `request` through a client that answers from a list and records what it got.
async fn recorded(
    tokens: &UserTokens, request: Request<Full<Bytes>>, answers: Vec<Response<&'static str>>,
) -> (Result<Response<&'static str>, tower_oidc::Error>, Vec<Got>) {
    let (log, answers) = (Log::default(), Arc::new(Mutex::new(answers.into_iter())));
    let seen = log.clone();
    let client = service_fn(move |request: Request<Full<Bytes>>| {
        let (log, answers) = (seen.clone(), answers.clone());
        async move {
            use http_body_util::BodyExt;
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let span = parts.extensions.get::<&'static str>().copied();
            let (url, headers) = (parts.uri.to_string(), parts.headers);
            log.lock().unwrap().push(Got { method: parts.method, url, headers, body, span });
            answers.lock().unwrap().next().ok_or(BoxError::from("the connection broke"))
        }
    });
    let answer = tokens.layer().layer(client).oneshot(request).await;
    let got = std::mem::take(&mut *log.lock().unwrap());
    (answer, got)
}

fn request(method: &str, path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("{API}{path}"));
    let request = request.header("content-type", "text/plain").header("x-mine", "1").extension("a span");
    request.body("the body".into()).unwrap()
}

fn redirect(status: u16, to: &str) -> Response<&'static str> {
    Response::builder().status(status).header("location", to).body("").unwrap()
}

#[tokio::test]
async fn a_redirect_takes_along_what_it_may() {
    let (site, browser) = signed_in().await;
    let tokens = site.hold(&browser).await;
    for (status, method, body) in
        [(301, "GET", ""), (302, "GET", ""), (303, "GET", ""), (307, "POST", "the body"), (308, "POST", "the body")]
    {
        let mut request = request("POST", "/cal/r");
        for (name, value) in
            [(AUTHORIZATION, "Bearer mine"), (COOKIE, "c=1"), (PROXY_AUTHORIZATION, "Basic x"), (HOST, "evil.test")]
        {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let answers = vec![redirect(status, "/cal/s"), redirect(status, "https://evil.test/t"), Response::new("done")];
        let (answer, got) = recorded(&tokens, request, answers).await;
        assert_eq!(*answer.unwrap().body(), "done");
        let urls: Vec<_> = got.iter().map(|got| got.url.as_str()).collect();
        assert_eq!(urls, ["https://api.test/cal/r", "https://api.test/cal/s", "https://evil.test/t"]);
        let token = tokens.access_token(&format!("{API}/cal/")).await.unwrap();
        let bearer = format!("Bearer {}", token.expose_secret());
        for (at, got) in got.iter().enumerate() {
            let header = |name: &str| got.headers.get(name).and_then(|value| value.to_str().ok());
            let inside = (at < 2).then_some(());
            assert_eq!(header("authorization"), inside.map(|()| bearer.as_str()), "{status} {at}: ours or none");
            assert_eq!(header("cookie"), inside.map(|()| "c=1"), "{status} {at}");
            assert_eq!(header("proxy-authorization"), inside.map(|()| "Basic x"), "{status} {at}");
            assert_eq!((header("host"), header("x-mine"), got.span), (None, Some("1"), Some("a span")));
            let later = at > 0;
            let expected = if later { (method, body) } else { ("POST", "the body") };
            assert_eq!((got.method.as_str(), &*got.body), (expected.0, expected.1.as_bytes()), "{status} {at}");
            assert_eq!(header("content-type").is_some(), !got.body.is_empty(), "{status} {at}");
        }
        assert!(got[0].headers["authorization"].is_sensitive());
    }
}

#[tokio::test]
async fn at_most_ten_redirects_are_followed() {
    let (site, browser) = signed_in().await;
    let tokens = site.hold(&browser).await;
    for (redirects, arrives) in [(10, true), (11, false), (12, false)] {
        let mut answers: Vec<_> = (0..redirects).map(|at| redirect(302, &format!("/cal/{at}"))).collect();
        answers.push(Response::new("done"));
        let (answer, got) = recorded(&tokens, request("GET", "/cal/r"), answers).await;
        assert_eq!(answer.is_ok(), arrives, "{redirects}");
        assert_eq!(got.len(), 11, "{redirects}");
    }
}

#[tokio::test]
async fn a_client_that_fails_is_an_error_that_says_nothing_secret() {
    let (site, browser) = signed_in().await;
    let tokens = site.hold(&browser).await;
    let (answer, got) = recorded(&tokens, request("GET", "/cal/r"), vec![]).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind(), got.len()), (ErrorKind::UpstreamError, 1));
    let told = format!("{error} {error:?} {tokens:?} {:?}", tokens.layer());
    assert!(site.op.secrets().iter().all(|secret| !told.contains(secret.as_str())), "{told}");
    assert!(told.contains("the connection broke"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_is_given_up() {
    let (site, browser) = signed_in().await;
    let tokens = site.hold(&browser).await;
    let client = service_fn(|_: Request<Full<Bytes>>| std::future::pending::<Result<Response<()>, BoxError>>());
    let begun = tokio::time::Instant::now();
    let error = tokens.layer().layer(client).oneshot(request("GET", "/cal/r")).await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::UpstreamError, 30));
}

/// A task that outlives its session gets no more tokens, however it asks.
#[tokio::test]
async fn tokens_end_with_the_session() {
    let (site, browser) = signed_in().await;
    let tokens = site.hold(&browser).await;
    let url = format!("{API}/cal/x");
    assert!(tokens.client().get(&url).await.is_ok());
    log_out(&browser).await;
    site.sign_in(&browser, "bob").await;
    site.api.forget();
    let (answer, got) = recorded(&tokens, request("GET", "/cal/x"), vec![Response::new("done")]).await;
    assert_eq!((answer.unwrap_err().kind(), got.len()), (ErrorKind::Unauthenticated, 0));
    let kinds = [
        tokens.client().get(&url).await.unwrap_err().kind(),
        tokens.access_token(&url).await.unwrap_err().kind(),
        tokens.connection_status("mail").await.unwrap_err().kind(),
        tokens.connections().await.unwrap_err().kind(),
        tokens.disconnect("mail").await.unwrap_err().kind(),
        tokens.disconnect_all().await.unwrap_err().kind(),
        tokens.require_scopes("mail", &["mail.read"]).await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Unauthenticated; 7]);
    assert_eq!(site.api.requests().len(), 0);
    let hers = site.signed_in("alice").await;
    assert_eq!(script(&hers, "/status?c=mail").await.json()["state"], "connected", "nothing was taken back");
    assert_eq!(browser.navigate(&at("/status?c=mail")).await.json()["state"], "not_connected");
}
