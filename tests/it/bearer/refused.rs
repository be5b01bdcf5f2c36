//! Tokens that are no access tokens for this application, each beside the one that is.

use serde_json::json;
use tower_oidc::{Config, EventCode};

use super::*;
use crate::support::app::{logout_link, session_of};
use crate::support::provider::keys::{Alg, Key};
use crate::support::provider::{CLIENT_ID, LyingProvider};

type Edit = fn(&mut Draft);

/// What is wrong with a token, and what the challenge says.
const LIES: &[(&str, Edit, &str)] = &[
    (
        "another audience",
        |jwt| jwt.claim("aud", "https://other.test"),
        "aud is 'https://other.test', expected 'https://app.test/api'",
    ),
    ("no audience", |jwt| jwt.without("aud"), "aud is missing"),
    ("an audience that begins so", |jwt| jwt.claim("aud", "https://app.test/api/x"), "aud is"),
    ("another issuer", |jwt| jwt.claim("iss", "https://evil.test"), "no JWT of a provider for logins"),
    ("no issuer", |jwt| jwt.without("iss"), "no JWT of a provider for logins"),
    (
        "expired",
        |jwt| {
            let then = jwt.now() - 61;
            jwt.claim("exp", then)
        },
        "exp is",
    ),
    ("without an end", |jwt| jwt.without("exp"), "exp is missing"),
    (
        "not yet",
        |jwt| {
            let then = jwt.now() + 62;
            jwt.claim("nbf", then)
        },
        "nbf is",
    ),
    (
        "from the future",
        |jwt| {
            let then = jwt.now() + 62;
            jwt.claim("iat", then)
        },
        "iat is",
    ),
    ("without a date", |jwt| jwt.without("iat"), "iat is missing"),
    ("the type of an ID token", |jwt| jwt.head("typ", "JWT"), "typ is 'JWT', expected at+jwt"),
    ("without a type", |jwt| drop(jwt.header.remove("typ")), "typ is missing, expected at+jwt"),
    ("the type of a logout token", |jwt| jwt.head("typ", "logout+jwt"), "typ is 'logout+jwt'"),
    ("a nonce", |jwt| jwt.claim("nonce", "n"), "nonce is"),
    ("a hash of an access token", |jwt| jwt.claim("at_hash", "h"), "at_hash is"),
    ("events", |jwt| jwt.claim("events", json!({})), "events is"),
    ("bound to a key", |jwt| jwt.claim("cnf", json!({ "jkt": "x" })), "cnf is"),
    ("Keycloak's refresh token", |jwt| jwt.claim("typ", "Refresh"), "typ is 'Refresh', expected 'bearer'"),
    ("Cognito's ID token", |jwt| jwt.claim("token_use", "id"), "token_use is 'id', expected 'access'"),
    ("another algorithm", |jwt| jwt.sign_with(Key::stranger(Alg::Es256)), "alg is"),
    (
        "a stranger's key",
        |jwt| jwt.sign_with(Key::stranger(Alg::Rs256)),
        "signed with a key that the provider does not publish",
    ),
    (
        "no signature",
        |jwt| {
            jwt.head("alg", "none");
            jwt.seal = crate::support::provider::jwt::Seal::Empty
        },
        "alg is 'none'",
    ),
    ("a spoiled signature", |jwt| jwt.seal = crate::support::provider::jwt::Seal::Spoiled(jwt.key()), "signature"),
    ("a critical header", |jwt| jwt.head("crit", json!(["x"])), "crit is"),
    ("without a subject", |jwt| jwt.without("sub"), "sub is missing"),
    ("a subject that is too long", |jwt| jwt.claim("sub", "x".repeat(256)), "sub is"),
];

/// RFC 6750 section 3.1: 401, and what is wrong.
fn assert_refused(answer: &Response<Bytes>, what: &str, why: &str) {
    assert_eq!(answer.status(), 401, "{what}: {:?}", answer.body());
    let challenge = challenge(answer);
    let begin = "Bearer error=\"invalid_token\", error_description=\"";
    assert!(challenge.starts_with(begin) && challenge.ends_with(METADATA), "{what}: {challenge}");
    assert!(challenge.contains(why), "{what}: {challenge}");
    assert_eq!(body(answer)["code"], "invalid_token");
    assert!(answer.headers().get("set-cookie").is_none());
}

#[tokio::test]
async fn each_wrong_token_is_refused_with_its_reason() {
    let world = world(|config| config);
    for (what, lie, why) in LIES {
        assert_eq!(world.api("/private", &world.token("alice", |_| ())).await.status(), 200, "the control");
        let token = world.token("alice", lie);
        for time in ["first", "again"] {
            assert_refused(&world.api("/private", &token).await, &format!("{what}, {time}"), why);
        }
    }
    let refused = world.app.events.count(EventCode::BearerRefused);
    assert!((1..=2 * LIES.len()).contains(&refused), "{refused}");
}

