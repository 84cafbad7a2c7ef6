//! The index of an OCI image layout that a cache of type `local` is kept in (OCI image spec, `image-layout.md`).

use minke_engine::build::request::CacheRef;
use serde_json::{Value, json};
use std::{fs, io, path::Path};

/// What names a manifest in an index.
const NAME: &str = "org.opencontainers.image.ref.name";

fn index(directory: &Path) -> io::Result<Value> {
    match fs::read(directory.join("index.json")) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(json!({ "schemaVersion": 2, "manifests": [] }))
        }
        Err(error) => Err(error),
    }
}

/// Finds what a cache to read from means; false, with a warning, where there is none yet.
pub(super) fn find(cache: &mut CacheRef, stores: &mut Vec<String>) -> bool {
    let Some(src) = cache.attributes.get("src").cloned() else { return false };
    if !cache.attributes.contains_key("digest") {
        let tag = cache.attributes.get("tag").map_or("latest", String::as_str);
        let found = index(Path::new(&src)).map(|index| {
            let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
            let named = |one: &&Value| one["annotations"][NAME].as_str() == Some(tag);
            // One alone needs no name.
            let one = manifests.iter().find(named).or(manifests.first().filter(|_| manifests.len() == 1));
            one.and_then(|one| one["digest"].as_str().map(str::to_owned))
        });
        match found {
            Ok(Some(digest)) => drop(cache.attributes.insert("digest".into(), digest)),
            Ok(None) => {
                eprintln!("WARNING: local cache import at {src} not found: it has no {tag}");
                return false;
            }
            Err(error) => {
                eprintln!("WARNING: local cache import at {src} not found due to err: {error}");
                return false;
            }
        }
    }
    stores.push(src);
    true
}

/// Names what a build kept, in place of what had that name.
pub(super) fn keep(directory: &str, tag: &str, descriptor: &str) -> io::Result<()> {
    let directory = Path::new(directory);
    let mut descriptor: Value = serde_json::from_str(descriptor).map_err(io::Error::other)?;
    descriptor["annotations"][NAME] = tag.into();
    let mut index = index(directory)?;
    if let Some(manifests) = index["manifests"].as_array_mut() {
        manifests.retain(|one| one["annotations"][NAME].as_str() != Some(tag));
        manifests.push(descriptor);
    }
    fs::write(directory.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    let fresh = directory.join("index.json.new");
    fs::write(&fresh, index.to_string())?;
    fs::rename(fresh, directory.join("index.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_by_its_name() {
        let root = std::env::temp_dir().join(format!("minke-layout-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = root.display().to_string();
        for (tag, digest) in [("latest", "sha256:a"), ("latest", "sha256:b"), ("other", "sha256:c")] {
            keep(&path, tag, &json!({ "digest": digest }).to_string()).unwrap();
        }
        let mut stores = Vec::new();
        let mut cache =
            CacheRef { kind: "local".into(), attributes: [("src".to_owned(), path.clone())].into() };
        assert!(find(&mut cache, &mut stores));
        assert_eq!(cache.attributes["digest"], "sha256:b");
        assert_eq!(stores, [path]);
        fs::remove_dir_all(&root).unwrap();
        let mut gone = CacheRef {
            kind: "local".into(),
            attributes: [("src".to_owned(), root.display().to_string())].into(),
        };
        assert!(!find(&mut gone, &mut stores));
    }
}
