//! The targets: a part of what can be sent, and what must be true of it besides.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use serde_json::{Map, Value, json};
use tower_oidc::store::Record;
use tower_oidc_test_support::browser::Browser;
use tower_oidc_test_support::provider::{CLIENT_ID, Endpoint};
use url::Url;

use crate::dice::Dice;
use crate::world::{ALICE, APP, Mode, OP, SESSION, World, check};

type Run = for<'a> fn(&'a mut World, &'a mut Dice) -> Pin<Box<dyn Future<Output = bool> + 'a>>;

pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) mode: Mode,
    /// Whether the input was accepted.
    pub(crate) run: Run,
}

macro_rules! targets {
    ($($name:ident $mode:ident $about:literal)*) => {
        pub(crate) const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            about: $about,
            mode: Mode::$mode,
            run: |world, dice| Box::pin($name(world, dice)),
        }),*];
    };
}

targets! {
    endpoints PerUser "query and form of each endpoint, with alice's cookies"
    endpoints_stateless Stateless "the same in stateless mode"
    callback PerUser "the authorization response of a login under way"
    return_to PerUser "where a login leads back to"
    cookies PerUser "the `Cookie` header"
    cookies_stateless Stateless "the `Cookie` header with sealed sessions and tokens"
    id_token_text PerUser "the compact form of an ID token"
    id_token_claims PerUser "header and claims of an ID token, honestly signed"
    token_response PerUser "members of a token response"
    refresh_response PerUser "members of the response to a refresh"
    user_info PerUser "members of a UserInfo response"
    metadata PerUser "members of the metadata"
    key_set PerUser "members of the key set"
    answers PerUser "any answer of the provider, from its first byte"
    logout_token PerUser "logout tokens"
    challenge PerUser "what an API answers"
    rows PerUser "rows of the store"
    rows_stateless Stateless "rows of the store in stateless mode"
}

const PATHS: &[&str] = &[
    "login",
    "initiate",
    "callback",
    "callback/op",
    "logout",
    "backchannel-logout",
    "frontchannel-logout",
    "connect",
    "connect/",
    "granted",
    "disconnect",
    "development",
    "",
    "/",
    "login/",
    "nothing",
];

const QUERIES: &[&str] = &[
    "return_to=/who",
    "return_to=%2Fwho&prompt=none&max_age=10&login_hint=alice&acr_values=a+b&provider=op",
    "code=a&state=b",
    "code=a&state=b&iss=https%3A%2F%2Fop.test",
    "error=access_denied&error_description=no&state=b",
    "error=login_required&state=b",
    "iss=https%3A%2F%2Fop.test&sid=s",
    "iss=https%3A%2F%2Fop.test&target_link_uri=%2Fwho&login_hint=alice",
    "connection=cal&return_to=/",
    "name=cal&once=1&return_to=/who",
    "token=AAAA&return_to=/",
    "state=AAAA",
    "logout_token=eyJhbGciOiJSUzI1NiJ9.e30.AAAA",
    "response=eyJhbGciOiJSUzI1NiJ9.e30.AAAA",
    "resume=AAAA",
    "",
];

const HEADERS: &[(&str, &[&str])] = &[
    ("accept", &["text/html", "application/json", "*/*;q=0", "text/html;q=x,"]),
    ("sec-fetch-mode", &["navigate", "cors", "no-cors", "websocket"]),
    ("sec-fetch-site", &["none", "same-origin", "cross-site", "same-site"]),
    ("sec-fetch-dest", &["document", "iframe", "image", "empty"]),
    ("origin", &["https://app.test", "https://evil.test", "null"]),
    ("referer", &["https://app.test/who", "https://evil.test/", "x"]),
    ("content-type", &["application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=x"]),
    ("purpose", &["prefetch"]),
    ("authorization", &["Bearer x", "Basic eA=="]),
];

