//! The authorization endpoint, pushed requests and the provider's own sign-in.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Method, Request, Response};
use serde_json::json;

use super::edits::{AuthorizationResponse, Endpoint, apply};
use super::observe::AuthorizationRequest;
use super::state::{Code, Family, Session, State};
use super::{json_answer, oauth_error, params_of, redirect, typed_answer};
use crate::html::escape;
use crate::params::Params;

const SESSION_COOKIE: &str = "op_session";

impl State {
    pub(super) fn pushed_authorization(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let params = params_of(request);
        self.log.pushes.push(params.clone());
        if let Some(canned) = self.canned(Endpoint::Par) {
            return canned;
        }
        if !self.settings.pushed_authorization {
            return oauth_error(404, "invalid_request", "no pushed authorization here");
        }
        let client_id = match self.authenticate(request, &params) {
            Ok((client_id, _)) => client_id,
            Err(refusal) => return *refusal,
        };
        if params.has("request_uri") || params.get("client_id").is_some_and(|id| id != client_id) {
            return oauth_error(400, "invalid_request", "request_uri, or another client's request");
        }
        let uri = format!("urn:ietf:params:oauth:request_uri:{}", self.draw("par"));
        self.pushed.insert(uri.clone(), params);
        json_answer(201, &json!({ "request_uri": uri, "expires_in": 60 }))
    }

    pub(super) fn authorize(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let mut params = params_of(request);
        // What the provider's own login form adds.
        let chosen = params.get("op_user").map(str::to_owned);
        params.remove("op_user");
        let mut pushed_by = None;
        if let Some(uri) = params.get("request_uri") {
            let Some(pushed) = self.pushed.remove(uri) else {
                return typed_answer(400, "text/html", "unknown request_uri");
            };
            if pushed.get("client_id").is_some_and(|id| Some(id) != params.get("client_id")) {
                return typed_answer(400, "text/html", "another client's request_uri");
            }
            pushed_by = Some(std::mem::replace(&mut params, pushed));
        }
        if chosen.is_none() {
            let (method, params) = (request.method().clone(), params.clone());
            self.log.authorizations.push(AuthorizationRequest { method, params, pushed_by });
        }
        let client_known = params.get("client_id").is_some_and(|id| self.clients.contains_key(id));
        let redirect_uri = params.get("redirect_uri").unwrap_or_default();
        let allowed = &self.settings.redirect_uris;
        if !client_known
            || redirect_uri.is_empty()
            || !(allowed.is_empty() || allowed.iter().any(|uri| uri == redirect_uri))
        {
            // Never redirect to an address that is not the client's (RFC 6749 section 4.1.2.1).
            return typed_answer(400, "text/html", "unknown client or redirect_uri");
        }
        let asks_nobody = params.get("prompt") == Some("none");
        let outcome = if params.get("response_type") != Some("code") {
            Err("unsupported_response_type")
        } else if self.settings.require_pkce
            && (params.get("code_challenge_method") != Some("S256") || !params.has("code_challenge"))
        {
            Err("invalid_request")
        } else if let Err(error) = self.settings.api_naming.asked(&params) {
            Err(error)
        } else if self.settings.deny || chosen.as_deref() == Some("deny") {
            Err("access_denied")
        } else {
            match self.who(request, &params, chosen.as_deref()) {
                Some(session) => Ok(session),
                None if asks_nobody => Err("login_required"),
                None => return self.login_form(&params),
            }
        };
        match outcome {
            Err(error) => {
                self.authorization_response(&params, [("error", error.to_owned())].into_iter().collect(), None)
            }
            Ok((cookie, session)) => {
                let code = self.grant(&params, &session);
                self.authorization_response(&params, [("code", code)].into_iter().collect(), Some(&cookie))
            }
        }
    }

    /// Who is at the browser, by the session there is or a new one.
    fn who(&mut self, request: &Request<Bytes>, params: &Params, chosen: Option<&str>) -> Option<(String, Session)> {
        let present = self.session_of(request);
        if params.get("prompt") == Some("none") {
            return present;
        }
        if self.settings.ask && chosen.is_none() {
            return None;
        }
        let hint = params.get("login_hint").and_then(|hint| self.find_user(hint));
        let named = chosen.and_then(|name| self.find_user(name)).or(hint).or_else(|| self.signed_in.clone());
        let user = named.or_else(|| present.as_ref().map(|(_, session)| session.user.clone()))?;
        let now = self.now();
        let max_age = params.get("max_age").and_then(|age| age.parse::<u64>().ok());
        let must_ask = matches!(params.get("prompt"), Some("login" | "select_account"));
        let fresh_enough = |session: &Session| max_age.is_none_or(|age| now <= session.auth_time + age);
        match present {
            Some((cookie, session)) if session.user == user => {
                let mut session = session;
                if must_ask || !fresh_enough(&session) {
                    session.auth_time = now;
                }
                self.sessions.insert(cookie.clone(), session.clone());
                Some((cookie, session))
            }
            _ => Some(self.open_session(&user)),
        }
    }

