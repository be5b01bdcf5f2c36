//! The pages people see. Everything that comes from outside is escaped here, and only here.

use bytes::Bytes;
use http::{Response, StatusCode, header};

use super::authorization_request::CheckedAuthorizationRequest;
use super::state::Question;
use super::{IncomingRequest, response};
use crate::html::escape;

const STYLE: &str = include_str!("page.css");
/// The button serves where scripts do not run.
const SUBMIT: &str = "document.forms[0].submit()";

impl IncomingRequest<'_> {
    /// A page that only says something.
    pub(super) fn message(&self, status: StatusCode, title: &str, text: &str) -> Response<Bytes> {
        self.page(status, title, &format!("<p>{}</p>", escape(text)), "")
    }

    /// The sign-in page or the consent page, for one authorization request.
    pub(super) fn question(
        &self,
        status: StatusCode,
        token: &str,
        asked: &CheckedAuthorizationRequest,
        question: &Question,
        email: &str,
        notice: Option<&str>,
    ) -> Response<Bytes> {
        let (client, email) = (escape(&asked.client_id), escape(email));
        let scopes: String =
            asked.scopes.iter().map(|scope| format!("<li><code>{}</code></li>", escape(scope))).collect();
        let notice = notice.map(|text| format!(r#"<p class="notice" role="alert">{}</p>"#, escape(text)));
        let notice = notice.unwrap_or_default();
        let (title, fields, first) = match question {
            Question::SignIn => (
                "Sign in",
                format!(
                    r#"<label for="email">E-mail</label>
<input id="email" name="email" value="{email}" inputmode="email" autocomplete="username" autofocus>
<div class="check"><input id="admin" name="admin" type="checkbox" value="on">
<label for="admin">Sign in as Administrator</label></div>"#
                ),
                button("sign-in", "Sign in"),
            ),
            Question::Consent { .. } => (
                "Grant access",
                format!(r#"<p>You are signed in as <strong>{email}</strong>.</p>"#),
                button("grant", "Grant access"),
            ),
        };
        let (sign_out, deny) = (button("sign-out", "Sign out"), button("deny", "Deny"));
        let (action, token) = (escape(&self.settings.issuer.url("/sign-in")), escape(token));
        let body = format!(
            r#"{notice}
<p>The application <strong>{client}</strong> asks for:</p>
<ul>{scopes}</ul>
<form method="post" action="{action}">
<input type="hidden" name="pending" value="{token}">
{fields}
<div class="buttons">{first}{sign_out}{deny}</div>
</form>
<footer>Development provider: no password, no safety.</footer>"#
        );
        self.page(status, title, &body, "")
    }

    /// Asks before a logout that anybody could have caused (RP-Initiated Logout 1.0 section 2).
    pub(super) fn confirm_sign_out(&self, token: &str, email: &str) -> Response<Bytes> {
        let body = format!(
            r#"<p>You are signed in as <strong>{email}</strong>. Sign out?</p>
<form method="post" action="{action}">
<input type="hidden" name="pending" value="{token}">
<div class="buttons">{sign_out}</div>
</form>"#,
            email = escape(email),
            action = escape(&self.settings.issuer.url("/sign-out")),
            token = escape(token),
            sign_out = button("sign-out", "Sign out"),
        );
        self.page(StatusCode::OK, "Sign out", &body, "")
    }

    /// OAuth 2.0 Form Post Response Mode section 2.
    pub(super) fn form_post(&self, action: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
        let inputs: String = fields
            .iter()
            .map(|(name, value)| {
                format!(r#"<input type="hidden" name="{}" value="{}">"#, escape(name), escape(value))
            })
            .collect();
        let body = format!(
            r#"<form method="post" action="{}">{inputs}<div class="buttons"><button>Continue</button></div></form>"#,
            escape(action)
        );
        self.page(StatusCode::OK, "Back to the application", &body, SUBMIT)
    }

    fn page(&self, status: StatusCode, title: &str, body: &str, script: &str) -> Response<Bytes> {
        let nonce = self.settings.random.token();
        let title = escape(title);
        let script = if script.is_empty() {
            String::new()
        } else {
            format!(r#"<script nonce="{nonce}">{script}</script>"#)
        };
        let html = format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style nonce="{nonce}">{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
{script}
</body>
</html>
"#
        );
        let mut response = Response::new(Bytes::from(html));
        *response.status_mut() = status;
        // There is no `form-action`: Chromium applies it to the redirect that follows a form too, and that
        // one leads to the application.
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
             base-uri 'none'; frame-ancestors 'none'"
        );
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, policy.as_str()),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            response::set(&mut response, name, value);
        }
        response
    }
}

fn button(answer: &str, label: &str) -> String {
    format!(r#"<button id="{answer}" name="answer" value="{answer}">{label}</button>"#)
}
