//! What the page's form says: sign in, sign out, deny, or grant.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};

use super::authorization_request::CheckedAuthorizationRequest;
use super::request::{Form, cookie, is_cross_site};
use super::state::{DevSession, PendingSignIn, Person, Question, SESSION_LIFETIME};
use super::{IncomingRequest, response};

const DEFAULT_EMAIL: &str = "test@example.com";
const EMAIL_REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
const EXPIRED: &str = "This page has expired. Go back to the application and start again.";

impl IncomingRequest<'_> {
    pub(super) fn sign_in(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let (form, browser) = match self.own_form(request) {
            Ok(sent) => sent,
            Err((status, why)) => return self.message(status, "Not possible", why),
        };
        let (token, now) = (form.get("pending").unwrap_or_default(), self.now);
        // Another browser's answer does not count, and does not use the page up either.
        let pending = self.state.pages.get(token, now).filter(|pending| pending.browser == browser).cloned();
        let Some(PendingSignIn { asked, question, .. }) = pending else {
            return self.message(StatusCode::BAD_REQUEST, "Too late", EXPIRED);
        };
        match (form.get("answer"), question) {
            (Some("deny"), _) => {
                self.state.pages.remove(token, now);
                self.refuse(&asked.reply, "access_denied", "the request was denied")
            }
            (Some("sign-out"), _) => {
                self.state.end_session(&browser, now);
                self.signed_out_of_page(token, &asked, request)
            }
            (Some("grant"), Question::Consent { sid }) => {
                let session = self.state.sessions.get_mut(&browser, now).filter(|session| session.sid == sid);
                let Some(session) = session else { return self.signed_out_of_page(token, &asked, request) };
                session.grant(&asked.client_id, &asked.scopes);
                let session = session.clone();
                self.state.pages.remove(token, now);
                self.reply_with_code(asked, &session)
            }
            // A script that names no button means the first one, as the Enter key does.
            (Some("sign-in") | None, Question::SignIn) => {
                let email = form.get("email").unwrap_or_default();
                if !is_email(email) {
                    let why = "An e-mail address has one @ with text on both sides, and no spaces, quotes or angle brackets.";
                    let status = StatusCode::BAD_REQUEST;
                    return self.question(status, token, &asked, &Question::SignIn, email, Some(why));
                }
                let person = Person { email: email.to_owned(), admin: form.get("admin").is_some() };
                self.state.pages.remove(token, now);
                self.sign_in_and_grant(asked, Some(&browser), person, false)
            }
            _ => self.message(StatusCode::BAD_REQUEST, "Not possible", "The form has no such answer."),
        }
    }

    /// A form that one of our own pages sent, and the browser it was shown to; else what is wrong with it.
    pub(super) fn own_form(
        &self,
        request: &Request<Bytes>,
    ) -> Result<(Form, String), (StatusCode, &'static str)> {
        if is_cross_site(request, &self.settings.issuer.origin()) {
            return Err((StatusCode::FORBIDDEN, "Another site sent this form."));
        }
        match (Form::of_form(request), self.browser(request)) {
            (Ok(form), Some(browser)) => Ok((form, browser)),
            _ => Err((StatusCode::BAD_REQUEST, EXPIRED)),
        }
    }

    /// Signs the person in, unless the browser's session is theirs and `satisfies` the request, and takes it as consent
    /// too: the page named the scopes.
    pub(super) fn sign_in_and_grant(
        &mut self,
        asked: CheckedAuthorizationRequest,
        browser: Option<&str>,
        person: Person,
        satisfies: bool,
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
        let mut response = self.reply_with_code(asked, &session);
        self.set_browser(&mut response, &new_browser);
        self.remember_email(&mut response, &session.person.email);
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
            for pending in self.state.pages.values_mut().filter(|pending| pending.browser == old) {
                new.clone_into(&mut pending.browser);
            }
        }
        let expires_at = self.now.saturating_add(SESSION_LIFETIME);
        self.state.sessions.insert(new.to_owned(), session, expires_at);
    }

    /// The sign-in page in the place of a page that was of a session, for the same request.
    fn signed_out_of_page(
        &mut self,
        token: &str,
        asked: &CheckedAuthorizationRequest,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        if let Some(pending) = self.state.pages.get_mut(token, self.now) {
            pending.question = Question::SignIn;
        }
        let (email, notice) = (self.suggested_email(asked, request), Some("You are signed out."));
        self.question(StatusCode::OK, token, asked, &Question::SignIn, &email, notice)
    }

    /// What the page has filled in: the hint, else who signed in here last.
    pub(super) fn suggested_email(
        &self,
        asked: &CheckedAuthorizationRequest,
        request: &Request<Bytes>,
    ) -> String {
        let remembered = cookie(request, &self.email_cookie()).unwrap_or_default();
        let remembered = form_urlencoded::parse(remembered.as_bytes()).next().map(|(email, _)| email);
        let hint = asked.login_hint.as_deref().filter(|hint| is_email(hint)).map(str::to_owned);
        hint.or_else(|| remembered.filter(|email| is_email(email)).map(String::from))
            .unwrap_or_else(|| DEFAULT_EMAIL.to_owned())
    }

    fn remember_email(&self, response: &mut Response<Bytes>, email: &str) {
        let encoded: String = form_urlencoded::byte_serialize(email.as_bytes()).collect();
        let attributes = self.settings.issuer.cookie_attributes();
        let max_age = EMAIL_REMEMBERED.as_secs();
        let cookie = format!("{}={encoded}; Max-Age={max_age}; {attributes}", self.email_cookie());
        response::set(response, header::SET_COOKIE, &cookie);
    }

    fn email_cookie(&self) -> String {
        format!("{}-email", self.settings.issuer.cookie_name())
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
