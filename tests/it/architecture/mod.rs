//! The house rules that no compiler knows: what each room of `src` must not know.

use std::fs;
use std::path::PathBuf;

use crate::support::folder::repository;

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder}");
    found
}

/// The code of a file: no comments, and nothing from its unit tests on.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn must_not_know(folder: &str, words: &[&str]) {
    for (path, text) in sources(folder) {
        for line in code(&text) {
            for word in words {
                assert!(!line.contains(word), "{} knows {word}: {line}", path.display());
            }
        }
    }
}

#[test]
fn the_protocol_has_no_io_clock_randomness_or_framework() {
    let outside =
        ["async ", ".await", "Clock", "Random", "use http::", "hyper", "tower", "axum", "tokio", "reqwest"];
    must_not_know("src/protocol", &outside);
}

#[test]
fn stores_cannot_read_what_they_store() {
    must_not_know(
        "src/store",
        &["crate::seal", "crate::records", "crate::session", "crate::grant", "postcard"],
    );
}

/// The clock, randomness and outgoing HTTP each have one home.
#[test]
fn the_outside_world_has_one_door_each() {
    for (path, text) in sources("src") {
        let name = path.file_name().unwrap().to_str().unwrap();
        for line in code(&text) {
            let clock = line.contains("SystemTime::now") || line.contains("Instant::now");
            let chance = line.contains("getrandom") || line.contains("rand::");
            assert!(!(clock || chance) || name == "clock.rs", "{}: {line}", path.display());
            let sends = line.contains(".oneshot(request)");
            assert!(
                !sends || ["http_client.rs", "add_access_token.rs", "api_client.rs"].contains(&name),
                "{}: {line}",
                path.display()
            );
        }
    }
}

/// Features choose modules; they do not change what is inside one.
#[test]
fn features_are_named_on_module_lines_only() {
    for (path, text) in sources("src") {
        let mut lines = code(&text);
        while let Some(line) = lines.next() {
            if line.trim_start().starts_with("#[cfg(") && line.contains("feature") {
                let next = lines.find(|line| !line.trim_start().starts_with("#[")).unwrap_or_default();
                let item = next.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
                assert!(item.starts_with("mod ") || item.starts_with("use "), "{}: {next}", path.display());
            }
        }
    }
}

/// What a reader can hold: no file has more than 300 lines of code, its tests, comments and blank lines aside.
#[test]
fn files_stay_small() {
    for (path, text) in sources("src") {
        let length = code(&text).filter(|line| !line.trim().is_empty()).count();
        let tests = path.ends_with("tests.rs");
        assert!(length <= 300 || tests, "{} has {length} lines of code", path.display());
    }
}

/// `tests/run.sh` repeats the tests on every store, where it brings no provider, browser or proxy: what needs one is not
/// among them.
#[test]
fn tests_that_need_other_programs_are_not_repeated_on_each_store() {
    let script = fs::read_to_string(repository().join("tests/run.sh")).unwrap();
    let (_, after) = script.split_once("\n  for module in ").unwrap();
    let (skipped, _) = after.split_once("; do").unwrap();
    let skipped: Vec<_> =
        skipped.split_whitespace().filter(|word| *word != "\\").map(|word| format!("{word}::")).collect();
    let root = repository().join("tests/it");
    let mut found = 0;
    for (path, text) in sources("tests/it") {
        let module = path.strip_prefix(&root).unwrap().with_extension("");
        let module: String = module.iter().map(|part| format!("{}::", part.to_str().unwrap())).collect();
        let needs = ["RealProvider::start", "requirement("].iter().any(|need| text.contains(need));
        if !needs || ["house::", "support::"].iter().any(|apart| module.starts_with(apart)) {
            continue;
        }
        found += 1;
        // The harness skips by any part of a name.
        assert!(skipped.iter().any(|skip| module.contains(skip)), "tests/run.sh repeats {module}");
    }
    assert!(found >= 6, "{found}");
}
