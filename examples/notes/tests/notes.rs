//! The application, by requests: as a chosen user, and by whole logins at the development provider.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{COOKIE, LOCATION, SET_COOKIE};
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use notes::{Database, SCOPES, app, with_sign_up};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_oidc::dev_provider::{DevProvider, ScriptedLogin};
use tower_oidc::store::{MemoryStore, SqliteStore};
use tower_oidc::{Api, Config, OidcLayer, ProviderConfig, testing};

const APP: &str = "http://localhost:3000";

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 64 * 1024).await.unwrap().to_vec()).unwrap()
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path)
}

#[tokio::test]
async fn the_api_is_for_people_with_a_row() {
    let database = Database::in_memory().await.unwrap();
    let send = |app: Router, request: Request<Body>| async move { app.oneshot(request).await.unwrap() };
    let anonymous = app(database.clone()).layer(testing::as_anonymous());
    let list = || request(Method::GET, "/api/notes").body(Body::empty()).unwrap();
    assert_eq!(send(anonymous, list()).await.status(), StatusCode::UNAUTHORIZED);
    // Without a row of the login hook.
    let stranger = app(database).layer(testing::as_user("eve"));
    assert_eq!(send(stranger, list()).await.status(), StatusCode::FORBIDDEN);
}

/// A browser: it keeps cookies, follows redirects, and says that it is on a page of the application.
struct Browser {
    app: Router,
    cookies: Vec<(String, String)>,
}

