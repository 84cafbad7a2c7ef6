//! Files of any URL, for builds: by the registries' client, with their proxies and certificates.
//!
//! Never: shows credentials to anyone, or writes to disk.

use crate::{
    ImageError, Result,
    registry::{RegistryConfig, RegistryError, client},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body_util::BodyExt;

/// An answer: its head, and its body piece by piece.
#[derive(Debug)]
pub struct Answer {
    /// `200`…
    pub status: u16,
    headers: HeaderMap,
    body: hyper::body::Incoming,
}

impl Answer {
    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        loop {
            let frame = self.body.frame().await?;
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(bytes)) if bytes.is_empty() => {}
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                // Trailers mean nothing here.
                Ok(Err(_)) => {}
                Err(e) => return Some(Err(std::io::Error::other(e))),
            }
        }
    }
}

/// Asks for a URL, redirections followed. An answer of whatever status is one.
pub async fn get(url: &str, headers: &[(&str, &str)], config: &RegistryConfig) -> Result<Answer> {
    let wrong = |detail: String| ImageError::from(RegistryError::Settings(detail));
    let uri: Uri = url.parse().map_err(|e| wrong(format!("invalid URL {url:?}: {e}")))?;
    let host = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let endpoint = config.endpoints(host, false).await.into_iter().next();
    let endpoint = endpoint.ok_or_else(|| wrong(format!("invalid URL {url:?}")))?;
    let mut asked = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).map_err(|e| wrong(e.to_string()))?;
        asked.insert(name, HeaderValue::try_from(*value).map_err(|e| wrong(e.to_string()))?);
    }
    let client = client::Client::new(config, endpoint)?;
    let answer = client.get(Method::GET, url, &asked, None).await?;
    let (head, body) = answer.into_parts();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}
