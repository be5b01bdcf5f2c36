//! The token endpoint.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::edits::{Endpoint, apply};
use super::jwt::Draft;
use super::observe::TokenRequest;
use super::state::{Access, Family, Refresh, State};
use super::{json_answer, oauth_error, params_of};
use crate::params::Params;

/// Who asks, and how it proved it (a name of OpenID Connect Core section 9).
type Client = (String, &'static str);

/// The tokens' owner and the response; or the error code.
type Outcome = Result<(String, Map<String, Value>), &'static str>;

/// The response; or the error code.
type Issuing = Result<Map<String, Value>, &'static str>;

impl State {
    /// Client authentication as RFC 6749 section 2.3 has it. A public client names itself.
    pub(super) fn authenticate(
        &mut self, request: &Request<Bytes>, params: &Params,
    ) -> Result<Client, Box<Response<Bytes>>> {
        let refuse = |why: &str| {
            let mut response = oauth_error(401, "invalid_client", why);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"op\""));
            Box::new(response)
        };
        let basic = request.headers().get(AUTHORIZATION).and_then(|header| basic_credentials(header.to_str().ok()?));
        let in_body = params.get("client_secret").map(str::to_owned);
        if let Some((team, secret)) = self.settings.team.clone().zip(in_body.as_ref()) {
            return self.signed_secret(&team, params, secret).map_err(refuse);
        }
        if let Some(assertion) = params.get("client_assertion") {
            let asserted = self.asserted(request.uri().path(), params, assertion);
            let asserted = if basic.is_some() { Err("two ways of client authentication") } else { asserted };
            let asserted = asserted.and_then(|(id, method)| match self.settings.auth_methods.contains(&method) {
                true => Ok((id, method)),
                false => Err("this way of client authentication is not registered"),
            });
            return asserted.map_err(refuse);
        }
        let (client_id, secret, method) = match (basic, in_body) {
            (Some(_), Some(_)) => return Err(refuse("two ways of client authentication")),
            (Some((id, secret)), None) => (id, Some(secret), "client_secret_basic"),
            (None, secret) => {
                let method = if secret.is_some() { "client_secret_post" } else { "none" };
                (params.get("client_id").unwrap_or_default().to_owned(), secret, method)
            }
        };
        match self.clients.get(&client_id) {
            None => Err(refuse("unknown client")),
            Some(known) if *known != secret => Err(refuse("wrong secret")),
            Some(_) if method != "none" && !self.settings.auth_methods.contains(&method) => {
                Err(refuse("this way of client authentication is not registered"))
            }
            Some(_) => Ok((client_id, method)),
        }
    }

    pub(super) fn token(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let params = params_of(request);
        let text = |name: &str| params.get(name).map(str::to_owned);
        let grant_type = text("grant_type").unwrap_or_default();
        let is_refresh = grant_type == "refresh_token";
        let mut record = TokenRequest {
            grant_type: grant_type.clone(),
            code: text("code"),
            refresh_token: text("refresh_token"),
            client_id: text("client_id").unwrap_or_default(),
            auth_method: "none",
            params: params.clone(),
            outcome: Err("canned".to_owned()),
        };
        if let Some(canned) = self.canned(if is_refresh { Endpoint::Refresh } else { Endpoint::Token }) {
            self.log.tokens.push(record);
            return canned;
        }
        match self.authenticate(request, &params) {
            Ok((client_id, method)) => (record.client_id, record.auth_method) = (client_id, method),
            Err(refusal) => {
                record.outcome = Err("invalid_client".to_owned());
                self.log.tokens.push(record);
                return *refusal;
            }
        }
        let outcome = match grant_type.as_str() {
            "authorization_code" => self.exchange(&record.client_id, &params),
            "refresh_token" => self.refresh(&record.client_id, &params),
            "client_credentials" => self.client_credentials(&record.client_id, &params),
            _ => Err("unsupported_grant_type"),
        };
        record.outcome = outcome.as_ref().map(|(owner, _)| owner.clone()).map_err(|error| (*error).to_owned());
        self.log.tokens.push(record);
        match outcome {
            Err(error) => oauth_error(400, error, "refused by the provider"),
            Ok((_, mut tokens)) => {
                let edit = if is_refresh { &self.edits.refreshed_tokens } else { &self.edits.tokens };
                apply(edit, &mut tokens);
                json_answer(self.settings.token_status, &Value::Object(tokens))
            }
        }
    }

    fn exchange(&mut self, client_id: &str, params: &Params) -> Outcome {
        let now = self.now();
        let code = self.codes.get_mut(params.get("code").unwrap_or_default()).ok_or("invalid_grant")?;
        let family = code.family;
        if std::mem::replace(&mut code.spent, true) {
            // RFC 6749 section 4.1.2: what the first use yielded is revoked.
            self.log.code_reuse += 1;
            self.families[family].alive = false;
            return Err("invalid_grant");
        }
        let verifier = params.get("code_verifier").map(|text| URL_SAFE_NO_PAD.encode(Sha256::digest(text)));
        let redirect_uri_fits = params.get("redirect_uri") == Some(code.redirect_uri.as_str());
        if !redirect_uri_fits || code.challenge != verifier || now > code.issued_at + 60 {
            return Err("invalid_grant");
        }
        if self.families[family].client_id != client_id || !self.families[family].alive {
            return Err("invalid_grant");
        }
        let granted = self.families[family].clone();
        let scope = scopes(params).unwrap_or_else(|| granted.scope.clone());
        let mut tokens = self.issue(&granted, family, params, scope)?;
        let asked = |name: &str| self.log.authorizations.last().and_then(|one| one.params.get(name));
        let (prompt, access_type) = (asked("prompt"), asked("access_type"));
        let first = self.consented.insert(granted.user.clone()) || prompt == Some("consent");
        let is_offline = access_type == Some("offline") || !self.settings.needs_access_type;
        if self.settings.issue_refresh_tokens && is_offline && (first || !self.settings.refresh_token_once) {
            tokens.insert("refresh_token".to_owned(), self.new_refresh_token(family).into());
        }
        if granted.scope.iter().any(|scope| scope == "openid") {
            let id_token = self.id_token(&granted, &tokens, false);
            tokens.insert("id_token".to_owned(), id_token.into());
        }
        Ok((granted.user, tokens))
    }

    fn refresh(&mut self, client_id: &str, params: &Params) -> Outcome {
        let rotate = self.settings.rotate_refresh_tokens;
        let (now, grace) = (self.now(), self.settings.reuse_grace);
        let token = params.get("refresh_token").unwrap_or_default();
        let refresh = self.refresh_tokens.get_mut(token).ok_or("invalid_grant")?;
        let at = refresh.family;
        if refresh.revoked || self.families[at].client_id != client_id {
            return Err("invalid_grant");
        }
        let forgiven = now < refresh.spent_at + grace;
        if refresh.spent && rotate && !forgiven {
            // Stolen, or spent twice: nobody can tell, so the whole family dies (RFC 9700 section 4.14.2).
            self.log.refresh_reuse += 1;
            self.families[at].alive = false;
            return Err("invalid_grant");
        }
        if !self.families[at].alive {
            return Err("invalid_grant");
        }
        if self.settings.require_resource && params.get("resource").is_none() {
            return Err("invalid_target");
        }
        let granted = self.families[at].clone();
        let asked = scopes(params);
        if asked.as_ref().is_some_and(|asked| asked.iter().any(|scope| !granted.scope.contains(scope))) {
            return Err("invalid_scope");
        }
        if !std::mem::replace(&mut refresh.spent, true) {
            refresh.spent_at = now;
        }
        let mut tokens = self.issue(&granted, at, params, asked.unwrap_or_else(|| granted.scope.clone()))?;
        if rotate {
            tokens.insert("refresh_token".to_owned(), self.new_refresh_token(at).into());
        }
        if self.settings.id_token_on_refresh && granted.scope.iter().any(|scope| scope == "openid") {
            let id_token = self.id_token(&granted, &tokens, true);
            tokens.insert("id_token".to_owned(), id_token.into());
        }
        Ok((granted.user, tokens))
    }

    fn client_credentials(&mut self, client_id: &str, params: &Params) -> Outcome {
        let scope = scopes(params).unwrap_or_default();
        Ok((client_id.to_owned(), self.access_token(client_id, client_id, params, scope, None, Vec::new())?))
    }

    fn issue(&mut self, granted: &Family, at: usize, params: &Params, scope: Vec<String>) -> Issuing {
        let client_id = granted.client_id.clone();
        self.access_token(&granted.user, &client_id, params, scope, Some(at), granted.resources.clone())
    }

    fn access_token(
        &mut self, owner: &str, client_id: &str, params: &Params, scope: Vec<String>, family: Option<usize>,
        granted_resources: Vec<String>,
    ) -> Issuing {
        let (resources, scope) = self.settings.api_naming.issued(params, scope, granted_resources)?;
        let token = self.draw("at") + &"x".repeat(self.settings.access_token_padding);
        let token = self.jwt(owner, client_id, token);
        let lifetime = self.settings.access_token_lifetime;
        let access = Access {
            owner: owner.to_owned(),
            client_id: client_id.to_owned(),
            scope: scope.clone(),
            resources,
            expires_at: self.now() + lifetime + self.settings.leeway,
            family,
            revoked: false,
        };
        self.access_tokens.insert(token.clone(), access);
        let response = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": scope.join(" "),
        });
        let Value::Object(response) = response else { unreachable!() };
        Ok(response)
    }

    /// A JWT with this id, where access tokens are JWTs.
    fn jwt(&self, owner: &str, client_id: &str, id: String) -> String {
        let Some(Value::Object(more)) = self.settings.access_jwt.clone() else { return id };
        let (now, sub) = (self.now(), self.users.get(owner).map_or(owner, |user| &user.sub));
        let claims = json!({
            "iss": self.issuer, "iat": now, "exp": now + self.settings.access_token_lifetime, "jti": id, "sub": sub,
            "azp": client_id,
        });
        let mut draft = Draft::new(self.key(), claims);
        draft.claims.extend(more);
        draft.encode()
    }

    fn new_refresh_token(&mut self, family: usize) -> String {
        let token = self.draw("rt");
        self.refresh_tokens.insert(token.clone(), Refresh { family, spent: false, spent_at: 0, revoked: false });
        token
    }

    /// OpenID Connect Core 2, 3.1.3.6 and, for refreshes, 12.2: without `nonce`, with the first `auth_time`.
    fn id_token(&mut self, granted: &Family, tokens: &Map<String, Value>, refreshed: bool) -> String {
        if self.edits.rotate_before_signing {
            self.generation += 1;
        }
        let (key, now) = (self.key(), self.now());
        let user = &self.users[&granted.user];
        let access_token = tokens["access_token"].as_str().unwrap_or_default();
        let claims = json!({
            "iss": self.issuer, "sub": user.sub, "aud": granted.client_id,
            "iat": now, "exp": now + self.settings.id_token_lifetime,
            "auth_time": granted.auth_time, "sid": granted.sid, "at_hash": key.alg.half_hash(access_token),
        });
        let mut draft = Draft::new(key, claims);
        if !self.settings.audiences.is_empty() {
            draft.claim("aud", json!(self.settings.audiences));
            draft.claim("azp", granted.client_id.clone());
        }
        if self.settings.claims_in_id_token {
            draft.claims.extend(user.claims.clone());
        }
        if let Some(acr) = &granted.acr {
            draft.claim("acr", acr.clone());
        }
        if let Some(nonce) = granted.nonce.as_ref().filter(|_| !refreshed) {
            draft.claim("nonce", nonce.clone());
        }
        apply(if refreshed { &self.edits.refreshed_id_token } else { &self.edits.id_token }, &mut draft);
        draft.encode()
    }
}

fn scopes(params: &Params) -> Option<Vec<String>> {
    params.get("scope").map(|scope| scope.split_whitespace().map(str::to_owned).collect())
}

/// `Basic`, with both halves form-decoded (RFC 6749 section 2.3.1).
fn basic_credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let form_decoded = |text: &str| Params::parse(format!("x={text}")).get("x").unwrap_or_default().to_owned();
    // A raw `&` would have had to be encoded.
    let well_formed = scheme.eq_ignore_ascii_case("basic") && !decoded.contains('&');
    well_formed.then(|| (form_decoded(id), form_decoded(secret)))
}
