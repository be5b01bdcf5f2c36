//! What an API says when it wants more (RFC 6750 section 3, RFC 9470 section 3).

use std::time::Duration;

use super::authorization::LoginOptions;
use super::token::scopes;

/// A Bearer challenge that a person can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// `insufficient_scope`: these scopes are needed.
    Scopes(Vec<String>),
    /// `insufficient_user_authentication`: the person must authenticate so.
    Authentication { acr_values: Vec<String>, max_age: Option<Duration> },
}

/// The demand in a `WWW-Authenticate` header, if there is one.
pub(crate) fn demand(header: &[u8]) -> Option<Demand> {
    let header = std::str::from_utf8(header).ok()?;
    let parameters = bearer(header)?;
    let value = |name: &str| parameters.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    match value("error")?.as_str() {
        "insufficient_scope" => Some(Demand::Scopes(scopes(value("scope")?))),
        "insufficient_user_authentication" => Some(Demand::Authentication {
            acr_values: value("acr_values").map(|values| scopes(values)).unwrap_or_default(),
            max_age: value("max_age").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
        }),
        _ => None,
    }
}

/// The parameters of the challenge that demands such an authentication (RFC 9470 section 3).
pub(crate) fn authentication(options: &LoginOptions) -> String {
    let mut parameters = "error=\"insufficient_user_authentication\"".to_owned();
    if !options.acr_values.is_empty() {
        parameters += &format!(", acr_values=\"{}\"", options.acr_values.join(" "));
    }
    options.max_age.iter().for_each(|age| parameters += &format!(", max_age=\"{}\"", age.as_secs()));
    parameters
}

/// The parameters of the first Bearer challenge (RFC 9110 section 11.6.1). A name without a value begins a challenge.
fn bearer(header: &str) -> Option<Vec<(&str, String)>> {
    let mut named = names(header).skip_while(|(name, value)| value.is_some() || !name.eq_ignore_ascii_case("bearer"));
    named.next()?;
    Some(named.map_while(|(name, value)| Some((name, value?))).collect())
}

/// The names of a header, each with its value if it has one, up to what cannot be read.
fn names(mut rest: &str) -> impl Iterator<Item = (&str, Option<String>)> {
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = rest.split_at(rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len()));
        rest = after.trim_start_matches([' ', '\t']);
        let value = match rest.strip_prefix('=') {
            Some(value) => {
                let (value, after) = parameter_value(value.trim_start_matches([' ', '\t']))?;
                rest = after;
                Some(value)
            }
            None => None,
        };
        (!name.is_empty()).then_some((name, value))
    })
}

/// A token or a quoted string, and what follows.
fn parameter_value(rest: &str) -> Option<(String, &str)> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([' ', '\t', ',']).unwrap_or(rest.len());
        return Some((rest[..end].to_owned(), &rest[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn demands_are_read() {
        let needed = |scopes: &[&str]| Some(Demand::Scopes(scopes.iter().map(|s| (*s).to_owned()).collect()));
        let read = |header: &str| demand(header.as_bytes());
        assert_eq!(read(r#"Bearer error="insufficient_scope", scope="a b""#), needed(&["a", "b"]));
        assert_eq!(read(r#"bearer realm="x, y=\"z\"", scope=a ,error=insufficient_scope"#), needed(&["a"]));
        assert_eq!(read(r#"Basic realm="r", Bearer error="insufficient_scope", scope="a""#), needed(&["a"]));
        assert_eq!(read(r#"Bearer error="insufficient_scope", scope="a", Basic scope="b""#), needed(&["a"]));
        assert_eq!(
            read("Bearer error = insufficient_scope,\tscope\t=\t\"a\""),
            needed(&["a"]),
            "RFC 9110 section 11.2"
        );
        assert_eq!(
            read(r#"Bearer error="insufficient_user_authentication", acr_values="gold", max_age="5""#),
            Some(Demand::Authentication { acr_values: vec!["gold".into()], max_age: Some(Duration::from_secs(5)) })
        );
    }

    #[test]
    fn a_demand_is_read_as_it_was_written() {
        for (acr_values, max_age) in [(vec![], Some(0)), (vec!["gold"], None), (vec!["gold", "urn:x"], Some(300))] {
            let mut options = LoginOptions::new().acr_values(acr_values);
            options.max_age = max_age.map(Duration::from_secs);
            let LoginOptions { acr_values, max_age, .. } = options.clone();
            let written = format!("Bearer {}, resource_metadata=\"https://a.test\"", authentication(&options));
            assert_eq!(demand(written.as_bytes()), Some(Demand::Authentication { acr_values, max_age }));
        }
    }

    #[test]
    fn everything_else_demands_nothing() {
        for header in [
            "",
            "Bearer",
            r#"Bearer error="invalid_token""#,
            r#"Bearer error="insufficient_scope""#,
            r#"Basic error="insufficient_scope", scope="a""#,
            r#"Basic bearer="x", error="insufficient_scope", scope="a""#,
            r#"Bearer error="insufficient_scope", scope="a"#,
        ] {
            assert_eq!(demand(header.as_bytes()), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic_and_ends(header in "[Bbearer =\",\\\\a-z\u{e9}]{0,40}") {
            let _ = demand(header.as_bytes());
        }
    }
}
