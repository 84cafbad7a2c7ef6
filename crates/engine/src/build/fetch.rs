//! What builds begin with and add from elsewhere: images, files of URLs, repositories.
//!
//! An image that is pulled for a build gets no name: the cache holds its layers.
//!
//! Never: hands a credential to git or to a redirection.

use super::{
    Inner, copy, layout,
    machine::left,
    view::{View, root_of},
};
use minke_build::{
    BuildError, Result,
    host::{At, ImageFound, Left, Root},
    key::Hasher,
    plan::{Git, Http},
    request::CacheRef,
};
use minke_image::{ImageConfig, Progress, ProgressEvent, Reference, platform, pull::PullRequest, tree, web};
use minke_model::{Kind, Timestamp, id::Digest, image::Platform};
use sha2::{Digest as _, Sha256};
use std::{os::fd::AsFd, path::Path, process::Stdio, sync::Arc};

/// Largest file of a URL, in bytes.
const MAX_FILE: u64 = 64 << 30;

fn parse(reference: &str) -> Result<Reference> {
    Reference::parse(reference).map(Reference::or_latest).map_err(|e| BuildError::invalid(e.to_string()))
}

/// The key of an image of a registry in the cache.
pub(super) fn image_key(digest: &Digest, platform: &Platform) -> Digest {
    let mut hasher = Hasher::new("image");
    hasher.text(digest.as_str()).text(&platform::format(&platform::normalize(platform)));
    hasher.finish()
}

/// An image's configuration: from here, or from its registry.
pub(super) async fn image_config(
    inner: &Arc<Inner>,
    reference: &str,
    platform: &Platform,
    pull: bool,
    at: &At,
) -> Result<ImageFound> {
    if let Some(place) = layout::parse(reference)? {
        return layout::image_config(inner, &place, platform, at).await;
    }
    let name = parse(reference)?;
    if !pull && let Some(config) = local(inner, reference, platform) {
        return Ok(ImageFound { digest: None, config });
    }
    let auth = at.client.auth(name.domain()).await?;
    let looked = inner.images.look_up(&name, auth.clone()).await.map_err(|e| of_registry(e, &name))?;
    let key = image_key(&looked.digest, platform);
    if let Some(config) = inner.cache.config(&key) {
        return Ok(ImageFound { digest: Some(looked.digest), config });
    }
    let by_digest = name.repository().with_digest(looked.digest.clone());
    let known = inner.store.resolve(&by_digest.full()).is_ok();
    let request =
        PullRequest { reference: by_digest.clone(), platform: Some(platform.clone()), auth, all_tags: false };
    let progress = Arc::new(Shown { reporter: at.reporter.clone(), started: Timestamp::now() });
    let pulled = inner.store.pull(request, &inner.images.registries(), progress).await?;
    let (inner, shown) = (inner.clone(), name.familiar());
    super::blocking(move || {
        let image = inner.store.get(&pulled.id)?;
        let chain = inner.store.image_chain(&pulled.id)?;
        inner.cache.keep_image(&key, &image.config, chain, &format!("pulled from {shown}"))?;
        if !known {
            // It was pulled for builds alone.
            inner.store.untag(&by_digest)?;
            if inner
                .store
                .get(&pulled.id)
                .is_ok_and(|image| image.tags.is_empty() && image.digests.is_empty())
            {
                inner.store.remove(&pulled.id)?;
            }
        }
        Ok(ImageFound { digest: Some(looked.digest), config: image.config.clone() })
    })
    .await
}

/// BuildKit's sentence for a name that its registry does not know.
fn of_registry(error: crate::Error, name: &Reference) -> BuildError {
    match error.kind() {
        Kind::NotFound => BuildError::not_found(format!(
            "failed to resolve source metadata for {0}: {0}: not found",
            name.full()
        )),
        kind => {
            BuildError::other(kind, format!("failed to resolve source metadata for {}: {error}", name.full()))
        }
    }
}

/// An image of that name and platform that is here.
fn local(inner: &Inner, reference: &str, platform: &Platform) -> Option<Arc<ImageConfig>> {
    let id = inner.store.resolve(reference).ok()?;
    let image = inner.store.get(&id).ok()?;
    platform::suits(platform, &image.config.platform()).then(|| image.config.clone())
}

/// An image's files.
pub(super) async fn image(inner: &Arc<Inner>, reference: &str, platform: &Platform, at: &At) -> Result<Left> {
    let place = layout::parse(reference)?;
    let digest = match &place {
        Some(place) => Some(place.digest.clone()),
        None => parse(reference)?.digest().cloned(),
    };
    if let Some(left) = digest.and_then(|digest| inner.cache.find(&image_key(&digest, platform))) {
        return Ok(left);
    }
    if place.is_none()
        && let Ok(id) = inner.store.resolve(reference)
    {
        let image = inner.store.get(&id)?;
        if platform::suits(platform, &image.config.platform()) {
            return Ok(left(root_of(inner.store.image_chain(&id)?), image.config.created));
        }
    }
    // It went between the two: once more.
    let found = image_config(inner, reference, platform, true, at).await?;
    let key = found.digest.map(|digest| image_key(&digest, platform));
    let kept = key.and_then(|key| inner.cache.find(&key));
    kept.ok_or_else(|| BuildError::not_found(format!("{reference}: not found")))
}

