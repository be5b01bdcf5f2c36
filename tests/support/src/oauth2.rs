//! An OAuth 2.0 provider without OpenID Connect, in the shape of a real one: its endpoints, the form of its answers, and
//! what it says of people.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, Request, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::clock::{Seconds, TestClock};
use super::net::{Net, answer, lock};
use super::params::Params;

/// What an endpoint says of somebody, by name.
pub type About = fn(&str) -> Value;

/// What is particular about a provider.
#[derive(Clone)]
pub struct Shape {
    pub authorization: &'static str,
    pub token: &'static str,
    /// Where it says whose a token is, and what.
    pub about: Vec<(&'static str, About)>,
    /// The `iss` of its responses.
    pub iss: Option<&'static str>,
    /// Tokens come as a form.
    pub form: bool,
    /// Errors of the token endpoint come with this status, and a code that does not count with this name.
    pub refusal: (u16, &'static str),
    pub token_type: Option<&'static str>,
    /// How long tokens live; `None`: for ever, without a refresh token.
    pub expires_in: Option<u64>,
    pub rotate: bool,
    /// What stands between scopes in a request, and in an answer.
    pub separators: (&'static str, &'static str),
    pub scopes: &'static [&'static str],
    /// One more member of the token answer.
    pub also: Option<(&'static str, String)>,
}

type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;

struct State {
    shape: Shape,
    now: Seconds,
    user: String,
    drawn: u64,
    /// With challenge, redirect URI and scope.
    codes: HashMap<String, (String, Params)>,
    access: HashMap<String, (String, Option<u64>)>,
    refresh: HashMap<String, String>,
    edit: Option<Edit>,
    /// The seconds after which it says anything of people again.
    limit: Option<u64>,
    authorizations: Vec<Params>,
    tokens: Vec<Params>,
    reuse: usize,
}

/// Clones are the same provider.
#[derive(Clone)]
pub struct OAuth2Provider(Arc<Mutex<State>>);

impl OAuth2Provider {
    pub fn start(net: &Net, clock: &TestClock, shape: Shape) -> Self {
        let (about, authorization, token) = (shape.about.clone(), shape.authorization, shape.token);
        let state = State {
            shape,
            now: clock.seconds_fn(),
            user: "alice".to_owned(),
            drawn: 0,
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            edit: None,
            limit: None,
            authorizations: Vec::new(),
            tokens: Vec::new(),
            reuse: 0,
        };
        let provider = Self(Arc::new(Mutex::new(state)));
        let serve = |url: &str, handle: Arc<dyn Fn(&mut State, &Request<Bytes>) -> Response<Bytes> + Send + Sync>| {
            let state = Arc::clone(&provider.0);
            net.serve(url, move |request| {
                let (state, handle) = (Arc::clone(&state), Arc::clone(&handle));
                async move { handle(&mut lock(&state), &request) }
            });
        };
        serve(authorization, Arc::new(State::authorize));
        serve(token, Arc::new(State::token));
        for (url, about) in about {
            serve(url, Arc::new(move |state: &mut State, request: &Request<Bytes>| state.about(request, about)));
        }
        provider
    }

    pub fn sign_in_as(&self, user: &str) {
        lock(&self.0).user = user.to_owned();
    }

    /// Changes what it says of people, in every answer.
    pub fn edit(&self, edit: impl Fn(&mut Value) + Send + Sync + 'static) {
        lock(&self.0).edit = Some(Arc::new(edit));
    }

    /// Says nothing of people, and after how many seconds it does again.
    pub fn limit(&self, seconds: u64) {
        lock(&self.0).limit = Some(seconds);
    }

    pub fn honest(&self) {
        let mut state = lock(&self.0);
        (state.edit, state.limit) = (None, None);
    }

    pub fn set(&self, change: impl FnOnce(&mut Shape)) {
        change(&mut lock(&self.0).shape);
    }

    pub fn authorizations(&self) -> Vec<Params> {
        lock(&self.0).authorizations.clone()
    }

    pub fn token_requests(&self) -> Vec<Params> {
        lock(&self.0).tokens.clone()
    }

    /// How often a refresh token came that was spent before.
    pub fn reuse(&self) -> usize {
        lock(&self.0).reuse
    }

    /// A refresh token of somebody, as one that an operator has.
    pub fn refresh_token_of(&self, user: &str) -> String {
        let mut state = lock(&self.0);
        let token = state.draw("rt");
        state.refresh.insert(token.clone(), user.to_owned());
        token
    }

    pub fn forget_refresh_tokens(&self) {
        lock(&self.0).refresh.clear();
    }

    /// Whose a token is, while it lives.
    pub fn owner_of(&self, token: &str) -> Option<String> {
        lock(&self.0).owner(token)
    }
}

impl State {
    fn draw(&mut self, kind: &str) -> String {
        self.drawn += 1;
        let digest = Sha256::digest(format!("{} {kind} {}", self.shape.token, self.drawn));
        format!("{kind}_{}", URL_SAFE_NO_PAD.encode(digest))
    }

    fn owner(&self, token: &str) -> Option<String> {
        let now = (self.now)();
        let (user, end) = self.access.get(token)?;
        end.is_none_or(|end| now < end).then(|| user.clone())
    }

    fn authorize(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let params = Params::parse(request.uri().query().unwrap_or_default());
        self.authorizations.push(params.clone());
        let text = |name: &str| params.get(name).unwrap_or_default().to_owned();
        let known = text("scope");
        let known = known.split(self.shape.separators.0).all(|scope| self.shape.scopes.contains(&scope));
        let mut back = Params::default();
        if text("response_type") != "code" || text("state").is_empty() || !known {
            back.add("error", if known { "invalid_request" } else { "invalid_scope" });
        } else {
            let code = self.draw("code");
            self.codes.insert(code.clone(), (self.user.clone(), params.clone()));
            back.add("code", &code);
        }
        back.add("state", text("state"));
        self.shape.iss.into_iter().for_each(|iss| back.add("iss", iss));
        let mut response = answer(302, "");
        let location = HeaderValue::from_str(&back.append_to(&text("redirect_uri"))).expect("a URL");
        response.headers_mut().insert(LOCATION, location);
        response
    }

    fn token(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        assert_eq!(request.method(), Method::POST);
        let params = Params::parse(request.body());
        self.tokens.push(params.clone());
        let text = |name: &str| params.get(name).unwrap_or_default().to_owned();
        let (status, code) = self.shape.refusal;
        let refused = |state: &Self| state.encoded(status, json!({ "error": code, "error_description": "no" }));
        let (user, scope) = if text("grant_type") == "refresh_token" {
            let given = text("refresh_token");
            let Some(user) = self.refresh.get(&given).cloned() else {
                self.reuse += 1;
                return refused(self);
            };
            if self.shape.rotate {
                self.refresh.remove(&given);
            }
            (user, self.shape.scopes.join(self.shape.separators.0))
        } else if text("grant_type") == "client_credentials" {
            (text("client_id"), text("scope"))
        } else {
            let Some((user, asked)) = self.codes.remove(&text("code")) else { return refused(self) };
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(text("code_verifier")));
            let fits = asked.get("code_challenge") == Some(challenge.as_str())
                && asked.get("redirect_uri") == Some(text("redirect_uri").as_str());
            if !fits || text("client_secret").is_empty() {
                return refused(self);
            }
            (user, asked.get("scope").unwrap_or_default().to_owned())
        };
        let access = self.draw("at");
        let end = self.shape.expires_in.map(|life| (self.now)() + life);
        self.access.insert(access.clone(), (user.clone(), end));
        let (from, to) = self.shape.separators;
        let mut tokens = json!({ "access_token": access, "scope": scope.replace(from, to) });
        if let Some((name, value)) = &self.shape.also {
            tokens[*name] = value.clone().into();
        }
        if let Some(kind) = self.shape.token_type {
            tokens["token_type"] = kind.into();
        }
        if let Some(life) = self.shape.expires_in {
            tokens["expires_in"] = life.into();
            if self.shape.rotate || text("grant_type") != "refresh_token" {
                let token = self.draw("rt");
                self.refresh.insert(token.clone(), user);
                tokens["refresh_token"] = token.into();
            }
        }
        self.encoded(200, tokens)
    }

    fn encoded(&self, status: u16, members: Value) -> Response<Bytes> {
        if !self.shape.form {
            return typed(status, "application/json; charset=utf-8", members.to_string());
        }
        let mut form = Params::default();
        for (name, value) in members.as_object().expect("an object") {
            form.add(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        typed(status, "application/x-www-form-urlencoded; charset=utf-8", form.encode())
    }

    fn about(&mut self, request: &Request<Bytes>, about: About) -> Response<Bytes> {
        if let Some(seconds) = self.limit {
            let mut limited = answer(429, "");
            limited.headers_mut().insert(RETRY_AFTER, seconds.into());
            return limited;
        }
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let is_named = request.headers().contains_key("user-agent");
        match token.and_then(|token| self.owner(token)).filter(|_| is_named) {
            None => typed(401, "application/json", json!({ "message": "Bad credentials" }).to_string()),
            Some(user) => {
                let mut answer = about(&user);
                if let Some(edit) = &self.edit {
                    edit(&mut answer);
                }
                typed(200, "application/json; charset=utf-8", answer.to_string())
            }
        }
    }
}

fn typed(status: u16, kind: &'static str, body: String) -> Response<Bytes> {
    let mut response = answer(status, body);
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    response
}
