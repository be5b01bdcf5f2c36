//! The resources at one provider, checked: which connection's token may go to which URL.

use std::sync::Arc;

use url::{Position, Url};

use super::connection::Resource;
use super::destination::has_encoded_control;
use crate::error::{Error, ErrorKind};
use crate::protocol::metadata::is_secure;

/// Where the token of a URL comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourceRoute {
    /// The resource: a token for one is not for another, though it may be the same token.
    pub(crate) resource: String,
    pub(crate) connection: String,
    pub(crate) indicator: Option<String>,
    /// The scopes with which a token for the resource is requested, if the resource has tokens of its own.
    pub(crate) scopes: Vec<String>,
}

/// The registered resources, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    /// Where the tokens of each come from.
    routes: Vec<Arc<ResourceRoute>>,
    /// Longest path first, so that the first that covers a URL is the one.
    prefixes: Vec<(Url, Arc<ResourceRoute>)>,
}

impl Resources {
    /// Checks every prefix and says of each problem what it is.
    pub(crate) fn check(resources: &[(&str, &Resource)], problems: &mut Vec<String>) -> Self {
        let (mut routes, mut prefixes) = (Vec::<Arc<ResourceRoute>>::new(), Vec::<(Url, _)>::new());
        for (connection, resource) in resources {
            let name = &resource.name;
            let route = Arc::new(ResourceRoute {
                resource: name.clone(),
                connection: (*connection).to_owned(),
                indicator: resource.indicator.clone(),
                scopes: resource.scopes.clone(),
            });
            if routes.iter().any(|other| other.resource == *name) {
                problems.push(format!("two resources have the name {name:?}: give each its own name"));
            }
            if resource.url_prefixes.is_empty() {
                problems.push(format!(
                    "resource {name:?} has no URL prefix: add one, because its tokens are sent to registered URLs only"
                ));
            }
            for prefix in &resource.url_prefixes {
                match parse(prefix) {
                    Some(url) if url.query().is_none() && url.fragment().is_none() => {
                        let parts = |url: &Url| (url.origin(), url.path().trim_end_matches('/').to_owned());
                        if prefixes.iter().any(|(other, _)| parts(other) == parts(&url)) {
                            problems.push(format!("two resources cover {prefix:?}: remove one, or make one longer"));
                        }
                        prefixes.push((url, Arc::clone(&route)));
                    }
                    _ => problems.push(format!(
                        "resource {name:?} has the prefix {prefix:?}: use an https URL (http on loopback) without \
                         user, query, fragment, backslash or encoded slash"
                    )),
                }
            }
            routes.push(route);
        }
        prefixes.sort_by_key(|(url, _)| std::cmp::Reverse(url.path().trim_end_matches('/').len()));
        Self { routes, prefixes }
    }

    /// Where the token comes from of the resource that covers this URL.
    pub(crate) fn covering(&self, url: &Url) -> Option<&Arc<ResourceRoute>> {
        self.prefixes.iter().find(|(prefix, _)| covers(prefix, url)).map(|(_, source)| source)
    }

    /// The error for a URL that no resource covers whose tokens may go there. The query is left out.
    pub(crate) fn none_covers(&self, url: &Url) -> Error {
        let known: Vec<_> = self.prefixes.iter().map(|(prefix, _)| prefix.as_str()).collect();
        let (url, known) = (&url[..Position::AfterPath], known.join(", "));
        let message = format!("no registered resource covers {url}: no token goes there (registered are: {known})");
        Error::new(ErrorKind::NoTokenForUrl, message)
    }

    /// The same for a URL that is spelled as its prefix is and goes on with nothing that parsers change: most do, and
    /// parsing costs more than all the rest. `None` where only [`covering`](Self::covering) knows.
    pub(crate) fn covering_plain(&self, given: &str) -> Option<&Arc<ResourceRoute>> {
        let mut prefixes = self.prefixes.iter();
        prefixes.find(|(prefix, _)| is_plainly_below(prefix.as_str(), given)).map(|(_, source)| source)
    }

    /// Where the tokens of each resource of a connection come from.
    pub(crate) fn of<'a>(&'a self, connection: &'a str) -> impl Iterator<Item = &'a ResourceRoute> {
        self.routes.iter().map(|source| &**source).filter(move |source| source.connection == connection)
    }

    /// The same of the resource of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<ResourceRoute>> {
        self.routes.iter().find(|source| source.resource == name)
    }
}

/// The one parser of URLs that tokens may go to. What it returns is what is compared and what is called.
pub(crate) fn parse(given: &str) -> Option<Url> {
    // The WHATWG parser forgives these; a server behind it may read them otherwise.
    if given.bytes().any(|byte| byte <= b' ' || byte == b'\\' || byte == 0x7f) {
        return None;
    }
    let url = Url::parse(given).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && !given_userinfo(given);
    (is_secure(&url) && plain && !is_ambiguous(url.path())).then_some(url)
}

