//! The private keys with which this application proves itself, and their public halves.
//!
//! ring or aws-lc-rs signs: their RSA takes the same time whatever the key is, and the default HTTP client brings one anyway.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::crypto::library::error::{KeyRejected, Unspecified};
use crate::crypto::library::rsa::{KeyPairComponents, PublicKeyComponents};
use crate::crypto::library::signature::{
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use crate::crypto::library::{SystemRandom, hmac, p256, p256_of};
use crate::protocol::json;
use crate::secret::{Secret, opaque};

/// A private key of this application: RSA with 2,048 to 4,096 bits, P-256 or Ed25519.
///
/// It is PEM (PKCS#8; RSA also as PKCS#1) or a JWK (RFC 7517). A JWK may name its `kid` and its `alg`. Otherwise its name is
/// its thumbprint (RFC 7638). Where a certificate stands beside the key in PEM, assertions name it, too (`x5t#S256`, RFC 7515
/// section 4.1.8), as Microsoft Entra ID wants it.
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
    /// The path of a file with the key. The file is looked at whenever the key is needed. A new key is published at once, and
    /// signs after five minutes, when the provider knows it; until then, the key before it does, which is still published
    /// afterwards.
    File(PathBuf),
}

/// Why there is no key. It never says what was read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the private key {0}, expected RSA with 2048 to 4096 bits, P-256 or Ed25519, as PEM (PKCS#8 without a password: openssl pkcs8 \
     -topk8 -nocrypt) or as a JWK: correct it (private_keys, OIDC_PRIVATE_KEY_FILE)"
)]
pub(crate) struct KeyError(String);

impl PrivateKey {
    fn read(&self) -> Result<Secret, KeyError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => fs::read_to_string(path).map(Secret::from).map_err(|error| self.wrong(error)),
        }
    }

    fn wrong(&self, found: impl ToString) -> KeyError {
        match self {
            Self::Text(_) => KeyError(found.to_string()),
            Self::File(path) => KeyError(format!("file {}: {}", path.display(), found.to_string())),
        }
    }
}

/// The private keys of one registration, the one that signs first.
#[derive(Default)]
pub(crate) struct ClientKeys {
    pub(crate) written: Vec<PrivateKey>,
    /// The name of the first, and the algorithm of all, where the configuration has them.
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Option<String>,
    pub(crate) known: Mutex<KnownKeys>,
}

/// What the files held when they were read last.
#[derive(Default)]
pub(crate) struct KnownKeys {
    hashes: Vec<[u8; 32]>,
    /// Those that are published, the one that signs first.
    keys: Vec<Arc<SigningKey>>,
    /// When the second takes the place of the first.
    takes_over: Option<Timestamp>,
}

/// So long a new key is published before it signs. Some providers do not read the key set again for an unknown key, but only
/// when the one that they have is old.
const KNOWN_BY_THEN: Duration = Duration::from_secs(5 * 60);

opaque!(ClientKeys);

impl ClientKeys {
    /// The keys as they stand in their files at this moment.
    pub(crate) fn read(&self, now: Timestamp) -> Result<Vec<Arc<SigningKey>>, KeyError> {
        let texts = self.written.iter().map(PrivateKey::read).collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<_> = texts.iter().map(|text| Sha256::digest(text.expose_secret()).into()).collect();
        let mut known = self.known.lock();
        if known.hashes != hashes {
            let parse = |(at, (written, text)): (usize, (&PrivateKey, &Secret))| {
                let id = self.id.as_deref().filter(|_| at == 0);
                let key = SigningKey::parse(text.expose_secret(), self.algorithm.as_deref(), id);
                key.map(Arc::new).map_err(|found| written.wrong(found))
            };
            let written = self.written.iter().zip(&texts).enumerate();
            let mut keys = written.map(parse).collect::<Result<Vec<_>, _>>()?;
            let before = known.keys.first().filter(|before| keys.iter().all(|key| key.id != before.id));
            let takes_over = before.map(|_| now.saturating_add(KNOWN_BY_THEN));
            before.into_iter().for_each(|before| keys.insert(0, Arc::clone(before)));
            *known = KnownKeys { hashes, keys, takes_over };
        }
        if known.takes_over.is_some_and(|at| now >= at) {
            known.takes_over = None;
            known.keys.swap(0, 1);
        }
        Ok(known.keys.clone())
    }

