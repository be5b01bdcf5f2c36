//! The rules of the architecture that no compiler knows: what stands on what, and what each folder must not use.

mod fixtures;
mod imports;
mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::imports::Imports;
use self::sources::{Source, crate_sources, declared_types};
use crate::support::folder::repository;

/// The modules directly below `src`, lowest first. A file uses what stands before its own module, and its own module.
const FLOORS: &[&str] = &[
    "clock",
    "secret",
    "events",
    "cookie",
    "tls_roots",
    "body",
    "html",
    "protocol",
    "store",
    "peer",
    "dev_provider",
    "error",
    "provider",
    "records",
    "page",
    "config",
    "sessions",
    "state",
    "stateless",
    "tokens",
    "endpoints",
    "extract",
    "layer",
    "testing",
    "docs",
];

/// Types of one name in two files that are one thing: a feature chooses between them.
const DECLARED_TWICE: &[&str] = &["DevProvider"];

fn src() -> Vec<Source> {
    let root = repository().join("src");
    crate_sources(&root.join("lib.rs"), &|path| fs::read_to_string(path).ok())
}

/// The module directly below the root to which a file belongs; none for the root itself.
fn floor<'a>(root: &Path, file: &'a Path) -> Option<&'a str> {
    let inside = file.strip_prefix(root).unwrap();
    let first = inside.iter().next().unwrap().to_str().unwrap();
    let name = first.trim_end_matches(".rs");
    (name != "lib").then_some(name)
}

/// Imports that run upwards, as "from: path".
fn upward(root: &Path, floors: &[&str], imports: &Imports) -> Vec<String> {
    let height = |name: &str| {
        let found = floors.iter().position(|floor| *floor == name);
        found.unwrap_or_else(|| panic!("the folder {name} has no place in the order of folders: give it one"))
    };
    let mut found = Vec::new();
    for (from, to, path) in imports.iter() {
        let Some(here) = floor(root, from) else { continue };
        let runs_up = floor(root, to).is_none_or(|there| here != there && height(there) > height(here));
        if runs_up {
            found.push(format!("{}: {path}", from.strip_prefix(root).unwrap().display()));
        }
    }
    found
}

#[test]
fn every_import_runs_downwards() {
    let imports = Imports::of(&src());
    // What the analysis finds at the least: it would be quiet if it found nothing.
    assert!(imports.iter().count() > 500, "{}", imports.iter().count());
    assert_eq!(upward(&repository().join("src"), FLOORS, &imports), Vec::<String>::new());
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    assert_eq!(Imports::of(&src()).circles(), Vec::<BTreeSet<&Path>>::new());
}

#[test]
fn the_folder_list_is_short() {
    let root = repository().join("src");
    let sources = src();
    let rooms: BTreeSet<_> = sources.iter().filter_map(|source| floor(&root, &source.path)).collect();
    assert!(rooms.len() <= 25, "{rooms:?}");
    for room in rooms {
        assert!(FLOORS.contains(&room), "{room}");
    }
}

#[test]
fn no_type_name_has_two_meanings() {
    for (name, files) in declared_types(&src()) {
        assert!(files.len() == 1 || DECLARED_TWICE.contains(&name.as_str()), "{name}: {files:?}");
    }
}

fn files(folder: &str) -> Vec<(PathBuf, String)> {
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

/// The sources below a folder of `src`.
fn below(folder: &str) -> Vec<Source> {
    let root = repository().join(folder);
    let found: Vec<_> = src().into_iter().filter(|source| source.path.starts_with(&root)).collect();
    assert!(!found.is_empty(), "{folder}");
    found
}

fn must_not_know(folder: &str, words: &[&str]) {
    for source in below(folder) {
        for line in source.code() {
            for word in words {
                assert!(!line.contains(word), "{} knows {word}: {line}", source.path.display());
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
    must_not_know("src/store", &["crate::records", "crate::sessions", "postcard"]);
}

/// The clock, randomness and outgoing HTTP each have one home.
#[test]
fn the_outside_world_has_one_door_each() {
    for source in src() {
        let path = &source.path;
        let name = path.file_name().unwrap().to_str().unwrap();
        for line in source.code() {
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
    for source in src() {
        let mut lines = source.code();
        while let Some(line) = lines.next() {
            if line.trim_start().starts_with("#[cfg(") && line.contains("feature") {
                let next = lines.find(|line| !line.trim_start().starts_with("#[")).unwrap_or_default();
                let item = next.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
                assert!(
                    item.starts_with("mod ") || item.starts_with("use "),
                    "{}: {next}",
                    source.path.display()
                );
            }
        }
    }
}

/// What a reader can hold: no file has more than 300 lines of code, its tests, comments and blank lines aside.
#[test]
fn files_stay_small() {
    for source in src() {
        let length = source.code().count();
        assert!(length <= 300, "{} has {length} lines of code", source.path.display());
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
    for (path, text) in files("tests/it") {
        let module = path.strip_prefix(&root).unwrap().with_extension("");
        let module: String = module.iter().map(|part| format!("{}::", part.to_str().unwrap())).collect();
        let needs = ["RealProvider::start", "requirement("].iter().any(|need| text.contains(need));
        if !needs || ["architecture::", "support::"].iter().any(|apart| module.starts_with(apart)) {
            continue;
        }
        found += 1;
        // The harness skips by any part of a name.
        assert!(skipped.iter().any(|skip| module.contains(skip)), "tests/run.sh repeats {module}");
    }
    assert!(found >= 6, "{found}");
}
