//! Metadata, keys, UserInfo, revocation, introspection, end of session.

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response};
use serde_json::{Map, Value, json};

use super::edits::{Endpoint, apply};
use super::jwt::Draft;
use super::keys::Key;
use super::observe::Revocation;
use super::state::{RevocationReach, State};
use super::{json_answer, oauth_error, params_of, redirect, typed_answer};

impl State {
    pub(super) fn discovery(&mut self) -> Response<Bytes> {
        self.log.discovery += 1;
        if let Some(canned) = self.canned(Endpoint::Discovery) {
            return canned;
        }
        let (base, settings) = (self.base(), &self.settings);
        let mut algs = vec!["RS256"];
        for alg in [settings.signing].iter().chain(&settings.also_publish) {
            if !algs.contains(&alg.name()) {
                algs.push(alg.name());
            }
        }
        let mut document = object(json!({
            "issuer": self.issuer,
            "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": format!("{base}/token"),
            "userinfo_endpoint": format!("{base}/userinfo"),
            "jwks_uri": format!("{base}/jwks"),
            "introspection_endpoint": format!("{base}/introspect"),
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "form_post"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algs,
            "claims_supported": ["sub", "email", "email_verified", "name"],
            "code_challenge_methods_supported": ["S256"],
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
        }));
        let mut also = |condition: bool, name: &str, value: Value| {
            if condition {
                document.insert(name.to_owned(), value);
            }
        };
        also(settings.announce_auth_methods, "token_endpoint_auth_methods_supported", json!(settings.auth_methods));
        also(settings.announce_iss, "authorization_response_iss_parameter_supported", json!(true));
        also(settings.sign_userinfo, "userinfo_signing_alg_values_supported", json!(algs));
        also(settings.revocation, "revocation_endpoint", json!(format!("{base}/revoke")));
        also(settings.end_session, "end_session_endpoint", json!(format!("{base}/end_session")));
        let par = "pushed_authorization_request_endpoint";
        also(settings.pushed_authorization, par, json!(format!("{base}/par")));
        apply(&self.edits.discovery, &mut document);
        json_answer(200, &Value::Object(document))
    }

    pub(super) fn key_set(&mut self) -> Response<Bytes> {
        self.log.key_sets += 1;
        if let Some(canned) = self.canned(Endpoint::KeySet) {
            return canned;
        }
        let algs = [self.settings.signing].into_iter().chain(self.settings.also_publish.iter().copied());
        let keys: Vec<_> = algs.map(|alg| Key { alg, generation: self.generation }.jwk()).collect();
        let mut set = object(json!({ "keys": keys }));
        apply(&self.edits.key_set, &mut set);
        json_answer(200, &Value::Object(set))
    }

    pub(super) fn userinfo(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        self.log.userinfo += 1;
        if let Some(canned) = self.canned(Endpoint::FetchUserInfo) {
            return canned;
        }
        let token = bearer(request).filter(|token| self.is_live(token));
        let user = token.and_then(|token| self.users.get(&self.access_tokens[&token].owner));
        let Some(user) = user else {
            let mut response = oauth_error(401, "invalid_token", "expired, revoked or unknown");
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return response;
        };
        let mut claims = user.claims.clone();
        claims.insert("sub".to_owned(), json!(user.sub));
        let audience = bearer(request).map(|token| self.access_tokens[&token].client_id.clone());
        apply(&self.edits.userinfo, &mut claims);
        if !self.settings.sign_userinfo {
            return json_answer(200, &Value::Object(claims));
        }
        claims.insert("iss".to_owned(), json!(self.issuer));
        claims.insert("aud".to_owned(), json!(audience));
        let mut draft = Draft::new(self.key(), Value::Object(claims));
        apply(&self.edits.signed_userinfo, &mut draft);
        typed_answer(200, "application/jwt;charset=UTF-8", draft.encode())
    }

    /// RFC 7009: a token that is unknown is revoked already.
    pub(super) fn revoke(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let params = params_of(request);
        let token = params.get("token").unwrap_or_default().to_owned();
        let refresh = self.refresh_tokens.get(&token).map(|refresh| refresh.family);
        let access = self.access_tokens.get(&token).cloned();
        let owner = refresh.map(|at| self.families[at].user.clone()).or(access.as_ref().map(|a| a.owner.clone()));
        let hint = params.get("token_type_hint").map(str::to_owned);
        self.log.revocations.push(Revocation { token: token.clone(), hint, owner });
        if let Some(canned) = self.canned(Endpoint::Revocation) {
            return canned;
        }
        if let Err(refusal) = self.authenticate(request, &params) {
            return *refusal;
        }
        if let Some(refresh) = self.refresh_tokens.get_mut(&token) {
            refresh.revoked = true;
        }
        if let Some(access) = self.access_tokens.get_mut(&token) {
            access.revoked = true;
        }
        let family = refresh.or(access.and_then(|access| access.family));
        match (self.settings.revocation_reach, family) {
            (RevocationReach::Grant, Some(at)) => self.families[at].alive = false,
            (RevocationReach::User, Some(at)) => {
                let (user, client) = (self.families[at].user.clone(), self.families[at].client_id.clone());
                self.kill_families(|family| family.user == user && family.client_id == client);
            }
            _ => {}
        }
        json_answer(200, &json!({}))
    }

    pub(super) fn introspect(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let params = params_of(request);
        self.log.introspections.push(params.clone());
        if let Some(canned) = self.canned(Endpoint::Introspection) {
            return canned;
        }
        if let Err(refusal) = self.authenticate(request, &params) {
            return *refusal;
        }
        let token = params.get("token").unwrap_or_default();
        let Some(access) = self.access_tokens.get(token).filter(|_| self.is_live(token)) else {
            return json_answer(200, &json!({ "active": false }));
        };
        let sub = self.users.get(&access.owner).map_or(access.owner.as_str(), |user| &user.sub);
        json_answer(
            200,
            &json!({
                "active": true, "iss": self.issuer, "sub": sub, "client_id": access.client_id,
                "scope": access.scope.join(" "), "aud": access.resources, "exp": access.expires_at,
                "token_type": "Bearer",
            }),
        )
    }

    /// RP-Initiated Logout: ends the browser's session here and sends it back with `state`.
    pub(super) fn end_session(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let params = params_of(request);
        self.log.logouts.push(params.clone());
        self.sign_out(request);
        let is_own = self.settings.logout_parameter == "logout_uri";
        if is_own && !(request.method() == Method::GET && params.has("client_id") && params.has("logout_uri")) {
            return typed_answer(400, "text/html", "Required String parameter 'redirect_uri' is not present");
        }
        let Some(back) = params.get(self.settings.logout_parameter) else {
            return typed_answer(200, "text/html", "signed out at the provider");
        };
        let mut answer = params.clone();
        answer.0.retain(|(name, _)| name == "state" && !is_own);
        apply(&self.edits.logout_response, &mut answer);
        redirect(303, &if answer.0.is_empty() { back.to_owned() } else { answer.append_to(back) })
    }
}

/// The token of an `Authorization: Bearer` header.
pub(super) fn bearer(request: &Request<Bytes>) -> Option<String> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.to_owned())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}
