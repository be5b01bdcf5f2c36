//! A world in one process: a network, browsers, OpenID Providers that can lie and APIs that watch.
//!
//! Nothing here knows the crate under test: it speaks HTTP and checks what arrives. Read in this order.
//!
//! - [`clock`]: time, moved by hand and shared by everybody
//! - [`net`]: who serves which origin, what was sent, what breaks ([`fault`])
//! - [`browser`]: a person's browser, with [`cookies`] kept by the rules, reading [`html`]
//! - [`provider`]: an OpenID Provider, honest until told a [`provider::lies`]
//! - [`resource`]: an API that records which token came
//! - [`test_store`]: the store of a world, in memory or in a [`database`]
//! - [`store`]: a store that watches, and breaks when told
//! - [`app`]: an application with the layer, served in that world
//! - [`random`]: searches in bytes that are random
//! - [`socket`]: that network for other processes, and a balancer before them
//! - [`proxy`]: what spoils the way to a real server
//! - [`postgres`]: a PostgreSQL of its own
//! - [`redis`]: a Redis of its own
//! - [`process`] and [`http`]: the demo and other programs as processes, over real sockets

#![allow(dead_code, unused_imports, reason = "a tool box: each test takes what it needs")]
#![allow(
    unreachable_pub,
    reason = "these modules are the API of the tests, in a binary that exports nothing"
)]

pub mod app;
pub mod browser;
pub mod clock;
pub mod cookies;
pub mod database;
pub mod fault;
pub mod folder;
pub mod html;
pub mod http;
pub mod net;
pub mod nginx;
pub mod params;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod random;
pub mod redis;
pub mod resource;
pub mod socket;
pub mod store;
pub mod test_store;

mod tests;