/// A pull's lines, as parts of a step.
struct Shown {
    reporter: minke_build::report::Reporter,
    started: Timestamp,
}

impl Progress for Shown {
    fn report(&self, event: ProgressEvent) {
        let Some(id) = event.id else { return };
        let (current, total) =
            (event.current.unwrap_or_default() as i64, event.total.unwrap_or_default() as i64);
        let done = event.status == "Pull complete" || event.status == "Already exists";
        if done || total > 0 {
            self.reporter.status(&id, current, total, self.started, done);
        }
    }
}

/// A fetched file, verified.
pub(super) async fn http(inner: &Arc<Inner>, http: &Http, at: &At) -> Result<Root> {
    let registries = inner.images.registries();
    let mut answer =
        web::get(&http.url, &[], &registries).await.map_err(|e| unloaded(e.kind(), e.to_string()))?;
    if !(200..300).contains(&answer.status) {
        return Err(unloaded(Kind::Invalid, format!("invalid response status {}", answer.status)));
    }
    let modified = answer.header("last-modified").and_then(http_date);
    let total = answer.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let dir = Scratch::new(inner)?;
    let path = dir.tree().join(&http.file);
    let (sender, mut body) = crate::body::feed();
    let to = path.clone();
    let writing = super::blocking(move || {
        let failed = |e| BuildError::io(format!("write {}", to.display()))(e);
        let mut file = std::fs::File::create(&to).map_err(failed)?;
        std::io::copy(&mut body, &mut file).map(drop).map_err(failed)
    });
    let (mut hash, mut size, started) = (Sha256::new(), 0u64, Timestamp::now());
    let mut told = std::time::Instant::now();
    let reading = async {
        while let Some(piece) = answer.next().await {
            let piece = piece.map_err(BuildError::io(format!("read {}", http.url)))?;
            size += piece.len() as u64;
            if size > MAX_FILE {
                return Err(BuildError::invalid(format!("{} is larger than {MAX_FILE} bytes", http.url)));
            }
            hash.update(&piece);
            if told.elapsed().as_millis() >= 100 {
                told = std::time::Instant::now();
                at.reporter.status(&format!("downloading {}", http.url), size as i64, total, started, false);
            }
            if sender.send(Ok(piece)).await.is_err() {
                // The disk's own failure is told below.
                break;
            }
        }
        drop(sender);
        Ok(())
    };
    let (read, written) = tokio::join!(reading, writing);
    read.and(written)?;
    let digest = Digest::from_sha256(&hash.finalize());
    if let Some(wanted) = http.checksum.as_ref().filter(|wanted| *wanted != digest.as_str()) {
        return Err(BuildError::invalid(format!("digest mismatch {digest}: {wanted}")));
    }
    // BuildKit's mode, and the time that the server says.
    let inner = inner.clone();
    super::blocking(move || {
        let failed = |e: rustix::io::Errno| BuildError::io(format!("write {}", path.display()))(e.into());
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o600)).map_err(failed)?;
        let time = rustix::fs::Timespec { tv_sec: modified.unwrap_or(0), tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty())
            .map_err(failed)?;
        inner.contexts.adopt(dir.keep())
    })
    .await
}

/// What is elsewhere cannot be had.
fn unloaded(kind: Kind, message: String) -> BuildError {
    BuildError::Key { verb: "load", cause: Box::new(BuildError::other(kind, message)) }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7) in seconds since 1970.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{time}Z")).map(|t| t.as_second())
}

/// A directory that goes unless it is kept.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(inner: &Inner) -> Result<Self> {
        Ok(Self(inner.contexts.scratch()?))
    }

    fn tree(&self) -> std::path::PathBuf {
        self.0.join("tree")
    }

    fn keep(mut self) -> std::path::PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            drop(crate::volume::remove_tree(&self.0));
        }
    }
}

/// The archive in a fetched tree, unpacked; `None` where the file is none. Blocks.
pub(super) fn unpack(inner: &Inner, root: &Root, file: &str) -> Result<Option<Root>> {
    let view = View::open(&inner.store, root)?;
    let open = || {
        copy::open_file(&view, file)
            .map(|(file, _)| file)
            .map_err(|e| BuildError::io(format!("read {file}"))(e.into()))
    };
    if !tree::is_archive(open()?) {
        return Ok(None);
    }
    let dir = Scratch::new(inner)?;
    let to = dir.tree();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let fd = rustix::fs::open(&to, flags, rustix::fs::Mode::empty())
        .map_err(|e| BuildError::io(format!("open {}", to.display()))(e.into()))?;
    let options = tree::ExtractOptions { owner: Some((0, 0)), ..tree::ExtractOptions::default() };
    tree::extract(fd.as_fd(), "/", open()?, &options)?;
    inner.contexts.adopt(dir.keep()).map(Some)
}

