//! The modules of a crate as the compiler sees them, without what only tests compile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{LineColumn, Span};
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::visit_mut::{VisitMut, visit_item_mut};
use syn::{Attribute, File, Ident, Item, ItemEnum, Meta, Token, Type, Visibility};

/// The path of a module from the crate's root, which is empty.
pub(super) type ModulePath = Vec<String>;

/// One source file: a module with those that stand inside it.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) module: ModulePath,
    /// The syntax tree without what only tests compile.
    pub(super) syntax: File,
    lines: Vec<String>,
    tested: Vec<(usize, usize)>,
}

impl Source {
    /// The lines of code: no comments, no blank lines, nothing that only tests compile.
    pub(super) fn code(&self) -> impl Iterator<Item = &str> {
        let in_test = |line: usize| self.tested.iter().any(|(first, last)| (*first..=*last).contains(&line));
        let lines = self.lines.iter().enumerate().filter(move |(index, _)| !in_test(index + 1));
        lines.map(|(_, line)| line.trim()).filter(|line| !line.is_empty() && !line.starts_with("//"))
    }
}

/// A crate's modules, from its root file on. `read` gives a file's text.
pub(super) fn crate_sources(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Vec<Source> {
    let mut found = Vec::new();
    add(root.to_owned(), Vec::new(), root.parent().unwrap().to_owned(), read, &mut found);
    found
}

fn add(
    path: PathBuf, module: ModulePath, folder: PathBuf, read: &dyn Fn(&Path) -> Option<String>, found: &mut Vec<Source>,
) {
    let text = read(&path).unwrap_or_else(|| panic!("there is no file {}", path.display()));
    let mut syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syntax.items.iter_mut().for_each(expand);
    let mut tests = RemoveTests::default();
    tests.visit_file_mut(&mut syntax);
    let children: Vec<_> = syntax.items.iter().filter_map(child).collect();
    let parent = path.parent().unwrap().to_owned();
    found.push(Source {
        path,
        module: module.clone(),
        syntax,
        lines: text.lines().map(str::to_owned).collect(),
        tested: tests.lines,
    });
    for (name, given) in children {
        let file = match given {
            Some(given) => parent.join(given),
            None => {
                let flat = folder.join(format!("{name}.rs"));
                if read(&flat).is_some() { flat } else { folder.join(&name).join("mod.rs") }
            }
        };
        let mut path = module.clone();
        path.push(name.clone());
        add(file, path, folder.join(&name), read, found);
    }
}

/// An enum that the macro `entries` declares is one like any other.
fn expand(item: &mut Item) {
    let Item::Macro(declared) = item else { return };
    if declared.mac.path.is_ident("entries") {
        let body = |input: ParseStream| {
            input.parse::<Visibility>()?;
            input.parse::<Ident>()?;
            input.parse::<Token![:]>()?;
            input.parse::<Type>()?;
            input.parse::<Token![=>]>()?;
            input.parse::<ItemEnum>()
        };
        *item = Item::Enum(declared.mac.parse_body_with(body).unwrap());
    }
}

/// The name of a module in a file of its own, and the path that an attribute gives it.
fn child(item: &Item) -> Option<(String, Option<String>)> {
    let Item::Mod(module) = item else { return None };
    if module.content.is_some() {
        return None;
    }
    let given = module.attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    Some((module.ident.to_string(), given))
}

/// Takes what only tests compile out of a syntax tree, and notes its lines.
#[derive(Default)]
struct RemoveTests {
    lines: Vec<(usize, usize)>,
}

impl RemoveTests {
    fn is_test(attributes: &[Attribute]) -> bool {
        attributes.iter().any(|attribute| match &attribute.meta {
            Meta::List(list) if list.path.is_ident("cfg") => {
                let tokens = list.tokens.to_string();
                tokens == "test" || tokens.starts_with("all (test")
            }
            _ => false,
        })
    }

    fn note(&mut self, span: Span) {
        let (LineColumn { line: first, .. }, LineColumn { line: last, .. }) = (span.start(), span.end());
        self.lines.push((first, last));
    }

    fn retain(&mut self, items: &mut Vec<Item>) {
        items.retain(|item| {
            let test = attributes(item).is_some_and(Self::is_test);
            if test {
                self.note(item.span());
            }
            !test
        });
    }
}

impl VisitMut for RemoveTests {
    fn visit_file_mut(&mut self, file: &mut File) {
        self.retain(&mut file.items);
        file.items.iter_mut().for_each(|item| self.visit_item_mut(item));
    }

    fn visit_item_mut(&mut self, item: &mut Item) {
        match item {
            Item::Mod(module) => {
                if let Some((_, items)) = &mut module.content {
                    self.retain(items);
                }
            }
            Item::Impl(block) => block.items.retain(|member| {
                let test = match member {
                    syn::ImplItem::Fn(function) => Self::is_test(&function.attrs),
                    syn::ImplItem::Const(constant) => Self::is_test(&constant.attrs),
                    _ => false,
                };
                if test {
                    self.note(member.span());
                }
                !test
            }),
            _ => {}
        }
        visit_item_mut(self, item);
    }
}

fn attributes(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => return None,
    })
}

/// The files that declare each type, by the type's name.
pub(super) fn declared_types(sources: &[Source]) -> BTreeMap<String, BTreeSet<&Path>> {
    let mut declared: BTreeMap<String, BTreeSet<&Path>> = BTreeMap::new();
    for source in sources {
        for item in &source.syntax.items {
            let name = match item {
                Item::Enum(it) => &it.ident,
                Item::Struct(it) => &it.ident,
                Item::Trait(it) => &it.ident,
                Item::Type(it) => &it.ident,
                _ => continue,
            };
            declared.entry(name.to_string()).or_default().insert(&source.path);
        }
    }
    declared
}
