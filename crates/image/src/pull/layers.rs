//! The layers of one pull: several at once, each shared with other pulls that want the same.
//!
//! One thread of the blocking pool for each layer that is arriving; between it and the network lies a short queue, so
//! that neither runs ahead. Never: holds a layer whole.

use super::Pull;
use crate::{
    LayerLease, ProgressEvent, Result,
    error::ImageError,
    ingest::LayerIngest,
    manifest::{ConfigOutline, Descriptor, ImageManifest},
    registry::{RegistryError, blob::BlobReader},
    transfer::{Pace, retrying},
    whereabouts,
};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt, stream};
use minke_model::id::Digest;
use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{OwnedMutexGuard, mpsc, watch};

/// Pieces (each at most some 400 KiB) between the network and the disk, for each layer.
const QUEUE: usize = 4;

/// Which layers are arriving, for all pulls of a store.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    slots: Mutex<HashMap<Digest, Weak<Slot>>>,
}

/// One layer that is wanted.
#[derive(Debug)]
struct Slot {
    /// Held by who fetches it.
    fetching: Arc<tokio::sync::Mutex<()>>,
    /// What its fetcher reported last, for those who wait.
    last: watch::Sender<ProgressEvent>,
}

impl Transfers {
    /// The slot of a layer, the same for all who want it at this time.
    fn slot(&self, diff_id: &Digest) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| slot.strong_count() > 0);
        if let Some(slot) = slots.get(diff_id).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot { fetching: Arc::default(), last: watch::Sender::default() });
        slots.insert(diff_id.clone(), Arc::downgrade(&slot));
        slot
    }
}

/// A layer of this pull that is not here.
struct Missing<'a> {
    descriptor: &'a Descriptor,
    diff_id: &'a Digest,
}

