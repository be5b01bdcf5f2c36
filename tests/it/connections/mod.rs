//! Connections: how they are granted, kept and ended, and whose grants are whose.

pub(crate) mod app;

mod disconnect;
mod grants;
mod naming;
mod owners;
mod resources;
