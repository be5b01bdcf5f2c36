//! Lies of a logout token.

use serde_json::{Value, json};

use super::Verdict;
use crate::provider::CLIENT_SECRET;
use crate::provider::jwt::{Draft, Seal};
use crate::provider::keys::{Alg, Key};

/// A logout token that is wrong, or odd and allowed. The honest one names alice and her provider's session.
#[derive(Clone, Copy, Debug)]
pub struct LogoutLie {
    pub name: &'static str,
    pub verdict: Verdict,
    pub tell: fn(&mut Draft),
}

const fn refused(name: &'static str, tell: fn(&mut Draft)) -> LogoutLie {
    LogoutLie { name, verdict: Verdict::Refused, tell }
}

const fn accepted(name: &'static str, tell: fn(&mut Draft)) -> LogoutLie {
    LogoutLie { name, verdict: Verdict::Accepted, tell }
}

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What the token says, how it is signed, and its text. The skew allowed is 60 s.
pub const LOGOUT_TOKEN: &[LogoutLie] = &[
    refused("iss missing", |jwt| jwt.without("iss")),
    refused("iss wrong", |jwt| jwt.claim("iss", "https://evil.test")),
    refused("iss with a slash more", |jwt| jwt.claim("iss", "https://op.test/")),
    refused("iss no string", |jwt| jwt.claim("iss", json!(["https://op.test"]))),
    refused("aud missing", |jwt| jwt.without("aud")),
    refused("aud wrong", |jwt| jwt.claim("aud", "other-app")),
    refused("aud an empty array", |jwt| jwt.claim("aud", json!([]))),
    refused("aud an array without us", |jwt| jwt.claim("aud", json!(["other-app"]))),
    refused("aud with another whom nobody trusts", |jwt| {
        let ours = jwt.claims["aud"].clone();
        jwt.claim("aud", json!([ours, "other-app"]));
    }),
    accepted("aud an array of us alone", |jwt| {
        let ours = jwt.claims["aud"].clone();
        jwt.claim("aud", json!([ours]));
    }),
    accepted("exp missing", |jwt| jwt.without("exp")),
    accepted("exp missing, iat 60 s ago", |jwt| {
        jwt.without("exp");
        jwt.claim("iat", jwt.now() - 60);
    }),
    accepted("exp missing, iat 119 s ago", |jwt| {
        jwt.without("exp");
        jwt.claim("iat", jwt.now() - 119);
    }),
    refused("exp missing, iat 120 s ago", |jwt| {
        jwt.without("exp");
        jwt.claim("iat", jwt.now() - 120);
    }),
    refused("exp missing, iat 10 min ago", |jwt| {
        jwt.without("exp");
        jwt.claim("iat", jwt.now() - 600);
    }),
    refused("exp and iat missing", |jwt| {
        jwt.without("exp");
        jwt.without("iat");
    }),
    refused("exp null", |jwt| jwt.claim("exp", Value::Null)),
    refused("exp no number", |jwt| jwt.claim("exp", "4000000000")),
    refused("exp beyond the skew", |jwt| jwt.claim("exp", jwt.now() - 61)),
    accepted("exp within the skew", |jwt| jwt.claim("exp", jwt.now() - 50)),
    accepted("exp beyond all time", |jwt| jwt.claim("exp", u64::MAX)),
    refused("iat missing", |jwt| jwt.without("iat")),
    refused("iat no number", |jwt| jwt.claim("iat", jwt.now().to_string())),
    refused("iat beyond the skew", |jwt| jwt.claim("iat", jwt.now() + 120)),
    accepted("iat within the skew", |jwt| jwt.claim("iat", jwt.now() + 50)),
    refused("iat hours ago", |jwt| jwt.claim("iat", jwt.now() - 3601)),
    accepted("nbf null", |jwt| jwt.claim("nbf", Value::Null)),
    refused("iat null", |jwt| jwt.claim("iat", Value::Null)),
    refused("jti null", |jwt| jwt.claim("jti", Value::Null)),
    refused("nbf beyond the skew", |jwt| jwt.claim("nbf", jwt.now() + 120)),
    refused("jti missing", |jwt| jwt.without("jti")),
    refused("jti empty", |jwt| jwt.claim("jti", "")),
    refused("jti no string", |jwt| jwt.claim("jti", 17)),
    refused("events missing", |jwt| jwt.without("events")),
    refused("events a string", |jwt| jwt.claim("events", EVENT)),
    refused("events an array", |jwt| jwt.claim("events", json!([EVENT]))),
    refused("events empty", |jwt| jwt.claim("events", json!({}))),
    refused("events of another kind", |jwt| {
        jwt.claim("events", json!({ "http://schemas.openid.net/event/foo": {} }));
    }),
    refused("events member null", |jwt| jwt.claim("events", json!({ EVENT: null }))),
    refused("events member a string", |jwt| jwt.claim("events", json!({ EVENT: "x" }))),
    refused("events member an array", |jwt| jwt.claim("events", json!({ EVENT: [] }))),
    accepted("events member not empty", |jwt| jwt.claim("events", json!({ EVENT: { "x": 1 } }))),
    accepted("events with another beside", |jwt| jwt.claim("events", json!({ EVENT: {}, "urn:x": {} }))),
    refused("nonce", |jwt| jwt.claim("nonce", "n")),
    refused("nonce null", |jwt| jwt.claim("nonce", Value::Null)),
    refused("neither sub nor sid", |jwt| {
        jwt.without("sub");
        jwt.without("sid");
    }),
    refused("sub and sid null", |jwt| {
        jwt.claim("sub", Value::Null);
        jwt.claim("sid", Value::Null);
    }),
    accepted("sub alone", |jwt| jwt.without("sid")),
    accepted("sid alone", |jwt| jwt.without("sub")),
    refused("sub no string", |jwt| jwt.claim("sub", json!(["a1"]))),
    refused("sub empty", |jwt| jwt.claim("sub", "")),
    refused("sub null beside sid", |jwt| jwt.claim("sub", Value::Null)),
    refused("sid no string", |jwt| jwt.claim("sid", 17)),
    refused("sid empty", |jwt| jwt.claim("sid", "")),
    accepted("sid null beside sub", |jwt| jwt.claim("sid", Value::Null)),
    accepted("typ JWT", |jwt| jwt.head("typ", "JWT")),
    accepted("typ spelled out", |jwt| jwt.head("typ", "application/logout+jwt")),
    accepted("typ missing", |jwt| drop(jwt.header.remove("typ"))),
    refused("typ of an access token", |jwt| jwt.head("typ", "at+jwt")),
    refused("typ of another event", |jwt| jwt.head("typ", "secevent+jwt")),
    refused("typ no string", |jwt| jwt.head("typ", json!(["logout+jwt"]))),
    refused("alg none", |jwt| {
        jwt.head("alg", "none");
        jwt.seal = Seal::Empty;
    }),
    refused("alg none, signed", |jwt| jwt.head("alg", "none")),
    refused("alg none in capitals", |jwt| {
        jwt.head("alg", "NONE");
        jwt.seal = Seal::Empty;
    }),
    refused("alg missing", |jwt| drop(jwt.header.remove("alg"))),
    refused("HS256 with the client's secret", |jwt| {
        jwt.head("alg", "HS256");
        jwt.seal = Seal::Hmac(CLIENT_SECRET.into());
    }),
    refused("HS256 with the public key", |jwt| {
        let pem = jwt.key().public_pem();
        jwt.head("alg", "HS256");
        jwt.seal = Seal::Hmac(pem.into());
    }),
    refused("alg not announced", |jwt| jwt.sign_with(Key { alg: Alg::Es384, generation: 1 })),
    refused("alg of another key", |jwt| jwt.head("alg", "PS256")),
    refused("no signature", |jwt| jwt.seal = Seal::Empty),
    refused("signature spoiled", |jwt| jwt.seal = Seal::Spoiled(jwt.key())),
    refused("kid known, key a stranger's", |jwt| jwt.seal = Seal::Sign(Key::stranger(jwt.key().alg))),
    refused("kid unknown", |jwt| jwt.sign_with(Key::stranger(jwt.key().alg))),
    refused("kid no string", |jwt| jwt.head("kid", 1)),
    accepted("kid missing, one key", |jwt| drop(jwt.header.remove("kid"))),
    refused("key in the header", |jwt| {
        let stranger = Key::stranger(jwt.key().alg);
        jwt.sign_with(stranger);
        jwt.head("jwk", stranger.jwk());
    }),
    refused("key elsewhere", |jwt| {
        jwt.sign_with(Key::stranger(jwt.key().alg));
        jwt.head("jku", "https://evil.test/jwks");
    }),
    refused("crit", |jwt| {
        jwt.head("crit", json!(["exp2"]));
        jwt.head("exp2", 1);
    }),
    refused("a token within", |jwt| jwt.head("cty", "JWT")),
    refused("encrypted by its header", |jwt| jwt.head("enc", "A256GCM")),
    refused("encrypted", |jwt| {
        jwt.header_text = Some(json!({ "alg": "RSA-OAEP", "enc": "A256GCM" }).to_string());
        jwt.reshape = Some(|token| format!("{token}.AA.AA"));
    }),
    refused("two parts", |jwt| {
        jwt.reshape = Some(|token| token.rsplit_once('.').unwrap().0.to_owned());
    }),
    refused("four parts", |jwt| jwt.reshape = Some(|token| format!("{token}."))),
    refused("empty", |jwt| jwt.reshape = Some(|_| String::new())),
    refused("garbage", |jwt| jwt.reshape = Some(|_| "logout <script>alert(1)</script>".to_owned())),
    refused("no base64url", |jwt| jwt.reshape = Some(|token| token.replacen('e', "=", 1))),
    refused("payload no object", |jwt| jwt.payload_text = Some(json!([jwt.claims]).to_string())),
    refused("payload no JSON", |jwt| jwt.payload_text = Some("sub=a1".to_owned())),
    accepted("payload nested deep", |jwt| {
        append(jwt, &format!("\"x\":{}{}", "[".repeat(5000), "]".repeat(5000)));
    }),
    refused("two subs", |jwt| append(jwt, "\"sub\":\"b1\"")),
    refused("two events", |jwt| append(jwt, "\"events\":{}")),
];

/// Appends a member to the payload's text, past what a JSON value can hold.
fn append(jwt: &mut Draft, member: &str) {
    let text = serde_json::to_string(&jwt.claims).unwrap();
    jwt.payload_text = Some(format!("{},{member}}}", &text[..text.len() - 1]));
}
