//! Several providers: to sign in at, and for connections.
//!
//! `https://op.test` is the first, called `default`; `https://op2.test` is `work`. Both know an alice with the subject
//! `a1`, and we are the same client at both, so that nothing but the issuer, its keys and its addresses tells the
//! answers of one from those of the other.

mod admins;
mod choosing;
mod connections;
mod internal_url;
mod mix_up;
pub(crate) mod real;
mod sessions;
mod stateless;
mod tenants;

use tower_oidc::{Config, ProviderConfig, Resource};
use url::Url;

use crate::support::app::{API, APP, OP2, World};
use crate::support::browser::{Browser, Page};
use crate::support::params::Params;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};

/// The second provider, for a login too.
fn work() -> ProviderConfig {
    ProviderConfig::new(OP2, CLIENT_ID).client_secret(CLIENT_SECRET).name("work").display_name("Work & <Sons>")
}

/// Two providers to sign in at. Tokens of either go to `https://api.test/both/`, those of `work` to
/// `https://api.test/work/`.
fn two_logins() -> World {
    two_logins_with(|config| config, |work| work)
}

fn two_logins_with(
    edit: impl FnOnce(Config) -> Config, edit_work: impl FnOnce(ProviderConfig) -> ProviderConfig,
) -> World {
    World::with(|config| {
        let both = Resource::new("both", format!("{API}/both/"));
        let work = work().resource(both.clone()).resource(Resource::new("work", format!("{API}/work/")));
        edit(config.resource(both).add_provider(edit_work(work)))
    })
}

/// A login at a provider, or without one.
fn login_at(provider: &str, to: &str) -> String {
    let parameters: Params = [("return_to", to), ("provider", provider)].into_iter().collect();
    parameters.append_to(&format!("{APP}/auth/login"))
}

/// Signs somebody in at a provider.
async fn sign_in(browser: &Browser, op: &LyingProvider, provider: &str, user: &str) -> Page {
    op.sign_in_as(user);
    let page = browser.visit(&login_at(provider, "/who")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.json()["issuer"], op.issuer(), "{}", page.text());
    page
}

/// Goes to the provider and stops before the callback, whose address it returns.
async fn callback_of(browser: &Browser, start: &str) -> Url {
    let sent = browser.step(start).await;
    let back = browser.follow(&sent).await;
    let callback = back.location().unwrap_or_else(|| panic!("no way back: {} {}", back.status, back.text()));
    Url::parse(callback).expect("a URL")
}

/// The same answer at another path, with other parameters.
fn moved(callback: &Url, path: &str, edit: impl FnOnce(&mut Params)) -> String {
    let mut parameters = Params::parse(callback.query().unwrap_or_default());
    edit(&mut parameters);
    parameters.append_to(&format!("{APP}{path}"))
}

/// Nobody was asked to exchange anything.
fn assert_no_exchange(world: &World, case: &str) {
    for op in [&world.op, &world.op2] {
        assert_eq!(op.token_requests().len(), 0, "{case}: at {}", op.issuer());
    }
}
