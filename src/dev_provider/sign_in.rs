//! What the page's form says: sign in, sign out, deny, or grant.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::IncomingRequest;
use super::authorization_request::CheckedAuthorizationRequest;
use super::request::{Form, is_cross_site};
use super::response::{Answer, Refusal};
use super::state::{DevSession, PendingSignIn, Person, SESSION_LIFETIME};

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
                let session =
                    self.state.sessions.get_mut(&browser, now).filter(|session| session.sid == *sid);
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
                    let why = "An e-mail address has one @ with text on both sides, and no spaces, quotes or angle brackets.";
                    let mut again = self.question(token, &page, email, why);
                    *again.status_mut() = StatusCode::BAD_REQUEST;
                    return Ok(again);
                }
                let person = Person { email: email.to_owned(), admin: form.get("admin").is_some() };
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
        let email: String = form_urlencoded::byte_serialize(session.person.email.as_bytes()).collect();
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
    fn signed_out_of_page(
        &mut self,
        token: &str,
        page: PendingSignIn,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let page = PendingSignIn { consent: None, ..page };
        if let Some(pending) = self.state.pages.get_mut(token, self.now) {
            *pending = page.clone();
        }
        self.question(token, &page, &self.suggested_email(&page.asked, request), "You are signed out.")
    }

    /// What the page has filled in: the hint, else who signed in here last.
    pub(super) fn suggested_email(
        &self,
        asked: &CheckedAuthorizationRequest,
        request: &Request<Bytes>,
    ) -> String {
        let remembered = self.settings.issuer.cookie(request, EMAIL).unwrap_or_default();
        let remembered = form_urlencoded::parse(remembered.as_bytes()).next();
        let remembered = remembered.map(|(email, _)| email.into_owned());
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
