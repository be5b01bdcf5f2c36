//! tower-oidc
mod ambient;
