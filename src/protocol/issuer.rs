//! The issuer of a provider: one URL, or one for each of its tenants.

use super::json::{self, Claims};
use super::jws::{JwtError, refused};

/// Stands for the tenant in the issuer of a discovery document that serves several (Microsoft identity platform, "Access
/// tokens in the Microsoft identity platform", "Validate the issuer").
const PLACE: &str = "{tenantid}";

/// The scheme of the pseudo-issuer of a provider without ID tokens. No OpenID Provider has such an issuer: theirs is an
/// https URL (OpenID Connect Discovery 1.0 section 3).
pub(crate) const PSEUDO: &str = "oauth2:";

/// A provider's issuer. Where tenants are configured, each of them is an issuer of its own.
#[derive(Clone, Debug)]
pub(crate) struct ProviderIssuer {
    /// As it is configured: the discovery document lies below it.
    pub(crate) url: String,
    template: Option<Template>,
}

/// The issuer's URL around the name of the tenant, its first segment.
#[derive(Clone, Debug)]
struct Template {
    before: String,
    after: String,
    /// Whose people are let in; none is named where all are.
    tenants: Vec<String>,
}

impl Template {
    /// `None` for a URL without a segment where a tenant could stand.
    fn of(url: &str, tenants: &[String]) -> Option<Self> {
        let host = url.find("://")? + 3;
        let start = host + url[host..].find('/')? + 1;
        let end = url[start..].find('/').map_or(url.len(), |at| start + at);
        let [before, after] = [&url[..start], &url[end..]].map(str::to_owned);
        (start < end).then(|| Self { before, after, tenants: tenants.to_vec() })
    }

    fn named(&self, tenant: &str) -> String {
        format!("{}{tenant}{}", self.before, self.after)
    }

    fn admits(&self, tenant: &str) -> bool {
        self.tenants.is_empty() || self.tenants.iter().any(|listed| listed == tenant)
    }

    fn expected(&self) -> String {
        match self.tenants.as_slice() {
            [] => "a tenant".to_owned(),
            listed => format!("a tenant that is configured: {}", listed.join(", ")),
        }
    }
}

impl ProviderIssuer {
    pub(crate) fn exact(url: &str) -> Self {
        Self { url: url.to_owned(), template: None }
    }

    /// `None` where tenants are configured, and the URL has no place for them.
    pub(crate) fn new(url: &str, tenants: &[String], any_tenant: bool) -> Option<Self> {
        if !any_tenant && tenants.is_empty() {
            return Some(Self::exact(url));
        }
        Some(Self { template: Some(Template::of(url, tenants)?), ..Self::exact(url) })
    }

    /// Whether it issues ID tokens.
    pub(crate) fn issues_id_tokens(&self) -> bool {
        !self.url.starts_with(PSEUDO)
    }

    /// What the discovery document must name: the URL that was asked, or the same with a place for the tenant.
    pub(crate) fn announced(&self) -> String {
        self.template.as_ref().map_or_else(|| self.url.clone(), |template| template.named(PLACE))
    }

    /// Whether it is named so somewhere.
    pub(crate) fn covers(&self, named: &str) -> bool {
        let Some(template) = &self.template else { return self.url == named };
        let rest = named.strip_prefix(template.before.as_str());
        let tenant = rest.and_then(|rest| rest.strip_suffix(template.after.as_str()));
        tenant.is_some_and(|tenant| !tenant.is_empty() && !tenant.contains('/') && template.admits(tenant))
    }

