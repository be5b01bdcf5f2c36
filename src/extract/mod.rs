//! What handlers ask for: the signed-in user, that user's tokens, the addresses of login and logout, the API client.

pub(crate) mod access_token;
pub(crate) mod add_access_token;
pub(crate) mod api_client;
pub(crate) mod auth_session;
pub(crate) mod background_tokens;
pub(crate) mod connection_status;
pub(crate) mod current_client;
pub(crate) mod current_user;
#[cfg(feature = "axum")]
mod from_request;
pub(crate) mod request;
pub(crate) mod session_admin;
pub(crate) mod single_use_token;
pub(crate) mod user_tokens;
