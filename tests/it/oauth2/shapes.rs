//! The shapes of real providers. Each has its table (a preset, or one that a test reads) and this fixture.

use serde_json::{Value, json};

use crate::support::oauth2::Shape;

/// Each person's number at every provider.
pub(super) fn number(user: &str) -> u64 {
    583_231 + u64::from(user == "bob")
}

/// GitHub. Its documentation, by page:
///
/// - "Authorizing OAuth apps": JSON where it is asked for; tokens do not expire; `scope` is a comma-separated list in the
///   answer; `token_type` is `bearer`.
/// - "Troubleshooting OAuth app access token request errors": errors come with status 200; `bad_verification_code`.
/// - "GitHub authentication discovery endpoints": the issuer, which is the `iss` of responses.
/// - "REST API endpoints for users": `id` is a number, `email` the public address or null.
/// - "REST API endpoints for emails": a list with `primary` and `verified`.
/// - "Getting started with the REST API": a request without `User-Agent` is refused.
pub(super) fn github() -> Shape {
    fn user(name: &str) -> Value {
        json!({
            "login": name, "id": number(name), "name": name, "email": null,
            "avatar_url": format!("https://avatars.test/{name}"), "html_url": format!("https://github.com/{name}"),
        })
    }
    fn emails(name: &str) -> Value {
        json!([
            { "email": format!("{name}@old.test"), "primary": false, "verified": true, "visibility": null },
            { "email": format!("{name}@example.com"), "primary": true, "verified": true, "visibility": "private" },
        ])
    }
    Shape {
        authorization: "https://github.com/login/oauth/authorize",
        token: "https://github.com/login/oauth/access_token",
        about: vec![("https://api.github.com/user", user), ("https://api.github.com/user/emails", emails)],
        iss: Some("https://github.com/login/oauth"),
        form: false,
        refusal: (200, "bad_verification_code"),
        token_type: Some("bearer"),
        expires_in: None,
        rotate: false,
        separators: (" ", ","),
        scopes: &["read:user", "user:email", "repo"],
        also: None,
    }
}

/// A GitHub App: "Refreshing user access tokens": eight hours, and a refresh token that is used once
/// (`bad_refresh_token`).
pub(super) fn github_app() -> Shape {
    Shape { expires_in: Some(28_800), rotate: true, refusal: (200, "bad_refresh_token"), ..github() }
}

/// WakaTime, "Authentication" (its example reads the answer of the token endpoint with `parse_qsl`, and joins scopes with
/// commas) and "Users" of the API reference.
pub(super) fn wakatime() -> Shape {
    fn user(name: &str) -> Value {
        json!({ "data": {
            "id": format!("uuid-{}", number(name)), "display_name": name, "username": name,
            "email": format!("{name}@example.com"), "is_email_confirmed": true,
            "photo": format!("https://wakatime.com/photo/{name}"),
        } })
    }
    Shape {
        authorization: "https://wakatime.com/oauth/authorize",
        token: "https://wakatime.com/oauth/token",
        about: vec![("https://api.wakatime.com/api/v1/users/current", user)],
        iss: None,
        form: true,
        refusal: (400, "invalid_grant"),
        token_type: Some("bearer"),
        expires_in: Some(31_536_000),
        rotate: false,
        separators: (",", ","),
        scopes: &["email", "read_summaries"],
        also: None,
    }
}

/// Todoist API, "Authorization": scopes are a comma-separated list, and the answer has an access token and its type, without
/// an end. "User": `id`, `full_name`, `email`; nothing says that an address is verified.
pub(super) fn todoist() -> Shape {
    fn user(name: &str) -> Value {
        json!({ "id": number(name).to_string(), "full_name": name, "email": format!("{name}@example.com") })
    }
    Shape {
        authorization: "https://app.todoist.com/oauth/authorize",
        token: "https://api.todoist.com/oauth/access_token",
        about: vec![("https://api.todoist.com/api/v1/user", user)],
        iss: None,
        refusal: (400, "bad_authorization_code"),
        separators: (",", ","),
        scopes: &["data:read", "task:add"],
        ..github()
    }
}

/// Bitbucket Cloud, "OAuth 2.0" (two hours, a refresh token) and "Users" (`uuid`, and the addresses in `values`).
pub(super) fn bitbucket() -> Shape {
    fn user(name: &str) -> Value {
        json!({ "uuid": format!("{{{}}}", number(name)), "display_name": name,
                "links": { "avatar": { "href": format!("https://avatars.test/{name}") } } })
    }
    fn emails(name: &str) -> Value {
        json!({ "values": [{ "email": format!("{name}@example.com"), "is_primary": true, "is_confirmed": true }] })
    }
    Shape {
        authorization: "https://bitbucket.org/site/oauth2/authorize",
        token: "https://bitbucket.org/site/oauth2/access_token",
        about: vec![
            ("https://api.bitbucket.org/2.0/user", user),
            ("https://api.bitbucket.org/2.0/user/emails", emails),
        ],
        iss: None,
        refusal: (400, "invalid_grant"),
        expires_in: Some(7200),
        separators: (" ", " "),
        scopes: &["account", "email"],
        ..github()
    }
}

/// DigitalOcean, "OAuth API" (30 days, refresh tokens are used once) and "Retrieve User Information".
pub(super) fn digitalocean() -> Shape {
    fn account(name: &str) -> Value {
        json!({ "account": {
            "uuid": format!("uuid-{}", number(name)), "name": name,
            "email": format!("{name}@example.com"), "email_verified": true,
        } })
    }
    Shape {
        authorization: "https://cloud.digitalocean.com/v1/oauth/authorize",
        token: "https://cloud.digitalocean.com/v1/oauth/token",
        about: vec![("https://api.digitalocean.com/v2/account", account)],
        iss: None,
        refusal: (401, "invalid_grant"),
        token_type: None,
        expires_in: Some(2_592_000),
        rotate: true,
        separators: (" ", " "),
        scopes: &["read"],
        ..github()
    }
}

/// Two providers that the crate does not know, as an application writes them.
pub(super) const TABLES: &str = r#"{
  "bitbucket": {
    "metadata": {
      "authorization_endpoint": "https://bitbucket.org/site/oauth2/authorize",
      "token_endpoint": "https://bitbucket.org/site/oauth2/access_token"
    },
    "scopes": ["account", "email"],
    "client_auth": "client_secret_post",
    "oauth2": {
      "identity_endpoint": "https://api.bitbucket.org/2.0/user",
      "subject": "/uuid",
      "claims": { "name": "/display_name", "picture": "/links/avatar/href" },
      "email_addresses": {
        "endpoint": "user/emails", "list": "/values", "primary": "/is_primary", "verified": "/is_confirmed"
      }
    }
  },
  "digitalocean": {
    "metadata": {
      "authorization_endpoint": "https://cloud.digitalocean.com/v1/oauth/authorize",
      "token_endpoint": "https://cloud.digitalocean.com/v1/oauth/token"
    },
    "scopes": ["read"],
    "client_auth": "client_secret_post",
    "oauth2": {
      "identity_endpoint": "https://api.digitalocean.com/v2/account",
      "subject": "/account/uuid",
      "claims": { "name": "/account/name", "email": "/account/email", "email_verified": "/account/email_verified" }
    }
  }
}"#;
