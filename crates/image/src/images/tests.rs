//! Names, ids, removal, and starts after crashes.

use super::*;
use crate::{
    ingest::{LayerIngest, Registration},
    testing::{Tar, Temp, images, import, load},
};
use std::{collections::HashMap, fs};

fn count(temp: &Temp, dir: &str) -> usize {
    fs::read_dir(temp.path("image").join(dir)).unwrap().count()
}

fn reopen(temp: &Temp, images: Images) -> Images {
    drop(images);
    Images::open(&temp.path("image")).unwrap()
}

#[test]
fn an_image_is_found_by_all_its_names() {
    let (_temp, images) = images();
    let id = import(&images, Tar::new().file("a", "1").end(), "x:1").unwrap();
    let digest_name = format!("x@{}", config_digest(b"manifest"));
    images.0.set_names(&id, &[digest_name.parse().unwrap()]).unwrap();
    let tagged = format!("x:9@{}", config_digest(b"manifest"));
    for name in [
        "x:1",
        "docker.io/library/x:1",
        "library/x:1",
        id.as_str(),
        id.hex(),
        id.short(),
        &id.hex()[..4],
        &digest_name,
        &tagged,
        &format!("sha256:{}", id.short()),
    ] {
        assert_eq!(images.resolve(name).unwrap(), id, "{name}");
    }
    for name in ["x", "x:2", "y:1", "", "sha256:", "X", "zzz", &"0".repeat(64)] {
        assert!(matches!(images.resolve(name), Err(ImageError::NoSuchImage { .. })), "{name}");
    }
}

fn config_digest(bytes: &[u8]) -> Digest {
    crate::config::digest(bytes)
}

#[test]
fn an_image_tells_since_when_it_is_here() {
    let (_temp, images) = images();
    let before = minke_model::Timestamp::now().as_second();
    let id = import(&images, Tar::new().file("a", "1").end(), "x").unwrap();
    let arrived = images.arrived(&id).unwrap().as_second();
    assert!((before - 1..=before + 60).contains(&arrived), "{arrived} is not {before}");
    images.remove(&id).unwrap();
    assert_eq!(images.arrived(&id), None);
}

#[test]
fn a_prefix_of_several_ids_means_none() {
    let (_temp, images) = images();
    let mut first = HashMap::new();
    for n in 0.. {
        let id = import(&images, Tar::new().file("a", &n.to_string()).end(), "x").unwrap();
        if let Some(other) = first.insert(id.hex()[..1].to_owned(), id.clone()) {
            let error = images.resolve(&id.hex()[..1]).unwrap_err();
            assert!(matches!(error, ImageError::Ambiguous { .. }), "{other} {id}: {error}");
            return;
        }
    }
}

#[test]
fn names_move_and_outlive_a_restart() {
    let (temp, images) = images();
    let a = import(&images, Tar::new().file("a", "1").end(), "x").unwrap();
    let b = import(&images, Tar::new().file("a", "2").end(), "x").unwrap();
    assert_eq!((images.get(&a).unwrap().tags.len(), images.get(&b).unwrap().tags.len()), (0, 1));
    images.tag(&a, &"y:2".parse().unwrap()).unwrap();
    let images = reopen(&temp, images);
    assert_eq!((images.resolve("x").unwrap(), images.resolve("y:2").unwrap()), (b, a.clone()));
    assert!(images.get(&a).unwrap().last_tagged.is_some());
    assert!(images.untag(&"y:2".parse().unwrap()).unwrap());
    assert!(!images.untag(&"y:2".parse().unwrap()).unwrap());
    assert!(matches!(
        images.tag(&config_digest(b""), &"z".parse().unwrap()),
        Err(ImageError::NoSuchImage { .. })
    ));
    let images = reopen(&temp, images);
    assert_eq!(images.get(&a).unwrap().tags, []);
}

