//! What people grant besides signing in: read from the environment, shown on the home page, and used.

use std::error::Error as StdError;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tower_oidc::testing::development_provider;
use tower_oidc::{
    AccountState, AccountStatus, Config, Connection, ConnectionState, ConnectionStatus, CurrentUser, Error,
    GrantLifetime, Resource, ResponseMode, SingleUseToken, UserTokens,
};

use crate::page::escape;
use crate::{Demo, relay, variable};

/// A connection, and the API that its tokens are for.
pub(crate) struct Connected {
    name: String,
    api_url: String,
    optional_scopes: Vec<String>,
    one_use: bool,
}

/// Adds what `CONNECTIONS` names to the configuration; the development provider needs nobody to say so.
pub(crate) fn from_env(mut config: Config) -> Result<(Config, Vec<Connected>), Box<dyn StdError>> {
    let stateless = variable("MODE").as_deref() == Some("stateless");
    let mut all = Vec::new();
    for name in words(variable("CONNECTIONS"), ',') {
        let prefix = format!("CONNECTION_{}", name.to_ascii_uppercase().replace('-', "_"));
        let of = |end: &str| variable(&format!("{prefix}_{end}"));
        let api_url = of("API_URL").ok_or_else(|| format!("{prefix}_API_URL is missing: CONNECTIONS names {name}"))?;
        let mut connection = Connection::new(&name);
        let provider = of("PROVIDER");
        connection = match of("FOR").as_deref() {
            None | Some("people") => connection,
            Some("visitors") => connection.allow_visitors(),
            Some("one-use") => connection.single_use(),
            Some(other) => {
                return Err(format!("{prefix}_FOR={other} is none of people, visitors and one-use").into());
            }
        };
        let one_use = connection.single_use;
        let (scopes, optional_scopes) = (words(of("SCOPES"), ' '), words(of("OPTIONAL_SCOPES"), ' '));
        all.push((connection, provider, scopes, Connected { name, api_url, optional_scopes, one_use }));
    }
    // One refresh token is for one grant, and what a browser carries does not come with another site's form.
    let impossible = variable("ACCOUNT").as_deref() == Some("refresh-token")
        || stateless && config.provider.response_mode == ResponseMode::FormPost;
    if variable("CONNECTIONS").is_none() && config.provider.issuer == "development" && !impossible {
        let api_url = format!("{}/calendar", config.public_url.trim_end_matches('/'));
        let optional_scopes = vec!["calendar.write".to_owned()];
        let calendar = Connected { name: "calendar".to_owned(), api_url, optional_scopes, one_use: false };
        all.push((Connection::new("calendar"), None, vec![READ.to_owned()], calendar));
    }
    for (connection, provider, scopes, connected) in &all {
        let mut resource = Resource::new(&connected.name, &connected.api_url);
        resource.scopes.clone_from(scopes);
        resource.optional_scopes.clone_from(&connected.optional_scopes);
        // What browsers carry ends with the session.
        let grant_lifetime = if stateless { GrantLifetime::Session } else { GrantLifetime::Persistent };
        let connection = connection.clone().resource(resource).grant_lifetime(grant_lifetime);
        let Some(name) = provider else {
            config = config.connection(connection);
            continue;
        };
        let mut named = config.more_providers.iter_mut().chain([&mut config.provider]);
        let found = named.find(|provider| provider.name == *name);
        found.ok_or_else(|| format!("there is no provider {name}: OIDC_PROVIDERS"))?.connections.push(connection);
    }
    Ok((config, all.into_iter().map(|(.., connected)| connected).collect()))
}

fn words(list: Option<String>, separator: char) -> Vec<String> {
    let list = list.unwrap_or_default();
    list.split(separator).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// Scopes without which the page is of no use, space separated.
    scope: Option<String>,
}

/// `/api/NAME`: calls the connection's API with the person's token. Where they have not granted it, or not a scope, `?`
/// sends them to grant it and back to this page; a script gets the address.
pub(crate) async fn call(
    tokens: UserTokens, Path(name): Path<String>, Query(asked): Query<Asked>, State(demo): State<Demo>,
) -> Result<Response, Error> {
    let scopes = words(asked.scope, ' ');
    let knows = |connected: &&Connected| {
        !connected.one_use && scopes.iter().all(|scope| connected.optional_scopes.contains(scope))
    };
    let Some(connected) = demo.connected(&name).filter(knows) else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    if !scopes.is_empty() {
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        tokens.require_scopes(&name, &scopes).await?;
    }
    Ok(relay(&tokens.client().get(&connected.api_url).await?))
}

/// `/once/NAME`: the same with a token that was granted for this one page, which is revoked when it has served.
pub(crate) async fn once(
    token: SingleUseToken, Path(name): Path<String>, State(demo): State<Demo>,
) -> Result<Response, Error> {
    let Some(connected) = demo.connected(&name) else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let secret = token.access_token(&connected.api_url)?.expose_secret();
    let answer = reqwest::Client::new().get(&connected.api_url).bearer_auth(secret).send().await;
    let answer = match answer {
        Ok(answer) => answer.text().await,
        Err(error) => Err(error),
    };
    token.revoke().await;
    Ok(answer.map_err(|_| StatusCode::BAD_GATEWAY).into_response())
}

const READ: &str = "calendar.read";

