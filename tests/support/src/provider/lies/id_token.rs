//! Lies of the ID token that a code yields.

use serde_json::{Value, json};

use super::{Lie, accepted, depends, huge, refused};
use crate::provider::jwt::{Draft, Seal};
use crate::provider::keys::{Alg, Key};
use crate::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};

type Op = LyingProvider;

fn set(op: &Op, claim: &'static str, value: impl Fn(&Draft) -> Value + Send + Sync + 'static) {
    op.edit_id_token(move |jwt| {
        let value = value(jwt);
        jwt.claim(claim, value);
    });
}

fn without(op: &Op, claim: &'static str) {
    op.edit_id_token(move |jwt| jwt.without(claim));
}

/// A moment `seconds` after the token's own.
fn at(op: &Op, claim: &'static str, seconds: i64) {
    set(op, claim, move |jwt| json!(jwt.now() + seconds));
}

/// What the claims say. Times are in seconds against the provider's clock; the skew allowed is 60.
pub const CLAIMS: &[Lie] = &[
    refused("iss missing", |op| without(op, "iss")),
    refused("iss wrong", |op| set(op, "iss", |_| json!("https://evil.test"))),
    refused("iss with a slash more", |op| {
        set(op, "iss", |jwt| json!(format!("{}/", jwt.claims["iss"].as_str().unwrap())))
    }),
    refused("iss no string", |op| set(op, "iss", |jwt| json!([jwt.claims["iss"]]))),
    refused("iss null", |op| set(op, "iss", |_| Value::Null)),
    refused("sub missing", |op| without(op, "sub")),
    refused("sub empty", |op| set(op, "sub", |_| json!(""))),
    refused("sub no string", |op| set(op, "sub", |_| json!(17))),
    refused("sub null", |op| set(op, "sub", |_| Value::Null)),
    refused("sub too long", |op| set(op, "sub", |_| json!("s".repeat(256)))),
    refused("aud missing", |op| without(op, "aud")),
    refused("aud wrong", |op| set(op, "aud", |_| json!("other-app"))),
    refused("aud empty", |op| set(op, "aud", |_| json!(""))),
    refused("aud no string", |op| set(op, "aud", |_| json!({ CLIENT_ID: true }))),
    refused("aud an empty array", |op| set(op, "aud", |_| json!([]))),
    refused("aud an array without us", |op| set(op, "aud", |_| json!(["other-app", "third-app"]))),
    accepted("aud an array of us alone", |op| set(op, "aud", |_| json!([CLIENT_ID]))),
    refused("aud with another, no azp", |op| set(op, "aud", |_| json!([CLIENT_ID, "other-app"]))),
    refused("aud with another, azp us", |op| {
        op.edit_id_token(|jwt| {
            jwt.claim("aud", json!([CLIENT_ID, "other-app"]));
            jwt.claim("azp", CLIENT_ID);
        });
    }),
    refused("azp wrong", |op| set(op, "azp", |_| json!("other-app"))),
    refused("azp no string", |op| set(op, "azp", |_| json!([CLIENT_ID]))),
    accepted("azp us", |op| set(op, "azp", |_| json!(CLIENT_ID))),
    refused("exp missing", |op| without(op, "exp")),
    refused("exp null", |op| set(op, "exp", |_| Value::Null)),
    refused("exp no number", |op| set(op, "exp", |jwt| json!((jwt.now() + 3600).to_string()))),
    refused("exp negative", |op| set(op, "exp", |_| json!(-1))),
    refused("exp long ago", |op| at(op, "exp", -3600)),
    refused("exp beyond the skew", |op| at(op, "exp", -61)),
    accepted("exp within the skew", |op| at(op, "exp", -50)),
    depends("exp a fraction", |op| set(op, "exp", |jwt| json!(jwt.now() as f64 + 3600.5))),
    depends("exp beyond all time", |op| set(op, "exp", |_| json!(u64::MAX))),
    refused("iat missing", |op| without(op, "iat")),
    refused("iat null", |op| set(op, "iat", |_| Value::Null)),
    refused("iat no number", |op| set(op, "iat", |jwt| json!(jwt.now().to_string()))),
    refused("iat beyond the skew", |op| at(op, "iat", 120)),
    accepted("iat within the skew", |op| at(op, "iat", 50)),
    refused("iat very old", |op| at(op, "iat", -30 * 86_400)),
    refused("nbf beyond the skew", |op| at(op, "nbf", 120)),
    accepted("nbf within the skew", |op| at(op, "nbf", 50)),
    refused("nbf no number", |op| set(op, "nbf", |_| json!("soon"))),
    refused("nonce missing", |op| without(op, "nonce")),
    refused("nonce wrong", |op| set(op, "nonce", |_| json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))),
    refused("nonce empty", |op| set(op, "nonce", |_| json!(""))),
    refused("nonce no string", |op| set(op, "nonce", |jwt| json!([jwt.claims["nonce"]]))),
    accepted("at_hash missing", |op| without(op, "at_hash")),
    refused("at_hash wrong", |op| set(op, "at_hash", |_| json!("AAAAAAAAAAAAAAAAAAAAAA"))),
    refused("at_hash of another access token", |op| set(op, "at_hash", |_| json!(Alg::Rs256.half_hash("at_other")))),
    refused("at_hash no string", |op| set(op, "at_hash", |_| json!(true))),
    depends("acr other than asked", |op| set(op, "acr", |_| json!("urn:weak"))),
    depends("acr missing", |op| without(op, "acr")),
    depends("auth_time missing", |op| without(op, "auth_time")),
    depends("auth_time too old", |op| at(op, "auth_time", -86_400)),
    depends("auth_time no number", |op| set(op, "auth_time", |_| json!("yesterday"))),
    depends("hd wrong", |op| set(op, "hd", |_| json!("other.com"))),
    depends("hd missing", |op| without(op, "hd")),
    accepted("email no string", |op| set(op, "email", |_| json!(["alice@example.com"]))),
    accepted("unknown claims", |op| set(op, "https://claims.test/deep", |_| json!({ "a": [1, { "b": null }] }))),
];

