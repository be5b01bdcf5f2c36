//! Cookies: their names, their attributes, and finding one in a request.

use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use http::{HeaderMap, Response};
use memchr::{memchr, memmem};
use tower_cookies::Cookie;
/// How a cookie travels with requests that other sites start: `Lax` with top-level navigations by GET only, `None` with
/// every request, which a `form_post` callback needs.
pub(crate) use tower_cookies::cookie::SameSite as SameSitePolicy;
use tower_cookies::cookie::time::format_description::well_known::Rfc2822;
use tower_cookies::cookie::time::{Duration as CookieDuration, OffsetDateTime};

use std::ops::Range;
use std::time::Duration;

/// Names and attributes of this application's cookies (RFC 6265bis).
#[derive(Clone, Debug)]
pub(crate) struct CookiePolicy {
    /// `__Host-tower-oidc` where the public URL is https: no subdomain and no plain-text neighbour can set it.
    prefix: String,
    /// Of the prefix: most requests hold none of our cookies, or one among many.
    finder: memmem::Finder<'static>,
    secure: bool,
}

/// The cookies that decide how an ordinary request is served.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownCookies<'a> {
    pub(crate) session: Option<&'a [u8]>,
    /// This browser could not be signed in silently a moment ago.
    pub(crate) silent: bool,
    /// What waits for one use, each from after `once-` in its name to the end of its value.
    pub(crate) once: Vec<&'a [u8]>,
    /// Somebody granted something here without signing in.
    pub(crate) visitor: Option<&'a [u8]>,
}

impl CookiePolicy {
    pub(crate) fn new(name: &str, secure: bool) -> Self {
        let prefix = if secure { format!("__Host-{name}") } else { name.to_owned() };
        let finder = memmem::Finder::new(format!("{prefix}-").as_bytes()).into_owned();
        Self { prefix, finder, secure }
    }

    /// Looks for this application's cookies in a `Cookie` header, without looking at others. All of them are put into
    /// `own`, where they are wanted.
    pub(crate) fn read<'a>(
        &self, header: &'a HeaderValue, ours: &mut KnownCookies<'a>, mut own: Option<&mut AppCookies>,
    ) {
        let (mut rest, length) = (header.as_bytes(), header.len());
        while let Some(at) = self.next(rest) {
            let before = rest[..at].trim_ascii_end();
            let starts = before.last().map_or(rest.len() == length, |last| *last == b';');
            let named = length - rest.len() + at;
            rest = &rest[at + self.finder.needle().len()..];
            if !starts {
                continue;
            }
            // Values are long, and nothing in them is looked for.
            let (pair, after) = rest.split_at(memchr(b';', rest).unwrap_or(rest.len()));
            let pair = pair.trim_ascii_end();
            rest = after;
            if let Some(own) = &mut own {
                own.found(named..named + self.finder.needle().len() + pair.len());
            }
            match pair.strip_prefix(b"session=") {
                Some(value) => ours.session = ours.session.or(Some(value)),
                None => {
                    ours.silent |= pair.starts_with(b"silent=");
                    ours.once.extend(pair.strip_prefix(b"once-"));
                    ours.visitor = ours.visitor.or(pair.strip_prefix(b"visitor="));
                }
            }
        }
        if let Some(own) = own {
            own.found_in(header);
        }
    }

    /// Where our prefix is next.
    fn next(&self, rest: &[u8]) -> Option<usize> {
        // Ours stand one after the other.
        let follows = rest.strip_prefix(b"; ").is_some_and(|rest| rest.starts_with(self.finder.needle()));
        if follows { Some(2) } else { self.finder.find(rest) }
    }

    pub(crate) fn name(&self, kind: &str) -> String {
        format!("{}-{kind}", self.prefix)
    }

    pub(crate) fn set(&self, name: &str, value: &str, max_age: Duration, cross_site: SameSitePolicy) -> HeaderValue {
        let max_age = CookieDuration::seconds(i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX));
        let cookie = Cookie::build((name, value)).path("/").http_only(true).max_age(max_age);
        // Browsers take `SameSite=None` with `Secure` only, also on loopback.
        let secure = self.secure || cross_site == SameSitePolicy::None;
        let cookie = cookie.same_site(cross_site).secure(secure);
        // Names are ours and values are base64url or empty: always a valid header.
        HeaderValue::try_from(cookie.build().to_string()).unwrap_or(HeaderValue::from_static(""))
    }

    pub(crate) fn remove(&self, name: &str, cross_site: SameSitePolicy) -> HeaderValue {
        self.set(name, "", Duration::ZERO, cross_site)
    }
}

/// This application's cookies of one request, for as long as somebody needs them.
#[derive(Default)]
pub(crate) struct AppCookies {
    headers: Vec<HeaderValue>,
    /// Of each cookie name, `=` and value: in which header, and where.
    pairs: Vec<(usize, Range<usize>)>,
}

impl AppCookies {
    pub(crate) fn of(headers: &HeaderMap, style: &CookiePolicy) -> Self {
        let mut own = Self::default();
        for header in headers.get_all(COOKIE) {
            style.read(header, &mut KnownCookies::default(), Some(&mut own));
        }
        own
    }

    /// One of the header that is being read.
    fn found(&mut self, pair: Range<usize>) {
        if self.pairs.is_empty() {
            // A session, claims, and two grants in two cookies each. Nearly all browsers send them in one header.
            self.pairs.reserve(6);
            self.headers.reserve_exact(1);
        }
        self.pairs.push((self.headers.len(), pair));
    }

