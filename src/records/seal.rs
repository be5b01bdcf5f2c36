//! Seals: what leaves this process, into a store or a cookie, is encrypted and bound to its place.
//!
//! ```text
//! envelope = format (1) ‖ key id (4) ‖ nonce (12) ‖ AES-256-GCM-SIV(expiry ‖ contents) with its tag (16)
//! bound    = application ‖ purpose ‖ format ‖ key id ‖ place ‖ owner
//! ```
//!
//! The application is a hash of its public URL and of its session cookie's name: whatever secrets and stores two
//! applications share, nothing of one opens at the other, and no row has a name at both.
//!
//! AES-GCM-SIV (RFC 8452) because nonces are random: a repeated one shows that two contents are equal and
//! nothing else. Every secret is stretched with HKDF-SHA-256 (RFC 5869) into one key for each purpose, so no
//! kind of seal opens as another even before the bound data is compared.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use super::grant::encode;
use crate::clock::{Random, Timestamp};
use crate::events::entries;
use crate::secret::Secret;

const FORMAT: u8 = 2;
const HEADER: usize = 1 + 4 + 12;
const TAG: usize = 16;

/// The least length of a sealing secret, in bytes.
pub(crate) const MIN_SECRET: usize = 32;

entries! {
    pub(crate) label: &'static str =>
    /// What a seal is for. Its label is part of the key and of the bound data.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Purpose {
        Session = "session",
        Grant = "grant",
        BlindIndexKey = "index key",
        PendingLogin = "pending login",
        PendingLogout = "pending logout",
        LogoutToken = "logout token",
        /// Of a browser that keeps its session itself.
        CarriedSession = "carried session",
        CarriedClaims = "carried claims",
        GrantPayload = "carried grant",
        /// That such a session ended before its time.
        EndedSession = "ended session",
        /// What one request has, and nobody after it.
        SingleUse = "single use",
    }
}

/// Where a sealed thing lies and, for what belongs to somebody, whose it is. All of it is bound into the seal.
#[derive(Clone, Copy)]
pub(crate) struct AssociatedData<'a> {
    pub(crate) purpose: Purpose,
    /// The row's key or the cookie's name.
    pub(crate) name: &'a [u8],
    /// The owner's unambiguous encoding; empty where the place says enough.
    pub(crate) owner: &'a [u8],
}

impl<'a> AssociatedData<'a> {
    pub(crate) fn new(purpose: Purpose, name: &'a [u8]) -> Self {
        Self { purpose, name, owner: &[] }
    }
}

/// What was under a seal.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) expires_at: Timestamp,
    pub(crate) contents: Vec<u8>,
    /// False when a secret that only opens had sealed it: seal anew when it is written next.
    pub(crate) by_first_secret: bool,
}

/// Why a seal did not open. The first two may open tomorrow or elsewhere, the last never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealError {
    UnknownKey,
    NewerFormat,
    Broken,
}

/// The secrets: the first seals, all open.
pub(crate) struct KeyRing {
    keys: Vec<SealingKey>,
    /// A key for names, of the first secret: it changes with it.
    pub(crate) index_key: [u8; 32],
    application: [u8; 32],
    /// A whole block of the hash says which application: a name costs no more than without it.
    names: Sha256,
}

struct SealingKey {
    id: [u8; 4],
    ciphers: [Aes256GcmSiv; Purpose::ALL.len()],
}

impl KeyRing {
    /// Derives every key. `secrets` is not empty; the caller has checked their lengths. `application` says unambiguously
    /// which application this is.
    pub(crate) fn new(secrets: &[Secret], application: &[u8]) -> Self {
        let application: [u8; 32] = Sha256::digest(application).into();
        let keys = secrets.iter().map(|secret| {
            let hkdf = Hkdf::<Sha256>::new(None, secret.expose_secret().as_bytes());
            let key = |purpose: Purpose| derive::<32>(&hkdf, purpose.label());
            let ciphers = std::array::from_fn(|at| Aes256GcmSiv::new(&key(Purpose::ALL[at]).into()));
            SealingKey { id: derive(&hkdf, "key id"), ciphers }
        });
        let first = Hkdf::<Sha256>::new(Some(&application), secrets[0].expose_secret().as_bytes());
        let names = Sha256::new().chain_update(application).chain_update([0; 32]);
        Self { keys: keys.collect(), index_key: derive(&first, "names"), application, names }
    }