#[test]
fn a_shared_layer_stays_until_its_last_image_goes() {
    let (temp, images) = images();
    let base = Tar::new().file("base", "12345").end();
    let a = load(&images, &[base.clone(), Tar::new().file("a", "1").end()], "a").unwrap();
    let b = load(&images, &[base, Tar::new().file("b", "22").end()], "b").unwrap();
    assert_eq!(images.layer_sizes(&a).unwrap(), [5, 1]);
    assert_eq!(images.layer_chain(&a).unwrap()[0], images.layer_chain(&b).unwrap()[0]);
    assert_eq!(images.layers_size(), 8);
    let chain = images.layer_chain(&a).unwrap();
    assert_eq!(images.remove(&a).unwrap(), [a.clone(), chain[1].clone()]);
    assert_eq!((images.layers_size(), count(&temp, "l")), (7, 2));
    let chain = images.layer_chain(&b).unwrap();
    assert_eq!(images.remove(&b).unwrap(), [b.clone(), chain[1].clone(), chain[0].clone()]);
    images.0.trash.wait();
    assert_eq!(
        (count(&temp, "l"), count(&temp, "images"), count(&temp, "blobs/sha256"), count(&temp, "trash")),
        (0, 0, 0, 0)
    );
    assert!(matches!(images.remove(&b), Err(ImageError::NoSuchImage { .. })));
    assert_eq!(reopen(&temp, images).list(), []);
}

#[test]
fn a_leased_layer_outlives_its_image() {
    let (_temp, images) = images();
    let id = import(&images, Tar::new().file("a", "1").end(), "x").unwrap();
    let lease = images.lease_layer(&images.get(&id).unwrap().config.diff_ids[0]).unwrap();
    images.remove(&id).unwrap();
    let mut out = Vec::new();
    lease.write_tar(&mut out).unwrap();
    drop(lease);
    gc::collect(&images.0, &[]).unwrap();
    assert_eq!(images.layers_size(), 0);
}

#[test]
fn a_pulled_layer_keeps_its_blob_and_both_digests_are_checked() {
    let (temp, images) = images();
    let tar = Tar::new().file("a", "1").end();
    let blob = zstd::encode_all(&tar[..], 1).unwrap();
    let layer = LayerIngest {
        diff_id: config_digest(&tar),
        blob: config_digest(&blob),
        size: blob.len() as u64,
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd".into(),
        keep_blob: true,
    };
    for wrong in [
        LayerIngest { diff_id: config_digest(b"other"), ..layer.clone() },
        LayerIngest { blob: config_digest(b"other"), ..layer.clone() },
    ] {
        let error = images.ingest_layer(&wrong, &blob[..]).unwrap_err();
        assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error:?}");
    }
    let short = LayerIngest { size: layer.size - 1, ..layer.clone() };
    assert!(images.ingest_layer(&short, &blob[..]).is_err());
    assert!(images.ingest_layer(&layer, &blob[..blob.len() - 2]).is_err());
    assert_eq!((count(&temp, "l"), count(&temp, "ingest"), count(&temp, "blobs/sha256")), (0, 0, 0));

    let lease = images.ingest_layer(&layer, &blob[..]).unwrap();
    assert_eq!(lease.0.record.blobs[0].digest, layer.blob);
    let config = format!(r#"{{"os":"linux","rootfs":{{"diff_ids":["{}"]}}}}"#, layer.diff_id);
    let manifest = br#"{"schemaVersion":2}"#;
    let names =
        vec!["r.io/x:1".parse().unwrap(), format!("r.io/x@{}", config_digest(manifest)).parse().unwrap()];
    let registration = || Registration {
        config: config.as_bytes(),
        layers: vec![images.lease_layer(&layer.diff_id).unwrap()],
        manifest: Some(manifest),
        parent: None,
        names: names.clone(),
    };
    assert!(images.register(registration()).unwrap());
    assert!(!images.register(registration()).unwrap(), "a second time nothing is new");
    drop(lease);
    let images = reopen(&temp, images);
    let image = images.get(&images.resolve("r.io/x:1").unwrap()).unwrap();
    assert_eq!((image.tags.len(), image.digests.len()), (1, 1));
    assert_eq!(images.0.content.read(image.manifest.as_ref().unwrap()).unwrap().unwrap(), manifest);
    let (_, size) = images.0.content.open_blob(&layer.blob).unwrap().unwrap();
    assert_eq!(size, layer.size);
    images.remove(&image.id).unwrap();
    assert_eq!(count(&temp, "blobs/sha256"), 0);
}

