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
//!              ─► UserInfo where needed ─► login hook ─► grant, then session under a new id ─► 303 return_to
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
//! 1. **Ownership.** A token that [`UserTokens`] yields was granted to the person whom this request is signed in as: to
//!    the application's account in single-user mode, to the browser for a visitor's connection. Nothing that a request
//!    holds takes a user and returns tokens; [`BackgroundTokens`] does, and no request holds it. What is stored is sealed
//!    with its application, place and owner bound in: a row that is copied over another does not open. A token is
//!    released to URLs of its registered [`Resource`] only, and never through a redirect out of it.
//! 2. **One refresh.** For one grant and one expiry there is one token request, however many requests wait. A rotated
//!    refresh token is written before it is used; a client that hangs up, a deploy ([`OidcLayer::drain`]) or a failing
//!    network never loses it, and is never a logout. How several processes keep this is written down in [`refreshing`].
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
//! | `testing` | the test kit: requests as somebody, a clock to move, the suite for stores | no |
//!
//! tokio is required.
//!
//! [`Layer`]: tower::Layer

#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod layer;
pub use layer::{NoSuchEndpoint, OidcLayer};

mod service;
pub use service::{OidcService, ResponseFuture};

#[doc = include_str!("stateless.md")]
pub mod stateless {}

#[doc = include_str!("deploying.md")]
pub mod deploying {}

mod current_user;
pub use current_user::{Admin, CurrentUser};

mod users;
pub use users::Users;

mod timed_store;
mod user_tokens;
pub use user_tokens::{AccessToken, UserTokens};

mod connection_status;
pub use connection_status::{ConnectionState, ConnectionStatus};

mod one_shot;
pub use one_shot::OneShotToken;

mod background;
pub use background::{BackgroundTokens, OwnerTokens};

mod authorize;
pub use authorize::{Authorize, AuthorizeLayer};

mod api_client;
pub use api_client::{ApiClient, ApiResponse};

mod require;
pub use require::{Require, RequireFuture, RequireService};

mod request_state;

#[cfg(feature = "axum")]
mod extract;

mod config;
pub use config::{AdminClaim, Config, UserInfo};
mod development;
pub use development::PeerAddr;
mod provider_config;
pub use provider_config::ProviderConfig;
mod connection;
pub use connection::{Connection, Retention};
mod resource;
pub use resource::Resource;
mod account;
pub use account::{Account, AccountState, AccountStatus};
mod hooks;
pub use hooks::{LoginChoice, NewLogin, Unauthenticated, Verdict};
mod events;
pub use events::{Event, EventCode};
mod error;
pub use error::{ConfigError, DestinationError, Error, ErrorKind};
mod secret;
pub use secret::Secret;
mod ambient;
pub use ambient::{Clock, Random, Timestamp};

mod admins;
mod destination;
mod environment;
mod mode;
mod relying_party;
mod runtime;
mod settings;

pub mod refreshing;

mod flow;
pub use flow::disconnect::Disconnected;

mod carried;
mod changes;
mod cookie;
mod flights;
mod grant;
mod grant_place;
mod records;
mod seal;
mod session;
mod session_id;
mod session_row;
mod sessions;
mod signed_out;
pub mod store;
mod visitor;

mod fetched;
mod health;
pub use health::{Health, ProviderHealth, Readiness};
#[cfg(feature = "http-client")]
mod http_client;
#[cfg(not(feature = "http-client"))]
#[path = "absent/http_client.rs"]
mod http_client;
mod outbound;
#[cfg(any(feature = "http-client", feature = "postgres"))]
mod roots;
pub use outbound::BodyLimit;
mod provider;
mod providers;

mod protocol;
pub use protocol::authorization::{LoginOptions, Prompt, ResponseMode};
pub use protocol::token::ClientAuth;

#[cfg(feature = "dev-provider")]
pub mod dev_provider;
#[cfg(not(feature = "dev-provider"))]
#[path = "absent/dev_provider.rs"]
mod dev_provider;

#[cfg(feature = "testing")]
pub mod testing;
