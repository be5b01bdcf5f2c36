//! The authorization endpoint: who is it, did they consent, and what the client hears.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use url::Url;

use super::authorization_request::{CheckedAuthorizationRequest, Refusal, Reply};
use super::request::{Form, cookie};
use super::state::{
    CODE_LIFETIME, Code, ConsentedGrant, DevSession, PAGE_LIFETIME, PendingSignIn, Person, Question,
};
use super::{IncomingRequest, ScriptedLogin, response};

impl IncomingRequest<'_> {
    /// OpenID Connect Core 1.0 section 3.1.2.
    pub(super) fn authorize(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let sent = Form::of_query(request);
        let length = request.uri().query().unwrap_or_default().len();
        let mut asked = match CheckedAuthorizationRequest::parse(&sent, length, &self.settings.clients) {
            Ok(asked) => asked,
            Err(Refusal::ToPerson(why)) => return self.message(StatusCode::BAD_REQUEST, "Not possible", why),
            Err(Refusal::ToClient(reply, code, description)) => {
                return self.refuse(&reply, code, description);
            }
        };
        let hint = sent.get("id_token_hint").and_then(|hint| self.open_hint(hint));
        asked.hinted_subject = hint.map(|hint| hint.sub);
        self.decide(asked, request)
    }

    /// A form that another site posted arrives without our `SameSite=Lax` cookie; the GET that follows
    /// carries it. Only our own endpoint is redirected to, and it judges the parameters.
    pub(super) fn again_as_get(&self, endpoint: &str, request: &Request<Bytes>) -> Response<Bytes> {
        match Form::of_form(request) {
            Ok(form) => {
                let url = self.settings.issuer.url(endpoint);
                response::see_other(&format!("{url}?{}", form.to_query()))
            }
            Err(_) => self.message(StatusCode::BAD_REQUEST, "Not possible", "This is not a form."),
        }
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
        let Some(session) = session else {
            return if asked.silent {
                self.refuse(&asked.reply, "login_required", "nobody suitable is signed in")
            } else {
                let email = self.suggested_email(&asked, request);
                self.ask(asked, Question::SignIn, browser, &email)
            };
        };
        if asked.consent || !session.has_granted(&asked.client_id, &asked.scopes) {
            return if asked.silent {
                self.refuse(&asked.reply, "consent_required", "a scope has not been granted yet")
            } else {
                let question = Question::Consent { sid: session.sid };
                self.ask(asked, question, browser, &session.person.email)
            };
        }
        self.reply_with_code(asked, &session)
    }

    /// Shows a page and waits for its form.
    fn ask(
        &mut self,
        asked: CheckedAuthorizationRequest,
        question: Question,
        browser: Option<String>,
        email: &str,
    ) -> Response<Bytes> {
        let browser = browser.unwrap_or_else(|| self.settings.random.token());
        let token = self.settings.random.token();
        let mut response = self.question(StatusCode::OK, &token, &asked, &question, email, None);
        self.set_browser(&mut response, &browser);
        let expires_at = self.now.saturating_add(PAGE_LIFETIME);
        self.state.pages.insert(token, PendingSignIn { asked, question, browser }, expires_at);
        response
    }

    /// The person said yes: a code for the client (RFC 6749 section 4.1.2).
    pub(super) fn reply_with_code(
        &mut self,
        asked: CheckedAuthorizationRequest,
        session: &DevSession,
    ) -> Response<Bytes> {
        let code = self.settings.random.token();
        let grant = ConsentedGrant {
            client_id: asked.client_id,
            person: Some(session.person.clone()),
            sid: session.sid.clone(),
            auth_time: session.auth_time,
            scopes: asked.scopes,
            resources: asked.resources,
        };
        let record = Code {
            grant,
            redirect_uri: asked.reply.redirect_uri.clone(),
            code_challenge: asked.code_challenge,
            nonce: asked.nonce,
            spent: None,
        };
        self.state.codes.insert(code.clone(), record, self.now.saturating_add(CODE_LIFETIME));
        self.reply(&asked.reply, &[("code", &code)])
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
        match Url::parse(&reply.redirect_uri) {
            Ok(mut url) => {
                url.query_pairs_mut().extend_pairs(fields);
                response::see_other(url.as_str())
            }
            Err(_) => response::empty(StatusCode::BAD_REQUEST),
        }
    }

    /// The value of the browser's cookie, if it could be one of ours. It names a session or nothing.
    pub(super) fn browser(&self, request: &Request<Bytes>) -> Option<String> {
        let value = cookie(request, &self.settings.issuer.cookie_name())?;
        Some(value).filter(|value| value.len() == 43).map(str::to_owned)
    }

    pub(super) fn set_browser(&self, response: &mut Response<Bytes>, browser: &str) {
        let issuer = &self.settings.issuer;
        let cookie = format!("{}={browser}; {}", issuer.cookie_name(), issuer.cookie_attributes());
        response::set(response, header::SET_COOKIE, &cookie);
    }
}
