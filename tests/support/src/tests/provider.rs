//! The provider against `openidconnect`'s own verifier, and against itself.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreProviderMetadata};
use openidconnect::{AccessToken, AccessTokenHash, ClientId, ClientSecret, IssuerUrl, Nonce};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::browser::{Browser, Page};
use crate::clock::TestClock;
use crate::html::Form;
use crate::net::{Net, answer};
use crate::params::Params;
use crate::provider::jwt::claims_of;
use crate::provider::keys::Alg;
use crate::provider::lies::{self, Lie};
use crate::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider, RevocationReach};
use crate::resource::ResourceServer;

const OP: &str = "https://op.test";
const CALLBACK: &str = "https://app.test/auth/callback";
const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more";

/// A relying party in miniature, which checks nothing.
struct World {
    net: Net,
    clock: TestClock,
    op: LyingProvider,
    browser: Browser,
}

fn world() -> World {
    let (net, clock) = (Net::new(), TestClock::new());
    let op = LyingProvider::start(&net, OP, &clock);
    op.sign_in_as("alice");
    net.serve("https://app.test", |request| async move { answer(200, request.into_body()) });
    let browser = Browser::new(&net, &clock);
    World { net, clock, op, browser }
}

impl World {
    async fn call(&self, method: Method, path: &str, authorization: &str, body: String) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(format!("{OP}{path}"));
        let request = request.header("authorization", authorization).body(body.into()).unwrap();
        self.net.client().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        json(&self.call(Method::GET, path, "", String::new()).await)
    }

    async fn token(&self, params: &[(&str, &str)]) -> Response<Bytes> {
        let params: Params = params.iter().copied().collect();
        self.call(Method::POST, "/token", &basic(CLIENT_ID, CLIENT_SECRET), params.encode()).await
    }

    /// To the provider and back: the callback's parameters.
    async fn authorize(&self, more: &[(&str, &str)]) -> (Page, Params) {
        let page = self.browser.visit(&request().append(more).append_to(&format!("{OP}/authorize"))).await;
        let answer = match page.body.is_empty() {
            true => Params::parse(page.url.query().unwrap_or_default()),
            false => Params::parse(&page.body),
        };
        (page, answer)
    }

    async fn exchange(&self, code: &str) -> Response<Bytes> {
        let grant = ("grant_type", "authorization_code");
        self.token(&[grant, ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)]).await
    }

    async fn refresh(&self, tokens: &Value) -> Response<Bytes> {
        let token = tokens["refresh_token"].as_str().unwrap();
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn login(&self) -> Value {
        let (_, answer) = self.authorize(&[]).await;
        json(&self.exchange(answer.get("code").expect("a code")).await)
    }
}

trait Append {
    fn append(self, more: &[(&str, &str)]) -> Self;
}

impl Append for Params {
    fn append(mut self, more: &[(&str, &str)]) -> Self {
        for (name, value) in more {
            self.set(name, *value);
        }
        self
    }
}

fn request() -> Params {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", CALLBACK),
        ("scope", "openid email"),
        ("state", "the-state"),
        ("nonce", "the-nonce"),
        ("acr_values", "urn:strong"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]
    .into_iter()
    .collect()
}

fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}

fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}

fn error_of(response: &Response<Bytes>) -> (u16, Value) {
    (response.status().as_u16(), json(response)["error"].clone())
}