/// Who signed, and with what.
pub const SIGNATURE: &[Lie] = &[
    refused("alg none", |op| {
        op.edit_id_token(|jwt| {
            jwt.head("alg", "none");
            jwt.seal = Seal::Empty;
        });
    }),
    refused("alg nOnE", |op| {
        op.edit_id_token(|jwt| {
            jwt.head("alg", "nOnE");
            jwt.seal = Seal::Empty;
        });
    }),
    refused("alg none, without a kid", |op| {
        op.edit_id_token(|jwt| {
            jwt.header = serde_json::Map::from_iter([("alg".to_owned(), json!("none"))]);
            jwt.seal = Seal::Empty;
        });
    }),
    refused("alg missing", |op| op.edit_id_token(|jwt| drop(jwt.header.remove("alg")))),
    refused("alg no string", |op| op.edit_id_token(|jwt| jwt.head("alg", json!(["RS256"])))),
    refused("signature empty", |op| op.edit_id_token(|jwt| jwt.seal = Seal::Empty)),
    refused("signature spoiled", |op| op.edit_id_token(|jwt| jwt.seal = Seal::Spoiled(jwt.key()))),
    refused("HS256 with the client secret", |op| {
        op.edit_id_token(|jwt| {
            jwt.head("alg", "HS256");
            jwt.header.remove("kid");
            jwt.seal = Seal::Hmac(CLIENT_SECRET.into());
        });
    }),
    refused("HS256 with the public key", |op| {
        op.edit_id_token(|jwt| {
            jwt.head("alg", "HS256");
            let key = Key { alg: Alg::Rs256, generation: jwt.key().generation };
            jwt.seal = Seal::Hmac(key.public_pem().into());
        });
    }),
    refused("HS256 with no key", |op| {
        op.edit_id_token(|jwt| {
            jwt.head("alg", "HS256");
            jwt.seal = Seal::Hmac(Vec::new());
        });
    }),
    refused("alg not announced", |op| {
        // The key is published, for signing, and the signature is right: only the announcement is missing.
        op.edit_key_set(|set| {
            set["keys"].as_array_mut().unwrap().push(Key { alg: Alg::Es384, generation: 1 }.jwk());
        });
        op.edit_id_token(|jwt| {
            jwt.sign_with(Key { alg: Alg::Es384, generation: 1 });
            // Whose hash would be of another length.
            jwt.without("at_hash");
        });
    }),
    refused("alg unheard of", |op| op.edit_id_token(|jwt| jwt.head("alg", "XX999"))),
    refused("kid known, key a stranger's", |op| {
        op.edit_id_token(|jwt| jwt.seal = Seal::Sign(Key::stranger(jwt.key().alg)))
    }),
    refused("kid unknown", |op| op.edit_id_token(|jwt| jwt.sign_with(Key::stranger(jwt.key().alg)))),
    refused("kid unknown, key known", |op| op.edit_id_token(|jwt| jwt.head("kid", "elsewhere"))),
    refused("kid no string", |op| op.edit_id_token(|jwt| jwt.head("kid", 1))),
    accepted("kid absent, one key", |op| op.edit_id_token(|jwt| drop(jwt.header.remove("kid")))),
    depends("kid absent, several keys", |op| {
        op.edit_key_set(|set| set["keys"].as_array_mut().unwrap().insert(0, Key::stranger(Alg::Rs256).jwk()));
        op.edit_id_token(|jwt| drop(jwt.header.remove("kid")));
    }),
    refused("kid of a key of another type", |op| {
        op.edit_key_set(|set| set["keys"].as_array_mut().unwrap().push(Key { alg: Alg::Es256, generation: 1 }.jwk()));
        op.edit_id_token(|jwt| jwt.head("kid", "es256-1"));
    }),
    refused("key in the header (jwk)", |op| {
        op.edit_id_token(|jwt| {
            let stranger = Key::stranger(jwt.key().alg);
            jwt.sign_with(stranger);
            jwt.head("jwk", stranger.jwk());
        });
    }),
    refused("key elsewhere (jku)", |op| {
        op.edit_id_token(|jwt| {
            jwt.sign_with(Key::stranger(jwt.key().alg));
            jwt.head("jku", "https://evil.test/jwks");
        });
    }),
    refused("crit with an unknown member", |op| {
        op.edit_id_token(|jwt| {
            jwt.head("crit", json!(["exp2"]));
            jwt.head("exp2", 1);
        });
    }),
    refused("cty of a token within", |op| op.edit_id_token(|jwt| jwt.head("cty", "JWT"))),
    refused("enc of an encrypted token", |op| op.edit_id_token(|jwt| jwt.head("enc", "A256GCM"))),
    refused("typ of an access token", |op| op.edit_id_token(|jwt| jwt.head("typ", "at+jwt"))),
    refused("typ of a logout token", |op| op.edit_id_token(|jwt| jwt.head("typ", "logout+jwt"))),
    accepted("typ JWT", |op| op.edit_id_token(|jwt| jwt.head("typ", "JWT"))),
    accepted("keys changed just before signing", |op| op.rotate_before_signing()),
];

