//! Images without a registry: a node that lacks one gets it from a node that has it, through its manager, which gives it
//! only to a node that a task was assigned to which names it. Who takes it verifies each part.

use minke_cluster::{
    agent::executor::{Archive, Asked, Images},
    membership::{reception::Reception, session::Standing},
    tables::{TASKS, TEMPLATES, template_name},
    transport::{TransportError, message, mux},
};
use minke_engine::Engine;
use minke_model::{ClusterNodeId, TaskId};
use minke_store::{AnyStore, Store as _};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, watch},
};

/// Name of the stream on which a node asks its manager for an image.
pub(super) const WANT: &str = "image";
/// Name of the stream on which a manager asks a node for one.
pub(super) const GIVE: &str = "give-image";
/// Nodes that are asked, at most, and how long each has to say whether it has it.
const MOST_ASKED: usize = 32;
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of a chunk, at most; and chunks on their way.
const CHUNK: u32 = 1 << 20;
const WAITING: usize = 16;

#[derive(Serialize, Deserialize)]
struct Want {
    task: TaskId,
    image: String,
}

#[derive(Serialize, Deserialize)]
struct Give {
    image: String,
}

#[derive(Serialize, Deserialize)]
struct Found(bool);

/// A node's way to other nodes' images: by the session that it has.
pub(super) struct Others(pub(super) watch::Receiver<Standing>);

impl Images for Others {
    fn fetch<'a>(&'a self, task: &'a TaskId, image: &'a str) -> Asked<'a, Option<Archive>> {
        Box::pin(async move {
            let opener = self.0.borrow().connected().map(|connected| connected.opener.clone())?;
            let mut stream = opener.open(WANT).ok()?;
            let want = Want { task: task.clone(), image: image.to_owned() };
            message::write(&mut stream, &want).await.ok()?;
            let Ok(Found(true)) = message::read::<Found>(&mut stream).await else { return None };
            let (sender, archive) = mpsc::channel(WAITING);
            tokio::spawn(async move {
                while let Ok(chunk) = read_chunk(&mut stream).await {
                    let last = chunk.is_empty();
                    if sender.send(chunk).await.is_err() || last {
                        return;
                    }
                }
            });
            Some(archive)
        })
    }
}

async fn read_chunk(stream: &mut mux::Stream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u32_le().await?;
    if length > CHUNK {
        return Err(std::io::Error::other("a chunk is longer than may be"));
    }
    let mut chunk = vec![0; length as usize];
    stream.read_exact(&mut chunk).await?;
    Ok(chunk)
}

/// The manager's part: finds a node that has the image, and passes it on.
pub(super) async fn pass_on(
    store: AnyStore,
    reception: Reception,
    asker: ClusterNodeId,
    mut stream: mux::Stream,
) {
    let Ok(want) = message::read::<Want>(&mut stream).await else { return };
    let near = match needed_by(&store, &asker, &want).await {
        Some(near) => near,
        None => {
            tracing::warn!("node {} asks for an image that no task of it needs", asker.short());
            // Whoever asks so is not answered at length.
            let _ = message::write(&mut stream, &Found(false)).await;
            return;
        }
    };
    let mut nodes = reception.connected();
    nodes.retain(|node| *node != asker);
    nodes.sort_by_key(|node| !near.contains(node));
    nodes.truncate(MOST_ASKED);
    for node in nodes {
        let Ok(mut giver) = reception.open(&node, GIVE) else { continue };
        let asked = tokio::time::timeout(ANSWER, has_it(&mut giver, &want.image)).await;
        if !matches!(asked, Ok(Ok(true))) {
            continue;
        }
        if message::write(&mut stream, &Found(true)).await.is_err() {
            return;
        }
        if let Err(error) = tokio::io::copy(&mut giver, &mut stream).await {
            tracing::warn!(
                "image {} does not get from node {} to {}: {error}",
                want.image,
                node.short(),
                asker.short()
            );
        }
        // The asker sees by the last chunk whether it has all.
        let _ = stream.shutdown().await;
        return;
    }
    let _ = message::write(&mut stream, &Found(false)).await;
}

async fn has_it(giver: &mut mux::Stream, image: &str) -> Result<bool, TransportError> {
    message::write(giver, &Give { image: image.to_owned() }).await?;
    Ok(message::read::<Found>(giver).await?.0)
}

/// Nodes with tasks of the same service, if the asker may have the image; `None`: it may not.
async fn needed_by(store: &AnyStore, asker: &ClusterNodeId, want: &Want) -> Option<BTreeSet<ClusterNodeId>> {
    let snapshot = store.read([TASKS.prefix(), TEMPLATES.prefix()]).await.ok()?;
    let task = TASKS.get(&snapshot, want.task.as_str()).ok()??;
    let template = TEMPLATES.get(&snapshot, &template_name(&task.service, task.template)).ok()??;
    if task.node.as_ref() != Some(asker) || template.container.image != want.image {
        return None;
    }
    let tasks = TASKS.list(&snapshot).ok()?;
    Some(
        tasks.iter().filter(|(_, t)| t.service == task.service).filter_map(|(_, t)| t.node.clone()).collect(),
    )
}

/// A node's part: gives an image that it has.
pub(super) async fn give(machine: &Engine, mut stream: mux::Stream) {
    if let Err(error) = send(machine, &mut stream).await {
        tracing::debug!("an image was not given to its end: {error}");
    }
}

async fn send(machine: &Engine, stream: &mut mux::Stream) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let Give { image } = message::read(stream).await.map_err(|e| text(&e))?;
    let found = machine.images.get(&image).is_ok();
    message::write(stream, &Found(found)).await.map_err(|e| text(&e))?;
    if !found {
        return Ok(());
    }
    let mut archive = machine.images.save(vec![image], None).await.map_err(|e| text(&e))?;
    while let Some(chunk) = archive.next().await {
        let chunk = chunk.map_err(|e| text(&e))?;
        for piece in chunk.chunks(CHUNK as usize) {
            stream.write_u32_le(piece.len() as u32).await.map_err(|e| text(&e))?;
            stream.write_all(piece).await.map_err(|e| text(&e))?;
        }
    }
    stream.write_u32_le(0).await.map_err(|e| text(&e))?;
    stream.shutdown().await.map_err(|e| text(&e))
}
