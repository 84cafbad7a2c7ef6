//! The image of a task: the one that is here, the one that its registry has, or the one that another node has.

use minke_cluster::{
    agent::{StepError, executor::Images},
    assign::{AssignedTask, RegistryAuth},
};
use minke_engine::{Engine, Reference, body, image::Pull};
use minke_image::registry::RegistryAuth as Credentials;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// Fetches images, each once at a time.
#[derive(Default)]
pub(super) struct Pulls {
    others: RwLock<Option<Arc<dyn Images>>>,
    running: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Pulls {
    /// Other nodes are asked by `others` from now on.
    pub(super) fn ask(&self, others: Arc<dyn Images>) {
        *self.others.write().unwrap_or_else(PoisonError::into_inner) = Some(others);
    }

    /// Makes sure that the image of a task is here. Dropping the future ends a pull and leaves nothing half.
    pub(super) async fn fetch(&self, engine: &Engine, task: &AssignedTask) -> Result<(), StepError> {
        let image = &task.spec.container.image;
        let lock = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|_, lock| Arc::strong_count(lock) > 1);
            running.entry(image.clone()).or_default().clone()
        };
        let _alone = lock.lock().await;
        if engine.images.get(image).is_ok() {
            return Ok(());
        }
        let Ok(reference) = Reference::parse(image) else {
            return Err(StepError::Final("invalid reference format".into()));
        };
        // What a registry named by digest, it has. A name alone may mean what was built on a node.
        let (first, second) = match image.contains('@') {
            true => (self.pull(engine, task, reference).await, self.others(engine, task)),
            false => {
                let others = self.others(engine, task).await;
                if others {
                    return Ok(());
                }
                return self.pull(engine, task, reference).await;
            }
        };
        match first {
            Ok(()) => Ok(()),
            Err(_) if second.await => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn pull(
        &self,
        engine: &Engine,
        task: &AssignedTask,
        reference: Reference,
    ) -> Result<(), StepError> {
        let image = &task.spec.container.image;
        let auth = task.registry.as_ref().and_then(credentials);
        let (progress, _nobody) = minke_engine::image::progress();
        let pull = Pull { reference, platform: None, auth, all_tags: false };
        match engine.images.pull(pull, progress).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!("image {image} of task {} cannot be pulled: {error}", task.task.id);
                // As dockerd, whose create comes next and says so.
                Err(StepError::Final(format!("No such image: {image}")))
            }
        }
    }

    /// Takes it from another node, if one has it: every part is verified by its digest as it arrives.
    async fn others(&self, engine: &Engine, task: &AssignedTask) -> bool {
        let image = &task.spec.container.image;
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(others) = others else { return false };
        let Some(mut archive) = others.fetch(&task.task.id, image).await else { return false };
        let (sender, tar) = body::feed();
        let (progress, _nobody) = minke_engine::image::progress();
        let feeding = async move {
            loop {
                let chunk = match archive.recv().await {
                    Some(chunk) if chunk.is_empty() => return,
                    Some(chunk) => Ok(chunk.into()),
                    None => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "another node's archive was cut off",
                    )),
                };
                let cut_off = chunk.is_err();
                // Who loads may have refused it: then nobody reads any more.
                if sender.send(chunk).await.is_err() || cut_off {
                    return;
                }
            }
        };
        let (loaded, ()) = tokio::join!(engine.images.load(tar, None, progress), feeding);
        match loaded {
            Ok(_) => engine.images.get(image).is_ok(),
            Err(error) => {
                tracing::warn!("image {image} cannot be taken from another node: {error}");
                false
            }
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
    serveraddress: Option<String>,
}

/// What a client sent, as `X-Registry-Auth` has it.
fn credentials(auth: &RegistryAuth) -> Option<Credentials> {
    use base64::{Engine as _, alphabet, engine};
    let config =
        engine::GeneralPurposeConfig::new().with_decode_padding_mode(engine::DecodePaddingMode::Indifferent);
    let decode = |alphabet| engine::GeneralPurpose::new(alphabet, config).decode(&auth.0);
    let decoded = decode(&alphabet::URL_SAFE).or_else(|_| decode(&alphabet::STANDARD)).ok()?;
    let wire: Wire = serde_json::from_slice(&decoded).ok()?;
    Some(Credentials {
        username: wire.username.unwrap_or_default(),
        password: wire.password.unwrap_or_default(),
        identity_token: wire.identitytoken.unwrap_or_default(),
        registry_token: wire.registrytoken.unwrap_or_default(),
        server_address: wire.serveraddress.unwrap_or_default(),
    })
}
