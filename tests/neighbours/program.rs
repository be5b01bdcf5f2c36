//! What both programs do: sign in at the development provider, with the sessions in a `SqliteStore`, and call each kind of
//! service behind the layer.

use std::convert::Infallible;
use std::io::Read;
use std::path::PathBuf;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use flate2::read::GzDecoder;
use grpc::{People, PeopleClient, PeopleServer, WhoAmIRequest};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tonic::Code;
use tonic::service::Routes;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_oidc::dev_provider::ScriptedLogin;
use tower_oidc::store::SqliteStore;
use tower_oidc::{CurrentUser, OidcLayer, testing};

const APP: &str = "http://localhost:3000";
const ANN: &str = "ann@example.org";

/// A folder for two databases, gone when the test is over.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("beside-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Long enough to be compressed.
pub fn greeting(user: &CurrentUser, visits: i64) -> String {
    format!("{}, this is your visit number {visits}", user.email().unwrap_or("somebody"))
}

/// `visits` has a route `/visit`, for users only, which counts in a database of its own.
pub async fn sign_in_and_visit(visits: Router, folder: &Folder) {
    let mut browser = Browser::default();
    let auth = layer(folder);
    let provider = testing::development_provider(&auth).unwrap();
    provider.script(Some(ScriptedLogin::SignIn { email: ANN.to_owned(), admin: false }));
    let app = visits.clone().layer(CompressionLayer::new()).layer(auth.clone());
    // By way of the provider and back, to the page that she asked for.
    assert_eq!(browser.visit(&app, "/visit").await, format!("{ANN}, this is your visit number 1"));
    assert_eq!(browser.visit(&app, "/visit").await, format!("{ANN}, this is your visit number 2"));
    calls_of_grpc(&auth, &browser).await;
    boxed_bodies(&auth, &browser).await;
    auth.drain().await;

    // The session is in the file: after a restart, and without the script of the login, she is still signed in.
    let app = visits.layer(CompressionLayer::new()).layer(layer(folder));
    assert_eq!(browser.visit(&app, "/visit").await, format!("{ANN}, this is your visit number 3"));
    let request = Request::get("/visit").body(Body::empty()).unwrap();
    let stranger = app.oneshot(request).await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED, "the control");
}

fn layer(folder: &Folder) -> OidcLayer {
    let store = SqliteStore::open(folder.0.join("sessions.db")).unwrap();
    let config = testing::development_config(APP).session_secrets(["a sealing secret of 32 bytes and more"]);
    OidcLayer::per_user(config, store).unwrap()
}

/// Keeps cookies, follows redirects, and takes compressed pages.
#[derive(Default)]
struct Browser(Vec<(String, String)>);

impl Browser {
    fn cookie(&self) -> String {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for set in headers.get_all(SET_COOKIE) {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.0.retain(|(known, _)| known != name);
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    async fn visit(&mut self, app: &Router, path: &str) -> String {
        let mut path = path.to_owned();
        loop {
            let request = self.request(&path).body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            self.keep(response.headers());
            let Some(location) = response.headers().get(LOCATION) else { return uncompressed(response).await };
            path = location.to_str().unwrap().trim_start_matches(APP).to_owned();
        }
    }

    fn request(&self, path: &str) -> axum::http::request::Builder {
        Request::get(path).header(ACCEPT, "text/html").header(ACCEPT_ENCODING, "gzip").header(COOKIE, self.cookie())
    }
}

async fn uncompressed(response: Response<Body>) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    let body = to_bytes(response.into_body(), 64 * 1024).await.unwrap();
    unzip(&body)
}

fn unzip(body: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(body).read_to_string(&mut text).unwrap();
    text
}

/// The service of tonic. Compression is around it, too, and leaves its messages alone.
async fn calls_of_grpc(auth: &OidcLayer, browser: &Browser) {
    let service = CompressionLayer::new().layer(Routes::new(PeopleServer::new(People)));
    let mut client = PeopleClient::with_origin(auth.any_body().layer(service), APP.parse().unwrap());
    let anonymous = client.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated, "{anonymous}");

    let mut request = tonic::Request::new(WhoAmIRequest {});
    request.metadata_mut().insert("accept-encoding", "gzip".parse().unwrap());
    request.metadata_mut().insert("cookie", browser.cookie().parse().unwrap());
    request.metadata_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    let ann = client.who_am_i(request).await.unwrap().into_inner();
    assert!(!ann.subject.is_empty() && ann.issuer.starts_with(APP), "{ann:?}");
}

type Boxed = BoxBody<Bytes, Infallible>;

async fn hello(request: Request<Incoming>) -> Result<Response<Boxed>, Infallible> {
    let user = request.extensions().get::<CurrentUser>();
    let text = user.map_or_else(|| "nobody is signed in on this connection".to_owned(), |user| greeting(user, 0));
    Ok(Response::new(Full::from(text).boxed()))
}

/// Without axum: hyper on both ends of a connection, a boxed body, and compression between it and the layer.
async fn boxed_bodies(auth: &OidcLayer, browser: &Browser) {
    let service = auth.any_body().layer(CompressionLayer::new().layer(service_fn(hello)));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = hyper::server::conn::http1::Builder::new();
    tokio::spawn(server.serve_connection(TokioIo::new(far), TowerToHyperService::new(service)));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    let mut says = async |browser: &Browser| {
        let request = browser.request("/").header("host", "localhost:3000").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        unzip(&response.into_body().collect().await.unwrap().to_bytes())
    };
    assert_eq!(says(browser).await, format!("{ANN}, this is your visit number 0"));
    assert_eq!(says(&Browser::default()).await, "nobody is signed in on this connection");
}
