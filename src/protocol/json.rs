//! JSON objects that a provider asserts: duplicate names are refused, since two readers may choose differently.

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use std::fmt;

/// The claims that a provider asserts, by name.
pub(crate) type Claims = Map<String, Value>;

/// The members of a JSON object in which no name stands twice (RFC 8725 section 2.4, RFC 7519 section 4).
pub(crate) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    members(bytes).filter(|(_, unreadable)| unreadable.is_empty()).map(|(members, _)| members)
}

/// The same where one value may be odd: the members that can be read, and the names of those whose value cannot, such as a
/// text with half of a surrogate pair.
pub(crate) fn members(bytes: &[u8]) -> Option<(Map<String, Value>, Vec<String>)> {
    let text = without_mark(bytes);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let members = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

/// RFC 8259 section 8.1: a byte order mark must not be there, and may be skipped.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// A value as events and errors show it: at most 200 bytes, and nothing that a terminal would interpret.
pub(crate) fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "missing".to_owned() };
    let is_plain = |character: char| character == ' ' || character.is_ascii_graphic();
    let show = |character: char| {
        if is_plain(character) { character.to_string() } else { character.escape_unicode().to_string() }
    };
    let mut shown: String = value.to_string().chars().take(198).map(show).collect();
    if shown.len() > 197 {
        shown.truncate(197);
        shown.push_str("...");
    }
    shown
}

/// What a member is and should be, in words. Secrets are not shown.
pub(crate) fn mismatch(name: &str, found: Option<&Value>, expected: impl fmt::Display) -> String {
    format!("{name} is {}, expected {expected}", shown(found))
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = (Map<String, Value>, Vec<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let (mut members, mut unreadable) = (Map::new(), Vec::new());
        while let Some((name, value)) = access.next_entry::<String, &RawValue>()? {
            if members.contains_key(&name) || unreadable.contains(&name) {
                return Err(A::Error::custom("a name stands twice"));
            }
            match serde_json::from_str(value.get()) {
                Ok(value) => drop(members.insert(name, value)),
                Err(_) => unreadable.push(name),
            }
        }
        Ok((members, unreadable))
    }
}

/// A member that is a string with something in it.
pub(crate) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The values of a member that is a list, or one value in the place of a list.
pub(crate) fn list<'a>(members: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    match members.get(name) {
        Some(Value::Array(several)) => several,
        one => one.map_or(&[], std::slice::from_ref),
    }
}

/// An error code as logs and pages may show it (RFC 6749 section 5.2 allows no more than printable ASCII).
pub(crate) fn printable(code: &str) -> String {
    code.chars().filter(char::is_ascii_graphic).take(64).collect()
}

/// A NumericDate (RFC 7519 section 2) in whole seconds; fractions are dropped, negative ones are none.
pub(crate) fn numeric_date(members: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = members.get(name)?;
    // A float beyond u64 saturates: a date that far is as good as never.
    value.as_u64().or_else(|| value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn duplicate_names_and_trailing_bytes_are_refused() {
        assert!(object(br#"{"sub":"a","aud":"x"}"#).is_some());
        assert!(object(br#"{"sub":"a","sub":"b"}"#).is_none());
        assert!(object(br#"{"sub":"a","s\u0075b":"b"}"#).is_none());
        assert!(object(br#"{"sub":"a"} {}"#).is_none());
        assert!(object(br#"["sub"]"#).is_none());
        assert!(object("[".repeat(10_000).as_bytes()).is_none());
        assert!(object(format!("{{\"a\":{}", "[".repeat(10_000)).as_bytes()).is_none());
    }

    #[test]
    fn one_value_that_cannot_be_read_costs_that_member_alone() {
        let (members, unreadable) = members(br#"{"sub":"a","name":"Ann \ud83d","n":1e999,"x":null}"#).unwrap();
        assert_eq!((members.len(), unreadable), (2, vec!["name".to_owned(), "n".to_owned()]));
        assert!(object(br#"{"sub":"a","name":"\ud83d"}"#).is_none(), "where everything must be readable");
        assert!(super::members(br#"{"name":"\ud83d","name":"b"}"#).is_none(), "a name stands twice");
        assert!(object(b"\xef\xbb\xbf{}").is_some(), "a byte order mark");
        assert!(object(b"\xef\xbb\xbf\xef\xbb\xbf{}").is_none());
    }

    #[test]
    fn what_is_shown_is_short_and_plain() {
        assert_eq!(shown(None), "missing");
        assert_eq!(shown(Some(&serde_json::json!(["x", 1]))), r#"["x",1]"#);
        assert_eq!(shown(Some(&"a b".into())), r#""a b""#);
        let wild = serde_json::json!("a\u{1b}[31m\u{202e}\u{7f}");
        assert!(shown(Some(&wild)).chars().all(|character| character == ' ' || character.is_ascii_graphic()));
        assert_eq!(shown(Some(&"é".repeat(500).into())).len(), 200);
    }

    #[test]
    fn dates_are_numbers_that_are_not_negative() {
        let members = object(br#"{"a":1.9,"b":-1,"c":"1","d":1e30,"e":7,"g":0.0}"#).unwrap();
        let dates = ["a", "b", "c", "d", "e", "f", "g"].map(|name| numeric_date(&members, name));
        assert_eq!(dates, [Some(1), None, None, Some(u64::MAX), Some(7), None, Some(0)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = object(&bytes);
        }
    }
}
