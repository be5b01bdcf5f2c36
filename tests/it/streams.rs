//! Bodies of API calls that flow while they are made.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use axum::{Router, extract::Path};
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Map;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower::{ServiceExt, service_fn};
use tower_oidc::store::MemoryStore;
use tower_oidc::{ApiBody, Error, OidcLayer, Resource, UserTokens, testing};

use crate::support::app::{API, APP, World, routes};

/// A part of a body, or the error with which it breaks.
type Part = Result<&'static str, &'static str>;

/// A body of the parts that come through a channel. It ends when the sender is dropped.
fn parts() -> (UnboundedSender<Part>, impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send + 'static) {
    async fn next(
        mut parts: UnboundedReceiver<Part>,
    ) -> Option<(std::io::Result<Frame<Bytes>>, UnboundedReceiver<Part>)> {
        let part = parts.recv().await?;
        Some((part.map(|text| Frame::data(Bytes::from(text))).map_err(std::io::Error::other), parts))
    }
    let (sender, receiver) = unbounded_channel();
    (sender, StreamBody::new(Box::pin(stream::unfold(receiver, next))))
}

async fn next(body: &mut (impl http_body::Body<Data = Bytes> + Unpin)) -> Option<String> {
    let frame =
        tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("a part, before the next is made")?;
    let frame = frame.unwrap_or_else(|_| panic!("the body broke"));
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// Sends the body of the request on to an API as it comes, and the API's back.
async fn pass(
    api: String, tokens: UserTokens, method: Method, path: &str, body: Body,
) -> Result<Response<Body>, Error> {
    let request = tokens.client().request(method, &format!("{api}/{path}"));
    let response = request.header("content-type", "text/plain").body(ApiBody::stream(body)).stream().await?;
    Ok(response.map(Body::new))
}

/// An application with the default HTTP client, in which ann is signed in, and an API behind a socket.
async fn application(api: Router) -> impl AsyncFn(Method, &str, Body) -> Response<Body> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/files", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().nest("/files", api)).into_future());
    let config = testing::development_config("http://localhost:3000").resource(Resource::new("files", &url));
    let auth = OidcLayer::per_user(config, MemoryStore::new()).unwrap();
    let issuer = "http://localhost:3000/auth/development";
    let cookie = testing::start_session_with_tokens(&auth, issuer, "ann", Map::new(), "anns-token", "refresh");
    let cookie = cookie.await.unwrap();
    let call = async move |tokens: UserTokens, method: Method, Path(path): Path<String>, body: Body| {
        pass(url.clone(), tokens, method, &path, body).await
    };
    let app = Router::new().route("/pass/{path}", get(call.clone()).post(call)).layer(auth);
    async move |method, path: &str, body| {
        let request = Request::builder().method(method).uri(format!("http://localhost:3000/pass/{path}"));
        let request = request.header("cookie", &cookie).header("sec-fetch-site", "same-origin");
        app.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }
}

/// The API makes the second part after a browser has the first.
#[tokio::test]
async fn a_response_flows_while_the_api_makes_it() {
    let (made, body) = parts();
    let body = Arc::new(Mutex::new(Some(Body::new(body))));
    let ask = application(Router::new().route("/news", get(async move || body.lock().unwrap().take().unwrap()))).await;
    made.send(Ok("first")).unwrap();
    let response = ask(Method::GET, "news", Body::empty()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut received = response.into_body();
    assert_eq!(next(&mut received).await.as_deref(), Some("first"));
    made.send(Ok("second")).unwrap();
    assert_eq!(next(&mut received).await.as_deref(), Some("second"));
    // What breaks in the middle is not taken for the whole.
    made.send(Err("lost")).unwrap();
    assert!(received.frame().await.unwrap().is_err());
}

/// A browser makes the second part after the API has the first. The API has the user's token.
#[tokio::test]
async fn a_request_flows_while_it_is_made() {
    let (made, body) = parts();
    let second = Arc::new(Mutex::new(Some(made.clone())));
    let receive = async move |headers: http::HeaderMap, mut body: Body| {
        assert_eq!(headers["authorization"], "Bearer anns-token");
        let first = next(&mut body).await.unwrap();
        // The last sender: the body ends after it.
        second.lock().unwrap().take().expect("one call").send(Ok("second")).unwrap();
        format!("{first}, {}, {:?}", next(&mut body).await.unwrap(), next(&mut body).await)
    };
    let api = Router::new().route("/all", post(receive));
    let ask = application(api).await;
    made.send(Ok("first")).unwrap();
    drop(made);
    let response = ask(Method::POST, "all", Body::new(body)).await;
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, "first, second, None");
}