    /// The same, where a file that cannot be read now leaves the keys as they were, with the reason.
    pub(crate) fn newest(&self, now: Timestamp) -> (Vec<Arc<SigningKey>>, Option<KeyError>) {
        match self.read(now) {
            Ok(keys) => (keys, None),
            Err(error) => (self.known.lock().keys.clone(), Some(error)),
        }
    }
}

/// A key that signs with one algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
pub(crate) struct SigningKey {
    pair: Pair,
    id: String,
    /// Of each JWT (RFC 7515 section 4).
    header: Value,
    /// RFC 7517 section 4.
    pub(crate) public: Value,
}

opaque!(SigningKey, |key| id = key.id);

impl SigningKey {
    fn parse(text: &str, algorithm: Option<&str>, id: Option<&str>) -> Result<Self, String> {
        let rejected = |why: KeyRejected| format!("is not accepted ({why})");
        let mut jwk = Map::new();
        let (mut pair, mut certificate) = (None, None);
        if text.trim_start().starts_with('{') {
            jwk = json::object(text.as_bytes()).ok_or("is no JWK")?;
            pair = Some(Pair::of_jwk(&jwk).map_err(rejected)?);
        }
        for (label, der) in pem(text) {
            match label {
                "CERTIFICATE" => certificate = Some(URL_SAFE_NO_PAD.encode(Sha256::digest(der))),
                "PRIVATE KEY" => pair = Some(Pair::of_pkcs8(&der).map_err(rejected)?),
                "RSA PRIVATE KEY" => pair = Some(RsaKeyPair::from_der(&der).map(Pair::Rsa).map_err(rejected)?),
                other => return Err(format!("begins with {other:?}")),
            }
        }
        let pair = pair.ok_or("is missing")?;
        let (known, mut public) = pair.public();
        let named = algorithm.or(json::text(&jwk, "alg")).unwrap_or(known[0]);
        if !known.contains(&named) {
            return Err(format!("is one for {}, and the algorithm is {named:?}", known.join(" or ")));
        }
        // RFC 7638 section 3.2: the required members in this order, and nothing between them.
        let thumbprint = || URL_SAFE_NO_PAD.encode(Sha256::digest(public.to_string()));
        let id = id.or(json::text(&jwk, "kid")).map_or_else(thumbprint, str::to_owned);
        let mut header = json!({ "alg": named, "kid": id });
        for (name, value) in [("alg", named), ("use", "sig"), ("kid", &id)] {
            public[name] = value.into();
        }
        certificate.into_iter().for_each(|thumbprint| header["x5t#S256"] = thumbprint.into());
        Ok(Self { pair, id, header, public })
    }

