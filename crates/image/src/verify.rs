//! `image verify`: whether all that an image is made of still is what its digests say.
//!
//! Each layer's tar is written again from its files and hashed; kept blobs, the configuration and the manifest are read.
//! Never: repairs, or takes anything away.

use crate::{
    ImageError, Images, Result, config,
    layer::{HashReader, LayerLease},
};
use minke_model::{ImageId, id::Digest};
use std::{collections::HashSet, io, io::Read};

/// A part of an image, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `configuration`, `manifest`, `layer`, `blob`.
    pub kind: &'static str,
    /// What it should be.
    pub digest: Digest,
    /// Bytes that were read.
    pub bytes: u64,
    /// `None`: it is what it should be.
    pub damage: Option<String>,
}

impl Images {
    /// Reads all parts of an image, the configuration first. Takes as long as reading takes.
    pub fn verify(&self, id: &ImageId) -> Result<Vec<Part>> {
        let image = self.get(id)?;
        let mut parts = vec![self.verify_small("configuration", id)];
        parts.extend(image.manifest.iter().map(|manifest| self.verify_small("manifest", manifest)));
        let mut seen = HashSet::new();
        for diff_id in image.config.diff_ids.iter().filter(|diff_id| seen.insert(*diff_id)) {
            let Some(layer) = self.lease_layer(diff_id) else {
                let damage = Some("it is not here".to_owned());
                parts.push(Part { kind: "layer", digest: diff_id.clone(), bytes: 0, damage });
                continue;
            };
            parts.push(verify_layer(&layer));
            for blob in &layer.0.record.blobs {
                parts.push(self.verify_blob(&blob.digest, blob.size));
            }
        }
        Ok(parts)
    }

    fn verify_small(&self, kind: &'static str, digest: &Digest) -> Part {
        let (bytes, damage) = match self.read_blob(digest) {
            Ok(Some(raw)) if config::digest(&raw) == *digest => (raw.len() as u64, None),
            Ok(Some(raw)) => (raw.len() as u64, Some(format!("it is {} now", config::digest(&raw)))),
            Ok(None) => (0, Some("it is not here".into())),
            Err(e) => (0, Some(e.to_string())),
        };
        Part { kind, digest: digest.clone(), bytes, damage }
    }

    fn verify_blob(&self, digest: &Digest, size: u64) -> Part {
        let part = |bytes, damage| Part { kind: "blob", digest: digest.clone(), bytes, damage };
        let file = match self.0.content.open_blob(digest) {
            Ok(Some((file, _))) => file,
            Ok(None) => return part(0, Some("it is not here".into())),
            Err(e) => return part(0, Some(e.to_string())),
        };
        // One more than it should have, to see that there is more.
        let mut hashed = HashReader::new(file.take(size.saturating_add(1)));
        if let Err(e) = io::copy(&mut hashed, &mut io::sink()) {
            return part(0, Some(e.to_string()));
        }
        let (actual, bytes) = hashed.finish();
        part(bytes, (actual != *digest).then(|| format!("it is {actual} now")))
    }
}

fn verify_layer(layer: &LayerLease) -> Part {
    let damage = match layer.write_tar(&mut io::sink()) {
        Ok(()) => None,
        Err(ImageError::LayerDamaged { detail, .. }) => Some(detail),
        Err(other) => Some(other.to_string()),
    };
    Part { kind: "layer", digest: layer.diff_id().clone(), bytes: layer.tar_size(), damage }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tar, images, import};

    #[test]
    fn a_changed_file_and_a_changed_configuration_are_found() {
        let (temp, images) = images();
        let id = import(&images, Tar::new().file("a", "1").file("b", "2").end(), "x").unwrap();
        let wrong = || {
            let parts = images.verify(&id).unwrap();
            parts.iter().filter(|p| p.damage.is_some()).map(|p| p.kind).collect::<Vec<_>>()
        };
        assert!(wrong().is_empty());
        let tree = images.layer_paths(&id).unwrap().remove(0);
        std::fs::write(tree.join("a"), "x").unwrap();
        assert_eq!(wrong(), ["layer"]);
        std::fs::remove_file(tree.join("b")).unwrap();
        assert_eq!(wrong(), ["layer"]);
        std::fs::write(temp.path("image/blobs/sha256").join(id.hex()), "{}").unwrap();
        assert_eq!(wrong(), ["configuration", "layer"]);
    }
}
