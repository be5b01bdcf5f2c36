//! The integration tests: one binary, one file per promise.

#![allow(clippy::disallowed_methods, reason = "tests of processes measure real time")]

mod support;

// A person signs in: requests, pending logins, what a callback must refuse.
mod login;

// Connections beside the login: whose they are, how long they live, how they end.
mod connections;
// Consent as `?`: to the provider and back to the same page, and never round in circles.
mod consent;
// The outgoing side: where a token goes, and where it does not.
mod authorize_layer;

// The demo as a process, with the development provider that it brings.
mod demo;
// The demo as a process, over real sockets, against the real `oidc-provider`.
mod real_provider;
// The demo in a real browser, with the development provider and with the real one.
mod chromium;
