//! The token endpoint (RFC 6749 section 3.2): codes and refresh tokens become tokens. And their revocation. Clients prove here
//! who they are.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::authorization_request::parse_scopes;
use super::request::{Form, decoded, header_of};
use super::response::{Answer, Refusal, empty, private_json};
use super::state::{CODE_LIFETIME, ConsentedGrant, GRANT_LIFETIME, IssuedAccessToken, RefreshToken, has};
use super::{Client, IncomingRequest};

const ID_TOKEN_LIFETIME_SECONDS: u64 = 3600;

impl IncomingRequest<'_> {
    pub(super) fn token(&mut self, request: &Request<Bytes>) -> Answer {
        let (form, client) = authenticate(&self.settings.clients, request)?;
        match form.required("grant_type")? {
            "authorization_code" => self.redeem(&client.id, &form),
            "refresh_token" => self.refresh(&client.id, &form),
            "client_credentials" if client.secret.is_some() => self.own(&client.id, &form),
            // RFC 6749 section 4.4: confidential clients only.
            "client_credentials" => Err(Refusal::oauth("unauthorized_client", "the client has no secret")),
            _ => {
                let supported = "authorization_code, refresh_token or client_credentials";
                Err(Refusal::oauth("unsupported_grant_type", supported))
            }
        }
    }

    /// RFC 6749 section 4.1.3, RFC 7636 section 4.6.
    fn redeem(&mut self, client_id: &str, form: &Form) -> Answer {
        const INVALID: Refusal =
            Refusal::oauth("invalid_grant", "the code is unknown, expired, spent or not for this request");
        let (sent, verifier) = (form.required("code")?, form.required("code_verifier")?);
        let code = self.state.codes.get(sent, self.now).filter(|code| code.asked.client_id == client_id);
        if let Some(grant) = &code.ok_or(INVALID)?.spent {
            // RFC 6749 section 4.1.2: whoever comes second, one of the two stole it.
            tracing::warn!(client_id, "a code was replayed: its tokens are revoked");
            self.state.grants.remove(grant, self.now);
            return Err(INVALID);
        }
        let mut code = self.state.codes.remove(sent, self.now).ok_or(INVALID)?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let proven = bool::from(challenge.as_bytes().ct_eq(code.asked.code_challenge.as_bytes()));
        if !proven || form.get("redirect_uri") != Some(&code.asked.reply.redirect_uri) {
            return Err(INVALID);
        }
        let (asked, session) = (code.asked.clone(), Some(code.session.clone()));
        let (scopes, resources) = (asked.scopes, asked.resources);
        let grant = ConsentedGrant { client_id: asked.client_id, session, scopes, resources };
        let resources = chosen_resources(form, &grant)?;
        let (id, expires_at) = (self.settings.random.token(), self.until(GRANT_LIFETIME));
        // It may come again, and is kept no longer than one that is not spent: those would have no room.
        code.spent = Some(id.clone());
        self.state.codes.insert(sent.to_owned(), code, self.until(CODE_LIFETIME));
        self.state.grants.insert(id.clone(), grant.clone(), expires_at);
        let access = IssuedAccessToken { grant: id, scopes: grant.scopes.clone(), resources };
        Ok(self.issue(&grant, access, asked.nonce))
    }

    /// RFC 6749 section 6, with rotation (RFC 9700 section 4.14.2).
    fn refresh(&mut self, client_id: &str, form: &Form) -> Answer {
        const INVALID: Refusal =
            Refusal::oauth("invalid_grant", "the refresh token is unknown, expired, spent or revoked");
        let token = self.state.refresh_tokens.get_mut(form.required("refresh_token")?, self.now);
        let token = token.ok_or(INVALID)?;
        let grant = self.state.grants.get(&token.grant, self.now).cloned();
        let grant = grant.filter(|grant| grant.client_id == client_id).ok_or(INVALID)?;
        if token.spent {
            tracing::warn!(client_id, "a refresh token was used twice: its family is revoked");
            self.state.grants.remove(&token.grant, self.now);
            return Err(INVALID);
        }
        let scopes = match form.get("scope") {
            None => grant.scopes.clone(),
            Some(scope) => parse_scopes(scope)
                .filter(|scopes| scopes.iter().all(|scope| grant.scopes.contains(scope)))
                .ok_or(Refusal::oauth("invalid_scope", "a scope was not granted"))?,
        };
        let resources = chosen_resources(form, &grant)?;
        token.spent = true;
        let access = IssuedAccessToken { grant: token.grant.clone(), scopes, resources };
        // OpenID Connect Core 1.0 section 12.2: a refreshed ID token should carry no nonce.
        Ok(self.issue(&grant, access, None))
    }

    /// RFC 6749 section 4.4: what a client may do by itself, whatever it asks for. There is no person, and so neither
    /// an ID token nor, by section 4.4.3, a refresh token.
    fn own(&mut self, client_id: &str, form: &Form) -> Answer {
        let invalid = Refusal::oauth("invalid_scope", "a scope is malformed, or asks about a person");
        let scopes = form.get("scope").map_or(Some(Vec::new()), parse_scopes);
        let scopes = scopes.filter(|scopes| !has(scopes, "openid")).ok_or(invalid)?;
        let (id, client_id, resources) = (self.settings.random.token(), client_id.to_owned(), form.resources());
        let access = IssuedAccessToken { grant: id.clone(), scopes: scopes.clone(), resources: resources.clone() };
        let grant = ConsentedGrant { client_id, session: None, scopes, resources };
        self.state.grants.insert(id, grant.clone(), self.until(self.settings.access_token_lifetime));
        Ok(self.issue(&grant, access, None))
    }

    /// RFC 6749 section 5.1, OpenID Connect Core 1.0 sections 2, 3.1.3.3 and 3.1.3.6.
    fn issue(&mut self, grant: &ConsentedGrant, access: IssuedAccessToken, nonce: Option<String>) -> Response<Bytes> {
        let (access_token, lifetime) = (self.settings.random.token(), self.settings.access_token_lifetime);
        let mut answer = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
            "scope": access.scopes.join(" "),
        });
        if let Some(session) = &grant.session {
            let refresh_token = self.settings.random.token();
            answer["refresh_token"] = refresh_token.as_str().into();
            let refresh = RefreshToken { grant: access.grant.clone(), spent: false };
            self.state.refresh_tokens.insert(refresh_token, refresh, self.until(GRANT_LIFETIME));
            if has(&access.scopes, "openid") {
                let now = self.now.as_secs();
                let mut claims = self.claims(&session.person, &access.scopes);
                claims["iss"] = self.settings.issuer.given.as_str().into();
                claims["aud"] = grant.client_id.as_str().into();
                claims["iat"] = now.into();
                claims["exp"] = now.saturating_add(ID_TOKEN_LIFETIME_SECONDS).into();
                claims["auth_time"] = session.auth_time.as_secs().into();
                claims["sid"] = session.sid.as_str().into();
                claims["at_hash"] = URL_SAFE_NO_PAD.encode(&Sha256::digest(&access_token)[..16]).into();
                if let Some(nonce) = nonce {
                    claims["nonce"] = nonce.into();
                }
                answer["id_token"] = self.state.keys.sign(&claims).into();
            }
        }
        self.state.access_tokens.insert(access_token, access, self.until(lifetime));
        private_json(&answer)
    }

    /// Revocation (RFC 7009).
    pub(super) fn revoke(&mut self, request: &Request<Bytes>) -> Answer {
        let (form, client) = authenticate(&self.settings.clients, request)?;
        let token = form.required("token")?;
        let refresh = self.state.refresh_tokens.get(token, self.now).map(|token| token.grant.clone());
        let access = self.state.access_tokens.get(token, self.now).map(|token| token.grant.clone());
        let is_refresh = refresh.is_some();
        // Section 2.2: a token that is not there, or no more, is revoked already.
        if let Some(id) = refresh.or(access)
            && let Some(grant) = self.state.grants.get(&id, self.now)
        {
            // Section 2.1: another client's token is refused, and that client hears of it.
            if grant.client_id != client.id {
                return Err(Refusal::oauth("unauthorized_client", "the token belongs to another client"));
            }
            // A refresh token takes its access tokens along, spent or not; an access token goes alone.
            if is_refresh {
                self.state.grants.remove(&id, self.now);
            } else {
                self.state.access_tokens.remove(token, self.now);
            }
        }
        Ok(empty(StatusCode::OK))
    }
}

