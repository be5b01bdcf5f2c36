//! A tower [`Layer`] that signs users in with OpenID Connect and gives handlers each user's own access tokens, for axum,
//! hyper and any other tower service.
//!
//! Add the layer, write no login routes, and ask for [`CurrentUser`] and [`UserTokens`] in handlers:
//!
//! ```no_run
#![doc = include_str!("../examples/minimal.rs")]
//! ```
//!
//! The environment variables `OIDC_ISSUER`, `OIDC_CLIENT_ID` and `OIDC_CLIENT_SECRET` name the provider
//! ([`Config::from_env`] lists all variables). `OIDC_ISSUER=development` is the development provider (feature
//! `dev-provider`): anyone signs in there under any name, from this machine only. An empty environment is an error.
//!
//! # Guides
//!
//! | to | read |
//! |---|---|
//! | begin | [`docs::first_application`], step by step; [`docs::moving`] for those who come from axum-login, axum-oidc or tower-sessions |
//! | build | [`docs::sign_up`] with a table of users; [`docs::pages_and_scripts`] with the order of layers, CORS and static files; [`docs::live_connections`] for WebSockets and server-sent events; [`docs::roles`]; [`docs::apis`] with access tokens; [`docs::background_jobs`]; [`docs::testing_your_application`] |
//! | run | [`docs::providers`] with recipes; [`docs::client_authentication`] without a stored secret; [`docs::production`] with a checklist; [`docs::deployment`]; [`docs::stateless`] |
//! | look up | [`docs::words`], the terms of this documentation; [`docs::refresh_protocol`] |
//!
//! # How a request, a login and a refresh run
//!
//! ```text
//! A REQUEST    path below /auth? ── login · initiate · callback · logout · session · connect · granted · disconnect ·
//!              │                    backchannel-logout · jwks.json · frontchannel-logout (if configured)
//!              else: session cookie
//!                    ├─ per-user, single-user: id of the session ─► this process's copy, or the store
//!                    └─ stateless: the session itself, sealed ─► opened here; the store knows whether it has ended
//!              ─► request extensions ─► handler(CurrentUser, UserTokens)
//!              response ◄─ Set-Cookie only after a change; `private, no-store` if the request had a session
//! LOGIN        random state, nonce, code verifier ─► pending login, sealed into one short-lived cookie (one per tab)
//!              ─► 303 to the provider; a long request is pushed (RFC 9126), or sent as a form that submits itself
//! CALLBACK     in its own task: open the pending login ─► state ─► iss ─► code ─► token endpoint ─► verify the ID token
//!              ─► UserInfo if needed ─► login hook ─► save the grant, then the session under a new id ─► 303 return_to
//!                 (per-user, single-user: in the store; stateless: into cookies of this response)
//! TOKENS       per-user, single-user: the grant in the store; stateless: the newer of the cookie's and the store's
//!              ─► access token fresh? return it. Otherwise one refresh per grant, in its own task:
//!              read again ─► lease by compare-and-swap ─► refresh ─► verify the owner ─► write ─► wake the waiting requests
//! ```
//!
//! # The modes
//!
//! | | kept in a store | kept in the user's own cookies, sealed |
//! |---|---|---|
//! | each user has their own tokens | [`OidcLayer::per_user`] with a [store](store): memory, SQLite, PostgreSQL, Redis, or your own | [`OidcLayer::stateless`] |
//! | one account's tokens serve all users | [`OidcLayer::single_user`] with a durable [`Store`](store::Store), or with [`MemoryStore`](store::MemoryStore) for client credentials | – |
//!
//! # What is promised
//!
//! 1. **Ownership.** A token that [`UserTokens`] returns was granted to the user whose session this request has; in
//!    single-user mode, to the application's account; for a visitor's connection, to this browser. Nothing that a request
//!    holds takes a user and returns tokens. [`BackgroundTokens`] does, and no request holds it. Each record is sealed with
//!    its application, place and owner bound in: a row that is copied over another does not open. A token is sent to URLs of
//!    its registered [`Resource`] only, and never through a redirect out of it.
//! 2. **One refresh.** For one grant and one expiry there is one token request, however many requests wait. A rotated
//!    refresh token is written before it is used. A client that disconnects, a deploy ([`OidcLayer::drain`]) or a failing
//!    network never loses it, and never signs a user out. [`docs::refresh_protocol`] specifies how several processes keep
//!    this promise.
//! 3. **Verify first.** The state is checked before the code is exchanged, the response before it is used, the ID token
//!    before it is stored. A user is issuer and subject, never an e-mail address. Whether a user is an admin is decided at
//!    every request.
//! 4. **Failures are closed and explicit.** Every failure is an [`Error`] whose kind names the party that must act. No
//!    secret appears in a log, an error, a URL or `Debug`.
//! 5. **A stolen database is worthless** without the secrets. No seal prevents one thing: a person who can write an *old*
//!    copy of the whole database back also restores the sessions that have ended since.
//!
//! # Where the layer goes
//!
//! The layer must be outermost. axum's `Router::layer` wraps only the routes that were added before it, and `nest` drops the
//! fallback of an inner router: a layer inside a nested router, or a layer that is followed by `.fallback(..)`, never
//! receives `/auth/login`, and every login link answers 404. The event `layer.misplaced` reports this: a second after the first
//! redirect to the login where the public URL is on loopback, after the third elsewhere. Two layers of two constructors around
//! one handler are refused, because each takes the other's sessions for nobody's; two clones of one layer are one layer. So:
//!
//! - last on the outermost router: `.route(..).fallback(..).layer(auth)`; or
//! - around the router as a service, which is also the fastest ([`OidcLayer::layer`] shows how axum serves it); or, where neither
//!   is possible,
//! - inside, with [`OidcLayer::endpoints`] mounted so that it receives every request below `/auth/`; below `nest("/app", …)`
//!   [`Config::mounted_at`] gives the path that the layer does not see.
//!
//! # Static files
//!
//! The answer to a request with a session is `private, no-store` unless the handler says otherwise, because nobody can tell
//! whether the handler looked at the user. Style sheets and scripts would then be loaded again with each page.
//! [`Config::shared_paths`](crate::Config) names paths whose answers are the same for everybody.
//!
//! # Errors that find their way
//!
//! With `?`, [`Error`] sends a user's browser to the login or to consent and back to the same page, and answers a script with
//! 401 or 403 `application/problem+json` (RFC 9457). Every other error is a page for a person and a problem document for a script.
//! An application with its own error type keeps that behaviour:
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! use axum::response::{IntoResponse, Response};
//!
//! enum AppError {
//!     Oidc(tower_oidc::Error),
//!     NotFound,
//! }
//!
//! impl From<tower_oidc::Error> for AppError {
//!     fn from(error: tower_oidc::Error) -> Self {
//!         Self::Oidc(error)
//!     }
//! }
//!
//! impl IntoResponse for AppError {
//!     fn into_response(self) -> Response {
//!         match self {
//!             Self::Oidc(error) => error.into_response(),
//!             Self::NotFound => http::StatusCode::NOT_FOUND.into_response(),
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `axum` | extractors and `IntoResponse` for axum 0.8 | yes |
//! | `http-client` | the outbound HTTP client: hyper, rustls, the Mozilla roots | yes |
//! | `dev-provider` | an OpenID Provider in the process, for development and tests | no |
//! | `sqlite`, `postgres`, `redis` | stores that outlive the process | no |
//! | `metrics` | counters, durations and levels, through the facade `metrics`: [`docs::production`] has their names | no |
//! | `test-util` | the module `testing`: requests as a chosen user, a clock to move | no |
//! | `ring` | the cryptography of signatures and TLS: [ring](https://docs.rs/ring) | yes |
//! | `aws-lc-rs` | [aws-lc-rs](https://docs.rs/aws-lc-rs) in place of ring, where the default features are off | no |
//!
//! One of the last two is required. TLS uses the default provider of rustls instead, where the application installs one for its
//! process before it makes a store and the layer.
//!
//! tokio is required.
//!
//! [`Layer`]: tower::Layer

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::expect_used, clippy::panic, clippy::too_many_lines, clippy::unwrap_used)]

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
compile_error!("no cryptography: add `ring` or `aws-lc-rs` to the features of tower-oidc");

