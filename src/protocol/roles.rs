//! The roles of a person: which claims name them, and in what a provider says these claims.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::Claims;

/// The parts of a provider's answers that hold claims about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClaimSource {
    /// The ID token.
    IdToken,
    /// The UserInfo response, which a login then asks for. At a provider without ID tokens: the identity endpoint's answer.
    UserInfo,
    /// The access token: of a login, if it is a JWT for
    /// [`ProviderConfig::access_token_audience`](crate::ProviderConfig); of a request that
    /// [`Config::api`](crate::Config::api) accepts.
    AccessToken,
    /// The claims that the [login hook](crate::Config::on_login) adds, such as roles from the application's own database.
    LoginHook,
}

/// A claim that names roles, and the one source in which it counts.
///
/// ```
/// # use tower_oidc::{ClaimSource, RoleClaim};
/// let at_keycloak = RoleClaim::new(ClaimSource::IdToken, "/realm_access/roles");
/// // In a pointer `~1` stands for `/`, and `~0` for `~`.
/// let at_auth0 = RoleClaim::new(ClaimSource::IdToken, "/https:~1~1app.example.org~1roles");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RoleClaim {
    /// The source. A claim of the same name in another source counts for nothing.
    pub from: ClaimSource,
    /// The JSON pointer (RFC 6901) to a text or a list of texts.
    pub at: String,
}

/// Roles, each set beside the rule that found it.
pub(crate) type RolesByRule = Box<[(RoleClaim, BTreeSet<String>)]>;

/// The claims of each source, in the order of [`ClaimSource`]; `None` where nothing came.
pub(crate) type ClaimsBySource<'a> = [Option<&'a Claims>; 4];

impl RoleClaim {
    /// Roles at this place in the claims of this source.
    pub fn new(from: ClaimSource, at: impl Into<String>) -> Self {
        Self { from, at: at.into() }
    }

    /// Reads the form of a variable: `id_token:/groups`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (from, at) = text.split_once(':')?;
        Some(Self::new(serde_json::from_value(from.replace('-', "_").into()).ok()?, at))
    }

    /// Whether the place is a JSON pointer into the claims (RFC 6901 section 3).
    pub(crate) fn is_readable(&self) -> bool {
        self.at.starts_with('/') && self.at.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
    }

    /// The roles in the claims of the source. They are a set, because providers list them in any order.
    pub(crate) fn read(&self, claims: &Claims) -> Result<BTreeSet<String>, String> {
        let at = self.at.strip_prefix('/').unwrap_or_default();
        let (name, inside) = at.split_at(at.find('/').unwrap_or(at.len()));
        let claim = claims.get(&name.replace("~1", "/").replace("~0", "~"));
        match claim.and_then(|claim| claim.pointer(inside)) {
            None | Some(Value::Null) => Ok(BTreeSet::new()),
            Some(Value::String(role)) => Ok([role.clone()].into()),
            Some(list) => Deserialize::deserialize(list)
                .map_err(|_| format!("{} of {:?} is no text and no list of texts", self.at, self.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(at: &str, value: &Value) -> Option<Vec<String>> {
        let read = RoleClaim::new(ClaimSource::IdToken, at).read(value.as_object().unwrap());
        read.ok().map(|roles| roles.into_iter().collect())
    }

    #[test]
    fn a_text_and_a_list_of_texts_are_roles() {
        let claims = json!({
            "realm_access": { "roles": ["b", "a", "b"] }, "a/b": { "~": "x" }, "0": [["y"]], "groups": null,
        });
        for (at, expected) in [
            ("/realm_access/roles", &["a", "b"][..]),
            ("/a~1b/~0", &["x"]),
            ("/0/0", &["y"]),
            ("/realm_access/none", &[]),
            ("/none/roles", &[]),
            ("/groups", &[]),
        ] {
            let expected = expected.iter().map(|one| (*one).to_owned()).collect();
            assert_eq!(read(at, &claims), Some(expected), "{at}");
        }
    }

    #[test]
    fn anything_else_is_unreadable() {
        for odd in [json!(1), json!(true), json!({ "admin": true }), json!(["a", 1]), json!([["a"]])] {
            assert_eq!(read("/groups", &json!({ "groups": odd })), None, "{odd}");
        }
    }

    #[test]
    fn the_form_of_a_variable() {
        assert_eq!(RoleClaim::parse("user_info:/a:b"), Some(RoleClaim::new(ClaimSource::UserInfo, "/a:b")));
        assert_eq!(RoleClaim::parse("id-token:/a"), Some(RoleClaim::new(ClaimSource::IdToken, "/a")));
        for wrong in ["", "/groups", "id_token", "cookie:/groups"] {
            assert_eq!(RoleClaim::parse(wrong), None, "{wrong}");
        }
        let readable = |at: &str| RoleClaim::new(ClaimSource::IdToken, at).is_readable();
        assert!(["/a", "/", "/a/b", "/a~1b~0"].into_iter().all(readable));
        assert!(!["", "a", "a/b", "/a~", "/a~2"].into_iter().any(readable));
    }

    proptest! {
        #[test]
        fn any_readable_pointer_finds_what_serde_finds(at in "(/[ab~01]{0,3}){1,3}") {
            let value = json!({ "a": { "b": ["0", "1"], "": "x" }, "": "y", "~": { "a": "z" }, "ab": "w" });
            prop_assume!(RoleClaim::new(ClaimSource::IdToken, at.clone()).is_readable());
            let texts = match value.pointer(&at) {
                None => Some(Vec::new()),
                Some(Value::Array(list)) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
                Some(one) => one.as_str().map(|one| vec![one.to_owned()]),
            };
            prop_assert_eq!(read(&at, &value), texts);
        }
    }
}