/// A request as a browser or a script of any intention makes it; none where it is no HTTP.
fn request(dice: &mut Dice, path: &str, query: &[u8], cookie: Option<&[u8]>) -> Option<Request<Bytes>> {
    let method = dice.pick(&[Method::GET, Method::GET, Method::POST, Method::HEAD, Method::PUT].each_ref()).clone();
    let posted = method == Method::POST && !dice.once_in(4);
    let url = match posted {
        true => format!("{APP}{path}"),
        false => format!("{APP}{path}?{}", String::from_utf8_lossy(query)),
    };
    let mut request = Request::builder().method(method).uri(url);
    for (name, values) in HEADERS {
        if dice.once_in(3) {
            let value = dice.pick(values);
            let value = if dice.once_in(6) { dice.spoil(value.as_bytes()) } else { value.as_bytes().to_vec() };
            request = request.header(*name, HeaderValue::from_bytes(&value).ok()?);
        }
    }
    if let Some(cookie) = cookie {
        request = request.header("cookie", HeaderValue::from_bytes(cookie).ok()?);
    }
    request.body(if posted { Bytes::copy_from_slice(query) } else { Bytes::new() }).ok()
}

async fn endpoints(world: &mut World, dice: &mut Dice) -> bool {
    let path = format!("/auth/{}", dice.pick(PATHS));
    let path = if dice.once_in(8) { format!("/{}", dice.spoil_text(&path[1..])) } else { path };
    let query = dice.pick(QUERIES);
    let query = dice.spoil(query.as_bytes());
    let Some(request) = request(dice, &path, &query, None) else { return false };
    if request.uri().host().is_none_or(|host| host != "app.test") {
        return false;
    }
    let response = world.alice.raw_with_cookies(request).await;
    check(&path, &response, &[]);
    let who = world.who(&world.alice).await;
    assert!(who.as_deref().is_none_or(|who| who == ALICE), "{who:?}");
    if who.is_none() {
        sign_in_again(world).await;
    }
    response.status().is_success() || response.status().is_redirection()
}

async fn endpoints_stateless(world: &mut World, dice: &mut Dice) -> bool {
    endpoints(world, dice).await
}

/// An honest login must be possible after everything.
async fn sign_in_again(world: &mut World) {
    world.op.honest();
    world.alice = world.browser();
    world.clock.advance(Duration::from_secs(60));
    world.sign_in(&world.alice, &format!("{APP}/auth/login?return_to=/who"), &[]).await;
    let who = world.who(&world.alice).await;
    assert_eq!(who.as_deref(), Some(ALICE), "alice cannot sign in any more");
}

async fn callback(world: &mut World, dice: &mut Dice) -> bool {
    let browser = world.browser();
    let begun = Request::get(format!("{APP}/auth/login?return_to=/who")).body(Bytes::new()).unwrap();
    let begun = browser.raw_with_cookies(begun).await;
    check("login", &begun, &[]);
    let to = begun.headers()["location"].to_str().unwrap().to_owned();
    let back = browser.raw_with_cookies(Request::get(&to).body(Bytes::new()).unwrap()).await;
    let back = back.headers()["location"].to_str().unwrap().to_owned();
    let (_, query) = back.split_once('?').unwrap();
    let spoilt = dice.spoil(query.as_bytes());
    let Some(request) = request(dice, "/auth/callback", &spoilt, None) else { return false };
    let response = browser.raw_with_cookies(request).await;
    check(&String::from_utf8_lossy(&spoilt), &response, &[]);
    let who = world.who(&browser).await;
    assert!(who.as_deref().is_none_or(|who| who == ALICE), "{who:?}");
    if who.is_some() {
        let told: Vec<_> = form_urlencoded::parse(&spoilt).into_owned().collect();
        for (name, value) in
            form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "code" || name == "state")
        {
            assert!(told.contains(&(name.into_owned(), value.into_owned())), "signed in by {told:?} for {query}");
        }
    }
    who.is_some()
}

async fn return_to(world: &mut World, dice: &mut Dice) -> bool {
    let to = dice.pick(&["/who", "/who?a=b#c", "https://app.test/who", "/private", "//evil.test", "/a/../b"]);
    let to = dice.spoil_text(to);
    let browser = world.browser();
    let mut login = Url::parse(&format!("{APP}/auth/login")).unwrap();
    login.query_pairs_mut().append_pair("return_to", &to);
    let login: String = login.into();
    let Ok(first) = Request::get(login.as_str()).body(Bytes::new()) else { return false };
    check(&login, &browser.raw(first).await, &[]);
    world.sign_in(&browser, &login, &[]).await;
    world.who(&browser).await.is_some()
}