    /// The name of a row of this application, of what is long and random, or is there once.
    pub(crate) fn name(&self, of: &[u8]) -> [u8; 32] {
        self.names.clone().chain_update(of).finalize().into()
    }

    pub(crate) fn seal(
        &self, place: AssociatedData<'_>, expires_at: Timestamp, contents: &[u8], random: &Random,
    ) -> Vec<u8> {
        let key = &self.keys[0];
        let nonce = random.bytes::<12>();
        let plain = [&expires_at.as_millis().to_le_bytes(), contents].concat();
        let payload = Payload { msg: &plain, aad: &self.bound(place, key.id) };
        let sealed = key.ciphers[place.purpose as usize]
            .encrypt(&Nonce::from(nonce), payload)
            .unwrap_or_else(|_| unreachable!("AES-GCM-SIV seals up to 64 GiB"));
        [&[FORMAT][..], &key.id, &nonce, &sealed].concat()
    }

    /// The length of the envelope around contents of this length.
    pub(crate) const fn sealed_length(contents: usize) -> usize {
        HEADER + 8 + contents + TAG
    }

    pub(crate) fn open(&self, place: AssociatedData<'_>, envelope: &[u8]) -> Result<Opened, SealError> {
        let (&format, rest) = envelope.split_first().ok_or(SealError::Broken)?;
        if format > FORMAT {
            return Err(SealError::NewerFormat);
        }
        if format != FORMAT || envelope.len() < HEADER + TAG {
            return Err(SealError::Broken);
        }
        let (id, rest) = rest.split_at(4);
        let (nonce, sealed) = rest.split_at(12);
        let position = self.keys.iter().position(|key| key.id == id).ok_or(SealError::UnknownKey)?;
        let key = &self.keys[position];
        let nonce = Nonce::try_from(nonce).map_err(|_| SealError::Broken)?;
        let payload = Payload { msg: sealed, aad: &self.bound(place, key.id) };
        let mut plain = key.ciphers[place.purpose as usize].decrypt(&nonce, payload).map_err(|_| SealError::Broken)?;
        let (expiry, _) = plain.split_first_chunk::<8>().ok_or(SealError::Broken)?;
        let expires_at = Timestamp::from_millis(u64::from_le_bytes(*expiry));
        plain.drain(..8);
        Ok(Opened { expires_at, contents: plain, by_first_secret: position == 0 })
    }

    fn bound(&self, place: AssociatedData<'_>, key_id: [u8; 4]) -> Vec<u8> {
        let AssociatedData { purpose, name, owner } = place;
        // Each part carries its length: no two places may spell the same bytes.
        let parts = encode(&[purpose.label().as_bytes(), &[FORMAT], &key_id, name, owner]);
        [&self.application[..], &parts].concat()
    }
}

