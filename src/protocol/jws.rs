//! Signed JWTs (RFC 7515, RFC 7519) and the keys that verify them. The cryptography is `openidconnect`'s; its
//! tokens are not used, because they refuse a person for any claim of an unusual type.

use std::fmt;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use base64::{Engine, alphabet};
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeyUse, CoreJwsSigningAlgorithm};
use openidconnect::{AccessToken, AccessTokenHash, JsonWebKey, JsonWebKeyAlgorithm, SignatureVerificationError};
use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::json::{self, mismatch};

/// A signature algorithm that is accepted: asymmetric, and never `none` (RFC 8725 sections 3.1 and 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Algorithm(usize);

/// The algorithms of RFC 7518 section 3.1 and RFC 9864 that are accepted, by name, and what the library calls them. `Ed448`
/// and `ES256K` are not: nothing here verifies them.
pub(crate) static ACCEPTED: [(&str, CoreJwsSigningAlgorithm); 11] = [
    ("RS256", CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256),
    ("RS384", CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384),
    ("RS512", CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512),
    ("PS256", CoreJwsSigningAlgorithm::RsaSsaPssSha256),
    ("PS384", CoreJwsSigningAlgorithm::RsaSsaPssSha384),
    ("PS512", CoreJwsSigningAlgorithm::RsaSsaPssSha512),
    ("ES256", CoreJwsSigningAlgorithm::EcdsaP256Sha256),
    ("ES384", CoreJwsSigningAlgorithm::EcdsaP384Sha384),
    ("ES512", CoreJwsSigningAlgorithm::EcdsaP521Sha512),
    ("EdDSA", CoreJwsSigningAlgorithm::EdDsa),
    ("Ed25519", CoreJwsSigningAlgorithm::EdDsa),
];

impl Algorithm {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        ACCEPTED.iter().position(|(accepted, _)| *accepted == name).map(Self)
    }

    pub(crate) fn name(self) -> &'static str {
        ACCEPTED.get(self.0).map_or("an algorithm of another version", |(name, _)| name)
    }

    fn of_library(self) -> &'static CoreJwsSigningAlgorithm {
        &ACCEPTED[self.0].1
    }
}

/// A provider's key set (RFC 7517). Entries that cannot be read are skipped.
#[derive(Clone)]
pub(crate) struct KeySet(Vec<ProviderKey>);

/// One key that may verify.
#[derive(Clone)]
struct ProviderKey {
    jwk: CoreJsonWebKey,
    /// For which issuer it signs, where the key set serves several and the entry says so.
    issuer: Option<String>,
    /// The library reads keys of this curve and verifies nothing with them.
    p521: Option<VerifyingKey>,
}

/// RFC 7518 sections 3.3 and 3.5: an RSA key has this many bits at least.
const RSA_BITS: usize = 2048;

impl KeySet {
    /// `None` when the document is not a key set or holds no key that may verify.
    pub(crate) fn parse(document: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(json::without_mark(document)).ok()?;
        let keys = document.get("keys")?.as_array()?;
        let keys: Vec<_> = keys.iter().filter(|key| is_for_verifying(key)).filter_map(ProviderKey::read).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }
}

