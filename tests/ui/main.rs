//! What does not compile: the wall of types around whose token it is.

/// `TRYBUILD=overwrite cargo test -p tower-oidc-tests-ui` writes the messages of a new compiler.
#[test]
fn ownership_is_in_the_types() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
    let files = std::fs::read_dir(files).expect("a folder").map(|file| file.expect("a file").path());
    let cases: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == "rs")).collect();
    // A pattern that matches nothing would pass.
    assert!(cases.len() > 5, "{cases:?}");
    let tests = trybuild::TestCases::new();
    cases.iter().for_each(|case| tests.compile_fail(case));
}