/// What alice's browser sends.
fn cookie_header(browser: &Browser) -> String {
    let cookies = browser.cookies_for(&format!("{APP}/who"));
    cookies.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect::<Vec<_>>().join("; ")
}

async fn cookies(world: &mut World, dice: &mut Dice) -> bool {
    let honest = cookie_header(&world.alice);
    let mut spoilt = dice.spoil(honest.as_bytes());
    if dice.once_in(5) {
        spoilt.extend_from_slice(b"; ");
        spoilt.extend(dice.spoil(honest.as_bytes()));
    }
    // More than proxies let through.
    spoilt.truncate(200_000);
    let path = dice.pick(&[
        "/who",
        "/who",
        "/private",
        "/tok",
        "/auth/logout",
        "/auth/callback",
        "/auth/login",
        "/auth/granted",
    ]);
    let Some(request) = request(dice, path, b"return_to=/who", Some(&spoilt)) else { return false };
    let response = world.browser().raw(request).await;
    let body = check(&String::from_utf8_lossy(&spoilt), &response, &[]);
    if path == "/who" && response.status() == 200 && body.contains("sub") {
        assert!(body.contains(ALICE), "{body}");
        let session = world.alice.cookie(SESSION);
        let kept = session.is_none_or(|session| String::from_utf8_lossy(&spoilt).contains(&session.value));
        assert!(kept, "a session by another cookie than its own: {}", String::from_utf8_lossy(&spoilt));
        return true;
    }
    false
}

async fn cookies_stateless(world: &mut World, dice: &mut Dice) -> bool {
    cookies(world, dice).await
}

/// A login whose provider was told something; whoever is signed in then.
async fn attempt(world: &World, allowed: &[u16]) -> Option<String> {
    let browser = world.browser();
    world.sign_in(&browser, &format!("{APP}/auth/login?return_to=/who"), allowed).await;
    world.who(&browser).await
}

async fn id_token_text(world: &mut World, dice: &mut Dice) -> bool {
    let (dice, kept) = (dice.clone(), Arc::new(Mutex::new(false)));
    let same = Arc::clone(&kept);
    world.op.edit_tokens(move |tokens| {
        let honest = tokens["id_token"].as_str().unwrap().to_owned();
        let spoilt = dice.clone().spoil_text(&honest);
        *same.lock().unwrap() = spoilt == honest;
        tokens.insert("id_token".into(), spoilt.into());
    });
    let who = attempt(world, &[502]).await;
    world.op.honest();
    let kept = *kept.lock().unwrap();
    assert!(who.is_none() || kept, "signed in by a token that the provider did not sign");
    past_pauses(world);
    kept
}

/// A provider that lied is asked again after a pause.
fn past_pauses(world: &World) {
    world.clock.advance(Duration::from_secs(5));
}

async fn id_token_claims(world: &mut World, dice: &mut Dice) -> bool {
    let (dice, said) = (dice.clone(), Arc::new(Mutex::new(String::new())));
    let heard = Arc::clone(&said);
    world.op.edit_id_token(move |draft| {
        let mut dice = dice.clone();
        if dice.once_in(4) {
            draft.header_text = Some(dice.spoil_text(&Value::Object(draft.header.clone()).to_string()));
        }
        let claims = Value::Object(draft.claims.clone()).to_string();
        let spoilt = if dice.once_in(5) { claims } else { dice.spoil_text(&claims) };
        *heard.lock().unwrap() = spoilt.clone();
        draft.payload_text = Some(spoilt);
    });
    let who = attempt(world, &[502]).await;
    world.op.honest();
    past_pauses(world);
    if let Some(who) = &who {
        let said = said.lock().unwrap().clone();
        let claims: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("believed, and no JSON: {said}"));
        let nonce = world.op.last_authorization().get("nonce").unwrap().to_owned();
        assert_eq!(claims["iss"], OP, "{said}");
        assert_eq!(claims["nonce"], nonce, "{said}");
        assert_eq!(claims["sub"], who.as_str(), "{said}");
        let audience = claims["aud"].as_str() == Some(CLIENT_ID)
            || claims["aud"].as_array().is_some_and(|aud| aud.contains(&json!(CLIENT_ID)));
        assert!(audience, "{said}");
        let exp = claims["exp"].as_f64().or_else(|| claims["exp"].as_str()?.parse().ok());
        assert!(exp.is_some_and(|exp| exp > world.clock.now() as f64 - 300.0), "{said}");
    }
    who.is_some()
}

