//! One account's tokens for everybody: where they come from, who may change that, and whose they never are.

mod account;
pub(crate) mod app;
mod browser;
mod configuration;
mod mixing;
pub(crate) mod operator;
mod reconfigured;
mod status;
mod whose;
