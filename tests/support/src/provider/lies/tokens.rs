//! Lies of the token endpoint, of refreshes and of UserInfo.

use serde_json::{Map, Value, json};

use super::{Lie, accepted, depends, huge, refused};
use crate::net::answer;
use crate::provider::jwt::{Draft, Seal};
use crate::provider::keys::Key;
use crate::provider::{Endpoint, LyingProvider};

type Op = LyingProvider;
type Json = Map<String, Value>;

fn set(op: &Op, member: &'static str, value: fn() -> Value) {
    op.edit_tokens(move |tokens| drop(tokens.insert(member.to_owned(), value())));
}

fn without(op: &Op, member: &'static str) {
    op.edit_tokens(move |tokens| drop(tokens.remove(member)));
}

fn html(op: &Op, endpoint: Endpoint, status: u16) {
    op.answer(endpoint, status, "text/html", "<h1>Oops</h1>");
}

fn redirect(op: &Op, endpoint: Endpoint) {
    let mut response = answer(307, "");
    response.headers_mut().insert(http::header::LOCATION, "https://evil.test/token".parse().unwrap());
    op.answer_with(endpoint, response);
}

/// What a code yields.
pub const TOKENS: &[Lie] = &[
    refused("token 400 invalid_grant", |op| op.answer_error(Endpoint::Token, 400, "invalid_grant")),
    refused("token 401 invalid_client", |op| op.answer_error(Endpoint::Token, 401, "invalid_client")),
    refused("token 400 unknown error", |op| op.answer_error(Endpoint::Token, 400, "<script>")),
    refused("token 400 without an error", |op| op.answer(Endpoint::Token, 400, "application/json", "{}")),
    refused("token 400 in HTML", |op| html(op, Endpoint::Token, 400)),
    refused("token 403 in HTML", |op| html(op, Endpoint::Token, 403)),
    refused("token 429", |op| html(op, Endpoint::Token, 429)),
    refused("token 500", |op| html(op, Endpoint::Token, 500)),
    refused("token 503", |op| html(op, Endpoint::Token, 503)),
    refused("token 200 in HTML", |op| html(op, Endpoint::Token, 200)),
    refused("token 200 with an error", |op| op.answer_error(Endpoint::Token, 200, "invalid_grant")),
    refused("token 200 empty", |op| op.answer(Endpoint::Token, 200, "application/json", "")),
    refused("token 204", |op| op.answer(Endpoint::Token, 204, "application/json", "")),
    refused("token an array", |op| op.answer(Endpoint::Token, 200, "application/json", "[]")),
    refused("token no UTF-8", |op| op.answer(Endpoint::Token, 200, "application/json", vec![b'{', 0xff, b'}'])),
    refused("token in form encoding", |op| {
        op.answer(Endpoint::Token, 200, "application/x-www-form-urlencoded", "access_token=x&token_type=bearer");
    }),
    refused("token huge", |op| set(op, "filler", || huge().into())),
    refused("token redirects", |op| redirect(op, Endpoint::Token)),
    refused("access_token missing", |op| without(op, "access_token")),
    refused("access_token empty", |op| set(op, "access_token", || json!(""))),
    refused("access_token no string", |op| set(op, "access_token", || json!(17))),
    refused("access_token with a line break", |op| set(op, "access_token", || json!("at\r\nX-Injected: 1"))),
    accepted("token_type missing", |op| without(op, "token_type")),
    refused("token_type unsupported", |op| set(op, "token_type", || json!("mac"))),
    refused("token_type DPoP", |op| set(op, "token_type", || json!("DPoP"))),
    refused("token_type no string", |op| set(op, "token_type", || json!(["Bearer"]))),
    accepted("token_type bEaReR", |op| set(op, "token_type", || json!("bEaReR"))),
    accepted("expires_in missing", |op| without(op, "expires_in")),
    depends("expires_in negative", |op| set(op, "expires_in", || json!(-1))),
    depends("expires_in zero", |op| set(op, "expires_in", || json!(0))),
    depends("expires_in a string", |op| set(op, "expires_in", || json!("3600"))),
    depends("expires_in a fraction", |op| set(op, "expires_in", || json!(3600.5))),
    depends("expires_in huge", |op| set(op, "expires_in", || json!(u64::MAX))),
    depends("expires_in garbage", |op| set(op, "expires_in", || json!("soon"))),
    accepted("refresh_token missing", |op| without(op, "refresh_token")),
    depends("refresh_token empty", |op| set(op, "refresh_token", || json!(""))),
    refused("refresh_token no string", |op| set(op, "refresh_token", || json!({}))),
    refused("id_token missing", |op| without(op, "id_token")),
    refused("id_token null", |op| set(op, "id_token", || Value::Null)),
    refused("id_token no string", |op| set(op, "id_token", || json!({ "sub": "a1" }))),
    accepted("scope missing", |op| without(op, "scope")),
    accepted("scope narrower", |op| set(op, "scope", || json!("openid"))),
    depends("scope empty", |op| set(op, "scope", || json!(""))),
    depends("scope wider", |op| set(op, "scope", || json!("openid profile email admin everything"))),
    accepted("token response with unknown members", |op| set(op, "x_unknown", || json!({ "deep": [1] }))),
];

