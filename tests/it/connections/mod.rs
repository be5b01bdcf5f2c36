//! Connections: scenarios 35, 36, 37, 39, 40, 50 and 55, retention, and whose grants are whose.

pub(crate) mod app;

mod disconnect;
mod grants;
mod owners;
mod resources;
