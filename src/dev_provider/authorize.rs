//! The authorization endpoint: who is it, did they consent, and what the client hears. What the page's form says: sign in, sign
//! out, deny, or grant.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::authorization_request::{CheckedAuthorizationRequest, Reply};
use super::request::{Form, decoded, is_cross_site};
use super::response::{Answer, Refusal, see_other};
use super::state::{
    CODE_LIFETIME, Code, DevSession, GRANT_LIFETIME, PAGE_LIFETIME, PendingSignIn, Person, SESSION_LIFETIME,
};
use super::{IncomingRequest, ScriptedLogin};
use crate::html::encoded;

/// A waiting page keeps its request, so a request is bounded.
const MAX_LENGTH: usize = 16 * 1024;
const DEFAULT_EMAIL: &str = "test@example.com";
/// The cookie that remembers the e-mail address, and its lifetime of 30 days.
const EMAIL: &str = "-email";
const EMAIL_REMEMBERED: &str = "; Max-Age=2592000";

pub(super) const EXPIRED: Refusal = Refusal::Page(
    StatusCode::BAD_REQUEST,
    "Too late",
    "This page has expired. Go back to the application and start again.",
);

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
    fn reply_with_code(&mut self, asked: CheckedAuthorizationRequest, session: DevSession) -> Response<Bytes> {
        let (code, reply) = (self.settings.random.token(), asked.reply.clone());
        let record = Code { asked, session, spent: None };
        self.state.codes.insert(code.clone(), record, self.until(CODE_LIFETIME));
        self.reply(&reply, &[("code", &code)])
    }

    /// RFC 6749 section 4.1.2.1.
    fn refuse(&self, reply: &Reply, code: &str, description: &str) -> Response<Bytes> {
        self.reply(reply, &[("error", code), ("error_description", description)])
    }

    fn reply(&self, reply: &Reply, outcome: &[(&str, &str)]) -> Response<Bytes> {
        let state = reply.state.as_deref().map(|state| ("state", state));
        // RFC 9207 section 2: errors name their issuer too.
        let issuer = ("iss", self.settings.issuer.given.as_str());
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

    fn set_browser(&self, response: &mut Response<Bytes>, browser: &str) {
        self.settings.issuer.set_cookie(response, "", browser, "");
    }

    pub(super) fn sign_in(&mut self, request: &Request<Bytes>) -> Answer {
        let (form, browser) = self.own_form(request)?;
        let (token, now) = (form.get("pending").unwrap_or_default(), self.now);
        // Another browser's answer does not count, and does not use the page up either.
        let page = self.state.pages.get(token, now).filter(|page| page.browser == browser);
        let page = page.cloned().ok_or(EXPIRED)?;
        match (form.get("answer"), &page.consent) {
            (Some("deny"), _) => {
                self.state.pages.remove(token, now);
                Ok(self.refuse(&page.asked.reply, "access_denied", "the request was denied"))
            }
            (Some("sign-out"), _) => {
                self.state.end_session(&browser, now);
                Ok(self.signed_out_of_page(token, page, request))
            }
            (Some("grant"), Some(sid)) => {
                let session = self.state.sessions.get_mut(&browser, now).filter(|session| session.sid == *sid);
                let Some(session) = session else { return Ok(self.signed_out_of_page(token, page, request)) };
                session.grant(&page.asked.client_id, &page.asked.scopes);
                let session = session.clone();
                self.state.pages.remove(token, now);
                Ok(self.reply_with_code(page.asked, session))
            }
            // A script that names no button means the first one, as the Enter key does.
            (Some("sign-in") | None, None) => {
                let email = form.get("email").unwrap_or_default();
                if !is_email(email) {
                    let why =
                        "An e-mail address has one @ with text on both sides, and no spaces, quotes or angle brackets.";
                    let mut again = self.question(token, &page, email, why);
                    *again.status_mut() = StatusCode::BAD_REQUEST;
                    return Ok(again);
                }
                let person = Person { email: email.to_owned(), admin: form.get("admin").is_some() };
                let roles = form.get("roles").unwrap_or_default().split(',').map(str::trim);
                let roles = roles.filter(|role| !role.is_empty()).map(str::to_owned).collect();
                self.state.roles.insert(person.subject(), roles, self.until(GRANT_LIFETIME));
                self.state.pages.remove(token, now);
                Ok(self.sign_in_and_grant(page.asked, Some(&browser), person, false))
            }
            _ => Err(Refusal::page("The form has no such answer.")),
        }
    }

    /// A form that one of our own pages sent, and the browser it was shown to; else what is wrong with it.
    pub(super) fn own_form(&self, request: &Request<Bytes>) -> Result<(Form, String), Refusal> {
        if is_cross_site(request, &self.settings.issuer.origin()) {
            let why = "Another site sent this form.";
            return Err(Refusal::Page(StatusCode::FORBIDDEN, "Not possible", why));
        }
        Form::of_form(request).zip(self.browser(request)).ok_or(EXPIRED)
    }

    /// Signs the person in, unless the browser's session is theirs and `satisfies` the request, and takes it as consent
    /// too: the page named the scopes.
    fn sign_in_and_grant(
        &mut self, asked: CheckedAuthorizationRequest, browser: Option<&str>, person: Person, satisfies: bool,
    ) -> Response<Bytes> {
        if !is_email(&person.email) {
            return self.refuse(&asked.reply, "access_denied", "the script's e-mail is not an e-mail");
        }
        // OpenID Connect Core 1.0 section 3.1.2.1: somebody else than the hint named is an error.
        if asked.hinted_subject.as_ref().is_some_and(|subject| *subject != person.subject()) {
            return self.refuse(&asked.reply, "login_required", "somebody else signed in");
        }
        let before = browser.and_then(|browser| self.state.sessions.get(browser, self.now)).cloned();
        let before = before.filter(|session| session.person.subject() == person.subject());
        let mut session =
            before.unwrap_or_else(|| DevSession::new(self.settings.random.token(), person.clone(), self.now));
        if !satisfies || session.person.admin != person.admin {
            (session.person, session.auth_time) = (person, self.now);
        }
        session.grant(&asked.client_id, &asked.scopes);
        let new_browser = self.settings.random.token();
        self.move_browser(browser, &new_browser, session.clone());
        let email = encoded(&session.person.email);
        let mut response = self.reply_with_code(asked, session);
        self.set_browser(&mut response, &new_browser);
        self.settings.issuer.set_cookie(&mut response, EMAIL, &email, EMAIL_REMEMBERED);
        response
    }

    /// A sign-in gives the browser a new cookie, so that nobody can have planted it (RFC 6265 section 8.4).
    /// Its other open pages follow.
    fn move_browser(&mut self, old: Option<&str>, new: &str, session: DevSession) {
        if let Some(old) = old {
            let continued = self.state.sessions.get(old, self.now).is_some_and(|it| it.sid == session.sid);
            if continued {
                self.state.sessions.remove(old, self.now);
            } else {
                self.state.end_session(old, self.now);
            }
            for (_, page) in self.state.pages.live(self.now).filter(|(_, page)| page.browser == old) {
                new.clone_into(&mut page.browser);
            }
        }
        self.state.sessions.insert(new.to_owned(), session, self.until(SESSION_LIFETIME));
    }

    /// The sign-in page in the place of a page that was of a session, for the same request.
    fn signed_out_of_page(&mut self, token: &str, page: PendingSignIn, request: &Request<Bytes>) -> Response<Bytes> {
        let page = PendingSignIn { consent: None, ..page };
        if let Some(pending) = self.state.pages.get_mut(token, self.now) {
            *pending = page.clone();
        }
        self.question(token, &page, &self.suggested_email(&page.asked, request), "You are signed out.")
    }

    /// The e-mail address that the sign-in page shows at first: the hint, otherwise that of the last sign-in here.
    fn suggested_email(&self, asked: &CheckedAuthorizationRequest, request: &Request<Bytes>) -> String {
        let remembered = self.settings.issuer.cookie(request, EMAIL).map(decoded);
        let emails = asked.login_hint.clone().into_iter().chain(remembered);
        emails.chain([DEFAULT_EMAIL.to_owned()]).find(|email| is_email(email)).unwrap_or_default()
    }
}

/// One `@` with text on both sides, and nothing that means something in HTML or in a header.
/// RFC 5321 section 4.5.3.1.3 leaves 254 bytes for it.
fn is_email(text: &str) -> bool {
    let strange = |c: char| c.is_control() || c.is_whitespace() || "\"'`<>".contains(c);
    let parts: Vec<&str> = text.split('@').collect();
    text.len() <= 254
        && !text.contains(strange)
        && matches!(parts[..], [user, domain] if !user.is_empty() && !domain.is_empty())
}
