//! Guides, from the first application to production; the terms; and the refresh protocol.

/// A module for each guide, whose text lies in the file of its name.
macro_rules! guides {
    ($($name:ident)*) => {
        $(#[doc = include_str!(concat!(stringify!($name), ".md"))] pub mod $name {})*
    };
}

guides! {
    first_application sign_up pages_and_scripts live_connections roles apis background_jobs testing_your_application providers
    production deployment cross_site stateless oauth2_providers client_authentication moving words
}

pub use crate::tokens::refresh_protocol;
