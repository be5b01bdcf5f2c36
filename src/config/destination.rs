//! Destinations after login and logout: resolved once, and never outside this application.

use url::{Origin, Url};

use crate::error::DestinationError;

/// The most bytes of a destination.
pub(crate) const MAX_DESTINATION: usize = 2048;

/// A destination that was checked: path, query and fragment on the public origin, to the byte as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination(String);

impl Destination {
    /// Accepts a path of the public origin, or a URL of it. An empty one is the public URL itself.
    ///
    /// What is checked is what is sent: the bytes after the origin are kept, so that nothing is parsed,
    /// normalised and then rebuilt into something else.
    pub(crate) fn parse(given: &str, public_url: &Url) -> Result<Self, DestinationError> {
        if given.len() > MAX_DESTINATION {
            return Err(DestinationError::TooLong { length: given.len() });
        }
        let given = if given.is_empty() { public_url.path() } else { given };
        // Browsers drop tabs and line breaks, and read a backslash in a path as a slash: none of them may come near a
        // Location header. (Behind `?` or `#` it is a backslash.) Spaces, and what is no ASCII in a path, are the caller's to
        // encode.
        let path = given.split(['?', '#']).next().unwrap_or_default();
        let is_odd = given.bytes().any(|byte| byte <= b' ' || byte == 0x7f) || path.contains('\\') || !path.is_ascii();
        // Whoever decodes a path on the way, and there are proxies that do, would break a header with encoded ones.
        if is_odd || has_encoded_control(path) {
            return Err(DestinationError::NotAllowed);
        }
        let given = &encoded(given)?;
        let resolved = public_url.join(given).map_err(|_| DestinationError::NotAllowed)?;
        let path = if given.starts_with('/') { given } else { after_origin(given, &public_url.origin())? };
        let stays = resolved.origin() == public_url.origin() && !resolved.authority().contains('@');
        // `//host` is another origin, and `/x/..//host` becomes it in whatever resolves a second time.
        if !stays || path.starts_with("//") || resolved.path().starts_with("//") {
            return Err(DestinationError::NotAllowed);
        }
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// As browsers send what is no ASCII (WHATWG URL, percent-encode sets).
fn encoded(given: &str) -> Result<String, DestinationError> {
    let encode = |byte: u8| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let encoded: String = given.bytes().map(encode).collect();
    match encoded.len() {
        length if length > MAX_DESTINATION => Err(DestinationError::TooLong { length }),
        _ => Ok(encoded),
    }
}

/// `%00` to `%1f`, and `%7f`.
pub(crate) fn has_encoded_control(path: &str) -> bool {
    path.as_bytes().windows(3).any(|encoded| match encoded {
        [b'%', b'0' | b'1', low] => low.is_ascii_hexdigit(),
        encoded => encoded.eq_ignore_ascii_case(b"%7f"),
    })
}

/// The part after the origin of an absolute URL that spells the origin exactly.
fn after_origin<'a>(given: &'a str, origin: &Origin) -> Result<&'a str, DestinationError> {
    let spelled = origin.ascii_serialization();
    match given.strip_prefix(&spelled) {
        Some("") => Ok("/"),
        Some(rest) if rest.starts_with('/') => Ok(rest),
        _ => Err(DestinationError::NotAllowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(given: &str) -> Result<String, DestinationError> {
        let public_url = Url::parse("https://app.test").unwrap();
        Destination::parse(given, &public_url).map(|destination| destination.0)
    }

    #[test]
    fn paths_of_this_application_keep_their_bytes() {
        for given in ["/", "/a?x=1%262", "/a/../b", "/%2f%2fevil.test", "/a#frag", "/?q=https://evil.test/", "/?%0a"] {
            assert_eq!(parse(given).as_deref(), Ok(given));
        }
        for (given, kept) in [("/a?p=c:\\dir", "/a?p=c:\\dir"), ("/s?q=ü", "/s?q=%C3%BC"), ("/a#ü", "/a#%C3%BC")] {
            assert_eq!(parse(given).as_deref(), Ok(kept));
        }
        assert_eq!(parse("https://app.test/a?b").as_deref(), Ok("/a?b"));
        assert_eq!(parse("https://app.test").as_deref(), Ok("/"));
        assert_eq!(parse("").as_deref(), Ok("/"));
        let mounted = Url::parse("https://app.test/mount").unwrap();
        assert_eq!(Destination::parse("", &mounted).map(|d| d.0).as_deref(), Ok("/mount"));
    }

    #[test]
    fn whatever_leaves_the_origin_is_refused() {
        for given in [
            "https://evil.test/",
            "//evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "/%0d%0aX:1",
            "/x%7Fy",
            "javascript:1",
            "https://app.test@evil.test/",
            "https://app.test.evil.test/",
            "http://app.test/",
            "https://app.test:8443/",
            "/\t/evil.test",
            "/\n/evil.test",
            "\t//evil.test",
            " //evil.test",
            "///evil.test",
            "/a/..//evil.test",
            "/.//evil.test",
            "https:/evil.test",
            "https:evil.test",
            "https:///evil.test",
            "//app.test/",
            "/\u{a0}/x",
            "/\u{2215}evil",
            "/ü",
            "https://user@app.test/",
            "https://app.test\\@evil.test/",
            "a",
            "?x",
            "#x",
            "HTTPS://app.test/",
            "data:text/html,x",
            "https://app.test:443@evil.test/",
            "https://app.test?x",
            "/%2e//x",
        ] {
            assert_eq!(parse(given), Err(DestinationError::NotAllowed), "{given:?}");
        }
    }

    #[test]
    fn more_than_the_limit_is_too_long() {
        let limit = format!("/{}", "a".repeat(MAX_DESTINATION - 1));
        assert!(parse(&limit).is_ok());
        let length = MAX_DESTINATION + 1;
        assert_eq!(parse(&format!("{limit}a")), Err(DestinationError::TooLong { length }));
    }

    proptest! {
        /// Validated-then-rebuilt (CVE-2026-107369): whatever passes, however often it is resolved, stays.
        #[test]
        fn what_passes_stays_on_the_origin(given in "[/\\\\.:@?#%a-z0-9\t\n _-]{0,24}|https?:[/\\\\]{0,3}(app\\.test|evil)?[/\\\\@:.a-z?#]{0,12}") {
            let base = Url::parse("https://app.test/deep/page").unwrap();
            if let Ok(destination) = parse(&given) {
                let once = base.join(&destination).unwrap();
                prop_assert_eq!(once.origin(), base.origin());
                let twice = base.join(&once[url::Position::BeforePath..]).unwrap();
                prop_assert_eq!(twice.origin(), base.origin());
            }
        }
    }
}
