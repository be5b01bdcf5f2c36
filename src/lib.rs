//! tower-oidc: log users in with OpenID Connect and call APIs with each user's own tokens.

mod layer;
pub use layer::{NoSuchEndpoint, OidcLayer};

mod service;
pub use service::{OidcService, ResponseFuture};

mod current_user;
pub use current_user::{Admin, CurrentUser};

mod users;
pub use users::Users;

mod user_tokens;
pub use user_tokens::{AccessToken, ConnectionState, ConnectionStatus, UserTokens};

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
pub use config::{AdminClaim, Config, Retention, UserInfo};
mod connection;
pub use connection::Connection;
mod resource;
pub use resource::Resource;
mod hooks;
pub use hooks::{NewLogin, Unauthenticated, Verdict};
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
mod runtime;
mod settings;

mod flow;
pub use flow::connect::Disconnected;

mod cookie;
mod grant;
mod records;
mod seal;
mod session;
pub mod store;

mod fetched;
#[cfg(feature = "http-client")]
mod http_client;
#[cfg(not(feature = "http-client"))]
#[path = "absent/http_client.rs"]
mod http_client;
mod outbound;
pub use outbound::BodyLimit;
mod provider;

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
