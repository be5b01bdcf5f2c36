//! OpenID Connect RP-Initiated Logout 1.0.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::IncomingRequest;
use super::authorize::EXPIRED;
use super::page::message;
use super::request::Form;
use super::response::{Answer, Refusal, see_other};
use super::state::{PAGE_LIFETIME, PendingSignOut};

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
    pub(super) fn end_session(&mut self, request: &Request<Bytes>) -> Answer {
        let sent = Form::of_query(request);
        let hint = sent.get("id_token_hint").and_then(|hint| self.open_hint(hint));
        let destination = self.destination(&sent, hint.as_ref())?;
        let named = hint.map(|hint| hint.sid);
        let here = self.browser(request).and_then(|browser| {
            let session = self.state.sessions.get(&browser, self.now)?;
            Some((browser, session))
        });
        let ends = match here {
            Some((browser, session)) if named.as_ref() != Some(&session.sid) => {
                // Section 2: without a hint that names this very session, the person is asked. Any page can send a browser
                // here.
                let (token, email) = (self.settings.random.token(), session.person.email.clone());
                let pending = PendingSignOut { browser, destination };
                self.state.logouts.insert(token.clone(), pending, self.until(PAGE_LIFETIME));
                return Ok(self.confirm_sign_out(&token, &email));
            }
            Some((browser, _)) => Some(browser),
            // The cookie may be gone or withheld; whoever holds the ID token may end its session.
            None => {
                let mut sessions = self.state.sessions.live(self.now);
                let found = sessions.find(|(_, session)| Some(&session.sid) == named.as_ref());
                found.map(|(browser, _)| browser.clone())
            }
        };
        ends.iter().for_each(|browser| self.state.end_session(browser, self.now));
        Ok(signed_out(destination))
    }

    /// The confirmation's form.
    pub(super) fn sign_out(&mut self, request: &Request<Bytes>) -> Answer {
        let (form, browser) = self.own_form(request)?;
        let token = form.get("pending").unwrap_or_default();
        let ours = self.state.logouts.get(token, self.now).is_some_and(|logout| logout.browser == browser);
        let logout = self.state.logouts.remove(token, self.now).filter(|_| ours).ok_or(EXPIRED)?;
        self.state.end_session(&browser, self.now);
        Ok(signed_out(logout.destination))
    }

    /// Section 3: where the browser goes then, if the client registered it. Its `state` goes along.
    fn destination(&self, sent: &Form, hint: Option<&Hint>) -> Result<Option<String>, Refusal> {
        if sent.has_repeated() {
            return Err(Refusal::page("A parameter comes twice."));
        }
        let client_id = match (sent.get("client_id"), hint.map(|hint| hint.aud.as_str())) {
            (Some(sent), Some(hinted)) if sent != hinted => {
                return Err(Refusal::page("The ID token was issued to another application."));
            }
            (sent, hinted) => sent.or(hinted),
        };
        let client = self.settings.clients.iter().find(|client| Some(client.id.as_str()) == client_id);
        let registered = sent
            .owned("post_logout_redirect_uri")
            .filter(|uri| client.is_some_and(|client| client.post_logout_redirect_uris.contains(uri)));
        let Some(mut url) = registered.and_then(|uri| Url::parse(&uri).ok()) else { return Ok(None) };
        if let Some(state) = sent.get("state") {
            url.query_pairs_mut().append_pair("state", state);
        }
        let destination = Some(String::from(url)).filter(|url| url.len() <= MAX_DESTINATION);
        destination.map(Some).ok_or(Refusal::page("The request is too long."))
    }

    /// An ID token of ours, expired or not (section 4). One that a key before the last restart signed
    /// counts as none at all.
    pub(super) fn open_hint(&self, id_token: &str) -> Option<Hint> {
        let hint: Hint = self.state.keys.open(id_token)?;
        Some(hint).filter(|hint| hint.iss == self.settings.issuer.given)
    }
}

fn signed_out(destination: Option<String>) -> Response<Bytes> {
    let stays = || message(StatusCode::OK, "Signed out", "You are signed out.");
    destination.map_or_else(stays, |destination| see_other(&destination))
}
