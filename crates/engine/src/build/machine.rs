//! The machine, as the solver knows it.

use super::{
    Inner, content, copy, fetch, run,
    view::{View, chain_of, root_of},
};
use futures_util::future::BoxFuture;
use minke_build::{
    BuildError, Result,
    host::{About, At, CopyWork, Host, ImageFound, Left, Root, RunWork, Selection, Wanted},
    plan::{Git, Http},
    request::CacheRef,
};
use minke_image::platform;
use minke_model::{Timestamp, id::Digest, image::Platform};
use std::{io::Read, sync::Arc};

/// Where the kernel tells which programs of other machines it runs.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// The machine.
pub(super) struct Machine(pub(super) Arc<Inner>);

/// This machine's platform, then those whose programs it runs with an emulator of qemu's.
pub(super) fn platforms() -> Vec<Platform> {
    let own = platform::normalize(&platform::host());
    let mut all = vec![own.clone()];
    for (interpreter, text) in [
        ("qemu-x86_64", "linux/amd64"),
        ("qemu-aarch64", "linux/arm64"),
        ("qemu-arm", "linux/arm/v7"),
        ("qemu-i386", "linux/386"),
        ("qemu-riscv64", "linux/riscv64"),
        ("qemu-ppc64le", "linux/ppc64le"),
        ("qemu-s390x", "linux/s390x"),
    ] {
        let enabled = std::fs::read_to_string(format!("{BINFMT}/{interpreter}"))
            .is_ok_and(|text| text.starts_with("enabled"));
        if let (true, Ok(platform)) = (enabled, platform::parse(text))
            && platform.architecture != own.architecture
        {
            all.push(platform);
        }
    }
    if own.architecture == "amd64"
        && let Ok(platform) = platform::parse("linux/386")
        && !all.contains(&platform)
    {
        all.push(platform);
    }
    all
}

impl Host for Machine {
    fn platform(&self) -> Platform {
        platform::normalize(&platform::host())
    }

    fn check_platform(&self, platform: &Platform) -> Result<()> {
        let can = platforms()
            .iter()
            .any(|can| can.os == platform.os && (can.architecture == platform.architecture));
        if can {
            return Ok(());
        }
        let shown = platform::format(platform);
        Err(BuildError::unsupported(format!(
            "no match for platform in manifest: this machine cannot run programs for {shown}: register an emulator with binfmt_misc (qemu-user-static) or build for {}",
            platform::format(&self.platform())
        )))
    }

    fn image_config<'a>(
        &'a self,
        reference: &'a str,
        platform: &'a Platform,
        pull: bool,
        at: &'a At,
    ) -> BoxFuture<'a, Result<ImageFound>> {
        Box::pin(fetch::image_config(&self.0, reference, platform, pull, at))
    }

    fn image<'a>(
        &'a self,
        reference: &'a str,
        platform: &'a Platform,
        at: &'a At,
    ) -> BoxFuture<'a, Result<Left>> {
        Box::pin(fetch::image(&self.0, reference, platform, at))
    }

    fn local<'a>(
        &'a self,
        local: &'a str,
        wanted: Wanted,
        what: &'a str,
        at: &'a At,
    ) -> BoxFuture<'a, Result<Root>> {
        Box::pin(async move { self.0.contexts.bring(&at.client, local, wanted, what, at).await })
    }

    fn http<'a>(&'a self, http: &'a Http, at: &'a At) -> BoxFuture<'a, Result<Root>> {
        Box::pin(fetch::http(&self.0, http, at))
    }

    fn git<'a>(&'a self, git: &'a Git, at: &'a At) -> BoxFuture<'a, Result<Root>> {
        Box::pin(fetch::git(&self.0, git, at))
    }

    fn unpack<'a>(&'a self, root: &'a Root, file: &'a str) -> BoxFuture<'a, Result<Option<Root>>> {
        let (inner, root, file) = (self.0.clone(), root.clone(), file.to_owned());
        Box::pin(super::blocking(move || fetch::unpack(&inner, &root, &file)))
    }

    fn read<'a>(
        &'a self,
        root: &'a Root,
        path: &'a str,
        limit: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        let (store, root, path) = (self.0.store.clone(), root.clone(), path.to_owned());
        Box::pin(super::blocking(move || {
            let view = View::open(&store, &root)?;
            let failed = |e: std::io::Error| BuildError::io(format!("read {path}"))(e);
            let file = match copy::open_file(&view, &path) {
                Ok((file, _)) => file,
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ISDIR) => {
                    return Ok(None);
                }
                Err(e) => return Err(failed(e.into())),
            };
            let mut bytes = Vec::new();
            file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
            if bytes.len() as u64 > limit {
                return Err(BuildError::invalid(format!("{path} is larger than {limit} bytes")));
            }
            Ok(Some(bytes))
        }))
    }

    fn content<'a>(&'a self, root: &'a Root, selection: &'a Selection) -> BoxFuture<'a, Result<Digest>> {
        let (store, root, selection) = (self.0.store.clone(), root.clone(), selection.clone());
        Box::pin(super::blocking(move || content::digest(&View::open(&store, &root)?, &selection)))
    }

    fn copy<'a>(&'a self, work: CopyWork, _: &'a At) -> BoxFuture<'a, Result<Root>> {
        let store = self.0.store.clone();
        Box::pin(super::blocking(move || copy::copy(&store, work)))
    }

    fn directory<'a>(
        &'a self,
        base: Root,
        path: &'a str,
        owner: &'a str,
        epoch: Option<i64>,
    ) -> BoxFuture<'a, Result<Root>> {
        let (store, path, owner) = (self.0.store.clone(), path.to_owned(), owner.to_owned());
        Box::pin(super::blocking(move || copy::directory(&store, &base, &path, &owner, epoch)))
    }

    fn run<'a>(&'a self, work: RunWork, at: &'a At) -> BoxFuture<'a, Result<Root>> {
        Box::pin(run::run(&self.0, work, at))
    }

    fn stack(&self, below: &Root, above: &Root) -> Result<Root> {
        let chain = |root: &Root| match root {
            Root::Layers { chain, keep } => chain_of(&self.0.store, chain, keep),
            Root::Directory { .. } => Ok(Default::default()),
        };
        Ok(root_of(chain(below)?.with(&chain(above)?)))
    }

    fn find<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Option<Left>> {
        // A use is written down once a minute at most: a small file.
        Box::pin(async move { self.0.cache.find(key) })
    }

    fn keep<'a>(&'a self, keys: &'a [Digest], left: &'a Left, about: About) -> BoxFuture<'a, Result<()>> {
        let (inner, keys, left) = (self.0.clone(), keys.to_vec(), left.clone());
        Box::pin(super::blocking(move || {
            let Root::Layers { chain, keep } = &left.root else { return Ok(()) };
            let chain = chain_of(&inner.store, chain, keep)?;
            inner.cache.keep(&keys, &left, chain, about)
        }))
    }

    fn import<'a>(&'a self, caches: &'a [CacheRef], at: &'a At) -> BoxFuture<'a, ()> {
        Box::pin(fetch::import(&self.0, caches, at))
    }
}

/// What is here already, as a step's result.
pub(super) fn left(root: Root, created: Option<Timestamp>) -> Left {
    Left { root, created: created.unwrap_or_else(Timestamp::now) }
}