    /// Whether somebody could be a person of both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let names = |one: &Self| match &one.template {
            Some(template) if template.tenants.is_empty() => vec![template.named("any")],
            Some(template) => template.tenants.iter().map(|tenant| template.named(tenant)).collect(),
            None => vec![one.url.clone()],
        };
        names(self).iter().any(|name| other.covers(name)) || names(other).iter().any(|name| self.covers(name))
    }

    /// The issuer that a rule for the people of one tenant is about, and the rule: what stands before its first colon names
    /// the tenant where there are several. `None` where it names none.
    pub(crate) fn pinned<'a>(&self, rule: &'a str) -> Option<(String, &'a str)> {
        let Some(template) = &self.template else { return Some((self.url.clone(), rule)) };
        match (template.tenants.as_slice(), rule.split_once(':')) {
            (_, Some((tenant, rest))) if template.admits(tenant) => Some((template.named(tenant), rest)),
            ([only], _) => Some((template.named(only), rule)),
            _ => None,
        }
    }

    /// The issuer of verified claims, if it is this one: with tenants, the one that `tid` names, whose key signed them
    /// where the key says whose it is ("Validate the signing key issuer").
    pub(crate) fn check<'a>(&self, claims: &'a Claims, of_key: Option<&str>) -> Result<&'a str, JwtError> {
        let named = json::text(claims, "iss").ok_or_else(|| refused(claims, "iss", "a text"))?;
        let tenant = json::text(claims, "tid");
        let expected = match &self.template {
            None => self.url.clone(),
            Some(template) => {
                let tenant = tenant.filter(|tenant| template.admits(tenant));
                template.named(tenant.ok_or_else(|| refused(claims, "tid", template.expected()))?)
            }
        };
        let of_key = of_key.filter(|_| self.template.is_some()).zip(tenant);
        match of_key.map(|(issuer, tenant)| issuer.replace(PLACE, tenant)) {
            Some(issuer) if named == expected && issuer != named => {
                Err(refused(claims, "iss", format_args!("{issuer:?}, whose key signed it")))
            }
            _ if named == expected && self.covers(named) => Ok(named),
            _ => Err(refused(claims, "iss", format_args!("{expected:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const COMMON: &str = "https://login.test/common/v2.0";

    fn issuer(tenants: &[&str], any: bool) -> ProviderIssuer {
        let tenants: Vec<_> = tenants.iter().map(|tenant| (*tenant).to_owned()).collect();
        ProviderIssuer::new(COMMON, &tenants, any).unwrap()
    }

    fn check(issuer: &ProviderIssuer, iss: Value, tid: Value, of_key: Option<&str>) -> Result<String, String> {
        let claims = json!({ "iss": iss, "tid": tid });
        let checked = issuer.check(claims.as_object().unwrap(), of_key);
        checked.map(str::to_owned).map_err(|error| error.to_string())
    }

    /// The issuer is the template with the token's own tenant put in, and the tenant is one of the list.
    #[test]
    fn a_tenant_is_named_by_both_claims_and_is_of_the_list() {
        let (listed, any) = (issuer(&["t1", "t2"], false), issuer(&[], true));
        let of = |tenant: &str| json!(format!("https://login.test/{tenant}/v2.0"));
        for known in [&listed, &any] {
            assert_eq!(known.announced(), "https://login.test/{tenantid}/v2.0");
            assert_eq!(check(known, of("t1"), json!("t1"), None).unwrap(), "https://login.test/t1/v2.0");
            for (iss, tid) in [
                (of("t1"), json!("t2")),
                (of("t1"), Value::Null),
                (of("t1"), json!("")),
                (of("t1"), json!(["t1"])),
                (Value::Null, json!("t1")),
                (of("{tenantid}"), json!("t1")),
                (json!(COMMON), json!("t1")),
                (of("a/b"), json!("a/b")),
                (json!("https://evil.test/t1/v2.0"), json!("t1")),
                (json!("https://login.test/t1/v2.0/"), json!("t1")),
            ] {
                let refused = check(known, iss.clone(), tid.clone(), None).unwrap_err();
                assert!(refused.contains("expected"), "{iss} {tid}: {refused}");
            }
        }
        let refused = check(&listed, of("t3"), json!("t3"), None).unwrap_err();
        assert_eq!(refused, r#"is refused: tid is "t3", expected a tenant that is configured: t1, t2"#);
        assert!(check(&any, of("t3"), json!("t3"), None).is_ok());
        let unnamed = check(&any, of("t3"), Value::Null, None).unwrap_err();
        assert_eq!(unnamed, "is refused: tid is null, expected a tenant");
        assert!(!listed.covers("https://login.test/t3/v2.0") && any.covers("https://login.test/t3/v2.0"));
        assert!(!any.covers("https://login.test//v2.0"), "no tenant is named");
    }

    /// Without tenants nothing is a template, whatever it looks like.
    #[test]
    fn without_tenants_the_issuer_is_one_text() {
        let exact = issuer(&[], false);
        assert_eq!(exact.announced(), COMMON);
        for tid in [Value::Null, json!("t1")] {
            assert!(check(&exact, json!(COMMON), tid, Some("https://login.test/x/v2.0")).is_ok());
        }
        assert!(check(&exact, json!("https://login.test/t1/v2.0"), json!("t1"), None).is_err());
        assert!(!exact.covers("https://login.test/{tenantid}/v2.0"));
    }

    /// A tenant's own key signs for no other one.
    #[test]
    fn a_key_signs_for_the_issuer_that_it_names() {
        let any = issuer(&[], true);
        let iss = || json!("https://login.test/t1/v2.0");
        for (of_key, holds) in [
            (None, true),
            (Some("https://login.test/{tenantid}/v2.0"), true),
            (Some("https://login.test/t1/v2.0"), true),
            (Some("https://login.test/t2/v2.0"), false),
        ] {
            assert_eq!(check(&any, iss(), json!("t1"), of_key).is_ok(), holds, "{of_key:?}");
        }
    }

    #[test]
    fn people_of_one_tenant_come_by_one_provider() {
        let exact = |url: &str| ProviderIssuer::new(url, &[], false).unwrap();
        let own = exact("https://login.test/t1/v2.0");
        assert!(issuer(&["t1"], false).overlaps(&own) && own.overlaps(&issuer(&[], true)));
        assert!(issuer(&[], true).overlaps(&own) && issuer(&[], true).overlaps(&issuer(&["t1"], false)));
        assert!(issuer(&["t1", "t2"], false).overlaps(&issuer(&["t2"], false)));
        assert!(issuer(&[], true).overlaps(&issuer(&[], true)));
        assert!(!issuer(&["t2"], false).overlaps(&own) && !exact(COMMON).overlaps(&own));
        assert!(ProviderIssuer::new("https://login.test", &["t1".into()], false).is_none());
        assert!(ProviderIssuer::new("https://login.test/", &[], true).is_none());
    }

    /// One tenant's administrator is nobody at another one.
    #[test]
    fn a_rule_is_about_one_tenant() {
        let of = |issuer: &ProviderIssuer, rule: &str| issuer.pinned(rule).map(|(name, rest)| format!("{name} {rest}"));
        let two = issuer(&["t1", "t2"], false);
        assert_eq!(of(&two, "t2:a@x.test").unwrap(), "https://login.test/t2/v2.0 a@x.test");
        assert_eq!(of(&two, "a@x.test"), None);
        assert_eq!(of(&two, "t3:a@x.test"), None);
        assert_eq!(of(&issuer(&["t1"], false), "a@x.test").unwrap(), "https://login.test/t1/v2.0 a@x.test");
        assert_eq!(of(&issuer(&[], true), "a@x.test"), None);
        assert_eq!(of(&issuer(&[], false), "t1:s").unwrap(), format!("{COMMON} t1:s"));
    }
}
