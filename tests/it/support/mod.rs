//! What the tests stand on.

pub(crate) mod http;
pub(crate) mod process;
