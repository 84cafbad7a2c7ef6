//! What somebody needs to come in: `SWMTKN-1-<digest of the authority>-<secret>` (swarmkit, `ca/config.go`).
//!
//! The digest pins the authority, so that nobody in between can pose as the cluster; the secret says as what one
//! joins. The digest is that of the authority's public key: its certificate may be made anew.

use super::{MembershipError, Result, ca::AuthorityInfo};
use std::fmt;

const PREFIX: &str = "SWMTKN-1-";
/// Digits of a SHA-256 in base 36.
const DIGEST_DIGITS: usize = 50;
/// Digits of 128 random bits in base 36.
const SECRET_DIGITS: usize = 25;

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    digest: String,
    secret: String,
}

impl Token {
    /// For the authority whose certificate is the first in `authority` (PEM).
    ///
    /// # Errors
    /// When that is none.
    pub fn new(authority: &str, secret: &str) -> Result<Self> {
        Ok(Token { digest: digest(authority)?, secret: secret.to_owned() })
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`MembershipError::TokenForm`].
    pub fn parse(text: &str) -> Result<Self> {
        let base36 = |part: &str, digits: usize| {
            part.len() == digits && part.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        };
        let (digest, secret) = text
            .trim()
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .filter(|(digest, secret)| base36(digest, DIGEST_DIGITS) && base36(secret, SECRET_DIGITS))
            .ok_or(MembershipError::TokenForm)?;
        Ok(Token { digest: digest.to_owned(), secret: secret.to_owned() })
    }

    /// Refuses another authority than the one that it was made for: the first certificate in `authority` (PEM).
    ///
    /// # Errors
    /// [`MembershipError::OtherAuthority`].
    pub fn check(&self, authority: &str) -> Result<()> {
        if digest(authority)? == self.digest {
            return Ok(());
        }
        Err(MembershipError::OtherAuthority { expected: self.digest.clone() })
    }

    /// What only the cluster and those who may join know.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}", self.digest, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}{}-…)", self.digest)
    }
}

/// A new secret half.
pub fn new_secret() -> String {
    let mut bytes = [0; 16];
    // Without the kernel's random numbers nothing is secret: there is no way on.
    #[allow(clippy::expect_used)]
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    base36(&bytes, SECRET_DIGITS)
}

/// Whether two secrets are the same, in a time that tells nothing of where they differ.
pub fn same(a: &str, b: &str) -> bool {
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    // Digests of what is compared: how far they agree says nothing.
    digest(a).as_ref() == digest(b).as_ref()
}

fn digest(authority: &str) -> Result<String> {
    let info = AuthorityInfo::of_pem(authority)?;
    let hash = ring::digest::digest(&ring::digest::SHA256, &info.public_key);
    Ok(base36(hash.as_ref(), DIGEST_DIGITS))
}

/// The number that `bytes` are, big end first, in so many digits of `0-9a-z`.
fn base36(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; digits];
    for place in text.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in &mut number {
            let part = rest << 8 | u32::from(*byte);
            *byte = (part / 36) as u8;
            rest = part % 36;
        }
        *place = b"0123456789abcdefghijklmnopqrstuvwxyz"[rest as usize];
    }
    text.iter().map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::ca::Authority;
    use minke_model::Timestamp;

    #[test]
    fn a_token_is_read_as_it_was_written_and_pins_its_authority() {
        let (ours, other) =
            (Authority::generate(Timestamp::now()).unwrap(), Authority::generate(Timestamp::now()).unwrap());
        let token = Token::new(ours.certificate(), &new_secret()).unwrap();
        assert_eq!(Token::parse(&token.to_string()).unwrap(), token);
        assert!(token.check(ours.certificate()).is_ok());
        assert!(matches!(token.check(other.certificate()), Err(MembershipError::OtherAuthority { .. })));
        assert!(!format!("{token:?}").contains(token.secret()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = format!("{PREFIX}{}-{}", "a".repeat(50), "b".repeat(25));
        assert!(Token::parse(&good).is_ok());
        let bad =
            ["", "SWMTKN-1-", &good[1..], &good[..good.len() - 1], &good.replace('a', "A"), "SWMTKN-2-x"];
        for text in bad {
            assert!(Token::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_in_base_36() {
        assert_eq!(base36(&[0], 2), "00");
        assert_eq!(base36(&[1, 0], 3), "074");
        assert_eq!(base36(&[0xff; 16], 25), "f5lxx1zz5pnorynqglhzmsp33");
        assert!(same("x", "x") && !same("x", "y"));
    }
}
