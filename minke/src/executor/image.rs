//! The image of a task: the one that is here, or the one that its registry has.

use minke_cluster::{agent::StepError, assign::{AssignedTask, RegistryAuth}};
use minke_engine::{Engine, Reference, image::Pull};
use minke_image::registry::RegistryAuth as Credentials;
use serde::Deserialize;

/// Makes sure that the image of a task is here. Dropping the future ends a pull and leaves nothing half.
pub(super) async fn fetch(engine: &Engine, task: &AssignedTask) -> Result<(), StepError> {
    let image = &task.spec.container.image;
    if engine.images.get(image).is_ok() {
        return Ok(());
    }
    let Ok(reference) = Reference::parse(image) else {
        return Err(StepError::Final("invalid reference format".into()));
    };
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
