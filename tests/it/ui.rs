//! What does not compile: the wall of types around whose token it is.

/// `TRYBUILD=overwrite cargo test -p tower-oidc-tests --test it ui` writes the messages of a new compiler.
#[test]
fn ownership_is_in_the_types() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
