//! The list of lies under each preset: what the dialect touches, and twenty of the others. `TOWER_OIDC_TEST_SEED` draws the
//! same twenty again.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tower_oidc::{Config, FetchUserInfo, Resource};

use super::{endpoints, id_token, keys, walk_in};
use crate::support::app::{API, World, of_preset};
use crate::support::provider::lies::{CLAIMS, DISCOVERY, KEY_SET, Lie, SIGNATURE, TEXT, TOKENS, USERINFO, Verdict};
use crate::support::provider::{ApiNaming, Settings};

type Tables = &'static [&'static [Lie]];

/// The tables that [`super::walk`] understands.
const ALL: Tables = &[CLAIMS, SIGNATURE, TEXT, DISCOVERY, KEY_SET, TOKENS, USERINFO];
const DRAWN: usize = 20;

fn is_in(tables: Tables, lie: &Lie) -> bool {
    tables.iter().any(|table| table.iter().any(|one| one.name == lie.name))
}

fn status(lie: &str) -> u16 {
    let lie_is = |table: &[Lie]| table.iter().any(|one| one.name == lie);
    match () {
        () if lie_is(DISCOVERY) => 503,
        () if lie_is(KEY_SET) => keys::status(lie),
        () if lie_is(TOKENS) || lie_is(USERINFO) => endpoints::status(lie),
        () => id_token::status(lie),
    }
}

fn seed() -> u64 {
    let given = std::env::var("TOWER_OIDC_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    given.unwrap_or_else(now)
}

/// So many lies that are in none of these tables.
fn drawn(touched: Tables, mut seed: u64) -> Vec<Lie> {
    let mut rest: Vec<_> = ALL.iter().flat_map(|table| table.iter()).filter(|lie| !is_in(touched, lie)).collect();
    let mut draw = || {
        // Knuth's multiplier; the low bits repeat soon.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *rest.swap_remove((seed >> 33) as usize % rest.len())
    };
    (0..DRAWN).map(|_| draw()).collect()
}

/// `accepted` are the lies that the dialect accepts where the default refuses them.
async fn walk(preset: &str, touched: Tables, accepted: &[&str], set: impl Fn(&mut Settings)) {
    let seed = seed();
    println!("{preset}: TOWER_OIDC_TEST_SEED={seed}");
    let lies = touched.iter().flat_map(|table| table.iter().copied()).chain(drawn(touched, seed));
    let lies = lies.map(|mut lie| {
        let is_relaxed = accepted.contains(&lie.name);
        lie.verdict = if is_relaxed { Verdict::Accepted } else { lie.verdict };
        lie
    });
    let (of_user_info, others): (Vec<_>, Vec<_>) = lies.partition(|lie| is_in(&[USERINFO], lie));
    for (lies, asked) in [(others, FetchUserInfo::WhenNeeded), (of_user_info, FetchUserInfo::Always)] {
        let edit = |config: Config| {
            let api = Resource::new("cal", format!("{API}/cal/")).scope("api://cal/read").indicator("api://cal");
            let mut config = of_preset(preset, config);
            (config.provider.resources, config.provider.fetch_user_info) = (vec![api], asked);
            config
        };
        let world = || {
            let world = World::with(edit);
            world.op.set(&set);
            world
        };
        walk_in(&lies, world, status).await;
    }
}

#[tokio::test]
async fn at_google() {
    walk("google", &[TOKENS], &[], |settings| {
        (settings.refresh_token_once, settings.needs_access_type, settings.end_session) = (true, true, false);
    })
    .await;
}

#[tokio::test]
async fn at_auth0() {
    let naming = ApiNaming::Audience { several: true };
    walk("auth0", &[TOKENS], &[], |settings| settings.api_naming = naming).await;
}

#[tokio::test]
async fn at_entra() {
    walk("entra", &[TOKENS], &[], |settings| settings.api_naming = ApiNaming::Scope).await;
}

/// Its groups are in ID tokens, its logout is in the metadata.
#[tokio::test]
async fn at_cognito() {
    walk("cognito", &[CLAIMS, DISCOVERY], &[], |settings| settings.logout_parameter = "logout_uri").await;
}

/// Its roles are in access tokens.
#[tokio::test]
async fn at_keycloak() {
    let claims = json!({ "aud": "account", "typ": "Bearer", "realm_access": { "roles": ["editor"] } });
    walk("keycloak", &[TOKENS], &[], |settings| settings.access_jwt = Some(claims.clone())).await;
}

/// The relaxation accepts what it names and no other lie.
#[tokio::test]
async fn at_zitadel() {
    walk("zitadel", &[CLAIMS], &["aud with another, azp us"], |_| ()).await;
}
