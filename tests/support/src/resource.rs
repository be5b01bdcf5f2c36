//! An API that records which token came.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response};
use serde_json::json;

use super::net::{Net, answer, lock};

type Owners = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A resource server. Clones are the same one.
///
/// It answers 200 with `{"path", "owner"}` where it knows the token's owner, else 401. To be slow, or away,
/// is the network's part: see [`Net::fault`].
#[derive(Clone)]
pub struct ResourceServer {
    state: Arc<Mutex<State>>,
}

struct State {
    owners: Owners,
    seen: Vec<Seen>,
    rules: Vec<(String, Behaviour)>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path_and_query: String,
    pub authorization: Option<String>,
    /// Who the bearer token belongs to, as the owners' register has it.
    pub owner: Option<String>,
    pub body: Bytes,
}

#[derive(Clone, Debug)]
enum Behaviour {
    Unauthorized { left: usize, challenge: String },
    Redirect { status: u16, to: String },
    Status(u16),
}

impl ResourceServer {
    /// Serves `origin`; `owners` says whose a token is while it works, for instance
    /// [`super::provider::LyingProvider::resource_owners`].
    pub fn start(net: &Net, origin: &str, owners: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let state = State { owners: Arc::new(owners), seen: Vec::new(), rules: Vec::new() };
        let server = Self { state: Arc::new(Mutex::new(state)) };
        let served = server.clone();
        net.serve(origin, move |request| {
            let server = served.clone();
            async move { server.respond(&request) }
        });
        server
    }

    /// Answers 401 to the next `n` requests below `path`, whatever token they bring.
    pub fn refuse(&self, path: &str, n: usize, challenge: &str) {
        self.rule(path, Behaviour::Unauthorized { left: n, challenge: challenge.to_owned() });
    }

    /// Answers 401 to every request below `path`.
    pub fn refuse_always(&self, path: &str, challenge: &str) {
        self.refuse(path, usize::MAX, challenge);
    }

    pub fn redirect(&self, path: &str, status: u16, to: &str) {
        self.rule(path, Behaviour::Redirect { status, to: to.to_owned() });
    }

    pub fn fail(&self, path: &str, status: u16) {
        self.rule(path, Behaviour::Status(status));
    }

    /// Takes back every rule.
    pub fn behave(&self) {
        lock(&self.state).rules.clear();
    }

    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// Every `Authorization` header that came: "no token at X" is that this is empty.
    pub fn authorizations(&self) -> Vec<String> {
        self.requests().into_iter().filter_map(|seen| seen.authorization).collect()
    }

    pub fn forget(&self) {
        lock(&self.state).seen.clear();
    }

    fn rule(&self, path: &str, behaviour: Behaviour) {
        lock(&self.state).rules.push((path.to_owned(), behaviour));
    }

    fn respond(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let mut state = lock(&self.state);
        let authorization = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let bearer = authorization.and_then(|header| header.split_once(' ')).map(|(_, token)| token);
        let owner = bearer.and_then(|token| (state.owners)(token));
        let path = request.uri().path().to_owned();
        state.seen.push(Seen {
            method: request.method().clone(),
            path_and_query: request.uri().to_string(),
            authorization: authorization.map(str::to_owned),
            owner: owner.clone(),
            body: request.body().clone(),
        });
        // The rule set last wins; one that is used up is as if it had never been.
        let rule = state.rules.iter_mut().rev().find(|(prefix, behaviour)| {
            path.starts_with(prefix.as_str()) && !matches!(behaviour, Behaviour::Unauthorized { left: 0, .. })
        });
        match rule.map(|(_, behaviour)| behaviour) {
            Some(Behaviour::Unauthorized { left, challenge }) => {
                *left -= 1;
                with(answer(401, ""), WWW_AUTHENTICATE, challenge)
            }
            Some(Behaviour::Redirect { status, to }) => with(answer(*status, ""), LOCATION, to),
            Some(Behaviour::Status(status)) => answer(*status, ""),
            None => match owner {
                None => with(answer(401, ""), WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
                Some(owner) => {
                    let body = json!({ "path": path, "owner": owner }).to_string();
                    with(answer(200, body), CONTENT_TYPE, "application/json")
                }
            },
        }
    }
}

fn with(mut response: Response<Bytes>, name: http::HeaderName, value: &str) -> Response<Bytes> {
    response.headers_mut().insert(name, HeaderValue::from_str(value).expect("a valid header"));
    response
}
