//! Guides, from the first application to production; the terms; and the refresh protocol.

#[doc = include_str!("first_application.md")]
pub mod first_application {}

#[doc = include_str!("sign_up.md")]
pub mod sign_up {}

#[doc = include_str!("pages_and_scripts.md")]
pub mod pages_and_scripts {}

#[doc = include_str!("testing_your_application.md")]
pub mod testing_your_application {}

#[doc = include_str!("providers.md")]
pub mod providers {}

#[doc = include_str!("production.md")]
pub mod production {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("cross_site.md")]
pub mod cross_site {}

#[doc = include_str!("stateless.md")]
pub mod stateless {}

#[doc = include_str!("oauth2_providers.md")]
pub mod oauth2_providers {}
#[doc = include_str!("moving.md")]
pub mod moving {}

#[doc = include_str!("words.md")]
pub mod words {}

pub use crate::tokens::refresh_protocol;
