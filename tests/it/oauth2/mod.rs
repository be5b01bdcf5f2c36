//! Providers without OpenID Connect: who signed in is what their identity endpoint says, before anything is stored.

mod cluster;
mod demo;
mod login;
mod mix_up;
mod presets;
mod refresh;
mod shapes;

use serde_json::Value;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, Mode, OidcLayer, ProviderConfig, Resource, SharedAccount};

use crate::support::app::{API, APP, App, Events, World, config, routes};
use crate::support::browser::{Browser, Page};
use crate::support::oauth2::{OAuth2Provider, Shape};

/// Where GitHub's API is.
const HUB: &str = "https://api.github.com";

/// The world of the scenarios, whose one provider is of this shape.
struct Without {
    world: World,
    provider: OAuth2Provider,
}

/// A preset, registered.
fn preset(name: &str) -> ProviderConfig {
    registered(ProviderConfig::presets().remove(name).unwrap())
}

fn registered(mut provider: ProviderConfig) -> ProviderConfig {
    provider.client_id = "app".into();
    provider.client_secret("secret").resource(Resource::new("cal", format!("{API}/cal/")))
}

fn modes() -> [Mode; 3] {
    [Mode::PerUser, Mode::Stateless, Mode::SingleUser(SharedAccount::client_credentials())]
}

impl Without {
    fn github() -> Self {
        Self::of(Mode::PerUser, shapes::github(), preset("github"), |config| config)
    }

    fn of(mode: Mode, shape: Shape, provider: ProviderConfig, edit: impl FnOnce(Config) -> Config) -> Self {
        Self::with(shape, provider, |_| mode, edit)
    }

    /// A GitHub App, whose tokens at it are one account's.
    fn shared(account: impl FnOnce(&OAuth2Provider) -> SharedAccount) -> Self {
        let mode = |server: &OAuth2Provider| Mode::SingleUser(account(server));
        Self::with(shapes::github_app(), preset("github"), mode, |config| config)
    }

    fn with(
        shape: Shape, provider: ProviderConfig, mode: impl FnOnce(&OAuth2Provider) -> Mode,
        edit: impl FnOnce(Config) -> Config,
    ) -> Self {
        let world = World::new();
        let server = OAuth2Provider::start(&world.net, &world.clock, shape);
        let mode = mode(&server);
        let (events, store) = (Events::default(), MemoryStore::new());
        let config = edit(config(&world.net, &world.clock).provider(provider));
        let layer = OidcLayer::from_config(config.on_event(events.hook()).mode(mode), store.clone());
        let layer = layer.unwrap_or_else(|error| panic!("{error}"));
        world.net.serve_service(APP, layer.layer(routes()));
        let app = App { layer, store: store.into(), events };
        Self { world: World { app, ..world }, provider: server }
    }

    /// Somebody tries to sign in with a browser of their own.
    async fn attempt(&self, user: &str) -> (Browser, Page) {
        self.provider.sign_in_as(user);
        let browser = self.world.browser();
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        (browser, page)
    }

    async fn signed_in(&self, user: &str) -> Browser {
        let (browser, page) = self.attempt(user).await;
        assert!(page.status == 200 && page.json()["sub"].is_string(), "{user}: {}", page.text());
        browser
    }

    /// The attempt fails so, and leaves nobody and nothing behind.
    async fn refused(&self, what: &str, status: u16) {
        let rows = self.world.app.store.len();
        let (browser, page) = self.attempt("alice").await;
        assert_eq!(page.status.as_u16(), status, "{what}: {}", page.text());
        assert_eq!(self.world.who(&browser).await, Value::Null, "{what}");
        assert!(self.world.app.store.len() <= rows.max(1) + 1, "{what}: something was stored");
        assert_eq!(self.world.net.requests(API).len(), 0, "{what}");
    }

    fn last_refusal(&self) -> String {
        let events = self.world.app.events.all();
        let refusal = events.iter().rfind(|event| event.code == tower_oidc::EventCode::LoginRefused);
        refusal.map(|event| event.detail.clone()).unwrap_or_default()
    }
}
