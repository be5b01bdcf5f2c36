//! Stands in for the default HTTP client when the feature `http-client` is off.

use std::path::Path;

use super::http_client::{Network, Outbound};

/// Always a message that names the two ways out.
pub(crate) fn default_client(_: Option<&Path>, _: &Network) -> Result<(Outbound, Vec<String>), String> {
    Err("there is no HTTP client: enable the feature `http-client`, or give one with `Config::http_client`".to_owned())
}
