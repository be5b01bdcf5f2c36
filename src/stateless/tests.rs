//! What three real shapes of tokens take in cookies: the numbers of the documentation.

use serde_json::json;

use super::payload::{ClaimsPayload, GrantPayload};
use crate::clock::{Random, Timestamp};
use crate::config::checks::LEAST;
use crate::cookie::CookiePolicy;
use crate::protocol::id_token::OriginalIdToken;
use crate::records::grant::{Grant, GrantSource, GrantStatus, Owner, TokenSet};
use crate::records::seal::{KeyRing, Purpose};
use crate::records::sealed_cookie::{CookieBinding, SealedCookie};
use crate::secret::Secret;
use crate::sessions::identity::SessionPayload;
use crate::sessions::session::{SessionCookie, SessionRecord};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ISSUER: &str = "https://login.example.com/tenant";
const SUBJECT: &str = "248289761001";

/// Characters as of base64url, which nothing can make shorter than three quarters.
fn opaque(length: usize) -> String {
    let mut state = 1_u64;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(alphabet[(state >> 58) as usize])
    };
    let whole = (0..length - length % 4).map(|_| next()).collect::<String>();
    whole + &"A".repeat(length % 4)
}

/// A signed token of so many characters altogether: a header, a payload, and an RS256 signature.
fn jwt(length: usize) -> String {
    let (header, signature) = (opaque(64), opaque(340) + "AA");
    let payload = opaque(length - header.len() - signature.len() - 2);
    format!("{header}.{payload}.{signature}")
}

/// An ID token with the claims of `openid email profile`.
fn id_token() -> String {
    use base64::Engine;
    let payload = json!({
        "iss": ISSUER, "sub": SUBJECT, "aud": "s6BhdRkqt3", "exp": 1_800_003_600, "iat": 1_800_000_000,
        "auth_time": 1_799_999_990, "nonce": opaque(43), "at_hash": opaque(22), "sid": opaque(36),
        "name": "Ada Lovelace", "given_name": "Ada", "family_name": "Lovelace", "email": "ada@example.com",
        "email_verified": true, "preferred_username": "ada", "locale": "en-GB",
    });
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload.to_string());
    format!("{}.{payload}.{}AA", opaque(64), opaque(340))
}

fn claims() -> String {
    json!({
        "name": "Ada Lovelace", "given_name": "Ada", "family_name": "Lovelace", "email": "ada@example.com",
        "email_verified": true, "preferred_username": "ada", "locale": "en-GB",
    })
    .to_string()
}

/// A login's session.
fn session() -> SessionRecord {
    let identity = SessionPayload {
        home: None,
        issuer: ISSUER.into(),
        subject: SUBJECT.into(),
        sids: vec![opaque(36)],
        auth_time: Some(1_799_999_990),
        issued_at: 1_800_000_000,
        began_at: NOW,
        stored_at: NOW,
        algorithms: crate::protocol::jws::Algorithm::from_name("RS256").into_iter().collect(),
        acr: None,
        roles: Box::default(),
        logout_token: [7; 16],
        ends_at: NOW.saturating_add(std::time::Duration::from_secs(7 * 86_400)),
    };
    SessionRecord { identity, claims: claims(), id_token: id_token().into(), ..SessionRecord::default() }
}

/// What the login yields.
fn login_grant(access_token: &str, refresh_token: &str) -> Grant {
    Grant {
        owner: Owner::User { issuer: ISSUER.into(), subject: SUBJECT.into() },
        client: [1; 32],
        connection: "login".into(),
        origin: GrantSource::Consent,
        generation: 1,
        refresh_token: Some(Secret::from(refresh_token)),
        original: Some(OriginalIdToken {
            issuer: ISSUER.into(),
            subject: SUBJECT.into(),
            issued_at: 1_800_000_000,
            auth_time: Some(1_799_999_990),
            authorized_party: None,
            nonce: Some(opaque(43).into()),
        }),
        scopes: ["openid", "email", "profile", "offline_access", "calendar.read"].map(str::to_owned).to_vec(),
        token_sets: vec![TokenSet {
            indicator: None,
            scopes: None,
            access_token: Secret::from(access_token),
            issued_at: NOW,
            expires_at: Some(NOW.saturating_add(std::time::Duration::from_secs(3600))),
            after_rejection: true,
        }],
        lease: None,
        status: GrantStatus::Active,
        consent: None,
        earlier: None,
        hold: None,
        replaces: false,
        refused_at: None,
    }
}

