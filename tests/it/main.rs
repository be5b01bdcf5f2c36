//! The integration tests: one binary, one file per promise.

#![allow(clippy::disallowed_methods, reason = "tests of processes measure real time")]

mod spans;
mod streams;
mod support;

// The rules of the architecture: what stands on what, and what each folder must not use.
mod architecture;

// A person signs in: requests, pending logins, what a callback must refuse.
mod login;
// One refresh for one expiry, whatever fails, hangs up or happens at once.
mod refresh;
// Calls to APIs: where the token goes, what redirects and refusals do.
mod api_client;
// How the application proves itself without sending a secret.
mod client_authentication;
// Dialects of real providers.
mod dialects;
// A provider that lies, in every listed way: what must be refused, and what must work all the same.
mod lying_provider;

// A browser stays signed in: cookies, lifetimes, secrets, caches.
mod session;
// The same while the store is away, slow or full, and while somebody signs out.
mod session_store;
// Who is signed in, as scripts ask.
mod session_endpoint;
// Records that survive: every store under the contract's suite, and what is particular to each.
mod stores;
// What survives restarts, kills, other secrets, and databases that stop, hang, are read, changed or lost.
mod durability;
// What browsers carry themselves.
mod stateless;
// What is granted without signing in.
mod visitors;
// A person signs out, here and at the provider.
mod log_out;
mod logout;
// The sessions of one user, seen and ended; work that waits for the end.
mod user_sessions;
// What a page of another site can begin or end.
mod another_site;
// The provider signs them out, by a logout token.
mod backchannel;
// The same in each mode, by all that a token may name.
mod provider_logout;
// Several processes over one store.
mod replicas;
// Tokens that a process has read a moment ago.
mod known_grants;
// Several processes whose clocks differ.
mod clocks;
// What a readiness probe is told.
mod check;
mod first_consent;
mod health;
mod hooks_that_panic;
// Who they are, and what they may.
mod optional_extractors;
mod throttled_events;
// What is counted and timed for operators.
mod metrics;
mod unkept;
mod user;
// Who is sent to the login and who is told, forged requests, proxies.
mod request;
// A service whose response body is not made of bytes.
mod any_body;
// Where the layer stands, and what the mistakes look like.
mod placement;
// What the terminal says of a newcomer's mistakes.
mod mistakes;
// Cookies of the application's own beside the layer's.
mod cookie_layers;
// Many people at once, and a database whose rows were moved.
mod isolation;
// A client calls the application as an API, with an access token.
mod bearer;
// Roles: in what a provider says them, and what they open.
mod roles;
// Another authentication than that of the login: one way to the provider and back.
mod step_up;
// Two applications beside each other: nothing of one counts at the other.
mod applications;
// What the public types are as values.
mod public_types;
// What must not compile.
// The development provider behind the application's own layer.
mod dev_login;
// The development provider is a word, and answers this machine alone.
mod development;
mod test_kit;
// No secret in a log, a page, an address or `Debug`.
mod leaks;

// Connections beside the login: whose they are, how long they live, how they end.
mod connections;
// Several providers: chosen by name, never mixed up, each person of one; accounts linked at others.
mod providers;
// Consent as `?`: to the provider and back to the same page, and never round in circles.
mod consent;
mod error_pages;
// The outgoing side: where a token goes, and where it does not.
mod authorize_layer;

// Tokens for one use: handed to one request, and kept nowhere.
mod single_use;
// Work in the background, for people who are not there.
mod background;

// Providers without OpenID Connect.
mod oauth2;

// One account's tokens for everybody: where they come from, and whose they never are.
mod single_user;

// The demo as a process, with the development provider that it brings.
mod demo;
// Several of them, behind a balancer, killed and replaced while people work.
mod deployment;
// The demo with one account for everybody, as a process.
mod single_user_demo;
// The demo as a process, over real sockets, against the real `oidc-provider`.
mod real_provider;
// Connections, resources and refreshes against it, by an application in this process.
mod real_connections;
// The demo and applications of this process, against a real Keycloak.
mod keycloak;
// The demo in a real browser, with the development provider and with the real one.
mod chromium;
