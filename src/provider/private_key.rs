//! The private keys with which this application proves itself, and their public halves.
//!
//! `ring` signs: its RSA takes the same time whatever the key is, and the default HTTP client brings it anyway.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::error::Unspecified;
use ring::hmac;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::random_of_signatures;
use crate::secret::{Secret, opaque};

/// A private key of this application: RSA with 2,048 to 4,096 bits, P-256 or Ed25519.
///
/// It is PEM (PKCS#8; RSA also as PKCS#1, P-256 also as SEC1) or a JWK (RFC 7517). A JWK may name its `kid` and its `alg`.
/// Otherwise its name is its thumbprint (RFC 7638). Where a certificate stands beside the key in PEM, assertions name it, too
/// (`x5t#S256`, RFC 7515 section 4.1.8), as Microsoft Entra ID wants it.
///
/// ```
/// use tower_oidc::{PrivateKey, ProviderConfig};
///
/// let key = PrivateKey::File("/run/secrets/oidc.pem".into());
/// let provider = ProviderConfig::new("https://op.example.org", "app").private_key(key);
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrivateKey {
    /// The key itself.
    Text(Secret),
    /// The path of a file with the key. The file is looked at whenever the key is needed: a new key signs at once, and the
    /// key before it is still published.
    File(PathBuf),
}

/// Why there is no key. It never says what was read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place} {found}, expected a private key (RSA with 2048 to 4096 bits, P-256 or Ed25519) as PEM (PKCS#8, PKCS#1 or SEC1, not \
     encrypted) or as a JWK: correct it (private_keys, OIDC_PRIVATE_KEY_FILE)"
)]
pub(crate) struct KeyError {
    place: String,
    found: String,
}

impl PrivateKey {
    fn read(&self) -> Result<Zeroizing<String>, KeyError> {
        match self {
            Self::Text(text) => Ok(Zeroizing::new(text.expose_secret().to_owned())),
            Self::File(path) => fs::read_to_string(path)
                .map(Zeroizing::new)
                .map_err(|error| KeyError { place: self.place(), found: format!("cannot be read: {error}") }),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Text(_) => "the private key".to_owned(),
            Self::File(path) => format!("the private key file {}", path.display()),
        }
    }
}

/// So many keys are published: the one that signs, and one that signed before or will sign next.
pub(crate) const PUBLISHED: usize = 2;

/// The private keys of one registration.
#[derive(Default)]
pub(crate) struct ClientKeys {
    written: Vec<PrivateKey>,
    /// The algorithm that the configuration names.
    algorithm: Option<String>,
    known: Mutex<KnownKeys>,
}

opaque!(ClientKeys);

#[derive(Default)]
struct KnownKeys {
    /// Hashes of the texts that were read last.
    read: Vec<[u8; 32]>,
    /// The first signs. Never empty once one was read.
    keys: Vec<Arc<SigningKey>>,
}

impl ClientKeys {
    pub(crate) fn new(written: &[PrivateKey], algorithm: Option<&str>) -> Self {
        Self { written: written.to_vec(), algorithm: algorithm.map(str::to_owned), known: Mutex::default() }
    }

    /// The keys as they stand in their files at this moment, the one that signs first.
    pub(crate) fn read(&self) -> Result<Vec<Arc<SigningKey>>, KeyError> {
        let texts = self.written.iter().map(PrivateKey::read).collect::<Result<Vec<_>, _>>()?;
        let read: Vec<[u8; 32]> = texts.iter().map(|text| Sha256::digest(text.as_bytes()).into()).collect();
        let mut known = self.known.lock();
        if known.read != read {
            let algorithm = self.algorithm.as_deref();
            let parse = |(written, text): (&PrivateKey, &Zeroizing<String>)| {
                let wrong = |found| KeyError { place: written.place(), found };
                SigningKey::parse(text, algorithm).map(Arc::new).map_err(wrong)
            };
            let mut keys = self.written.iter().zip(&texts).map(parse).collect::<Result<Vec<_>, _>>()?;
            // What was signed a moment ago with the key before is still to be verified.
            let before = known.keys.first().filter(|before| keys.iter().all(|key| key.id != before.id));
            before.into_iter().for_each(|before| keys.insert(1, Arc::clone(before)));
            keys.truncate(PUBLISHED);
            *known = KnownKeys { read, keys };
        }
        Ok(known.keys.clone())
    }

