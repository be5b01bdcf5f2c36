//! Which file uses which: every path of a crate's code, resolved to the file that declares what it names.
//!
//! A path may be written from the root (`crate::a::B`), from a parent (`super::super::a::B`), from the module itself
//! (`self::a::B`), through a name that a `use` or a re-export gave it, in a group, or inside a macro's arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{Visit, visit_item_mod, visit_macro, visit_path};
use syn::{Item, UseTree};

use super::sources::{ModulePath, Source};

/// What one module offers by name.
#[derive(Default)]
struct Module {
    file: PathBuf,
    declared: BTreeSet<String>,
    children: BTreeSet<String>,
    /// Names that a `use` brings, with the path that it says.
    aliases: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// A use of one file in another, with the path as it is written.
pub(super) type Import<'a> = (&'a Path, &'a Path, String);

pub(super) struct Imports {
    modules: BTreeMap<ModulePath, Module>,
    found: BTreeSet<(PathBuf, PathBuf, String)>,
}

impl Imports {
    pub(super) fn of(sources: &[Source]) -> Self {
        let mut imports = Self { modules: BTreeMap::new(), found: BTreeSet::new() };
        for source in sources {
            imports.declare(&source.path, &source.module, &source.syntax.items);
        }
        let mut found = BTreeSet::new();
        for source in sources {
            let mut paths = Paths { module: source.module.clone(), found: Vec::new() };
            paths.visit_file(&source.syntax);
            for (module, path) in paths.found {
                if let Some(target) = imports.resolve(&module, &path, 0)
                    && target != source.path
                {
                    found.insert((source.path.clone(), target, path.join("::")));
                }
            }
        }
        imports.found = found;
        imports
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Import<'_>> {
        self.found.iter().map(|(from, to, path)| (from.as_path(), to.as_path(), path.clone()))
    }

    fn declare(&mut self, file: &Path, module: &[String], items: &[Item]) {
        let mut here = Module { file: file.to_owned(), ..Module::default() };
        for item in items {
            let name = match item {
                Item::Const(it) => &it.ident,
                Item::Enum(it) => &it.ident,
                Item::Fn(it) => &it.sig.ident,
                Item::Static(it) => &it.ident,
                Item::Struct(it) => &it.ident,
                Item::Trait(it) => &it.ident,
                Item::Type(it) => &it.ident,
                Item::Mod(it) => {
                    here.children.insert(it.ident.to_string());
                    if let Some((_, inside)) = &it.content {
                        let mut path = module.to_vec();
                        path.push(it.ident.to_string());
                        self.declare(file, &path, inside);
                    }
                    continue;
                }
                Item::Use(it) => {
                    for (path, name) in flat(&it.tree) {
                        match name {
                            Some(name) => _ = here.aliases.insert(name, path),
                            None => here.globs.push(path),
                        }
                    }
                    continue;
                }
                _ => continue,
            };
            here.declared.insert(name.to_string());
        }
        // A module that is declared twice (one for each feature) offers the names of both.
        let before = self.modules.entry(module.to_vec()).or_default();
        here.declared.append(&mut before.declared);
        *before = here;
    }

    /// The file that declares what the path names, seen from a module; none for other crates and local names.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<PathBuf> {
        // An alias may name itself: `use tokio;` in a module that is called so.
        if depth > 16 {
            return None;
        }
        let mut module = from.to_vec();
        let mut rest = path;
        let mut rooted = false;
        while let Some((first, more)) = rest.split_first() {
            match first.as_str() {
                "crate" => module.clear(),
                "super" => _ = module.pop(),
                "self" => {}
                _ => break,
            }
            (rest, rooted) = (more, true);
        }
        let mut first = true;
        while let Some((name, more)) = rest.split_first() {
            let here = self.modules.get(&module)?;
            if here.children.contains(name) {
                module.push(name.clone());
                rest = more;
            } else if here.declared.contains(name) {
                return Some(here.file.clone());
            } else if let Some(alias) = here.aliases.get(name) {
                let mut whole = alias.clone();
                whole.extend_from_slice(more);
                let itself = first && !rooted && whole.first() == Some(name);
                return if itself { None } else { self.resolve(&module, &whole, depth + 1) };
            } else {
                let through = |glob: &Vec<String>| {
                    let mut whole = glob.clone();
                    whole.extend_from_slice(rest);
                    self.resolve(&module, &whole, depth + 1)
                };
                return here.globs.iter().find_map(through);
            }
            first = false;
        }
        (rooted || !first).then(|| self.modules.get(&module).map(|it| it.file.clone())).flatten()
    }

