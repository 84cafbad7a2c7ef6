//! Manifests as they lie in a registry, for who puts images of several platforms together under one name
//! (`docker manifest`).
//!
//! Never: pulls a layer, or keeps anything on this machine.

use super::{
    RegistryAuth, RegistryConfig, RegistryError, RemotePlatform,
    lookup::look_closely,
    route::{Purpose, Route},
    upload::{Begun, Mount},
};
use crate::Reference;
use minke_model::id::Digest;
use std::collections::BTreeSet;

/// A manifest, or a list of them, as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name with its digest.
    pub name: Reference,
    /// Its own word for what it is, or the registry's.
    pub media_type: String,
    /// Verified.
    pub digest: Digest,
    /// Byte for byte.
    pub raw: Vec<u8>,
    /// It is a list: these are its parts.
    pub list: Option<Vec<(Digest, RemotePlatform)>>,
    /// What one image is for; of a list nothing.
    pub platform: Option<RemotePlatform>,
    /// The configuration and the layers of one image.
    pub blobs: Vec<Digest>,
}

/// Fetches what `name` means in its registry (without tag and digest `latest`).
pub async fn fetch(
    name: &Reference,
    auth: Option<&RegistryAuth>,
    config: &RegistryConfig,
) -> Result<Remote, RegistryError> {
    let wanted = name.clone().or_latest();
    let mut route = Route::new(config, &wanted, auth, Purpose::Pull).await;
    let mut last = route.nowhere();
    while let Some(opened) = route.next().await {
        match opened {
            Ok(repository) => return look_closely(&repository, &wanted, config).await,
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Puts a list under a name: its parts first, with blobs mounted from the repositories that they are in, then `raw`. Returns
/// its digest.
///
/// Errors: `Settings` when a part is in another registry, since nothing can be mounted from there.
pub async fn put_list(
    name: &Reference,
    raw: &[u8],
    media_type: &str,
    parts: &[Remote],
    auth: Option<&RegistryAuth>,
    config: &RegistryConfig,
) -> Result<Digest, RegistryError> {
    if let Some(foreign) = parts.iter().find(|part| part.name.domain() != name.domain()) {
        return Err(RegistryError::Settings(format!(
            "cannot use source images from a different registry than the target image: {} != {}",
            foreign.name.domain(),
            name.domain()
        )));
    }
    let wanted = name.clone().or_latest();
    let mut route = Route::new(config, &wanted, auth, Purpose::Push).await;
    let mut last = route.nowhere();
    while let Some(opened) = route.next().await {
        let there = match opened {
            Ok(there) => there,
            Err(e) => {
                last = e;
                continue;
            }
        };
        for part in parts.iter().filter(|part| part.name.path() != there.path()) {
            for digest in part.blobs.iter().collect::<BTreeSet<_>>() {
                let from = part.name.path();
                if there.has_blob(digest).await? {
                    continue;
                }
                if !matches!(there.mount(Mount { digest, from }).await, Begun::Mounted) {
                    let why = format!("the registry does not mount blob {} from {from}", digest.short());
                    return Err(there.at(format!("putting {name}"))(RegistryError::Manifest(why)));
                }
            }
        }
        for part in parts {
            there.put_manifest(part.digest.as_str(), &part.media_type, &part.raw).await?;
        }
        there.put_manifest(wanted.tag().unwrap_or("latest"), media_type, raw).await?;
        return Ok(crate::config::digest(raw));
    }
    Err(last)
}
