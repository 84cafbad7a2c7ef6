//! A blob as a stream of pieces that outlives broken connections: it is begun again where it was cut.
//!
//! Never: holds more than one piece; verifies the digest (who reads it does, while it reads).

use super::{
    client::{IDLE_TIMEOUT, Repository, body_error, text_header},
    error::{RegistryError, TransportError},
};
use bytes::{Buf, Bytes};
use http::{Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use minke_model::id::Digest;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// So many bytes since the last cut count as progress: tries are counted anew.
const PROGRESS: u64 = 1 << 20;

/// Before the second try without progress; doubled for each further one.
const BACK_OFF: Duration = Duration::from_millis(250);

/// The longest pause between two tries.
const MAX_BACK_OFF: Duration = Duration::from_secs(10);

/// Reads one blob.
pub(crate) struct BlobReader<'a> {
    repository: &'a Repository,
    digest: Digest,
    size: u64,
    max_attempts: u32,
    body: Option<Incoming>,
    /// Bytes that were given out.
    offset: u64,
    /// Bytes to pass over: a registry without ranges begins from the beginning.
    skip: u64,
    /// Tries without progress, this one included.
    attempts: u32,
    /// Where the present try began.
    began: u64,
    resumed: bool,
    finished: bool,
}

impl<'a> BlobReader<'a> {
    /// Of the blob with that digest and size in bytes. Nothing is sent yet.
    pub(crate) fn new(repository: &'a Repository, digest: Digest, size: u64, max_attempts: u32) -> Self {
        Self {
            repository,
            digest,
            size,
            max_attempts,
            body: None,
            offset: 0,
            skip: 0,
            attempts: 0,
            began: 0,
            resumed: false,
            finished: false,
        }
    }

    /// Whether it was put together from more than one answer.
    pub(crate) fn was_resumed(&self) -> bool {
        self.resumed
    }

    /// How often it was begun without progress since.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Bytes given out so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next piece, never empty; `None` after the last. `waits` hears of pauses before further tries. Errors: the
    /// registry's; `LayerDigest` when there are more or fewer bytes than there should be.
    pub(crate) async fn next(
        &mut self,
        waits: &(dyn Fn(Duration) + Sync),
    ) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let Some(body) = &mut self.body else {
                if self.finished {
                    return Ok(None);
                }
                match self.open().await {
                    Ok(()) => continue,
                    Err(e) => self.pause(e, waits).await?,
                }
                continue;
            };
            let cut = match timeout(IDLE_TIMEOUT, body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => match self.take(data)? {
                        Some(data) => return Ok(Some(data)),
                        None => continue,
                    },
                    Err(_) => continue,
                },
                // An answer that ends in good order, and too early, even when it is asked for the rest.
                Ok(None) if self.offset < self.size && self.offset == self.began => {
                    return Err(RegistryError::LayerDigest(self.digest.clone()));
                }
                Ok(None) => TransportError::Broken("unexpected EOF".into()),
                Ok(Some(Err(e))) => body_error(&e),
                Err(_) => TransportError::Timeout("i/o timeout"),
            };
            self.body = None;
            if self.offset == self.size {
                self.finished = true;
                return Ok(None);
            }
            self.pause(cut.into(), waits).await?;
        }
    }

    /// What is new in a piece.
    fn take(&mut self, mut data: Bytes) -> Result<Option<Bytes>, RegistryError> {
        let known = self.skip.min(data.len() as u64);
        self.skip -= known;
        data.advance(known as usize);
        if data.is_empty() {
            return Ok(None);
        }
        if data.len() as u64 > self.size - self.offset {
            return Err(RegistryError::LayerDigest(self.digest.clone()));
        }
        self.offset += data.len() as u64;
        if self.offset - self.began >= PROGRESS {
            self.attempts = 1;
        }
        Ok(Some(data))
    }

    async fn open(&mut self) -> Result<(), RegistryError> {
        self.attempts += 1;
        self.resumed |= self.offset > 0;
        let answer = self.repository.blob(&self.digest, self.offset).await?;
        self.began = self.offset;
        self.skip = match answer.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(RegistryError::LayerDigest(self.digest.clone())),
            StatusCode::PARTIAL_CONTENT if self.offset > 0 => {
                let start = range_start(&answer);
                if start != Some(self.offset) {
                    let why = format!("the registry sent a range from {start:?}, asked for {}", self.offset);
                    return Err(TransportError::Broken(why).into());
                }
                0
            }
            _ => self.offset,
        };
        self.body = Some(answer.into_body());
        Ok(())
    }

    /// Waits before the next try, or ends with `cause` when there is none.
    async fn pause(
        &mut self,
        cause: RegistryError,
        waits: &(dyn Fn(Duration) + Sync),
    ) -> Result<(), RegistryError> {
        if !cause.is_passing() || self.attempts >= self.max_attempts {
            return Err(cause);
        }
        let digest = self.digest.short();
        tracing::info!(digest, offset = self.offset, error = %cause, "a download broke off, trying again");
        // A connection that did carry something is made again at once.
        let exponent = self.attempts.saturating_sub(if self.offset > self.began { 2 } else { 1 }).min(16);
        let wait = (BACK_OFF * 2u32.pow(exponent)).min(MAX_BACK_OFF);
        if self.offset == self.began || self.attempts > 1 {
            waits(wait);
            sleep(wait).await;
        }
        Ok(())
    }
}

/// The first byte that an answer of 206 says it has.
fn range_start(answer: &Response<Incoming>) -> Option<u64> {
    let range = text_header(answer.headers(), header::CONTENT_RANGE)?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
