//! Sealed texts as cookies: split where one would be too large, and put together again.
//!
//! ```text
//! name   = 3…     how many there are, then the text
//! name.1 = …      as it goes on
//! name.2 = …
//! ```
//!
//! The seal is bound to the name and to the count, so that chunks of different texts never open together.

use std::borrow::Cow;

/// The largest cookie, its name and attributes counted: more is not promised by any browser (RFC 6265 section 6.1).
pub(crate) const LARGEST: usize = 4096;
/// The count is one digit.
const MOST: usize = 9;

/// How many cookies of `room` bytes a text takes; `None` where it is too long for any number.
pub(crate) fn count(text: usize, room: usize) -> Option<usize> {
    let count = (text + 1).div_ceil(room.max(1));
    (count <= MOST && room > 0).then_some(count)
}

/// The values of the cookies, the first one's count included.
pub(crate) fn split(text: &str, count: usize, room: usize) -> Vec<String> {
    let text = format!("{count}{text}");
    let values = text.as_bytes().chunks(room);
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// The name of a text's cookie at this position.
pub(crate) fn name(base: &str, position: usize) -> String {
    if position == 0 { base.to_owned() } else { format!("{base}.{position}") }
}

/// The position of a cookie, name and value, among those of `base`, and its value.
pub(crate) fn chunk<'a>(base: &str, cookie: &'a [u8]) -> Option<(usize, &'a [u8])> {
    match cookie.strip_prefix(base.as_bytes())? {
        [b'=', value @ ..] => Some((0, value)),
        [b'.', digit @ b'1'..=b'8', b'=', value @ ..] => Some((usize::from(digit - b'0'), value)),
        _ => None,
    }
}

/// The text of this name from a request's cookies, each with its name and value.
pub(crate) fn find<'a>(base: &str, cookies: impl Iterator<Item = &'a [u8]>) -> Option<ChunkedValue<'a>> {
    join(cookies.filter_map(|cookie| chunk(base, cookie)))
}

/// The text of as many of these chunks, each with its position, as the first one says; `None` where one is missing. Of several
/// at one position the first counts, as everywhere.
pub(crate) fn join<'a>(found: impl Iterator<Item = (usize, &'a [u8])>) -> Option<ChunkedValue<'a>> {
    let mut chunks = [None; MOST];
    for (position, value) in found {
        chunks.get_mut(position)?.get_or_insert(value);
    }
    let (digit, first) = chunks[0]?.split_first()?;
    let count = usize::from(digit.checked_sub(b'0')?);
    let mut parts = [&[][..]; MOST];
    for (part, chunk) in parts.iter_mut().skip(1).zip(chunks.get(1..count)?) {
        *part = (*chunk)?;
    }
    parts[0] = first;
    Some(ChunkedValue { parts, count })
}

/// A text that came in so many chunks.
pub(crate) struct ChunkedValue<'a> {
    parts: [&'a [u8]; MOST],
    pub(crate) count: usize,
}

impl<'a> ChunkedValue<'a> {
    /// The chunks, without the first one's count.
    pub(crate) fn parts(&self) -> &[&'a [u8]] {
        &self.parts[..self.count]
    }

    pub(crate) fn whole(&self) -> Cow<'a, [u8]> {
        match self.parts() {
            [only] => Cow::Borrowed(only),
            parts => Cow::Owned(parts.concat()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(values: &[String]) -> Option<(usize, Vec<u8>)> {
        let chunks = values.iter().map(String::as_bytes).enumerate();
        join(chunks.take(MOST)).map(|text| (text.count, text.whole().into_owned()))
    }

    #[test]
    fn names_and_positions_agree() {
        for at in 0..MOST {
            let base = "x-grant.tag.login";
            let cookie = format!("{}=a=b", name(base, at));
            assert_eq!(chunk(base, cookie.as_bytes()), Some((at, &b"a=b"[..])));
        }
        for other in ["x-grant.tag.logi", "x-grant.tag.login.0", "x-grant.tag.login.9", "x-grant.tag.login.1.1"] {
            let cookie = format!("{other}=ab");
            assert_eq!(chunk("x-grant.tag.login", cookie.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_takes_more_than_nine_is_too_long() {
        assert_eq!(count(8, 9), Some(1));
        assert_eq!(count(9, 9), Some(2));
        assert_eq!(count(80, 9), Some(9));
        assert_eq!(count(81, 9), None);
        assert_eq!(count(1, 0), None);
    }

    proptest! {
        #[test]
        fn what_was_split_is_joined_and_nothing_else(text in "[A-Za-z0-9_-]{0,200}", room in 2..60_usize, gone in 0..9_usize) {
            let Some(count) = count(text.len(), room) else { return Ok(()) };
            let mut values = split(&text, count, room);
            prop_assert_eq!(values.len(), count);
            prop_assert!(values.iter().all(|value| value.len() <= room));
            prop_assert_eq!(joined(&values), Some((count, text.into_bytes())));
            // One that is missing is missed; one too many is nobody's.
            values.push("more".into());
            prop_assert_eq!(joined(&values).map(|(count, _)| count), Some(count));
            values.truncate(count);
            values.truncate(gone);
            prop_assert_eq!(joined(&values).is_some(), gone >= count);
        }

        #[test]
        fn any_values_are_joined_without_panic(values: Vec<String>) {
            joined(&values);
        }
    }
}
