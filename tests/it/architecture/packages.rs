//! What the crate is built on, and what is published of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use super::src;
use crate::support::folder::repository;

/// A package, what it is there for, the files that this is in, and what of the package each of them uses.
type Part = (&'static str, &'static str, &'static [(&'static str, &'static [&'static str])]);

/// Each package that the crate is to be built on does the part that its name says.
const PRESCRIBED: &[Part] = &[
    (
        "tower",
        "the layer is a tower service, and HTTP goes out through one",
        &[
            ("src/layer/mod.rs", &["Layer<"]),
            ("src/layer/service.rs", &["Service<"]),
            ("src/layer/require.rs", &["Layer<", "Service<"]),
            ("src/provider/http_client.rs", &["BoxCloneSyncService"]),
        ],
    ),
    (
        "http",
        "the types of requests and responses",
        &[("src/layer/service.rs", &["Request", "Response"]), ("src/provider/http_client.rs", &["Request<Bytes>"])],
    ),
    ("tower-cookies", "builds each `Set-Cookie`", &[("src/cookie.rs", &["Cookie::build", "SameSite"])]),
    (
        "openidconnect",
        "builds the requests to the provider, verifies keys and signatures",
        &[
            (
                "src/protocol/authorization.rs",
                &["authorize_url", "CsrfToken", "Nonce", "set_pkce_challenge", "add_prompt", "set_max_age"],
            ),
            (
                "src/protocol/client.rs",
                &["exchange_code", "exchange_refresh_token", "exchange_client_credentials", "revoke_token"],
            ),
            ("src/protocol/jws.rs", &["CoreJsonWebKey", "verify_signature", "AccessTokenHash"]),
        ],
    ),
    ("moka", "the rows of the memory store", &[("src/store/memory.rs", &["moka::sync::Cache"])]),
    (
        "serde",
        "reads what comes, and writes what is kept",
        &[("src/provider/provider_config.rs", &["Deserialize"]), ("src/records/grant.rs", &["Serialize"])],
    ),
    (
        "thiserror",
        "the errors",
        &[("src/error.rs", &["thiserror::Error"]), ("src/provider/error.rs", &["thiserror::Error"])],
    ),
];

/// The manifest and `src` say where each of them is used; with `--nocapture`, this says it, too.
#[test]
fn prescribed_packages_do_what_they_are_there_for() {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n[").unwrap();
    let sources = src();
    for (package, purpose, parts) in PRESCRIBED {
        let line = dependencies.lines().find(|line| line.split(' ').next() == Some(package));
        let line = line.unwrap_or_else(|| panic!("Cargo.toml does not name {package}"));
        assert!(!line.contains("optional"), "{package} is there with some features only: {line}");
        let name = package.replace('-', "_");
        let names = |line: &str| {
            let before = |at: usize| line[..at].chars().next_back();
            let apart = |at: usize| !before(at).is_some_and(|before| before.is_alphanumeric() || "_:".contains(before));
            line.match_indices(&format!("{name}::")).any(|(at, _)| apart(at))
        };
        let mut used: Vec<String> = Vec::new();
        for source in &sources {
            if source.code().any(names) {
                used.push(source.path.strip_prefix(repository()).unwrap().display().to_string());
            }
        }
        used.sort();
        println!("{package} ({purpose}): {}", used.join(", "));
        for (file, uses) in *parts {
            assert!(used.iter().any(|used| used == file), "{file} does not use {package}: {purpose}");
            let source = sources.iter().find(|source| source.path == repository().join(file)).unwrap();
            for item in *uses {
                assert!(source.code().any(|line| line.contains(item)), "{file} has no {item}: {package} {purpose}");
            }
        }
    }
}

/// Crates beyond those of the prescribed packages, in a build with default features.
const CRATES_BESIDES: usize = 33;

/// What the prescribed packages bring with them: they themselves, tokio, and axum as an application has it.
const BRINGING: &[&str] = &["axum", "moka", "openidconnect", "serde", "thiserror", "tokio", "tower", "tower-cookies"];

/// What cargo says in the repository, without the network.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--offline").current_dir(repository()).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {complaints}");
    String::from_utf8(output.stdout).unwrap()
}

