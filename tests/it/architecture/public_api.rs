//! Whose types stand in our signatures: an incompatible version of one of these crates is one of ours.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{Visit, visit_path};
use syn::{Fields, ImplItem, Item, Type, Visibility};

use super::imports::flat;
use super::{Source, src};

/// The crates that an application meets in our types, and needs in versions that fit.
const MET: &[&str] = &[
    "axum_core",
    "bytes",
    "deadpool_postgres",
    "http",
    "http_body",
    "http_body_util",
    "redis",
    "serde",
    "serde_json",
    "std",
    "tokio",
    "tower",
    "url",
];

/// The first names of the paths in a signature.
#[derive(Default)]
struct FirstNames(BTreeSet<String>);

impl FirstNames {
    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => self.0.extend([name.to_string()]),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for FirstNames {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.extend(path.segments.first().map(|first| first.ident.to_string()));
        visit_path(self, path);
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

fn is_public(visibility: &Visibility) -> bool {
    // `unreachable_pub` warns of what says so and cannot be reached.
    matches!(visibility, Visibility::Public(_))
}

fn fields(fields: &Fields, found: &mut FirstNames) {
    fields.iter().filter(|field| is_public(&field.vis)).for_each(|field| found.visit_type(&field.ty));
}

/// What a file's public items name.
fn named(items: &[Item], public: &BTreeSet<String>, found: &mut FirstNames) {
    for item in items {
        match item {
            Item::Struct(item) if is_public(&item.vis) => {
                found.visit_generics(&item.generics);
                fields(&item.fields, found);
            }
            Item::Enum(item) if is_public(&item.vis) => {
                let all = item.variants.iter().flat_map(|variant| &variant.fields);
                all.for_each(|field| found.visit_type(&field.ty));
            }
            Item::Trait(item) if is_public(&item.vis) => {
                item.supertraits.iter().for_each(|bound| found.visit_type_param_bound(bound));
                item.items.iter().for_each(|item| match item {
                    syn::TraitItem::Fn(method) => found.visit_signature(&method.sig),
                    item => found.visit_trait_item(item),
                });
            }
            Item::Fn(item) if is_public(&item.vis) => found.visit_signature(&item.sig),
            Item::Type(item) if is_public(&item.vis) => found.visit_type(&item.ty),
            Item::Impl(item) if is_of(&item.self_ty, public) => {
                if let Some((_, of, _)) = &item.trait_ {
                    found.visit_path(of);
                    found.visit_generics(&item.generics);
                }
                for method in &item.items {
                    match method {
                        ImplItem::Fn(method) if item.trait_.is_some() || is_public(&method.vis) => {
                            found.visit_signature(&method.sig);
                        }
                        ImplItem::Type(associated) => found.visit_type(&associated.ty),
                        // The setters: their types stand among its tokens.
                        ImplItem::Macro(of) => found.tokens(of.mac.tokens.clone()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_of(self_type: &Type, public: &BTreeSet<String>) -> bool {
    let Type::Path(path) = self_type else { return false };
    path.path.segments.last().is_some_and(|last| public.contains(&last.ident.to_string()))
}

fn public_types(sources: &[Source]) -> BTreeSet<String> {
    let items = sources.iter().flat_map(|source| &source.syntax.items);
    let public = items.filter_map(|item| match item {
        Item::Struct(item) if is_public(&item.vis) => Some(&item.ident),
        Item::Enum(item) if is_public(&item.vis) => Some(&item.ident),
        _ => None,
    });
    public.map(ToString::to_string).collect()
}

/// The crates that a file's public items name, as far as they are not this one.
fn met(items: &[Item], public: &BTreeSet<String>, crates: &BTreeSet<String>) -> BTreeSet<String> {
    let mut imported: BTreeMap<String, String> = BTreeMap::new();
    for item in items {
        let Item::Use(item) = item else { continue };
        for (path, name) in flat(&item.tree) {
            imported.extend(name.zip(path.into_iter().next()));
        }
    }
    let mut found = FirstNames::default();
    named(items, public, &mut found);
    let from = found.0.into_iter().map(|name| imported.get(&name).cloned().unwrap_or(name));
    from.filter(|name| crates.contains(name)).collect()
}

/// The packages that the manifest names, as the language spells them.
fn crates() -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(crate::support::folder::repository().join("Cargo.toml")).unwrap();
    let (_, after) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (dependencies, _) = after.split_once("\n[").unwrap();
    let names = dependencies.lines().filter_map(|line| Some(line.split_once(" = ")?.0.trim().replace('-', "_")));
    names.filter(|name| !name.starts_with('#')).chain(["std".to_owned()]).collect()
}

#[test]
fn public_signatures_name_few_crates() {
    let (sources, crates) = (src(), crates());
    assert!(crates.contains("openidconnect") && crates.contains("moka"), "{crates:?}");
    let public = public_types(&sources);
    assert!(public.contains("OidcLayer"), "{public:?}");
    let of = |source: &Source| met(&source.syntax.items, &public, &crates);
    let all: BTreeMap<_, _> =
        sources.iter().flat_map(|source| of(source).into_iter().map(|name| (name, &source.path))).collect();
    let strange: Vec<_> = all.iter().filter(|(name, _)| !MET.contains(&name.as_str())).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), MET, "no name is there for nothing");
}

#[test]
fn a_strange_crate_is_seen_in_every_place() {
    let public = BTreeSet::from(["Ours".to_owned()]);
    let crates = BTreeSet::from(["moka".to_owned()]);
    let met = |text: &str| met(&syn::parse_file(text).unwrap().items, &public, &crates);
    for text in [
        "use moka::Cache; pub struct Ours { pub of: Cache }",
        "use moka::Cache as Other; pub enum Ours { One(Vec<Other>) }",
        "pub struct Ours; impl Ours { pub fn f(&self, _: &moka::Cache) {} }",
        "pub struct Ours; impl Ours { pub fn f() -> impl Iterator<Item = moka::Cache> { todo!() } }",
        "pub struct Ours; impl Ours { pub fn f<T>(_: T) where T: moka::Evict {} }",
        "use moka::{Cache}; pub struct Ours; impl From<Cache> for Ours { fn from(_: Cache) -> Self { Self } }",
        "pub struct Ours; impl moka::Evict for Ours {}",
        "pub trait Store: moka::Evict {}",
        "pub trait Store { fn f(&self, _: moka::Cache); }",
        "use moka::Cache; pub struct Ours; impl Ours { setters! { value of: Cache; } }",
        "pub fn f() -> moka::Cache { todo!() }",
        "pub type Alias = moka::Cache;",
    ] {
        assert_eq!(met(text).len(), 1, "{text}");
    }
    for text in [
        "use moka::Cache; pub struct Ours { of: Cache }",
        "use moka::Cache; pub(crate) fn f(_: Cache) {}",
        "use moka::Cache; pub struct Ours; impl Ours { pub(crate) fn f(_: Cache) {} }",
        "struct Theirs; impl Theirs { pub fn f(_: moka::Cache) {} }",
        "use moka::Cache; struct Theirs; impl Theirs { setters! { value of: Cache; } }",
        "pub fn f() { let _ = moka::Cache::new(); }",
        "use crate::moka; pub fn f(_: moka::Cache) {}",
    ] {
        assert_eq!(met(text).len(), 0, "{text}");
    }
}
