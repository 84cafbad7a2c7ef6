//! A store of blobs in a directory of ours, served on a session: `containerd.services.content.v1`, for caches of type
//! `local` and contexts of type `oci-layout`. The directory is an OCI image layout; its index is who asked's.

use super::{Local, serve::blocking};
use crate::buildkit::{
    grpc::Pieces,
    proto::content::{
        COMMIT, Info, InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse, STAT, WRITE,
        WriteContentRequest, WriteContentResponse,
    },
};
use bytes::Bytes;
use futures_util::stream::poll_fn;
use minke_model::id::{Digest, hex};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming, metadata::MetadataMap};

/// Bytes of a blob in one message.
const PIECE: usize = 1 << 20;
/// Messages that wait for the daemon.
const WAITING: usize = 4;

/// The store that a call means.
fn store(local: &dyn Local, fields: &MetadataMap) -> Result<PathBuf, Status> {
    let name =
        fields.get("buildkit-attachable-store-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    local.store(name).ok_or_else(|| Status::not_found(format!("unknown store {name}")))
}

/// Where a blob lies.
fn place(store: &Path, digest: &str) -> Result<PathBuf, Status> {
    let known = Digest::parse(digest).filter(|digest| digest.as_str().starts_with("sha256:"));
    let known = known.ok_or_else(|| Status::invalid_argument(format!("{digest:?} is no digest")))?;
    Ok(store.join("blobs/sha256").join(known.hex()))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Status {
    move |e| match e.kind() {
        io::ErrorKind::NotFound => Status::not_found(format!("{}: not found", path.display())),
        _ => Status::unknown(format!("{}: {e}", path.display())),
    }
}

/// Tells of a blob.
pub(super) async fn info(local: Arc<dyn Local>, ask: Request<InfoRequest>) -> Result<InfoResponse, Status> {
    let path = place(&store(&*local, ask.metadata())?, &ask.get_ref().digest)?;
    let size = fs::metadata(&path).map_err(failed(&path))?.len();
    let info = Info { digest: ask.into_inner().digest, size: i64::try_from(size).unwrap_or(i64::MAX) };
    Ok(InfoResponse { info: Some(info) })
}

/// Reads a blob, or a part.
pub(super) async fn read(
    local: Arc<dyn Local>,
    ask: Request<ReadContentRequest>,
) -> Result<Pieces<ReadContentResponse>, Status> {
    let path = place(&store(&*local, ask.metadata())?, &ask.get_ref().digest)?;
    let ask = ask.into_inner();
    let mut file = File::open(&path).map_err(failed(&path))?;
    let start = u64::try_from(ask.offset).unwrap_or_default();
    let most = u64::try_from(ask.size).ok().filter(|size| *size > 0).unwrap_or(u64::MAX);
    let (say, mut said) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let told = file.seek(io::SeekFrom::Start(start)).and_then(|_| {
            let (mut file, mut offset) = (file.take(most), ask.offset);
            loop {
                let mut piece = vec![0; PIECE];
                let count = file.read(&mut piece)?;
                if count == 0 {
                    return Ok(());
                }
                piece.truncate(count);
                if say.blocking_send(Ok(ReadContentResponse { offset, data: Bytes::from(piece) })).is_err() {
                    return Ok(());
                }
                offset += count as i64;
            }
        });
        if let Err(e) = told {
            // It may be gone.
            let _ = say.blocking_send(Err(failed(&path)(e)));
        }
    });
    Ok(Box::pin(poll_fn(move |cx| said.poll_recv(cx))))
}

