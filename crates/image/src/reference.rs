//! Image names as people and registries write them: `nginx`, `quay.io/a/b:v1`, `x@sha256:…`.
//!
//! The grammar and the short ("familiar") forms are those of distribution/reference v0.6 as Docker 28 uses it;
//! so are the sentences of its errors. A reference is always normalized: `nginx` is `docker.io/library/nginx`.
//!
//! Never: looks anything up. Whether a name exists is for `Images` and the registry to say.

use minke_model::{Kind, id::Digest};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The domain that names without one belong to.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// The tag that names without one mean.
pub const DEFAULT_TAG: &str = "latest";

/// Docker Hub's old domain; still accepted, never shown.
const LEGACY_DOMAIN: &str = "index.docker.io";

/// Where Docker Hub keeps its official images.
const OFFICIAL_PREFIX: &str = "library/";

/// Longest path of a repository, in bytes.
const MAX_PATH: usize = 255;

/// Longest tag, in bytes.
const MAX_TAG: usize = 128;

/// A normalized name of an image: domain, path, and perhaps a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference. The sentences are Docker's: its clients and their tests match on them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The path has upper-case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    PathUppercase(String),
    /// It would be good in lower case.
    #[error("repository name must be lowercase")]
    Uppercase,
    /// 64 hex digits are an id, never a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The path is longer than 255 bytes.
    #[error("repository name must not be more than {MAX_PATH} characters")]
    TooLong,
    /// A tag that was given by itself is not one.
    #[error("invalid tag format")]
    Tag,
    /// The digest has other than hex digits.
    #[error("invalid checksum digest format")]
    DigestFormat,
    /// The digest has too few or too many digits.
    #[error("invalid checksum digest length")]
    DigestLength,
    /// The digest is not a sha256.
    #[error("unsupported digest algorithm")]
    DigestUnsupported,
}

impl ReferenceError {
    /// Always the request's fault.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Reference {
    /// Parses a name in its short or its full form. No tag is added: see [`Reference::or_latest`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if is_identifier(text) {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let path = remainder.split(':').next().unwrap_or_default();
        if path.to_lowercase() != path {
            return Err(ReferenceError::PathUppercase(path.to_owned()));
        }
        match Self::from_parts(domain, &remainder) {
            Err(ReferenceError::Format) => {
                let lower = Self::from_parts(&domain.to_lowercase(), &remainder.to_lowercase());
                let uppercase = !matches!(lower, Err(ReferenceError::Format));
                Err(if uppercase { ReferenceError::Uppercase } else { ReferenceError::Format })
            }
            other => other,
        }
    }

    /// The grammar proper, `domain/path[:tag][@digest]`, after the domain was split off.
    fn from_parts(domain: &str, remainder: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match remainder.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (remainder, None),
        };
        let (path, tag) = match name.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (name, None),
        };
        if !is_path(path) || tag.is_some_and(|tag| !is_tag(tag)) || digest.is_some_and(|d| !is_digest_like(d))
        {
            return Err(ReferenceError::Format);
        }
        // Docker takes `my_host.x/app`, whose first part can be no host, for a path without a domain.
        let (domain, path) = match is_domain(domain) {
            true => (domain.to_owned(), path.to_owned()),
            false if is_path(domain) => (String::new(), format!("{domain}/{path}")),
            false => return Err(ReferenceError::Format),
        };
        if path.len() > MAX_PATH {
            return Err(ReferenceError::TooLong);
        }
        let digest = digest.map(parse_digest).transpose()?;
        Ok(Self { domain, path, tag: tag.map(str::to_owned), digest })
    }

    /// The registry's host, perhaps with a port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository in its registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether it has neither tag nor digest.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// Domain and path: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        match self.domain.is_empty() {
            true => self.path.clone(),
            false => format!("{}/{}", self.domain, self.path),
        }
    }

    /// Domain and path as people see them: `nginx`. Unlike Docker's, it always means the same when it is read:
    /// `docker.io/quay.io/x` stays as it is, since `quay.io/x` lies elsewhere.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        let short = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(short) if !short.contains('/') => short,
            _ => &self.path,
        };
        let (domain, path) = split_domain(short);
        match domain == self.domain && path == self.path && !is_identifier(short) {
            true => short.to_owned(),
            false => self.name(),
        }
    }

    /// All of it as people see it: `nginx:1.27`.
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    /// All of it, with its domain: `docker.io/library/nginx:1.27`.
    pub fn full(&self) -> String {
        self.name() + &self.suffix()
    }

    fn suffix(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}"))).collect()
    }

    /// The repository alone, without tag and digest.
    pub fn repository(&self) -> Reference {
        Self { tag: None, digest: None, ..self.clone() }
    }

    /// With `latest` where there is neither tag nor digest.
    pub fn or_latest(mut self) -> Reference {
        if self.is_name_only() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// With this tag in the place of an earlier one; a digest stays.
    pub fn with_tag(mut self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag);
        }
        self.tag = Some(tag.to_owned());
        Ok(self)
    }

    /// With this digest in the place of an earlier one; a tag stays.
    pub fn with_digest(mut self, digest: Digest) -> Reference {
        self.digest = Some(digest);
        self
    }
}