/// Whether a server may find another path in this one: it decodes slashes, decodes twice, drops control characters, reads
/// spellings of a dot that are too long for UTF-8, or drops what follows a semicolon.
fn is_ambiguous(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let mut encoded = lower.split('%').skip(1);
    let is_hex = |text: &str| text.len() >= 2 && text.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let mut after = lower.split("%25").skip(1);
    let climbs = |segment: &str| {
        let name = segment.replace("%2e", ".").replace("%3b", ";");
        matches!(name.split_once(';'), Some(("." | "..", _)))
    };
    has_encoded_control(&lower)
        || encoded.any(|text| !is_hex(text) || ["2f", "5c", "c0", "c1"].iter().any(|byte| text.starts_with(byte)))
        || ["%e0%8", "%e0%9", "%f0%8"].iter().any(|long| lower.contains(long))
        || after.any(is_hex)
        || lower.split('/').any(climbs)
}

/// Whether a parser would leave this as it is, below this prefix.
fn is_plainly_below(prefix: &str, given: &str) -> bool {
    let Some(rest) = given.strip_prefix(prefix) else { return false };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let at_segment = prefix.ends_with('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    // A segment that begins with a dot may mean the one above.
    let climbs = path.contains("/.") || (at_segment && path.starts_with('.'));
    let query_is_plain = query.bytes().all(|byte| plain(byte) || b"%&=+:,;@".contains(&byte));
    (at_segment || path.is_empty() || path.starts_with('/')) && path.bytes().all(plain) && !climbs && query_is_plain
}

/// `https://@host/`: an empty user part, which the parser drops.
fn given_userinfo(given: &str) -> bool {
    let authority = given.split("//").nth(1).unwrap_or_default();
    authority.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

pub(crate) fn covers(prefix: &Url, url: &Url) -> bool {
    // A prefix that ends in a slash covers what is below it only.
    let at_segment = prefix.path().ends_with('/');
    let rest = url.path().strip_prefix(prefix.path());
    let below = rest.is_some_and(|rest| at_segment || rest.is_empty() || rest.starts_with('/'));
    let same_origin = prefix.scheme() == url.scheme()
        && prefix.host() == url.host()
        && prefix.port_or_known_default() == url.port_or_known_default();
    same_origin && below
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resources(prefixes: &[&str]) -> Result<Resources, Vec<String>> {
        let mut problems = Vec::new();
        let list: Vec<_> = prefixes.iter().map(|prefix| Resource::new(*prefix, *prefix)).collect();
        let list: Vec<_> = list.iter().map(|resource| ("login", resource)).collect();
        let checked = Resources::check(&list, &mut problems);
        if problems.is_empty() { Ok(checked) } else { Err(problems) }
    }

    fn covering(resources: &Resources, url: &str) -> Option<String> {
        parse(url).and_then(|url| resources.covering(&url).map(|source| source.resource.clone()))
    }

    #[test]
    fn a_url_matches_on_exact_origin_and_segment_boundary() {
        let cal = resources(&["https://api.test/cal/"]).unwrap();
        for inside in ["/cal/x?y", "/cal/", "/cal/a/../b", "/cal/%2e%2e/cal/", "/cal//x"] {
            assert!(covering(&cal, &format!("https://api.test{inside}")).is_some(), "{inside}");
        }
        assert!(covering(&cal, "https://api.test:443/cal/x").is_some(), "the default port is no port");
        assert!(covering(&cal, "https://API.test/cal/x").is_some(), "hosts have no case");
        for outside in [
            "https://api.test/calendar",
            "https://api.test/cal",
            "https://api.test/cal/../mail",
            "https://api.test/cal/%2e%2e/mail",
            "https://api.test/cal/.%2E/mail",
            "http://api.test/cal/x",
            "https://api.test:8443/cal/",
            "https://api.test.evil.test/cal/",
            "https://api.test:443@evil.test/cal/",
            "https://user@api.test/cal/",
            "https://@api.test/cal/",
            "https://api.test/cal/..%2fmail",
            "https://api.test/cal/%2F..%2Fmail",
            "https://api.test/cal\\..\\mail",
            "https://api.test/cal/..%5cmail",
            "https:\\\\api.test/cal/",
            "https://api.test/CAL/x",
            "https://api.test./cal/",
            "//api.test/cal/",
            "ftp://api.test/cal/",
            "https://api.test/\tcal/",
            " https://api.test/cal/",
            "https://api.test%2fcal/",
        ] {
            assert_eq!(covering(&cal, outside), None, "{outside}");
        }
    }

    #[test]
    fn a_path_that_a_server_may_read_otherwise_is_below_no_resource() {
        let cal = resources(&["https://api.test/cal/"]).unwrap();
        for climbing in [
            "..;/mail",
            "..;x=1/mail",
            ".;/x",
            "..%3b/mail",
            "..%3B",
            "%2e%2e;/mail",
            ".%2E%3bx/mail",
            "%252e%252e/mail",
            "%252E%252e%252fmail",
            "x%2500",
            ".%00./mail",
            "..%09/mail",
            "..%0d%0a",
            "..%7f/mail",
            "%c0%ae%c0%ae/mail",
            "%C0%AE/",
            "%e0%80%ae%e0%80%ae/mail",
            "%f0%80%80%ae/mail",
            "%u002e%u002e/mail",
            "100%/x",
        ] {
            assert_eq!(covering(&cal, &format!("https://api.test/cal/{climbing}")), None, "{climbing}");
        }
        for plain in [
            "a;b",
            "x;v=1/y",
            "...;x",
            ".well-known;x",
            "v1..2;x",
            "100%25",
            "%25zz/x",
            "a%20b",
            "caf%C3%A9",
            "%E2%82%AC",
            "%F0%9F%98%80",
            "a?u=..;/%252e%252e%00",
            "%2eplain",
            "x%3by",
        ] {
            assert!(covering(&cal, &format!("https://api.test/cal/{plain}")).is_some(), "{plain}");
        }
    }

    #[test]
    fn a_prefix_without_a_slash_covers_itself() {
        let cal = resources(&["https://api.test/cal"]).unwrap();
        for (url, inside) in [("/cal", true), ("/cal?x", true), ("/cal/x", true), ("/calx", false), ("/ca", false)] {
            assert_eq!(covering(&cal, &format!("https://api.test{url}")).is_some(), inside, "{url}");
        }
    }

    #[test]
    fn the_longest_prefix_wins_in_any_order() {
        let [all, cal] = ["https://api.test/", "https://api.test/cal/"];
        for order in [[all, cal], [cal, all]] {
            let both = resources(&order).unwrap();
            assert_eq!(covering(&both, "https://api.test/cal/x").as_deref(), Some(cal));
            assert_eq!(covering(&both, "https://api.test/mail").as_deref(), Some(all));
        }
    }

    #[test]
    fn the_same_prefix_twice_and_unusable_prefixes_are_problems() {
        assert!(resources(&["https://api.test/cal", "https://api.test:443/cal/"]).is_err());
        for unusable in
            ["http://api.test/", "api.test", "https://u@api.test/", "https://api.test/?q", "https://api.test/#f"]
        {
            assert!(resources(&[unusable]).is_err(), "{unusable}");
        }
        assert!(resources(&["http://127.0.0.1:9/x"]).is_ok());
    }

    proptest! {
        /// Reading less must find the same.
        #[test]
        fn the_plain_way_finds_what_parsing_finds(
            prefix in prop::sample::select(vec!["", "/", "/cal", "/cal/", "/cal/v1.2", "/CAL", "/cal//", "/mail", "s"]),
            rest in "(/|\\.|\\.\\.|cal|v1\\.2|x|\\?|#|%2e|%2F|@|:|;|=|A|~|\\\\| |é){0,6}",
        ) {
            let all = ["https://api.test", "https://api.test/cal", "https://api.test/cal/", "https://api.test/cal//", "https://api.test/cal/v1.2/"];
            let all = [&all[..1], &all[1..2], &all[2..], &all[..2], &all[..]];
            for prefixes in all.iter().filter_map(|prefixes| resources(prefixes).ok()) {
                let given = format!("https://api.test{prefix}{rest}");
                if let Some(found) = prefixes.covering_plain(&given) {
                    let parsed = parse(&given).unwrap();
                    prop_assert_eq!(Some(found), prefixes.covering(&parsed), "{}", given);
                    prop_assert_eq!(parsed.as_str(), given);
                }
            }
        }

        /// Whatever is spelled, what is covered is what is called: the parsed URL's own origin and path.
        #[test]
        fn nothing_spelled_leaves_the_prefix(rest in "[/\\\\.@:%a-z0-9?#]{0,24}") {
            let cal = resources(&["https://api.test/cal/"]).unwrap();
            for given in [format!("https://api.test/cal/{rest}"), format!("https://api.test{rest}")] {
                if let Some(url) = parse(&given)
                    && cal.covering(&url).is_some()
                {
                    let again = Url::parse(url.as_str()).unwrap();
                    prop_assert_eq!(again.host_str(), Some("api.test"));
                    prop_assert!(again.path().starts_with("/cal/"));
                }
            }
        }
    }
}
