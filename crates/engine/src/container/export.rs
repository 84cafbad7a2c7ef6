//! `export`: a tar of a container's whole tree, without its volumes.

use super::Containers;
use crate::{body, body::Body, error::Result};
use minke_image::tree;
use std::os::fd::AsFd;

impl Containers {
    /// The tree as a tar.
    pub async fn export(&self, name: &str) -> Result<Body> {
        let cell = self.find(name)?;
        let root = self.own_tree(&cell).await?;
        let (mut writer, body) = body::channel();
        tokio::task::spawn_blocking(move || {
            let written = tree::write_tar(root.as_fd(), "/", &mut writer, &tree::WriteOptions::default());
            writer.finish(written.map_err(std::io::Error::other));
        });
        self.tell(&cell.record(), "export", &[]);
        Ok(body)
    }
}