    /// The header is read.
    fn found_in(&mut self, header: &HeaderValue) {
        if self.pairs.last().is_some_and(|(header, _)| *header == self.headers.len()) {
            self.headers.push(header.clone());
        }
    }

    /// Each with its name and value, in the order sent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pairs.iter().filter_map(|(header, pair)| self.headers.get(*header)?.as_bytes().get(pair.clone()))
    }
}

/// The value of the first cookie of this name, without a cookie jar and without an allocation.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    all(headers).find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
}

/// Every cookie of the request as (name, value), in the order sent.
pub(crate) fn all(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.get_all(COOKIE).iter().flat_map(|header| pairs(header.as_bytes()))
}

/// Name and value of a cookie.
pub(crate) fn pair(cookie: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = memchr(b'=', cookie)?;
    Some((&cookie[..equals], &cookie[equals + 1..]))
}

/// The cookies of one `Cookie` header.
pub(crate) fn pairs(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(|byte| *byte == b';').filter_map(|cookie| pair(cookie.trim_ascii()))
}

/// A date of HTTP (RFC 9110 section 5.6.7), in seconds since the Unix epoch.
pub(crate) fn http_date(text: &str) -> Option<u64> {
    OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp().try_into().ok()
}

/// What a `Set-Cookie` line has besides its value.
pub(crate) const LINE: usize = "set-cookie: \r\n".len();

/// Sets these, too. Says whether there are any.
pub(crate) fn append(headers: &mut HeaderMap, set: impl IntoIterator<Item = HeaderValue>) -> bool {
    let before = headers.len();
    headers.extend(set.into_iter().map(|cookie| (SET_COOKIE, cookie)));
    headers.len() > before
}

/// The answer that sets these cookies, too.
pub(crate) fn with<B>(mut answer: Response<B>, set: impl IntoIterator<Item = HeaderValue>) -> Response<B> {
    append(answer.headers_mut(), set);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(COOKIE, value);
            }
        }
        headers
    }

    #[test]
    fn the_one_cookie_is_found_among_others() {
        let headers = headers(&[b"a=1; tower-oidc-session2=no;tower-oidc-session=yes ; b", b"c=3"]);
        assert_eq!(find(&headers, "tower-oidc-session"), Some(&b"yes"[..]));
        assert_eq!(find(&headers, "c"), Some(&b"3"[..]));
        assert_eq!(find(&headers, "b"), None);
        assert_eq!(find(&headers, "session"), None);
    }

    fn ours(header: &str) -> (Option<String>, bool) {
        let mut ours = KnownCookies::default();
        let header = HeaderValue::from_str(header).unwrap();
        CookiePolicy::new("x", false).read(&header, &mut ours, None);
        (ours.session.map(|value| std::str::from_utf8(value).unwrap().to_owned()), ours.silent)
    }

    #[test]
    fn our_cookies_are_found_in_one_pass() {
        assert_eq!(
            ours("a=x-session=no; bx-session=no;x-session=yes ; x-session=late"),
            (Some("yes".to_owned()), false)
        );
        assert_eq!(ours("a=b; x-silent=1; x-sessions=no; x-session"), (None, true));
        assert_eq!(ours("x-session =no; x-silent"), (None, false));
    }

    /// The prefix `__Host-` demands `Secure`, `Path=/` and no `Domain`.
    #[test]
    fn attributes_are_those_of_a_host_cookie() {
        let style = CookiePolicy::new("tower-oidc", true);
        let set = style.set(&style.name("session"), "v", Duration::from_secs(60), SameSitePolicy::Lax);
        let expected = "__Host-tower-oidc-session=v; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60";
        assert_eq!(set, expected);
        let removed = CookiePolicy::new("x", false).remove("x-login", SameSitePolicy::None);
        assert_eq!(removed, "x-login=; HttpOnly; SameSite=None; Secure; Path=/; Max-Age=0");
        let plain = CookiePolicy::new("x", false).remove("x-login", SameSitePolicy::Lax);
        assert_eq!(plain, "x-login=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    }

    proptest! {
        /// Two readers of one header must not differ in what they see.
        #[test]
        fn one_pass_finds_what_a_full_reading_finds(raw in "([xyz=; -]|x-|x-session|x-silent|=1|; ){0,12}") {
            let headers = headers(&[raw.as_bytes()]);
            let (session, silent) = ours(&raw);
            prop_assert_eq!(session.as_deref().map(str::as_bytes), find(&headers, "x-session"));
            prop_assert_eq!(silent, find(&headers, "x-silent").is_some());
        }

        #[test]
        fn all_of_ours_are_kept_and_nothing_else(raw in prop::collection::vec("([xyz=; -]|x-|x-session|x-grant.1|=1|; ){0,12}", 0..4)) {
            let headers = headers(&raw.iter().map(String::as_bytes).collect::<Vec<_>>());
            let own = AppCookies::of(&headers, &CookiePolicy::new("x", false));
            let found: Vec<_> = all(&headers).filter(|(name, _)| name.starts_with(b"x-")).collect();
            prop_assert_eq!(own.iter().filter_map(pair).collect::<Vec<_>>(), found);
        }

        #[test]
        fn any_header_is_read_without_panic_and_found_values_hold_no_separator(raw: Vec<u8>) {
            for (name, value) in all(&headers(&[&raw])) {
                prop_assert!(!name.contains(&b';') && !name.contains(&b'=') && !value.contains(&b';'));
            }
        }
    }
}
