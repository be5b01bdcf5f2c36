//! One refresh for one grant and one expiry.
//!
//! What does not apply: tokens live on the server, so that no response of a refresh sets a cookie (that none is set is
//! asserted here); there is no DPoP, and no nonce of it. That a retry never refreshes twice is in `api_client`.

mod away;
mod cancellation;
mod clock;
mod cluster;
mod crowd;
mod expiring_together;
mod model;
mod outcomes;
mod processes;
mod refusals;
mod stop;
pub(crate) mod store;
mod together;
mod workers;
mod writing;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, COOKIE};
use http::{HeaderValue, Request, Response};
use tower_oidc::store::Store;
use tower_oidc::{Config, OidcLayer};

use crate::support::app::{APP, App, Events, OP, World, config, routes};
use crate::support::browser::Browser;
use crate::support::fault::Gate;
use crate::support::net::{BoxError, Caller};

/// Where a second process of the application is reached. It believes in `APP`, as a replica does.
const REPLICA: &str = "https://replica.test";

const HOUR: Duration = Duration::from_secs(3600);
/// After a failure that passes, a grant's provider is left alone for one second.
const PAUSE: Duration = Duration::from_millis(1001);
/// Longer than any lease.
const LEASE: Duration = Duration::from_secs(46);

/// A request that is under way.
type Asking = tokio::task::JoinHandle<Result<Response<Bytes>, BoxError>>;

impl World {
    /// A request of a script in this browser, to any replica.
    pub(crate) fn ask(
        &self, origin: &str, browser: &Browser, path: &str,
    ) -> impl Future<Output = Result<Response<Bytes>, BoxError>> + use<> {
        let cookies = browser.cookies_for(APP);
        let cookies: Vec<_> = cookies.iter().map(|c| format!("{}={}", c.name, c.value)).collect();
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = format!("{origin}{path}").parse().unwrap();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(COOKIE, cookies.join("; ").parse().unwrap());
        let net = self.net.clone();
        async move { net.call(Caller::Browser, request).await }
    }

    /// What `/tok` says to a script: the status, and the token or the problem.
    pub(crate) async fn tok_at(&self, origin: &str, browser: &Browser) -> (u16, String) {
        let answer = self.ask(origin, browser, "/tok").await.unwrap();
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    pub(crate) async fn tok(&self, browser: &Browser) -> (u16, String) {
        self.tok_at(APP, browser).await
    }

    /// A token, which works and is this person's.
    pub(crate) async fn token_of(&self, browser: &Browser, name: &str) -> String {
        let (status, token) = self.tok(browser).await;
        assert_eq!(status, 200, "{token}");
        let issued = self.op.issued(&token).unwrap_or_else(|| panic!("nobody issued {token}"));
        assert_eq!((issued.owner.as_str(), issued.live), (name, true));
        token
    }

    /// `n` scripts of this browser ask for a token at once.
    async fn crowd(&self, browser: &Browser, n: usize) -> Vec<(u16, String)> {
        let asked: Vec<_> = (0..n).map(|_| tokio::spawn(self.ask(APP, browser, "/tok"))).collect();
        let mut answers = Vec::new();
        for answer in asked {
            let answer = answer.await.unwrap().unwrap();
            answers.push((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()));
        }
        answers
    }

    /// Until a process waits for what another one writes.
    async fn somebody_waits(&self) {
        while self.app.store.waits() == 0 {
            settle().await;
        }
    }

    /// In the background.
    fn asking(&self, origin: &str, browser: &Browser) -> Asking {
        tokio::spawn(self.ask(origin, browser, "/tok"))
    }

    /// The application, over a store of the test's own.
    fn serve_over(&mut self, store: impl Store, edit: impl FnOnce(Config) -> Config) {
        let (layer, events) = self.layer_over(store, edit);
        self.net.serve_service(APP, layer.layer(routes()));
        (self.app.layer, self.app.events) = (layer, events);
    }

    fn layer_over(&self, store: impl Store, edit: impl FnOnce(Config) -> Config) -> (OidcLayer, Events) {
        let events = Events::default();
        let heard = events.clone();
        let config = edit(config(&self.net, &self.clock)).on_event(move |event| heard.push(event));
        (OidcLayer::per_user(config, store).unwrap(), events)
    }

    /// A second process over the same store, at [`REPLICA`].
    fn replica(&self) -> App {
        let replica = App::unserved(&self.net, &self.clock, self.app.store.clone(), |config| config);
        self.net.serve_service(REPLICA, replica.layer.layer(routes()));
        replica
    }

    /// A process that asks for a token for this browser and dies while its request stands at the gate.
    fn dies_at(&self, gate: &Gate, browser: &Browser) {
        self.replica();
        let (gate, asking) = (gate.clone(), self.ask(REPLICA, browser, "/tok"));
        let process = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::spawn(asking);
                gate.wait_for_arrivals(1).await;
            });
        });
        process.join().unwrap();
        self.net.heal(OP);
    }

    /// Holds every call to the token endpoint before it reaches the provider.
    fn gate(&self) -> Gate {
        let gate = Gate::new();
        self.net.fault(OP, "/token", crate::support::fault::Fault::Gate(gate.clone()));
        gate
    }

    /// Holds every answer of the token endpoint after the provider did its work.
    fn gate_answers(&self) -> Gate {
        let gate = Gate::new();
        self.net.fault(OP, "/token", crate::support::fault::Fault::GateAnswer(gate.clone()));
        gate
    }
}

/// A world in which alice is signed in, and her token is over.
async fn expired() -> (World, Browser) {
    expired_in(World::new()).await
}

async fn expired_in(world: World) -> (World, Browser) {
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    (world, alice)
}

/// Lets everything that can go on, go on.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn code(problem: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(problem).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}
