//! The authorization endpoint: who is it, did they consent, and what the client hears.

use bytes::Bytes;
use http::{Request, Response};

use super::authorization_request::{CheckedAuthorizationRequest, Reply};
use super::request::Form;
use super::response::{Answer, Refusal, see_other};
use super::state::{CODE_LIFETIME, Code, DevSession, PAGE_LIFETIME, PendingSignIn, Person};
use super::{IncomingRequest, ScriptedLogin};

/// A waiting page keeps its request, so a request is bounded.
const MAX_LENGTH: usize = 16 * 1024;

impl IncomingRequest<'_> {
    /// OpenID Connect Core 1.0 section 3.1.2.
    pub(super) fn authorize(&mut self, request: &Request<Bytes>) -> Answer {
        if request.uri().query().unwrap_or_default().len() > MAX_LENGTH {
            return Err(Refusal::page("The request is too long."));
        }
        let sent = Form::of_query(request);
        let (client, reply) = Reply::parse(&sent, &self.settings.clients)?;
        let mut asked = match CheckedAuthorizationRequest::parse(&sent, client, &reply) {
            Ok(asked) => asked,
            Err((code, description)) => return Ok(self.refuse(&reply, code, description)),
        };
        let hint = sent.get("id_token_hint").and_then(|hint| self.open_hint(hint));
        asked.hinted_subject = hint.map(|hint| hint.sub);
        Ok(self.decide(asked, request))
    }

    /// A form that another site posted arrives without our `SameSite=Lax` cookie; the GET that follows
    /// carries it. Only our own endpoint is redirected to, and it judges the parameters.
    pub(super) fn again_as_get(&self, endpoint: &str, request: &Request<Bytes>) -> Answer {
        let form = Form::of_form(request).ok_or(Refusal::page("This is not a form."))?;
        Ok(see_other(&format!("{}?{}", self.settings.issuer.url(endpoint), form.to_query())))
    }

    fn decide(&mut self, asked: CheckedAuthorizationRequest, request: &Request<Bytes>) -> Response<Bytes> {
        let browser = self.browser(request);
        let session = browser.as_deref().and_then(|browser| self.state.sessions.get(browser, self.now));
        let session = session.filter(|session| session.satisfies(&asked, self.now)).cloned();
        match self.state.script.clone().filter(|_| !asked.silent) {
            Some(ScriptedLogin::Deny) => {
                return self.refuse(&asked.reply, "access_denied", "the script denied the request");
            }
            Some(ScriptedLogin::SignIn { email, admin }) => {
                let person = Person { email, admin };
                return self.sign_in_and_grant(asked, browser.as_deref(), person, session.is_some());
            }
            None => {}
        }
        let (consent, email) = match session {
            Some(session) if !asked.consent && session.has_granted(&asked.client_id, &asked.scopes) => {
                return self.reply_with_code(asked, session);
            }
            Some(session) => (Some(session.sid), session.person.email),
            None => (None, self.suggested_email(&asked, request)),
        };
        if asked.silent {
            let (code, why) = match consent {
                Some(_) => ("consent_required", "a scope has not been granted yet"),
                None => ("login_required", "nobody suitable is signed in"),
            };
            return self.refuse(&asked.reply, code, why);
        }
        let browser = browser.unwrap_or_else(|| self.settings.random.token());
        let (token, page) = (self.settings.random.token(), PendingSignIn { asked, consent, browser });
        let mut response = self.question(&token, &page, &email, "");
        self.set_browser(&mut response, &page.browser);
        self.state.pages.insert(token, page, self.until(PAGE_LIFETIME));
        response
    }

    /// The person said yes: a code for the client (RFC 6749 section 4.1.2).
    pub(super) fn reply_with_code(
        &mut self,
        asked: CheckedAuthorizationRequest,
        session: DevSession,
    ) -> Response<Bytes> {
        let (code, reply) = (self.settings.random.token(), asked.reply.clone());
        let record = Code { asked, session, spent: None };
        self.state.codes.insert(code.clone(), record, self.until(CODE_LIFETIME));
        self.reply(&reply, &[("code", &code)])
    }

    /// RFC 6749 section 4.1.2.1.
    pub(super) fn refuse(&self, reply: &Reply, code: &str, description: &str) -> Response<Bytes> {
        self.reply(reply, &[("error", code), ("error_description", description)])
    }

    fn reply(&self, reply: &Reply, outcome: &[(&str, &str)]) -> Response<Bytes> {
        let state = reply.state.as_deref().map(|state| ("state", state));
        // RFC 9207 section 2: errors name their issuer too.
        let issuer = ("iss", self.settings.issuer.as_str());
        let fields: Vec<_> = outcome.iter().copied().chain(state).chain([issuer]).collect();
        if reply.form_post {
            return self.form_post(&reply.redirect_uri, &fields);
        }
        let mut url = reply.url.clone();
        url.query_pairs_mut().extend_pairs(fields);
        see_other(url.as_str())
    }

    /// The value of the browser's cookie, if it could be one of ours. It names a session or nothing.
    pub(super) fn browser(&self, request: &Request<Bytes>) -> Option<String> {
        let value = self.settings.issuer.cookie(request, "")?;
        Some(value).filter(|value| value.len() == 43).map(str::to_owned)
    }

    pub(super) fn set_browser(&self, response: &mut Response<Bytes>, browser: &str) {
        self.settings.issuer.set_cookie(response, "", browser, "");
    }
}