/// Other things that the provider or this layer issues are no access tokens.
#[tokio::test]
async fn other_tokens_are_refused() {
    let world = world(|config| config.add_provider(second()));
    let browser = world.browser();
    world.op.sign_in_as("alice");
    browser.visit(&format!("{APP}/auth/login?provider=default&return_to=/who")).await;
    let refresh = world.op.live_refresh_tokens().first().map(|(token, _)| token.clone()).unwrap_or("r".repeat(43));
    let opaque = browser.navigate(&format!("{APP}/tok")).await.text();
    let other = world.signed_in("bob").await;
    other.visit(&logout_link(&other, "/").await).await;
    let id_token = world.op.logouts()[0].get("id_token_hint").expect("an ID token").to_owned();
    for (what, token) in [
        ("an ID token", id_token),
        ("a logout token", world.op.logout_token(CLIENT_ID, "alice", None, |_| ())),
        ("a logout token for the API", world.op.logout_token(AUDIENCE, "alice", None, |_| ())),
        ("a refresh token", refresh),
        ("an opaque access token", opaque),
        ("a session's cookie", session_of(&browser)),
        ("half a token", world.token("alice", |_| ()).rsplit_once('.').unwrap().0.to_owned()),
        ("an encrypted one", format!("{}.x.x", world.token("alice", |_| ()))),
    ] {
        assert_refused(&world.api("/private", &token).await, what, "");
    }
    // A provider that people do not sign in at says nothing of anybody.
    let elsewhere = world.op2.access_jwt(Some("alice"), AUDIENCE, |_| ());
    assert_refused(&world.api("/private", &elsewhere).await, "for connections only", "no JWT of a provider for logins");
    let other = world.token("alice", |jwt| jwt.claim("iss", crate::support::app::OP2));
    assert_refused(&world.api("/private", &other).await, "of another provider by its word alone", "");
}

fn second() -> tower_oidc::ProviderConfig {
    let provider = tower_oidc::ProviderConfig::new(crate::support::app::OP2, CLIENT_ID);
    provider.name("second").client_secret(crate::support::provider::CLIENT_SECRET).without_login()
}

/// Two ways in one request are none: another reader could choose the other one.
#[tokio::test]
async fn two_tokens_in_one_request_are_400() {
    let world = world(|config| config);
    let token = world.token("alice", |_| ());
    let two = |first: &str, second: &str| {
        Request::get(format!("{APP}/private")).header(AUTHORIZATION, first).header(AUTHORIZATION, second)
    };
    let bearer = format!("Bearer {token}");
    for request in [
        two(&bearer, &bearer),
        two("Basic YTpi", &bearer),
        two(&bearer, "Basic YTpi"),
        request("/private?access_token=x", &token),
        request("/private?a=b&access%5Ftoken=", &token),
        request("/private", ""),
        request("/private", "a b"),
        request("/private", "a,b"),
        request("/private", "=="),
        Request::get(format!("{APP}/private")).header(AUTHORIZATION, &b"Bearer \xff"[..]),
        Request::get(format!("{APP}/private")).header(AUTHORIZATION, "bearer"),
    ] {
        let answer = world.asks(request).await;
        assert_eq!(answer.status(), 400, "{:?}", answer.body());
        assert!(challenge(&answer).starts_with("Bearer error=\"invalid_request\""), "{}", challenge(&answer));
    }
    assert_eq!(world.asks(request("/private?token=x", &token)).await.status(), 200);
    assert_eq!(
        world.asks(Request::get(format!("{APP}/who?access_token=x"))).await.status(),
        200,
        "the application's own"
    );
}

/// At a provider whose access tokens have no type of their own, audience and claims still tell them from others.
#[tokio::test]
async fn plain_tokens_are_accepted_where_the_provider_is_said_to_have_them() {
    let plain = |mut config: Config| {
        config.provider = config.provider.plain_jwt_access_tokens(true);
        config
    };
    let world = world(plain);
    let types: [Edit; 4] = [
        |_| (),
        |jwt| jwt.head("typ", "JWT"),
        |jwt| drop(jwt.header.remove("typ")),
        |jwt| jwt.head("typ", "application/at+jwt"),
    ];
    for (at, edit) in types.into_iter().enumerate() {
        assert_eq!(world.api("/private", &world.token("alice", edit)).await.status(), 200, "{at}");
    }
    for (what, lie, why) in
        LIES.iter().filter(|(what, ..)| !["the type of an ID token", "without a type"].contains(what))
    {
        let token = world.token("alice", |jwt| {
            jwt.head("typ", "JWT");
            lie(jwt);
        });
        assert_refused(&world.api("/private", &token).await, what, why);
    }
    let id_token = |op: &LyingProvider| op.access_jwt(Some("alice"), CLIENT_ID, |jwt| jwt.head("typ", "JWT"));
    assert_refused(&world.api("/private", &id_token(&world.op)).await, "an ID token", "aud is");
}

/// A hosted domain holds for tokens, too.
#[tokio::test]
async fn a_token_of_another_domain_is_denied() {
    let world = world(|mut config| {
        config.provider = config.provider.hosted_domain("example.com");
        config
    });
    for (domain, status) in [(json!("example.com"), 200), (json!("evil.test"), 403), (json!(null), 403)] {
        let token = world.token("alice", |jwt| jwt.claim("hd", domain.clone()));
        assert_eq!(world.api("/private", &token).await.status(), status, "{domain}");
    }
}