/// Writes a blob, step by step. It is there once it is whole and what its digest says.
pub(super) async fn write(
    local: Arc<dyn Local>,
    ask: Request<Streaming<WriteContentRequest>>,
) -> Result<Pieces<WriteContentResponse>, Status> {
    let store = store(&*local, ask.metadata())?;
    let mut steps = ask.into_inner();
    let (say, mut said) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut writing = None;
        loop {
            let step = match steps.message().await {
                Ok(Some(step)) => step,
                // Whoever leaves early leaves nothing.
                Ok(None) | Err(_) => return,
            };
            let mut at = match writing.take() {
                Some(at) => at,
                None => match Writing::begin(&store) {
                    Ok(at) => at,
                    Err(e) => return drop(say.send(Err(e)).await),
                },
            };
            let stepped = blocking(move || {
                let answer = at.step(&step);
                Ok((at, answer))
            });
            let answer = match stepped.await {
                Ok((at, answer)) => {
                    writing = Some(at);
                    answer
                }
                Err(e) => Err(e),
            };
            let ended = answer.is_err();
            if say.send(answer).await.is_err() || ended {
                return;
            }
        }
    });
    Ok(Box::pin(poll_fn(move |cx| said.poll_recv(cx))))
}

/// A blob that comes.
struct Writing {
    store: PathBuf,
    path: PathBuf,
    file: File,
    hash: Sha256,
    offset: i64,
}

impl Writing {
    fn begin(store: &Path) -> Result<Self, Status> {
        let ingest = store.join("ingest");
        for directory in [&ingest, &store.join("blobs/sha256")] {
            fs::create_dir_all(directory).map_err(failed(directory))?;
        }
        // No two writes are one: a digest that comes twice is written twice, and the last is as good as the first.
        let path = ingest.join(minke_model::ContainerId::random().as_str());
        let file = File::create_new(&path).map_err(failed(&path))?;
        Ok(Self { store: store.to_owned(), path, file, hash: Sha256::new(), offset: 0 })
    }

    fn step(&mut self, step: &WriteContentRequest) -> Result<WriteContentResponse, Status> {
        let mut answer = WriteContentResponse { action: step.action, ..WriteContentResponse::default() };
        match step.action {
            STAT => {}
            WRITE | COMMIT => {
                if step.offset != self.offset && !step.data.is_empty() {
                    let (at, is) = (step.offset, self.offset);
                    return Err(Status::out_of_range(format!("a write at {at}, where {is} bytes are there")));
                }
                self.file.write_all(&step.data).map_err(failed(&self.path))?;
                self.hash.update(&step.data);
                self.offset += step.data.len() as i64;
            }
            other => return Err(Status::invalid_argument(format!("a step of unknown kind {other}"))),
        }
        if step.action == COMMIT {
            let digest = format!("sha256:{}", hex(&self.hash.clone().finalize()));
            if !step.expected.is_empty() && step.expected != digest {
                let expected = &step.expected;
                return Err(Status::failed_precondition(format!(
                    "unexpected digest {digest}, expected {expected}"
                )));
            }
            let place = place(&self.store, &digest)?;
            fs::rename(&self.path, &place).map_err(failed(&place))?;
            answer.digest = digest;
        }
        answer.offset = self.offset;
        Ok(answer)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Gone where it has become a blob.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(self.store.join("ingest"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(action: i32, offset: i64, data: &'static str, expected: &str) -> WriteContentRequest {
        WriteContentRequest {
            action,
            offset,
            data: data.into(),
            expected: expected.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_blob_is_there_once_it_is_what_its_digest_says() {
        let root = std::env::temp_dir().join(format!("minke-blobs-{}", std::process::id()));
        let digest = format!("sha256:{}", hex(&Sha256::digest("hello")));
        let mut writing = Writing::begin(&root).unwrap();
        assert_eq!(writing.step(&step(STAT, 0, "", "")).unwrap().offset, 0);
        assert_eq!(writing.step(&step(WRITE, 0, "hel", "")).unwrap().offset, 3);
        assert!(writing.step(&step(WRITE, 9, "x", "")).is_err());
        assert!(writing.step(&step(COMMIT, 3, "p", &digest)).is_err());
        drop(writing);
        assert!(!place(&root, &digest).unwrap().exists());
        let mut writing = Writing::begin(&root).unwrap();
        assert_eq!(writing.step(&step(COMMIT, 0, "hello", &digest)).unwrap().digest, digest);
        drop(writing);
        assert_eq!(fs::read_to_string(place(&root, &digest).unwrap()).unwrap(), "hello");
        assert!(place(&root, "sha256:../../x").is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