    /// Circles of files: each is a set of files of which every one uses every other, directly or through others. That a
    /// file uses a module in which it stands makes no circle.
    pub(super) fn circles(&self) -> Vec<BTreeSet<&Path>> {
        let mut uses: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (from, to, _) in self.iter().filter(|(from, to, _)| !is_inside(from, to)) {
            uses.entry(from).or_default().insert(to);
        }
        let all: BTreeMap<_, _> = uses.keys().map(|file| (*file, reached(&uses, file))).collect();
        let mut circles = BTreeSet::new();
        for (file, reached) in all.iter().filter(|(file, reached)| reached.contains(*file)) {
            let back = |other: &&Path| all.get(other).is_some_and(|there| there.contains(file));
            circles.insert(reached.iter().copied().filter(back).collect::<BTreeSet<_>>());
        }
        circles.into_iter().collect()
    }
}

fn reached<'a>(uses: &BTreeMap<&'a Path, BTreeSet<&'a Path>>, start: &'a Path) -> BTreeSet<&'a Path> {
    let mut seen = BTreeSet::new();
    let mut next = vec![start];
    while let Some(file) = next.pop() {
        next.extend(uses.get(file).into_iter().flatten().filter(|to| seen.insert(**to)));
    }
    seen
}

/// Whether one file's module stands inside the other's.
fn is_inside(file: &Path, ancestor: &Path) -> bool {
    let folder = match ancestor.file_name().and_then(|name| name.to_str()) {
        Some("mod.rs" | "lib.rs") => ancestor.parent().unwrap().to_owned(),
        _ => ancestor.with_extension(""),
    };
    file != ancestor && file.starts_with(folder)
}

/// Every path that a tree of imports says, with the name that it gives; none for a glob.
pub(super) fn flat(tree: &UseTree) -> Vec<(Vec<String>, Option<String>)> {
    let below = |first: String, tree: &UseTree| {
        let join = |(mut path, name): (Vec<String>, Option<String>)| {
            path.insert(0, first.clone());
            (path, name)
        };
        flat(tree).into_iter().map(join).collect()
    };
    match tree {
        UseTree::Path(it) => {
            let mut found: Vec<_> = below(it.ident.to_string(), &it.tree);
            for (path, name) in &mut found {
                // `a::{self}` names `a`.
                if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                    path.pop();
                    if name.as_deref() == Some("self") {
                        *name = path.last().cloned();
                    }
                }
            }
            found
        }
        UseTree::Name(it) => vec![(vec![it.ident.to_string()], Some(it.ident.to_string()))],
        UseTree::Rename(it) => vec![(vec![it.ident.to_string()], Some(it.rename.to_string()))],
        UseTree::Glob(_) => vec![(Vec::new(), None)],
        UseTree::Group(it) => it.items.iter().flat_map(flat).collect(),
    }
}

/// Collects paths, each with the module in which it is written.
struct Paths {
    module: ModulePath,
    found: Vec<(ModulePath, Vec<String>)>,
}

impl Paths {
    fn push(&mut self, path: Vec<String>) {
        self.found.push((self.module.clone(), path));
    }

    /// Paths among a macro's arguments, which are not parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 && !path.is_empty() {
                        self.push(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => colons += 1,
                other => {
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                    if !path.is_empty() {
                        self.push(std::mem::take(&mut path));
                    }
                    colons = 0;
                }
            }
        }
        if !path.is_empty() {
            self.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_some() {
            self.module.push(module.ident.to_string());
            visit_item_mod(self, module);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for (path, _) in flat(&item.tree) {
            self.push(path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit_path(self, path);
    }

    // `pub(in crate::a)` says who may see it; it imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_macro(&mut self, one: &'ast syn::Macro) {
        self.tokens(one.tokens.clone());
        visit_macro(self, one);
    }
}
