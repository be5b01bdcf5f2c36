//! What the provider knows.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::edits::Edits;
use super::keys::{Alg, Key};
use super::naming::ApiNaming;
use super::observe::Log;
use super::{CLIENT_ID, CLIENT_SECRET};
use crate::clock::Seconds;
use crate::params::Params;

/// How the provider is set up. The defaults are those of an ordinary, strict one.
#[derive(Clone, Debug)]
pub struct Settings {
    pub signing: Alg,
    /// Further algorithms whose keys are published and announced.
    pub also_publish: Vec<Alg>,
    pub pushed_authorization: bool,
    pub announce_iss: bool,
    pub send_iss: bool,
    /// `redirect_uri`s allowed; empty: all.
    pub redirect_uris: Vec<String>,
    pub require_pkce: bool,
    /// Every user refuses.
    pub deny: bool,
    /// Asks by a form even where it knows who it is, as after a click at the provider.
    pub ask: bool,
    /// Ways of client authentication accepted; `announce_auth_methods` says so in the metadata.
    pub auth_methods: Vec<&'static str>,
    pub announce_auth_methods: bool,
    /// The audience of client assertions; `None`: the issuer.
    pub assertion_audience: Option<String>,
    /// The team whose keys sign client secrets, as at Apple.
    pub team: Option<String>,
    /// Takes an assertion again, as providers do that trust those of a platform.
    pub reusable_assertions: bool,
    pub access_token_lifetime: u64,
    /// For how many seconds an access token works beyond what is said of it, as APIs allow for clocks that differ.
    pub leeway: u64,
    pub id_token_lifetime: u64,
    /// Makes access tokens this many bytes longer.
    pub access_token_padding: usize,
    /// Scopes a user consents to; `None`: all that are asked.
    pub grantable: Option<Vec<&'static str>>,
    pub issue_refresh_tokens: bool,
    /// A refresh token comes with `access_type=offline` only, as at Google.
    pub needs_access_type: bool,
    /// A refresh token comes with a person's first consent only, and with `prompt=consent`, as at Google.
    pub refresh_token_once: bool,
    pub rotate_refresh_tokens: bool,
    /// For how many seconds a refresh token that was spent may come again and yields new tokens, as some providers have
    /// it.
    pub reuse_grace: u64,
    pub api_naming: ApiNaming,
    /// Refuses a refresh that names no resource (RFC 8707 section 2).
    pub require_resource: bool,
    pub id_token_on_refresh: bool,
    /// With which status tokens come.
    pub token_status: u16,
    pub claims_in_id_token: bool,
    /// UserInfo responses are JWTs (OpenID Connect Core 1.0 section 5.3.2), as the client is registered.
    pub sign_userinfo: bool,
    pub revocation: bool,
    pub revocation_reach: RevocationReach,
    pub end_session: bool,
    /// The parameter of a logout that says where to go then; `logout_uri` at Cognito, with `client_id`, by GET, and nothing
    /// comes back.
    pub logout_parameter: &'static str,
    /// The audiences of ID tokens, with `azp`, as at Zitadel; none: the client alone.
    pub audiences: Vec<&'static str>,
    /// Access tokens are JWTs with these claims besides, as at Keycloak.
    pub access_jwt: Option<Value>,
    /// The `Date` of its answers.
    pub date: Option<&'static str>,
}

/// What else dies with a revoked token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReach {
    /// Nothing.
    Token,
    /// Every token of the same authorization.
    Grant,
    /// Every token that this user has granted to this client, as Google does.
    User,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            signing: Alg::Rs256,
            also_publish: Vec::new(),
            pushed_authorization: false,
            announce_iss: true,
            send_iss: true,
            redirect_uris: Vec::new(),
            require_pkce: true,
            deny: false,
            ask: false,
            auth_methods: vec!["client_secret_basic", "client_secret_post"],
            announce_auth_methods: true,
            assertion_audience: None,
            team: None,
            reusable_assertions: false,
            access_token_lifetime: 3600,
            leeway: 0,
            id_token_lifetime: 3600,
            access_token_padding: 0,
            grantable: None,
            issue_refresh_tokens: true,
            needs_access_type: false,
            refresh_token_once: false,
            rotate_refresh_tokens: true,
            reuse_grace: 0,
            api_naming: ApiNaming::Resource,
            require_resource: false,
            id_token_on_refresh: true,
            token_status: 200,
            claims_in_id_token: true,
            sign_userinfo: false,
            revocation: true,
            revocation_reach: RevocationReach::Grant,
            end_session: true,
            logout_parameter: "post_logout_redirect_uri",
            audiences: Vec::new(),
            access_jwt: None,
            date: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct User {
    pub sub: String,
    pub claims: Map<String, Value>,
}