#[tokio::test]
async fn openidconnect_accepts_what_the_provider_says_under_every_algorithm() {
    // The library verifies nothing by the other two.
    let unknown = [Alg::Es512, Alg::Ed25519];
    for alg in Alg::ALL.into_iter().filter(|alg| !unknown.contains(alg)) {
        let world = world();
        world.op.set(|s| s.signing = alg);
        let metadata: CoreProviderMetadata =
            serde_json::from_value(world.get("/.well-known/openid-configuration").await).unwrap();
        assert_eq!(metadata.issuer().as_str(), OP);
        let keys: CoreJsonWebKeySet = serde_json::from_value(world.get("/jwks").await).unwrap();
        let tokens = world.login().await;
        let id_token: CoreIdToken = serde_json::from_value(tokens["id_token"].clone()).unwrap();
        let now = world.clock.system_time();
        let verifier = CoreIdTokenVerifier::new_confidential_client(
            ClientId::new(CLIENT_ID.to_owned()),
            ClientSecret::new(CLIENT_SECRET.to_owned()),
            IssuerUrl::new(OP.to_owned()).unwrap(),
            keys,
        )
        .set_allowed_algs(metadata.id_token_signing_alg_values_supported().clone())
        .set_time_fn(move || now.into());
        let claims = id_token.claims(&verifier, &Nonce::new("the-nonce".to_owned())).unwrap();
        assert_eq!(claims.subject().as_str(), "a1");
        let access_token = AccessToken::new(tokens["access_token"].as_str().unwrap().to_owned());
        let key = id_token.signing_key(&verifier).unwrap();
        let hash = AccessTokenHash::from_token(&access_token, id_token.signing_alg().unwrap(), key).unwrap();
        assert_eq!(claims.access_token_hash(), Some(&hash), "{}", alg.name());

        world.op.lie("signature spoiled");
        let tokens = world.login().await;
        let id_token: CoreIdToken = serde_json::from_value(tokens["id_token"].clone()).unwrap();
        assert!(id_token.claims(&verifier, &Nonce::new("the-nonce".to_owned())).is_err(), "{}", alg.name());
    }
}

/// The whole conversation, from metadata to UserInfo, in a world of its own: the same in every run.
async fn conversation(lie: Option<Lie>) -> Vec<String> {
    let world = world();
    world.op.user("alice", |user| user.set("hd", "example.com"));
    if let Some(lie) = lie {
        world.op.lie(lie);
    }
    world.get("/.well-known/openid-configuration").await;
    world.get("/jwks").await;
    let (page, answer) = world.authorize(&[]).await;
    let mut said = vec![format!("{} {:?}", page.url, answer)];
    let tokens = json(&world.exchange(answer.get("code").unwrap_or_default()).await);
    if tokens["refresh_token"].is_string() {
        world.refresh(&tokens).await;
    }
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap_or_default().replace("\r\n", ""));
    world.call(Method::GET, "/userinfo", &bearer, String::new()).await;
    for exchange in world.net.requests(OP) {
        let answer = exchange.answer.unwrap();
        said.push(format!("{} {:?} {:?}", answer.status, answer.headers, answer.body));
    }
    said
}

#[tokio::test]
async fn every_lie_is_heard_and_honesty_is_repeatable() {
    let honest = conversation(None).await;
    assert_eq!(honest, conversation(None).await);
    let mut names = HashSet::new();
    for lie in Lie::ALL.into_iter().flatten() {
        assert!(names.insert(lie.name), "two lies are called {:?}", lie.name);
        assert_ne!(conversation(Some(*lie)).await, honest, "nobody can hear {:?}", lie.name);
    }
}

