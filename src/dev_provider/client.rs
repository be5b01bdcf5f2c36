//! The applications that are registered here, and how they prove it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, header};
use subtle::ConstantTimeEq;

use super::request::{Form, header_of};
use super::response::Refusal;

#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) post_logout_redirect_uris: Vec<String>,
}

/// The form of a request, and the client that sends it: RFC 6749 section 2.3, by `client_secret_basic`,
/// `client_secret_post` or, where it has no secret, `none`.
pub(super) fn authenticate<'c>(
    clients: &'c [Client],
    request: &Request<Bytes>,
) -> Result<(Form, &'c Client), Refusal> {
    let invalid = |description| Refusal::oauth("invalid_request", description);
    let form = Form::of_form(request);
    let form = form.ok_or(invalid("the body must be application/x-www-form-urlencoded"))?;
    if form.has_repeated() {
        return Err(invalid("a parameter comes twice"));
    }
    let (id, secret) = match header_of(request, &header::AUTHORIZATION) {
        Some(authorization) => {
            let (id, secret) = basic(authorization).ok_or(Refusal::INVALID_CLIENT)?;
            if form.get("client_secret").is_some() || form.get("client_id").is_some_and(|other| other != id) {
                return Err(invalid("the client authenticates in more than one way"));
            }
            (id, Some(secret).filter(|secret| !secret.is_empty()))
        }
        None => (form.owned("client_id").ok_or(Refusal::INVALID_CLIENT)?, form.owned("client_secret")),
    };
    let client = clients.iter().find(|client| client.id == id).ok_or(Refusal::INVALID_CLIENT)?;
    let proven = match (&client.secret, secret) {
        (Some(expected), Some(given)) => bool::from(expected.as_bytes().ct_eq(given.as_bytes())),
        (None, None) => true,
        _ => false,
    };
    if proven { Ok((form, client)) } else { Err(Refusal::INVALID_CLIENT) }
}

/// RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("Basic");
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':').filter(|_| is_basic)?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // Left alone, `&` would end the value and `=` would begin one; neither is form-encoded text.
    let text = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}
