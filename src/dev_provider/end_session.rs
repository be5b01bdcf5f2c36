//! OpenID Connect RP-Initiated Logout 1.0.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::request::Form;
use super::state::{PAGE_LIFETIME, PendingSignOut};
use super::{IncomingRequest, response};

const MAX_DESTINATION: usize = 16 * 1024;

/// Of an ID token that comes back to its issuer, what matters.
#[derive(Deserialize)]
pub(super) struct Hint {
    iss: String,
    aud: String,
    sid: String,
    pub(super) sub: String,
}

impl IncomingRequest<'_> {
    pub(super) fn end_session(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let sent = Form::of_query(request);
        let hint = sent.get("id_token_hint").and_then(|hint| self.open_hint(hint));
        let destination = match self.destination(&sent, hint.as_ref()) {
            Ok(destination) => destination,
            Err(why) => return self.message(StatusCode::BAD_REQUEST, "Not possible", why),
        };
        let browser = self.browser(request);
        let here = browser.as_deref().and_then(|browser| self.state.sessions.get(browser, self.now));
        match (here, &hint, browser.as_deref()) {
            (None, Some(hint), _) => {
                // The cookie may be gone or withheld; whoever holds the ID token may end its session.
                if let Some(browser) = self.state.sessions.key_of(self.now, |session| session.sid == hint.sid)
                {
                    self.state.end_session(&browser, self.now);
                }
                self.signed_out(destination)
            }
            (Some(session), Some(hint), Some(browser)) if session.sid == hint.sid => {
                self.state.end_session(browser, self.now);
                self.signed_out(destination)
            }
            (Some(session), _, Some(browser)) => {
                // Section 2: without a hint that names this very session, the person is asked. Any page
                // can send a browser here.
                let email = session.person.email.clone();
                let token = self.settings.random.token();
                let pending = PendingSignOut { browser: browser.to_owned(), destination };
                let expires_at = self.now.saturating_add(PAGE_LIFETIME);
                self.state.logouts.insert(token.clone(), pending, expires_at);
                self.confirm_sign_out(&token, &email)
            }
            _ => self.signed_out(destination),
        }
    }

    /// The confirmation's form.
    pub(super) fn sign_out(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let (form, browser) = match self.own_form(request) {
            Ok(sent) => sent,
            Err((status, why)) => return self.message(status, "Not possible", why),
        };
        let token = form.get("pending").unwrap_or_default();
        let ours = self.state.logouts.get(token, self.now).is_some_and(|logout| logout.browser == browser);
        match self.state.logouts.remove(token, self.now).filter(|_| ours) {
            Some(logout) => {
                self.state.end_session(&browser, self.now);
                self.signed_out(logout.destination)
            }
            None => self.message(StatusCode::BAD_REQUEST, "Too late", "This page has expired."),
        }
    }

    fn signed_out(&self, destination: Option<String>) -> Response<Bytes> {
        match destination {
            Some(destination) => response::see_other(&destination),
            None => self.message(StatusCode::OK, "Signed out", "You are signed out."),
        }
    }

    /// Section 3: where the browser goes then, if the client registered it. Its `state` goes along.
    fn destination(&self, sent: &Form, hint: Option<&Hint>) -> Result<Option<String>, &'static str> {
        if sent.has_repeated() {
            return Err("A parameter comes twice.");
        }
        let client_id = match (sent.get("client_id"), hint.map(|hint| hint.aud.as_str())) {
            (Some(sent), Some(hinted)) if sent != hinted => {
                return Err("The ID token was issued to another application.");
            }
            (sent, hinted) => sent.or(hinted),
        };
        let client = self.settings.clients.iter().find(|client| Some(client.id.as_str()) == client_id);
        let registered = sent.get("post_logout_redirect_uri").filter(|uri| {
            client.is_some_and(|client| client.post_logout_redirect_uris.iter().any(|other| other == uri))
        });
        let Some(mut url) = registered.and_then(|uri| Url::parse(uri).ok()) else { return Ok(None) };
        if let Some(state) = sent.get("state") {
            url.query_pairs_mut().append_pair("state", state);
        }
        let destination = String::from(url);
        if destination.len() > MAX_DESTINATION {
            Err("The request is too long.")
        } else {
            Ok(Some(destination))
        }
    }

    /// An ID token of ours, expired or not (section 4). One that a key before the last restart signed
    /// counts as none at all.
    pub(super) fn open_hint(&self, id_token: &str) -> Option<Hint> {
        let hint: Hint = self.state.keys.open(id_token)?;
        Some(hint).filter(|hint| hint.iss == self.settings.issuer.as_str())
    }
}
