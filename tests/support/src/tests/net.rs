use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower::ServiceExt;

use crate::fault::{Fault, Gate};
use crate::net::{BoxError, Net, answer};

async fn get(net: &Net, url: &str) -> Result<Response<Bytes>, BoxError> {
    net.client().oneshot(Request::get(url).body(Bytes::new()).unwrap()).await
}

fn world() -> Net {
    let net = Net::new();
    net.serve("https://op.test", |request| async move { answer(200, request.uri().to_string()) });
    net.serve("https://op.test/tenant", |_| async { answer(200, "tenant") });
    net
}

#[tokio::test]
async fn origins_and_paths_have_servers() {
    let net = world();
    let body = async |url: &str| get(&net, url).await.unwrap().into_body();
    assert_eq!(body("https://op.test/a?b").await, "/a?b", "the target is in origin form");
    assert_eq!(body("https://user@OP.test:443/").await, "/");
    assert_eq!(body("https://op.test/tenant/x").await, "tenant");
    assert_eq!(body("https://op.test/tenants").await, "/tenants");
    for elsewhere in ["http://op.test/", "https://op.test:8443/", "https://evil.test/", "https://op.test@evil.test/"] {
        assert!(get(&net, elsewhere).await.is_err(), "{elsewhere}");
    }
    assert_eq!(net.requests("https://op.test").len(), 4);
    assert_eq!(net.requests_to("https://op.test", "/a")[0].header("host"), Some("op.test"));
    assert_eq!(net.count("https://evil.test", "/"), 2);
}

#[tokio::test]
async fn a_router_can_be_served() {
    let net = Net::new();
    net.serve_service("https://app.test", axum::Router::new().route("/", axum::routing::get(|| async { "hello" })));
    assert_eq!(get(&net, "https://app.test/").await.unwrap().into_body(), "hello");
    assert_eq!(get(&net, "https://app.test/x").await.unwrap().status(), 404);
}

#[tokio::test]
async fn faults_break_their_paths_as_often_as_they_were_told() {
    let net = world();
    net.fault("https://op.test", "/token", Fault::Status(503).times(2));
    net.fault("https://op.test", "/token", Fault::Refuse.once());
    assert!(get(&net, "https://op.test/token").await.is_err());
    assert_eq!(get(&net, "https://op.test/token").await.unwrap().status(), 503);
    assert_eq!(get(&net, "https://op.test/jwks").await.unwrap().status(), 200);
    assert_eq!(get(&net, "https://op.test/token").await.unwrap().status(), 503);
    assert_eq!(get(&net, "https://op.test/token").await.unwrap().status(), 200);
    net.fault("https://op.test", "/", Fault::DropAnswer);
    assert!(get(&net, "https://op.test/").await.is_err());
    assert!(net.requests("https://op.test").last().unwrap().answer.is_none());
    net.heal("https://op.test");
    assert!(get(&net, "https://op.test/").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn slow_and_hanging_answers() {
    let net = world();
    net.fault("https://op.test", "/slow", Fault::Slow(Duration::from_secs(9)));
    net.fault("https://op.test", "/hang", Fault::Hang);
    let limit = Duration::from_secs(10);
    assert!(tokio::time::timeout(limit, get(&net, "https://op.test/slow")).await.is_ok());
    assert!(tokio::time::timeout(limit, get(&net, "https://op.test/hang")).await.is_err());
}

#[tokio::test]
async fn gates_order_calls() {
    let net = world();
    let gate = Gate::new();
    net.fault("https://op.test", "/", Fault::Gate(gate.clone()));
    let calls: Vec<_> = (0..3)
        .map(|n| {
            let net = net.clone();
            tokio::spawn(async move { get(&net, &format!("https://op.test/{n}")).await.map(Response::into_body) })
        })
        .collect();
    gate.wait_for_arrivals(3).await;
    assert_eq!((gate.arrived(), gate.waiting()), (3, 3));
    calls[0].abort();
    gate.pass_one();
    let mut done = 0;
    while done == 0 {
        tokio::task::yield_now().await;
        done = calls[1..].iter().filter(|call| call.is_finished()).count();
    }
    assert_eq!((done, gate.waiting()), (1, 1), "one passed, one hung up, one waits");
    gate.open();
    for call in calls.into_iter().skip(1) {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_server_finishes_what_a_caller_abandoned() {
    let net = Net::new();
    let done = Gate::new();
    let finished = done.clone();
    net.serve("https://op.test", move |_| {
        let finished = finished.clone();
        async move {
            tokio::task::yield_now().await;
            finished.open();
            answer(200, "done")
        }
    });
    let caller = {
        let net = net.clone();
        tokio::spawn(async move { get(&net, "https://op.test/").await.map(drop) })
    };
    while net.requests("https://op.test").is_empty() {
        tokio::task::yield_now().await;
    }
    caller.abort();
    tokio::time::timeout(Duration::from_secs(5), done.wait_until_open()).await.expect("the work is finished");
}
