//! A Keycloak of one's own: one server for the whole test run, on an ephemeral port, and a realm for each test.
//!
//! It has the two names that a provider among containers has: browsers know it as `localhost`, and whoever asks it at
//! `127.0.0.1` is told to call it there (`hostname-backchannel-dynamic`).

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use url::Url;

use super::http::{FORM, Page, send};
use super::keeper::Keeper;
use super::process::{free_port, requirement};

/// `$1`: Keycloak's folder, `$2`: the port. With the quick compiler alone it starts in half the time, and it never lives
/// long. Its script hands TERM on to the server, and nothing else.
const KEEPER: &str = r#"
umask 077
data=$(mktemp -d "$1/run.XXXXXX") || exit 1
export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin
export KC_DB_URL="jdbc:h2:file:$data/db;NON_KEYWORDS=VALUE" JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1
begin() {
  "$1/bin/kc.sh" start-dev --http-host=127.0.0.1 --http-port="$2" \
    --hostname="http://localhost:$2" --hostname-backchannel-dynamic=true >"$data/log" 2>&1 </dev/null &
  server=$!
  until grep -q 'Listening on' "$data/log"; do
    kill -0 $server 2>/dev/null || { cat "$data/log" >&2; return 1; }
    sleep 0.1
  done
}
end() { [ -z "$server" ] || { kill $server; wait $server; server=; }; } 2>/dev/null
while read -r command; do
  case $command in
    start) begin "$1" "$2" && echo done || echo failed ;;
    stop) end; echo done ;;
  esac
done
end
rm -rf "$data"
"#;

/// The server, while a test uses it.
pub struct Keycloak {
    server: &'static Server,
    in_use: Option<RwLockReadGuard<'static, ()>>,
}

struct Server {
    port: u16,
    keeper: Keeper,
    realms: AtomicU32,
}

/// Who uses the server. Who stops it waits until nobody else does.
static IN_USE: RwLock<()> = RwLock::const_new(());

impl Keycloak {
    /// The server of this test run, started by whoever asks first; `None` and a visible line where `tests/run.sh` has
    /// not installed it.
    pub async fn shared() -> Option<Self> {
        static SHARED: OnceLock<Server> = OnceLock::new();
        let home = requirement("TOWER_OIDC_KEYCLOAK", "Keycloak (the part keycloak)")?;
        let server = SHARED.get_or_init(|| {
            let port = free_port();
            let mut shell = Command::new("sh");
            shell.args(["-c", KEEPER, "keycloak", &home, &port.to_string()]);
            Server { port, keeper: Keeper::start("Keycloak", &mut shell), realms: AtomicU32::new(0) }
        });
        Some(Self { server, in_use: Some(IN_USE.read().await) })
    }

    /// Imports a realm for an application at `app_url`: `template` with `REALM` and `APP_URL` in their places, edited.
    pub async fn realm(&self, template: &str, app_url: &str, edit: impl FnOnce(&mut Value)) -> Realm {
        let name = format!("realm-{}", self.server.realms.fetch_add(1, Ordering::Relaxed));
        let text = template.replace("REALM", &name).replace("APP_URL", app_url);
        let mut template = serde_json::from_str(&text).expect("JSON");
        edit(&mut template);
        let port = self.server.port;
        let realm = Realm {
            issuer: format!("http://localhost:{port}/realms/{name}"),
            internal_url: format!("http://127.0.0.1:{port}/realms/{name}"),
            admin_url: format!("http://127.0.0.1:{port}/admin/realms/{name}"),
        };
        let realms = format!("http://127.0.0.1:{port}/admin/realms");
        realm.administer(Method::POST, &realms, Some(template)).await;
        realm
    }

    /// Stops the server once no other test uses it, and starts it again after `work`.
    pub async fn while_stopped<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.in_use = None;
        let alone = IN_USE.write().await;
        self.server.keeper.tell("stop");
        let result = work.await;
        self.server.keeper.tell("start");
        self.in_use = Some(RwLockWriteGuard::downgrade(alone));
        result
    }
}

/// A realm, with its administration.
pub struct Realm {
    pub issuer: String,
    /// Its URL for who is beside it.
    pub internal_url: String,
    admin_url: String,
}

impl Realm {
    /// What the administration says at this path below the realm's.
    pub async fn get(&self, path: &str) -> Value {
        self.administer(Method::GET, &self.at(path), None).await.json()
    }

    /// Makes something there, and returns its id.
    pub async fn create(&self, path: &str, what: Value) -> String {
        let page = self.post(path, what).await;
        let location = page.headers["location"].to_str().expect("a URL");
        location.rsplit('/').next().expect("an id").to_owned()
    }

    pub async fn post(&self, path: &str, what: Value) -> Page {
        self.administer(Method::POST, &self.at(path), Some(what)).await
    }

    pub async fn put(&self, path: &str, what: Value) {
        self.administer(Method::PUT, &self.at(path), Some(what)).await;
    }

    pub async fn delete(&self, path: &str) {
        self.administer(Method::DELETE, &self.at(path), None).await;
    }

    /// The id of the client with this name.
    pub async fn client(&self, name: &str) -> String {
        id_of(&self.get(&format!("/clients?clientId={name}")).await)
    }

    /// The id of the user with this name: the subject.
    pub async fn user(&self, name: &str) -> String {
        id_of(&self.get(&format!("/users?exact=true&username={name}")).await)
    }

    /// What happened of one type, the newest first.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        serde_json::from_value(self.get(&format!("/events?max=1000&type={kind}")).await).expect("a list")
    }

    /// Everything that it refused, a refresh token that came twice included.
    pub async fn complaints(&self) -> Vec<Value> {
        let mut events: Vec<Value> = serde_json::from_value(self.get("/events?max=1000").await).expect("a list");
        events.retain(|event| event["error"].is_string());
        events
    }

    /// The answer of the token endpoint.
    pub async fn token(&self, form: &[(&str, &str)]) -> Value {
        let url = format!("{}/protocol/openid-connect/token", self.issuer);
        post_form(&url, form).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.admin_url)
    }

    async fn administer(&self, method: Method, url: &str, body: Option<Value>) -> Page {
        let (origin, _) = url.split_once("/admin/").expect("an address of the administration");
        let form =
            [("grant_type", "password"), ("client_id", "admin-cli"), ("username", "admin"), ("password", "admin")];
        let token = post_form(&format!("{origin}/realms/master/protocol/openid-connect/token"), &form).await;
        let token = token["access_token"].as_str().unwrap_or_else(|| panic!("{token}"));
        let asked = format!("{method} {url}");
        let request = Request::builder().method(method).header(AUTHORIZATION, format!("Bearer {token}"));
        let request = request.header(CONTENT_TYPE, "application/json");
        let body = body.map_or_else(String::new, |body| body.to_string());
        let page = send(Url::parse(url).expect("a URL"), request, body).await;
        let page = page.unwrap_or_else(|error| panic!("{asked}: {error}"));
        assert!(page.status.is_success(), "{asked}: {page:?}");
        page
    }
}

async fn post_form(url: &str, form: &[(&str, &str)]) -> Value {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, FORM);
    let page = send(Url::parse(url).expect("a URL"), request, body).await;
    page.unwrap_or_else(|error| panic!("POST {url}: {error}")).json()
}

fn id_of(found: &Value) -> String {
    found[0]["id"].as_str().unwrap_or_else(|| panic!("it is not there: {found}")).to_owned()
}

/// A mapper for tokens, of a client or a client scope.
pub fn mapper(name: &str, kind: &str, config: Value) -> Value {
    json!({ "name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config })
}