#[tokio::test]
async fn codes_are_bound_and_spent_once() {
    let world = world();
    let (page, answer) = world.authorize(&[]).await;
    assert_eq!((answer.get("state"), answer.get("iss")), (Some("the-state"), Some(OP)));
    assert_eq!(page.hops_at(OP).len(), 1);
    let code = answer.get("code").unwrap().to_owned();
    let fields = |verifier| {
        [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", verifier),
        ]
    };
    let tokens = json(&world.token(&fields(VERIFIER)).await);
    let access_token = tokens["access_token"].as_str().unwrap();
    assert_eq!(world.op.owner_of(access_token).as_deref(), Some("alice"));
    assert!(world.op.issued(access_token).unwrap().live);
    assert_eq!(error_of(&world.token(&fields(VERIFIER)).await), (400, "invalid_grant".into()));
    assert_eq!(world.op.code_reuse_detected(), 1);
    assert!(!world.op.issued(access_token).unwrap().live, "what the code yielded died with its reuse");

    let (_, answer) = world.authorize(&[]).await;
    let code = answer.get("code").unwrap().to_owned();
    let wrong =
        [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", CALLBACK), ("code_verifier", "x")];
    assert_eq!(error_of(&world.token(&wrong).await), (400, "invalid_grant".into()));
    let (_, answer) = world.authorize(&[]).await;
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(error_of(&world.exchange(answer.get("code").unwrap()).await), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn clients_prove_themselves() {
    let world = world();
    world.op.register("public", None);
    let attempt = async |authorization: String, body: &str| {
        let body = format!("grant_type=client_credentials&{body}");
        error_of(&world.call(Method::POST, "/token", &authorization, body).await)
    };
    let fine = (200, Value::Null);
    let refused = (401, Value::from("invalid_client"));
    let secret: Params = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)].into_iter().collect();
    assert_eq!(attempt(basic(CLIENT_ID, CLIENT_SECRET), "").await, fine);
    assert_eq!(attempt(String::new(), &secret.encode()).await, fine);
    assert_eq!(attempt(String::new(), "client_id=public").await, fine);
    let raw = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
    assert_eq!(attempt(raw, "").await, refused, "the secret must be form-encoded");
    assert_eq!(attempt(basic(CLIENT_ID, "wrong"), "").await, refused);
    assert_eq!(attempt(String::new(), "client_id=app").await, refused);
    assert_eq!(attempt(basic(CLIENT_ID, CLIENT_SECRET), &secret.encode()).await, refused, "two ways at once");
    world.op.set(|s| s.auth_methods = vec!["client_secret_post"]);
    assert_eq!(attempt(basic(CLIENT_ID, CLIENT_SECRET), "").await, refused);
    let methods: Vec<_> = world.op.token_requests().iter().map(|request| request.auth_method).collect();
    assert_eq!(methods[..3], ["client_secret_basic", "client_secret_post", "none"]);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_their_reuse_kills_the_family() {
    let world = world();
    let first = world.login().await;
    let second = json(&world.refresh(&first).await);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let (old, new) = (claims_of(first["id_token"].as_str().unwrap()), claims_of(second["id_token"].as_str().unwrap()));
    assert_eq!((&old["sub"], &old["auth_time"], &new["nonce"]), (&new["sub"], &new["auth_time"], &Value::Null));
    assert_eq!(world.op.live_refresh_tokens().len(), 1);
    let other = world.login().await;
    assert_eq!(error_of(&world.refresh(&first).await), (400, "invalid_grant".into()));
    assert_eq!((world.op.reuse_detected(), world.op.refreshes().len()), (1, 2));
    assert_eq!(error_of(&world.refresh(&second).await), (400, "invalid_grant".into()));
    assert_eq!(world.refresh(&other).await.status(), 200, "another login is another family");
    world.op.set(|s| s.rotate_refresh_tokens = false);
    let kept = world.login().await;
    assert_eq!(json(&world.refresh(&kept).await)["refresh_token"], Value::Null);
    assert_eq!(world.refresh(&kept).await.status(), 200);
}

#[tokio::test]
async fn revocation_reaches_as_far_as_it_is_told() {
    for (reach, same_grant, other_grant) in [
        (RevocationReach::Token, true, true),
        (RevocationReach::Grant, false, true),
        (RevocationReach::User, false, false),
    ] {
        let world = world();
        world.op.set(|s| s.revocation_reach = reach);
        let (tokens, other) = (world.login().await, world.login().await);
        let body: Params = [("token", tokens["refresh_token"].as_str().unwrap())].into_iter().collect();
        world.call(Method::POST, "/revoke", &basic(CLIENT_ID, CLIENT_SECRET), body.encode()).await;
        assert_eq!(world.op.revocations()[0].owner.as_deref(), Some("alice"));
        assert_eq!(world.refresh(&tokens).await.status(), 400);
        let live = |tokens: &Value| world.op.issued(tokens["access_token"].as_str().unwrap()).unwrap().live;
        assert_eq!((live(&tokens), live(&other)), (same_grant, other_grant), "{reach:?}");
    }
}

#[tokio::test]
async fn people_sign_in_and_out_at_the_provider() {
    let world = world();
    world.op.sign_in_nobody();
    let (_, answer) = world.authorize(&[("prompt", "none")]).await;
    assert_eq!((answer.get("error"), answer.get("state")), (Some("login_required"), Some("the-state")));
    let (page, _) = world.authorize(&[]).await;
    let page = world.browser.submit(&page.form().fill("op_user", "bob")).await;
    assert!(page.url.as_str().starts_with(CALLBACK));
    assert_eq!(page.chain.last().unwrap().url.path(), "/auth/callback");
    let owner = async |answer: &Params| {
        let tokens = json(&world.exchange(answer.get("code").unwrap()).await);
        world.op.owner_of(tokens["access_token"].as_str().unwrap()).unwrap()
    };
    let (_, answer) = world.authorize(&[("prompt", "none")]).await;
    assert_eq!(owner(&answer).await, "bob", "the provider's cookie says who it is");
    let (_, answer) = world.authorize(&[("login_hint", "alice@example.com")]).await;
    assert_eq!(owner(&answer).await, "alice");
    let page =
        world.browser.navigate(&format!("{OP}/end_session?state=s&post_logout_redirect_uri=https://app.test/")).await;
    assert_eq!(page.url.as_str(), "https://app.test/?state=s");
    let (_, answer) = world.authorize(&[("prompt", "none")]).await;
    assert_eq!(answer.get("error"), Some("login_required"));
    world.op.set(|s| s.deny = true);
    assert_eq!(world.authorize(&[]).await.1.get("error"), Some("access_denied"));
}

#[tokio::test]
async fn form_post_and_pushed_requests() {
    let world = world();
    let (page, answer) = world.authorize(&[("response_mode", "form_post")]).await;
    assert_eq!((page.url.as_str(), answer.has("code")), (CALLBACK, true));
    let callback = world.net.requests_to("https://app.test", "/auth/callback").pop().unwrap();
    assert_eq!((callback.method.as_str(), callback.header("sec-fetch-site")), ("POST", Some("cross-site")));
    world.op.set(|s| s.pushed_authorization = true);
    let pushed = json(&world.call(Method::POST, "/par", &basic(CLIENT_ID, CLIENT_SECRET), request().encode()).await);
    let uri = pushed["request_uri"].as_str().unwrap();
    let front: Params = [("client_id", CLIENT_ID), ("request_uri", uri)].into_iter().collect();
    let page = world.browser.navigate(&front.append_to(&format!("{OP}/authorize"))).await;
    assert!(page.url.query().unwrap().contains("code="));
    assert_eq!(world.op.last_authorization().get("nonce"), Some("the-nonce"));
    let again = world.browser.navigate(&front.append_to(&format!("{OP}/authorize"))).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "a request_uri is good for once");
    let posted =
        Form { action: format!("{OP}/authorize"), method: "POST".to_owned(), fields: request(), ..Form::default() };
    assert!(world.browser.submit_from("https://app.test/", &posted).await.url.query().unwrap().contains("code="));
}

#[tokio::test]
async fn providers_below_paths_are_their_own() {
    let world = world();
    let tenant = LyingProvider::start(&world.net, "https://op.test/tenant", &world.clock);
    let document = world.get("/tenant/.well-known/openid-configuration").await;
    assert_eq!(document["token_endpoint"], "https://op.test/tenant/token");
    assert_eq!((tenant.discovery_fetches(), world.op.discovery_fetches()), (1, 0));
}

#[tokio::test]
async fn resource_servers_know_whose_token_came() {
    let world = world();
    let api = ResourceServer::start(&world.net, "https://api.test", world.op.resource_owners());
    let tokens = world.login().await;
    let call = async |path: &str| {
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let request = Request::get(format!("https://api.test{path}")).header("authorization", bearer);
        world.net.client().oneshot(request.body(Bytes::new()).unwrap()).await.unwrap()
    };
    assert_eq!(json(&call("/cal").await)["owner"], "alice");
    api.refuse("/cal", 1, "Bearer error=\"invalid_token\"");
    assert_eq!((call("/cal").await.status().as_u16(), call("/cal").await.status().as_u16()), (401, 200));
    api.redirect("/r", 302, "https://evil.test/");
    assert_eq!(call("/r").await.headers()["location"], "https://evil.test/");
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(call("/cal").await.status(), 401, "expired");
    assert_eq!(api.authorizations().len(), 5);
}

#[test]
fn lies_are_found_by_name() {
    assert_eq!(Lie::from("nonce wrong").verdict, lies::Verdict::Refused);
}