fn userinfo(op: &Op, edit: fn(&mut Json)) {
    op.edit_userinfo(edit);
}

/// What UserInfo says, where the relying party asks it.
pub const USERINFO: &[Lie] = &[
    refused("userinfo sub other", |op| userinfo(op, |claims| claims["sub"] = json!("b1"))),
    refused("userinfo sub missing", |op| userinfo(op, |claims| drop(claims.remove("sub")))),
    refused("userinfo sub empty", |op| userinfo(op, |claims| claims["sub"] = json!(""))),
    refused("userinfo sub in upper case", |op| userinfo(op, |claims| claims["sub"] = json!("A1"))),
    refused("userinfo sub no string", |op| userinfo(op, |claims| claims["sub"] = json!(["a1"]))),
    refused("userinfo garbage", |op| op.answer(Endpoint::FetchUserInfo, 200, "application/json", "{sub: a1")),
    refused("userinfo empty", |op| op.answer(Endpoint::FetchUserInfo, 200, "application/json", "")),
    refused("userinfo an array", |op| op.answer(Endpoint::FetchUserInfo, 200, "application/json", "[]")),
    refused("userinfo in HTML", |op| html(op, Endpoint::FetchUserInfo, 200)),
    refused("userinfo an unsigned JWT", |op| {
        op.answer(Endpoint::FetchUserInfo, 200, "application/jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhMSJ9.");
    }),
    refused("userinfo huge", |op| userinfo(op, |claims| drop(claims.insert("filler".to_owned(), huge().into())))),
    refused("userinfo 401", |op| op.answer_error(Endpoint::FetchUserInfo, 401, "invalid_token")),
    refused("userinfo 403", |op| op.answer_error(Endpoint::FetchUserInfo, 403, "insufficient_scope")),
    refused("userinfo 500", |op| html(op, Endpoint::FetchUserInfo, 500)),
    refused("userinfo redirects", |op| redirect(op, Endpoint::FetchUserInfo)),
    accepted("userinfo with unknown claims", |op| {
        userinfo(op, |claims| drop(claims.insert("x_unknown".to_owned(), json!([1, 2]))));
    }),
];

fn signed(op: &Op, edit: fn(&mut Draft)) {
    op.set(|s| s.sign_userinfo = true);
    op.edit_signed_userinfo(edit);
}

