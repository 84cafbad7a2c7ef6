//! What is found on the web: images by a word, an archive at a URL.

use super::Images;
use crate::{Error, body::Body, error::Result};
use minke_image::web;
use serde::Deserialize;

/// Docker Hub's index: the only one that most people ever search.
const INDEX: &str = "index.docker.io";
/// The largest list of what was found, bytes.
const MOST_FOUND: usize = 4 << 20;

/// What is searched for. Nobody logs in for that: indexes show everybody the same.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The words; a registry's host may stand before them: `localhost:5000/web`.
    pub term: String,
    /// At most so many.
    pub limit: u8,
}

/// One repository that was found, as the index describes it (Docker Registry v1 search).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// `library/nginx` is `nginx`.
    pub name: String,
    /// One line.
    pub description: String,
    /// How many like it.
    pub star_count: i64,
    /// Docker itself looks after it.
    pub is_official: bool,
    /// The index built it itself, long ago.
    pub is_automated: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    results: Vec<Found>,
}

/// The index's host, and the words for it.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, words)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "docker.io" | INDEX => (INDEX, words.strip_prefix("library/").unwrap_or(words)),
            host => (host, words),
        },
        _ => (INDEX, term.strip_prefix("library/").unwrap_or(term)),
    }
}

/// A word in a URL's query.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl Images {
    /// Searches an index. Fails, naming it, where it cannot be reached.
    pub async fn search(&self, wish: Search) -> Result<Vec<Found>> {
        let (host, words) = split(&wish.term);
        let registries = self.registries();
        let insecure =
            registries.insecure_hosts().any(|known| known == host) || host.starts_with("localhost");
        let schemes: &[&str] = if insecure { &["https", "http"] } else { &["https"] };
        let headers = [("Accept", "application/json")];
        let mut last = None;
        for scheme in schemes {
            let url = format!("{scheme}://{host}/v1/search?q={}&n={}", escape(words), wish.limit);
            let mut answer = match web::get(&url, &headers, &registries).await {
                Ok(answer) => answer,
                Err(e) => {
                    last = Some(Error::Internal(format!(
                        "cannot search {host}: {e}. Search on the registry's own site, or let this machine reach it"
                    )));
                    continue;
                }
            };
            if answer.status != 200 {
                return Err(Error::Internal(format!("Unexpected status code {} from {url}", answer.status)));
            }
            let mut bytes = Vec::new();
            while let Some(piece) = answer.next().await {
                let piece =
                    piece.map_err(|e| Error::Internal(format!("cannot read the answer of {url}: {e}")))?;
                if bytes.len() + piece.len() > MOST_FOUND {
                    return Err(Error::Internal(format!("the answer of {url} exceeds {MOST_FOUND} bytes")));
                }
                bytes.extend_from_slice(&piece);
            }
            let found: Answer = serde_json::from_slice(&bytes)
                .map_err(|e| Error::Internal(format!("the answer of {url} is no list of images: {e}")))?;
            let mut results = found.results;
            results.truncate(wish.limit.into());
            return Ok(results);
        }
        Err(last.unwrap_or_else(|| Error::Internal(format!("cannot search {host}"))))
    }

    /// What lies at a URL, as it comes.
    pub async fn fetch(&self, url: &str) -> Result<Body> {
        let mut answer = web::get(url, &[], &self.registries()).await?;
        if answer.status >= 400 {
            return Err(Error::Internal(format!("failed to GET {url} with status {}", answer.status)));
        }
        let (sender, body) = crate::body::feed();
        tokio::spawn(async move {
            while let Some(piece) = answer.next().await {
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_before_the_words_is_the_index() {
        assert_eq!(split("nginx"), (INDEX, "nginx"));
        assert_eq!(split("library/nginx"), (INDEX, "nginx"));
        assert_eq!(split("me/app"), (INDEX, "me/app"));
        assert_eq!(split("localhost:5000/web app"), ("localhost:5000", "web app"));
        assert_eq!(split("docker.io/library/nginx"), (INDEX, "nginx"));
        assert_eq!(escape("a b/ü"), "a%20b%2F%C3%BC");
    }
}