/// A crate with its version, and what it stands on.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Reads the lines of `cargo tree --prefix depth`. What stands there a second time has its branches at the first place.
fn graph(tree: &str) -> Graph {
    let mut graph = Graph::new();
    let mut above: Vec<String> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (depth, rest) = line.split_at(line.find(|digit: char| !digit.is_ascii_digit()).unwrap());
        let name = rest.split(' ').take(2).collect::<Vec<_>>().join(" ");
        above.truncate(depth.parse().unwrap());
        graph.entry(name.clone()).or_default();
        if let Some(parent) = above.last() {
            graph.entry(parent.clone()).or_default().insert(name.clone());
        }
        above.push(name);
    }
    graph
}

/// The roots, and all that they stand on.
fn closure(graph: &Graph, roots: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = roots.collect();
    while let Some(name) = open.pop() {
        open.extend(graph[&name].iter().filter(|below| !found.contains(*below)).cloned());
        found.insert(name);
    }
    found
}

/// What a tree has besides what the prescribed packages bring.
fn besides(own: &Graph, axum: &Graph) -> BTreeSet<String> {
    let named = |name: &&String| name.starts_with("tower-oidc ");
    let root = own.keys().find(named).unwrap();
    let prescribed = own[root].iter().filter(|name| BRINGING.contains(&name.split(' ').next().unwrap()));
    let brought = closure(own, prescribed.cloned());
    own.keys().filter(|name| !brought.contains(*name) && !axum.contains_key(*name) && !named(name)).cloned().collect()
}

/// A build with default features has few crates that the prescribed packages do not bring; with `--nocapture`, this says
/// which.
#[test]
fn few_crates_beside_those_of_the_prescribed_packages() {
    let tree = |package| graph(&cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "depth"]));
    let (own, axum) = (tree("tower-oidc"), tree("axum"));
    assert!(own.len() > 150 && axum.len() > 50, "cargo tree is read wrongly: {} {}", own.len(), axum.len());
    let besides = besides(&own, &axum);
    println!("{} of {} crates: {besides:?}", besides.len(), own.len());
    assert!(besides.len() <= CRATES_BESIDES, "{}, expected at most {CRATES_BESIDES}: {besides:?}", besides.len());
}

#[test]
fn a_crate_counts_unless_a_prescribed_package_brings_it() {
    let own = graph(
        "0tower-oidc v0.1.0 (/a path)\n1moka v1.0.0\n2shared v1.0.0\n1own v1.0.0\n2shared v1.0.0 (*)\n2axum-part v1.0.0\n\
         2below v1.0.0\n",
    );
    let axum = graph("0axum v0.8.0\n1axum-part v1.0.0\n");
    let besides: Vec<_> = besides(&own, &axum).into_iter().collect();
    assert_eq!(besides, ["below v1.0.0", "own v1.0.0"]);
}

/// What crates.io gets: the sources with all that they include, the words about them, and nothing of the workshop.
#[test]
fn the_package_is_complete_and_nothing_more() {
    let listed = cargo(&["package", "-p", "tower-oidc", "--list", "--allow-dirty"]);
    let listed: BTreeSet<&str> = listed.lines().collect();
    for file in ["CHANGELOG.md", "Cargo.toml", "LICENSE", "README.md", "examples/minimal.rs", "src/lib.rs"] {
        assert!(listed.contains(file), "the package lacks {file}");
    }
    let mut folders = vec![repository().join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(repository()).unwrap().to_str().unwrap();
            assert!(path.is_dir() || listed.contains(name), "the package lacks {name}");
            folders.extend(path.is_dir().then_some(path));
        }
    }
    // cargo's own additions.
    let made = ["Cargo.lock", "Cargo.toml.orig", ".cargo_vcs_info.json"];
    for file in listed.iter().filter(|file| !made.contains(file)) {
        let first = file.split('/').next().unwrap();
        let expected = ["CHANGELOG.md", "Cargo.toml", "LICENSE", "README.md", "examples", "src"].contains(&first);
        assert!(expected, "the package has {file}: see `exclude` in Cargo.toml");
    }
    let nested = listed.iter().filter(|file| Path::new(file).ends_with("Cargo.toml")).count();
    assert_eq!(nested, 1, "an example that is a package of its own is published");
}
