//! What nobody may read who only has the store: secrets, credentials, keys of authority and tokens.
//!
//! Everything is sealed with the cluster's data key (AES-256-GCM), which no store, backup or watch ever sees. Each
//! manager keeps it wrapped: with a key that only its own private key gives, or, with autolock, with one that only the
//! unlock key gives, which a person types once per start.

use super::{MembershipError, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use minke_model::secret::Sealed;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

const KEY: usize = 32;
const UNLOCK_PREFIX: &str = "SWMKEY-1-";

/// Seals and opens. Cheap to clone.
#[derive(Clone)]
pub struct Seal {
    /// By number, the newest last: what older ones sealed still opens.
    keys: Arc<Vec<(u32, [u8; KEY])>>,
}

impl Seal {
    /// With a new data key.
    pub fn generate() -> Self {
        Seal { keys: Arc::new(vec![(1, random())]) }
    }

    /// With one more data key, which seals from now on.
    pub fn rotated(&self) -> Self {
        let mut keys = self.keys.to_vec();
        let next = keys.last().map_or(1, |(number, _)| number + 1);
        keys.push((next, random()));
        Seal { keys: Arc::new(keys) }
    }

    /// Nobody without this reads `bytes` again.
    pub fn seal(&self, bytes: &[u8]) -> Sealed {
        let Some((number, key)) = self.keys.last() else {
            // There is always one: made so, and read so.
            return Sealed { key: 0, nonce: Vec::new(), bytes: Vec::new() };
        };
        let (nonce, bytes) = encrypt(key, bytes);
        Sealed { key: *number, nonce, bytes }
    }

    /// What was sealed.
    ///
    /// # Errors
    /// [`MembershipError::WrongKey`] when it was sealed by another cluster, or was changed.
    pub fn open(&self, sealed: &Sealed) -> Result<Vec<u8>> {
        let key = self.keys.iter().find(|(number, _)| *number == sealed.key);
        let (_, key) = key.ok_or(MembershipError::WrongKey)?;
        decrypt(key, &sealed.nonce, &sealed.bytes)
    }

    /// As [`Seal::open`], of text.
    ///
    /// # Errors
    /// As there.
    pub fn open_text(&self, sealed: &Sealed) -> Result<String> {
        String::from_utf8(self.open(sealed)?).map_err(|_| MembershipError::WrongKey)
    }

    /// The data keys themselves: for another manager, over a connection that proves it is one.
    pub fn export(&self) -> Vec<(u32, Vec<u8>)> {
        self.keys.iter().map(|(number, key)| (*number, key.to_vec())).collect()
    }

    /// From another manager.
    ///
    /// # Errors
    /// When they are no keys.
    pub fn import(keys: Vec<(u32, Vec<u8>)>) -> Result<Self> {
        let keys = keys
            .into_iter()
            .map(|(number, key)| Ok((number, key.try_into().map_err(|_| MembershipError::WrongKey)?)))
            .collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(MembershipError::WrongKey);
        }
        Ok(Seal { keys: Arc::new(keys) })
    }

    /// The data keys, for `with` only.
    pub fn wrap(&self, with: &WrappingKey) -> Wrapped {
        let plain: Vec<u8> =
            self.keys.iter().flat_map(|(number, key)| [&number.to_be_bytes()[..], key].concat()).collect();
        let (nonce, bytes) = encrypt(&with.0, &plain);
        Wrapped { nonce, bytes }
    }

    /// The data keys again.
    ///
    /// # Errors
    /// [`MembershipError::WrongKey`].
    pub fn unwrap(wrapped: &Wrapped, with: &WrappingKey) -> Result<Self> {
        let plain = decrypt(&with.0, &wrapped.nonce, &wrapped.bytes)?;
        let keys = plain
            .chunks_exact(4 + KEY)
            .map(|entry| {
                let (number, key) = entry.split_at(4);
                let number = number.try_into().map_err(|_| MembershipError::WrongKey)?;
                Ok((u32::from_be_bytes(number), key.to_vec()))
            })
            .collect::<Result<_>>()?;
        Seal::import(keys)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({} keys)", self.keys.len())
    }
}

/// Bytes that were wrapped for one manager, as they lie on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    nonce: Vec<u8>,
    bytes: Vec<u8>,
}

/// What wraps the data keys.
pub struct WrappingKey([u8; KEY]);

