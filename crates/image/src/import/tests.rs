//! Tars of root file systems, and what is none.

use super::*;
use crate::{
    ImageError,
    testing::{Tar, images},
};
use std::io::Write;

#[test]
fn a_compressed_tar_becomes_an_image() {
    let (temp, images) = images();
    let tar = Tar::new().dir("./").file("./etc/os-release", "ID=x").end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let wish = ImportRequest {
        message: "why".into(),
        config: ImageDefaults { cmd: Some(vec!["sh".into()]), ..ImageDefaults::default() },
        platform: Some(Platform { os: "linux".into(), architecture: "arm".into(), variant: "v7".into() }),
        reference: Some("box:1".parse().unwrap()),
    };
    let id = images.import(&gzip.finish().unwrap()[..], wish).unwrap();
    // What is written is what is read after a restart.
    drop(images);
    let images = Images::open(&temp.path("image")).unwrap();
    let image = images.get(&images.resolve("box:1").unwrap()).unwrap();
    assert_eq!((&image.id, image.size), (&id, 4));
    assert_eq!(image.config.id(), id);
    assert_eq!((image.config.comment.as_str(), image.config.history[0].comment.as_str()), ("why", "why"));
    assert_eq!((image.config.architecture.as_str(), image.config.variant.as_str()), ("arm", "v7"));
    assert_eq!(image.config.defaults.cmd.as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(image.config.diff_ids, [crate::config::digest(&tar)]);
    assert!(image.config.created.is_some() && image.parent.is_none());
}

#[test]
fn what_is_no_tar_leaves_nothing() {
    let (temp, images) = images();
    for rubbish in [&b"this is not a tar".repeat(100)[..], b"x", &[0x1f, 0x8b, 0, 0, 0, 0, 0, 0]] {
        let error = images.import(rubbish, ImportRequest::default()).unwrap_err();
        assert!(matches!(error, ImageError::Tar { .. }), "{error:?}");
    }
    assert_eq!(images.list(), []);
    for dir in ["l", "ingest", "images"] {
        assert_eq!(std::fs::read_dir(temp.path("image").join(dir)).unwrap().count(), 0, "{dir}");
    }
}

/// Fails in the middle, as a client does that goes away.
struct Breaks(usize);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let tar = Tar::new().file("a", &"x".repeat(2000)).end();
        if self.0 >= 1000 {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        let count = buffer.len().min(500);
        buffer[..count].copy_from_slice(&tar[self.0..self.0 + count]);
        self.0 += count;
        Ok(count)
    }
}

#[test]
fn a_client_that_goes_away_is_told_from_a_bad_tar() {
    let (_temp, images) = images();
    let error = images.import(Breaks(0), ImportRequest::default()).unwrap_err();
    assert!(matches!(error, ImageError::Stream { .. }), "{error:?}");
    assert_eq!(error.kind(), minke_model::Kind::Cancelled);
}