/// The API of the connection that needs no configuration. It asks the development provider what the token stands for.
pub(crate) async fn calendar(State(demo): State<Demo>, headers: HeaderMap) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok()?.strip_prefix("Bearer "));
    let known = shown.and_then(|token| development_provider(&demo.auth)?.inspect(token));
    match known.filter(|known| known.scopes.iter().any(|scope| scope == READ)) {
        Some(known) => Json(json!({ "calendar_of": known.subject, "scopes": known.scopes })).into_response(),
        None => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response(),
    }
}

/// How each connection stands, and what can be done about it.
pub(crate) async fn section(demo: &Demo, user: Option<&CurrentUser>, tokens: Option<&UserTokens>) -> String {
    let account = demo.auth.account_status().await;
    let rows = match (account.is_empty(), tokens) {
        (false, _) => account.iter().map(|status| account_row(demo, user, status)).collect(),
        (true, None) => return String::new(),
        (true, Some(tokens)) => own_rows(demo, tokens).await,
    };
    let rows = rows.unwrap_or_else(|error: Error| format!("<li>{}</li>", escape(&error.to_string())));
    let title = if account.is_empty() { "Connections" } else { "The account for everybody" };
    if rows.is_empty() { rows } else { format!("<h2>{title}</h2><ul id=connections>{rows}</ul>") }
}

/// Of whoever this browser's requests come from.
async fn own_rows(demo: &Demo, tokens: &UserTokens) -> Result<String, Error> {
    let mut rows = String::new();
    for status in tokens.connections().await? {
        let name = &status.name;
        let call = format!("/api/{name}");
        let optional = demo.connected(name).into_iter().flat_map(|connected| &connected.optional_scopes);
        let missing: Vec<_> = optional.filter(|scope| !status.scopes.contains(scope)).cloned().collect();
        let more = (format!("Use it with {}", missing.join(", ")), format!("{call}?scope={}", missing.join("+")));
        let (connect, disconnect) = (tokens.connect_url(name, "/")?, tokens.disconnect_url(name, "/")?);
        let (state, class) = match status.state {
            ConnectionState::Connected => ("connected", "good"),
            ConnectionState::NeedsConsent => ("needs your consent", "bad"),
            ConnectionState::SingleUse => ("for one use", ""),
            _ => ("not connected", ""),
        };
        let (call, disconnect) = (("call", "Use it", call), ("disconnect", "Disconnect", disconnect));
        let links = match status.state {
            ConnectionState::Connected if missing.is_empty() => vec![call, disconnect],
            ConnectionState::Connected => vec![call, ("more", &*more.0, more.1), disconnect],
            ConnectionState::NeedsConsent => vec![("connect", "Connect again", connect), disconnect],
            ConnectionState::SingleUse => {
                vec![("once", "Use it once", tokens.connect_single_use_url(name, &format!("/once/{name}"))?)]
            }
            _ => vec![("connect", "Connect", connect), call],
        };
        rows.push_str(&row(name, (state, class), &about(&status), &links));
    }
    Ok(rows)
}

fn about(status: &ConnectionStatus) -> String {
    let account = status.account.as_ref().map(|account| format!("as {account} "));
    let scopes = match status.scopes.as_slice() {
        [] => String::new(),
        scopes => format!(" · {}", scopes.join(", ")),
    };
    let at = match (&status.issuer, &*status.provider) {
        (Some(issuer), _) => issuer,
        (None, "default") => "the provider where you sign in",
        (None, provider) => provider,
    };
    format!("{}at {at}{scopes}", account.unwrap_or_default())
}

/// In single-user mode, for everybody; what an operator connects, admins may connect and take back.
fn account_row(demo: &Demo, user: Option<&CurrentUser>, status: &AccountStatus) -> Result<String, Error> {
    let name = &status.connection;
    let call = if demo.connected(name).is_some() { format!("/api/{name}") } else { "/api".to_owned() };
    let mut links = vec![("call", "Use it", call)];
    if variable("ACCOUNT").as_deref() == Some("operator") && user.is_some_and(CurrentUser::is_admin) {
        let way = format!("connection={name}&return_to=/");
        links.push(("connect", "Connect it", format!("/auth/connect?{way}&prompt=login")));
        links.push(("disconnect", "Disconnect it", format!("/auth/disconnect?{way}")));
    }
    let state = match status.state {
        AccountState::Connected => ("connected", "good"),
        AccountState::NeedsOperator => ("needs its operator", "bad"),
        _ => ("does not answer at the moment", "bad"),
    };
    let subject = status.subject.as_ref().map(|subject| format!("as {subject}"));
    let about: Vec<_> = subject.into_iter().chain(status.why.clone()).collect();
    Ok(row(name, state, &about.join(" · "), &links))
}

fn row(name: &str, (state, class): (&str, &str), about: &str, links: &[(&str, &str, String)]) -> String {
    let link = |(id, label, url): &(&str, &str, String)| {
        format!("<a id=\"{id}-{}\" href=\"{}\">{}</a>", escape(name), escape(url), escape(label))
    };
    let links: Vec<String> = links.iter().map(link).collect();
    format!(
        "<li id=\"connection-{name}\"><strong>{name}</strong><span class=\"state {class}\">{state}</span>\
         <p>{}</p>{}</li>",
        escape(about),
        links.join(" "),
        name = escape(name),
    )
}

impl Demo {
    fn connected(&self, name: &str) -> Option<&Connected> {
        self.connected.iter().find(|connected| connected.name == name)
    }
}