impl WrappingKey {
    /// That only who has the node's private key (PKCS #8) comes by.
    pub fn of_node(private_key: &[u8]) -> Self {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"minke: wraps the data key");
        let mut bytes = [0; KEY];
        bytes.copy_from_slice(ring::hmac::sign(&key, private_key).as_ref());
        WrappingKey(bytes)
    }

    /// That of the unlock key.
    pub fn of_unlock_key(key: &UnlockKey) -> Self {
        WrappingKey(key.0)
    }

    /// `bytes`, for who has this key only.
    pub fn wrap(&self, bytes: &[u8]) -> Wrapped {
        let (nonce, bytes) = encrypt(&self.0, bytes);
        Wrapped { nonce, bytes }
    }

    /// What was wrapped.
    ///
    /// # Errors
    /// [`MembershipError::WrongKey`].
    pub fn unwrap(&self, wrapped: &Wrapped) -> Result<Vec<u8>> {
        decrypt(&self.0, &wrapped.nonce, &wrapped.bytes)
    }
}

/// What a person types to open a locked manager: `SWMKEY-1-…` (swarmkit, `manager/encryption`).
#[derive(Clone, PartialEq, Eq)]
pub struct UnlockKey([u8; KEY]);

impl UnlockKey {
    /// A new one.
    pub fn generate() -> Self {
        UnlockKey(random())
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`MembershipError::KeyForm`].
    pub fn parse(text: &str) -> Result<Self> {
        let form = || MembershipError::KeyForm("…");
        let digits = text.trim().strip_prefix(UNLOCK_PREFIX).ok_or_else(form)?;
        let bytes = BASE64.decode(digits).map_err(|_| form())?;
        Ok(UnlockKey(bytes.try_into().map_err(|_| form())?))
    }
}

impl fmt::Display for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UNLOCK_PREFIX}{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(…)")
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without the kernel's random numbers nothing is secret: there is no way on.
    #[allow(clippy::expect_used)]
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

fn cipher(key: &[u8; KEY]) -> LessSafeKey {
    // A key of the cipher's own length is always one.
    #[allow(clippy::expect_used)]
    let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key");
    LessSafeKey::new(key)
}

/// A nonce and the ciphertext with its tag. 96 random bits: good for billions of records under one key.
fn encrypt(key: &[u8; KEY], plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let nonce: [u8; NONCE_LEN] = random();
    let mut bytes = plain.to_vec();
    let sealed =
        cipher(key).seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes);
    // Refused only for more than 64 GiB.
    #[allow(clippy::expect_used)]
    sealed.expect("a record is not that large");
    (nonce.to_vec(), bytes)
}

fn decrypt(key: &[u8; KEY], nonce: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| MembershipError::WrongKey)?;
    let mut bytes = bytes.to_vec();
    let plain =
        cipher(key).open_in_place(nonce, Aad::empty(), &mut bytes).map_err(|_| MembershipError::WrongKey)?;
    Ok(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_with_no_other() {
        let seal = Seal::generate();
        let sealed = seal.seal(b"hunter2");
        assert!(!sealed.bytes.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(seal.open(&sealed).unwrap(), b"hunter2");
        assert!(matches!(Seal::generate().open(&sealed), Err(MembershipError::WrongKey)));
        let mut changed = sealed.clone();
        changed.bytes[0] ^= 1;
        assert!(matches!(seal.open(&changed), Err(MembershipError::WrongKey)));
    }

    #[test]
    fn after_a_rotation_the_old_opens_still() {
        let old = Seal::generate();
        let sealed = old.seal(b"x");
        let new = old.rotated();
        assert_eq!(new.open(&sealed).unwrap(), b"x");
        assert!(old.open(&new.seal(b"y")).is_err());
    }

    #[test]
    fn a_manager_without_its_own_key_has_nothing() {
        let seal = Seal::generate();
        let wrapped = seal.wrap(&WrappingKey::of_node(b"mine"));
        let again = Seal::unwrap(&wrapped, &WrappingKey::of_node(b"mine")).unwrap();
        assert_eq!(again.export(), seal.export());
        assert!(Seal::unwrap(&wrapped, &WrappingKey::of_node(b"yours")).is_err());
    }

    #[test]
    fn an_unlock_key_is_read_as_it_was_written() {
        let key = UnlockKey::generate();
        assert_eq!(UnlockKey::parse(&key.to_string()).unwrap(), key);
        assert_eq!(key.to_string().len(), UNLOCK_PREFIX.len() + 43);
        for bad in ["", "SWMKEY-1-", "SWMKEY-1-abc", "SWMKEY-1-====", &key.to_string()[1..]] {
            assert!(UnlockKey::parse(bad).is_err(), "{bad}");
        }
    }
}