// The folders of `src`, highest first. A file imports from its own folder and from folders below it; a test in
// `tests/it/architecture` checks this order.
//
//   docs          the guides, the words, the refresh protocol
//   testing       for an application's tests: requests as a chosen user, a clock to move, the development provider
//   layer         the tower layers: OidcLayer, which every request passes, RequireLayer; health
//   extract       the arguments of handlers: CurrentUser, UserTokens, AuthSession, SingleUseToken; the API client
//   endpoints     the paths below /auth: one file for each endpoint
//   tokens        a fresh access token: found, refreshed once, revoked
//   stateless     sessions and grants in sealed cookies
//   state         the state that all requests share
//   sessions      sessions by id, with the memory of this process; logout at the provider
//   config        the configuration as written, and as checked
//   page          the frame of the layer's own pages
//   records       typed and sealed records over a store: grants, keys, seals
//   provider      the OpenID Provider over HTTP: metadata, keys, requests
//   error         the errors, by the party that must act
//   dev_provider  the development provider
//   peer          whether a request comes from this machine
//   store         the stores: sealed bytes, compare-and-swap
//   protocol      the rules of the specifications, without I/O, clock and randomness
//   html          HTML documents, escaping, and forms
//   body          the bodies of responses, and of requests to APIs
//   cookie        names and attributes of cookies
//   events        the event codes, and the hook; metrics, where the feature is on
//   clock         time and randomness
//   secret        a type for secrets, and `Debug` that shows none
//   crypto        the library that signs, the cryptography of TLS, the root certificates
mod layer;
pub use layer::any_body::{AnyBody, AnyBodyLayer};
pub use layer::check::{CheckReport, Finding, Severity};
pub use layer::future::ResponseFuture;
pub use layer::health::{Health, ProviderHealth, Readiness};
pub use layer::require::{Require, RequireLayer};
pub use layer::service::Oidc;
pub use layer::{NotFound, OidcLayer};

