//! Where a lie takes hold: hooks in the honest provider's answers.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};

use super::jwt::Draft;
use super::lies::Lie;
use super::state::{State, User};
use super::{LyingProvider, typed_answer};
use crate::net::lock;
use crate::params::Params;

/// Changes an honest answer before it leaves.
type Edit<T> = Option<Arc<dyn Fn(&mut T) + Send + Sync>>;

/// An endpoint that a canned answer can replace. The honest one then does no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Discovery,
    KeySet,
    Par,
    /// The token endpoint, for everything but refreshes.
    Token,
    /// The token endpoint, for refreshes.
    Refresh,
    FetchUserInfo,
    Revocation,
    Introspection,
}

/// The authorization response, before it becomes a redirect or a form.
#[derive(Clone, Debug)]
pub struct AuthorizationResponse {
    pub redirect_uri: String,
    pub params: Params,
    /// `query`, `form_post` or `fragment`.
    pub mode: String,
}

#[derive(Clone, Default)]
pub(super) struct Edits {
    pub authorization: Edit<AuthorizationResponse>,
    pub id_token: Edit<Draft>,
    pub refreshed_id_token: Edit<Draft>,
    pub tokens: Edit<Map<String, Value>>,
    pub refreshed_tokens: Edit<Map<String, Value>>,
    pub userinfo: Edit<Map<String, Value>>,
    pub signed_userinfo: Edit<Draft>,
    pub discovery: Edit<Map<String, Value>>,
    pub key_set: Edit<Map<String, Value>>,
    pub logout_response: Edit<Params>,
    pub answers: HashMap<Endpoint, Response<Bytes>>,
    pub rotate_before_signing: bool,
}

pub(super) fn apply<T>(edit: &Edit<T>, value: &mut T) {
    if let Some(edit) = edit {
        edit(value);
    }
}

impl LyingProvider {
    /// Tells one lie, by value or by its name in [`super::lies`], in place of those told so far.
    pub fn lie(&self, lie: impl Into<Lie>) {
        self.honest();
        (lie.into().tell)(self);
    }

    /// Takes back every lie, edit and canned answer. Settings stay.
    pub fn honest(&self) {
        lock(&self.state).edits = Edits::default();
    }

    pub fn edit_authorization_response(&self, edit: impl Fn(&mut AuthorizationResponse) + Send + Sync + 'static) {
        lock(&self.state).edits.authorization = Some(Arc::new(edit));
    }

    /// Edits the ID token that a code yields.
    pub fn edit_id_token(&self, edit: impl Fn(&mut Draft) + Send + Sync + 'static) {
        lock(&self.state).edits.id_token = Some(Arc::new(edit));
    }

    /// Edits the ID token that a refresh yields.
    pub fn edit_refreshed_id_token(&self, edit: impl Fn(&mut Draft) + Send + Sync + 'static) {
        lock(&self.state).edits.refreshed_id_token = Some(Arc::new(edit));
    }

    /// Edits the token response that a code (or client credentials) yields.
    pub fn edit_tokens(&self, edit: impl Fn(&mut Map<String, Value>) + Send + Sync + 'static) {
        lock(&self.state).edits.tokens = Some(Arc::new(edit));
    }

    /// Edits the token response that a refresh yields.
    pub fn edit_refreshed_tokens(&self, edit: impl Fn(&mut Map<String, Value>) + Send + Sync + 'static) {
        lock(&self.state).edits.refreshed_tokens = Some(Arc::new(edit));
    }

    pub fn edit_userinfo(&self, edit: impl Fn(&mut Map<String, Value>) + Send + Sync + 'static) {
        lock(&self.state).edits.userinfo = Some(Arc::new(edit));
    }

    /// Edits the JWT that UserInfo is, where it is signed.
    pub fn edit_signed_userinfo(&self, edit: impl Fn(&mut Draft) + Send + Sync + 'static) {
        lock(&self.state).edits.signed_userinfo = Some(Arc::new(edit));
    }

    pub fn edit_discovery(&self, edit: impl Fn(&mut Map<String, Value>) + Send + Sync + 'static) {
        lock(&self.state).edits.discovery = Some(Arc::new(edit));
    }

    pub fn edit_key_set(&self, edit: impl Fn(&mut Map<String, Value>) + Send + Sync + 'static) {
        lock(&self.state).edits.key_set = Some(Arc::new(edit));
    }

    /// Edits the parameters with which the end-session endpoint sends the browser back.
    pub fn edit_logout_response(&self, edit: impl Fn(&mut Params) + Send + Sync + 'static) {
        lock(&self.state).edits.logout_response = Some(Arc::new(edit));
    }

    /// Answers `endpoint` with this from now on.
    pub fn answer(&self, endpoint: Endpoint, status: u16, content_type: &str, body: impl Into<Bytes>) {
        self.answer_with(endpoint, typed_answer(status, content_type, body));
    }

    pub fn answer_with(&self, endpoint: Endpoint, response: Response<Bytes>) {
        lock(&self.state).edits.answers.insert(endpoint, response);
    }

    /// Answers `endpoint` with an OAuth error (RFC 6749 section 5.2).
    pub fn answer_error(&self, endpoint: Endpoint, status: u16, error: &str) {
        self.answer(endpoint, status, "application/json", json!({ "error": error }).to_string());
    }

    /// Changes its keys between the relying party's fetch and the next signature, every time.
    pub fn rotate_before_signing(&self) {
        lock(&self.state).edits.rotate_before_signing = true;
    }

    /// A logout token (OpenID Connect Back-Channel Logout 2.4) for one session of a user, or for all of them.
    pub fn logout_token(&self, client_id: &str, user: &str, sid: Option<&str>, edit: impl Fn(&mut Draft)) -> String {
        let mut state = lock(&self.state);
        let (jti, now) = (state.draw("jti"), state.now());
        let mut draft = Draft::new(
            state.key(),
            json!({
                "iss": state.issuer, "aud": client_id, "iat": now, "exp": now + 120, "jti": jti,
                "sub": state.users[user].sub,
                "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
            }),
        );
        draft.head("typ", "logout+jwt");
        if let Some(sid) = sid {
            draft.claim("sid", sid);
        }
        edit(&mut draft);
        draft.encode()
    }

    /// A JWT access token (RFC 9068) of a user for an API, or of the client `cli` for itself.
    pub fn access_jwt(&self, user: Option<&str>, audience: &str, edit: impl Fn(&mut Draft)) -> String {
        let mut state = lock(&self.state);
        let (jti, now) = (state.draw("jti"), state.now());
        let subject = user.map_or("cli".to_owned(), |user| {
            state.users.entry(user.to_owned()).or_insert_with(|| User::new(user)).sub.clone()
        });
        let mut draft = Draft::new(
            state.key(),
            json!({
                "iss": state.issuer, "aud": audience, "iat": now, "exp": now + 600, "jti": jti, "sub": subject,
                "client_id": "cli", "scope": "notes.read notes.write",
            }),
        );
        draft.head("typ", "at+jwt");
        edit(&mut draft);
        draft.encode()
    }
}

impl State {
    pub(super) fn canned(&self, endpoint: Endpoint) -> Option<Response<Bytes>> {
        self.edits.answers.get(&endpoint).cloned()
    }
}
