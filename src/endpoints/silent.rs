//! Silent logins: a browser that was asked without success is not asked again at once.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::cookie::{self, SameSitePolicy};
use crate::state::Runtime;

/// How long a browser that could not be signed in silently is not asked again.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether this browser could not be signed in silently a moment ago, or has signed out.
pub(crate) fn was_silent(runtime: &Runtime, headers: &HeaderMap) -> bool {
    cookie::find(headers, &runtime.settings.cookies.name("silent")).is_some()
}

/// Keeps a browser from being asked silently again and again.
pub(crate) fn silence(runtime: &Runtime) -> HeaderValue {
    let cookies = &runtime.settings.cookies;
    cookies.set(&cookies.name("silent"), "1", SILENCE, SameSitePolicy::Lax)
}

/// Lets it be asked again.
pub(crate) fn removal(runtime: &Runtime) -> HeaderValue {
    let cookies = &runtime.settings.cookies;
    cookies.remove(&cookies.name("silent"), SameSitePolicy::Lax)
}