#[test]
fn what_a_crash_left_goes_at_the_next_start() {
    let (temp, images) = images();
    let id = import(&images, Tar::new().file("a", "1").end(), "x").unwrap();
    drop(images);
    let root = temp.path("image");
    let lease = |path: &str| fs::create_dir_all(root.join(path)).unwrap();
    // An unpacking that was cut off, one that was not recorded, a removal, a snapshot half made, half files.
    lease("ingest/zz/d/deep");
    lease("l/zzz/d");
    lease("trash/zy/d");
    lease("snapshots/half");
    lease(&format!("snapshots/{}/upper", "a".repeat(64)));
    fs::write(root.join("images/.x.json.new"), "{").unwrap();
    fs::write(root.join(format!("blobs/sha256/{}", "0".repeat(64))), "unnamed").unwrap();
    fs::write(root.join(".names.json.new"), "{").unwrap();
    let images = Images::open(&root).unwrap();
    assert_eq!(images.resolve("x").unwrap(), id);
    assert_eq!(
        (count(&temp, "l"), count(&temp, "snapshots"), count(&temp, "images"), count(&temp, "blobs/sha256")),
        (1, 0, 1, 1)
    );
    images.0.trash.wait();
    assert_eq!((count(&temp, "ingest"), count(&temp, "trash")), (0, 0));
    // Names that were given before are not given again.
    let next = u64::from_str_radix(&images.0.number(), 36).unwrap();
    assert!(next > u64::from_str_radix("zzz", 36).unwrap());
}

#[test]
fn a_layer_that_no_image_came_for_goes_too() {
    let (temp, images) = images();
    let tar = Tar::new().file("a", "1").end();
    let layer = LayerIngest {
        diff_id: config_digest(&tar),
        blob: config_digest(&tar),
        size: tar.len() as u64,
        media_type: String::new(),
        keep_blob: false,
    };
    drop(images.ingest_layer(&layer, &tar[..]).unwrap());
    assert_eq!(count(&temp, "l"), 1);
    let images = reopen(&temp, images);
    assert_eq!((images.layers_size(), count(&temp, "l")), (0, 0));
}

#[test]
fn foreign_directories_and_newer_records_are_refused() {
    let temp = Temp::new();
    fs::create_dir(temp.path("image")).unwrap();
    fs::write(temp.path("image/thesis.tex"), "").unwrap();
    let error = Images::open(&temp.path("image")).unwrap_err();
    assert!(matches!(error, ImageError::ForeignRoot { .. }), "{error}");
    assert_eq!(count(&temp, "."), 1, "nothing was made");

    let (temp, images) = images();
    import(&images, Tar::new().file("a", "1").end(), "x").unwrap();
    drop(images);
    fs::write(temp.path("image/names.json"), r#"{"version":99,"names":{}}"#).unwrap();
    let error = Images::open(&temp.path("image")).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[test]
fn a_damaged_config_leaves_out_its_image_only() {
    let (temp, images) = images();
    let a = import(&images, Tar::new().file("a", "1").end(), "a").unwrap();
    let b = import(&images, Tar::new().file("b", "1").end(), "b").unwrap();
    drop(images);
    fs::write(temp.path("image/blobs/sha256").join(a.hex()), "{}").unwrap();
    let images = Images::open(&temp.path("image")).unwrap();
    assert_eq!(images.list().len(), 1);
    assert_eq!(images.resolve("b").unwrap(), b);
}
