//! What the provider saw, for tests to ask.

use http::Method;

use super::LyingProvider;
use super::assertion::Assertion;
use crate::net::lock;
use crate::params::Params;

/// What came to the authorization endpoint, pushed parameters unfolded.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    pub method: Method,
    pub params: Params,
    /// The parameters that the browser carried where the rest was pushed.
    pub pushed_by: Option<Params>,
}

/// What came to the token endpoint.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub grant_type: String,
    pub code: Option<String>,
    pub refresh_token: Option<String>,
    pub client_id: String,
    /// A name of OpenID Connect Core section 9.
    pub auth_method: &'static str,
    pub params: Params,
    /// The owner of the tokens issued, or the error code.
    pub outcome: Result<String, String>,
}

#[derive(Clone, Debug)]
pub struct Revocation {
    pub token: String,
    pub hint: Option<String>,
    /// The owner, where the token was known.
    pub owner: Option<String>,
}

/// What an access token stands for.
#[derive(Clone, Debug)]
pub struct Issued {
    pub owner: String,
    pub client_id: String,
    pub scope: Vec<String>,
    pub resources: Vec<String>,
    pub expires_at: u64,
    pub live: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub authorizations: Vec<AuthorizationRequest>,
    pub pushes: Vec<Params>,
    pub tokens: Vec<TokenRequest>,
    pub revocations: Vec<Revocation>,
    pub logouts: Vec<Params>,
    pub introspections: Vec<Params>,
    pub assertions: Vec<Assertion>,
    pub userinfo: usize,
    pub discovery: usize,
    pub key_sets: usize,
    pub refresh_reuse: usize,
    pub code_reuse: usize,
}

impl LyingProvider {
    pub fn authorizations(&self) -> Vec<AuthorizationRequest> {
        lock(&self.state).log.authorizations.clone()
    }

    /// The parameters of the newest authorization request.
    pub fn last_authorization(&self) -> Params {
        self.authorizations().pop().expect("an authorization request").params
    }

    pub fn pushes(&self) -> Vec<Params> {
        lock(&self.state).log.pushes.clone()
    }

    pub fn token_requests(&self) -> Vec<TokenRequest> {
        lock(&self.state).log.tokens.clone()
    }

    pub fn code_exchanges(&self) -> Vec<TokenRequest> {
        self.token_requests().into_iter().filter(|r| r.grant_type == "authorization_code").collect()
    }

    pub fn refreshes(&self) -> Vec<TokenRequest> {
        self.token_requests().into_iter().filter(|r| r.grant_type == "refresh_token").collect()
    }

    /// How often a refresh token that was spent came again.
    pub fn reuse_detected(&self) -> usize {
        lock(&self.state).log.refresh_reuse
    }

    pub fn code_reuse_detected(&self) -> usize {
        lock(&self.state).log.code_reuse
    }

    pub fn revocations(&self) -> Vec<Revocation> {
        lock(&self.state).log.revocations.clone()
    }

    /// The parameters of each visit to the end-session endpoint.
    pub fn logouts(&self) -> Vec<Params> {
        lock(&self.state).log.logouts.clone()
    }

    pub fn introspections(&self) -> Vec<Params> {
        lock(&self.state).log.introspections.clone()
    }

    pub fn userinfo_calls(&self) -> usize {
        lock(&self.state).log.userinfo
    }

    pub fn discovery_fetches(&self) -> usize {
        lock(&self.state).log.discovery
    }

    pub fn jwks_fetches(&self) -> usize {
        lock(&self.state).log.key_sets
    }

    /// Forgets what it saw; users, sessions and tokens stay.
    pub fn forget(&self) {
        lock(&self.state).log = Log::default();
    }

    /// Who an access token belongs to: a user's name, or a client id; `None` where it is not this provider's.
    pub fn owner_of(&self, access_token: &str) -> Option<String> {
        lock(&self.state).access_tokens.get(access_token).map(|access| access.owner.clone())
    }

    /// Who a refresh token belongs to.
    pub fn owner_of_refresh_token(&self, refresh_token: &str) -> Option<String> {
        let state = lock(&self.state);
        state.refresh_tokens.get(refresh_token).map(|refresh| state.families[refresh.family].user.clone())
    }

    pub fn issued(&self, access_token: &str) -> Option<Issued> {
        let state = lock(&self.state);
        let access = state.access_tokens.get(access_token)?.clone();
        Some(Issued {
            owner: access.owner,
            client_id: access.client_id,
            scope: access.scope,
            resources: access.resources,
            expires_at: access.expires_at,
            live: state.is_live(access_token),
        })
    }

    /// For a resource server: the owner of a token that works now.
    pub fn resource_owners(&self) -> impl Fn(&str) -> Option<String> + Clone + Send + Sync + 'static {
        let op = self.clone();
        move |token: &str| op.issued(token).filter(|issued| issued.live).map(|issued| issued.owner)
    }

    /// Every secret handed out so far: what must not appear in a log, a page or a URL.
    pub fn secrets(&self) -> Vec<String> {
        let state = lock(&self.state);
        let tokens = state.access_tokens.keys().chain(state.refresh_tokens.keys()).chain(state.codes.keys());
        tokens.cloned().chain(state.clients.values().flatten().cloned()).collect()
    }

    /// Refresh tokens that would be accepted now, and whose they are.
    pub fn live_refresh_tokens(&self) -> Vec<(String, String)> {
        let state = lock(&self.state);
        let live = state.refresh_tokens.iter().filter(|(_, refresh)| {
            let spent = refresh.spent && state.settings.rotate_refresh_tokens;
            !spent && !refresh.revoked && state.families[refresh.family].alive
        });
        live.map(|(token, refresh)| (token.clone(), state.families[refresh.family].user.clone())).collect()
    }

    /// The provider's session ids under which this user's grants were made, oldest first.
    pub fn sids_of(&self, user: &str) -> Vec<String> {
        let mut sids: Vec<String> = Vec::new();
        for family in lock(&self.state).families.iter().filter(|family| family.user == user) {
            if !sids.contains(&family.sid) {
                sids.push(family.sid.clone());
            }
        }
        sids
    }
}