/// Spoils the text of an object, or of one of its members. Where it still is an object, it takes the place of the honest one.
fn spoil_members(dice: &mut Dice, members: &mut Map<String, Value>) {
    let one = dice.below(2 * members.len());
    let part = match members.iter().nth(one) {
        Some((name, value)) => Map::from_iter([(name.clone(), value.clone())]),
        None => members.clone(),
    };
    let text = Value::Object(part.clone()).to_string();
    for _ in 0..8 {
        if let Ok(Value::Object(spoilt)) = serde_json::from_slice(&dice.spoil(text.as_bytes())) {
            members.retain(|name, _| !part.contains_key(name));
            members.extend(spoilt);
            return;
        }
    }
}

fn spoiler(dice: &Dice) -> impl Fn(&mut Map<String, Value>) + Send + Sync + 'static {
    let dice = dice.clone();
    move |members| spoil_members(&mut dice.clone(), members)
}

async fn token_response(world: &mut World, dice: &mut Dice) -> bool {
    world.op.edit_tokens(spoiler(dice));
    let who = attempt(world, &[502, 503]).await;
    world.op.honest();
    past_pauses(world);
    assert!(who.as_deref().is_none_or(|who| who == ALICE), "{who:?}");
    who.is_some()
}

async fn refresh_response(world: &mut World, dice: &mut Dice) -> bool {
    world.op.edit_refreshed_tokens(spoiler(dice));
    world.clock.advance(Duration::from_secs(3600));
    let request = Request::get(format!("{APP}/tok")).header("accept", "application/json").body(Bytes::new()).unwrap();
    let response = world.alice.raw_with_cookies(request).await;
    let body = check("/tok", &response, &[502, 503]);
    world.op.honest();
    past_pauses(world);
    let good = response.status() == 200;
    if good && let Some(owner) = world.op.owner_of(&body) {
        assert_eq!(owner, "alice", "somebody else's token");
    }
    if !good {
        sign_in_again(world).await;
    }
    good
}

async fn user_info(world: &mut World, dice: &mut Dice) -> bool {
    world.op.edit_userinfo(spoiler(dice));
    let who = attempt(world, &[502, 503]).await;
    world.op.honest();
    past_pauses(world);
    assert!(who.as_deref().is_none_or(|who| who == ALICE), "{who:?}");
    who.is_some()
}

async fn metadata(world: &mut World, dice: &mut Dice) -> bool {
    world.op.edit_discovery(spoiler(dice));
    world.restart();
    // Where the provider says that people sign in, they are sent.
    let request = Request::get(format!("{APP}/auth/login?return_to=/who")).body(Bytes::new()).unwrap();
    let browser = world.browser();
    let response = browser.raw_with_cookies(request).await;
    let status = response.status().as_u16();
    assert!([200, 303, 502, 503].contains(&status), "{status} {:?}", response.body());
    if let Some(to) = response.headers().get("location") {
        let to = to.to_str().unwrap();
        assert!(to.starts_with("https://"), "{to}");
        if to.starts_with(&format!("{OP}/")) {
            world.sign_in(&browser, to, &[502, 503]).await;
        }
    }
    let who = world.who(&browser).await;
    world.op.honest();
    world.restart();
    assert!(who.as_deref().is_none_or(|who| who == ALICE), "{who:?}");
    who.is_some()
}

