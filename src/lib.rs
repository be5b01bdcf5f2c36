//! tower-oidc
mod ambient;

#[cfg(feature = "dev-provider")]
pub mod dev_provider;