/// A fetched repository, by the machine's `git`.
pub(super) async fn git(inner: &Arc<Inner>, wish: &Git, at: &At) -> Result<Root> {
    let dir = Scratch::new(inner)?;
    let repository = dir.0.join("repository");
    let path = repository.to_string_lossy().into_owned();
    let reference = if wish.reference.is_empty() { "HEAD" } else { wish.reference.as_str() };
    // git would take it for an option.
    if reference.starts_with('-') {
        return Err(BuildError::invalid(format!("{reference:?} is no name of a branch, tag or commit")));
    }
    let is_commit = reference.len() == 40 && reference.bytes().all(|b| b.is_ascii_hexdigit());
    run_git(&["init", "-q", "--", &path], None, at).await?;
    let remote = ["remote", "add", "origin", "--", &wish.remote];
    run_git(&remote, Some(&repository), at).await?;
    let shallow =
        run_git(&["fetch", "-q", "--depth=1", "--tags", "origin", reference], Some(&repository), at).await;
    if shallow.is_err() {
        // Some servers give no commit by its name, and none shallowly.
        let mut whole = vec!["fetch", "-q", "--tags", "origin"];
        whole.extend(Some(reference).filter(|_| !is_commit));
        let tried = run_git(&whole, Some(&repository), at).await;
        tried.map_err(|e| unloaded(e.kind(), format!("failed to fetch remote {}: {e}", wish.remote)))?;
    }
    let wanted = if is_commit { reference } else { "FETCH_HEAD" };
    run_git(&["checkout", "-q", "--detach", wanted], Some(&repository), at).await?;
    let commit = run_git(&["rev-parse", "HEAD"], Some(&repository), at).await?;
    let commit = commit.trim();
    if let Some(checksum) = wish.checksum.as_ref().filter(|checksum| !commit.starts_with(checksum.as_str())) {
        return Err(BuildError::invalid(format!("expected checksum to match {checksum}, got {commit}")));
    }
    if wish.submodules && repository.join(".gitmodules").is_file() {
        let update = ["submodule", "update", "-q", "--init", "--recursive", "--depth=1"];
        run_git(&update, Some(&repository), at).await?;
    }
    let (inner, wish) = (inner.clone(), wish.clone());
    super::blocking(move || {
        if !wish.keep_git_dir || !wish.directory.is_empty() {
            drop(crate::volume::remove_tree(&repository.join(".git")));
        }
        let tree = dir.tree();
        drop(crate::volume::remove_tree(&tree));
        let from = match wish.directory.as_str() {
            "" => repository.clone(),
            directory => inside(&repository, directory)?,
        };
        std::fs::rename(&from, &tree)
            .map_err(BuildError::io(format!("take {} of a repository", wish.directory)))?;
        inner.contexts.adopt(dir.keep())
    })
    .await
}

/// A directory of a repository, which a link in it does not lead out of.
fn inside(repository: &Path, directory: &str) -> Result<std::path::PathBuf> {
    let missing = || BuildError::not_found(format!("subdir {directory:?} is not in the repository"));
    let base = repository.canonicalize().map_err(|_| missing())?;
    let path = base.join(directory.trim_start_matches('/')).canonicalize().map_err(|_| missing())?;
    if !path.starts_with(&base) || !path.is_dir() {
        return Err(missing());
    }
    Ok(path)
}

/// Runs git; its output. Never asks anyone anything. Dropped, it is killed.
async fn run_git(args: &[&str], at_dir: Option<&Path>, at: &At) -> Result<String> {
    let mut command = std::process::Command::new("git");
    if let Some(dir) = at_dir {
        command.arg("-C").arg(dir);
    }
    command
        .args(["-c", "protocol.file.allow=never", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*"])
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => BuildError::unsupported(
            "a git repository is asked for, but there is no program git: install git on this machine",
        ),
        _ => BuildError::io("run git")(e),
    })?;
    let process = i32::try_from(child.id()).ok().and_then(|pid| minke_linux::pidfd::open(pid).ok());
    let killed = Killed(process);
    let output = super::blocking(move || child.wait_with_output().map_err(BuildError::io("run git"))).await?;
    drop(killed);
    if !output.stderr.is_empty() {
        at.reporter.log(2, output.stderr.clone());
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // BuildKit's words, and Go's for an exit.
        let status = match output.status.code() {
            Some(code) => format!("exit status {code}"),
            None => "signal: killed".to_owned(),
        };
        return Err(BuildError::invalid(format!("git stderr:\n{}\n: {status}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Kills a process when it is dropped, if it still runs.
struct Killed(Option<std::os::fd::OwnedFd>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            // One that ended is none any more.
            let _ = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
        }
    }
}

/// Makes the records of caches outside known. What cannot be read is told, and no failure.
pub(super) async fn import(inner: &Arc<Inner>, caches: &[CacheRef], at: &At) {
    for cache in caches {
        if let Err(e) = super::export::cache::import(inner, cache, at).await {
            at.reporter.log(2, format!("WARNING: the cache cannot be imported: {e}\n"));
        }
    }
}
