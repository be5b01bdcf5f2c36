//! Crates that break the rules, in every spelling: what the analysis must see, beside what it must not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::imports::Imports;
use super::sources::crate_sources;
use super::upward;

fn imports(files: &[(&str, &str)]) -> Imports {
    let files: BTreeMap<PathBuf, String> =
        files.iter().map(|(path, text)| (Path::new("/fixture/src").join(path), (*text).to_owned())).collect();
    let sources = crate_sources(Path::new("/fixture/src/lib.rs"), &|path| files.get(path).cloned());
    Imports::of(&sources)
}

/// The upward imports of a crate with two floors, where `low` and its child have this text.
fn found(low: &str, child: &str) -> Vec<String> {
    let imports = imports(&[
        ("lib.rs", "mod low; mod high; pub use high::inner::Thing; pub use low::Ground;"),
        ("low/mod.rs", &format!("mod child; pub struct Ground; {low}")),
        ("low/child.rs", child),
        ("high/mod.rs", "pub mod inner; pub fn top() {}"),
        ("high/inner.rs", "use crate::low::Ground; pub struct Thing; pub const LIMIT: usize = 1;"),
    ]);
    upward(Path::new("/fixture/src"), &["low", "high"], &imports)
}

#[test]
fn an_import_upwards_is_seen_in_every_spelling() {
    for low in [
        "use crate::high::inner::Thing;",
        "use crate::{low, high::{inner::Thing}};",
        "use crate::high::inner::{self};",
        "use crate::high::inner as other;",
        "use crate::high::inner::*;",
        "use super::high::inner::Thing;",
        "use super::{high::{self, inner}};",
        "use self::super::high::top;",
        "pub(crate) use crate::high::top as base;",
        "fn f() -> crate::high::inner::Thing { todo!() }",
        "fn f() { use crate::high::top; top() }",
        "fn f() { super::high::top() }",
        "fn f(x: usize) { match x { crate::high::inner::LIMIT => {}, _ => {} } }",
        "fn f() { println!(\"{}\", crate::high::inner::LIMIT) }",
        "fn f() { vec![super::high::top()]; }",
        "impl From<crate::high::inner::Thing> for Ground { fn from(_: crate::high::inner::Thing) -> Self { Self } }",
        "mod inside { use super::super::high::top; }",
        "macro_rules! m { () => { $crate::high::top() } }",
        "static X: [u8; crate::high::inner::LIMIT] = [0];",
        "trait T { fn f(&self) { crate::high::top() } }",
    ] {
        assert_eq!(found(low, "").len().min(1), 1, "{low}");
    }
    // From a child, where one more `super` is needed, or the parent's own name serves.
    for child in ["use super::super::high::top;", "use crate::high::top;"] {
        assert_eq!(found("", child).len(), 1, "{child}");
    }
}

/// The root re-exports it from above: the name is the root's, and what is meant is not.
#[test]
fn a_re_export_hides_nothing() {
    for low in
        ["use crate::Thing;", "use super::Thing;", "use crate::{Ground as G, Thing};", "fn f(_: crate::Thing) {}"]
    {
        assert_eq!(found(low, "").len(), 1, "{low}");
    }
    assert_eq!(found("pub use crate::Thing;", "use super::Thing;").len(), 2, "through two re-exports");
    assert_eq!(found("use crate::Ground as Own;", ""), Vec::<String>::new(), "what is meant stands on the same floor");
}

#[test]
fn what_runs_downwards_or_stays_is_allowed() {
    for low in [
        "",
        "use self::child;",
        "#[cfg(test)] mod tests { use crate::high::top; }",
        "#[cfg(all(test, feature = \"x\"))] use crate::high::top;",
        "/// See [`crate::high::top`].\nfn f() {}",
        "fn f() { let top = 1; let _ = top; }",
        "use high::top;",
        "use std::fmt;",
    ] {
        assert_eq!(found(low, "use super::Ground;"), Vec::<String>::new(), "{low}");
    }
}

#[test]
fn a_circle_of_two_files_is_seen() {
    let two = |first: &str, second: &str| {
        let imports = imports(&[
            ("lib.rs", "mod folder; pub use folder::second::Second;"),
            ("folder/mod.rs", "pub mod first; pub mod second;"),
            ("folder/first.rs", first),
            ("folder/second.rs", second),
        ]);
        imports.circles().len()
    };
    assert_eq!(two("use super::second::Second; pub struct First;", "use super::first::First; pub struct Second;"), 1);
    assert_eq!(two("use crate::Second; pub struct First;", "pub struct Second(crate::folder::first::First);"), 1);
    assert_eq!(two("use super::second::Second; pub struct First;", "pub struct Second;"), 0);
}

#[test]
fn a_parent_with_its_child_is_no_circle_and_one_through_a_third_file_is() {
    let circles = |child: &str| {
        let imports = imports(&[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod child; use child::Child; pub struct A;"),
            ("a/child.rs", child),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ]);
        imports.circles().len()
    };
    assert_eq!(circles("use super::A; pub struct Child;"), 0);
    assert_eq!(circles("use crate::b::B; pub struct Child;"), 1);
}
