//! Who is an admin: decided at every request, from what the provider verified.

use serde_json::{Map, Value};

use crate::config::{AdminClaim, Config};

/// The rules, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admins {
    /// In lower case.
    emails: Vec<String>,
    subjects: Vec<String>,
    claims: Vec<AdminClaim>,
}

impl Admins {
    pub(crate) fn check(config: &Config, problems: &mut Vec<String>) -> Self {
        for email in &config.admins {
            if email.matches('@').count() != 1 || !email.is_ascii() || email.contains(char::is_whitespace) {
                problems.push(format!("admins has {email:?}: use an e-mail address"));
            }
        }
        let mut claims: Vec<_> = config.admin_claim.iter().cloned().collect();
        if config.issuer.is_none() {
            // The development provider's "sign in as administrator". No other provider's claim counts so.
            claims.push(AdminClaim { name: "admin".to_owned(), value: Value::Bool(true) });
        }
        Self {
            emails: config.admins.iter().map(|email| email.to_ascii_lowercase()).collect(),
            subjects: config.admin_subjects.clone(),
            claims,
        }
    }

    /// `email` counts when the provider says that it verified it.
    pub(crate) fn include<'a>(
        &self,
        subject: &str,
        email: Option<(&str, bool)>,
        claims: impl FnOnce() -> Option<&'a Map<String, Value>>,
    ) -> bool {
        let by_email =
            matches!(email, Some((email, true)) if self.emails.contains(&email.to_ascii_lowercase()));
        let holds = |claims: &Map<String, Value>, rule: &AdminClaim| match claims.get(&rule.name) {
            Some(Value::Array(values)) => values.contains(&rule.value),
            Some(value) => *value == rule.value,
            None => false,
        };
        // Last, because what is known of the person may have to be opened first.
        let by_claim = || {
            let claims = Some(claims).filter(|_| !self.claims.is_empty()).and_then(|claims| claims());
            claims.is_some_and(|claims| self.claims.iter().any(|rule| holds(claims, rule)))
        };
        by_email || self.subjects.iter().any(|admin| admin == subject) || by_claim()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn admins() -> Admins {
        let mut config = Config::new("https://app.test", "https://op.test", "c", "s");
        config.admins = vec!["Root@X.test".into()];
        config.admin_subjects = vec!["s0".into()];
        config.admin_claim = Some(AdminClaim { name: "groups".into(), value: json!("admins") });
        Admins::check(&config, &mut Vec::new())
    }

    /// Scenario 27 and check 172.
    #[test]
    fn an_email_counts_when_it_is_verified_and_equal_but_for_case() {
        let none = Map::new();
        let include = |email| admins().include("x", email, || Some(&none));
        assert!(include(Some(("root@x.test", true))));
        assert!(!include(Some(("root@x.test", false))));
        assert!(!include(None));
        for other in [
            "root@x.test,evil@y.test",
            "root@evil@x.test",
            "root\u{ff20}x.test",
            "\"root\"@x.test",
            "root@x.test.",
        ] {
            assert!(!include(Some((other, true))), "{other}");
        }
    }

    /// Check 171.
    #[test]
    fn a_subject_or_a_claim_counts_in_its_own_place_only() {
        let include = |subject, claims: Value| admins().include(subject, None, || claims.as_object());
        assert!(include("s0", json!({})));
        assert!(include("x", json!({"groups": ["users", "admins"]})));
        assert!(include("x", json!({"groups": "admins"})));
        for other in [
            json!({}),
            json!({"groups": "admins2"}),
            json!({"groups": ["s0"]}),
            json!({"groups": {"admins": true}}),
            json!({"admin": true}),
        ] {
            assert!(!include("x", other.clone()), "{other}");
        }
    }
}
