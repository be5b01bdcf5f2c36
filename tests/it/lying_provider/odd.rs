//! What real providers send that is odd and harmless, and what looks alike and is refused: each beside the same login without
//! it. A refusal names the member, what was found, and what was expected.

use http::HeaderValue;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use serde_json::{Value, json};
use tower_oidc::{Config, EventCode, FetchUserInfo};

use super::{attempt, is_in, refusal};
use crate::support::app::World;
use crate::support::provider::keys::{Alg, Key};
use crate::support::provider::{Endpoint, LyingProvider};

type Op = LyingProvider;

enum Outcome {
    In,
    /// With an event that names this.
    InTold(&'static str),
    /// With this status, and an event that says this.
    Out(u16, &'static str),
}

use Outcome::{In, InTold, Out};

fn discovery(op: &Op, member: &'static str, value: impl Into<Value>) {
    let value = value.into();
    op.edit_discovery(move |document| drop(document.insert(member.to_owned(), value.clone())));
}

fn keys(op: &Op, edit: impl Fn(&mut Vec<Value>) + Send + Sync + 'static) {
    op.edit_key_set(move |set| edit(set["keys"].as_array_mut().unwrap()));
}

fn claim(op: &Op, name: &'static str, value: impl Into<Value>) {
    let value = value.into();
    op.edit_id_token(move |jwt| jwt.claim(name, value.clone()));
}

fn typ(op: &Op, kind: &'static str) {
    op.edit_id_token(move |jwt| jwt.head("typ", kind));
}

fn token(op: &Op, name: &'static str, value: impl Into<Value>) {
    let value = value.into();
    op.edit_tokens(move |tokens| drop(tokens.insert(name.to_owned(), value.clone())));
}

/// A claim that holds half of a surrogate pair.
fn half(op: &Op, name: &'static str) {
    op.edit_id_token(move |jwt| {
        jwt.without(name);
        let claims = Value::Object(jwt.claims.clone()).to_string();
        let rest = claims.strip_prefix('{').unwrap();
        jwt.payload_text = Some(format!("{{\"{name}\":\"Ann \\ud83d\",{rest}"));
    });
}

/// A document with a byte order mark before it.
fn marked(op: &Op, endpoint: Endpoint, document: Value) {
    let mut body = vec![0xef, 0xbb, 0xbf];
    body.extend(document.to_string().into_bytes());
    op.answer(endpoint, 200, "application/json", body);
}

type Row = (&'static str, fn(&Op), Outcome);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("pushed requests null", |op| discovery(op, "require_pushed_authorization_requests", Value::Null), In),
    ("pushed requests \"false\"", |op| discovery(op, "require_pushed_authorization_requests", "false"), In),
    ("iss in responses \"true\"", |op| {
        discovery(op, "authorization_response_iss_parameter_supported", "true");
        op.edit_authorization_response(|response| response.params.remove("iss"));
    }, Out(400, "iss")),
    ("end_session_endpoint empty", |op| discovery(op, "end_session_endpoint", ""), In),
    ("end_session_endpoint relative", |op| discovery(op, "end_session_endpoint", "/logout"),
        InTold("end_session_endpoint is \"/logout\", expected an https URL")),
    ("end_session_endpoint http", |op| discovery(op, "end_session_endpoint", "http://op.test/logout"),
        InTold("end_session_endpoint is \"http://op.test/logout\"")),
    ("userinfo_endpoint on this machine", |op| discovery(op, "userinfo_endpoint", "http://127.0.0.1:9/u"),
        InTold("userinfo_endpoint")),
    ("token endpoint on this machine", |op| discovery(op, "token_endpoint", "http://127.0.0.1:9/t"),
        Out(503, "token_endpoint is \"http://127.0.0.1:9/t\", expected an https URL")),
    ("methods a text", |op| discovery(op, "token_endpoint_auth_methods_supported", "client_secret_basic"),
        InTold("token_endpoint_auth_methods_supported")),
    ("algorithms with null", |op| discovery(op, "id_token_signing_alg_values_supported", json!(["RS256", null])),
        InTold("id_token_signing_alg_values_supported")),
    ("token_endpoint missing", |op| op.edit_discovery(|document| drop(document.remove("token_endpoint"))),
        Out(503, "token_endpoint is missing, expected an https URL")),
    ("token_endpoint empty", |op| discovery(op, "token_endpoint", ""), Out(503, "token_endpoint is \"\"")),
    ("issuer with a slash", |op| discovery(op, "issuer", "https://op.test/"),
        Out(503, "names the issuer \"https://op.test/\", expected \"https://op.test\"")),
    ("key set marked", |op| marked(op, Endpoint::KeySet, json!({ "keys": [Key { alg: Alg::Rs256, generation: 1 }.jwk()] })), In),
    ("one key without a name", |op| keys(op, |keys| drop(keys[0].as_object_mut().unwrap().remove("kid"))), In),
    ("two keys without a name", |op| keys(op, |keys| {
        keys.push(Key::stranger(Alg::Rs256).jwk());
        keys.iter_mut().for_each(|key| drop(key.as_object_mut().unwrap().remove("kid")));
    }), Out(400, "kid is \"rs256-1\", expected a name, because 2 keys fit")),
    ("two keys without a name, of two types", |op| keys(op, |keys| {
        keys.push(Key { alg: Alg::Es256, generation: 1 }.jwk());
        keys.iter_mut().for_each(|key| drop(key.as_object_mut().unwrap().remove("kid")));
    }), In),
    ("one key with another name", |op| keys(op, |keys| keys[0]["kid"] = json!("other")),
        Out(400, "kid is \"rs256-1\", expected the name of a key that fits its alg, of 1 keys with the names [\"other\"]")),
    ("key_ops null", |op| keys(op, |keys| keys[0]["key_ops"] = Value::Null), In),
    ("key_ops empty", |op| keys(op, |keys| keys[0]["key_ops"] = json!([])), In),
    ("RSA of 1024 bits", |op| keys(op, |keys| keys[0]["n"] = json!("v".repeat(171))), Out(503, "no key")),
    ("alg not announced", |op| {
        keys(op, |keys| keys.push(Key { alg: Alg::Es256, generation: 1 }.jwk()));
        op.edit_id_token(|jwt| {
            jwt.sign_with(Key { alg: Alg::Es256, generation: 1 });
            jwt.without("at_hash");
        });
    }, Out(400, "alg is \"ES256\", expected one that the provider announces and that is accepted: RS256")),
    ("typ JOSE", |op| typ(op, "JOSE"), In),
    ("typ at+jwt", |op| typ(op, "at+jwt"), Out(400, "typ is \"at+jwt\", expected jwt or jose")),
    ("typ logout+jwt", |op| typ(op, "logout+jwt"), Out(400, "typ is \"logout+jwt\"")),
    ("typ dpop+jwt", |op| typ(op, "dpop+jwt"), Out(400, "typ is \"dpop+jwt\"")),
    ("azp null", |op| claim(op, "azp", Value::Null), In),
    ("nbf null", |op| claim(op, "nbf", Value::Null), In),
    ("at_hash null", |op| claim(op, "at_hash", Value::Null), In),
    ("nonce null", |op| claim(op, "nonce", Value::Null), Out(400, "nonce is not the login's")),
    ("exp null", |op| claim(op, "exp", Value::Null), Out(400, "exp is null, expected a date to come")),
    ("sub null", |op| claim(op, "sub", Value::Null), Out(400, "sub is null, expected a text")),
    ("aud of another", |op| claim(op, "aud", "other-app"), Out(400, "aud is \"other-app\", expected \"app\"")),
    ("iat an hour ahead", |op| op.edit_id_token(|jwt| jwt.claim("iat", jwt.now() + 3600)),
        Out(400, "expected a date that has passed, with 60 s of leeway (3600 s after this clock)")),
    ("name with half a surrogate pair", |op| half(op, "name"), InTold("the claim name cannot be read")),
    ("email with half a surrogate pair", |op| half(op, "email"), InTold("the claim email cannot be read")),
    ("sid with half a surrogate pair", |op| half(op, "sid"), Out(400, "sid cannot be read")),
    ("token answer 201", |op| op.set(|settings| settings.token_status = 201), In),
    ("token_type null", |op| token(op, "token_type", Value::Null), In),
    ("token_type mac", |op| token(op, "token_type", "mac"), Out(502, "token_type")),
];

#[tokio::test]
async fn odd_answers_of_real_providers() {
    for (what, tell, outcome) in ROWS {
        let world = World::new();
        tell(&world.op);
        let detail = |code: EventCode, wanted: &str| {
            let events = world.app.events.all();
            let found = events.iter().any(|event| event.code == code && event.detail.contains(wanted));
            assert!(found, "{what}: {wanted:?} is in none of {events:?}");
        };
        match outcome {
            Out(status, wanted) => {
                drop(refusal(&world, what, *status).await);
                let code = if *status == 503 { EventCode::ProviderFailed } else { EventCode::LoginRefused };
                detail(code, wanted);
            }
            In | InTold(_) => {
                let page = attempt(&world).await.1;
                assert!(is_in(&page), "{what}: {} {:?}", page.text(), world.app.events.all());
                if let InTold(wanted) = outcome {
                    detail(EventCode::ProviderMemberIgnored, wanted);
                } else {
                    assert!(!world.app.events.has(EventCode::ProviderMemberIgnored), "{what}");
                }
            }
        }
    }
}

/// Where something is decided by a claim, it must be readable.
#[tokio::test]
async fn a_claim_that_decides_must_be_readable() {
    let with_admins = |mut config: Config| {
        config.admins = vec!["alice@example.com".into()];
        config
    };
    let world = World::with(with_admins);
    half(&world.op, "email");
    drop(refusal(&world, "email", 400).await);
    let events = world.app.events.all();
    assert!(events.iter().any(|event| event.detail.contains("email cannot be read")), "{events:?}");
    let world = World::with(with_admins);
    half(&world.op, "name");
    assert!(is_in(&attempt(&world).await.1), "control: nothing is decided by the name");
}

/// The discovery document and the key set with a byte order mark before them.
#[tokio::test]
async fn byte_order_marks_are_skipped() {
    let world = World::new();
    let document = json!({
        "issuer": "https://op.test", "authorization_endpoint": "https://op.test/authorize",
        "token_endpoint": "https://op.test/token", "jwks_uri": "https://op.test/jwks",
    });
    marked(&world.op, Endpoint::Discovery, document);
    let (_, page) = attempt(&world).await;
    assert!(!world.app.events.has(EventCode::ProviderFailed), "{} {:?}", page.text(), world.app.events.all());
}

/// UserInfo that fails costs nobody their login, unless somebody is let in by what it says.
#[tokio::test]
async fn user_info_that_fails_is_told_of_and_no_more() {
    let failures: [(u16, &str, &str); 5] = [
        (401, "application/json", "{}"),
        (429, "text/plain", ""),
        (503, "text/html", "<h1>Oops</h1>"),
        (204, "application/json", ""),
        (200, "application/jwt", "eyJ.eyJ.sig"),
    ];
    for (status, kind, body) in failures {
        for needed in [false, true] {
            let edit = |mut config: Config| {
                if needed {
                    config.provider.fetch_user_info = FetchUserInfo::Always;
                }
                config
            };
            let world = World::with(edit);
            world.op.set(|settings| settings.claims_in_id_token = false);
            world.op.answer(Endpoint::FetchUserInfo, status, kind, body.to_owned());
            let page = attempt(&world).await.1;
            assert_eq!(is_in(&page), !needed, "{status}, needed {needed}: {}", page.text());
            assert_eq!(world.app.events.has(EventCode::ProviderFailed), !needed, "{status}");
        }
        let world = World::with(|mut config| {
            config.admins = vec!["alice@example.com".into()];
            config
        });
        world.op.set(|settings| settings.claims_in_id_token = false);
        world.op.answer(Endpoint::FetchUserInfo, status, kind, body.to_owned());
        assert!(!is_in(&attempt(&world).await.1), "{status}: an admin is told by it");
    }
    let world = World::new();
    world.op.set(|settings| settings.claims_in_id_token = false);
    world.op.edit_userinfo(|claims| claims["sub"] = json!("b1"));
    assert!(!is_in(&attempt(&world).await.1), "somebody else's claims");
}

/// Firewalls in front of providers answer 403 to requests without a name, and some servers 406 to a narrow `Accept`.
#[tokio::test]
async fn requests_say_who_sends_them_and_accept_what_comes() {
    let world = World::new();
    assert!(is_in(&attempt(&world).await.1));
    for path in ["/.well-known/openid-configuration", "/jwks", "/token"] {
        let sent = world.net.requests_to("https://op.test", path);
        assert_eq!(sent.len(), 1, "{path}");
        let header = |name| sent[0].headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap());
        assert!(header(USER_AGENT).starts_with("tower-oidc/"), "{path}: {}", header(USER_AGENT));
        assert_eq!(header(ACCEPT_ENCODING), "identity", "{path}");
        if path == "/jwks" {
            let accept = "application/jwk-set+json, application/json, */*;q=0.1";
            assert_eq!(header(ACCEPT), accept);
        }
    }
}
