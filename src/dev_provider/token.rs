//! The token endpoint (RFC 6749 section 3.2): codes and refresh tokens become tokens. And their revocation.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::authorization_request::parse_scopes;
use super::client::authenticate;
use super::request::Form;
use super::response::{OAuthError, empty, private_json};
use super::state::{ConsentedGrant, GRANT_LIFETIME, IssuedAccessToken, Person, RefreshToken};
use super::{IncomingRequest, user_info};

const ID_TOKEN_LIFETIME_SECONDS: u64 = 3600;

impl IncomingRequest<'_> {
    pub(super) fn token(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        self.exchange(request).map_or_else(OAuthError::into_response, |tokens| private_json(&tokens))
    }

    fn exchange(&mut self, request: &Request<Bytes>) -> Result<Value, OAuthError> {
        let (form, client) = authenticate(&self.settings.clients, request)?;
        match form.required("grant_type")? {
            "authorization_code" => self.redeem(&client.id, &form),
            "refresh_token" => self.refresh(&client.id, &form),
            "client_credentials" if client.secret.is_some() => self.own(&client.id, &form),
            // RFC 6749 section 4.4: confidential clients only.
            "client_credentials" => Err(OAuthError::new("unauthorized_client", "the client has no secret")),
            _ => Err(OAuthError::new(
                "unsupported_grant_type",
                "authorization_code, refresh_token or client_credentials",
            )),
        }
    }

    /// RFC 6749 section 4.1.3, RFC 7636 section 4.6.
    fn redeem(&mut self, client_id: &str, form: &Form) -> Result<Value, OAuthError> {
        let why = "the code is unknown, expired, spent or not for this request";
        let invalid = || OAuthError::new("invalid_grant", why);
        let (sent, verifier) = (form.required("code")?, form.required("code_verifier")?);
        let code = self.state.codes.get(sent, self.now).ok_or_else(invalid)?;
        if code.grant.client_id != client_id {
            return Err(invalid());
        }
        if let Some(grant) = &code.spent {
            // RFC 6749 section 4.1.2: whoever comes second, one of the two stole it.
            tracing::warn!(client_id, "a code was replayed: its tokens are revoked");
            self.state.grants.remove(grant, self.now);
            return Err(invalid());
        }
        let mut code = self.state.codes.remove(sent, self.now).ok_or_else(invalid)?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let proven = bool::from(challenge.as_bytes().ct_eq(code.code_challenge.as_bytes()));
        if !proven || form.get("redirect_uri") != Some(&code.redirect_uri) {
            return Err(invalid());
        }
        let resources = chosen_resources(form, &code.grant)?;
        let (grant, id) = (code.grant.clone(), self.settings.random.token());
        let expires_at = self.now.saturating_add(GRANT_LIFETIME);
        self.state.grants.insert(id.clone(), grant.clone(), expires_at);
        let nonce = code.nonce.take();
        // The spent code is kept as long as its tokens: it may come again.
        code.spent = Some(id.clone());
        self.state.codes.insert(sent.to_owned(), code, expires_at);
        let scopes = grant.scopes.clone();
        Ok(self.issue(id, &grant, scopes, resources, nonce))
    }

    /// RFC 6749 section 6, with rotation (RFC 9700 section 4.14.2).
    fn refresh(&mut self, client_id: &str, form: &Form) -> Result<Value, OAuthError> {
        let why = "the refresh token is unknown, expired, spent or revoked";
        let invalid = || OAuthError::new("invalid_grant", why);
        let sent = form.required("refresh_token")?;
        let token = self.state.refresh_tokens.get(sent, self.now).ok_or_else(invalid)?;
        let (id, spent) = (token.grant.clone(), token.spent);
        let grant = self.state.grants.get(&id, self.now).ok_or_else(invalid)?.clone();
        if grant.client_id != client_id {
            return Err(invalid());
        }
        if spent {
            tracing::warn!(client_id, "a refresh token was used twice: its family is revoked");
            self.state.grants.remove(&id, self.now);
            return Err(invalid());
        }
        let scopes = match form.get("scope") {
            None => grant.scopes.clone(),
            Some(scope) => parse_scopes(scope)
                .filter(|scopes| scopes.iter().all(|scope| grant.scopes.contains(scope)))
                .ok_or_else(|| OAuthError::new("invalid_scope", "a scope was not granted"))?,
        };
        let resources = chosen_resources(form, &grant)?;
        if let Some(token) = self.state.refresh_tokens.get_mut(sent, self.now) {
            token.spent = true;
        }
        // OpenID Connect Core 1.0 section 12.2: a refreshed ID token should carry no nonce.
        Ok(self.issue(id, &grant, scopes, resources, None))
    }

    /// RFC 6749 section 4.4: what a client may do by itself, whatever it asks for. There is no person, and so neither
    /// an ID token nor, by section 4.4.3, a refresh token.
    fn own(&mut self, client_id: &str, form: &Form) -> Result<Value, OAuthError> {
        let invalid = || OAuthError::new("invalid_scope", "a scope is malformed, or asks about a person");
        let scopes = form.get("scope").map_or(Some(Vec::new()), parse_scopes).ok_or_else(invalid)?;
        if scopes.iter().any(|scope| scope == "openid") {
            return Err(invalid());
        }
        let (id, now) = (self.settings.random.token(), self.now);
        let resources: Vec<String> = form.all("resource").map(str::to_owned).collect();
        let grant = ConsentedGrant {
            client_id: client_id.to_owned(),
            person: None,
            sid: id.clone(),
            auth_time: now,
            scopes: scopes.clone(),
            resources: resources.clone(),
        };
        let expires_at = now.saturating_add(self.settings.access_token_lifetime);
        self.state.grants.insert(id.clone(), grant.clone(), expires_at);
        Ok(self.issue(id, &grant, scopes, resources, None))
    }

    /// RFC 6749 section 5.1, OpenID Connect Core 1.0 section 3.1.3.3.
    fn issue(
        &mut self,
        id: String,
        grant: &ConsentedGrant,
        scopes: Vec<String>,
        resources: Vec<String>,
        nonce: Option<String>,
    ) -> Value {
        let (access_token, now) = (self.settings.random.token(), self.now);
        let lifetime = self.settings.access_token_lifetime;
        let mut answer = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
            "scope": scopes.join(" "),
        });
        if let Some(person) = &grant.person {
            let refresh_token = self.settings.random.token();
            answer["refresh_token"] = refresh_token.as_str().into();
            if scopes.iter().any(|scope| scope == "openid") {
                answer["id_token"] = self.id_token((grant, person), &scopes, &access_token, nonce).into();
            }
            let refresh = RefreshToken { grant: id.clone(), spent: false };
            self.state.refresh_tokens.insert(refresh_token, refresh, now.saturating_add(GRANT_LIFETIME));
        }
        let access = IssuedAccessToken { grant: id, scopes, resources };
        self.state.access_tokens.insert(access_token, access, now.saturating_add(lifetime));
        answer
    }

    /// OpenID Connect Core 1.0 sections 2 and 3.1.3.6.
    fn id_token(
        &self,
        (grant, person): (&ConsentedGrant, &Person),
        scopes: &[String],
        access_token: &str,
        nonce: Option<String>,
    ) -> String {
        let now = self.now.as_secs();
        let mut claims = Map::from_iter([
            ("iss".to_owned(), self.settings.issuer.as_str().into()),
            ("aud".to_owned(), grant.client_id.as_str().into()),
            ("iat".to_owned(), now.into()),
            ("exp".to_owned(), now.saturating_add(ID_TOKEN_LIFETIME_SECONDS).into()),
            ("auth_time".to_owned(), grant.auth_time.as_secs().into()),
            ("sid".to_owned(), grant.sid.as_str().into()),
            ("at_hash".to_owned(), URL_SAFE_NO_PAD.encode(&Sha256::digest(access_token)[..16]).into()),
        ]);
        claims.extend(user_info::claims(person, scopes));
        claims.extend(nonce.map(|nonce| ("nonce".to_owned(), nonce.into())));
        self.state.keys.sign(&Value::Object(claims))
    }

    /// Revocation (RFC 7009).
    pub(super) fn revoke(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        self.try_revoke(request).map_or_else(OAuthError::into_response, |()| empty(StatusCode::OK))
    }

    fn try_revoke(&mut self, request: &Request<Bytes>) -> Result<(), OAuthError> {
        let (form, client) = authenticate(&self.settings.clients, request)?;
        let token = form.required("token")?;
        let refresh = self.state.refresh_tokens.get(token, self.now).map(|token| token.grant.clone());
        let access = self.state.access_tokens.get(token, self.now).map(|token| token.grant.clone());
        let is_refresh = refresh.is_some();
        // Section 2.2: a token that is not there, or no more, is revoked already.
        let Some(id) = refresh.or(access) else { return Ok(()) };
        match self.state.grants.get(&id, self.now) {
            None => {}
            // Section 2.1: another client's token is refused, and that client hears of it.
            Some(grant) if grant.client_id != client.id => {
                return Err(OAuthError::new("unauthorized_client", "the token belongs to another client"));
            }
            // A refresh token takes its access tokens along, spent or not; an access token goes alone.
            Some(_) if is_refresh => drop(self.state.grants.remove(&id, self.now)),
            Some(_) => drop(self.state.access_tokens.remove(token, self.now)),
        }
        Ok(())
    }
}

/// RFC 8707 section 2.2: some of the resources that were granted; anything where none were named then.
fn chosen_resources(form: &Form, grant: &ConsentedGrant) -> Result<Vec<String>, OAuthError> {
    let chosen: Vec<String> = form.all("resource").map(str::to_owned).collect();
    if chosen.is_empty() {
        Ok(grant.resources.clone())
    } else if grant.resources.is_empty() || chosen.iter().all(|one| grant.resources.contains(one)) {
        Ok(chosen)
    } else {
        Err(OAuthError::new("invalid_target", "a resource was not granted"))
    }
}
