//! Sealed texts in cookies: from a request's, and into an answer's.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use super::cookie_chunks::{self, ChunkedValue, LARGEST};
use super::seal::{AssociatedData, KeyRing, Opened, Purpose, SealError};
use crate::clock::{Random, Timestamp};
use crate::cookie::{CookiePolicy, SameSitePolicy};

/// The longest lifetime that browsers give a cookie (RFC 6265bis section 5.5).
const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// A text's place: what it is for, its first cookie's name, and whose it is.
#[derive(Debug)]
pub(crate) struct CookieBinding {
    pub(crate) purpose: Purpose,
    pub(crate) name: String,
    /// Empty where the name says enough.
    pub(crate) owner: Vec<u8>,
}

impl CookieBinding {
    pub(crate) fn open(&self, keys: &KeyRing, text: &ChunkedValue<'_>) -> Result<Opened, SealError> {
        let sealed = URL_SAFE_NO_PAD.decode(text.whole()).map_err(|_| SealError::Broken)?;
        keys.open(self.bound(&self.counted(text.count)), &sealed)
    }

    /// The cookies that carry these contents until then; `None` where they are too many.
    pub(crate) fn seal(
        &self, keys: &KeyRing, style: &CookiePolicy, random: &Random, (now, expires_at): (Timestamp, Timestamp),
        contents: &[u8],
    ) -> Option<Vec<SealedCookie>> {
        let max_age = expires_at.duration_since(now).min(LONGEST);
        let set = |name: &str, value: &str| style.set(name, value, max_age, SameSitePolicy::Lax);
        // The last one's name is the longest.
        let room = LARGEST.checked_sub(set(&cookie_chunks::name(&self.name, 1), "").len())?;
        let length = (KeyRing::sealed_length(contents.len()) * 4).div_ceil(3);
        let count = cookie_chunks::count(length, room)?;
        let sealed = keys.seal(self.bound(&self.counted(count)), expires_at, contents, random);
        let values = cookie_chunks::split(&URL_SAFE_NO_PAD.encode(sealed), count, room);
        let cookies = values.iter().enumerate().map(|(position, value)| {
            let name = cookie_chunks::name(&self.name, position);
            SealedCookie { header: set(&name, value), sent: name.len() + value.len() + "=; ".len() }
        });
        Some(cookies.collect())
    }

    fn counted(&self, count: usize) -> String {
        format!("{}/{count}", self.name)
    }

    fn bound<'b>(&'b self, name: &'b str) -> AssociatedData<'b> {
        AssociatedData { purpose: self.purpose, name: name.as_bytes(), owner: &self.owner }
    }
}

/// One cookie to be set.
#[derive(Debug)]
pub(crate) struct SealedCookie {
    pub(crate) header: HeaderValue,
    /// Its bytes in each request that carries it.
    pub(crate) sent: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn place(name: &str, owner: &[u8]) -> CookieBinding {
        CookieBinding { purpose: Purpose::GrantPayload, name: name.to_owned(), owner: owner.to_vec() }
    }

    fn ring() -> KeyRing {
        KeyRing::new(&["one".into()], b"app")
    }

    /// Name and value of each cookie.
    fn seal(place: &CookieBinding, contents: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let until = NOW.saturating_add(Duration::from_secs(60));
        let style = CookiePolicy::new("x", true);
        let sealed = place.seal(&ring(), &style, &Random::system(), (NOW, until), contents).unwrap();
        let pairs = sealed.iter().map(|cookie| {
            let header = cookie.header.as_bytes();
            assert!(header.len() <= LARGEST);
            let pair = header.split(|byte| *byte == b';').next().unwrap();
            assert_eq!(pair.len() + 2, cookie.sent);
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap();
            (pair[..equals].to_vec(), pair[equals + 1..].to_vec())
        });
        pairs.collect()
    }

    fn open(place: &CookieBinding, cookies: &[(Vec<u8>, Vec<u8>)]) -> Option<Vec<u8>> {
        let whole: Vec<Vec<u8>> = cookies.iter().map(|(name, value)| [name, &b"="[..], value].concat()).collect();
        let text = cookie_chunks::find(&place.name, whole.iter().map(Vec::as_slice))?;
        Some(place.open(&ring(), &text).ok()?.contents)
    }

