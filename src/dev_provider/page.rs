//! The pages people see. Everything that comes from outside is escaped here, and only here.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::IncomingRequest;
use super::state::PendingSignIn;
use crate::html::{document, escape, self_submitting};

const STYLE: &str = include_str!("page.css");

impl IncomingRequest<'_> {
    /// The sign-in page or the consent page, for one authorization request, with a notice where there is one to give.
    pub(super) fn question(&self, token: &str, asks: &PendingSignIn, email: &str, notice: &str) -> Response<Bytes> {
        let PendingSignIn { asked, consent, .. } = asks;
        let (client, email) = (escape(&asked.client_id), escape(email));
        let scopes = asked.scopes.iter().map(|scope| format!("<li><code>{}</code></li>", escape(scope)));
        let scopes = scopes.collect::<String>();
        let notice = match notice {
            "" => String::new(),
            notice => format!(r#"<p class="notice" role="alert">{}</p>"#, escape(notice)),
        };
        let (title, first, fields) = match consent {
            None => ("Sign in", ("sign-in", "Sign in"), format!(include_str!("person.html"), email = email)),
            Some(_) => {
                let person = format!("<p>You are signed in as <strong>{email}</strong>.</p>");
                ("Grant access", ("grant", "Grant access"), person)
            }
        };
        let buttons = [first, ("sign-out", "Sign out"), ("deny", "Deny")];
        let form = self.form("/sign-in", token, &fields, &buttons);
        let body =
            format!(include_str!("question.html"), notice = notice, client = client, scopes = scopes, form = form);
        page(StatusCode::OK, title, &body)
    }

    /// Asks before a logout that anybody could have caused (RP-Initiated Logout 1.0 section 2).
    pub(super) fn confirm_sign_out(&self, token: &str, email: &str) -> Response<Bytes> {
        let text = format!("<p>You are signed in as <strong>{}</strong>. Sign out?</p>", escape(email));
        let form = self.form("/sign-out", token, &text, &[("sign-out", "Sign out")]);
        page(StatusCode::OK, "Sign out", &form)
    }

    /// A form with the token of what it answers, and a button for each answer.
    fn form(&self, endpoint: &str, token: &str, fields: &str, buttons: &[(&str, &str)]) -> String {
        let (action, token) = (escape(&self.settings.issuer.url(endpoint)), escape(token));
        let buttons = buttons
            .iter()
            .map(|(answer, label)| format!(r#"<button id="{answer}" name="answer" value="{answer}">{label}</button>"#));
        let buttons = buttons.collect::<String>();
        format!(include_str!("form.html"), action = action, token = token, fields = fields, buttons = buttons)
    }

    /// OAuth 2.0 Form Post Response Mode section 2.
    pub(super) fn form_post(&self, action: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
        let nonce = self.settings.random.token();
        private(self_submitting("Back to the application", STYLE, action, fields, &nonce))
    }
}

/// A page that only says something.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response<Bytes> {
    page(status, title, &format!("<p>{}</p>", escape(text)))
}

fn page(status: StatusCode, title: &str, body: &str) -> Response<Bytes> {
    private(document(status, title, STYLE, body, None))
}

/// What is said at a provider is for no other site, and is what it says it is.
fn private(mut page: Response<Bytes>) -> Response<Bytes> {
    page.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}
