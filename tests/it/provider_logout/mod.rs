//! A logout at the provider reaches the session: in each mode, by `sub` and by `sid`, by the back and the front channel.

mod without_exp;

use tower_oidc::{Account, Config};

use crate::single_user::app::start;
use crate::support::app::{APP, App, World, routes};
use crate::support::provider::CLIENT_ID;
use crate::support::provider::jwt::Draft;

/// Where an application keeps its sessions, and whose tokens it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    PerUser,
    /// Processes meet at the store of the test.
    Stateless,
    SingleUser,
}

const MODES: [Mode; 3] = [Mode::PerUser, Mode::Stateless, Mode::SingleUser];

impl Mode {
    fn world(self, edit: impl FnOnce(Config) -> Config) -> World {
        let world = World::new();
        let app = self.app(&world, edit);
        World { app, ..world }
    }

    /// One process over the store of this world, served in the place of the one that was there.
    fn app(self, world: &World, edit: impl FnOnce(Config) -> Config) -> App {
        let store = world.app.store.clone();
        match self {
            Self::PerUser => world.another(edit),
            Self::Stateless => {
                let app = App::stateless_at(&world.net, &world.clock, store.clone(), store, edit);
                world.net.serve_service(APP, app.layer.layer(routes()));
                app
            }
            Self::SingleUser => {
                let app = start(world, Account::client_credentials(), store.clone(), edit);
                App { store, ..app }
            }
        }
    }
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
