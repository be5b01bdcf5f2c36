//! The public types as values: what an application shares between tasks, and what a signature of ours may name.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use tower_oidc::dev_provider::{AccessTokenDetails, DevProvider, DevProviderError, ScriptedLogin};
use tower_oidc::store::{
    Change, Key, MemoryStore, PostgresStore, Record, RedisStore, SqliteStore, StoreError, StoreErrorKind, Stored, Tag,
    Version,
};
use tower_oidc::testing::{ManualClock, SignedIn, SignedInLayer};
use tower_oidc::*;

fn shared<T: Clone + Debug + Send + Sync + 'static>() {}
fn sent<T: Debug + Send + Sync + 'static>() {}
fn awaited<T: Debug + Send>() {}

/// All of them go to other tasks, and print something that tells no secret.
#[test]
fn public_types_are_shared_between_tasks() {
    // The layers.
    shared::<OidcLayer>();
    shared::<Oidc<()>>();
    shared::<NotFound>();
    shared::<AnyBodyLayer>();
    shared::<AnyBody<()>>();
    sent::<ResponseBody<()>>();
    shared::<RequireLayer>();
    shared::<Require<()>>();
    shared::<AddAccessTokenLayer>();
    shared::<AddAccessToken<()>>();
    awaited::<ResponseFuture<(), (), Infallible>>();
    shared::<Health>();
    shared::<CheckReport>();
    shared::<Finding>();
    shared::<Severity>();
    shared::<ProviderHealth>();
    shared::<Readiness>();
    // What handlers ask for.
    shared::<CurrentUser>();
    shared::<Admin>();
    shared::<CurrentClient>();
    shared::<AuthSession>();
    shared::<UserTokens>();
    shared::<ApiClient>();
    sent::<ApiRequest>();
    sent::<ApiResponse>();
    shared::<BackgroundTokens>();
    shared::<OwnerTokens>();
    shared::<SessionAdmin>();
    shared::<UserSession>();
    shared::<ConnectionStatus>();
    shared::<ConnectionState>();
    shared::<AccountStatus>();
    shared::<AccountState>();
    shared::<DisconnectOutcome>();
    // Nobody has a second one.
    sent::<AccessToken>();
    sent::<SingleUseToken>();
    // The configuration.
    shared::<Config>();
    shared::<Api>();
    shared::<Mode>();
    shared::<ProviderConfig>();
    shared::<RoleClaim>();
    shared::<ClaimSource>();
    shared::<Connection>();
    shared::<Resource>();
    shared::<OAuth2>();
    shared::<EmailAddresses>();
    shared::<SharedAccount>();
    shared::<ApiNaming>();
    shared::<ClientAuthMethod>();
    shared::<PrivateKey>();
    shared::<FetchUserInfo>();
    shared::<GrantLifetime>();
    shared::<PushedAuthorizationRequests>();
    shared::<ResponseMode>();
    shared::<LoginOptions>();
    shared::<Prompt>();
    shared::<VerifiedLogin>();
    shared::<LoginDecision>();
    shared::<ProviderChoice>();
    shared::<Unauthenticated>();
    shared::<Clock>();
    shared::<Random>();
    shared::<Timestamp>();
    shared::<Secret>();
    shared::<PeerAddr>();
    shared::<ApiBody>();
    shared::<Page>();
    // What happened.
    shared::<Event>();
    shared::<EventCode>();
    sent::<Error>();
    shared::<ErrorKind>();
    shared::<ConfigError>();
    shared::<DestinationError>();
    // The stores.
    shared::<MemoryStore>();
    shared::<SqliteStore>();
    shared::<PostgresStore>();
    shared::<RedisStore>();
    shared::<Record>();
    shared::<Stored>();
    shared::<Key>();
    shared::<Tag>();
    shared::<Version>();
    shared::<Change>();
    sent::<StoreError>();
    shared::<StoreErrorKind>();
    // Development and tests.
    shared::<DevProvider>();
    shared::<AccessTokenDetails>();
    shared::<ScriptedLogin>();
    sent::<DevProviderError>();
    shared::<ManualClock>();
    shared::<SignedInLayer>();
    shared::<SignedIn<()>>();
}

/// Every type that the crate's root exports stands above.
#[test]
fn no_public_type_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let lib = syn::parse_file(&fs::read_to_string(root.join("src/lib.rs")).unwrap()).unwrap();
    let here = fs::read_to_string(root.join("tests/it/public_types.rs")).unwrap();
    let mut exported = BTreeSet::new();
    for item in &lib.items {
        if let syn::Item::Use(item) = item
            && matches!(item.vis, syn::Visibility::Public(_))
        {
            names(&item.tree, &mut exported);
        }
    }
    assert!(exported.contains("OidcLayer") && exported.len() > 40, "{exported:?}");
    let traits = ["HookResponse"];
    let is_here = |name: &String| {
        traits.contains(&name.as_str())
            || ["shared", "sent", "awaited"]
                .iter()
                .any(|check| [">", "<"].iter().any(|end| here.contains(&format!("    {check}::<{name}{end}"))))
    };
    let forgotten: Vec<_> = exported.iter().filter(|name| !is_here(name)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

fn names(tree: &syn::UseTree, found: &mut BTreeSet<String>) {
    match tree {
        syn::UseTree::Path(path) => names(&path.tree, found),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| names(tree, found)),
        syn::UseTree::Name(name) => drop(found.insert(name.ident.to_string())),
        syn::UseTree::Rename(rename) => drop(found.insert(rename.rename.to_string())),
        syn::UseTree::Glob(_) => panic!("an export by name"),
    }
}