    /// A JWT with these claims.
    pub(crate) fn jwt(&self, claims: &Value) -> Result<String, Unspecified> {
        compact(&self.header, claims, |message| self.pair.sign(self.header["alg"] == "PS256", message))
    }
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    fn of_pkcs8(der: &[u8]) -> Result<Self, KeyRejected> {
        let on_p256 = p256(der).map(Self::P256);
        // Version 1 of PKCS#8, which OpenSSL writes, has no public key beside the private one.
        let ed25519 = |_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519);
        on_p256.or_else(ed25519).or_else(|_| RsaKeyPair::from_pkcs8(der).map(Self::Rsa))
    }

    /// RFC 7518 section 6, RFC 8037 section 2. What is missing is as none, which no kind of key accepts.
    fn of_jwk(jwk: &Map<String, Value>) -> Result<Self, KeyRejected> {
        let number = |name| {
            let text = json::text(jwk, name).unwrap_or_default();
            Zeroizing::new(URL_SAFE_NO_PAD.decode(text).unwrap_or_default())
        };
        match json::text(jwk, "crv") {
            Some("P-256") => {
                // SEC 1 section 2.3.3.
                let point = [&[4], number("x").as_slice(), &number("y")].concat();
                p256_of(&number("d"), &point).map(Self::P256)
            }
            Some("Ed25519") => Ed25519KeyPair::from_seed_and_public_key(&number("d"), &number("x")).map(Self::Ed25519),
            _ => {
                let numbers = ["n", "e", "d", "p", "q", "dp", "dq", "qi"].map(number);
                let [n, e, d, p, q, dp, dq, qi] = numbers.each_ref().map(|number| number.as_slice());
                let public_key = PublicKeyComponents { n, e };
                let components = KeyPairComponents { public_key, d, p, q, dP: dp, dQ: dq, qInv: qi };
                RsaKeyPair::from_components(&components).map(Self::Rsa)
            }
        }
    }

    /// The algorithms, of which the first is used where none is named, and the members that make up the public key.
    fn public(&self) -> (&'static [&'static str], Value) {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public_key().into();
                (&["RS256", "PS256"], json!({ "e": text(&e), "kty": "RSA", "n": text(&n) }))
            }
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                (&["ES256"], json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) }))
            }
            Self::Ed25519(pair) => {
                let x = text(pair.public_key().as_ref());
                (&["EdDSA", "Ed25519"], json!({ "crv": "Ed25519", "kty": "OKP", "x": x }))
            }
        }
    }

    fn sign(&self, pss: bool, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let (pkcs1, pss_sha256) = (&RSA_PKCS1_SHA256, &RSA_PSS_SHA256);
                let encoding: &dyn RsaEncoding = if pss { pss_sha256 } else { pkcs1 };
                let mut signature = vec![0; pair.public_key().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).map(|()| signature)
            }
            Self::P256(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// A JWT in its compact form (RFC 7515 section 7.1).
pub(crate) fn compact(
    header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, Unspecified>,
) -> Result<String, Unspecified> {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes())?);
    Ok(format!("{message}.{signature}"))
}