/// The text itself.
pub const TEXT: &[Lie] = &[
    refused("id_token of five parts", |op| {
        op.edit_id_token(|jwt| jwt.reshape = Some(|token| format!("{token}.AA.AA")))
    }),
    refused("id_token encrypted by its header", |op| {
        op.edit_id_token(|jwt| {
            jwt.header_text = Some(json!({ "alg": "RSA-OAEP", "enc": "A256GCM" }).to_string());
            jwt.reshape = Some(|token| format!("{token}.AA.AA"));
        });
    }),
    refused("id_token within an unsigned one", |op| {
        op.edit_id_token(|jwt| {
            let inner = jwt.clone().encode();
            jwt.header_text = Some(json!({ "alg": "none", "cty": "JWT" }).to_string());
            (jwt.payload_text, jwt.seal) = (Some(inner), Seal::Empty);
        });
    }),
    refused("id_token of two parts", |op| {
        op.edit_id_token(|jwt| jwt.reshape = Some(|token| token.rsplit_once('.').unwrap().0.to_owned()));
    }),
    refused("id_token of four parts", |op| op.edit_id_token(|jwt| jwt.reshape = Some(|token| format!("{token}.")))),
    refused("id_token empty", |op| op.edit_id_token(|jwt| jwt.reshape = Some(|_| String::new()))),
    refused("id_token no base64url", |op| {
        op.edit_id_token(|jwt| jwt.reshape = Some(|token| token.replacen('e', "=", 1)))
    }),
    refused("id_token cut short", |op| {
        op.edit_id_token(|jwt| jwt.reshape = Some(|token| token[..token.len() - 9].to_owned()))
    }),
    refused("id_token header no object", |op| op.edit_id_token(|jwt| jwt.header_text = Some("[]".to_owned()))),
    refused("id_token header no JSON", |op| op.edit_id_token(|jwt| jwt.header_text = Some("{alg:RS256}".to_owned()))),
    refused("id_token payload an array", |op| {
        op.edit_id_token(|jwt| jwt.payload_text = Some(json!([jwt.claims]).to_string()))
    }),
    refused("id_token payload a string", |op| op.edit_id_token(|jwt| jwt.payload_text = Some("\"a1\"".to_owned()))),
    refused("id_token payload no JSON", |op| op.edit_id_token(|jwt| jwt.payload_text = Some("sub=a1".to_owned()))),
    refused("id_token payload empty", |op| op.edit_id_token(|jwt| jwt.payload_text = Some(String::new()))),
    accepted("id_token payload nested deep", |op| {
        op.edit_id_token(|jwt| append(jwt, &format!("\"x\":{}{}", "[".repeat(5000), "]".repeat(5000))));
    }),
    refused("id_token payload with NaN", |op| op.edit_id_token(|jwt| append(jwt, "\"x\":NaN"))),
    refused("id_token with exp 1e400", |op| {
        op.edit_id_token(|jwt| {
            jwt.without("exp");
            append(jwt, "\"exp\":1e400");
        });
    }),
    refused("id_token with two subs", |op| op.edit_id_token(|jwt| append(jwt, "\"sub\":\"b1\""))),
    refused("id_token with two auds", |op| op.edit_id_token(|jwt| append(jwt, "\"aud\":\"app\""))),
    refused("id_token with two algs", |op| {
        op.edit_id_token(|jwt| {
            let header = serde_json::to_string(&jwt.header).unwrap();
            jwt.header_text = Some(format!("{{\"alg\":\"none\",{}", &header[1..]));
        });
    }),
    refused("id_token huge", |op| op.edit_id_token(|jwt| jwt.claim("filler", huge()))),
];

/// Appends a member to the payload's text, past what a JSON value can hold.
fn append(jwt: &mut Draft, member: &str) {
    let text = serde_json::to_string(&jwt.claims).unwrap();
    jwt.payload_text = Some(format!("{},{member}}}", &text[..text.len() - 1]));
}
