//! `rmi`: names first, then the image itself when nothing names or uses it, then parents that nothing needs.

use super::{Images, with_default_tag};
use crate::{Error, error::Result};
use minke_image::{Image, Reference};
use minke_model::{Container, ImageId, mount::MountKind};
use std::sync::Arc;

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveImage {
    /// Also when stopped containers use it, or several names mean it.
    pub force: bool,
    /// Parents without a name stay.
    pub no_prune: bool,
}

/// One thing that went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A name.
    Untagged(String),
    /// An image or a layer.
    Deleted(String),
}

impl Images {
    /// Removes a name, or an image.
    pub async fn remove(&self, name: &str, options: RemoveImage) -> Result<Vec<Removal>> {
        let image = self.get(name)?;
        let by_id = self.is_id(name, &image);
        let users = self.users(&image.id);
        let mut removed = Vec::new();
        if by_id {
            self.check_id(&image, &users, options)?;
            for reference in image.tags.iter().chain(&image.digests) {
                self.untag(&image, reference, &mut removed)?;
            }
        } else {
            let reference = with_default_tag(Reference::parse(name).map_err(minke_image::ImageError::from)?);
            let others = self.other_names(&image, &reference);
            if others == 0 && !options.force {
                check_last_name(name, &image, &users)?;
            }
            self.untag(&image, &reference, &mut removed)?;
            if reference.digest().is_none() {
                // The digests of a repository go with its last tag.
                let same = |r: &&Reference| r.familiar_name() == reference.familiar_name();
                let left = self.inner.store.get(&image.id)?;
                if !left.tags.iter().any(|t| same(&t)) {
                    for digest in left.digests.iter().filter(same) {
                        self.untag(&image, digest, &mut removed)?;
                    }
                }
            }
            let left = self.inner.store.get(&image.id)?;
            // Its last name may go though others are built on it: the image stays, without a name.
            let is_parent = self.inner.store.list().iter().any(|i| i.parent.as_ref() == Some(&image.id));
            if !left.tags.is_empty() || !left.digests.is_empty() || !users.is_empty() || is_parent {
                return Ok(removed);
            }
        }
        if users.is_empty() || by_id && options.force && users.iter().all(|u| !u.status.state.is_up()) {
            self.delete(&image, &users, options, &mut removed).await?;
        }
        Ok(removed)
    }

    /// Takes the image itself away, and parents that nothing names, uses or is built on.
    async fn delete(
        &self,
        image: &Arc<Image>,
        users: &[Arc<Container>],
        options: RemoveImage,
        removed: &mut Vec<Removal>,
    ) -> Result<()> {
        if !users.is_empty() {
            // Layers stay pinned by the containers' snapshots, or the start of one says that its mount is gone; only
            // the image's own record goes.
            tracing::debug!(
                "image {} goes though {} stopped containers use it",
                image.id.short(),
                users.len()
            );
        }
        if let Some(child) = self.inner.store.list().iter().find(|i| i.parent.as_ref() == Some(&image.id)) {
            if options.force {
                return Ok(());
            }
            return Err(Error::Conflict(format!(
                "conflict: unable to delete {} (cannot be forced) - image has dependent child images {}",
                image.id.short(),
                child.id.short()
            )));
        }
        let (store, id) = (self.inner.store.clone(), image.id.clone());
        let layers = crate::blocking(move || store.remove(&id)).await??;
        removed.push(Removal::Deleted(image.id.to_string()));
        removed.extend(layers.iter().filter(|l| **l != image.id).map(|l| Removal::Deleted(l.to_string())));
        self.tell_plain("delete", image.id.as_str(), image.id.as_str());
        let Some(parent) = image.parent.clone().filter(|_| !options.no_prune) else { return Ok(()) };
        let Ok(parent) = self.inner.store.get(&parent) else { return Ok(()) };
        let needed =
            !parent.tags.is_empty() || !parent.digests.is_empty() || !self.users(&parent.id).is_empty();
        let has_children = self.inner.store.list().iter().any(|i| i.parent.as_ref() == Some(&parent.id));
        if needed || has_children {
            return Ok(());
        }
        Box::pin(self.delete(&parent, &[], options, removed)).await
    }

    fn untag(&self, image: &Image, reference: &Reference, removed: &mut Vec<Removal>) -> Result<()> {
        if self.inner.store.untag(reference)? {
            removed.push(Removal::Untagged(reference.familiar()));
            self.tell(&image.id, "untag", image.id.as_str(), image.id.as_str());
        }
        Ok(())
    }

    /// Whether `name` means the image by its id, not by a name.
    fn is_id(&self, name: &str, image: &Image) -> bool {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let named = Reference::parse(name).map(with_default_tag);
        let is_name = named.is_ok_and(|n| image.tags.contains(&n) || image.digests.contains(&n));
        !is_name && image.id.hex().starts_with(hex)
    }

    fn other_names(&self, image: &Image, reference: &Reference) -> usize {
        image.tags.iter().filter(|t| *t != reference).count()
            + image
                .digests
                .iter()
                .filter(|d| *d != reference && d.familiar_name() != reference.familiar_name())
                .count()
    }

    /// By id: several repositories, or a container, stand in the way.
    fn check_id(&self, image: &Image, users: &[Arc<Container>], options: RemoveImage) -> Result<()> {
        let short = image.id.short();
        if let Some(user) = users.iter().find(|u| u.status.state.is_up()) {
            return Err(Error::Conflict(format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {}",
                user.id.short()
            )));
        }
        if options.force {
            return Ok(());
        }
        let repositories: std::collections::BTreeSet<String> =
            image.tags.iter().chain(&image.digests).map(Reference::familiar_name).collect();
        if repositories.len() > 1 || image.tags.len() > 1 {
            return Err(Error::Conflict(format!(
                "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            )));
        }
        match users.first() {
            Some(user) => Err(Error::Conflict(format!(
                "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {}",
                user.id.short()
            ))),
            None => Ok(()),
        }
    }

    /// Containers made from an image, or with a mount of it.
    pub(super) fn users(&self, id: &ImageId) -> Vec<Arc<Container>> {
        let mounts = |c: &Container| {
            c.mounts.iter().any(|point| point.kind == MountKind::Image && point.name == id.as_str())
        };
        let all = self.inner.containers.all().into_iter();
        all.filter(|c| c.image_id.as_ref() == Some(id) || mounts(c)).collect()
    }
}

/// By its last name: a container stands in the way.
fn check_last_name(asked: &str, image: &Image, users: &[Arc<Container>]) -> Result<()> {
    let user = users.iter().find(|u| u.status.state.is_up()).or(users.first());
    match user {
        Some(user) => Err(Error::Conflict(format!(
            "conflict: unable to remove repository reference \"{asked}\" (must force) - container {} is using its referenced image {}",
            user.id.short(),
            image.id.short()
        ))),
        None => Ok(()),
    }
}