    #[test]
    fn what_was_sealed_opens_under_its_name_for_its_owner() {
        for length in [0, 1, 2_900, 3_000, 9_000, 20_000] {
            let here = &place("x-grant.tag.login", b"alice");
            let contents = vec![7; length];
            let cookies = seal(here, &contents);
            assert_eq!(open(here, &cookies), Some(contents), "{length}");
            assert_eq!(open(&place("x-grant.tag.login", b"bob"), &cookies), None);
            assert_eq!(open(&place("x-grant.tag.mail", b"alice"), &cookies), None);
        }
    }

    /// The seal is bound to the name and to the count, whatever cookies are called.
    #[test]
    fn a_cookie_under_another_name_or_of_another_count_does_not_open() {
        let (login, mail) = (place("x-grant.tag.login", b"alice"), place("x-grant.tag.mail", b"alice"));
        let cookies = seal(&login, &[7; 5_000]);
        assert_eq!((cookies.len(), open(&login, &cookies)), (2, Some(vec![7; 5_000])), "the control");
        let renamed = cookies.iter().zip(["x-grant.tag.mail", "x-grant.tag.mail.1"]);
        let renamed: Vec<_> = renamed.map(|((_, value), name)| (name.as_bytes().to_vec(), value.clone())).collect();
        assert_eq!(open(&mail, &renamed), None);
        let whole = [b"1", &cookies[0].1[1..], &cookies[1].1].concat();
        assert_eq!(open(&login, &[(cookies[0].0.clone(), whole)]), None, "one cookie of the same text");
    }

    /// RFC 6265bis section 5.5: no browser keeps a cookie for longer than 400 days.
    #[test]
    fn a_cookie_lasts_as_long_as_its_contents_and_no_longer_than_browsers_keep_any() {
        let day = 24 * 60 * 60;
        for (seconds, max_age) in [(0, 0), (60, 60), (400 * day, 400 * day), (401 * day, 400 * day)] {
            let (style, until) = (CookiePolicy::new("x", true), NOW.saturating_add(Duration::from_secs(seconds)));
            let sealed = place("x", b"").seal(&ring(), &style, &Random::system(), (NOW, until), b"contents").unwrap();
            let header = sealed[0].header.to_str().unwrap();
            assert!(header.split("; ").any(|part| part == format!("Max-Age={max_age}")), "{seconds}: {header}");
        }
    }

    #[test]
    fn what_is_too_long_for_nine_is_refused_whole() {
        let until = NOW.saturating_add(Duration::from_secs(60));
        let style = CookiePolicy::new("x", true);
        let sealed = place("x", b"").seal(&ring(), &style, &Random::system(), (NOW, until), &[0; 40_000]);
        assert!(sealed.is_none());
    }

    /// Chunks of two texts of one place never open together.
    #[test]
    fn chunks_of_another_generation_do_not_mix() {
        let here = &place("x-grant.tag.login", b"alice");
        let (old, new) = (seal(here, &[1; 11_000]), seal(here, &[2; 11_000]));
        let shorter = seal(here, &[3; 4_000]);
        assert_eq!((old.len(), shorter.len()), (4, 2));
        for chosen in 1..15_u8 {
            let mixed: Vec<_> =
                (0..4).map(|at| if chosen >> at & 1 == 0 { old[at].clone() } else { new[at].clone() }).collect();
            assert_eq!(open(here, &mixed), None, "{chosen:04b}");
        }
        // A shorter one over a longer one leaves chunks behind, which disturb nobody.
        let over: Vec<_> = shorter.iter().chain(&old[2..]).cloned().collect();
        assert_eq!(open(here, &over), Some(vec![3; 4_000]));
        assert_eq!(open(here, &over[..1]), None);
    }

    proptest! {
        #[test]
        fn any_changed_byte_closes_it(contents in prop::collection::vec(any::<u8>(), 0..4_000), chunk: prop::sample::Index, at: prop::sample::Index, flip in 1..128_u8) {
            let here = &place("x-grant.tag.login", b"alice");
            let mut cookies = seal(here, &contents);
            let chunk = chunk.index(cookies.len());
            let value = &mut cookies[chunk].1;
            let at = at.index(value.len());
            value[at] ^= flip;
            prop_assert_eq!(open(here, &cookies), None);
        }

        #[test]
        fn any_cookies_are_read_without_panic(cookies: Vec<(Vec<u8>, Vec<u8>)>, values in prop::collection::vec("[0-9A-Za-z_-]{0,60}", 0..4)) {
            prop_assert_eq!(open(&place("x", b""), &cookies), None);
            let named: Vec<_> = values.iter().enumerate().map(|(at, value)| (cookie_chunks::name("x", at).into_bytes(), value.clone().into_bytes())).collect();
            prop_assert_eq!(open(&place("x", b""), &named), None);
        }
    }
}