fn derive<const N: usize>(hkdf: &Hkdf<Sha256>, label: &str) -> [u8; N] {
    let mut key = [0; N];
    hkdf.expand(format!("tower-oidc/2/{label}").as_bytes(), &mut key)
        .unwrap_or_else(|_| unreachable!("HKDF-SHA-256 expands to 8160 bytes"));
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn ring(secrets: &[&str]) -> KeyRing {
        KeyRing::new(&secrets.iter().map(|s| Secret::from(*s)).collect::<Vec<_>>(), b"app")
    }

    fn place<'a>(purpose: Purpose, name: &'a str, owner: &'a str) -> AssociatedData<'a> {
        AssociatedData { purpose, name: name.as_bytes(), owner: owner.as_bytes() }
    }

    #[test]
    fn a_seal_opens_in_its_place_with_its_expiry() {
        let ring = ring(&["one"]);
        let here = place(Purpose::Grant, "row", "alice");
        let opened = ring.open(here, &ring.seal(here, NOW, b"tokens", &Random::system())).unwrap();
        assert_eq!((opened.expires_at, &opened.contents[..], opened.by_first_secret), (NOW, &b"tokens"[..], true));
    }

    /// Every kind of seal is refused by every other opener.
    #[test]
    fn every_purpose_refuses_every_other_purpose() {
        let ring = ring(&["one"]);
        for (at, sealed_for) in Purpose::ALL.iter().copied().enumerate() {
            assert_eq!(sealed_for as usize, at, "{sealed_for:?} has its own label");
            let envelope = ring.seal(place(sealed_for, "here", ""), NOW, b"x", &Random::system());
            for opened_as in Purpose::ALL.iter().copied() {
                let opened = ring.open(place(opened_as, "here", ""), &envelope);
                assert_eq!(opened.is_ok(), sealed_for == opened_as, "{sealed_for:?} as {opened_as:?}");
            }
        }
    }

    #[test]
    fn another_name_or_owner_does_not_open_and_parts_do_not_run_together() {
        let ring = ring(&["one"]);
        let envelope = ring.seal(place(Purpose::Grant, "row", "alice"), NOW, b"x", &Random::system());
        for (name, owner) in [("row2", "alice"), ("row", "bob"), ("rowa", "lice"), ("ro", "walice"), ("row", "")] {
            let opened = ring.open(place(Purpose::Grant, name, owner), &envelope);
            assert_eq!(opened.unwrap_err(), SealError::Broken, "{name} {owner}");
        }
    }

    /// An old secret opens, the new one seals, and a secret that is not configured opens nothing.
    #[test]
    fn secrets_rotate_and_strangers_are_unknown() {
        let here = place(Purpose::Session, "row", "");
        let old = ring(&["old"]).seal(here, NOW, b"x", &Random::system());
        let opened = ring(&["new", "old"]).open(here, &old).unwrap();
        assert!(!opened.by_first_secret, "it asks to be sealed anew");
        let new = ring(&["new", "old"]).seal(here, NOW, b"x", &Random::system());
        assert_eq!(ring(&["old"]).open(here, &new).unwrap_err(), SealError::UnknownKey);
        assert!(ring(&["old", "new"]).open(here, &new).is_ok(), "decrypt-only replicas read what the first sealed");
        assert_eq!(ring(&["stranger"]).open(here, &old).unwrap_err(), SealError::UnknownKey);
    }

    #[test]
    fn a_newer_format_is_told_from_a_broken_seal() {
        let ring = ring(&["one"]);
        let here = place(Purpose::Session, "row", "");
        let mut envelope = ring.seal(here, NOW, b"x", &Random::system());
        envelope[0] = FORMAT + 1;
        assert_eq!(ring.open(here, &envelope).unwrap_err(), SealError::NewerFormat);
        envelope[0] = 0;
        assert_eq!(ring.open(here, &envelope).unwrap_err(), SealError::Broken);
    }

    proptest! {
        #[test]
        fn any_changed_byte_and_any_junk_is_refused(contents: Vec<u8>, at: prop::sample::Index, flip in 1_u8.., junk: Vec<u8>) {
            let ring = ring(&["one"]);
            let here = place(Purpose::PendingLogin, "cookie", "");
            let mut envelope = ring.seal(here, NOW, &contents, &Random::system());
            prop_assert_eq!(&ring.open(here, &envelope).unwrap().contents, &contents);
            let at = at.index(envelope.len());
            envelope[at] ^= flip;
            prop_assert!(ring.open(here, &envelope).is_err());
            prop_assert!(ring.open(here, &envelope[..at]).is_err());
            prop_assert!(ring.open(here, &junk).is_err());
        }
    }
}
