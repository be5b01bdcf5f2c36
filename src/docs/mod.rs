//! The guides: how the parts work together, and how to run them.

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("stateless.md")]
pub mod stateless {}

pub use crate::tokens::refresh_protocol;
