//! `commit`: an image of what a container has become.

use super::Containers;
use crate::{Error, error::Result, image::changed};
use minke_image::{CommitRequest, Reference};
use minke_model::{ContainerSpec, ContainerState, ImageId, event::Noun, image::ImageDefaults};
use std::collections::BTreeMap;

/// An image to make of a container.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Its name; `None` leaves it without.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Frozen meanwhile.
    pub pause: bool,
    /// Dockerfile instructions that change its defaults.
    pub changes: Vec<String>,
    /// Defaults instead of the container's.
    pub config: Option<ImageDefaults>,
}

impl Containers {
    /// Makes an image.
    pub async fn commit(&self, name: &str, wish: Commit) -> Result<ImageId> {
        let cell = self.find(name)?;
        let verb = cell.verb.lock().await;
        if matches!(cell.state(), ContainerState::Removing | ContainerState::Dead) {
            return Err(Error::Conflict(format!(
                "You cannot commit container {} which is being removed",
                cell.id
            )));
        }
        let record = cell.record();
        let defaults = wish.config.clone().unwrap_or_else(|| defaults(&record.spec));
        let config = changed(defaults, &wish.changes)?;
        let frozen = cell.process().filter(|_| wish.pause && record.status.state == ContainerState::Running);
        if let Some(process) = &frozen {
            process.pause().await?;
        }
        let request = CommitRequest {
            container: cell.id.clone(),
            parent: record.image_id.clone(),
            author: wish.author,
            comment: wish.comment,
            created_by: record.args.join(" "),
            config,
            reference: wish.reference.clone(),
        };
        let store = self.inner.store.clone();
        let made = crate::blocking(move || store.commit(request)).await;
        if let Some(process) = &frozen {
            process.resume().await?;
        }
        drop(verb);
        let image = made??;
        let named = wish.reference.as_ref().map(ToString::to_string).unwrap_or_default();
        self.tell(
            &record,
            "commit",
            &[("comment", String::new()), ("imageID", image.to_string()), ("imageRef", named.clone())],
        );
        if wish.reference.is_some() {
            let attributes = BTreeMap::from([("name".to_owned(), named)]);
            self.inner.events.tell(Noun::Image, "tag", image.as_str(), attributes);
        }
        Ok(image)
    }
}

/// What the image's containers get when nothing else is said: what this container has.
fn defaults(spec: &ContainerSpec) -> ImageDefaults {
    ImageDefaults {
        user: spec.process.user.clone(),
        exposed_ports: spec.exposed_ports.clone(),
        env: spec.process.env.clone(),
        entrypoint: spec.process.entrypoint.clone(),
        cmd: spec.process.cmd.clone(),
        volumes: spec.volumes.clone(),
        working_dir: spec.process.working_dir.clone(),
        labels: spec.labels.clone(),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_timeout,
        healthcheck: spec.healthcheck.clone(),
        shell: spec.shell.clone(),
        on_build: spec.on_build.clone().unwrap_or_default(),
        args_escaped: spec.process.args_escaped,
    }
}
