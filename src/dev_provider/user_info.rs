//! UserInfo (OpenID Connect Core 1.0 section 5.3), behind a bearer token (RFC 6750).

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::request::header_of;
use super::state::Person;
use super::{IncomingRequest, response};

impl IncomingRequest<'_> {
    pub(super) fn user_info(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(authorization) = header_of(request, &header::AUTHORIZATION) else {
            // RFC 6750 section 3.1: who shows nothing is told no error.
            return challenge(StatusCode::UNAUTHORIZED, None);
        };
        let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return challenge(StatusCode::UNAUTHORIZED, None);
        }
        if token.is_empty() {
            return challenge(StatusCode::BAD_REQUEST, Some("invalid_request"));
        }
        let live = self.state.live(token, self.now);
        match live.map(|(access, grant)| (access, grant.person.as_ref())) {
            None => challenge(StatusCode::UNAUTHORIZED, Some("invalid_token")),
            Some((access, Some(person))) if access.scopes.iter().any(|scope| scope == "openid") => {
                response::private_json(&Value::Object(claims(person, &access.scopes)))
            }
            Some(_) => challenge(StatusCode::FORBIDDEN, Some("insufficient_scope")),
        }
    }
}

/// What the scopes tell of a person (OpenID Connect Core 1.0 section 5.4). `admin` comes with every one of
/// them: it is this provider's own.
pub(super) fn claims(person: &Person, scopes: &[String]) -> Map<String, Value> {
    let has = |name: &str| scopes.iter().any(|scope| scope == name);
    let mut claims = Map::from_iter([
        ("sub".to_owned(), person.subject().into()),
        ("admin".to_owned(), person.admin.into()),
    ]);
    if has("email") {
        claims.insert("email".to_owned(), person.email.as_str().into());
        claims.insert("email_verified".to_owned(), true.into());
    }
    if has("profile") {
        claims.insert("name".to_owned(), person.name().into());
    }
    claims
}

fn challenge(status: StatusCode, error: Option<&str>) -> Response<Bytes> {
    let error = error.map(|code| format!(", error=\"{code}\"")).unwrap_or_default();
    let mut response = response::empty(status);
    let value = format!("Bearer realm=\"development provider\"{error}");
    response::set(&mut response, header::WWW_AUTHENTICATE, &value);
    response
}