async fn key_set(world: &mut World, dice: &mut Dice) -> bool {
    world.op.edit_key_set(spoiler(dice));
    world.restart();
    let who = attempt(world, &[502, 503]).await;
    world.op.honest();
    world.restart();
    assert!(who.as_deref().is_none_or(|who| who == ALICE), "{who:?}");
    who.is_some()
}

const ANSWERS: &[&str] = &[
    r#"{"access_token":"a","token_type":"Bearer","expires_in":300,"refresh_token":"r","id_token":"e30.e30.AA","scope":"openid"}"#,
    "access_token=a&token_type=bearer&expires_in=300",
    r#"{"error":"invalid_grant","error_description":"no"}"#,
    r#"{"error":"temporarily_unavailable"}"#,
    r#"{"request_uri":"urn:ietf:params:oauth:request_uri:x","expires_in":60}"#,
    r#"{"sub":"a1","email":"alice@example.com","email_verified":true}"#,
    r#"{"keys":[{"kty":"RSA","kid":"1","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#,
    r#"{"issuer":"https://op.test","authorization_endpoint":"https://op.test/authorize","token_endpoint":"https://op.test/token","jwks_uri":"https://op.test/jwks","response_types_supported":["code"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256"]}"#,
    "<html>",
    "[[[[[[[[[[[[[[[[",
    "",
];

async fn answers(world: &mut World, dice: &mut Dice) -> bool {
    use Endpoint::{Discovery, FetchUserInfo, KeySet, Par, Refresh, Revocation, Token};
    let endpoint = dice.pick(&[Discovery, FetchUserInfo, KeySet, Par, Refresh, Revocation, Token]);
    let body = dice.pick(ANSWERS);
    let body = dice.spoil(body.as_bytes());
    let status = dice.pick(&[200, 200, 200, 201, 204, 302, 400, 401, 404, 429, 500, 503]);
    let kind =
        dice.pick(&["application/json", "application/x-www-form-urlencoded", "text/html", "application/jwt", ""]);
    let mut response = Response::builder().status(status).header("content-type", kind);
    if dice.once_in(4) {
        let value = dice.spoil(dice.clone().pick(&["5", "Fri, 31 Dec 1999 23:59:59 GMT", "-1"]).as_bytes());
        response =
            response.header("retry-after", HeaderValue::from_bytes(&value).unwrap_or(HeaderValue::from_static("x")));
    }
    if dice.once_in(4) {
        let value =
            dice.spoil(dice.clone().pick(&["max-age=5", "no-store", "max-age=99999999999999999999"]).as_bytes());
        response =
            response.header("cache-control", HeaderValue::from_bytes(&value).unwrap_or(HeaderValue::from_static("x")));
    }
    world.op.set(|settings| settings.pushed_authorization = endpoint == Par);
    world.op.answer_with(endpoint, response.body(body.into()).expect("a response"));
    let good = match endpoint {
        Refresh | Revocation => {
            world.clock.advance(Duration::from_secs(3600));
            let path = if endpoint == Refresh { "/tok" } else { "/auth/disconnect?connection=cal" };
            let request = Request::get(format!("{APP}{path}")).header("accept", "application/json");
            let response = world.alice.raw_with_cookies(request.body(Bytes::new()).unwrap()).await;
            check(path, &response, &[502, 503]);
            sign_in_again(world).await;
            response.status() == 200
        }
        _ => {
            world.restart();
            let request = Request::get(format!("{APP}/auth/login?return_to=/who")).body(Bytes::new()).unwrap();
            let browser = world.browser();
            let response = browser.raw_with_cookies(request).await;
            assert!([200, 303, 502, 503].contains(&response.status().as_u16()), "{:?}", response);
            let to = response.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
            if let Some(to) = to.filter(|to| to.starts_with(&format!("{OP}/authorize"))) {
                world.sign_in(&browser, &to, &[502, 503]).await;
            }
            let who = world.who(&browser).await;
            assert!(who.as_deref().is_none_or(|who| who == ALICE), "{who:?}");
            who.is_some()
        }
    };
    world.op.honest();
    world.op.set(|settings| settings.pushed_authorization = false);
    past_pauses(world);
    good
}

