//! JSON objects that a provider asserts: duplicate names are refused, since two readers may choose differently.

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use std::fmt;

/// The members of a JSON object in which no name stands twice (RFC 8725 section 2.4, RFC 7519 section 4).
pub(crate) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let members = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(members)
    }
}

/// A member that is a string with something in it.
pub(crate) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
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
    fn dates_are_numbers_that_are_not_negative() {
        let members = object(br#"{"a":1.9,"b":-1,"c":"1","d":1e30,"e":7}"#).unwrap();
        let dates = ["a", "b", "c", "d", "e", "f"].map(|name| numeric_date(&members, name));
        assert_eq!(dates, [Some(1), None, None, Some(u64::MAX), Some(7), None]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = object(&bytes);
        }
    }
}