    /// The same, where a file that cannot be read now leaves the keys as they were, with the reason.
    pub(crate) fn newest(&self) -> (Vec<Arc<SigningKey>>, Option<KeyError>) {
        match self.read() {
            Ok(keys) => (keys, None),
            Err(error) => (self.known.lock().keys.clone(), Some(error)),
        }
    }

    /// The algorithm of the key that signs.
    pub(crate) fn algorithm(&self) -> Option<&'static str> {
        self.known.lock().keys.first().map(|key| key.algorithm)
    }
}

/// A key pair that signs with one algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
pub(crate) struct SigningKey {
    pair: Pair,
    algorithm: &'static str,
    pub(crate) id: String,
    /// The thumbprint of its certificate, where it has one.
    certificate: Option<String>,
    /// RFC 7517 section 4.
    pub(crate) public: Value,
}

opaque!(SigningKey, |key| id = key.id);

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private JWK.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Jwk {
    kty: String,
    crv: String,
    alg: Option<String>,
    kid: Option<String>,
    n: String,
    e: String,
    x: String,
    y: String,
    d: Secret,
    p: Secret,
    q: Secret,
    dp: Secret,
    dq: Secret,
    qi: Secret,
}

impl SigningKey {
    fn parse(text: &str, algorithm: Option<&str>) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            // The error could quote the key.
            let jwk: Jwk = serde_json::from_str(text).map_err(|_| "is no JWK".to_owned())?;
            let pair = Pair::of_jwk(&jwk)?;
            return Self::new(pair, algorithm.or(jwk.alg.as_deref()), jwk.kid, None);
        }
        let blocks = pem(text);
        let certificate = blocks.iter().find(|(label, _)| *label == "CERTIFICATE");
        let certificate = certificate.map(|(_, der)| URL_SAFE_NO_PAD.encode(Sha256::digest(der)));
        let key = blocks.iter().find(|(label, _)| label.ends_with("PRIVATE KEY"));
        let (label, der) = key.ok_or("holds no private key")?;
        Self::new(Pair::of_pem(label, der)?, algorithm, None, certificate)
    }

    fn new(
        pair: Pair,
        algorithm: Option<&str>,
        id: Option<String>,
        certificate: Option<String>,
    ) -> Result<Self, String> {
        let known = pair.algorithms();
        let algorithm = match algorithm {
            None => known[0],
            Some(name) => known.iter().find(|known| **known == name).copied().ok_or_else(|| {
                format!("holds a key for {}, and the algorithm is {name:?}", known.join(" or "))
            })?,
        };
        let mut public = pair.public();
        // RFC 7638 section 3.2: the required members in this order, and nothing between them.
        let id = id.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(Sha256::digest(public.to_string())));
        for (name, value) in [("alg", algorithm), ("use", "sig"), ("kid", &id)] {
            public[name] = value.into();
        }
        Ok(Self { pair, algorithm, id, certificate, public })
    }

    /// A JWT with these claims.
    pub(crate) fn jwt(&self, claims: &Value) -> Result<String, Unspecified> {
        let mut header = json!({ "alg": self.algorithm, "kid": self.id });
        if let Some(thumbprint) = &self.certificate {
            header["x5t#S256"] = thumbprint.as_str().into();
        }
        compact(&header, claims, |message| self.pair.sign(self.algorithm, message))
    }
}

impl Pair {
    fn of_pem(label: &str, der: &[u8]) -> Result<Self, String> {
        let read = match label {
            "PRIVATE KEY" => Self::of_pkcs8(der),
            "EC PRIVATE KEY" => Self::of_pkcs8(&pkcs8_of_sec1(der)),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(der).map(Self::Rsa),
            other => return Err(format!("holds a key that begins with {other:?}")),
        };
        read.map_err(|why| format!("holds a key that is not accepted ({why})"))
    }