async fn logout_token(world: &mut World, dice: &mut Dice) -> bool {
    let in_claims = dice.once_in(2);
    let payload = dice.clone();
    let honest = world.op.logout_token(CLIENT_ID, "alice", None, |draft| {
        if in_claims {
            let claims = Value::Object(draft.claims.clone()).to_string();
            draft.payload_text = Some(payload.clone().spoil_text(&claims));
        }
    });
    let sent = if in_claims { honest.clone() } else { dice.spoil_text(&honest) };
    let body: String = form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", &sent).finish();
    let body = if dice.once_in(6) { dice.spoil(body.as_bytes()) } else { body.into_bytes() };
    let request = Request::post(format!("{APP}/auth/backchannel-logout"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(body.clone()))
        .unwrap();
    let response = world.browser().raw(request).await;
    check(&sent, &response, &[]);
    let good = response.status() == 200 || response.status() == 204;
    let told = form_urlencoded::parse(&body).any(|(name, value)| name == "logout_token" && value == honest);
    assert!(!good || told, "a logout by a token that the provider did not sign: {sent}");
    let who = world.who(&world.alice).await;
    assert!(who.is_some() || good, "signed out without a logout: {sent}");
    if who.is_none() {
        sign_in_again(world).await;
    }
    past_pauses(world);
    good
}

async fn challenge(world: &mut World, dice: &mut Dice) -> bool {
    let challenge = dice.pick(&[
        r#"Bearer error="invalid_token", error_description="expired""#,
        r#"Bearer realm="a", error="insufficient_scope", scope="cal.read cal.write""#,
        r#"Basic realm="x", Bearer error="invalid_token""#,
        r#"Bearer error="insufficient_user_authentication", acr_values="a b", max_age=10"#,
        r#"DPoP algs="ES256", Bearer"#,
    ]);
    let challenge = dice.spoil_text(challenge);
    if HeaderValue::from_str(&challenge).is_err() {
        return false;
    }
    world.api.refuse("/cal/x", 1, &challenge);
    let request = Request::get(format!("{APP}/fetch")).header("accept", "application/json").body(Bytes::new()).unwrap();
    let response = world.alice.raw_with_cookies(request).await;
    check(&challenge, &response, &[502, 503]);
    world.api.behave();
    past_pauses(world);
    if world.who(&world.alice).await.is_none() || response.status() != 200 {
        sign_in_again(world).await;
    }
    response.status() == 200
}

async fn rows(world: &mut World, dice: &mut Dice) -> bool {
    let mut rows = world.store.dump().await;
    if rows.is_empty() {
        return false;
    }
    rows.sort_by_key(|(key, _)| key.0);
    let (key, stored) = rows[dice.below(rows.len())].clone();
    let other = &rows[dice.below(rows.len())].1.record;
    let record = match dice.below(4) {
        // Another row's, whole: what somebody does who can write to the database.
        0 => other.clone(),
        1 => Record { tags: other.tags.clone(), ..stored.record.clone() },
        2 => Record { expires_at: other.expires_at, ..stored.record.clone() },
        _ => {
            let mut bytes = dice.spoil(&stored.record.bytes);
            bytes.truncate(16_000);
            Record { bytes: bytes.into(), ..stored.record.clone() }
        }
    };
    world.store.plant(key, record).await;
    // A process that has no copy.
    world.restart();
    let who = world.who(&world.alice).await;
    assert!(who.as_deref().is_none_or(|who| who == ALICE), "{who:?}");
    for path in ["/tok", "/auth/login", "/auth/logout"] {
        let request =
            Request::get(format!("{APP}{path}")).header("accept", "application/json").body(Bytes::new()).unwrap();
        let response = world.alice.raw_with_cookies(request).await;
        let body = check(path, &response, &[503]);
        if path == "/tok" && response.status() == 200 {
            assert_eq!(world.op.owner_of(&body).as_deref(), Some("alice"));
        }
    }
    world.store.plant(key, stored.record).await;
    if who.is_none() {
        world.restart();
        sign_in_again(world).await;
    }
    who.is_some()
}

async fn rows_stateless(world: &mut World, dice: &mut Dice) -> bool {
    rows(world, dice).await
}