/// RFC 7518 section 3.2.
pub(crate) fn hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// The blocks of a PEM file (RFC 7468) with their labels.
fn pem(text: &str) -> impl Iterator<Item = (&str, Zeroizing<Vec<u8>>)> {
    text.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        let body = rest.split_once("-----END ")?.0.split_whitespace().collect::<String>();
        Some((label, Zeroizing::new(STANDARD.decode(&*Zeroizing::new(body)).ok()?)))
    })
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
    const PKCS8_OF_P256: &str = "-----BEGIN PRIVATE KEY-----
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
        SigningKey::parse(text, None, None).unwrap_or_else(|found| panic!("{found}"))
    }

    fn signed(key: &SigningKey, message: &str) -> String {
        URL_SAFE_NO_PAD.encode(key.pair.sign(false, message.as_bytes()).unwrap())
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
        let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert_eq!(signed(&key, message), expected);
        assert_eq!(key.id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// No two signatures of this kind are the same: that of the RFC holds with the published half.
    #[test]
    fn rfc_7515_appendix_a_3() {
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let set = KeySet::parse(json!({ "keys": [key(P256).public] }).to_string().as_bytes()).unwrap();
        let algorithms = [Algorithm::from_name("ES256").unwrap()];
        let policy = JwsPolicy { algorithms: &algorithms, keys_are_new: true };
        let holds = |jwt: &str| jws::verify(jwt, &set, &[""], &policy).is_ok();
        let message = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}");
        let own = [signed(&key(P256), &message), signed(&key(P256), &message)];
        assert_ne!(own[0], own[1]);
        assert!(holds(&format!("{message}.{signature}")) && holds(&format!("{message}.{}", own[0])));
        assert!(!holds(&format!("{message}x.{signature}")));
    }

    /// Each kind of key signs what its published half verifies, and no other.
    #[test]
    fn the_published_half_verifies() {
        let pss = SigningKey::parse(RSA, Some("PS256"), None).unwrap();
        let keys = [key(RSA), pss, key(P256), key(ED25519), key(PKCS8_OF_P256), key(PKCS8_OF_ED25519)];
        let claims = json!({ "iss": "joe" });
        for (at, signing) in keys.iter().enumerate() {
            let jwt = signing.jwt(&claims).unwrap();
            let name = signing.header["alg"].as_str().unwrap();
            let algorithms = [Algorithm::from_name(name).unwrap()];
            let policy = JwsPolicy { algorithms: &algorithms, keys_are_new: true };
            for (published_at, published) in keys.iter().enumerate() {
                let set = json!({ "keys": [published.public] }).to_string();
                assert!(!set.contains("\"d\""));
                let set = KeySet::parse(set.as_bytes()).unwrap();
                let verified = jws::verify(&jwt, &set, &[""], &policy).is_ok();
                assert_eq!(verified, at == published_at, "{} {}", signing.header, published.header);
            }
        }
    }

    #[test]
    fn a_key_has_a_name_and_may_have_a_certificate() {
        let named = P256.replace("\"kty\"", "\"kid\":\"mine\",\"alg\":\"ES256\",\"kty\"");
        assert_eq!((key(&named).id.as_str(), &key(&named).public["kid"]), ("mine", &json!("mine")));
        // A certificate may stand before or after its key. These four bytes are none, and are not looked into.
        let certificate = "-----BEGIN CERTIFICATE-----\nAQIDBA==\n-----END CERTIFICATE-----\n";
        let jwt = key(&format!("{certificate}{PKCS8_OF_P256}")).jwt(&json!({})).unwrap();
        let header = URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header["x5t#S256"], json!(URL_SAFE_NO_PAD.encode(Sha256::digest([1, 2, 3, 4]))));
        assert!(key(&format!("{PKCS8_OF_P256}{certificate}")).header == header);
        assert!(key(PKCS8_OF_P256).header.get("x5t#S256").is_none());
    }

    /// What is no key is refused in words that do not repeat it.
    #[test]
    fn other_keys_are_refused_and_not_shown() {
        for (text, algorithm, found) in [
            ("", None, "is missing"),
            ("secret", None, "is missing"),
            ("{\"kty\":\"RSA\",\"d\":\"secret", None, "is no JWK"),
            (r#"{"kty":"RSA","d":"secret"}"#, None, "is not accepted"),
            (r#"{"kty":"oct","k":"secret"}"#, None, "is not accepted"),
            (PKCS8_OF_P384, None, "is not accepted (WrongAlgorithm)"),
            (&PKCS8_OF_P256.replace("PRIVATE", "ENCRYPTED PRIVATE"), None, "begins with \"ENCRYPTED PRIVATE KEY\""),
            (&PKCS8_OF_P256.replace("PRIVATE", "EC PRIVATE"), None, "begins with \"EC PRIVATE KEY\""),
            (&PKCS8_OF_P256.replace("PRIVATE", "RSA PRIVATE"), None, "is not accepted"),
            (P256, Some("RS256"), "is one for ES256, and the algorithm is \"RS256\""),
        ] {
            let refused = SigningKey::parse(text, algorithm, None).unwrap_err();
            assert!(refused.contains(found), "{refused}");
            let error = PrivateKey::Text(text.into()).wrong(refused).to_string();
            assert!(error.contains("OIDC_PRIVATE_KEY_FILE") && !error.contains("secret"), "{error}");
        }
        let written = PrivateKey::Text(P256.into());
        let read = ClientKeys { written: vec![written.clone()], ..ClientKeys::default() };
        let shown = format!("{written:?} {:?} {read:?}", read.read(Timestamp::default()).unwrap());
        assert!(!shown.contains("jpsQnnGQ"), "{shown}");
    }
}
