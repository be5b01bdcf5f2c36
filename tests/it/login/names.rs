//! An application under another name than its public URL's.

use tower_oidc::{EventCode, ProviderConfig};

use crate::support::app::{APP, App, OP, World, routes};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};
use crate::support::test_store::TestStore;

const PUBLIC: &str = "http://localhost:3000";
const OTHER: &str = "http://127.0.0.1:3000";

/// An application for this machine, at its public URL and at the address of that.
fn local() -> World {
    let world = World::new();
    let app = App::unserved(&world.net, &world.clock, TestStore::new(), |config| {
        config.public_url(PUBLIC).provider(ProviderConfig::new(OP, CLIENT_ID).client_secret(CLIENT_SECRET))
    });
    for name in [PUBLIC, OTHER] {
        world.net.serve_service(name, app.layer.layer(routes()));
    }
    world.op.sign_in_as("alice");
    World { app, ..world }
}

/// Where the login leads that is begun at a page of this name, and how often the layer was asked for it.
async fn led(world: &World, name: &str) -> (String, usize) {
    world.net.forget();
    let page = world.browser().visit(&format!("{name}/private")).await;
    assert_eq!((page.status.as_u16(), &page.json()["sub"]), (200, &"a1".into()), "{}", page.text());
    let asked = [PUBLIC, OTHER].map(|origin| world.net.count(origin, "/auth/login"));
    (page.url.to_string(), asked.iter().sum())
}

#[tokio::test]
async fn a_login_at_another_name_of_this_machine_is_led_to_the_public_one() {
    let world = local();
    assert_eq!(led(&world, OTHER).await, (format!("{PUBLIC}/private"), 2));
    assert_eq!(led(&world, PUBLIC).await, (format!("{PUBLIC}/private"), 1));
}

/// The browser is at the public URL, and a proxy says otherwise.
#[tokio::test]
async fn a_proxy_that_changes_the_name_makes_no_loop() {
    let world = local();
    let net = world.net.clone();
    world.net.serve(PUBLIC, move |request| {
        let net = net.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            parts.headers.insert("host", http::HeaderValue::from_static("127.0.0.1:3000"));
            parts.uri = format!("{OTHER}{}", parts.uri).parse().unwrap();
            let request = http::Request::from_parts(parts, body);
            net.call(crate::support::net::Caller::Application, request).await.unwrap()
        }
    });
    // Each is counted at the proxy and behind it.
    assert_eq!(led(&world, PUBLIC).await, (format!("{PUBLIC}/private"), 4));
}

/// Elsewhere it may be a proxy's doing, and works. Where the login comes to nothing, the operator learns of both names.
#[tokio::test]
async fn the_event_of_a_lost_login_names_both_names() {
    let world = World::new();
    world.op.sign_in_as("alice");
    world.net.serve_service("https://alias.test", world.app.layer.layer(routes()));
    for (name, told) in [
        (
            "https://alias.test",
            "no pending login with this state: it is at http://alias.test/, and public_url is https://app.test/",
        ),
        (APP, "this browser has no pending login with this state"),
    ] {
        let page = world.browser().visit(&format!("{name}/auth/callback?code=c&state=s")).await;
        assert_eq!(page.status, 400);
        let events = world.app.events.all();
        let last = events.iter().rfind(|event| event.code == EventCode::LoginRefused).unwrap();
        assert!(last.detail.contains(told), "{last:?}");
    }
    let page = world.browser().visit("https://alias.test/auth/login?return_to=/who").await;
    assert_eq!(page.url.origin().ascii_serialization(), APP, "the login goes on: {}", page.text());
    assert_eq!(world.net.count("https://alias.test", "/auth/login"), 1);
}
