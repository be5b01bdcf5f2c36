//! Signed JWTs (RFC 7515, RFC 7519) and the keys that verify them. The cryptography is `openidconnect`'s; its
//! tokens are not used, because they refuse a person for any claim of an unusual type.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{AccessToken, AccessTokenHash, JsonWebKey, SignatureVerificationError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json;

/// A signature algorithm that is accepted: asymmetric, and never `none` (RFC 8725 sections 3.1 and 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Algorithm(CoreJwsSigningAlgorithm);

impl Algorithm {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(Self(match name {
            "RS256" => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            "RS384" => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
            "PS256" => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
            "PS384" => CoreJwsSigningAlgorithm::RsaSsaPssSha384,
            "ES256" => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            "ES384" => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
            "EdDSA" => CoreJwsSigningAlgorithm::EdDsa,
            _ => return None,
        }))
    }
}

/// A provider's key set (RFC 7517). Entries that cannot be read are skipped.
#[derive(Clone, Debug)]
pub(crate) struct KeySet(CoreJsonWebKeySet);

impl KeySet {
    /// `None` when the document is not a key set or holds no key that may verify.
    pub(crate) fn parse(document: &[u8]) -> Option<Self> {
        let mut document: Value = serde_json::from_slice(document).ok()?;
        document.get_mut("keys")?.as_array_mut()?.retain(is_for_verifying);
        let keys: CoreJsonWebKeySet = serde_json::from_value(document).ok()?;
        (!keys.keys().is_empty()).then_some(Self(keys))
    }
}

/// RFC 7517 section 4.3: a key that names its operations is used for no other. The library reads `use` alone.
fn is_for_verifying(key: &Value) -> bool {
    let verify = |operations: &Value| {
        operations
            .as_array()
            .is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    };
    key.get("key_ops").is_none_or(verify)
}

/// What a JWT says before anything of it was verified: good for choosing whose keys are asked, and for nothing else.
pub(crate) fn unverified(compact: &str) -> Option<Map<String, Value>> {
    parse(compact).map(|(_, claims, ..)| claims)
}

/// Why a text is no signed JWT of the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JwsError {
    Malformed,
    /// RFC 7515 section 4.1.11, RFC 7519 section 5: what the header asks for is not understood here.
    Header,
    Algorithm,
    /// None of the keys verifies it. The right one may have come a moment ago.
    UnknownKey,
    /// It names no key, and several could be meant (OpenID Connect Core 1.0 section 10.1).
    AmbiguousKey,
}

/// A JWT whose signature holds.
pub(crate) struct VerifiedJws<'a> {
    pub(crate) claims: Map<String, Value>,
    pub(crate) algorithm: Algorithm,
    key: &'a CoreJsonWebKey,
}

impl VerifiedJws<'_> {
    /// OpenID Connect Core 1.0 section 3.1.3.6: what an `at_hash` for this access token says.
    pub(crate) fn access_token_hash(&self, access_token: &str) -> Option<String> {
        let access_token = AccessToken::new(access_token.to_owned());
        let hash = AccessTokenHash::from_token(&access_token, &self.algorithm.0, self.key).ok()?;
        Some(hash.as_str().to_owned())
    }
}

/// Verifies a JWT in its compact form, which is of one of these kinds or does not say (`typ`, RFC 8725 section 3.11).
/// Nothing of it is to be believed before.
pub(crate) fn verify<'a>(
    compact: &str,
    keys: &'a KeySet,
    algorithms: &[Algorithm],
    kinds: &[&str],
) -> Result<VerifiedJws<'a>, JwsError> {
    let (header, claims, message, signature) = parse(compact).ok_or(JwsError::Malformed)?;
    check_header(&header, kinds)?;
    // Only what was announced counts, and of that only what is accepted: never what the token chooses.
    let algorithm = json::text(&header, "alg")
        .and_then(Algorithm::from_name)
        .filter(|algorithm| algorithms.contains(algorithm))
        .ok_or(JwsError::Algorithm)?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(JwsError::Malformed),
    };
    let named = keys
        .0
        .keys()
        .iter()
        .filter(|key| kid.is_none_or(|kid| key.key_id().is_some_and(|id| id.as_str() == kid)));
    let mut verifying = None;
    let mut candidates = 0;
    for key in named {
        match key.verify_signature(&algorithm.0, message.as_bytes(), &signature) {
            Ok(()) => verifying = Some(key),
            // Of another type, or for another use or algorithm.
            Err(SignatureVerificationError::InvalidKey(_)) => continue,
            Err(_) => {}
        }
        candidates += 1;
    }
    if kid.is_none() && candidates > 1 {
        return Err(JwsError::AmbiguousKey);
    }
    let key = verifying.ok_or(JwsError::UnknownKey)?;
    Ok(VerifiedJws { claims, algorithm, key })
}

