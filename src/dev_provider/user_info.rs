//! UserInfo (OpenID Connect Core 1.0 section 5.3), behind a bearer token (RFC 6750).

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::request::header_of;
use super::state::{Person, has};
use super::{IncomingRequest, response};

impl IncomingRequest<'_> {
    pub(super) fn user_info(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let authorization = header_of(request, &header::AUTHORIZATION).unwrap_or_default();
        let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
        if !scheme.eq_ignore_ascii_case("Bearer") {
            // RFC 6750 section 3.1: who shows nothing is told no error.
            return challenge(StatusCode::UNAUTHORIZED, "");
        }
        if token.is_empty() {
            return challenge(StatusCode::BAD_REQUEST, ", error=\"invalid_request\"");
        }
        match self.state.live(token, self.now).map(|(access, grant)| (access, &grant.session)) {
            None => challenge(StatusCode::UNAUTHORIZED, ", error=\"invalid_token\""),
            Some((access, Some(session))) if has(&access.scopes, "openid") => {
                response::private_json(&self.claims(&session.person, &access.scopes))
            }
            Some(_) => challenge(StatusCode::FORBIDDEN, ", error=\"insufficient_scope\""),
        }
    }

    /// The claims about a person that the scopes ask for (OpenID Connect Core 1.0 section 5.4). `admin` and `roles` come with every one of
    /// them: they are this provider's own.
    pub(super) fn claims(&self, person: &Person, scopes: &[String]) -> Value {
        let mut claims = json!({ "sub": person.subject(), "admin": person.admin });
        let roles = self.state.roles.get(&person.subject(), self.now).into_iter().flatten().map(String::as_str);
        claims["roles"] = roles.chain(person.admin.then_some("admin")).collect::<Vec<_>>().into();
        if has(scopes, "email") {
            claims["email"] = person.email.as_str().into();
            claims["email_verified"] = true.into();
        }
        if has(scopes, "profile") {
            // The part before the `@`.
            claims["name"] = person.email.split('@').next().into();
        }
        claims
    }
}

fn challenge(status: StatusCode, error: &str) -> Response<Bytes> {
    let mut response = response::empty(status);
    let value = format!("Bearer realm=\"development provider\"{error}");
    response::set(&mut response, header::WWW_AUTHENTICATE, &value);
    response
}
