//! The specifications' rules over `openidconnect`: what to send, and what to believe of an answer.
//!
//! Nothing in here awaits, reads a clock, draws randomness, sends anything or knows a framework. Each check
//! cites its section and has a test that fails without it.
//!
//! What `openidconnect` does, and what is done here, because its way is stricter than what is accepted, or is missing:
//!
//! | part | done by | why |
//! |---|---|---|
//! | authorization request (state, nonce, PKCE, prompt, `max_age`, `acr_values`) | `openidconnect`, in [`authorization`] | `nonce` is left out where no ID token is asked for |
//! | token request by code, by refresh token, by the client's credentials | `openidconnect`, in [`client`] | each is captured as data and sent by the provider's HTTP client, with its limits |
//! | client authentication | `openidconnect`, in [`client`] | which method counts is decided in [`token`] |
//! | client assertions | this application, in [`provider`](crate::provider) | it has none; the request is built as a public client's, and the assertion added |
//! | revocation request | `openidconnect`, in [`client`] | it gets the https form of the URL, since it refuses http on loopback too; the request goes to the URL itself |
//! | pushed authorization request | `openidconnect`, in [`client`] | it has none; its device authorization request is the same form |
//! | signatures, key sets, `at_hash` | `openidconnect`, in [`jws`] | entries of a key set that cannot be read are skipped before, and `key_ops` is looked at |
//! | token response | [`token`] | it refuses the whole response, and with it a rotated refresh token, for an odd lifetime or an odd claim of the ID token |
//! | claims of the ID token | [`id_token`] | it refuses a person for any claim of an unusual type |
//! | metadata | [`metadata`] | it refuses a provider for any member of an unusual type, or one that this application does not use |
//! | UserInfo, signed or not | [`user_info`] | as the claims of the ID token |
//! | ID tokens that there are none of | [`oauth2`] | it knows OpenID Providers only |
//! | logout token | [`logout_token`] | it has none; the logout request is four parameters of a URL |
//!
//! The tests of [`token`] and [`client`] show the limits: they fail when the library learns to do otherwise.

pub(crate) mod access_token;
pub(crate) mod authorization;
pub(crate) mod challenge;
pub(crate) mod client;
pub(crate) mod fetch_metadata;
pub(crate) mod id_token;
pub(crate) mod issuer;
pub(crate) mod json;
pub(crate) mod jws;
pub(crate) mod logout_token;
pub(crate) mod metadata;
pub(crate) mod oauth2;
pub(crate) mod refusal;
pub(crate) mod roles;
pub(crate) mod setters;
pub(crate) mod token;
pub(crate) mod user_info;

pub(crate) use self::access_token::BearerToken;
pub(crate) use self::authorization::{
    AuthorizationOutcome, AuthorizationRequest, AuthorizationResponse, LoginOptions, MAX_REDIRECT, MalformedResponse,
    Prompt, PushedAuthorizationRequests, ResponseMode,
};
pub(crate) use self::challenge::Demand;
pub(crate) use self::client::{ApiNaming, Built, ProviderClient};
pub(crate) use self::fetch_metadata::{Decision, Facts, Origins, Target};
pub(crate) use self::id_token::{IdToken, IdTokenUse, LEEWAY, OriginalIdToken, TokenPolicy};
pub(crate) use self::issuer::{PSEUDO, ProviderIssuer};
pub(crate) use self::json::{Claims, mismatch};
pub(crate) use self::jws::{Algorithm, JwsPolicy, JwtError, KeySet};
pub(crate) use self::logout_token::{LogoutEffect, LogoutTarget, LogoutToken};
pub(crate) use self::metadata::{Metadata, MetadataError};
pub(crate) use self::oauth2::OAuth2;
pub(crate) use self::refusal::{ProviderRefusal, RefusalRemedy};
pub(crate) use self::roles::{ClaimSource, ClaimsBySource, RoleClaim, RolesByRule};
pub(crate) use self::token::{ClientAuthMethod, TokenError, TokenResponse};
pub(crate) use self::user_info::{FetchUserInfo, LOGIN_CLAIMS, UserInfoError, VERIFIED};
