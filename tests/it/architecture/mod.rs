//! The rules of the architecture that no compiler knows: what stands on what, and what each folder must not use.

mod fixtures;
mod imports;
mod packages;
mod public_api;
mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::imports::Imports;
use self::sources::{Source, crate_sources, declared_types};
use crate::support::folder::repository;

/// The modules directly below `src`, lowest first. A file uses what stands before its own module, and its own module.
const FLOORS: &[&str] = &[
    "crypto",
    "secret",
    "clock",
    "events",
    "cookie",
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

/// The comment in `lib.rs` from which a reader learns the folders, highest first.
#[test]
fn the_crate_lists_its_folders_in_order() {
    let root = repository().join("src");
    let text = fs::read_to_string(root.join("lib.rs")).unwrap();
    let listed = text.lines().filter_map(|line| line.strip_prefix("//   ")?.split(' ').next());
    let there = |name: &str| root.join(name).is_dir() || root.join(format!("{name}.rs")).is_file();
    let folders = FLOORS.iter().rev().copied().filter(|name| there(name));
    assert_eq!(listed.collect::<Vec<_>>(), folders.collect::<Vec<_>>());
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
    let outside = ["async ", ".await", "Clock", "Random", "use http::", "hyper", "tower", "axum", "tokio", "reqwest"];
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
            // A library that signs takes no randomness but its own.
            let is_library = ["ring.rs", "aws_lc_rs.rs"].contains(&name);
            assert!(!(clock || chance && !is_library) || name == "clock.rs", "{}: {line}", path.display());
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
                let is_module = ["mod ", "use ", "compile_error!"].iter().any(|start| item.starts_with(start));
                assert!(is_module, "{}: {next}", source.path.display());
            }
        }
    }
}

/// How code asks which mode it is: for the account that everybody uses, or whether browsers carry what is theirs.
const MODE_QUESTIONS: &[&str] = &[
    "mode.account()",
    "mode.is_stateless()",
    "Mode::SingleUser",
    "Mode::Stateless",
    ".contents()",
    "self.carried",
    "provider_sessions().is_some()",
];

/// Where it is answered: what the modes are and how they are configured; where an owner and the place of a grant are chosen,
/// and where a session begins (by a login, and in an application's tests); what keeps sessions in each mode.
const MODE_ANSWERED: &[&str] = &[
    "src/config/",
    "src/endpoints/sign_in.rs",
    "src/layer/mod.rs",
    "src/sessions/",
    "src/state/",
    "src/stateless/",
    "src/testing/as_user.rs",
    "src/tokens/locate.rs",
];

#[test]
fn the_mode_is_asked_for_where_it_is_decided() {
    let mut asked = Vec::new();
    let answers = |path: &Path| MODE_ANSWERED.iter().any(|part| path.to_str().unwrap().contains(part));
    for source in src().iter().filter(|source| !answers(&source.path)) {
        let asks = |line: &&str| MODE_QUESTIONS.iter().any(|question| line.contains(question));
        asked.extend(source.code().filter(asks).map(|line| format!("{}: {line}", source.path.display())));
    }
    assert_eq!(asked, Vec::<String>::new());
}

/// What a reader can hold: no file has more than 300 lines of code, its tests, comments and blank lines aside.
#[test]
fn files_stay_small() {
    for source in src() {
        let length = source.code().count();
        assert!(length <= 300, "{} has {length} lines of code", source.path.display());
    }
}

/// Somebody who runs an example learns where it listens, and what is wrong with their settings.
#[test]
fn examples_print_their_address_and_what_goes_wrong() {
    let mut shortest = usize::MAX;
    let programs: Vec<_> = files("examples").into_iter().filter(|(_, text)| text.contains("async fn main()")).collect();
    assert!(programs.len() >= 5, "{}", programs.len());
    for (path, text) in programs {
        let shown = path.display();
        assert!(text.contains("tracing_subscriber::"), "{shown} has no subscriber for warnings");
        assert!(text.contains("println!(\"open "), "{shown} does not print its address");
        let code = text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//"));
        shortest = shortest.min(code.count());
    }
    assert!(shortest <= 30, "the shortest example has {shortest} lines of code");
}

/// What the guides say of events is about those that there are, and each warning is in one of them.
#[test]
fn the_guides_know_the_events() {
    let read = |file: &str| fs::read_to_string(repository().join(file)).unwrap();
    let source = read("src/events/mod.rs");
    // A line of the table: `LoginStarted = ("login.started", Info),`.
    let entries = source.lines().filter_map(|line| line.trim().split_once(" = (\"")?.1.split_once("\", "));
    let entries: Vec<_> = entries.map(|(code, report)| (code.to_owned(), report)).collect();
    let warns = |entry: &&(String, &str)| !entry.1.starts_with("Info");
    let warnings: BTreeSet<_> = entries.iter().filter(warns).map(|(code, _)| code.clone()).collect();
    let codes: BTreeSet<_> = entries.into_iter().map(|(code, _)| code).collect();
    let mut told = BTreeSet::new();
    for guide in ["deployment", "production"] {
        let text = read(&format!("src/docs/{guide}.md"));
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
        told.extend(cells.map(str::to_owned));
    }
    assert!(warnings.len() > 15 && told.len() > 15, "{warnings:?} {told:?}");
    let unknown: Vec<_> = told.difference(&codes).collect();
    assert!(unknown.is_empty(), "no such events: {unknown:?}");
    let untold: Vec<_> = warnings.difference(&told).collect();
    assert!(untold.is_empty(), "in no guide: {untold:?}");
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
        let needs = ["RealProvider::start", "Keycloak::shared", "requirement("].iter().any(|need| text.contains(need));
        if !needs || ["architecture::", "support::"].iter().any(|apart| module.starts_with(apart)) {
            continue;
        }
        found += 1;
        // The harness skips by any part of a name.
        assert!(skipped.iter().any(|skip| module.contains(skip)), "tests/run.sh repeats {module}");
    }
    assert!(found >= 6, "{found}");
}