/// As the library reads the numbers of keys.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl ProviderKey {
    fn read(key: &Value) -> Option<Self> {
        let number = |name: &str| FORGIVING.decode(key.get(name)?.as_str()?).ok();
        if key.get("n").is_some() {
            let modulus = number("n")?;
            let first = modulus.iter().position(|byte| *byte != 0)?;
            if (modulus.len() - first) * 8 - (modulus[first].leading_zeros() as usize) < RSA_BITS {
                return None;
            }
        }
        let on_p521 = || {
            let point = [&[4], number("x")?.as_slice(), number("y")?.as_slice()].concat();
            VerifyingKey::from_sec1_bytes(&point).ok()
        };
        let is_p521 = key.get("crv").is_some_and(|curve| curve == "P-521");
        let p521 = if is_p521 { Some(on_p521()?) } else { None };
        let mut key = key.clone();
        // The library knows the older name only.
        if let Some(name) = key.get_mut("alg").filter(|name| *name == "Ed25519") {
            *name = "EdDSA".into();
        }
        let issuer = key.get("issuer").and_then(Value::as_str).map(str::to_owned);
        Some(Self { jwk: serde_json::from_value(key).ok()?, issuer, p521 })
    }

    /// Whether the signature holds; `None` where the key is of another type, or for another use or algorithm.
    fn verify(&self, algorithm: Algorithm, message: &str, signature: &[u8]) -> Option<bool> {
        match (&self.p521, algorithm.name()) {
            (Some(key), "ES512") if self.may_sign(algorithm) => {
                let signature = Signature::from_slice(signature);
                Some(signature.is_ok_and(|signature| key.verify(message.as_bytes(), &signature).is_ok()))
            }
            (Some(_), _) | (None, "ES512") => None,
            (None, _) => match self.jwk.verify_signature(algorithm.of_library(), message.as_bytes(), signature) {
                Err(SignatureVerificationError::InvalidKey(_)) => None,
                verified => Some(verified.is_ok()),
            },
        }
    }

    /// What the library looks at for the curves that it knows.
    fn may_sign(&self, algorithm: Algorithm) -> bool {
        let for_signatures = self.jwk.key_use().is_none_or(|key_use| *key_use == CoreJsonWebKeyUse::Signature);
        for_signatures
            && match self.jwk.signing_alg() {
                JsonWebKeyAlgorithm::Unspecified => true,
                JsonWebKeyAlgorithm::Algorithm(named) => named == algorithm.of_library(),
                JsonWebKeyAlgorithm::Unsupported => false,
            }
    }
}

/// RFC 7517 section 4.3: a key that names its operations is used for no other. The library reads `use` alone.
fn is_for_verifying(key: &Value) -> bool {
    let verify = |operations: &Vec<Value>| operations.is_empty() || operations.iter().any(|one| one == "verify");
    let operations = key.get("key_ops").filter(|operations| !operations.is_null());
    operations.is_none_or(|operations| operations.as_array().is_some_and(verify))
}

/// Reads the issuer that a JWT claims to have: nothing of it is verified yet. It decides whose keys are asked, and nothing
/// else.
pub(crate) fn claimed_issuer(compact: &str) -> Option<String> {
    json::text(&parse(compact)?.claims, "iss").map(str::to_owned)
}

/// Why a JWT is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    /// It may be a key that was rotated in a moment ago.
    #[error("is signed with a key that the provider does not publish: {0}")]
    UnknownKey(String),
    #[error("is refused: {0}")]
    Refused(String),
    /// All of it holds, and it is of another authentication than was asked for.
    #[error("does not say the authentication that was asked for: {0}")]
    OtherAuthentication(String),
    /// All of it holds, and it is about somebody else.
    #[error("names another owner: {0}")]
    AnotherOwner(String),
}

/// A member is not as it must be.
pub(super) fn refused(members: &Map<String, Value>, name: &str, expected: impl fmt::Display) -> JwtError {
    JwtError::Refused(mismatch(name, members.get(name), expected))
}

/// A JWT whose signature holds.
pub(crate) struct VerifiedJws<'a> {
    pub(crate) claims: Map<String, Value>,
    /// Claims whose values cannot be read.
    pub(crate) unreadable: Vec<String>,
    pub(crate) algorithm: Algorithm,
    /// The issuer for which the key signs, where its entry names one.
    pub(crate) key_issuer: Option<&'a str>,
    key: &'a CoreJsonWebKey,
}

impl VerifiedJws<'_> {
    /// OpenID Connect Core 1.0 section 3.1.3.6: whether this is an `at_hash` for the access token. The hash of EdDSA is
    /// SHA-512 at some providers and SHA-256 at others: the specification names none.
    pub(crate) fn is_hash_of(&self, hash: &str, access_token: &str) -> bool {
        let edwards = ["EdDSA", "Ed25519"].contains(&self.algorithm.name());
        let short = || URL_SAFE_NO_PAD.encode(&Sha256::digest(access_token)[..16]);
        let access_token = AccessToken::new(access_token.to_owned());
        let computed = AccessTokenHash::from_token(&access_token, self.algorithm.of_library(), self.key);
        computed.is_ok_and(|computed| computed.as_str() == hash) || (edwards && short() == hash)
    }
}

