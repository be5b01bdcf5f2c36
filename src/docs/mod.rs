//! Guides: the terms, how to run several processes, stateless mode, and the refresh protocol.

#[doc = include_str!("words.md")]
pub mod words {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("stateless.md")]
pub mod stateless {}

pub use crate::tokens::refresh_protocol;