    fn session_of(&self, request: &Request<Bytes>) -> Option<(String, Session)> {
        let header = request.headers().get(COOKIE)?.to_str().ok()?;
        let cookies = header.split("; ").filter_map(|pair| pair.split_once('='));
        let (_, id) = cookies.into_iter().find(|(name, _)| *name == SESSION_COOKIE)?;
        Some((id.to_owned(), self.sessions.get(id)?.clone()))
    }

    fn open_session(&mut self, user: &str) -> (String, Session) {
        let (cookie, sid) = (self.draw("cookie"), self.draw("sid"));
        let session = Session { user: user.to_owned(), sid, auth_time: self.now() };
        self.sessions.insert(cookie.clone(), session.clone());
        (cookie, session)
    }

    /// `/signin?user=alice`: signs the browser in without any relying party.
    pub(super) fn sign_in(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(user) = params_of(request).get("user").and_then(|name| self.find_user(name)) else {
            return typed_answer(404, "text/html", "no such user");
        };
        let (cookie, _) = self.open_session(&user);
        with_session(typed_answer(200, "text/html", format!("signed in as {user}")), &cookie)
    }

    /// Forgets the browser's session, and says whose it was.
    pub(super) fn sign_out(&mut self, request: &Request<Bytes>) -> Option<Session> {
        let (cookie, session) = self.session_of(request)?;
        self.sessions.remove(&cookie);
        Some(session)
    }

    fn grant(&mut self, params: &Params, session: &Session) -> String {
        let asked = params.get("scope").unwrap_or_default().split_whitespace().map(str::to_owned);
        let grantable = &self.settings.grantable;
        let consented = |scope: &String| grantable.as_ref().is_none_or(|all| all.iter().any(|one| one == scope));
        let text = |name: &str| params.get(name).map(str::to_owned);
        let family = Family {
            user: session.user.clone(),
            client_id: text("client_id").unwrap_or_default(),
            scope: asked.filter(consented).collect(),
            resources: self.settings.api_naming.asked(params).unwrap_or_default(),
            nonce: text("nonce"),
            acr: params.get("acr_values").and_then(|values| values.split(' ').next()).map(str::to_owned),
            auth_time: session.auth_time,
            sid: session.sid.clone(),
            alive: true,
        };
        self.families.push(family);
        let code = self.draw("code");
        let spent = false;
        self.codes.insert(
            code.clone(),
            Code {
                family: self.families.len() - 1,
                redirect_uri: text("redirect_uri").unwrap_or_default(),
                challenge: text("code_challenge"),
                issued_at: self.now(),
                spent,
            },
        );
        code
    }

    fn authorization_response(&self, params: &Params, mut answer: Params, cookie: Option<&str>) -> Response<Bytes> {
        if let Some(state) = params.get("state") {
            answer.add("state", state);
        }
        if self.settings.send_iss {
            answer.add("iss", &self.issuer);
        }
        let redirect_uri = params.get("redirect_uri").unwrap_or_default().to_owned();
        let mode = params.get("response_mode").unwrap_or("query").to_owned();
        let mut answer = AuthorizationResponse { redirect_uri, params: answer, mode };
        apply(&self.edits.authorization, &mut answer);
        let AuthorizationResponse { redirect_uri, params, mode } = answer;
        let response = match mode.as_str() {
            "form_post" => {
                let script = "<script>document.forms[0].submit()</script>";
                typed_answer(200, "text/html", form(&redirect_uri, &params, "<button>Go on</button>") + script)
            }
            "fragment" => redirect(303, &format!("{redirect_uri}#{}", params.encode())),
            _ => redirect(303, &params.append_to(&redirect_uri)),
        };
        match cookie {
            Some(cookie) => with_session(response, cookie),
            None => response,
        }
    }

    fn login_form(&self, params: &Params) -> Response<Bytes> {
        let field = r#"<input name="op_user" value=""><button id="sign-in">Sign in</button>"#;
        typed_answer(200, "text/html", form(&format!("{}/authorize", self.base()), params, field))
    }
}

fn with_session(mut response: Response<Bytes>, cookie: &str) -> Response<Bytes> {
    let cookie = format!("{SESSION_COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=None");
    response.headers_mut().append(SET_COOKIE, HeaderValue::from_str(&cookie).expect("a valid header"));
    response
}

fn form(action: &str, params: &Params, more: &str) -> String {
    let mut html = format!(r#"<!doctype html><form method="{}" action="{}">"#, Method::POST, escape(action));
    for (name, value) in &params.0 {
        let _ = write!(html, r#"<input type="hidden" name="{}" value="{}">"#, escape(name), escape(value));
    }
    html + more + "</form>"
}