/// How the JWT may be signed, and which keys may be meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JwsPolicy<'a> {
    /// What was announced, and is accepted: never what the token chooses.
    pub(crate) algorithms: &'a [Algorithm],
    /// The key set was read for this token. Where none of its keys has a name, and one alone fits, that one is meant
    /// whatever the token calls it.
    pub(crate) keys_are_new: bool,
}

const NOT_SIGNED: &str = "it has not the three parts of a signed JWT (RFC 7515 section 7.1); encrypted ones have five: turn the encryption off";

/// Verifies a JWT in its compact form, of one of these kinds: `typ` (RFC 8725 section 3.11), where the first may be empty for a
/// token that names none. Nothing of it is to be believed before.
pub(crate) fn verify<'a>(
    compact: &str, keys: &'a KeySet, kinds: &[&str], policy: &JwsPolicy<'_>,
) -> Result<VerifiedJws<'a>, JwtError> {
    let Parts { header, claims, unreadable, message, signature } =
        parse(compact).ok_or(JwtError::Refused(NOT_SIGNED.into()))?;
    check_header(&header, kinds)?;
    let name = json::text(&header, "alg").and_then(Algorithm::from_name);
    let algorithm = name.filter(|algorithm| policy.algorithms.contains(algorithm)).ok_or_else(|| {
        let announced: Vec<_> = policy.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let expected = format!("one that the provider announces and that is accepted: {}", announced.join(", "));
        refused(&header, "alg", expected)
    })?;
    let kid = match header.get("kid") {
        None | Some(Value::Null) => None,
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(refused(&header, "kid", "a text")),
    };
    let kid = kid.filter(|_| !policy.keys_are_new || keys.0.iter().any(|key| key.jwk.key_id().is_some()));
    let is_named = |key: &&ProviderKey| kid.is_none_or(|kid| key.jwk.key_id().is_some_and(|id| id.as_str() == kid));
    let mut verifying = None;
    let mut candidates = 0;
    for key in keys.0.iter().filter(is_named) {
        let Some(holds) = key.verify(algorithm, message, &signature) else { continue };
        candidates += 1;
        verifying = holds.then_some(key).or(verifying);
    }
    // OpenID Connect Core 1.0 section 10.1.
    if kid.is_none() && candidates > 1 {
        let expected = format!("a name, because {candidates} keys fit");
        return Err(refused(&header, "kid", expected));
    }
    let key = verifying.ok_or_else(|| JwtError::UnknownKey(unknown_key(keys, &header, candidates)))?;
    let key_issuer = key.issuer.as_deref();
    Ok(VerifiedJws { claims, unreadable, algorithm, key_issuer, key: &key.jwk })
}

fn unknown_key(keys: &KeySet, header: &Map<String, Value>, candidates: usize) -> String {
    if candidates > 0 {
        return "the signature is not by the key that is named".into();
    }
    let names: Vec<_> = keys.0.iter().filter_map(|key| key.jwk.key_id()).map(|id| id.as_str()).collect();
    let expected = format!(
        "the name of a key that fits its alg, of {} keys with the names {} (RSA keys have {RSA_BITS} bits or more)",
        keys.0.len(),
        json::shown(Some(&names.into()))
    );
    mismatch("kid", header.get("kid"), expected)
}

/// A JWT, taken apart.
struct Parts<'a> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    unreadable: Vec<String>,
    message: &'a str,
    signature: Vec<u8>,
}

/// RFC 7515 section 7.1: three parts and no more; five would be an encrypted one.
fn parse(compact: &str) -> Option<Parts<'_>> {
    let (message, signature) = compact.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let (claims, unreadable) = json::members(&decode(claims)?)?;
    Some(Parts { header: json::object(&decode(header)?)?, claims, unreadable, message, signature: decode(signature)? })
}

