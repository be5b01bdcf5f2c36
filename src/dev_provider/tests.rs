//! The provider by its wire: requests in, responses out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tower::ServiceExt;
use url::Url;

use super::*;

const ISSUER: &str = "http://localhost:3000/auth/dev-provider";
const CALLBACK: &str = "http://localhost:3000/auth/callback";
const HOME: &str = "http://localhost:3000/";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A provider, a clock to move, and a browser with its cookies.
struct World {
    provider: DevProvider,
    clock: Arc<AtomicU64>,
    cookies: HashMap<String, String>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(Clock::system().now().as_millis()));
        let told = clock.clone();
        let provider = DevProvider::new(ISSUER)
            .unwrap()
            .client("app", Some("s&c=r+t %"), &[CALLBACK], &[HOME])
            .client("public", None, &[CALLBACK], &[])
            .clock(Clock::from_fn(move || Timestamp::from_millis(told.load(Ordering::Relaxed))));
        Self { provider, clock, cookies: HashMap::new() }
    }

    fn scripted() -> Self {
        let world = Self::new();
        world.script("test@example.com", false);
        world
    }

    fn script(&self, email: &str, admin: bool) {
        self.provider.script(Some(ScriptedLogin::SignIn { email: email.to_owned(), admin }));
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    /// What the browser gets, redirects not followed.
    fn browse(&mut self, mut request: Request<Bytes>) -> Response<Bytes> {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request.headers_mut().insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        let response = self.provider.handle(request);
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.contains("HttpOnly; SameSite=Lax") && cookie.contains("Path=/auth/dev-provider;"));
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        response
    }

    fn authorize(&mut self, extra: &[(&str, &str)]) -> Response<Bytes> {
        self.browse(get(&format!("/authorize?{}", authorization(extra))))
    }

    fn answer(&mut self, page: &Response<Bytes>, fields: &[(&str, &str)]) -> Response<Bytes> {
        let pending = pending_of(page);
        let fields: Vec<_> = [("pending", pending.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.browse(post("/sign-in", &fields))
    }

    /// A token response for a scripted or remembered sign-in.
    fn tokens(&mut self, extra: &[(&str, &str)]) -> Value {
        let code = code_of(&self.authorize(extra));
        let response = self.redeem(&code, VERIFIER);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        json(&response)
    }

    fn redeem(&self, code: &str, verifier: &str) -> Response<Bytes> {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", CALLBACK),
        ])
    }

    fn refresh(&self, refresh_token: &Value) -> Response<Bytes> {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str().unwrap())])
    }

    fn token(&self, fields: &[(&str, &str)]) -> Response<Bytes> {
        self.provider.handle(with_basic(post("/token", fields)))
    }

    fn user_info(&self, access_token: &Value) -> Response<Bytes> {
        let mut request = get("/userinfo");
        let value = format!("Bearer {}", access_token.as_str().unwrap());
        request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        self.provider.handle(request)
    }

    /// The ID token's claims, its signature checked against the published key set.
    fn claims(&self, tokens: &Value) -> Value {
        let token = tokens["id_token"].as_str().unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (protected, claims) = signed.split_once('.').unwrap();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let protected: Value = serde_json::from_slice(&decode(protected)).unwrap();
        let keys = json(&self.provider.handle(get("/jwks")));
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == protected["kid"]).unwrap();
        let coordinate = |name: &str| decode(key[name].as_str().unwrap());
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let key = VerifyingKey::from_sec1_bytes(&point).unwrap();
        key.verify(signed.as_bytes(), &Signature::from_slice(&decode(signature)).unwrap()).unwrap();
        serde_json::from_slice(&decode(claims)).unwrap()
    }
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(format!("/auth/dev-provider{path}")).body(Bytes::new()).unwrap()
}