/// Bytes are sent again where HTTP wants it, and the same as a stream are not.
#[tokio::test]
async fn a_stream_is_sent_once() {
    let world = World::new();
    let call = async |tokens: UserTokens, method: Method, Path((kind, path)): Path<(String, String)>, body: String| {
        let method = if kind == "head" { Method::HEAD } else { method };
        let body = if kind == "bytes" { ApiBody::from(body) } else { ApiBody::stream(Body::from(body)) };
        let request = tokens.client().request(method, &format!("{API}/cal/{path}")).body(body);
        request.send().await.map(|answer| answer.status())
    };
    world.serve(routes().route("/call/{kind}/{path}", post(call)));
    let alice = world.signed_in("alice").await;
    for (kind, status, expected, calls) in [
        ("bytes", 401, 200, vec!["POST body", "POST body"]),
        ("stream", 401, 401, vec!["POST body"]),
        ("bytes", 307, 200, vec!["POST body", "POST body"]),
        ("stream", 307, 307, vec!["POST body"]),
        ("bytes", 303, 200, vec!["POST body", "GET "]),
        ("stream", 303, 200, vec!["POST body", "GET "]),
        // HEAD stays HEAD, and would bring its body along.
        ("head", 303, 303, vec!["HEAD body"]),
    ] {
        world.api.behave();
        world.api.forget();
        match status {
            401 => world.api.refuse("/cal/x", 1, "Bearer"),
            _ => world.api.redirect("/cal/x", status, "/cal/y"),
        }
        // A token that was refused is not renewed again at once.
        world.clock.advance(Duration::from_secs(61));
        let refreshes = world.op.refreshes().len();
        let page = alice.fetch(Method::POST, &format!("{APP}/call/{kind}/x"), "body", APP).await;
        let seen: Vec<_> = world
            .api
            .requests()
            .iter()
            .map(|seen| format!("{} {}", seen.method, String::from_utf8_lossy(&seen.body)))
            .collect();
        assert_eq!(
            (page.status.as_u16(), seen),
            (expected, calls.into_iter().map(str::to_owned).collect()),
            "{kind} {status}"
        );
        // The next call has a new token, also after a stream that was refused.
        assert_eq!(world.op.refreshes().len() - refreshes, usize::from(status == 401), "{kind} {status}");
    }
}

/// A client of the application's own gets requests whole, and may answer with a stream.
#[tokio::test]
async fn a_client_of_its_own_answers_with_a_stream() {
    let (made, body) = parts();
    let body = Arc::new(Mutex::new(Some(Body::new(body))));
    let answer = service_fn(move |request: Request<Bytes>| {
        let body = match request.body().len() {
            3 => body.lock().unwrap().take().unwrap(),
            length => Body::from(length.to_string()),
        };
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let layer = testing::as_user("ann").token(API, "anns-token").config(|config| config.http_client(answer));
    let call = async |tokens: UserTokens, method: Method, Path(path): Path<String>, body: Body| {
        pass(API.to_owned(), tokens, method, &path, body).await
    };
    let app = Router::new().route("/pass/{path}", post(call)).layer(layer);
    let ask =
        async |path: &str, body: Body| app.clone().oneshot(Request::post(path).body(body).unwrap()).await.unwrap();

    made.send(Ok("first")).unwrap();
    let mut received = ask("/pass/x", Body::from("abc")).await.into_body();
    assert_eq!(next(&mut received).await.as_deref(), Some("first"));
    drop(made);
    assert_eq!(next(&mut received).await, None);

    const LIMIT: usize = 16 * 1024 * 1024;
    let mut received = ask("/pass/x", Body::from(vec![b'x'; LIMIT])).await.into_body();
    assert_eq!(next(&mut received).await, Some(LIMIT.to_string()));
    let refused = ask("/pass/x", Body::from(vec![b'x'; LIMIT + 1])).await;
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
}

/// A body of a client that has a fault.
struct Breaks;

impl http_body::Body for Breaks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("a fault of the client")
    }
}

/// Where a response is read whole, neither a body that breaks nor one that panics is more than an error.
#[tokio::test]
async fn a_body_that_fails_is_an_error() {
    for (kind, expected) in
        [("whole", StatusCode::OK), ("breaks", StatusCode::BAD_GATEWAY), ("panics", StatusCode::BAD_GATEWAY)]
    {
        let answer = service_fn(move |_: Request<Bytes>| async move {
            let (made, body) = parts();
            made.send(Ok("first")).unwrap();
            if kind == "breaks" {
                made.send(Err("lost")).unwrap();
            }
            Ok::<_, Infallible>(Response::new(if kind == "panics" { Body::new(Breaks) } else { Body::new(body) }))
        });
        let layer = testing::as_user("ann").token(API, "anns-token").config(|config| config.http_client(answer));
        let read = async |tokens: UserTokens| tokens.client().get(API).await.map(|answer| answer.text().into_owned());
        let app = Router::new().route("/", get(read)).layer(layer);
        let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), expected, "{kind}");
    }
}

/// Thirty seconds are enough for bytes. A stream has the time that it takes, also where its response is read whole.
#[tokio::test(start_paused = true)]
async fn a_stream_takes_as_long_as_it_is_made() {
    async fn slowly(parts: u8) -> Option<(Result<Bytes, Infallible>, u8)> {
        tokio::time::sleep(Duration::from_secs(20)).await;
        parts.checked_sub(1).map(|left| (Ok(Bytes::from_static(b"x")), left))
    }
    let answer = service_fn(async |request: Request<Bytes>| {
        if request.body().is_empty() {
            tokio::time::sleep(Duration::from_secs(40)).await;
        }
        Ok::<_, Infallible>(Response::new(request.body().len().to_string()))
    });
    let layer = testing::as_user("ann").token(API, "anns-token").config(|config| config.http_client(answer));
    let send = async |tokens: UserTokens, Path(kind): Path<String>| {
        let request = tokens.client().request(Method::POST, API);
        let made = Body::from_stream(stream::unfold(3, slowly));
        let request = if kind == "stream" { request.body(ApiBody::stream(made)) } else { request };
        request.send().await.map(|answer| answer.text().into_owned())
    };
    let app = Router::new().route("/{kind}", get(send)).layer(layer);
    for (kind, expected) in [("stream", StatusCode::OK), ("bytes", StatusCode::BAD_GATEWAY)] {
        let request = Request::get(format!("/{kind}")).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{kind}");
    }
}
