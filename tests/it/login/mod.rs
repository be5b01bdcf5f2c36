//! A person signs in.
//!
//! What does not apply, or belongs elsewhere:
//!
//! | what | reason |
//! |---|---|
//! | a fingerprint of the user agent | The state is not tied to a user agent's fingerprint: it is sealed into a cookie of that browser, and a thief of the cookie copies the headers as well. |
//! | several providers | With several providers: `providers::mix_up`. What binds a login to its registration is tested here already (another client's login is not ours). |
//! | other flows | Code flow only: there is no `token` that could be missing; unexpected ones are refused here. |
//! | `client_id` in the response | No final standard has a `client_id` in the response; RFC 9207's `iss` took its place. It is ignored like any unknown parameter. |
//! | a redirect URI from a request | The redirect URI is made of the configuration. Nothing in a request changes it; where there are several providers: `providers::mix_up`. |
//! | `prompt=none` | `prompt=none` signs in whoever is at the provider and renews no session, so nobody can have changed. Where nobody is there: `options`. |
//! | endpoints that are not https | Refused at construction: `settings::tests`, and for each endpoint in the tests of the metadata. |
//! | login initiated elsewhere | `initiated`. A link from elsewhere to `/auth/login` is one to this provider alone, its unknown parameters are ignored and its destination is checked: `request`, `destinations`. |
//! | JARM | JARM is not asked for, so a `response` is refused. |

mod callback;
mod claims;
mod destinations;
mod hooks;
mod initiated;
mod load;
mod names;
mod offline_access;
mod options;
mod outage;
mod parameters;
mod request;
mod responses;
mod sign_up;
mod tabs;
mod user_info;

use url::{Position, Url};

use crate::support::app::{APP, OP, World};
use crate::support::browser::{Browser, Page};
use crate::support::params::Params;

const SESSION: &str = "__Host-tower-oidc-session";
const PENDING: &str = "__Host-tower-oidc-login-";
const SILENT: &str = "__Host-tower-oidc-silent";

/// The address that starts a login and ends at `to`.
fn login(to: &str) -> String {
    login_with(to, &[])
}

fn login_with(to: &str, more: &[(&str, &str)]) -> String {
    let parameters: Params = [("return_to", to)].iter().chain(more).copied().collect();
    parameters.append_to(&format!("{APP}/auth/login"))
}

/// Goes to the provider and stops before the callback, whose address it returns.
async fn callback_of(browser: &Browser, login: &str) -> String {
    let sent = browser.step(login).await;
    let back = browser.follow(&sent).await;
    let callback = back.location().unwrap_or_else(|| panic!("no way back: {} {}", back.status, back.text()));
    assert!(callback.starts_with(&format!("{APP}/auth/callback?")), "{callback}");
    callback.to_owned()
}

/// The same address with other parameters.
fn edited(callback: &str, edit: impl FnOnce(&mut Params)) -> String {
    let url = Url::parse(callback).unwrap();
    let mut parameters = Params::parse(url.query().unwrap_or_default());
    edit(&mut parameters);
    parameters.append_to(&url[..Position::AfterPath])
}

/// The value of the session's cookie.
fn session(browser: &Browser) -> Option<String> {
    browser.cookie(SESSION).map(|cookie| cookie.value)
}

/// The cookies of logins under way.
fn pending(browser: &Browser) -> Vec<String> {
    let names = browser.cookies().into_iter().map(|cookie| cookie.name);
    names.filter(|name| name.starts_with(PENDING)).collect()
}

async fn who(browser: &Browser) -> Option<String> {
    let who = browser.new_tab().navigate(&format!("{APP}/who")).await.json();
    who["sub"].as_str().map(str::to_owned)
}

/// What a login that fails must not have moved.
#[derive(Debug, PartialEq)]
struct Untouched {
    rows: u64,
    exchanges: usize,
}

impl Untouched {
    fn now(world: &World) -> Self {
        Self { rows: world.app.store.len(), exchanges: world.op.code_exchanges().len() }
    }
}

/// A page for a person, with this status, that makes nobody signed in and keeps nothing.
fn assert_refused(browser: &Browser, page: &Page, status: u16, why: &str) {
    assert_eq!(page.status.as_u16(), status, "{why}: {} {}", page.url, page.text());
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{why}");
    assert!(browser.cookie(SESSION).is_none(), "{why}: a session cookie");
}

/// The whole way: sign in, be known, call the API, sign out.
#[tokio::test]
async fn a_person_signs_in_calls_an_api_and_signs_out() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let who = browser.navigate(&format!("{APP}/who")).await.json();
    assert_eq!((who["sub"].as_str(), who["issuer"].as_str()), (Some("a1"), Some(OP)));
    let fetched = browser.navigate(&format!("{APP}/fetch?u=https://api.test/cal/x")).await;
    assert_eq!(
        (fetched.status.as_u16(), fetched.json()["owner"].as_str().map(str::to_owned)),
        (200, Some("alice".into())),
        "{}",
        fetched.text()
    );
    let links = browser.navigate(&format!("{APP}/links?to=/bye")).await.json();
    let out = browser.visit(&format!("{APP}{}", links["logout"]["ok"].as_str().unwrap())).await;
    assert_eq!(out.url.as_str(), "https://app.test/bye");
    assert_eq!(browser.navigate(&format!("{APP}/who")).await.text(), "null");
}
