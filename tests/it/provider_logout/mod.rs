//! A logout at the provider reaches the session: in each mode, by `sub` and by `sid`, by the back and the front channel.

mod index_key;
mod matching;
mod renewed;
mod revalidation;
mod without_exp;

use axum::routing::get;
use tower_oidc::store::Store;
use tower_oidc::{Config, CurrentUser, SharedAccount};

use crate::single_user::app::start;
use crate::support::app::{APP, App, World, routes};
use crate::support::provider::CLIENT_ID;
use crate::support::provider::jwt::Draft;

/// Where an application keeps its sessions, and whose tokens it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    PerUser,
    /// Processes meet at the store of the test.
    Stateless,
    SingleUser,
}

pub(crate) const MODES: [Mode; 3] = [Mode::PerUser, Mode::Stateless, Mode::SingleUser];

impl Mode {
    /// Stateless mode has none.
    fn with_front_channel(self, mut config: Config) -> Config {
        config.frontchannel_logout = self != Self::Stateless;
        config
    }

    pub(crate) fn world(self, edit: impl FnOnce(Config) -> Config) -> World {
        let world = World::new();
        let app = self.app(&world, edit);
        World { app, ..world }
    }

    /// One process over the store of this world, served in the place of the one that was there.
    fn app(self, world: &World, edit: impl FnOnce(Config) -> Config) -> App {
        self.app_over(world, world.app.store.clone(), edit)
    }

    /// The same over a store that stands before it.
    fn app_over(self, world: &World, before: impl Store, edit: impl FnOnce(Config) -> Config) -> App {
        let (net, clock, store) = (&world.net, &world.clock, world.app.store.clone());
        let app = match self {
            Self::PerUser => App::over(net, clock, before, store, edit),
            Self::Stateless => App::stateless_at(net, clock, before, store, edit),
            Self::SingleUser => App { store, ..start(world, SharedAccount::client_credentials(), before, edit) },
        };
        serve(world, &app);
        app
    }
}

/// Serves this process in the place of the one that was there: the scenarios' routes, and `/public-id`.
fn serve(world: &World, app: &App) {
    let pseudonym = |user: CurrentUser| async move { user.pseudonym("forum") };
    world.net.serve_service(APP, app.layer.layer(routes().route("/public-id", get(pseudonym))));
}

/// How a logout token names whom it signs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Sub,
    Sid,
    Both,
}

const NAMES: [Names; 3] = [Names::Sub, Names::Sid, Names::Both];

impl Names {
    /// A logout token for this person and this session at the provider.
    fn token(self, world: &World, user: &str, sid: &str, edit: impl Fn(&mut Draft)) -> String {
        world.op.logout_token(CLIENT_ID, user, Some(sid), |jwt| {
            match self {
                Self::Sub => jwt.without("sid"),
                Self::Sid => jwt.without("sub"),
                Self::Both => {}
            }
            edit(jwt);
        })
    }
}