/// What the header asks for must be understood (RFC 7515 section 4.1.11, RFC 7519 section 5).
fn check_header(header: &Map<String, Value>, kinds: &[&str]) -> Result<(), JwtError> {
    // An access token or a logout token is no ID token, whoever signed it.
    let kind = header.get("typ").filter(|kind| !kind.is_null());
    let kind = kind.map(|kind| kind.as_str().unwrap_or_default().to_ascii_lowercase());
    let named = kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
    if named == Some("") || !kinds.contains(&named.unwrap_or_default()) {
        return Err(refused(header, "typ", kinds.join(" or ").trim_start_matches(" or ")));
    }
    let other = ["crit", "cty", "enc"].iter().find(|name| header.contains_key(**name));
    other.map_or(Ok(()), |name| Err(refused(header, name, "none")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openidconnect::PrivateSigningKey;
    use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
    use proptest::prelude::*;
    use serde_json::json;

    fn keys() -> KeySet {
        let key = r#"{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        KeySet::parse(format!("{{\"keys\":[{key}]}}").as_bytes()).unwrap()
    }

    fn all() -> Vec<Algorithm> {
        ACCEPTED.iter().filter_map(|(name, _)| Algorithm::from_name(name)).collect()
    }

    fn policy(algorithms: &[Algorithm]) -> JwsPolicy<'_> {
        JwsPolicy { algorithms, keys_are_new: false }
    }

    /// RFC 7515 appendix A.4: ES512 over a payload that is no JSON.
    fn example_of_es512() -> (Value, Vec<u8>) {
        let key = json!({
            "kty": "EC", "crv": "P-521",
            "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
            "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        });
        let signature = "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
        (key, URL_SAFE_NO_PAD.decode(signature).unwrap())
    }

    #[test]
    fn the_example_of_es512_verifies() {
        let (key, signature) = example_of_es512();
        let key = ProviderKey::read(&key).unwrap();
        let es512 = Algorithm::from_name("ES512").unwrap();
        let verify = |message| key.verify(es512, message, &signature);
        assert_eq!(verify("eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA"), Some(true));
        assert_eq!(verify("eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZB"), Some(false));
        assert!(key.verify(Algorithm::from_name("ES256").unwrap(), "", &signature).is_none());
    }

    /// RFC 7517 sections 4.2 and 4.4, for the curve that the library does not verify.
    #[test]
    fn a_key_of_p521_verifies_for_its_own_use_and_algorithm_alone() {
        let (key, signature) = example_of_es512();
        let es512 = Algorithm::from_name("ES512").unwrap();
        for (name, value, holds) in
            [("use", "sig", Some(true)), ("use", "enc", None), ("alg", "ES512", Some(true)), ("alg", "ES256", None)]
        {
            let mut key = key.clone();
            key[name] = json!(value);
            let key = ProviderKey::read(&key).unwrap();
            assert_eq!(key.verify(es512, "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA", &signature), holds, "{name} {value}");
        }
    }

    /// RFC 7517 section 4.3.
    #[test]
    fn a_key_that_names_its_operations_must_name_verify() {
        let reads = |operations: Value| {
            let key = json!({
                "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "key_ops": operations,
            });
            KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).is_some()
        };
        for operations in [Value::Null, json!([]), json!(["verify"]), json!(["sign", "verify"])] {
            assert!(reads(operations.clone()), "{operations}");
        }
        for operations in [json!(["sign"]), json!(["encrypt", "wrapKey"]), json!("verify"), json!({})] {
            assert!(!reads(operations.clone()), "{operations}");
        }
    }

    /// The bits are those of the number, whatever zeros stand before it.
    #[test]
    fn an_rsa_key_has_2048_bits_or_more() {
        let reads = |zeros: usize, first: u8, length: usize| {
            let modulus = [vec![0; zeros], vec![first], vec![255; length - 1]].concat();
            ProviderKey::read(&json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" })).is_some()
        };
        for zeros in [0, 1, 9] {
            assert!(reads(zeros, 0x80, 256), "2048 bits after {zeros} zeros");
            assert!(!reads(zeros, 0x7f, 256), "2047 bits after {zeros} zeros");
        }
        assert!(reads(0, 1, 257));
        assert!(!reads(0, 255, 255));
        let zero = json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0; 300]), "e": "AQAB" });
        assert!(ProviderKey::read(&zero).is_none());
    }

    /// A JWT with this header, by the key of RFC 8037 appendix A.1.
    fn signed(header: &Value) -> String {
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend(URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap());
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        let key = CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, None).unwrap();
        let message = format!("{}.e30", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature = key.sign(&CoreJwsSigningAlgorithm::EdDsa, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A key without a name is meant whatever the token calls it, where the key set was read for this token. Of several
    /// keys with one name, one must fit; of several without, none is meant.
    #[test]
    fn which_key_is_meant() {
        // The signing key, and that of RFC 8032 section 7.1, test 2.
        let (own, other) =
            ("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw");
        let (new, known) = (true, false);
        for (named, keys, keys_are_new, holds) in [
            (Some("k"), &[(own, Some("k"))][..], known, true),
            (Some("x"), &[(own, None)], new, true),
            (Some("x"), &[(own, None)], known, false),
            (Some("x"), &[(own, Some("k"))], new, false),
            (Some("x"), &[(own, None), (other, Some("k"))], new, false),
            (Some("k"), &[(own, Some("k")), (other, Some("k"))], known, true),
            (Some("k"), &[(other, Some("k")), (own, Some("k"))], known, true),
            (Some("k"), &[(other, Some("k")), (own, Some("x"))], known, false),
            (None, &[(own, None)], known, true),
            (None, &[(own, Some("k"))], known, true),
            (None, &[(own, None), (other, None)], new, false),
        ] {
            let header = match named {
                Some(kid) => json!({ "alg": "EdDSA", "kid": kid }),
                None => json!({ "alg": "EdDSA" }),
            };
            let jwk = |(x, kid): &(&str, Option<&str>)| json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid });
            let set = json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() });
            let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
            let policy = JwsPolicy { algorithms: &all(), keys_are_new };
            let verified = verify(&signed(&header), &set, &[""], &policy);
            assert_eq!(verified.is_ok(), holds, "{named:?} {keys:?} {keys_are_new}");
        }
    }

    /// RFC 8037 appendix A.4, which is no JWT: its payload is a text.
    #[test]
    fn a_signature_alone_is_no_jwt() {
        let compact = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert!(verify(compact, &keys(), &["jwt"], &policy(&all())).is_err());
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
            let header = json!({ "alg": alg, "kid": kid }).to_string();
            let claims = if is_object { json!({ "sub": claims }).to_string() } else { claims };
            let compact = format!(
                "{}.{}.{}{dots}", encode(header.as_bytes()), encode(claims.as_bytes()), encode(&signature)
            );
            prop_assert!(verify(&compact, &keys(), &["jwt"], &policy(&all())).is_err());
        }

        #[test]
        fn any_text_is_refused_without_panic(text in "\\PC{0,200}", dotted in "[a-zA-Z0-9_.=-]{0,200}") {
            prop_assert!(verify(&text, &keys(), &["jwt"], &policy(&all())).is_err());
            prop_assert!(verify(&dotted, &keys(), &["jwt"], &policy(&all())).is_err());
        }

        #[test]
        fn any_key_set_is_read_without_panic(bytes: Vec<u8>, kty in "(RSA|EC|OKP|oct|.{0,3})", value in "[A-Za-z0-9_-]{0,90}") {
            let _ = KeySet::parse(&bytes);
            // What can be read can be tried, whatever its numbers are.
            let key = json!({ "kty": kty, "crv": "P-256", "n": value, "e": value, "x": value, "y": value });
            let keys = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes());
            for (alg, _) in &ACCEPTED {
                let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{alg}\"}}"));
                if let Some(keys) = &keys {
                    let compact = format!("{header}.e30.{value}");
                    prop_assert!(verify(&compact, keys, &["jwt"], &policy(&all())).is_err());
                }
            }
        }
    }
}
