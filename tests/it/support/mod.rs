//! What the tests stand on: the world of `tower-oidc-test-support`, and an [`app`]lication with the layer in it, which
//! tests give methods of their own.

pub(crate) use tower_oidc_test_support::*;

pub(crate) mod app;
