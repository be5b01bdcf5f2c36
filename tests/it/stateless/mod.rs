//! Stateless mode: what cookies hold, and one refresh for one grant where the browser carries it.

mod belief;
mod config;
mod fire;
mod integrity;
mod logout;
mod person;
mod processes;
mod replaced;
mod room;
mod tokens;

use std::time::Duration;

use tower_oidc::store::MemoryStore;

use crate::support::app::{APP, App, SESSION, World, routes};
use crate::support::browser::Browser;
use crate::support::cookies::Cookie;

const HOUR: Duration = Duration::from_secs(3600);

/// The browser's cookies of ours whose names say this.
pub(crate) fn cookies_of(browser: &Browser, kind: &str) -> Vec<Cookie> {
    let prefix = format!("__Host-tower-oidc-{kind}");
    browser.cookies().into_iter().filter(|cookie| cookie.name.starts_with(&prefix)).collect()
}

/// Two processes that meet at one store; the second is reached at [`REPLICA`](super::refresh::REPLICA).
fn two_processes() -> (World, App) {
    let world = World::new();
    let meeting = MemoryStore::new();
    let start = || App::stateless_at(&world.net, &world.clock, meeting.clone(), meeting.clone(), |config| config);
    let (first, second) = (start(), start());
    world.net.serve_service(APP, first.layer.layer(routes()));
    world.net.serve_service(REPLICA, second.layer.layer(routes()));
    (World { app: first, ..world }, second)
}

/// Where a second process of the application is reached. It believes in `APP`, as a replica does.
const REPLICA: &str = "https://replica.test";

/// A session as [`World::who_is`] sends it, with the claims that this browser shows beside it.
fn with_claims(session: &str, browser: &Browser) -> String {
    let claims = cookies_of(browser, "claims.");
    let claims = claims.iter().map(|cookie| format!("; {}={}", cookie.name, cookie.value));
    std::iter::once(session.to_owned()).chain(claims).collect()
}

fn session_cookie(browser: &Browser) -> String {
    browser.cookie(SESSION).unwrap_or_else(|| panic!("no session: {:?}", browser.cookies())).value
}

/// Everything goes on that can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
