//! The specifications' rules over `openidconnect`: what to send, and what to believe of an answer.
//!
//! Nothing in here awaits, reads a clock, draws randomness, sends anything or knows a framework. Each check
//! cites its section and has a test that fails without it.

pub(crate) mod authorization;
pub(crate) mod challenge;
pub(crate) mod client;
pub(crate) mod id_token;
pub(crate) mod json;
pub(crate) mod jws;
pub(crate) mod logout;
pub(crate) mod logout_token;
pub(crate) mod metadata;
pub(crate) mod token;
pub(crate) mod user_info;