    fn of_pkcs8(der: &[u8]) -> Result<Self, ring::error::KeyRejected> {
        let p256 =
            || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random_of_signatures());
        // Version 1 of PKCS#8, which OpenSSL writes, has no public key beside the private one.
        let ed25519 = |_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519);
        p256().map(Self::P256).or_else(ed25519).or_else(|_| RsaKeyPair::from_pkcs8(der).map(Self::Rsa))
    }

    fn of_jwk(jwk: &Jwk) -> Result<Self, String> {
        let number = |text: &str| Zeroizing::new(URL_SAFE_NO_PAD.decode(text).unwrap_or_default());
        let secret = |secret: &Secret| number(secret.expose_secret());
        let read = match (jwk.kty.as_str(), jwk.crv.as_str()) {
            ("RSA", _) => RsaKeyPair::from_components(&KeyPairComponents {
                public_key: PublicKeyComponents { n: &*number(&jwk.n), e: &*number(&jwk.e) },
                d: &*secret(&jwk.d),
                p: &*secret(&jwk.p),
                q: &*secret(&jwk.q),
                dP: &*secret(&jwk.dp),
                dQ: &*secret(&jwk.dq),
                qInv: &*secret(&jwk.qi),
            })
            .map(Self::Rsa),
            ("EC", "P-256") => {
                // SEC 1 section 2.3.3.
                let point = [&[4], &**number(&jwk.x), &**number(&jwk.y)].concat();
                let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, random_of_signatures());
                EcdsaKeyPair::from_private_key_and_public_key(kind, &secret(&jwk.d), &point, &random)
                    .map(Self::P256)
            }
            ("OKP", "Ed25519") => {
                Ed25519KeyPair::from_seed_and_public_key(&secret(&jwk.d), &number(&jwk.x)).map(Self::Ed25519)
            }
            (kty, crv) => return Err(format!("holds a JWK with kty {kty:?} and crv {crv:?}")),
        };
        read.map_err(|why| format!("holds a JWK that is not accepted ({why})"))
    }

    /// The first is the one that signs where no other is named.
    const fn algorithms(&self) -> &'static [&'static str] {
        match self {
            Self::Rsa(_) => &["RS256", "PS256"],
            Self::P256(_) => &["ES256"],
            Self::Ed25519(_) => &["EdDSA", "Ed25519"],
        }
    }

    fn public(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                json!({ "e": text(&e), "kty": "RSA", "n": text(&n) })
            }
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) })
            }
            Self::Ed25519(pair) => {
                json!({ "crv": "Ed25519", "kty": "OKP", "x": text(pair.public_key().as_ref()) })
            }
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = random_of_signatures();
        match self {
            Self::Rsa(pair) => {
                let encoding: &dyn RsaEncoding =
                    if algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).map(|()| signature)
            }
            Self::P256(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// A JWT in its compact form (RFC 7515 section 7.1).
pub(crate) fn compact(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, Unspecified>,
) -> Result<String, Unspecified> {
    let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = sign(message.as_bytes())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// RFC 7518 section 3.2.
pub(crate) fn hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// The blocks of a PEM file (RFC 7468) with their labels.
fn pem(text: &str) -> Vec<(&str, Zeroizing<Vec<u8>>)> {
    let block = |block| -> Option<_> {
        let (label, rest) = str::split_once(block, "-----")?;
        let (body, _) = rest.split_once("-----END ")?;
        let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
        Some((label, Zeroizing::new(STANDARD.decode(&*body).ok()?)))
    };
    text.split("-----BEGIN ").skip(1).filter_map(block).collect()
}

/// A key of P-256 as PKCS#8 (RFC 5958 section 2) around SEC1 (RFC 5915 section 3). Of another curve comes what no key is.
fn pkcs8_of_sec1(sec1: &[u8]) -> Zeroizing<Vec<u8>> {
    // Version 0; the algorithm id-ecPublicKey with the curve prime256v1 (RFC 5480 section 2.1.1).
    const HEAD: &[u8] = &[
        0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
        0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04,
    ];
    // A length of up to 255 bytes in two bytes, and of up to 127 in one.
    let (inner, outer) = (sec1.len() as u8, (HEAD.len() + 1 + sec1.len()) as u8);
    Zeroizing::new([&[0x30, 0x81, outer], HEAD, &[inner], sec1].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jws::{self, Algorithm, JwsPolicy, KeySet};

    /// RFC 7515 appendix A.2.
    const RSA: &str = r#"{"kty":"RSA",
        "n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e":"AQAB",
        "d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
        "p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
        "q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
        "dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
        "dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
        "qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U"}"#;
    /// RFC 7515 appendix A.3.
    const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
    /// RFC 8037 appendix A.1.
    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// Keys as OpenSSL writes them.
    const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIAjCsJNgtZRhuEca/TIf8MpRm2E21+tFqvHMKXJA/8QfoAoGCCqGSM49
AwEHoUQDQgAECxTzUpgn/Mtgib1Jy87u4Jo/42fNs/l6Y5XG802vsusYckOe8cJ7
/+st/6GpgRP3QtZu44xrHg3qwkbzIhLEkg==
-----END EC PRIVATE KEY-----
";
    const PKCS8_OF_SEC1: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCMKwk2C1lGG4Rxr9
Mh/wylGbYTbX60Wq8cwpckD/xB+hRANCAAQLFPNSmCf8y2CJvUnLzu7gmj/jZ82z
+XpjlcbzTa+y6xhyQ57xwnv/6y3/oamBE/dC1m7jjGseDerCRvMiEsSS
-----END PRIVATE KEY-----
";
    const PKCS8_OF_ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIM4DN3t7i5Dk0nBmlZSfQB+Ci6dHhWi3UsR71MM0T8LS
-----END PRIVATE KEY-----
";
    const PKCS8_OF_P384: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBLuFfJFVx1PGItr7EY
UewY2zws2zzfv8DP2Q4OpGf+mgz5fYGEZRvQ64zCGIVHq46hZANiAAR4XYqpgj16
SDiaPYzGr2uhxQW+N79ljiZUBJzDaBPZ8pPyAfGdHaIyH8jQjLHdAlHoxd2SyaCy
WeUuOAixzdUubh2KxSeL1Fvp5G9KgpnRXc7LXOAYenex/DHElmH/bd0=
-----END PRIVATE KEY-----
";
    /// The payload of RFC 7515 appendix A.
    const PAYLOAD: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    fn key(text: &str) -> SigningKey {
        SigningKey::parse(text, None).unwrap_or_else(|found| panic!("{found}"))
    }

    fn signed(key: &SigningKey, message: &str) -> String {
        URL_SAFE_NO_PAD.encode(key.pair.sign(key.algorithm, message.as_bytes()).unwrap())
    }

    #[test]
    fn rfc_7515_appendix_a_1() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let message = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}");
        let hash = hs256(&URL_SAFE_NO_PAD.decode(secret).unwrap(), message.as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.encode(hash), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    }

    #[test]
    fn rfc_7515_appendix_a_2() {
        let message = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}");
        let expected = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        assert_eq!(signed(&key(RSA), &message), expected);
    }

    /// With the thumbprint of appendix A.3.
    #[test]
    fn rfc_8037_appendix_a_4() {
        let key = key(ED25519);
        let expected =
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert_eq!(signed(&key, message), expected);
        assert_eq!(key.id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// No two signatures of this kind are the same: that of the RFC holds with the published half.
    #[test]
    fn rfc_7515_appendix_a_3() {
        let signature =
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let set = KeySet::parse(json!({ "keys": [key(P256).public] }).to_string().as_bytes()).unwrap();
        let algorithms = [Algorithm::from_name("ES256").unwrap()];
        let policy = JwsPolicy { algorithms: &algorithms, keys_are_new: true };
        let holds = |jwt: &str| jws::verify(jwt, &set, &[], &policy).is_ok();
        let message = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}");
        let own = [signed(&key(P256), &message), signed(&key(P256), &message)];
        assert_ne!(own[0], own[1]);
        assert!(holds(&format!("{message}.{signature}")) && holds(&format!("{message}.{}", own[0])));
        assert!(!holds(&format!("{message}x.{signature}")));
    }

    /// Each kind of key signs what its published half verifies, and no other.
    #[test]
    fn the_published_half_verifies() {
        let pss = SigningKey::parse(RSA, Some("PS256")).unwrap();
        let keys = [key(RSA), pss, key(P256), key(ED25519), key(SEC1), key(PKCS8_OF_ED25519)];
        let claims = json!({ "iss": "joe" });
        for (at, signing) in keys.iter().enumerate() {
            let jwt = signing.jwt(&claims).unwrap();
            let algorithms = [Algorithm::from_name(signing.algorithm).unwrap()];
            let policy = JwsPolicy { algorithms: &algorithms, keys_are_new: true };
            for (published_at, published) in keys.iter().enumerate() {
                let set = json!({ "keys": [published.public] }).to_string();
                assert!(!set.contains("\"d\""));
                let set = KeySet::parse(set.as_bytes()).unwrap();
                let verified = jws::verify(&jwt, &set, &[], &policy).is_ok();
                assert_eq!(verified, at == published_at, "{} {}", signing.algorithm, published.algorithm);
            }
        }
    }

    #[test]
    fn a_key_is_the_same_in_every_form() {
        assert_eq!(key(SEC1).public, key(PKCS8_OF_SEC1).public);
        let named = P256.replace("\"kty\"", "\"kid\":\"mine\",\"alg\":\"ES256\",\"kty\"");
        assert_eq!((key(&named).id.as_str(), &key(&named).public["kid"]), ("mine", &json!("mine")));
        // A certificate may stand before or after its key. These four bytes are none, and are not looked into.
        let certificate = "-----BEGIN CERTIFICATE-----\nAQIDBA==\n-----END CERTIFICATE-----\n";
        let jwt = key(&format!("{certificate}{SEC1}")).jwt(&json!({})).unwrap();
        let header = URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header["x5t#S256"], json!(URL_SAFE_NO_PAD.encode(Sha256::digest([1, 2, 3, 4]))));
        assert!(!key(SEC1).jwt(&json!({})).unwrap().is_empty());
    }

    /// What is no key is refused in words that do not repeat it.
    #[test]
    fn other_keys_are_refused_and_not_shown() {
        for (text, algorithm, found) in [
            ("", None, "holds no private key"),
            ("secret", None, "holds no private key"),
            ("{\"kty\":\"RSA\",\"d\":\"secret", None, "is no JWK"),
            (r#"{"kty":"RSA","d":"secret"}"#, None, "holds a JWK that is not accepted"),
            (r#"{"kty":"oct","k":"secret"}"#, None, "holds a JWK with kty \"oct\" and crv \"\""),
            (PKCS8_OF_P384, None, "holds a key that is not accepted (WrongAlgorithm)"),
            (
                &PKCS8_OF_SEC1.replace("PRIVATE", "ENCRYPTED PRIVATE"),
                None,
                "begins with \"ENCRYPTED PRIVATE KEY\"",
            ),
            (&SEC1.replace("EC ", "RSA "), None, "holds a key that is not accepted"),
            (P256, Some("RS256"), "holds a key for ES256, and the algorithm is \"RS256\""),
        ] {
            let refused = SigningKey::parse(text, algorithm).unwrap_err();
            assert!(refused.contains(found), "{refused}");
            let error = KeyError { place: PrivateKey::Text(text.into()).place(), found: refused }.to_string();
            assert!(error.contains("OIDC_PRIVATE_KEY_FILE") && !error.contains("secret"), "{error}");
        }
        let written = PrivateKey::Text(P256.into());
        let read = ClientKeys::new(std::slice::from_ref(&written), None);
        let shown = format!("{written:?} {:?} {read:?}", read.read().unwrap());
        assert!(!shown.contains("jpsQnnGQ"), "{shown}");
    }
}