impl fmt::Display for Reference {
    /// As people see it: [`Reference::familiar`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, ReferenceError> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    /// The full form, which parses to the same reference.
    fn from(reference: Reference) -> Self {
        reference.full()
    }
}

/// Whether `text` is 64 lower-case hex digits: an image's id, which no name may look like.
pub fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Parses a digest that was given by itself, with Docker's errors.
pub fn parse_digest(text: &str) -> Result<Digest, ReferenceError> {
    let (algorithm, digits) = text.split_once(':').ok_or(ReferenceError::DigestFormat)?;
    if algorithm.is_empty() || digits.is_empty() {
        return Err(ReferenceError::DigestFormat);
    }
    if algorithm != "sha256" {
        return Err(ReferenceError::DigestUnsupported);
    }
    if digits.len() != 64 {
        return Err(ReferenceError::DigestLength);
    }
    Digest::parse(text).ok_or(ReferenceError::DigestFormat)
}

/// Which part is the host: the first one if it can be no path of Docker Hub.
fn split_domain(text: &str) -> (&str, String) {
    let Some((first, rest)) = text.split_once('/') else {
        return (DEFAULT_DOMAIN, format!("{OFFICIAL_PREFIX}{text}"));
    };
    let is_host = first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first;
    let (domain, path) = match is_host {
        true if first == LEGACY_DOMAIN => (DEFAULT_DOMAIN, rest),
        true => (first, rest),
        false => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain, format!("{OFFICIAL_PREFIX}{path}"));
    }
    (domain, path.to_owned())
}

/// Whether `text` is a host with an optional port: dotted names, IPv4, or IPv6 in brackets.
fn is_domain(text: &str) -> bool {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let Some((address, rest)) = inner.split_once(']') else { return false };
            let good = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !good {
                return false;
            }
            ("", rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port_good = match rest.strip_prefix(':') {
        Some(port) => !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()),
        None => rest.is_empty(),
    };
    port_good && (text.starts_with('[') || host.split('.').all(is_label))
}

/// Whether `text` is one label of a host name.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether `text` is path components joined by slashes.
fn is_path(text: &str) -> bool {
    text.split('/').all(is_component)
}

/// Lower-case words and digits, joined by one dot, one or two underscores, or any number of dashes.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_good = bytes.first().is_some_and(|&b| is_word(b)) && bytes.last().is_some_and(|&b| is_word(b));
    if !ends_good {
        return false;
    }
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators.into_iter().all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

/// Whether `text` is a tag: a word character, then up to 127 word characters, dots and dashes.
fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

/// Whether `text` has the outline of a digest: `algorithm:` and at least 32 hex digits.
fn is_digest_like(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let is_name = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_name)
        && digits.len() >= 32
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