fn post(path: &str, fields: &[(&str, &str)]) -> Request<Bytes> {
    Request::post(format!("/auth/dev-provider{path}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(form(fields)))
        .unwrap()
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn with_basic(mut request: Request<Bytes>) -> Request<Bytes> {
    let secret: String = form_urlencoded::byte_serialize(b"s&c=r+t %").collect();
    let value = format!("Basic {}", STANDARD.encode(format!("app:{secret}")));
    request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
    request
}

/// A whole authorization request; `extra` replaces, adds, and with an empty value leaves out.
fn authorization(extra: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let usual = [
        ("client_id", "app"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid email profile"),
        ("state", "st&te"),
        ("nonce", "n-0S6"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let usual = usual.into_iter().filter(|(name, _)| extra.iter().all(|(other, _)| other != name));
    form(&usual.chain(extra.iter().copied()).collect::<Vec<_>>())
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn location(response: &Response<Bytes>) -> (String, HashMap<String, String>) {
    assert_eq!(response.status(), StatusCode::SEE_OTHER, "{}", text(response));
    let mut url = Url::parse(response.headers()[header::LOCATION].to_str().unwrap()).unwrap();
    let query = url.query_pairs().into_owned().collect();
    url.set_query(None);
    (url.into(), query)
}

fn code_of(response: &Response<Bytes>) -> String {
    let (to, query) = location(response);
    assert_eq!(to, CALLBACK);
    assert_eq!((query["state"].as_str(), query["iss"].as_str()), ("st&te", ISSUER));
    query["code"].clone()
}

fn error_of(response: &Response<Bytes>) -> String {
    let (to, query) = location(response);
    assert_eq!(to, CALLBACK);
    assert_eq!((query["state"].as_str(), query["iss"].as_str()), ("st&te", ISSUER));
    query["error"].clone()
}

fn pending_of(page: &Response<Bytes>) -> String {
    let after = text(page).split(r#"name="pending" value=""#).nth(1).expect("a form");
    after.split('"').next().unwrap().to_owned()
}

fn is_refused(response: &Response<Bytes>, error: &str) -> bool {
    response.status() == StatusCode::BAD_REQUEST && json(response)["error"] == error
}

#[test]
fn the_page_signs_in_and_the_code_becomes_tokens() {
    let mut world = World::new();
    let page = world.authorize(&[]);
    assert_eq!(page.status(), StatusCode::OK);
    for part in ["test@example.com", r#"id="email""#, r#"id="admin""#, r#"id="sign-in""#, r#"id="sign-out""#] {
        assert!(text(&page).contains(part), "{part}");
    }
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("form-action"));
    for (name, value) in
        [("cache-control", "no-store"), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY")]
    {
        assert_eq!(page.headers()[name], value);
    }
    let fields = [("answer", "sign-in"), ("email", "ann@example.com"), ("admin", "on")];
    let code = code_of(&world.answer(&page, &fields));
    let tokens = json(&world.redeem(&code, VERIFIER));
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&"Bearer".into(), &300.into()));
    assert_eq!(tokens["scope"], "openid email profile");

    let claims = world.claims(&tokens);
    let half = &Sha256::digest(tokens["access_token"].as_str().unwrap())[..16];
    for (name, value) in [
        ("iss", Value::from(ISSUER)),
        ("aud", "app".into()),
        ("nonce", "n-0S6".into()),
        ("email", "ann@example.com".into()),
        ("email_verified", true.into()),
        ("name", "ann".into()),
        ("admin", true.into()),
        ("at_hash", URL_SAFE_NO_PAD.encode(half).into()),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert!(claims["auth_time"].is_u64() && claims["sid"].is_string());

    let user_info = json(&world.user_info(&tokens["access_token"]));
    assert_eq!((&user_info["sub"], &user_info["admin"]), (&claims["sub"], &true.into()));
    assert_eq!(user_info["email"], "ann@example.com");
    // The page is used up, and the next one suggests whoever signed in last.
    assert_eq!(world.answer(&page, &fields).status(), StatusCode::BAD_REQUEST);
    assert!(text(&world.authorize(&[("prompt", "login")])).contains(r#"value="ann@example.com""#));
}

#[test]
fn openidconnect_accepts_the_id_token() {
    use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet};
    use openidconnect::{ClientId, IssuerUrl, Nonce};

    let mut world = World::scripted();
    let tokens = world.tokens(&[]);
    let keys: CoreJsonWebKeySet = serde_json::from_slice(world.provider.handle(get("/jwks")).body()).unwrap();
    let id_token: CoreIdToken = tokens["id_token"].as_str().unwrap().parse().unwrap();
    let issuer = IssuerUrl::new(ISSUER.into()).unwrap();
    let verifier = CoreIdTokenVerifier::new_public_client(ClientId::new("app".into()), issuer, keys)
        .set_allowed_algs([openidconnect::core::CoreJwsSigningAlgorithm::EcdsaP256Sha256]);
    id_token.claims(&verifier, &Nonce::new("n-0S6".into())).unwrap();
    assert!(id_token.claims(&verifier, &Nonce::new("another".into())).is_err());
}

#[test]
fn the_metadata_is_openidconnects_and_names_everything() {
    use openidconnect::core::CoreProviderMetadata;

    let response = World::new().provider.handle(get("/.well-known/openid-configuration"));
    let metadata = json(&response);
    assert_eq!(metadata["issuer"], ISSUER);
    assert_eq!(metadata["end_session_endpoint"], format!("{ISSUER}/end_session"));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    assert_eq!(metadata["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    serde_json::from_value::<CoreProviderMetadata>(metadata).unwrap();
}

#[test]
fn a_replayed_code_is_refused_and_revokes_its_tokens() {
    let mut world = World::scripted();
    let code = code_of(&world.authorize(&[]));
    let tokens = json(&world.redeem(&code, VERIFIER));
    assert_eq!(world.user_info(&tokens["access_token"]).status(), StatusCode::OK);
    assert!(is_refused(&world.redeem(&code, VERIFIER), "invalid_grant"));
    assert_eq!(world.user_info(&tokens["access_token"]).status(), StatusCode::UNAUTHORIZED);
    assert!(is_refused(&world.refresh(&tokens["refresh_token"]), "invalid_grant"));
}

#[test]
fn a_code_wants_its_verifier_its_redirect_uri_its_client_and_its_minute() {
    let mut world = World::scripted();
    let code = code_of(&world.authorize(&[]));
    assert!(is_refused(&world.redeem(&code, &"x".repeat(43)), "invalid_grant"));
    assert!(is_refused(&world.redeem(&code, VERIFIER), "invalid_grant"), "a wrong guess uses the code up");

    let code = code_of(&world.authorize(&[]));
    let elsewhere = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", HOME),
    ];
    assert!(is_refused(&world.token(&elsewhere), "invalid_grant"));

    let code = code_of(&world.authorize(&[("client_id", "public")]));
    assert!(is_refused(&world.redeem(&code, VERIFIER), "invalid_grant"));
    let own = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", CALLBACK),
        ("client_id", "public"),
    ];
    assert_eq!(world.provider.handle(post("/token", &own)).status(), StatusCode::OK);

    let code = code_of(&world.authorize(&[]));
    world.pass(60);
    assert!(is_refused(&world.redeem(&code, VERIFIER), "invalid_grant"));
}

#[test]
fn refresh_rotates_keeps_auth_time_and_drops_the_nonce() {
    let mut world = World::scripted();
    let first = world.tokens(&[]);
    world.pass(299);
    assert_eq!(world.user_info(&first["access_token"]).status(), StatusCode::OK);
    world.pass(1);
    let expired = world.user_info(&first["access_token"]);
    assert_eq!(expired.status(), StatusCode::UNAUTHORIZED);
    assert!(expired.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().contains("invalid_token"));

    let second = json(&world.refresh(&first["refresh_token"]));
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let (before, after) = (world.claims(&first), world.claims(&second));
    for name in ["iss", "sub", "aud", "auth_time", "sid"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    assert!(after.get("nonce").is_none() && after["iat"].as_u64() > before["iat"].as_u64());
}

#[test]
fn a_confidential_client_gets_tokens_of_its_own() {
    let world = World::new();
    let own = |extra: &[(&str, &str)]| world.token(&[&[("grant_type", "client_credentials")], extra].concat());
    let tokens = json(&own(&[("scope", "calendar mail"), ("resource", "https://api.test/")]));
    assert_eq!((&tokens["scope"], &tokens["expires_in"]), (&"calendar mail".into(), &300.into()));
    assert!(tokens.get("refresh_token").is_none() && tokens.get("id_token").is_none());
    let details = world.provider.inspect(tokens["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((details.client_id.as_str(), details.subject.as_str()), ("app", "app"));
    assert_eq!(
        (details.scopes, details.resources),
        (vec!["calendar".into(), "mail".into()], vec!["https://api.test/".into()])
    );
    assert_eq!(world.user_info(&tokens["access_token"]).status(), StatusCode::FORBIDDEN, "it is nobody");
    assert!(is_refused(&own(&[("scope", "openid")]), "invalid_scope"));
    let public = [("grant_type", "client_credentials"), ("client_id", "public")];
    assert!(is_refused(&world.provider.handle(post("/token", &public)), "unauthorized_client"));
    world.pass(300);
    assert_eq!(world.provider.inspect(tokens["access_token"].as_str().unwrap()), None);
}

#[test]
fn a_reused_refresh_token_kills_the_family() {
    let mut world = World::scripted();
    let first = world.tokens(&[]);
    let second = json(&world.refresh(&first["refresh_token"]));
    assert!(is_refused(&world.refresh(&first["refresh_token"]), "invalid_grant"));
    assert!(is_refused(&world.refresh(&second["refresh_token"]), "invalid_grant"));
    assert_eq!(world.user_info(&second["access_token"]).status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn scopes_and_resources_narrow_and_never_grow() {
    let mut world = World::scripted();
    let (one, two) = ("https://one.test/", "https://two.test/");
    let tokens = world.tokens(&[("resource", one), ("resource", two)]);
    let details = world.provider.inspect(tokens["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(details.resources, [one, two]);
    let refresh = |token: &Value, extra: (&str, &str)| {
        let token = token["refresh_token"].as_str().unwrap();
        world.token(&[("grant_type", "refresh_token"), ("refresh_token", token), extra])
    };
    assert!(is_refused(&refresh(&tokens, ("scope", "openid calendar")), "invalid_scope"));
    assert!(is_refused(&refresh(&tokens, ("resource", "https://three.test/")), "invalid_target"));
    let narrowed = json(&refresh(&tokens, ("resource", two)));
    let details = world.provider.inspect(narrowed["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((details.resources, details.client_id), (vec![two.to_owned()], "app".to_owned()));
    let narrowed = json(&refresh(&narrowed, ("scope", "email")));
    assert_eq!((&narrowed["scope"], narrowed.get("id_token")), (&"email".into(), None));
    assert_eq!(world.user_info(&narrowed["access_token"]).status(), StatusCode::FORBIDDEN);
}

#[test]
fn clients_authenticate_one_way_at_a_time() {
    let world = World::new();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", "unknown")];
    let with = |extra: &[(&str, &str)]| post("/token", &[&refresh[..], extra].concat());
    let handle = |request| world.provider.handle(request);
    // Past authentication, all that is wrong is the token.
    assert!(is_refused(&handle(with_basic(with(&[]))), "invalid_grant"));
    let secret = ("client_secret", "s&c=r+t %");
    assert!(is_refused(&handle(with(&[("client_id", "app"), secret])), "invalid_grant"));
    assert!(is_refused(&handle(with(&[("client_id", "public")])), "invalid_grant"));
    assert!(is_refused(&handle(with_basic(with(&[secret]))), "invalid_request"));
    for extra in
        [&[][..], &[("client_id", "app")], &[("client_id", "app"), ("client_secret", "no")], &[("client_id", "nobody")]]
    {
        let refused = handle(with(extra));
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert!(refused.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}

#[test]
fn deny_comes_back_as_access_denied() {
    let mut world = World::new();
    let page = world.authorize(&[]);
    assert_eq!(error_of(&world.answer(&page, &[("answer", "deny")])), "access_denied");
    world.provider.script(Some(ScriptedLogin::Deny));
    assert_eq!(error_of(&world.authorize(&[])), "access_denied");
}

#[test]
fn a_client_or_redirect_uri_we_do_not_know_is_never_redirected_to() {
    let mut world = World::scripted();
    for extra in [
        [("client_id", "other"), ("prompt", "")],
        [("client_id", ""), ("prompt", "")],
        [("redirect_uri", "http://localhost:3000/auth/callback/"), ("prompt", "")],
        [("redirect_uri", "https://evil.test/"), ("prompt", "")],
        [("redirect_uri", CALLBACK), ("redirect_uri", "https://evil.test/")],
    ] {
        let response = world.authorize(&extra);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{extra:?}");
        assert!(!response.headers().contains_key(header::LOCATION));
    }
}

#[test]
fn a_bad_request_of_a_known_client_is_told_to_the_client() {
    let mut world = World::scripted();
    for (name, value, error) in [
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("response_type", "", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("response_mode", "fragment", "invalid_request"),
        ("scope", "", "invalid_scope"),
        ("scope", "open\"id", "invalid_scope"),
        ("resource", "relative", "invalid_target"),
        ("prompt", "none login", "invalid_request"),
        ("prompt", "dance", "invalid_request"),
        ("max_age", "soon", "invalid_request"),
        ("request", "eyJ", "request_not_supported"),
        ("request_uri", "urn:x", "request_uri_not_supported"),
    ] {
        assert_eq!(error_of(&world.authorize(&[(name, value)])), error, "{name}={value}");
    }
    assert_eq!(error_of(&world.authorize(&[("nonce", "1"), ("nonce", "2")])), "invalid_request");
}

#[test]
fn a_session_answers_for_itself_until_more_is_asked() {
    let mut world = World::new();
    assert_eq!(error_of(&world.authorize(&[("prompt", "none")])), "login_required");
    world.script("ann@example.com", false);
    world.authorize(&[]);
    world.provider.script(None);

    code_of(&world.authorize(&[]));
    code_of(&world.authorize(&[("prompt", "none")]));
    code_of(&world.authorize(&[("prompt", "none"), ("max_age", "10")]));
    let more = ("scope", "openid email profile calendar");
    assert_eq!(error_of(&world.authorize(&[more, ("prompt", "none")])), "consent_required");
    let page = world.authorize(&[more]);
    assert!(text(&page).contains(r#"id="grant""#) && !text(&page).contains(r#"id="email""#));
    let signing_in = world.answer(&page, &[("answer", "sign-in"), ("email", "eve@example.com")]);
    assert_eq!(signing_in.status(), StatusCode::BAD_REQUEST);
    code_of(&world.answer(&page, &[("answer", "grant")]));
    code_of(&world.authorize(&[more, ("prompt", "none")]));

    for asking in [
        ("prompt", "login"),
        ("prompt", "select_account"),
        ("prompt", "consent"),
        ("max_age", "0"),
        ("login_hint", "bob@example.com"),
    ] {
        world.pass(1);
        assert_eq!(world.authorize(&[asking]).status(), StatusCode::OK, "{asking:?}");
    }
    // A sign-in page cannot be answered with the consent page's button.
    let page = world.authorize(&[("prompt", "login")]);
    assert_eq!(world.answer(&page, &[("answer", "grant")]).status(), StatusCode::BAD_REQUEST);
    assert!(text(&world.authorize(&[("login_hint", "bob@example.com")])).contains("bob@example.com"));
    world.pass(13 * 3600);
    assert_eq!(error_of(&world.authorize(&[("prompt", "none")])), "login_required");
}

#[test]
fn an_id_token_hint_means_one_person() {
    let mut world = World::scripted();
    let tokens = world.tokens(&[]);
    let hint = ("id_token_hint", tokens["id_token"].as_str().unwrap());
    code_of(&world.authorize(&[hint, ("prompt", "none")]));
    world.script("bob@example.com", false);
    assert_eq!(error_of(&world.authorize(&[hint])), "login_required");
    world.authorize(&[]);
    assert_eq!(error_of(&world.authorize(&[hint, ("prompt", "none")])), "login_required");
}

#[test]
fn a_posted_request_comes_back_as_get_with_the_cookie() {
    let mut world = World::scripted();
    let fields: Vec<(String, String)> = form_urlencoded::parse(authorization(&[]).as_bytes()).into_owned().collect();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let response = world.browse(post("/authorize", &fields));
    let to = response.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let path = to.strip_prefix(ISSUER).unwrap();
    code_of(&world.browse(get(path)));
}

#[test]
fn form_post_posts_itself_and_escapes() {
    let mut world = World::scripted();
    let page = world.authorize(&[("response_mode", "form_post"), ("state", r#""><script>alert(1)</script>"#)]);
    assert_eq!(page.status(), StatusCode::OK);
    let html = text(&page);
    assert!(html.contains(&format!(r#"<form method="post" action="{CALLBACK}">"#)));
    assert!(html.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;") && !html.contains("<script>"));
    assert!(html.contains(r#"name="code""#) && html.contains(&format!(r#"name="iss" value="{ISSUER}""#)));
    let nonce = html.split("<script nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains(&format!("script-src 'nonce-{nonce}'")));
    let page = world.authorize(&[("response_mode", "form_post"), ("response_type", "token")]);
    assert!(text(&page).contains(r#"name="error" value="unsupported_response_type""#));
}

#[test]
fn strange_emails_are_refused_and_escaped() {
    let mut world = World::new();
    let page = world.authorize(&[("client_id", "app"), ("scope", "openid <b>&")]);
    assert!(text(&page).contains("&lt;b&gt;&amp;") && !text(&page).contains("<b>"));
    for email in [
        r#""><script>alert(1)</script>@x"#,
        "",
        "nobody",
        "@x",
        "x@",
        "a@b@c",
        "a b@c",
        "a\u{0}@c",
        "a\r\n@c",
        "a'@c",
        &format!("{}@x", "a".repeat(300)),
    ] {
        let again = world.answer(&page, &[("answer", "sign-in"), ("email", email)]);
        assert_eq!(again.status(), StatusCode::BAD_REQUEST, "{email:?}");
        assert!(text(&again).contains("one @") && !text(&again).contains("<script>"));
        assert_eq!(pending_of(&again), pending_of(&page));
    }
    code_of(&world.answer(&page, &[("answer", "sign-in"), ("email", "a@b")]));
}

#[test]
fn a_form_from_elsewhere_is_refused() {
    let mut world = World::new();
    let page = world.authorize(&[]);
    let pending = pending_of(&page);
    let fields = [("pending", pending.as_str()), ("answer", "sign-in"), ("email", "a@b")];
    for (name, value) in [
        ("origin", "https://evil.test"),
        ("origin", "http://localhost:3001"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let mut request = post("/sign-in", &fields);
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(world.browse(request).status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    // Another browser, with a cookie of its own and with none.
    let mut other = World { cookies: HashMap::new(), provider: world.provider.clone(), clock: world.clock.clone() };
    assert_eq!(other.browse(post("/sign-in", &fields)).status(), StatusCode::BAD_REQUEST);
    other.authorize(&[]);
    assert_eq!(other.browse(post("/sign-in", &fields)).status(), StatusCode::BAD_REQUEST);
    // The page's own form, as a browser sends it under `no-referrer`.
    let mut request = post("/sign-in", &fields);
    request.headers_mut().insert("origin", "null".parse().unwrap());
    request.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    code_of(&world.browse(request));
}

#[test]
fn a_forged_cookie_signs_nobody_in() {
    let mut world = World::new();
    for (name, value) in [
        ("dev_appserver_login", "root@x.test:True:1".to_owned()),
        ("tower-oidc-dev-3000", "root@x.test:True:1".to_owned()),
        ("tower-oidc-dev-3000", "A".repeat(43)),
        ("tower-oidc-dev-3000-email", "%22%3E%3Cscript%3E@x".to_owned()),
    ] {
        world.cookies = HashMap::from([(name.to_owned(), value)]);
        assert_eq!(error_of(&world.authorize(&[("prompt", "none")])), "login_required");
        let page = world.authorize(&[]);
        assert!(text(&page).contains("test@example.com") && !text(&page).contains("<script>"));
    }
}

#[test]
fn a_sign_in_changes_the_cookie_and_other_tabs_follow() {
    let mut world = World::new();
    let (one, two) = (world.authorize(&[]), world.authorize(&[]));
    let before = world.cookies["tower-oidc-dev-3000"].clone();
    code_of(&world.answer(&one, &[("answer", "sign-in"), ("email", "a@b")]));
    assert_ne!(world.cookies["tower-oidc-dev-3000"], before);
    code_of(&world.answer(&two, &[("answer", "sign-in"), ("email", "a@b")]));
    world.cookies.insert("tower-oidc-dev-3000".into(), before);
    assert_eq!(error_of(&world.authorize(&[("prompt", "none")])), "login_required");
}

#[test]
fn consent_is_of_the_person_it_was_asked() {
    let mut world = World::scripted();
    world.authorize(&[]);
    world.provider.script(None);
    let consent = world.authorize(&[("scope", "openid calendar")]);
    world.script("bob@example.com", false);
    world.authorize(&[]);
    let again = world.answer(&consent, &[("answer", "grant")]);
    assert!(again.status() == StatusCode::OK && text(&again).contains(r#"id="sign-in""#));
}

#[test]
fn the_subject_knows_no_case_and_no_restart() {
    let subject = |email: &str| {
        let mut world = World::new();
        world.script(email, false);
        let tokens = world.tokens(&[]);
        world.claims(&tokens)["sub"].clone()
    };
    assert_eq!(subject("Test@Example.com"), subject("test@example.com"));
    assert_ne!(subject("test@example.com"), subject("best@example.com"));
}

#[test]
fn the_box_decides_on_admin_each_time() {
    let mut world = World::new();
    for admin in [true, false] {
        world.script("ann@example.com", admin);
        let tokens = world.tokens(&[]);
        assert_eq!(world.claims(&tokens)["admin"], admin);
    }
}

#[test]
fn claims_follow_the_scopes() {
    let mut world = World::scripted();
    let tokens = world.tokens(&[("scope", "openid")]);
    let claims = world.claims(&tokens);
    assert!(claims.get("email").is_none() && claims.get("name").is_none() && claims["admin"] == false);
}

#[test]
fn signing_out_on_the_page_ends_the_session() {
    let mut world = World::scripted();
    world.authorize(&[]);
    world.provider.script(None);
    let page = world.authorize(&[("prompt", "login")]);
    let again = world.answer(&page, &[("answer", "sign-out")]);
    assert!(again.status() == StatusCode::OK && text(&again).contains("You are signed out"));
    assert_eq!(error_of(&world.authorize(&[("prompt", "none")])), "login_required");
    code_of(&world.answer(&again, &[("answer", "sign-in"), ("email", "a@b")]));
}

#[test]
fn end_session_returns_to_a_registered_uri_with_its_state() {
    let mut world = World::scripted();
    let tokens = world.tokens(&[]);
    let offline = world.tokens(&[("scope", "openid offline_access")]);
    world.pass(2 * 3600);
    let query = form(&[
        ("id_token_hint", tokens["id_token"].as_str().unwrap()),
        ("post_logout_redirect_uri", HOME),
        ("state", "back"),
    ]);
    let (to, sent) = location(&world.browse(get(&format!("/end_session?{query}"))));
    assert_eq!((to.as_str(), sent["state"].as_str()), (HOME, "back"));
    assert_eq!(error_of(&world.authorize(&[("prompt", "none")])), "login_required");
    assert!(is_refused(&world.refresh(&tokens["refresh_token"]), "invalid_grant"));
    assert_eq!(world.refresh(&offline["refresh_token"]).status(), StatusCode::OK);
}

#[test]
fn end_session_without_the_cookie_ends_the_hinted_session() {
    let mut world = World::scripted();
    let tokens = world.tokens(&[]);
    let query = form(&[("id_token_hint", tokens["id_token"].as_str().unwrap())]);
    let response = world.provider.handle(get(&format!("/end_session?{query}")));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(error_of(&world.authorize(&[("prompt", "none")])), "login_required");
}

#[test]
fn end_session_asks_where_the_hint_proves_nothing() {
    let mut world = World::scripted();
    let tokens = world.tokens(&[]);
    let mut forged = tokens["id_token"].as_str().unwrap().to_owned();
    forged.truncate(forged.len() - 4);
    forged.push_str("AAAA");
    let fields = [("id_token_hint", forged.as_str()), ("post_logout_redirect_uri", HOME), ("client_id", "app")];
    let page = world.browse(get(&format!("/end_session?{}", form(&fields))));
    assert!(page.status() == StatusCode::OK && text(&page).contains(r#"id="sign-out""#));
    code_of(&world.authorize(&[("prompt", "none")]));
    let pending = pending_of(&page);
    let mut cross = post("/sign-out", &[("pending", &pending)]);
    cross.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(world.browse(cross).status(), StatusCode::FORBIDDEN);
    assert_eq!(location(&world.browse(post("/sign-out", &[("pending", &pending)]))).0, HOME);
    assert_eq!(error_of(&world.authorize(&[("prompt", "none")])), "login_required");
}

#[test]
fn end_session_goes_nowhere_unregistered() {
    let mut world = World::scripted();
    let tokens = world.tokens(&[]);
    let hint = ("id_token_hint", tokens["id_token"].as_str().unwrap());
    for extra in [("post_logout_redirect_uri", "https://evil.test/"), ("client_id", "public")] {
        let response = world.browse(get(&format!("/end_session?{}", form(&[hint, extra]))));
        assert!(!response.headers().contains_key(header::LOCATION), "{extra:?}");
    }
}

#[test]
fn a_rotated_key_signs_and_the_old_one_still_verifies() {
    let mut world = World::scripted();
    let before = world.tokens(&[]);
    world.provider.rotate_key();
    let after = world.tokens(&[]);
    let kid = |tokens: &Value| tokens["id_token"].as_str().unwrap().split('.').next().unwrap().to_owned();
    assert_ne!(kid(&before), kid(&after));
    world.claims(&before);
    world.claims(&after);
    assert_eq!(json(&world.provider.handle(get("/jwks")))["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn revocation_takes_a_token_or_its_family() {
    let mut world = World::scripted();
    let revoke = |world: &World, token: &Value| {
        let request = with_basic(post("/revoke", &[("token", token.as_str().unwrap())]));
        world.provider.handle(request).status()
    };
    let tokens = world.tokens(&[]);
    assert_eq!(revoke(&world, &tokens["access_token"]), StatusCode::OK);
    assert_eq!(world.user_info(&tokens["access_token"]).status(), StatusCode::UNAUTHORIZED);
    let tokens = json(&world.refresh(&tokens["refresh_token"]));
    assert_eq!(revoke(&world, &tokens["refresh_token"]), StatusCode::OK);
    assert_eq!(world.user_info(&tokens["access_token"]).status(), StatusCode::UNAUTHORIZED);
    assert!(is_refused(&world.refresh(&tokens["refresh_token"]), "invalid_grant"));
    assert_eq!(revoke(&world, &tokens["refresh_token"]), StatusCode::OK);
    assert_eq!(revoke(&world, &"never seen".into()), StatusCode::OK);

    let tokens = world.tokens(&[]);
    let token = tokens["refresh_token"].as_str().unwrap();
    let other = post("/revoke", &[("token", token), ("client_id", "public")]);
    assert!(is_refused(&world.provider.handle(other), "unauthorized_client"));
    let nobody = world.provider.handle(post("/revoke", &[("token", token)]));
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.refresh(&tokens["refresh_token"]).status(), StatusCode::OK);
}

#[test]
fn userinfo_challenges_as_rfc_6750_says() {
    let world = World::new();
    let ask = |authorization: Option<&str>| {
        let mut request = get("/userinfo");
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let response = world.provider.handle(request);
        let challenge = response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        (response.status().as_u16(), challenge.contains("error="))
    };
    assert_eq!(ask(None), (401, false));
    assert_eq!(ask(Some("Basic abc")), (401, false));
    assert_eq!(ask(Some("Bearer ")), (400, true));
    assert_eq!(ask(Some("bearer unknown")), (401, true));
}

#[test]
fn the_issuer_is_loopback_unless_overridden() {
    for issuer in ["http://localhost:1/", "http://app.localhost", "https://127.1.2.3/x", "http://[::1]:8"] {
        assert!(DevProvider::new(issuer).is_ok(), "{issuer}");
    }
    for issuer in ["https://example.com", "http://localhost.example.com", "http://192.168.0.1", "http://[::2]"] {
        assert!(matches!(DevProvider::new(issuer), Err(DevProviderError::NotLoopback { .. })), "{issuer}");
        assert!(DevProvider::dangerously_allow_any_host(issuer).is_ok());
    }
    for issuer in ["", "localhost", "ftp://localhost", "http://localhost?x", "http://me@localhost", "http://localhost#"]
    {
        assert!(!matches!(DevProvider::new(issuer), Ok(_) | Err(DevProviderError::NotLoopback { .. })), "{issuer}");
    }
}

#[test]
fn whatever_comes_is_answered_below_500() {
    let world = World::new();
    for path in [
        "/.well-known/openid-configuration",
        "/jwks",
        "/authorize",
        "/sign-in",
        "/sign-out",
        "/token",
        "/userinfo",
        "/revoke",
        "/end_session",
        "/nothing",
        "",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            for garbage in [&b""[..], b"%%%&&&===\xff\xfe", b"pending=%00&code=%ff", &[b'='; 70_000]] {
                let request = Request::builder()
                    .method(method)
                    .uri(format!("/auth/dev-provider{path}?%ff=%00&&=&state=%F0%9F"))
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .header(header::COOKIE, &b"tower-oidc-dev-3000=\xff; ;=;"[..])
                    .header(header::AUTHORIZATION, &b"Basic \xff"[..])
                    .body(Bytes::copy_from_slice(garbage))
                    .unwrap();
                let response = world.provider.handle(request);
                assert!(response.status().as_u16() < 500, "{method} {path}");
                if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                    assert!(response.headers().contains_key(header::ALLOW));
                }
            }
        }
    }
    let elsewhere = Request::get("/elsewhere").body(Bytes::new()).unwrap();
    assert_eq!(world.provider.handle(elsewhere).status(), StatusCode::NOT_FOUND);
}

#[test]
fn memory_is_bounded() {
    let mut world = World::new();
    for _ in 0..1100 {
        world.authorize(&[]);
    }
    assert_eq!(world.provider.state.lock().pages.entries.len(), 1024);
    world.script("ann@example.com", false);
    for _ in 0..1100 {
        world.cookies.clear();
        world.authorize(&[]);
    }
    assert_eq!(world.provider.state.lock().codes.entries.len(), 1024);
    assert_eq!(world.authorize(&[("state", &"x".repeat(20_000))]).status(), StatusCode::BAD_REQUEST);
}

#[test]
fn debug_tells_no_secret() {
    let world = World::scripted();
    assert_eq!(format!("{:?}", world.provider), format!("DevProvider {{ issuer: {ISSUER:?}, .. }}"));
}

#[tokio::test]
async fn it_is_a_service_with_bounded_bodies() {
    use http_body_util::{BodyExt, Full};

    let provider = World::new().provider;
    let (parts, _) = get("/jwks").into_parts();
    let response = provider.clone().oneshot(Request::from_parts(parts, Full::new(Bytes::new()))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
    let (parts, _) = post("/token", &[]).into_parts();
    let body = Full::new(Bytes::from(vec![b'x'; MAX_BODY + 1]));
    let response = provider.oneshot(Request::from_parts(parts, body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}