type Parts<'a> = (Map<String, Value>, Map<String, Value>, &'a str, Vec<u8>);

/// RFC 7515 section 7.1: three parts and no more; five would be an encrypted one.
fn parse(compact: &str) -> Option<Parts<'_>> {
    let (message, signature) = compact.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    Some((json::object(&decode(header)?)?, json::object(&decode(claims)?)?, message, decode(signature)?))
}

fn check_header(header: &Map<String, Value>, kinds: &[&str]) -> Result<(), JwsError> {
    // An access token or a logout token is no ID token, whoever signed it.
    let is_meant = header.get("typ").is_none_or(|kind| {
        kind.as_str().is_some_and(|kind| {
            let kind = kind.to_ascii_lowercase();
            kinds.contains(&kind.strip_prefix("application/").unwrap_or(&kind))
        })
    });
    let asks_more = ["crit", "cty", "enc"].iter().any(|name| header.contains_key(*name));
    if is_meant && !asks_more { Ok(()) } else { Err(JwsError::Header) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> KeySet {
        let key =
            r#"{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        KeySet::parse(format!("{{\"keys\":[{key}]}}").as_bytes()).unwrap()
    }

    fn all() -> Vec<Algorithm> {
        ["RS256", "RS384", "PS256", "PS384", "ES256", "ES384", "EdDSA"]
            .iter()
            .filter_map(|name| Algorithm::from_name(name))
            .collect()
    }

    /// RFC 8037 appendix A.4, which is no JWT: its payload is a text.
    #[test]
    fn a_signature_alone_is_no_jwt() {
        let compact = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(verify(compact, &keys(), &all(), &["jwt"]).err(), Some(JwsError::Malformed));
    }

    proptest! {
        /// Text in the shape of a JWT, around every algorithm and key that could be meant.
        #[test]
        fn any_jwt_shaped_text_is_refused_without_panic(
            alg in "(RS256|RS384|RS512|PS256|PS384|ES256|ES384|ES512|EdDSA|HS256|none|[a-zA-Z0-9]{0,6})",
            kid in "(k|.{0,4})",
            claims in ".{0,64}",
            is_object: bool,
            signature in proptest::collection::vec(any::<u8>(), 0..600),
            dots in "[.]{0,2}",
        ) {
            let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let header = serde_json::json!({ "alg": alg, "kid": kid }).to_string();
            let claims = if is_object { serde_json::json!({ "sub": claims }).to_string() } else { claims };
            let compact = format!(
                "{}.{}.{}{dots}", encode(header.as_bytes()), encode(claims.as_bytes()), encode(&signature)
            );
            prop_assert!(verify(&compact, &keys(), &all(), &["jwt"]).is_err());
        }

        #[test]
        fn any_text_is_refused_without_panic(text in "\\PC{0,200}", dotted in "[a-zA-Z0-9_.=-]{0,200}") {
            prop_assert!(verify(&text, &keys(), &all(), &["jwt"]).is_err());
            prop_assert!(verify(&dotted, &keys(), &all(), &["jwt"]).is_err());
        }

        #[test]
        fn any_key_set_is_read_without_panic(bytes: Vec<u8>, kty in "(RSA|EC|OKP|oct|.{0,3})", value in "[A-Za-z0-9_-]{0,90}") {
            let _ = KeySet::parse(&bytes);
            // What can be read can be tried, whatever its numbers are.
            let key = serde_json::json!({ "kty": kty, "crv": "P-256", "n": value, "e": value, "x": value, "y": value });
            let keys = KeySet::parse(serde_json::json!({ "keys": [key] }).to_string().as_bytes());
            for alg in ["RS256", "PS384", "ES256", "ES384", "EdDSA"] {
                let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{alg}\"}}"));
                if let Some(keys) = &keys {
                    let compact = format!("{header}.e30.{value}");
                    prop_assert!(verify(&compact, keys, &all(), &["jwt"]).is_err());
                }
            }
        }
    }
}
