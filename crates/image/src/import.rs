//! `import`: a tar of a root file system becomes an image of one layer.

use crate::{
    Images, Reference, Result,
    config::{History, ImageConfig},
    layer::Pending,
    platform,
};
use minke_model::{
    ImageId, Timestamp,
    image::{ImageDefaults, Platform},
};
use std::io::Read;

/// What the tar does not say.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// A remark, also in the history.
    pub message: String,
    /// Defaults for its containers.
    pub config: ImageDefaults,
    /// What it is for; `None` is this machine.
    pub platform: Option<Platform>,
    /// Its name; `None` leaves it without.
    pub reference: Option<Reference>,
}

impl Images {
    /// Makes an image of a tar, compressed or not.
    pub fn import(&self, tar: impl Read + Send, wish: ImportRequest) -> Result<ImageId> {
        let layer = Pending::unpack(self.0.ingest_dir(), tar, u64::MAX, None, self.0.limits()?)?;
        let layers = self.0.commit_layers(vec![layer])?;
        let platform = wish.platform.unwrap_or_else(platform::host);
        let now = Timestamp::now();
        let config = ImageConfig {
            created: Some(now),
            author: String::new(),
            comment: wish.message.clone(),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            os_version: String::new(),
            docker_version: String::new(),
            defaults: wish.config,
            history: vec![History { created: Some(now), comment: wish.message, ..History::default() }],
            diff_ids: layers.iter().map(|layer| layer.diff_id().clone()).collect(),
            raw: Vec::new().into(),
        };
        self.register_new(config, None, layers, wish.reference)
    }
}

#[cfg(test)]
mod tests;
