//! The support's own tests: where a mistake here would let other tests lie.
mod browser;
mod cookies;
mod net;
mod provider;
mod proxy;
