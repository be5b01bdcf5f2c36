//! The integration tests: one binary, one file per promise.

#![allow(clippy::disallowed_methods, reason = "tests of processes measure real time")]

mod support;

// The rules of the house: what each module must not know.
mod house;

// A person signs in: requests, pending logins, what a callback must refuse.
mod login;
// One refresh for one expiry, whatever fails, hangs up or happens at once.
mod refresh;
// Calls to APIs: where the token goes, what redirects and refusals do.
mod api_client;

// The demo as a process, with the development provider that it brings.
mod demo;
// The demo as a process, over real sockets, against the real `oidc-provider`.
mod real_provider;
// The demo in a real browser, with the development provider and with the real one.
mod chromium;
