//! Guides: the terms, how to run several processes, stateless mode, providers that are no plain OpenID Providers, and the
//! refresh protocol.

#[doc = include_str!("words.md")]
pub mod words {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("stateless.md")]
pub mod stateless {}

#[doc = include_str!("oauth2_providers.md")]
pub mod oauth2_providers {}

pub use crate::tokens::refresh_protocol;
