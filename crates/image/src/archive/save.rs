//! `save`: images as one archive that is Docker's and an OCI layout at once, as Docker 28 writes it.
//!
//! Nothing is gathered on disk first: sizes and digests are all known, so that each layer goes straight from its
//! files to the client, and is verified on its way.

use super::{
    ANNOTATION_NAME, ANNOTATION_REF, Descriptor, INDEX, Index, Item, LAYOUT, MANIFEST, Manifest,
    REPOSITORIES, Source, TYPE_CONFIG, TYPE_INDEX, TYPE_LAYER, TYPE_MANIFEST, blob_path,
};
use crate::{
    Chain, Image, ImageConfig, ImageError, Images, Reference, Result,
    config::digest,
    layer::LayerLease,
    platform,
    tarball::{Entry, EntryKind, TarWriter},
};
use minke_model::{ImageId, Timestamp, id::Digest, image::Platform};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::Arc,
};

/// An image to write, with the names that it is asked by.
struct Asked {
    image: Arc<Image>,
    names: Vec<Reference>,
    layers: Vec<LayerLease>,
}

/// What a file of the archive is.
enum File {
    Bytes(Vec<u8>),
    Layer(LayerLease),
}

impl Images {
    /// Writes images as one archive. A name with a tag writes that name, an id none, a repository without a tag all
    /// of its tags that are here.
    pub fn save(&self, names: &[String], wanted: Option<&Platform>, out: &mut dyn Write) -> Result<()> {
        let asked = self.asked(names)?;
        if let Some(wanted) = wanted {
            for Asked { image, .. } in &asked {
                let is = image.config.platform();
                if !platform::suits(wanted, &is) {
                    let (wanted, is) = (platform::format(wanted), platform::format(&is));
                    let detail = format!("requested platform ({wanted}) not found: image platform is {is}");
                    return Err(ImageError::Archive { detail });
                }
            }
        }
        self.write(&asked, out)
    }

    /// Writes what a build made as an archive of one image with these names, whether or not it is known here.
    pub fn save_built(
        &self,
        config: &Arc<ImageConfig>,
        chain: &Chain,
        names: &[Reference],
        out: &mut dyn Write,
    ) -> Result<()> {
        let image = Image {
            id: config.id(),
            config: config.clone(),
            tags: Vec::new(),
            digests: Vec::new(),
            parent: None,
            size: 0,
            manifest: None,
            last_tagged: None,
        };
        let names = names.iter().map(|name| name.clone().or_latest()).collect();
        self.write(&[Asked { image: Arc::new(image), names, layers: chain.leases().to_vec() }], out)
    }

    fn write(&self, asked: &[Asked], out: &mut dyn Write) -> Result<()> {
        let mut blobs: BTreeMap<Digest, (File, i64)> = BTreeMap::new();
        let mut items = Vec::new();
        let mut manifests = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for image in asked {
            self.describe(image, asked, &mut blobs, &mut items, &mut manifests, &mut repositories)?;
        }
        let index =
            Index { schema_version: 2, media_type: Some(TYPE_INDEX.into()), manifests: Some(manifests) };
        let mut tar = TarWriter::new(out);
        for dir in ["blobs/", "blobs/sha256/"] {
            tar.append_bytes(&entry(dir, EntryKind::Dir, 0, 0), &[])?;
        }
        for (digest, (file, time)) in blobs {
            let path = blob_path(&digest);
            match file {
                File::Bytes(bytes) => {
                    tar.append_bytes(&entry(&path, EntryKind::File, bytes.len() as u64, time), &bytes)?;
                }
                File::Layer(layer) => {
                    tar.head(&entry(&path, EntryKind::File, layer.tar_size(), time))?;
                    layer.write_tar(&mut Payload(&mut tar))?;
                    tar.pad(layer.tar_size())?;
                }
            }
        }
        let line = |mut json: Vec<u8>| {
            json.push(b'\n');
            json
        };
        let layout = br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec();
        let mut files = vec![(INDEX, json(&index)?), (MANIFEST, line(json(&items)?)), (LAYOUT, layout)];
        if !repositories.is_empty() {
            files.push((REPOSITORIES, line(json(&repositories)?)));
        }
        for (name, bytes) in files {
            tar.append_bytes(&entry(name, EntryKind::File, bytes.len() as u64, 0), &bytes)?;
        }
        tar.finish().map(drop)
    }