mod extract;
pub use extract::access_token::AccessToken;
pub use extract::add_access_token::{AddAccessToken, AddAccessTokenLayer};
pub use extract::api_client::{ApiClient, ApiRequest, ApiResponse};
pub use extract::auth_session::AuthSession;
pub use extract::background_tokens::{BackgroundTokens, OwnerTokens};
pub use extract::connection_status::{ConnectionState, ConnectionStatus};
pub use extract::current_client::CurrentClient;
pub use extract::current_user::{Admin, CurrentUser};
pub use extract::session_admin::SessionAdmin;
pub use extract::single_use_token::SingleUseToken;
pub use extract::user_tokens::UserTokens;

mod config;
pub use config::Config;
pub use config::api::Api;
pub use config::hooks::{HookResponse, LoginDecision, ProviderChoice, Unauthenticated, VerifiedLogin};
pub use config::mode::Mode;
pub use config::shared_account::SharedAccount;

mod endpoints;
pub use endpoints::user_sessions::UserSession;

mod tokens;
pub use tokens::account_status::{AccountState, AccountStatus};
pub use tokens::disconnect::DisconnectOutcome;

mod stateless;

mod state;

mod sessions;

mod page;
pub use page::Page;

mod records;

mod provider;
pub use provider::connection::{Connection, GrantLifetime, Resource};
pub use provider::private_key::PrivateKey;
pub use provider::provider_config::ProviderConfig;

mod error;
pub use error::{ConfigError, DestinationError, Error, ErrorKind};

pub mod store;

mod protocol;
pub use protocol::authorization::{LoginOptions, Prompt, PushedAuthorizationRequests, ResponseMode};
pub use protocol::client::ApiNaming;
pub use protocol::oauth2::{EmailAddresses, OAuth2};
pub use protocol::roles::{ClaimSource, RoleClaim};
pub use protocol::token::ClientAuthMethod;
pub use protocol::user_info::FetchUserInfo;

mod body;
pub use body::{ApiBody, ResponseBody};
mod clock;
pub use clock::{Clock, Random, Timestamp};
mod cookie;
mod crypto;
mod events;
pub use events::{Event, EventCode};
mod html;
mod peer;
pub use peer::PeerAddr;
mod secret;
pub use secret::Secret;

#[cfg(feature = "dev-provider")]
pub mod dev_provider;
#[cfg(not(feature = "dev-provider"))]
#[path = "dev_provider/disabled.rs"]
mod dev_provider;

#[cfg(feature = "test-util")]
pub mod testing;

pub mod docs;

/// The programs in the README, compiled by the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
