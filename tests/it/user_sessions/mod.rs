//! The sessions of one user: listed and ended by the user and by an administrator, in each mode and process, and never
//! anybody else's.

mod by_administrator;
mod ended;
mod most;
mod own;
mod stateless;

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::Method;
use serde_json::Value;
use tower_oidc::store::Store;
use tower_oidc::{AuthSession, Config, Error, SharedAccount};

use crate::single_user::app::start;
use crate::support::app::{APP, App, World, routes};
use crate::support::browser::{Browser, Page};

/// Where a second process is reached. It believes in `APP`, as a replica does.
const TWO: &str = "https://two.test";

/// `/sessions` lists, POST to `/sessions/end/{id}`, `/sessions/end-others` and `/sessions/end-all` ends.
fn with_sessions() -> Router {
    let list = |auth: AuthSession| async move { Ok::<_, Error>(Json(auth.sessions().await?)) };
    let end =
        |auth: AuthSession, Path(id): Path<String>| async move { Ok::<_, Error>(Json(auth.end_session(&id).await?)) };
    let others = |auth: AuthSession| async move { Ok::<_, Error>(Json(auth.end_other_sessions().await?)) };
    let all = |auth: AuthSession| async move { Ok::<_, Error>(Json(auth.end_all_sessions().await?)) };
    routes()
        .route("/sessions", get(list))
        .route("/sessions/end/{id}", post(end))
        .route("/sessions/end-others", post(others))
        .route("/sessions/end-all", post(all))
}

/// Where sessions are kept in a store: users' own tokens, or one account's for everybody.
fn worlds(edit: impl Fn(Config) -> Config) -> [World; 2] {
    let of_account = World::new();
    let store = of_account.app.store.clone();
    let app = start(&of_account, SharedAccount::client_credentials(), store.clone(), &edit);
    let worlds = [World::with(&edit), World { app: App { store, ..app }, ..of_account }];
    worlds.iter().for_each(|world| world.serve(with_sessions()));
    worlds
}

impl World {
    /// A second process, over this store.
    fn second(&self, store: impl Store, edit: impl FnOnce(Config) -> Config) -> App {
        let app = App::over(&self.net, &self.clock, store, self.app.store.clone(), edit);
        self.net.serve_service(TWO, app.layer.layer(with_sessions()));
        app
    }

    /// What a process says of a browser, whatever the browser shows.
    async fn is_in_at(&self, origin: &str, browser: &Browser) -> bool {
        let answer = self.ask(origin, browser, "/who").await.unwrap();
        assert_eq!(answer.status(), 200);
        !serde_json::from_slice::<Value>(answer.body()).unwrap()["sub"].is_null()
    }

    /// The database tells what it has to, and everything goes on that can.
    async fn told(&self) {
        self.app.store.told().await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

async fn listed(browser: &Browser) -> Vec<Value> {
    let page = browser.navigate(&format!("{APP}/sessions")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let Value::Array(sessions) = page.json() else { panic!("{}", page.text()) };
    sessions
}

async fn act(browser: &Browser, what: &str) -> Page {
    browser.fetch(Method::POST, &format!("{APP}/sessions/{what}"), "", APP).await
}

fn id(session: &Value) -> String {
    session["id"].as_str().unwrap().to_owned()
}
