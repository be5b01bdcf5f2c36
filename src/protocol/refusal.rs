//! What a provider's refusal of a refresh means: who must act, and when the provider may be asked again.

use std::time::Duration;

/// The provider answered a request, and did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url} answered {status}, {}{}", .code.as_deref().unwrap_or("without an error code"), self.advice())]
pub(crate) struct ProviderRefusal {
    /// The endpoint, without a query, and how this application authenticated there.
    pub(crate) url: String,
    pub(crate) status: u16,
    /// The member `error` (RFC 6749 section 5.2), if there was one.
    pub(crate) code: Option<String>,
    /// The header `Retry-After` (RFC 9110 section 10.2.3), if it was a number of seconds.
    pub(crate) retry_after: Option<Duration>,
}

/// Who must act before a refused refresh can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalRemedy {
    /// The person: at the provider, with a new consent.
    Person,
    /// The operator: the registration or the configuration is wrong.
    Operator,
    /// Nobody: the provider said that it cannot answer now.
    Later,
    /// Nobody knows. It counts as a provider that is away, which is asked less and less often.
    Unclear,
}

/// An answer that is longer than this is no reason to leave the provider alone for longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

impl ProviderRefusal {
    /// `retry_after` is the header's value.
    pub(crate) fn new(url: String, status: u16, code: Option<String>, retry_after: Option<&str>) -> Self {
        let seconds = retry_after.and_then(|value| value.trim().parse().ok());
        let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
        Self { url, status, code, retry_after }
    }

    /// The one table of what a refusal means (RFC 6749 section 5.2, OpenID Connect Core 1.0 section 3.1.2.6, RFC 8707
    /// section 2).
    pub(crate) fn remedy(&self) -> RefusalRemedy {
        match self.code.as_deref().unwrap_or_default() {
            _ if matches!(self.status, 408 | 429 | 500..) => RefusalRemedy::Later,
            "temporarily_unavailable" | "server_error" | "slow_down" => RefusalRemedy::Later,
            "invalid_grant" | "interaction_required" | "login_required" | "consent_required" => RefusalRemedy::Person,
            "invalid_client" | "unauthorized_client" | "unsupported_grant_type" => RefusalRemedy::Operator,
            "invalid_scope" | "invalid_target" | "invalid_request" => RefusalRemedy::Operator,
            // `access_denied`, `invalid_token`, unknown codes, and no code at all.
            _ => RefusalRemedy::Unclear,
        }
    }

    /// What solves it, where it is the operator who can.
    fn advice(&self) -> &'static str {
        if self.remedy() != RefusalRemedy::Operator {
            return "";
        }
        ": the operator must correct the client id, secret or key, authentication method, scopes or grant types of the \
         registration (OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_CLIENT_AUTH_METHOD, OIDC_SCOPES)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> ProviderRefusal {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        let url = "https://op.test/token".to_owned();
        ProviderRefusal::new(url, status, code, None)
    }

    #[test]
    fn a_refusal_says_who_must_act() {
        use RefusalRemedy::{Later, Operator, Person, Unclear};
        for (status, code, expected) in [
            (400, "invalid_grant", Person),
            (400, "interaction_required", Person),
            (400, "login_required", Person),
            (400, "consent_required", Person),
            (401, "invalid_client", Operator),
            (400, "unauthorized_client", Operator),
            (400, "invalid_scope", Operator),
            (400, "invalid_target", Operator),
            (400, "unsupported_grant_type", Operator),
            (400, "invalid_request", Operator),
            (403, "access_denied", Unclear),
            (401, "invalid_token", Unclear),
            (401, "", Unclear),
            (400, "", Unclear),
            (400, "of_its_own", Unclear),
            (400, "temporarily_unavailable", Later),
            (408, "", Later),
            (429, "", Later),
            (503, "invalid_grant", Later),
        ] {
            assert_eq!(refusal(status, code).remedy(), expected, "{status} {code}");
        }
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_and_has_a_limit() {
        for (given, expected) in
            [("60", Some(60)), (" 60 ", Some(60)), ("99999999", Some(3600)), ("soon", None), ("-1", None)]
        {
            let refusal = ProviderRefusal::new(String::new(), 429, None, Some(given));
            assert_eq!(refusal.retry_after, expected.map(Duration::from_secs), "{given}");
        }
    }

    #[test]
    fn it_names_status_and_url_and_the_operators_part() {
        let silent = refusal(400, "").to_string();
        assert_eq!(silent, "https://op.test/token answered 400, without an error code");
        assert!(refusal(401, "invalid_client").to_string().contains("the operator must correct"));
    }
}
