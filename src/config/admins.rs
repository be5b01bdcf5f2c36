//! Who is an admin: decided at every request, from what the provider verified.

use super::Config;
use crate::provider::RelyingParty;

/// The rules, checked. Each counts for the people of one provider: what another one says of its own is nothing here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admins {
    /// Each with the issuer whose people it is about, as the other rules are.
    emails: Vec<(String, String)>,
    subjects: Vec<(String, String)>,
    roles: Vec<(String, String)>,
}

impl Admins {
    pub(crate) fn check(config: &Config, relying_parties: &[RelyingParty], problems: &mut Vec<String>) -> Self {
        let logins = || relying_parties.iter().filter(|registered| registered.login);
        // The provider whose people a rule is about, and what it says of them.
        let mut pinned = |rule: &str, field: &str| {
            let (name, rest) = rule.split_once(':').unzip();
            let named = logins().find(|registered| Some(registered.name.as_str()) == name);
            if named.is_none() && logins().nth(1).is_some() {
                let names: Vec<_> = logins().map(|registered| format!("{}:{rule}", registered.name)).collect();
                problems.push(format!(
                    "{field} has {rule:?} without a provider, and users sign in at several providers, each of which could issue \
                     it: name the provider, as in {}",
                    names.join(" or ")
                ));
            }
            let rule = named.and(rest).unwrap_or(rule);
            let registered = named.or(relying_parties.first());
            if field == "admin_roles" && registered.is_some_and(|registered| registered.roles.is_empty()) {
                problems.push(format!(
                    "admin_roles (ADMIN_ROLES) has {rule:?}, and nothing says where its provider has roles: set roles (OIDC_ROLES)"
                ));
            }
            let pinned = registered.map(|registered| registered.issuer.pinned(rule));
            if let Some(Some((issuer, rule))) = pinned {
                return (issuer, rule.to_owned());
            }
            problems.push(format!(
                "{field} has {rule:?} without a tenant, and users of several tenants sign in, each of which could issue it: \
                 name the tenant, as in TENANT:{rule}"
            ));
            (String::new(), rule.to_owned())
        };
        let emails: Vec<_> = config.admins.iter().map(|rule| pinned(rule, "admins")).collect();
        let subjects = config.admin_subjects.iter().map(|rule| pinned(rule, "admin_subjects")).collect();
        let mut roles: Vec<_> = config.admin_roles.iter().map(|rule| pinned(rule, "admin_roles")).collect();
        for (_, email) in &emails {
            let plain = email.matches('@').count() == 1 && email.is_ascii();
            if !plain || email.contains(|c: char| c.is_whitespace() || c == ':') {
                problems.push(format!("admins has {email:?}: use an e-mail address"));
            }
        }
        if let (true, Some(first)) = (config.is_development(), relying_parties.first()) {
            // The development provider's "sign in as administrator".
            roles.push((first.issuer.url.clone(), "admin".to_owned()));
        }
        Self { emails, subjects, roles }
    }

    /// Whether an e-mail address of a provider's people is an admin's.
    pub(crate) fn name(&self, issuer: &str, email: &str) -> bool {
        self.emails.iter().any(|(of, admin)| of == issuer && email.eq_ignore_ascii_case(admin))
    }

    /// Whether a role of a provider's people is an admin's.
    pub(crate) fn name_role(&self, issuer: &str, role: &str) -> bool {
        self.roles.iter().any(|(of, admin)| of == issuer && role == admin)
    }

    /// `email` counts when the provider says that it verified it.
    pub(crate) fn include(&self, (issuer, subject): (&str, &str), email: Option<(&str, bool)>) -> bool {
        let by_email = || email.is_some_and(|(email, verified)| verified && self.name(issuer, email));
        by_email() || self.subjects.iter().any(|(of, admin)| of == issuer && admin == subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClaimSource;
    use crate::provider::provider_config::ProviderConfig;
    use url::Url;

    const OP: &str = "https://op.test";

    fn admins() -> Admins {
        let mut config = Config::new("https://app.test", ProviderConfig::new("https://op.test", "c"));
        config.admins = vec!["Root@X.test".into()];
        config.admin_subjects = vec!["s0".into()];
        Admins::check(&config, &registered(&config), &mut Vec::new())
    }

    fn registered(config: &Config) -> Vec<RelyingParty> {
        let all: Vec<_> = config.providers().cloned().collect();
        RelyingParty::check(
            &all,
            &Url::parse("https://app.test").unwrap(),
            "https://app.test/auth/callback",
            &mut Vec::new(),
        )
    }

    #[test]
    fn an_email_counts_when_it_is_verified_and_equal_but_for_case() {
        let include = |email| admins().include((OP, "x"), email);
        assert!(include(Some(("root@x.test", true))));
        assert!(!include(Some(("root@x.test", false))));
        assert!(!include(None));
        for other in
            ["root@x.test,evil@y.test", "root@evil@x.test", "root\u{ff20}x.test", "\"root\"@x.test", "root@x.test."]
        {
            assert!(!include(Some((other, true))), "{other}");
        }
    }

    fn two_providers(edit: impl FnOnce(&mut Config)) -> (Admins, Vec<String>) {
        let mut config = Config::new("https://app.test", ProviderConfig::new(OP, "c").client_secret("s"))
            .add_provider(ProviderConfig::new("https://op2.test", "c").client_secret("s").name("work"))
            .add_provider(
                ProviderConfig::new("https://op3.test", "c").client_secret("s").name("files").without_login(),
            );
        edit(&mut config);
        let mut problems = Vec::new();
        (Admins::check(&config, &registered(&config), &mut problems), problems)
    }

    #[test]
    fn each_rule_counts_for_the_people_of_its_own_provider() {
        let (admins, problems) = two_providers(|config| {
            config.admins = vec!["work:Root@x.test".into(), "default:ann@x.test".into()];
            config.admin_subjects = vec!["default:s:0".into()];
            config.provider = config.provider.clone().roles(ClaimSource::IdToken, "/groups");
            config.more_providers[0].roles = config.provider.roles.clone();
            config.admin_roles = vec!["work:a".into()];
        });
        assert_eq!(problems, Vec::<String>::new());
        for (issuer, by_root, by_ann, by_subject, by_role) in [
            (OP, false, true, true, false),
            ("https://op2.test", true, false, false, true),
            ("https://op3.test", false, false, false, false),
            ("https://elsewhere.test", false, false, false, false),
        ] {
            let email = |email| admins.include((issuer, "x"), Some((email, true)));
            assert_eq!((email("root@x.test"), email("ann@x.test")), (by_root, by_ann), "{issuer}");
            assert_eq!(admins.include((issuer, "s:0"), None), by_subject, "{issuer}");
            assert_eq!(admins.name_role(issuer, "a"), by_role, "{issuer}");
        }
    }

    /// With several providers a rule without a provider is refused, and the message names the remedy.
    #[test]
    fn a_rule_without_a_provider_is_refused_where_there_are_several() {
        let refused = |edit: fn(&mut Config)| two_providers(edit).1.join("\n");
        let bare = refused(|config| config.admins = vec!["root@x.test".into()]);
        assert!(bare.contains("default:root@x.test or work:root@x.test"), "{bare}");
        assert!(refused(|config| config.admins = vec!["elsewhere:root@x.test".into()]).contains("elsewhere"));
        assert!(refused(|config| config.admins = vec!["files:root@x.test".into()]).contains("files"));
        assert!(refused(|config| config.admin_subjects = vec!["s0".into()]).contains("admin_subjects"));
    }
}
