//! `commit`: a container's own changes become a layer, on top of the ones that it was made from.

use crate::{
    ImageError, Images, Reference, Result,
    config::{EMPTY_LAYER, History, ImageConfig},
    disk,
    layer::{LayerLease, Pending},
    platform,
    state::ImageRecord,
    tree,
};
use minke_model::{ContainerId, ImageId, Timestamp, image::ImageDefaults};
use std::{io, os::fd::AsFd};

/// An image to make of a container.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// Whose root.
    pub container: ContainerId,
    /// The image that it was made from.
    pub parent: Option<ImageId>,
    /// By whom.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// The container's command.
    pub created_by: String,
    /// Defaults for the new image's containers.
    pub config: ImageDefaults,
    /// Its name; `None` leaves it without.
    pub reference: Option<Reference>,
}

impl Images {
    /// Makes an image of what a container has become. The caller keeps the container still meanwhile.
    pub fn commit(&self, wish: CommitRequest) -> Result<ImageId> {
        let upper = disk::open_dir(&self.rootfs(&wish.container)?.upper)?;
        let mut layers = self.0.snapshot(&wish.container)?.layers;
        let limits = self.0.limits()?;
        let dir = self.0.ingest_dir();
        let (reader, mut writer) = io::pipe().map_err(|e| ImageError::io("make a pipe for", &dir, e))?;
        let changes = std::thread::scope(|scope| {
            let written = scope.spawn(move || tree::write_layer(upper.as_fd(), &mut writer));
            let unpacked = Pending::unpack(dir, reader, u64::MAX, None, limits);
            match written.join() {
                Ok(Ok(())) => unpacked,
                // Without a reader the pipe breaks: the reader's failure is the cause.
                Ok(Err(ImageError::Stream { .. })) if unpacked.is_err() => unpacked,
                Ok(Err(e)) => Err(e),
                Err(_) => {
                    Err(ImageError::io("read", "a container's changes", io::Error::other("a thread ended")))
                }
            }
        })?;
        let is_empty = changes.diff_id.as_str() == EMPTY_LAYER;
        if !is_empty {
            layers.extend(self.0.commit_layers(vec![changes])?);
        }
        let parent = wish.parent.as_ref().and_then(|id| self.get(id).ok());
        let platform = parent.as_ref().map_or_else(platform::host, |image| image.config.platform());
        let mut history = parent.as_ref().map(|image| image.config.history.clone()).unwrap_or_default();
        let now = Timestamp::now();
        history.push(History {
            created: Some(now),
            created_by: wish.created_by,
            author: wish.author.clone(),
            comment: wish.comment.clone(),
            empty_layer: is_empty,
        });
        let config = ImageConfig {
            created: Some(now),
            author: wish.author,
            comment: wish.comment,
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            os_version: parent.as_ref().map(|image| image.config.os_version.clone()).unwrap_or_default(),
            docker_version: String::new(),
            defaults: wish.config,
            history,
            diff_ids: layers.iter().map(|layer| layer.diff_id().clone()).collect(),
            raw: Vec::new().into(),
        };
        self.register_new(config, parent.map(|image| image.id.clone()), layers, wish.reference)
    }

    /// Makes an image known that was made here. The leases are held until it holds its layers itself.
    pub(crate) fn register_new(
        &self,
        config: ImageConfig,
        parent: Option<ImageId>,
        layers: Vec<LayerLease>,
        reference: Option<Reference>,
    ) -> Result<ImageId> {
        let config = ImageConfig::parse(&config.write()?)?;
        let id = config.id();
        let _writing = self.0.writing();
        self.0.add_image(config, ImageRecord::new(None, parent))?;
        drop(layers);
        if let Some(name) = reference {
            self.0.set_names(&id, &[name.or_latest()])?;
        }
        Ok(id)
    }
}