impl Browser {
    async fn send(&mut self, method: Method, path: &str, site: &str, kind: &str, body: String) -> Response<Body> {
        let (mut method, mut path, mut body) = (method, path.to_owned(), body);
        loop {
            let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let request = request(method, &path)
                .header("accept", "text/html")
                .header("sec-fetch-site", site)
                .header("content-type", kind)
                .header(COOKIE, cookies.join("; "));
            let response = self.app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
            for set in response.headers().get_all(SET_COOKIE) {
                let pair = set.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                self.cookies.retain(|(known, _)| known != name);
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
            let Some(location) = response.headers().get(LOCATION) else { return response };
            let location = location.to_str().unwrap();
            (method, body) = (Method::GET, String::new());
            path = location.strip_prefix(APP).unwrap_or(location).to_owned();
        }
    }

    async fn look(&mut self, path: &str) -> (StatusCode, String) {
        let response = self.send(Method::GET, path, "none", "text/plain", String::new()).await;
        (response.status(), text(response).await)
    }

    async fn open(&mut self, path: &str) -> String {
        self.look(path).await.1
    }

    async fn post(&mut self, path: &str, form: &str) -> Response<Body> {
        let kind = "application/x-www-form-urlencoded";
        self.send(Method::POST, path, "same-origin", kind, form.to_owned()).await
    }

    async fn sign_in(app: &Router, provider: &DevProvider, email: &str) -> Self {
        provider.script(Some(ScriptedLogin::SignIn { email: email.to_owned(), admin: false }));
        let mut browser = Self { app: app.clone(), cookies: Vec::new() };
        let home = browser.open("/auth/login?return_to=/").await;
        assert!(home.contains("Sign out"), "{home}");
        browser
    }
}

#[tokio::test]
async fn people_sign_up_and_keep_notes_for_themselves() {
    let folder = std::env::temp_dir().join(format!("notes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // The layer's SQLite and the application's, in one process: this is what `rusqlite` and sqlx must agree on.
    let store = SqliteStore::open(folder.join("sessions.db")).unwrap();
    let database = Database::open(&folder.join("notes.db")).await.unwrap();
    let config = testing::development_config(APP).session_secrets(["a sealing secret of 32 bytes and more"]);
    let auth = OidcLayer::per_user(with_sign_up(config, database.clone()), store).unwrap();
    let provider = testing::development_provider(&auth).unwrap();
    let app = app(database.clone()).layer(auth);

    let mut ann = Browser::sign_in(&app, &provider, "ann@example.org").await;
    let mut bob = Browser::sign_in(&app, &provider, "bob@example.org").await;
    let mut ann_again = Browser::sign_in(&app, &provider, "ann@example.org").await;
    assert_eq!(database.users().await.unwrap(), 2, "one row for each person");

    let home = text(ann.post("/notes", "text=buy+%3Cmilk%3E").await).await;
    assert!(home.contains("buy &lt;milk&gt;"), "{home}");
    assert!(ann_again.open("/").await.contains("milk"), "in another browser, too");
    assert!(!bob.open("/").await.contains("milk"));

    // A script of the same page.
    let note = json!({ "text": "by the API" }).to_string();
    let added = bob.send(Method::POST, "/api/notes", "same-origin", "application/json", note.clone()).await;
    assert_eq!(added.status(), StatusCode::CREATED);
    let id = serde_json::from_str::<Value>(&text(added).await).unwrap()["id"].clone();
    let delete = format!("/api/notes/{id}");
    let by_ann = ann.send(Method::DELETE, &delete, "same-origin", "text/plain", String::new()).await;
    assert_eq!(by_ann.status(), StatusCode::NOT_FOUND, "somebody else's note");
    let forged = bob.send(Method::DELETE, &delete, "cross-site", "text/plain", String::new()).await;
    assert_eq!(forged.status(), StatusCode::FORBIDDEN, "another site's page");
    let by_bob = bob.send(Method::DELETE, &delete, "same-origin", "text/plain", String::new()).await;
    assert_eq!(by_bob.status(), StatusCode::NO_CONTENT, "the control");

    // Where they are signed in, and nobody else.
    let account = ann.open("/account").await;
    assert_eq!(account.matches("<li>").count(), 2, "{account}");
    let of_bob = bob.open("/account").await;
    let id = of_bob.split("/account/sessions/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let by_ann = ann.post(&format!("/account/sessions/{id}/end"), "").await;
    assert_eq!(by_ann.status(), StatusCode::NOT_FOUND, "somebody else's session");
    let account = text(ann.post("/account/sessions/end-others", "").await).await;
    assert_eq!(account.matches("<li>").count(), 1, "{account}");
    assert!(ann_again.open("/").await.contains("Sign in"), "signed out elsewhere");
    assert!(bob.open("/").await.contains("Sign out"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_page_for_a_role() {
    let database = Database::in_memory().await.unwrap();
    let config = with_sign_up(testing::development_config(APP), database.clone());
    let auth = OidcLayer::per_user(config, MemoryStore::new()).unwrap();
    let provider = testing::development_provider(&auth).unwrap();
    provider.roles("ann@example.org", ["admin"]);
    let app = app(database).layer(auth);
    let mut ann = Browser::sign_in(&app, &provider, "ann@example.org").await;
    let mut bob = Browser::sign_in(&app, &provider, "bob@example.org").await;
    let (status, page) = ann.look("/admin").await;
    assert!(status == 200 && page.matches("<li>").count() == 2, "both have signed up: {page}");
    assert!(ann.open("/").await.contains("href=\"/admin\""));
    let (status, page) = bob.look("/admin").await;
    assert!(status == 403 && page.contains("This needs the role admin."), "{status} {page}");
    assert!(!bob.open("/").await.contains("href=\"/admin\""));
}

const ISSUER: &str = "https://id.example.org";
const API: &str = "https://notes.example.org/api";

/// A provider that is asked about access tokens (RFC 7662). A token is the subject of its user, and its scopes.
async fn provider(request: Request<Bytes>) -> Result<axum::http::Response<String>, Infallible> {
    let answer = if request.uri().path() == "/.well-known/openid-configuration" {
        json!({
            "issuer": ISSUER, "authorization_endpoint": format!("{ISSUER}/authorize"), "jwks_uri": format!("{ISSUER}/jwks"),
            "token_endpoint": format!("{ISSUER}/token"), "introspection_endpoint": format!("{ISSUER}/introspect"),
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    } else {
        let form = String::from_utf8(request.into_body().to_vec()).unwrap();
        let token = form.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
        let (subject, scopes) = token.split_once('.').unwrap_or_default();
        let exp = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 600;
        json!({
            "active": !subject.is_empty(), "sub": subject, "scope": scopes.replace('_', " "), "client_id": "notes-cli",
            "aud": API, "exp": exp,
        })
    };
    let answer =
        axum::http::Response::builder().header("content-type", "application/json").body(answer.to_string());
    Ok(answer.unwrap())
}

/// The tool as a process of its own, against the application on a socket.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tool_calls_the_api() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let database = Database::in_memory().await.unwrap();
    let config = Config::new(&url, ProviderConfig::new(ISSUER, "notes").client_secret("secret"))
        .api(Api::new(API).scopes(SCOPES).introspect_at("default"))
        .http_client(tower::service_fn(provider));
    let auth = OidcLayer::per_user(with_sign_up(config, database.clone()), MemoryStore::new()).unwrap();
    tokio::spawn(axum::serve(listener, app(database.clone()).layer(auth)).into_future());
    let run = async |token: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notes-cli"));
        command.env("NOTES_URL", &url).env("NOTES_TOKEN", token).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let said = |text: &str| (true, text.to_owned(), String::new());
    database.sign_up(ISSUER, "ann", "Ann").await.unwrap();
    database.sign_up(ISSUER, "bob", "Bob").await.unwrap();
    let (ann, bob) = ("ann.notes.read_notes.write", "bob.notes.read_notes.write");
    assert_eq!(run(ann, &["add", "buy milk"]).await, said("1\n"));
    assert_eq!(run(ann, &["list"]).await, said("1 buy milk\n"));
    assert_eq!(run(bob, &["list"]).await, said(""), "her notes are hers");
    assert_eq!(run(ann, &["delete", "1"]).await, said(""));
    assert_eq!(run(ann, &["list"]).await, said(""));

    for (token, arguments, why) in [
        ("eve.notes.read", &["list"][..], "403 Forbidden: Sign in with a browser first."),
        ("ann.notes.read", &["add", "x"], "403 Forbidden: the access token lacks the scope notes.write"),
        (".nobody", &["list"], "401 Unauthorized"),
        (ann, &["delete", "7"], "404 Not Found"),
        (ann, &["lst"], "expected `list`"),
    ] {
        let (done, _, error) = run(token, arguments).await;
        assert!(!done && error.contains(why), "{token} {arguments:?}: {error}");
    }
    assert_eq!(run("ann.notes.read", &["list"]).await, said(""), "the control");
}