impl Pull<'_> {
    /// A lease on each layer, from the bottom; fetches those that are missing. `quiet` about those that are here.
    pub(super) async fn layers(
        &self,
        manifest: &ImageManifest,
        outline: &ConfigOutline,
        quiet: bool,
    ) -> Result<Vec<LayerLease>> {
        let mut leases: HashMap<&Digest, LayerLease> = HashMap::new();
        let mut missing: Vec<Missing<'_>> = Vec::new();
        let all = || manifest.layers.iter().zip(&outline.diff_ids);
        for (descriptor, diff_id) in all() {
            if leases.contains_key(diff_id) || missing.iter().any(|m| m.diff_id == diff_id) {
                continue;
            }
            match self.images.lease_layer(diff_id) {
                Some(lease) => {
                    if !quiet {
                        self.tell(descriptor, "Already exists", None);
                    }
                    leases.insert(diff_id, lease);
                }
                None => {
                    self.tell(descriptor, "Pulling fs layer", None);
                    missing.push(Missing { descriptor, diff_id });
                }
            }
        }
        let at_once = self.registries.options().max_downloads;
        for later in missing.iter().skip(at_once) {
            self.tell(later.descriptor, "Waiting", None);
        }
        // Collected first: with the closure in it, callers could not prove that the future is `Send`.
        let fetches: Vec<_> = missing
            .into_iter()
            .map(|m| async move { Ok::<_, ImageError>((m.diff_id, self.layer(&m).await?)) })
            .collect();
        let fetched: Vec<_> = stream::iter(fetches).buffer_unordered(at_once).try_collect().await?;
        leases.extend(fetched);
        let lease = |(_, diff_id): (_, &Digest)| leases.get(diff_id).cloned();
        all().map(lease).collect::<Option<_>>().ok_or_else(|| RegistryError::LayersMismatch.into())
    }

    /// One missing layer: by us, or by another pull that is at it.
    async fn layer(&self, layer: &Missing<'_>) -> Result<LayerLease> {
        let slot = self.images.0.transfers.slot(layer.diff_id);
        // A download that was put together from pieces and came out wrong is tried once more, from the beginning.
        for last in [false, true] {
            let turn = self.turn(&slot, layer).await;
            if let Some(lease) = self.images.lease_layer(layer.diff_id) {
                self.tell(layer.descriptor, "Pull complete", None);
                return Ok(lease);
            }
            match self.fetch(&slot, layer, turn).await {
                Ok(lease) => return Ok(lease),
                Err((error, resumed)) => {
                    let wrong = matches!(&error, ImageError::Registry(e) if matches!(e.bare(), RegistryError::LayerDigest(_)));
                    if last || !wrong || !resumed {
                        return Err(error);
                    }
                }
            }
        }
        Err(self.at(RegistryError::LayerDigest(layer.descriptor.digest.clone()), fetching(layer)))
    }

    /// Waits until nobody else fetches the layer, and tells meanwhile how far they are.
    async fn turn(&self, slot: &Slot, layer: &Missing<'_>) -> OwnedMutexGuard<()> {
        let mut last = slot.last.subscribe();
        let lock = slot.fetching.clone().lock_owned();
        tokio::pin!(lock);
        loop {
            tokio::select! {
                biased;
                turn = &mut lock => return turn,
                Ok(()) = last.changed() => {
                    let event = last.borrow_and_update().clone();
                    // The other pull may know it by another name.
                    self.progress.report(ProgressEvent { id: Some(short(layer.descriptor)), ..event });
                }
            }
        }
    }

    /// Fetches, verifies and unpacks a layer. With an error, whether the download was put together from pieces.
    async fn fetch(
        &self,
        slot: &Slot,
        layer: &Missing<'_>,
        turn: OwnedMutexGuard<()>,
    ) -> std::result::Result<LayerLease, (ImageError, bool)> {
        let descriptor = layer.descriptor;
        let total = descriptor.size;
        let tell = |status: &str, current: Option<u64>| {
            let event = self.tell(descriptor, status, current);
            slot.last.send_replace(event);
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let ingest = LayerIngest {
            diff_id: layer.diff_id.clone(),
            blob: descriptor.digest.clone(),
            size: total,
            media_type: descriptor.media_type.clone(),
            keep_blob: true,
        };
        let images = self.images.clone();
        let sweep = self.sweep.clone();
        let unpacking = tokio::task::spawn_blocking(move || {
            let stream = Arriving { pieces: receiver, rest: Bytes::new(), ended: false };
            let unpacked = images.ingest_layer(&ingest, stream);
            // The turn ends with this thread, even if the pull was dropped long before; and the sweep comes after it.
            drop(turn);
            (unpacked, sweep)
        });
        let attempts = self.registries.options().max_attempts;
        let mut reader = BlobReader::new(&self.repository, descriptor.digest.clone(), total, attempts);
        let waits = |pause: Duration| tell(&retrying(pause), None);
        let mut pace = Pace::default();
        let failed = loop {
            match reader.next(&waits).await {
                Ok(Some(piece)) => {
                    if sender.send(Some(piece)).await.is_err() {
                        break None;
                    }
                    if pace.is_due() || reader.offset() == total {
                        tell("Downloading", Some(reader.offset()));
                    }
                }
                Ok(None) => {
                    tell("Verifying Checksum", None);
                    // Nobody listens when unpacking has failed; its error tells why.
                    let _ = sender.send(None).await;
                    break None;
                }
                Err(e) => break Some(e),
            }
        };
        drop(sender);
        let resumed = reader.was_resumed();
        let unpacked = match unpacking.await {
            Ok((unpacked, _)) => unpacked,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(e) => Err(ImageError::Stream { what: "unpack a layer".into(), source: io::Error::other(e) }),
        };
        match (failed, unpacked) {
            (Some(network), _) => Err((self.at(network, fetching(layer)), resumed)),
            (None, Err(e)) => Err((self.at(refine(e, layer), fetching(layer)), resumed)),
            (None, Ok(lease)) => {
                let there = self.repository.endpoint();
                if !there.mirror {
                    whereabouts::note(&lease, descriptor, &there.host, self.repository.path());
                }
                tell("Download complete", None);
                tell("Extracting", Some(total));
                tell("Pull complete", None);
                Ok(lease)
            }
        }
    }

    /// Reports about a layer.
    fn tell(&self, descriptor: &Descriptor, status: &str, current: Option<u64>) -> ProgressEvent {
        let total = current.map(|_| descriptor.size);
        let event = ProgressEvent { id: Some(short(descriptor)), status: status.to_owned(), current, total };
        self.progress.report(event.clone());
        event
    }
}

/// As people see a layer.
fn short(descriptor: &Descriptor) -> String {
    descriptor.digest.short().to_owned()
}

/// What a failure to take a layer in means for a pull.
fn refine(error: ImageError, layer: &Missing<'_>) -> RegistryError {
    match error {
        ImageError::DigestMismatch { expected, .. } if expected == layer.descriptor.digest => {
            RegistryError::LayerDigest(expected)
        }
        ImageError::DigestMismatch { .. } => RegistryError::LayersMismatch,
        other => RegistryError::Register(Box::new(other)),
    }
}

fn fetching(layer: &Missing<'_>) -> String {
    format!("fetching layer {}", layer.descriptor.digest.short())
}

/// The pieces of a layer as a stream that blocks.
struct Arriving {
    /// `None` is the end; that nothing more comes without it, a failure.
    pieces: mpsc::Receiver<Option<Bytes>>,
    rest: Bytes,
    ended: bool,
}

impl Read for Arriving {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.rest = piece,
                Some(None) => self.ended = true,
                None => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the download ended early"));
                }
            }
        }
        let count = buf.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buf[..count]);
        Ok(count)
    }
}
