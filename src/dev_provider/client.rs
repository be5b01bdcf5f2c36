//! The applications that are registered here, and how they prove it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, header};
use subtle::ConstantTimeEq;

use super::request::{Form, header_of};
use super::response::OAuthError;

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
) -> Result<(Form, &'c Client), OAuthError> {
    let form = Form::of_form(request)?;
    if form.has_repeated() {
        return Err(OAuthError::invalid_request("a parameter comes twice"));
    }
    let (id, secret) = match header_of(request, &header::AUTHORIZATION) {
        Some(authorization) => {
            let (id, secret) = basic(authorization).ok_or_else(OAuthError::invalid_client)?;
            if form.get("client_secret").is_some() || form.get("client_id").is_some_and(|other| other != id) {
                return Err(OAuthError::invalid_request("the client authenticates in more than one way"));
            }
            (id, Some(secret).filter(|secret| !secret.is_empty()))
        }
        None => {
            let id = form.get("client_id").ok_or_else(OAuthError::invalid_client)?;
            (id.to_owned(), form.get("client_secret").map(str::to_owned))
        }
    };
    let client = clients.iter().find(|client| client.id == id).ok_or_else(OAuthError::invalid_client)?;
    let proven = match (&client.secret, secret) {
        (Some(expected), Some(given)) => bool::from(expected.as_bytes().ct_eq(given.as_bytes())),
        (None, None) => true,
        _ => false,
    };
    if proven { Ok((form, client)) } else { Err(OAuthError::invalid_client()) }
}

/// RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // Left alone, `&` would end the value and `=` would begin one; neither is form-encoded text.
    let text = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}