/// Session, claims, grant: bytes in each request, and cookies.
fn cookies(access_token: &str, refresh_token: &str) -> [(usize, usize); 3] {
    let (record, grant) = (session(), login_grant(access_token, refresh_token));
    let style = CookiePolicy::new("tower-oidc", true);
    let keys = KeyRing::new(&["a secret for seals, of 32 bytes and more".into()], b"app");
    let seal = |purpose, name: &str, contents: &[u8]| {
        let place = CookieBinding { purpose, name: name.to_owned(), owner: Vec::new() };
        let set = place.seal(&keys, &style, &Random::system(), (NOW, record.ends_at), contents).unwrap();
        (set.iter().map(|one: &SealedCookie| one.sent).sum::<usize>(), set.len())
    };
    let identity = SessionCookie::new([9; 32], &record);
    let [identity, claims, grant] = [
        postcard::to_allocvec(&identity).unwrap(),
        postcard::to_allocvec(&ClaimsPayload::new(&record.claims, &record.id_token)).unwrap(),
        postcard::to_allocvec(&GrantPayload::new(&grant)).unwrap(),
    ];
    [
        seal(Purpose::CarriedSession, &style.name("session"), &identity),
        seal(Purpose::CarriedClaims, &style.name("claims.q8Zk1A"), &claims),
        seal(Purpose::GrantPayload, &style.name("grant.q8Zk1A.login"), &grant),
    ]
}

/// The table in `stateless.md` says what is so.
#[test]
fn the_documented_sizes_are_those_of_three_real_shapes() {
    let shapes = [
        ("opaque tokens of 43 characters", cookies(&opaque(43), &opaque(43))),
        ("a JWT of 1 KiB, an opaque refresh token", cookies(&jwt(1024), &opaque(43))),
        ("a JWT of 2 KiB, a refresh token of 1.5 KiB", cookies(&jwt(2048), &opaque(1536))),
    ];
    let mut table = String::new();
    for (shape, [session, claims, grant]) in shapes {
        let (bytes, count) = (session.0 + claims.0 + grant.0, session.1 + claims.1 + grant.1);
        let parts = format!("{} | {} | {}", session.0, claims.0, grant.0);
        table.push_str(&format!("| {shape} | {parts} | **{bytes}** in {count} |\n"));
        assert!(bytes <= 6 * 1024, "the default limit takes it");
    }
    let page = include_str!("../docs/stateless.md");
    assert!(page.contains(&table), "stateless.md lacks:\n{table}");
}

/// What is refused as too little for any session is.
#[test]
fn no_session_is_smaller_than_the_least() {
    use base64::Engine;
    let payload = json!({
        "iss": "https://a.b", "sub": "1", "aud": "c", "exp": 1_800_003_600, "iat": 1_800_000_000, "nonce": opaque(43),
    });
    let base64url = &base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (header, payload) = (base64url.encode(r#"{"alg":"ES256"}"#), base64url.encode(payload.to_string()));
    let identity = SessionPayload {
        home: None,
        issuer: "https://a.b".into(),
        subject: "1".into(),
        sids: Vec::new(),
        auth_time: None,
        issued_at: 1_800_000_000,
        began_at: NOW,
        stored_at: NOW,
        algorithms: crate::protocol::jws::Algorithm::from_name("RS256").into_iter().collect(),
        acr: None,
        roles: Box::default(),
        logout_token: [7; 16],
        ends_at: NOW.saturating_add(std::time::Duration::from_secs(1)),
    };
    let record = SessionRecord {
        identity,
        claims: "{}".into(),
        id_token: format!("{header}.{payload}.{}AA", opaque(84)).into(),
        ..SessionRecord::default()
    };
    let style = CookiePolicy::new("a", false);
    let [session, claims] = [
        ("session", postcard::to_allocvec(&SessionCookie::new([9; 32], &record))),
        ("claims.q8Zk1A", postcard::to_allocvec(&ClaimsPayload::new(&record.claims, &record.id_token))),
    ]
    .map(|(name, contents)| {
        let (purpose, name) = (Purpose::CarriedSession, style.name(name));
        let place = CookieBinding { purpose, name, owner: Vec::new() };
        let keys = KeyRing::new(&["a secret for seals, of 32 bytes and more".into()], b"app");
        let times = (NOW, record.ends_at);
        let set = place.seal(&keys, &style, &Random::system(), times, &contents.unwrap()).unwrap();
        crate::stateless::sent(&set)
    });
    let bytes = session + claims;
    assert!((LEAST..LEAST + 200).contains(&bytes), "{session} and {claims}");
}
