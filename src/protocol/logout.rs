//! The logout request at the provider (OpenID Connect RP-Initiated Logout 1.0 section 2).

/// The parameter that says who signs out: their ID token.
pub(crate) const ID_TOKEN_HINT: &str = "id_token_hint";

/// The parameters of a logout request.
pub(crate) fn parameters<'a>(
    id_token_hint: Option<&'a str>,
    client_id: &'a str,
    post_logout_redirect_uri: &'a str,
    state: &'a str,
) -> Vec<(&'static str, String)> {
    let hint = id_token_hint.map(|hint| (ID_TOKEN_HINT, hint.to_owned()));
    let rest = [
        ("client_id", client_id.to_owned()),
        ("post_logout_redirect_uri", post_logout_redirect_uri.to_owned()),
        ("state", state.to_owned()),
    ];
    hint.into_iter().chain(rest).collect()
}