/// RFC 8707 section 2.2: some of the resources that were granted; anything where none were named then.
fn chosen_resources(form: &Form, grant: &ConsentedGrant) -> Result<Vec<String>, Refusal> {
    let chosen = form.resources();
    if chosen.is_empty() {
        Ok(grant.resources.clone())
    } else if grant.resources.is_empty() || chosen.iter().all(|one| grant.resources.contains(one)) {
        Ok(chosen)
    } else {
        Err(Refusal::oauth("invalid_target", "a resource was not granted"))
    }
}

/// The form of a request, and the client that sends it: RFC 6749 section 2.3, by `client_secret_basic`,
/// `client_secret_post` or, where it has no secret, `none`.
fn authenticate<'c>(clients: &'c [Client], request: &Request<Bytes>) -> Result<(Form, &'c Client), Refusal> {
    let invalid = |description| Refusal::oauth("invalid_request", description);
    let form = Form::of_form(request);
    let form = form.ok_or(invalid("the body must be application/x-www-form-urlencoded"))?;
    if form.has_repeated() {
        return Err(invalid("a parameter comes twice"));
    }
    let (id, secret) = match header_of(request, &header::AUTHORIZATION) {
        Some(authorization) => {
            let (id, secret) = basic(authorization).ok_or(Refusal::INVALID_CLIENT)?;
            if form.get("client_secret").is_some() || form.get("client_id").is_some_and(|other| other != id) {
                return Err(invalid("the client authenticates in more than one way"));
            }
            (id, Some(secret).filter(|secret| !secret.is_empty()))
        }
        None => (form.owned("client_id").ok_or(Refusal::INVALID_CLIENT)?, form.owned("client_secret")),
    };
    let client = clients.iter().find(|client| client.id == id).ok_or(Refusal::INVALID_CLIENT)?;
    let proven = match (&client.secret, secret) {
        (Some(expected), Some(given)) => bool::from(expected.as_bytes().ct_eq(given.as_bytes())),
        (None, None) => true,
        _ => false,
    };
    if proven { Ok((form, client)) } else { Err(Refusal::INVALID_CLIENT) }
}

/// RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("Basic");
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':').filter(|_| is_basic)?;
    Some((decoded(id), decoded(secret)))
}
