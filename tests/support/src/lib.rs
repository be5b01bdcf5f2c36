//! A world in one process: a network, browsers, OpenID Providers that can lie and APIs that watch.
//!
//! Nothing here knows the crate under test: it speaks HTTP and checks what arrives. Read in this order.
//!
//! - [`clock`]: time, moved by hand and shared by everybody
//! - [`net`]: who serves which origin, what was sent, what breaks ([`fault`])
//! - [`browser`]: a person's browser, with [`cookies`] kept by the rules, reading [`html`]
//! - [`provider`]: an OpenID Provider, honest until told a [`provider::lies`]
//! - [`oauth2`]: a provider without OpenID Connect, in the shape of a real one
//! - [`resource`]: an API that records which token came
//! - [`test_store`]: the store of a world, in memory or in a [`database`]
//! - [`store`]: a store that watches, and breaks when told
//! - [`random`]: searches in bytes that are random
//! - [`socket`]: that network for other processes, and a balancer before them
//! - [`proxy`]: what spoils the way to a real server
//! - [`postgres`], [`pgbouncer`], [`redis`], [`keycloak`]: servers of its own, each in the hands of a `keeper`
//! - [`process`] and [`http`]: the demo and other programs as processes, over real sockets

#![allow(missing_docs, reason = "the names say it; this is never published")]
#![allow(clippy::new_without_default, reason = "what is new here starts something")]
#![allow(clippy::disallowed_methods, reason = "tests of processes measure real time")]

pub mod browser;
pub mod clock;
pub mod cookies;
pub mod database;
pub mod fault;
pub mod folder;
pub mod html;
pub mod http;
mod keeper;
pub mod keycloak;
pub mod net;
pub mod nginx;
pub mod oauth2;
pub mod params;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod random;
pub mod redis;
pub mod resource;
pub mod socket;
pub mod store;
pub mod store_contract;
pub mod test_store;

#[cfg(test)]
mod tests;
