//! Lies of discovery and of the key set.

use http::header::LOCATION;
use serde_json::{Value, json};

use super::{Lie, accepted, depends, huge, refused};
use crate::net::answer;
use crate::provider::keys::{Alg, Key};
use crate::provider::{Endpoint, LyingProvider};

type Op = LyingProvider;

fn set(op: &Op, member: &'static str, value: fn(&Value) -> Value) {
    op.edit_discovery(move |document| {
        let value = value(document.get(member).unwrap_or(&Value::Null));
        document.insert(member.to_owned(), value);
    });
}

fn without(op: &Op, member: &'static str) {
    op.edit_discovery(move |document| drop(document.remove(member)));
}

fn plain_http(url: &Value) -> Value {
    json!(url.as_str().unwrap_or_default().replace("https:", "http:"))
}

fn redirect(op: &Op, endpoint: Endpoint, to: &'static str) {
    let mut response = answer(302, "");
    response.headers_mut().insert(LOCATION, to.parse().unwrap());
    op.answer_with(endpoint, response);
}

fn keys(op: &Op, edit: fn(&mut Vec<Value>)) {
    op.edit_key_set(move |set| edit(set["keys"].as_array_mut().unwrap()));
}

/// An answer in JSON's name.
fn json(op: &Op, endpoint: Endpoint, body: &str) {
    op.answer(endpoint, 200, "application/json", body.to_owned());
}

/// To be told before the relying party has fetched the metadata.
pub const DISCOVERY: &[Lie] = &[
    refused("discovery issuer other", |op| set(op, "issuer", |_| json!("https://evil.test"))),
    refused("discovery issuer with a slash more", |op| {
        set(op, "issuer", |iss| json!(format!("{}/", iss.as_str().unwrap())))
    }),
    refused("discovery issuer in upper case", |op| {
        set(op, "issuer", |iss| json!(iss.as_str().unwrap().to_uppercase()))
    }),
    refused("discovery issuer missing", |op| without(op, "issuer")),
    refused("discovery issuer no string", |op| set(op, "issuer", |iss| json!([iss]))),
    refused("jwks_uri missing", |op| without(op, "jwks_uri")),
    refused("jwks_uri plain http", |op| set(op, "jwks_uri", plain_http)),
    refused("authorization_endpoint missing", |op| without(op, "authorization_endpoint")),
    refused("authorization_endpoint plain http", |op| set(op, "authorization_endpoint", plain_http)),
    refused("authorization_endpoint a script", |op| {
        set(op, "authorization_endpoint", |_| json!("javascript:alert(1)"))
    }),
    refused("token_endpoint missing", |op| without(op, "token_endpoint")),
    refused("token_endpoint plain http", |op| set(op, "token_endpoint", plain_http)),
    refused("token_endpoint relative", |op| set(op, "token_endpoint", |_| json!("/token"))),
    refused("token_endpoint no URL", |op| set(op, "token_endpoint", |_| json!("not a URL"))),
    depends("userinfo_endpoint plain http", |op| set(op, "userinfo_endpoint", plain_http)),
    accepted("userinfo_endpoint missing", |op| without(op, "userinfo_endpoint")),
    depends("end_session_endpoint plain http", |op| set(op, "end_session_endpoint", plain_http)),
    depends("revocation_endpoint plain http", |op| set(op, "revocation_endpoint", plain_http)),
    accepted("discovery announces no algorithm", |op| set(op, "id_token_signing_alg_values_supported", |_| json!([]))),
    refused("discovery announces only none", |op| {
        set(op, "id_token_signing_alg_values_supported", |_| json!(["none"]))
    }),
    accepted("discovery announces unheard-of algorithms", |op| {
        set(op, "id_token_signing_alg_values_supported", |_| json!(["XX999", "RS256", "ES512"]));
    }),
    accepted("discovery with unknown members", |op| set(op, "x_unknown", |_| json!({ "deep": [1] }))),
    accepted("discovery without client authentication methods", |op| {
        without(op, "token_endpoint_auth_methods_supported")
    }),
    refused("discovery no JSON", |op| json(op, Endpoint::Discovery, "<html>")),
    refused("discovery an array", |op| json(op, Endpoint::Discovery, "[]")),
    refused("discovery empty", |op| json(op, Endpoint::Discovery, "")),
    refused("discovery huge", |op| op.edit_discovery(|document| drop(document.insert("x".to_owned(), huge().into())))),
    refused("discovery 404", |op| op.answer_error(Endpoint::Discovery, 404, "not_found")),
    refused("discovery 500", |op| op.answer(Endpoint::Discovery, 500, "text/html", "<h1>Oops</h1>")),
    refused("discovery 204", |op| op.answer(Endpoint::Discovery, 204, "application/json", "")),
    refused("discovery redirects", |op| {
        redirect(op, Endpoint::Discovery, "https://evil.test/.well-known/openid-configuration");
    }),
];

/// To be told before the relying party has fetched the keys.
pub const KEY_SET: &[Lie] = &[
    refused("key set 404", |op| op.answer_error(Endpoint::KeySet, 404, "not_found")),
    refused("key set 500", |op| op.answer(Endpoint::KeySet, 500, "text/html", "<h1>Oops</h1>")),
    refused("key set no JSON", |op| json(op, Endpoint::KeySet, "no JSON")),
    refused("key set an array", |op| op.answer(Endpoint::KeySet, 200, "application/json", "[]")),
    refused("key set without keys", |op| op.edit_key_set(|set| set.clear())),
    refused("key set with keys no array", |op| op.edit_key_set(|set| drop(set.insert("keys".to_owned(), json!({}))))),
    refused("key set empty", |op| keys(op, Vec::clear)),
    refused("key set of strangers", |op| keys(op, |keys| *keys = vec![Key::stranger(Alg::Rs256).jwk()])),
    refused("key set with a stranger under our kid", |op| {
        keys(op, |keys| {
            let kid = keys[0]["kid"].clone();
            keys[0] = Key::stranger(Alg::Rs256).jwk();
            keys[0]["kid"] = kid;
        });
    }),
    refused("key for encryption", |op| keys(op, |keys| keys[0]["use"] = json!("enc"))),
    refused("key for another algorithm", |op| keys(op, |keys| keys[0]["alg"] = json!("RS512"))),
    refused("key only for encrypting operations", |op| keys(op, |keys| keys[0]["key_ops"] = json!(["encrypt"]))),
    refused("key of another type", |op| keys(op, |keys| keys[0]["kty"] = json!("EC"))),
    refused("key symmetric", |op| {
        keys(op, |keys| *keys = vec![json!({ "kty": "oct", "kid": "rs256-1", "k": "AAAA" })])
    }),
    refused("key set redirects", |op| redirect(op, Endpoint::KeySet, "https://evil.test/jwks")),
    refused("key set huge", |op| op.edit_key_set(|set| drop(set.insert("x".to_owned(), huge().into())))),
    accepted("key without use and alg", |op| {
        keys(op, |keys| {
            let key = keys[0].as_object_mut().unwrap();
            key.remove("use");
            key.remove("alg");
        });
    }),
    accepted("key beside a malformed one", |op| {
        keys(op, |keys| keys.insert(0, json!({ "kty": "RSA", "kid": "bad", "n": 5, "e": [] })));
    }),
    accepted("key beside an unheard-of type", |op| {
        keys(op, |keys| keys.insert(0, json!({ "kty": "AKP", "kid": "pq", "alg": "ML-DSA-65", "pub": "AAAA" })));
    }),
    accepted("key beside one that is no object", |op| keys(op, |keys| keys.insert(0, json!("no key")))),
];
