//! Log people in with OpenID Connect, and call APIs with each person's own tokens: one tower [`Layer`] for axum,
//! hyper and any other tower service.
//!
//! Add the layer, write no login routes, and ask for [`CurrentUser`] and [`UserTokens`] in handlers:
//!
//! ```no_run
#![doc = include_str!("../examples/minimal.rs")]
//! ```
//!
//! `OIDC_ISSUER`, `OIDC_CLIENT_ID` and `OIDC_CLIENT_SECRET` in the environment name the provider. `OIDC_ISSUER=development`
//! is the development provider (feature `dev-provider`), on which anybody signs in as anybody, on loopback only; an empty
//! environment is an error.
//!
//! # The way of the data
//!
//! ```text
//! A REQUEST    path under /auth? ── login · callback · logout · backchannel-logout · frontchannel-logout (where wanted) · connect · disconnect · granted
//!              else cookie ─► session (this process, or the store) ─► extensions ─► handler(CurrentUser, UserTokens)
//!                   response ◄─ Set-Cookie only when something changed; private, no-store where a session came along
//! LOGIN        random ─► PendingLogin ─seal─► one short-lived cookie per login (tabs coexist)
//!              ─► 303 to the provider; a long request is pushed (PAR), or a form that submits itself
//! CALLBACK     in a task of its own: open PendingLogin ─► state ─► iss ─► code ─► token endpoint ─► ID token verified
//!              ─► FetchUserInfo where needed ─► login hook ─► grant, then session under a new id ─► 303 return_to
//! TOKENS       fresh? handed out. Else one refresher for each grant, in a task of its own:
//!              read again ─► lease by compare-and-swap ─► refresh ─► verify owner ─► write ─► wake the others
//! ```
//!
//! # The modes: whose tokens, and where do they live?
//!
//! | | kept on the server | nothing kept on the server |
//! |---|---|---|
//! | each user has their own | [`OidcLayer::per_user`] with a [store](store): memory, SQLite, PostgreSQL, Redis, or one of your own | [`OidcLayer::stateless`]: sealed into the user's own cookies |
//! | one account serves the application | [`OidcLayer::single_user`] with a durable [`Store`](store::Store) | [`OidcLayer::single_user`] with [`MemoryStore`](store::MemoryStore), for client credentials |
//!
//! # What is promised
//!
//! 1. **Mode.** A token that [`UserTokens`] yields was granted to the person whom this request is signed in as: to
//!    the application's account in single-user mode, to the browser for a visitor's connection. Nothing that a request
//!    holds takes a user and returns tokens; [`BackgroundTokens`] does, and no request holds it. What is stored is sealed
//!    with its application, place and owner bound in: a row that is copied over another does not open. A token is
//!    released to URLs of its registered [`Resource`] only, and never through a redirect out of it.
//! 2. **One refresh.** For one grant and one expiry there is one token request, however many requests wait. A rotated
//!    refresh token is written before it is used; a client that hangs up, a deploy ([`OidcLayer::drain`]) or a failing
//!    network never loses it, and is never a logout. How several processes keep this is written down in [`docs::refresh_protocol`].
//! 3. **Nothing is taken on trust.** State before exchange, exchange before use, verification before storage. Who a
//!    person is, is issuer and subject, never an e-mail. Who is an admin is decided at every request.
//! 4. **It fails closed, and says so.** Every failure is an [`Error`] that says who must act. No secret is in a log, an
//!    error, a URL or `Debug`.
//! 5. **A stolen database is worthless** without the secrets. What no seal can stop: whoever can write an *old* copy of
//!    the whole database back brings ended sessions back with it.
//!
//! # Where the layer goes
//!
//! Outermost. axum's `Router::layer` wraps only what was added before it, and `nest` drops an inner router's fallback:
//! a layer inside a nested router, or one that is followed by `.fallback(..)`, never sees `/auth/login`, and every login
//! link answers 404. (The event `layer.not_reached` says so after a few people were sent there.) So:
//!
//! - last on the outermost router: `.route(..).fallback(..).layer(auth)`; or
//! - around the router as a service, which is also the quickest: `auth.layer(app)`; or, where neither can be,
//! - inside, with [`OidcLayer::endpoints`] mounted so that it gets everything below `/auth/`.
//!
//! # Errors that find their way
//!
//! With `?`, [`Error`] sends a person to the login or to consent and back to the same page, and tells a script what to do
//! with 401 or 403 `application/problem+json`. An application with an error type of its own keeps that:
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
//! | feature | what it adds | default |
//! |---|---|---|
//! | `axum` | extractors and `IntoResponse` for axum 0.8 | yes |
//! | `http-client` | the outbound client: hyper, rustls with ring, the Mozilla roots | yes |
//! | `dev-provider` | an OpenID Provider in the process, for development and tests | no |
//! | `sqlite`, `postgres`, `redis` | stores that outlive the process | no |
//! | `test-util` | the module `testing`: requests as somebody, a clock to move; and the suite for stores | no |
//!
//! tokio is required.
//!
//! [`Layer`]: tower::Layer

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::expect_used, clippy::panic, clippy::too_many_lines, clippy::unwrap_used)]

mod layer;
pub use layer::any_body::{AnyBody, AnyBodyFuture, AnyBodyLayer};
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
pub use extract::current_user::{Admin, CurrentUser};
pub use extract::single_use_token::SingleUseToken;
pub use extract::user_tokens::UserTokens;

mod config;
pub use config::connection::{Connection, GrantLifetime};

pub use config::hooks::{LoginDecision, ProviderChoice, Unauthenticated, VerifiedLogin};
pub use config::mode::Mode;
pub use config::provider::ProviderConfig;
pub use config::resource::Resource;
pub use config::shared_account::SharedAccount;
pub use config::{AdminClaim, Config};

mod endpoints;

mod tokens;
pub use tokens::account_status::{AccountState, AccountStatus};
pub use tokens::disconnect::DisconnectOutcome;

mod stateless;

mod state;

mod sessions;

mod page;

mod records;

mod provider;
pub use provider::http_client::ResponseBodyLimit;

mod error;
pub use error::{ConfigError, DestinationError, Error, ErrorKind};

pub mod store;

mod protocol;
pub use protocol::authorization::{LoginOptions, Prompt, ResponseMode};
pub use protocol::token::ClientAuthMethod;
pub use protocol::user_info::FetchUserInfo;

mod body;
pub use body::ResponseBody;
mod clock;
pub use clock::{Clock, Random, Timestamp};
mod cookie;
mod events;
pub use events::{Event, EventCode};
mod html;
mod peer;
pub use peer::PeerAddr;
mod secret;
pub use secret::Secret;
#[cfg(any(feature = "http-client", feature = "postgres"))]
mod tls_roots;

#[cfg(feature = "dev-provider")]
pub mod dev_provider;
#[cfg(not(feature = "dev-provider"))]
#[path = "dev_provider/disabled.rs"]
mod dev_provider;

#[cfg(feature = "test-util")]
pub mod testing;

pub mod docs;