/// What a signed UserInfo response says (OpenID Connect Core 1.0 section 5.3.2), where the relying party asks it.
pub const SIGNED_USERINFO: &[Lie] = &[
    refused("signed userinfo by a stranger", |op| {
        signed(op, |jwt| jwt.seal = Seal::Sign(Key::stranger(jwt.key().alg)))
    }),
    refused("signed userinfo by an unknown key", |op| {
        signed(op, |jwt| jwt.sign_with(Key::stranger(jwt.key().alg)));
    }),
    refused("signed userinfo signature spoiled", |op| signed(op, |jwt| jwt.seal = Seal::Spoiled(jwt.key()))),
    refused("signed userinfo alg none", |op| {
        signed(op, |jwt| {
            jwt.head("alg", "none");
            jwt.seal = Seal::Empty;
        });
    }),
    refused("signed userinfo alg HS256 with the client secret", |op| {
        signed(op, |jwt| {
            jwt.head("alg", "HS256");
            jwt.seal = Seal::Hmac(crate::provider::CLIENT_SECRET.as_bytes().to_vec());
        });
    }),
    refused("signed userinfo encrypted", |op| {
        signed(op, |jwt| {
            jwt.header_text = Some(json!({ "alg": "RSA-OAEP", "enc": "A256GCM" }).to_string());
            jwt.reshape = Some(|token| format!("{token}.AA.AA"));
        });
    }),
    refused("signed userinfo iss other", |op| signed(op, |jwt| jwt.claim("iss", "https://evil.test"))),
    refused("signed userinfo iss missing", |op| signed(op, |jwt| jwt.without("iss"))),
    refused("signed userinfo aud other", |op| signed(op, |jwt| jwt.claim("aud", "other-app"))),
    refused("signed userinfo aud missing", |op| signed(op, |jwt| jwt.without("aud"))),
    refused("signed userinfo aud with another", |op| {
        signed(op, |jwt| jwt.claim("aud", json!([crate::provider::CLIENT_ID, "other-app"])));
    }),
    accepted("signed userinfo aud a list", |op| {
        signed(op, |jwt| jwt.claim("aud", json!([crate::provider::CLIENT_ID])))
    }),
    refused("signed userinfo sub other", |op| signed(op, |jwt| jwt.claim("sub", "b1"))),
    refused("signed userinfo sub missing", |op| signed(op, |jwt| jwt.without("sub"))),
    refused("signed userinfo exp long ago", |op| signed(op, |jwt| jwt.claim("exp", 1_000_000))),
    refused("signed userinfo iat to come", |op| signed(op, |jwt| jwt.claim("iat", 9_000_000_000_u64))),
    refused("signed userinfo nonce", |op| signed(op, |jwt| jwt.claim("nonce", "n"))),
    refused("signed userinfo at_hash", |op| signed(op, |jwt| jwt.claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"))),
    refused("signed userinfo typ of an access token", |op| signed(op, |jwt| jwt.head("typ", "at+jwt"))),
    refused("signed userinfo typ of a logout token", |op| signed(op, |jwt| jwt.head("typ", "logout+jwt"))),
    accepted("signed userinfo typ JWT", |op| signed(op, |jwt| jwt.head("typ", "JWT"))),
];

fn refreshed(op: &Op, edit: fn(&mut Json)) {
    op.edit_refreshed_tokens(edit);
}

/// What a refresh yields. "Refused": the answer's tokens are never used.
pub const REFRESH: &[Lie] = &[
    refused("refresh invalid_grant", |op| op.answer_error(Endpoint::Refresh, 400, "invalid_grant")),
    refused("refresh invalid_client", |op| op.answer_error(Endpoint::Refresh, 401, "invalid_client")),
    refused("refresh invalid_scope", |op| op.answer_error(Endpoint::Refresh, 400, "invalid_scope")),
    refused("refresh 400 in HTML", |op| html(op, Endpoint::Refresh, 400)),
    refused("refresh 500", |op| html(op, Endpoint::Refresh, 500)),
    refused("refresh 500 that names invalid_grant", |op| {
        op.answer(Endpoint::Refresh, 500, "text/plain", "upstream said invalid_grant");
    }),
    refused("refresh 503", |op| html(op, Endpoint::Refresh, 503)),
    refused("refresh 429", |op| html(op, Endpoint::Refresh, 429)),
    refused("refresh garbage", |op| op.answer(Endpoint::Refresh, 200, "application/json", "{]")),
    refused("refresh empty", |op| op.answer(Endpoint::Refresh, 200, "application/json", "")),
    refused("refresh redirects", |op| redirect(op, Endpoint::Refresh)),
    refused("refreshed access_token missing", |op| refreshed(op, |tokens| drop(tokens.remove("access_token")))),
    refused("refreshed access_token empty", |op| refreshed(op, |tokens| tokens["access_token"] = json!(""))),
    refused("refreshed token_type unsupported", |op| refreshed(op, |tokens| tokens["token_type"] = json!("mac"))),
    accepted("refreshed without a new refresh token", |op| {
        refreshed(op, |tokens| drop(tokens.remove("refresh_token")))
    }),
    accepted("refreshed without an ID token", |op| refreshed(op, |tokens| drop(tokens.remove("id_token")))),
    accepted("refreshed without expires_in", |op| refreshed(op, |tokens| drop(tokens.remove("expires_in")))),
    accepted("refreshed without scope", |op| refreshed(op, |tokens| drop(tokens.remove("scope")))),
    depends("refreshed scope narrower", |op| refreshed(op, |tokens| tokens["scope"] = json!("openid"))),
];

fn id_token(op: &Op, edit: fn(&mut Draft)) {
    op.edit_refreshed_id_token(edit);
}

/// Who a refresh says it is (OpenID Connect Core 12.2).
pub const REFRESHED_ID_TOKEN: &[Lie] = &[
    refused("refreshed sub other", |op| id_token(op, |jwt| jwt.claim("sub", "b1"))),
    refused("refreshed sub missing", |op| id_token(op, |jwt| jwt.without("sub"))),
    refused("refreshed iss other", |op| id_token(op, |jwt| jwt.claim("iss", "https://evil.test"))),
    refused("refreshed aud other", |op| id_token(op, |jwt| jwt.claim("aud", "other-app"))),
    accepted("refreshed azp ours", |op| id_token(op, |jwt| jwt.claim("azp", crate::provider::CLIENT_ID))),
    accepted("refreshed azp null", |op| id_token(op, |jwt| jwt.claim("azp", Value::Null))),
    refused("refreshed azp other", |op| id_token(op, |jwt| jwt.claim("azp", "other-app"))),
    refused("refreshed nonce other", |op| id_token(op, |jwt| jwt.claim("nonce", "other"))),
    accepted("refreshed auth_time other", |op| id_token(op, |jwt| jwt.claim("auth_time", 1_000_000))),
    refused("refreshed iat earlier", |op| id_token(op, |jwt| jwt.claim("iat", jwt.now() - 30 * 86_400))),
    refused("refreshed exp long ago", |op| id_token(op, |jwt| jwt.claim("exp", jwt.now() - 3600))),
    refused("refreshed signature spoiled", |op| id_token(op, |jwt| jwt.seal = Seal::Spoiled(jwt.key()))),
    refused("refreshed by a stranger", |op| id_token(op, |jwt| jwt.seal = Seal::Sign(Key::stranger(jwt.key().alg)))),
    refused("refreshed at_hash wrong", |op| id_token(op, |jwt| jwt.claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"))),
    refused("refreshed ID token unsigned", |op| {
        id_token(op, |jwt| {
            jwt.head("alg", "none");
            jwt.seal = Seal::Empty;
        });
    }),
    accepted("refreshed auth_time missing", |op| id_token(op, |jwt| jwt.without("auth_time"))),
];