impl User {
    /// `alice` is `a1`, `alice@example.com`, "Alice".
    pub(super) fn new(name: &str) -> Self {
        let capital = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        let claims = json!({ "email": format!("{name}@example.com"), "email_verified": true, "name": capital });
        let Value::Object(claims) = claims else { unreachable!() };
        Self { sub: format!("{}1", &name[..1]), claims }
    }

    pub fn set(&mut self, claim: &str, value: impl Into<Value>) {
        self.claims.insert(claim.to_owned(), value.into());
    }

    pub fn unset(&mut self, claim: &str) {
        self.claims.remove(claim);
    }
}

/// A browser signed in at the provider.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub user: String,
    pub sid: String,
    pub auth_time: u64,
}

/// One authorization and all that came of it.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub user: String,
    pub client_id: String,
    pub scope: Vec<String>,
    pub resources: Vec<String>,
    pub nonce: Option<String>,
    pub acr: Option<String>,
    pub auth_time: u64,
    pub sid: String,
    pub alive: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Code {
    pub family: usize,
    pub redirect_uri: String,
    pub challenge: Option<String>,
    pub issued_at: u64,
    pub spent: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Refresh {
    pub family: usize,
    pub spent: bool,
    /// When it was spent first.
    pub spent_at: u64,
    pub revoked: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Access {
    /// A user, or a client by its own right.
    pub owner: String,
    pub client_id: String,
    pub scope: Vec<String>,
    pub resources: Vec<String>,
    pub expires_at: u64,
    pub family: Option<usize>,
    pub revoked: bool,
}

pub(super) struct State {
    pub issuer: String,
    pub now: Seconds,
    pub settings: Settings,
    pub edits: Edits,
    pub log: Log,
    pub users: BTreeMap<String, User>,
    pub clients: HashMap<String, Option<String>>,
    /// With which their assertions are verified.
    pub client_keys: HashMap<String, Vec<Value>>,
    pub seen_assertions: HashSet<String>,
    pub signed_in: Option<String>,
    /// Those who have consented before.
    pub consented: HashSet<String>,
    pub sessions: HashMap<String, Session>,
    pub families: Vec<Family>,
    pub codes: HashMap<String, Code>,
    pub pushed: HashMap<String, Params>,
    pub refresh_tokens: HashMap<String, Refresh>,
    pub access_tokens: HashMap<String, Access>,
    pub generation: u8,
    drawn: u64,
}

impl State {
    pub(super) fn new(issuer: &str, now: Seconds) -> Self {
        Self {
            issuer: issuer.to_owned(),
            now,
            settings: Settings::default(),
            edits: Edits::default(),
            log: Log::default(),
            users: ["alice", "bob"].map(|name| (name.to_owned(), User::new(name))).into(),
            clients: [(CLIENT_ID.to_owned(), Some(CLIENT_SECRET.to_owned()))].into(),
            client_keys: HashMap::new(),
            seen_assertions: HashSet::new(),
            signed_in: None,
            consented: HashSet::new(),
            sessions: HashMap::new(),
            families: Vec::new(),
            codes: HashMap::new(),
            pushed: HashMap::new(),
            refresh_tokens: HashMap::new(),
            access_tokens: HashMap::new(),
            generation: 1,
            drawn: 0,
        }
    }

    pub(super) fn now(&self) -> u64 {
        (self.now)()
    }

    /// A value nobody else has: the same in every run, and another at every provider.
    pub(super) fn draw(&mut self, kind: &str) -> String {
        self.drawn += 1;
        let digest = Sha256::digest(format!("{} {kind} {}", self.issuer, self.drawn));
        format!("{kind}_{}", URL_SAFE_NO_PAD.encode(digest))
    }

    /// Where the provider's URLs begin: the issuer without a final slash.
    pub(super) fn base(&self) -> &str {
        self.issuer.trim_end_matches('/')
    }

    pub(super) fn base_path(&self) -> String {
        Url::parse(self.base()).expect("a URL").path().trim_end_matches('/').to_owned()
    }

    pub(super) fn key(&self) -> Key {
        Key { alg: self.settings.signing, generation: self.generation }
    }

    /// The user of this name, e-mail address or subject.
    pub(super) fn find_user(&self, hint: &str) -> Option<String> {
        let is_meant = |(name, user): &(&String, &User)| {
            *name == hint || user.sub == hint || user.claims.get("email").is_some_and(|email| email == hint)
        };
        self.users.iter().find(is_meant).map(|(name, _)| name.clone())
    }

    pub(super) fn kill_families(&mut self, doomed: impl Fn(&Family) -> bool) {
        for family in self.families.iter_mut().filter(|family| doomed(family)) {
            family.alive = false;
        }
    }

    /// Whether the access token works now.
    pub(super) fn is_live(&self, token: &str) -> bool {
        self.access_tokens.get(token).is_some_and(|access| {
            let family_lives = access.family.is_none_or(|at| self.families[at].alive);
            !access.revoked && family_lives && access.expires_at > self.now()
        })
    }
}
