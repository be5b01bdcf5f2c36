//! The demo as a process, told to stop in the middle of refreshes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::Request;
use http::Uri;
use http_body_util::BodyExt;
use tokio::net::TcpListener;

use super::{Gate, settle};
use crate::support::fault::Fault;
use crate::support::http::Client;
use crate::support::net::{Caller, Net};
use crate::support::process::{Demo, app_url, eventually, free_port};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};

const PEOPLE: usize = 100;

/// The provider of the test's network, on a socket.
async fn provider() -> (Net, LyingProvider) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let net = Net::new();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let op = LyingProvider::with_clock(&net, &issuer, Arc::new(now));
    let (served, origin) = (net.clone(), issuer);
    let bridge = move |request: Request| {
        let (net, origin) = (served.clone(), origin.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            parts.uri = format!("{origin}{}", parts.uri).parse::<Uri>().unwrap();
            let body = body.collect().await.unwrap().to_bytes();
            let answer = net.call(Caller::Application, http::Request::from_parts(parts, body)).await.unwrap();
            answer.map(axum::body::Body::from)
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(bridge)).await });
    (net, op)
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_writes_what_it_is_refreshing_and_ends_well() {
    let (net, op) = provider().await;
    op.sign_in_as("alice");
    // Over when they come, so that nobody has to wait for time to pass.
    op.set(|op| op.access_token_lifetime = 0);
    let port = free_port();
    let env = [
        ("OIDC_ISSUER", op.issuer()),
        ("OIDC_CLIENT_ID", CLIENT_ID),
        ("OIDC_CLIENT_SECRET", CLIENT_SECRET),
        ("PUBLIC_URL", &app_url(port)),
        // A hundred at once say a lot at `trace`, and are to reach the provider in time.
        ("RUST_LOG", "tower_oidc=info"),
    ];
    let mut demo = Demo::start_at(port, &env).await;
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        let mut alice = Client::new();
        assert_eq!(alice.visit(&demo.at("/auth/login?return_to=/private")).await.status, 200);
        people.push(alice);
    }
    op.set(|op| op.access_token_lifetime = 3600);
    let gate = Gate::new();
    net.fault(op.issuer(), "/token", Fault::GateAnswer(gate.clone()));
    let url = demo.at("/api");
    let calls: Vec<_> = people
        .into_iter()
        .map(|mut alice| {
            let url = url.clone();
            tokio::spawn(async move { alice.try_get(&url).await })
        })
        .collect();
    gate.wait_for_arrivals(PEOPLE).await;
    // Half of the clients are not even there any more.
    calls.iter().step_by(2).for_each(|call| call.abort());
    demo.terminate();
    settle().await;
    assert!(demo.is_running(), "{}", demo.output());
    gate.open();
    assert_eq!(demo.ended().await, Some(0), "{}", demo.output());
    let told = "a refresh.succeeded for each";
    eventually(told, Duration::from_secs(5), async || {
        (demo.output().matches("refresh.succeeded").count() == PEOPLE).then_some(())
    })
    .await;
    assert_eq!((op.refreshes().len(), op.reuse_detected()), (PEOPLE, 0));
}
