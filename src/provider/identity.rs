//! Whose tokens are: what the ID token says, or the identity endpoint of a provider that issues none.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::error::ProviderError;
use super::{Provider, bearer, refusal, request};
use crate::protocol::{
    Algorithm, Claims, IdToken, IdTokenUse, JwsPolicy, JwtError, OAuth2, TokenPolicy, TokenResponse, UserInfoError,
    json, mismatch, user_info,
};
use crate::secret::Secret;

impl Provider {
    /// `None` where the provider issues ID tokens, and none came.
    pub(crate) async fn identify(
        self: &Arc<Self>, tokens: &TokenResponse, token_use: IdTokenUse<'_>,
    ) -> Result<Option<IdToken>, ProviderError> {
        match (&self.relying_party.oauth2, &tokens.id_token) {
            (Some(oauth2), _) => self.ask_identity(oauth2, &tokens.access_token, token_use).await.map(Some),
            (None, Some(id_token)) => self.verify(id_token, &tokens.access_token, token_use).await.map(Some),
            (None, None) => Ok(None),
        }
    }

    async fn ask_identity(
        &self, oauth2: &OAuth2, access_token: &Secret, token_use: IdTokenUse<'_>,
    ) -> Result<IdToken, ProviderError> {
        let (endpoint, list) = oauth2.urls().map_err(ProviderError::unavailable)?;
        let answer = self.json_of(&endpoint, access_token).await?;
        let list = match list {
            Some(list) => match self.json_of(&list, access_token).await {
                // This token may not read it: no address counts then.
                Err(error) if !error.passes() => {
                    self.ignored(format_args!("{list} cannot be read: {error}"));
                    Some(Value::Array(Vec::new()))
                }
                list => Some(list?),
            },
            None => None,
        };
        let (issuer, answers) = (&self.relying_party.issuer.url, (&answer, list.as_ref()));
        let wrong = |why| ProviderError::Statement("identity endpoint's answer", why);
        let identity = oauth2.identity(issuer, answers, self.clock.now()).map_err(wrong)?;
        let refused = match token_use {
            // Only an ID token could say when and how somebody was authenticated.
            IdTokenUse::Login { max_age, acr_values, .. } if max_age.is_some() || !acr_values.is_empty() => {
                JwtError::OtherAuthentication("it says nothing of the authentication that was asked for".into())
            }
            IdTokenUse::Refresh { original: Some(original) }
                if (&original.issuer, &original.subject) != (&identity.facts.issuer, &identity.facts.subject) =>
            {
                let (found, expected) = (Value::from(identity.facts.subject), &original.subject);
                let expected = format_args!("{expected:?}, as at first");
                JwtError::AnotherOwner(mismatch(&oauth2.subject, Some(&found), expected))
            }
            _ => return Ok(identity),
        };
        Err(wrong(refused))
    }

    /// OpenID Connect Core 1.0 section 5.3: what the provider says about the token's owner, who must be the user of this issuer
    /// and subject. A signed response is verified with the registered algorithm, or one that the metadata announce.
    pub(crate) async fn user_info(
        self: &Arc<Self>, endpoint: &Url, access_token: &Secret, (issuer, subject): (&str, &str),
    ) -> Result<Claims, ProviderError> {
        let (answer, known) = (self.get_as_owner(endpoint, access_token).await?, self.metadata().await?);
        let registered = self.relying_party.userinfo_signed_response_alg.as_deref().and_then(Algorithm::from_name);
        let algorithms = registered.as_ref().map_or(&known.user_info_algorithms[..], std::slice::from_ref);
        let is_signed = |kind: &HeaderValue| kind.as_bytes().to_ascii_lowercase().starts_with(b"application/jwt");
        let (claims, unreadable) = match registered {
            _ if answer.headers().get(CONTENT_TYPE).is_some_and(is_signed) => {
                let compact = String::from_utf8_lossy(answer.body());
                let verified = self.with_keys("UserInfo response", &self.keys, None, |keys, expected| {
                    let jws = JwsPolicy { algorithms, ..expected.jws };
                    let expected = &TokenPolicy { jws, ..expected.clone() };
                    user_info::verify(compact.trim(), issuer, keys, expected)
                });
                verified.await?
            }
            Some(algorithm) => return Err(UserInfoError::Unsigned(algorithm.name()).into()),
            None => json::members(answer.body()).ok_or(UserInfoError::Malformed)?,
        };
        let claims = user_info::check(claims, &unreadable, subject, &self.relying_party.decisive)?;
        unreadable.iter().for_each(|name| self.ignored(format_args!("UserInfo's {name} cannot be read")));
        Ok(claims)
    }

    async fn json_of(&self, endpoint: &Url, access_token: &Secret) -> Result<Value, ProviderError> {
        let answer = self.get_as_owner(endpoint, access_token).await?.into_body();
        // One value that cannot be read costs nobody their login; a name that stands twice says two things.
        let object = json::members(&answer).map(|(members, _)| Value::Object(members));
        let list = || serde_json::from_slice(json::without_mark(&answer)).ok().map(Value::Array);
        object.or_else(list).ok_or(ProviderError::Malformed("the identity endpoint's answer is no JSON"))
    }

    /// What an endpoint says to an access token (RFC 6750 section 2.1).
    async fn get_as_owner(&self, endpoint: &Url, access_token: &Secret) -> Result<Response<Bytes>, ProviderError> {
        let authorization = bearer(access_token).ok_or(ProviderError::Malformed("access_token"))?;
        let mut request = request(endpoint.as_str(), "application/json, */*;q=0.1")?;
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status if status.is_server_error() || matches!(status.as_u16(), 408 | 429) => {
                Err(refusal(endpoint.to_string(), &answer, None))
            }
            _ => Err(ProviderError::Malformed("response of the endpoint that says who signed in")),
        }
    }
}