    /// Which images, each once, in the order asked.
    fn asked(&self, names: &[String]) -> Result<Vec<Asked>> {
        let mut ids: Vec<ImageId> = Vec::new();
        let mut wanted: BTreeMap<ImageId, BTreeSet<Reference>> = BTreeMap::new();
        let mut want = |id: &ImageId, name: Option<Reference>| {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
            wanted.entry(id.clone()).or_default().extend(name);
        };
        for name in names {
            let by_name = Reference::parse(name).ok().filter(|r| r.digest().is_none());
            let exact = by_name.clone().filter(|r| r.tag().is_some()).filter(|r| self.find_name(r).is_some());
            let repository = by_name.filter(|r| r.tag().is_none());
            let tags: Vec<_> = match &repository {
                None => Vec::new(),
                Some(repository) => {
                    let state = self.0.state();
                    let same = |(name, _): &(&Reference, &ImageId)| {
                        name.tag().is_some() && name.digest().is_none() && name.repository() == *repository
                    };
                    state
                        .names
                        .names
                        .iter()
                        .filter(same)
                        .map(|(name, id)| (name.clone(), id.clone()))
                        .collect()
                }
            };
            if let Some(exact) = exact {
                want(&self.resolve(name)?, Some(exact));
            } else if !tags.is_empty() {
                for (name, id) in tags {
                    want(&id, Some(name));
                }
            } else {
                want(&self.resolve(name)?, None);
            }
        }
        let mut asked = Vec::new();
        for id in ids {
            let image = self.get(&id)?;
            let layers = self.0.state().layers_of(&image)?;
            let names = wanted.remove(&id).unwrap_or_default().into_iter().collect();
            asked.push(Asked { image, names, layers });
        }
        Ok(asked)
    }

    fn describe(
        &self,
        asked: &Asked,
        all: &[Asked],
        blobs: &mut BTreeMap<Digest, (File, i64)>,
        items: &mut Vec<Item>,
        manifests: &mut Vec<Descriptor>,
        repositories: &mut BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<()> {
        let Asked { image, names, layers } = asked;
        let time = image.config.created.as_ref().map_or(0, Timestamp::as_second).max(0);
        let descriptor = |media_type: &str, digest: &Digest, size: u64| Descriptor {
            media_type: media_type.into(),
            digest: digest.clone(),
            size,
            annotations: None,
            platform: None,
        };
        let mut sources = BTreeMap::new();
        let mut blobs_of_layers = Vec::new();
        for layer in layers {
            let (id, size) = (layer.diff_id(), layer.tar_size());
            blobs.entry(id.clone()).or_insert_with(|| (File::Layer(layer.clone()), time));
            blobs_of_layers.push(descriptor(TYPE_LAYER, id, size));
            let source = Source { media_type: TYPE_LAYER.into(), size, digest: id.clone() };
            sources.insert(id.to_string(), source);
        }
        let config = &image.config.raw;
        let manifest = json(&Manifest {
            schema_version: 2,
            media_type: Some(TYPE_MANIFEST.into()),
            config: descriptor(TYPE_CONFIG, &image.id, config.len() as u64),
            layers: Some(blobs_of_layers),
        })?;
        let manifest_digest = digest(&manifest);
        let listed = descriptor(TYPE_MANIFEST, &manifest_digest, manifest.len() as u64);
        blobs.insert(image.id.clone(), (File::Bytes(config.to_vec()), time));
        blobs.insert(manifest_digest, (File::Bytes(manifest), 0));
        let top = layers.last().map(|layer| layer.diff_id().hex().to_owned());
        for name in names {
            let tag = name.tag().unwrap_or_default().to_owned();
            let tags = repositories.entry(name.familiar_name()).or_default();
            tags.insert(tag.clone(), top.clone().unwrap_or_default());
            let mut listed = listed.clone();
            listed.annotations =
                Some(BTreeMap::from([(ANNOTATION_NAME.into(), name.full()), (ANNOTATION_REF.into(), tag)]));
            manifests.push(listed);
        }
        if names.is_empty() {
            manifests.push(listed);
        }
        // A parent is told only when it is in the archive, too.
        let parent = image.parent.as_ref().filter(|parent| all.iter().any(|a| a.image.id == **parent));
        items.push(Item {
            config: blob_path(&image.id),
            repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
            layers: Some(layers.iter().map(|layer| blob_path(layer.diff_id())).collect()),
            parent: parent.map(ToString::to_string),
            layer_sources: Some(sources),
        });
        Ok(())
    }
}

/// What goes on as the payload of the present entry.
struct Payload<'a, W>(&'a mut TarWriter<W>);

impl<W: Write> Write for Payload<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.put(bytes).map_err(|e| match e {
            ImageError::Stream { source, .. } => source,
            other => std::io::Error::other(other),
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn entry(path: &str, kind: EntryKind, size: u64, time: i64) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        link: Vec::new(),
        kind,
        mode: if kind == EntryKind::Dir { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        mtime: (time, 0),
        atime: None,
        size,
        device: (0, 0),
        xattrs: Vec::new(),
        sparse: None,
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| ImageError::Archive { detail: e.to_string() })
}
