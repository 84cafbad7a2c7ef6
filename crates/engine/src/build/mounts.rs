//! What a `RUN` sees besides its tree: trees, caches that outlive builds, memory, secrets, an ssh agent.
//!
//! A secret is a file of the exec root, which is memory, for as long as its step runs. Caches lie below `mounts`, one
//! directory for each name; who has one locked has it alone.
//!
//! Never: lets a write through a `bind` reach what it is of.

use super::{
    Inner, copy,
    view::{View, chain_of},
};
use minke_build::{
    BuildError, Result,
    host::{At, Client, Root, RunWork},
    key::Hasher,
    plan::{Owner, RunMount, Sharing},
};
use minke_model::{
    ContainerId, Kind, Timestamp,
    mount::{MountKind, ReadOnlyRecursion},
};
use minke_runtime::{MountSource, ResolvedMount};
use rustix::fs::{Gid, Mode, Uid};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::UnixListener,
    sync::OwnedMutexGuard,
    task::{AbortHandle, JoinSet},
};

/// Largest secret, in bytes (BuildKit's limit).
const MAX_SECRET: usize = 500 * 1024;
/// Connections to an agent at once.
const MAX_AGENTS: usize = 64;

/// What was made for a step's mounts; goes with it.
#[derive(Default)]
pub(super) struct Prepared {
    /// For the process.
    pub(super) mounts: Vec<ResolvedMount>,
    /// Secrets that are variables, the agent's socket.
    pub(super) env: Vec<String>,
    caches: Vec<CacheUse>,
    directory: Option<Directory>,
    agents: Vec<AbortHandle>,
    /// Trees that are mounted, kept.
    trees: Vec<Root>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.agents.iter().for_each(AbortHandle::abort);
    }
}

/// A directory that goes with its last user.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(e) = crate::volume::remove_tree(&self.0) {
            tracing::warn!("cannot remove {}: {e}", self.0.display());
        }
    }
}

/// Makes all that a step's mounts need.
pub(super) async fn prepare(inner: &Arc<Inner>, wish: &RunWork, at: &At) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    let mut agents = 0;
    for (mount, tree) in wish.op.mounts.iter().zip(&wish.mounts) {
        match mount {
            RunMount::Bind { source, target, read_only, .. } => {
                prepared.bind(inner, tree, source, target, *read_only).await?;
            }
            RunMount::Cache { id, sharing, source, target, read_only, owner, .. } => {
                let used = inner.mounts.take(inner, id, *sharing, tree, source, *owner).await?;
                prepared.mounts.push(path_mount(used.data.clone(), target, !read_only));
                prepared.caches.push(used);
            }
            RunMount::Tmpfs { target, size } => prepared.mounts.push(ResolvedMount {
                kind: MountKind::Tmpfs,
                source: MountSource::Tmpfs,
                tmpfs_options: size.map(|size| format!("size={size}")).unwrap_or_default(),
                ..path_mount(PathBuf::new(), target, true)
            }),
            RunMount::Secret { id, target, env, required, owner } => {
                let Some(value) = at.client.secret(id).await? else {
                    if *required {
                        return Err(BuildError::not_found(format!("secret {id}: not found")));
                    }
                    continue;
                };
                if value.len() > MAX_SECRET {
                    return Err(BuildError::invalid(format!("invalid secret size {}", value.len())));
                }
                if let Some(env) = env {
                    let text = String::from_utf8_lossy(&value);
                    prepared.env.push(format!("{env}={text}"));
                }
                if let Some(target) = target {
                    let file = prepared.file(inner, &value, *owner)?;
                    prepared.mounts.push(path_mount(file, target, false));
                }
            }
            RunMount::Ssh { id, target, required, owner } => {
                if !at.client.has_ssh(id).await? {
                    if *required {
                        return Err(BuildError::not_found(format!("unset ssh forward key {id}")));
                    }
                    continue;
                }
                let target = target.clone().unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{agents}"));
                agents += 1;
                let socket = prepared.agent(inner, &at.client, id, *owner)?;
                prepared.mounts.push(path_mount(socket, &target, true));
                if !wish.op.env.iter().any(|e| e.starts_with("SSH_AUTH_SOCK=")) {
                    prepared.env.push(format!("SSH_AUTH_SOCK={target}"));
                }
            }
            RunMount::Text { target, content, mode } => {
                let owner = Owner { uid: 0, gid: 0, mode: *mode };
                let file = prepared.file(inner, content.as_bytes(), owner)?;
                prepared.mounts.push(path_mount(file, target, false));
            }
        }
    }
    Ok(prepared)
}

fn path_mount(path: PathBuf, target: &str, writable: bool) -> ResolvedMount {
    ResolvedMount {
        kind: MountKind::Bind,
        source: MountSource::Path(path),
        subpath: String::new(),
        target: target.to_owned(),
        writable,
        propagation: None,
        non_recursive: false,
        read_only_recursion: ReadOnlyRecursion::IfPossible,
        tmpfs_options: String::new(),
    }
}

impl Prepared {
    /// A directory of its own in the exec root.
    fn directory(&mut self, inner: &Inner) -> Result<&Path> {
        if self.directory.is_none() {
            let path = inner.exec_root.join(ContainerId::random().short());
            std::fs::create_dir_all(&path).map_err(BuildError::io(format!("make {}", path.display())))?;
            // Users of other names go through it to their socket; nobody lists it.
            rustix::fs::chmod(&path, Mode::from_raw_mode(0o711))
                .map_err(|e| BuildError::io(format!("make {}", path.display()))(e.into()))?;
            self.directory = Some(Directory(path));
        }
        let gone = || BuildError::other(Kind::Internal, "a directory is gone");
        self.directory.as_ref().map(|d| d.0.as_path()).ok_or_else(gone)
    }

    fn file(&mut self, inner: &Inner, bytes: &[u8], owner: Owner) -> Result<PathBuf> {
        let number = self.mounts.len();
        let path = self.directory(inner)?.join(format!("file-{number}"));
        let write = || -> std::io::Result<()> {
            use std::os::unix::fs::OpenOptionsExt;
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            rustix::fs::fchown(&file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(owner.mode & 0o7777))?;
            Ok(())
        };
        write().map_err(BuildError::io("write a file for a step"))?;
        Ok(path)
    }

    /// A socket whose connections lead to the client's agent.
    fn agent(&mut self, inner: &Inner, client: &Arc<dyn Client>, id: &str, owner: Owner) -> Result<PathBuf> {
        let number = self.mounts.len();
        let path = self.directory(inner)?.join(format!("agent-{number}"));
        let failed = |e: std::io::Error| BuildError::io("make a socket for an ssh agent")(e);
        let listener = UnixListener::bind(&path).map_err(failed)?;
        rustix::fs::chown(&path, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
            .and_then(|()| rustix::fs::chmod(&path, Mode::from_raw_mode(owner.mode & 0o7777)))
            .map_err(|e| failed(e.into()))?;
        let (client, id) = (client.clone(), id.to_owned());
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                while open.try_join_next().is_some() {}
                if open.len() >= MAX_AGENTS {
                    continue;
                }
                let (client, id) = (client.clone(), id.clone());
                open.spawn(async move {
                    match client.ssh(&id).await {
                        Ok(mut far) => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
                        Err(e) => tracing::debug!("an ssh agent is not reached: {e}"),
                    }
                });
            }
        });
        self.agents.push(task.abort_handle());
        Ok(path)
    }

    /// A part of a tree.
    async fn bind(
        &mut self,
        inner: &Arc<Inner>,
        tree: &Root,
        source: &str,
        target: &str,
        read_only: bool,
    ) -> Result<()> {
        self.trees.push(tree.clone());
        let (store, looked, wanted) = (inner.store.clone(), tree.clone(), source.to_owned());
        let there = super::blocking(move || Ok(View::open(&store, &looked)?.leads(&wanted))).await?;
        if !there {
            let error = BuildError::not_found(format!("{source:?}: not found"));
            return Err(super::content::not_found(error, source));
        }
        let subpath = source.trim_start_matches('/').to_owned();
        if !read_only {
            // Written to a copy, which goes with the step.
            let number = self.mounts.len();
            let to = self.scratch(inner)?.join(format!("bind-{number}"));
            let (store, tree, source, copy) =
                (inner.store.clone(), tree.clone(), source.to_owned(), to.clone());
            super::blocking(move || copy::copy_out(&View::open(&store, &tree)?, &source, &copy)).await?;
            self.mounts.push(path_mount(to, target, true));
            return Ok(());
        }
        let source = match tree {
            Root::Directory { path, .. } => MountSource::Path(path.to_path_buf()),
            Root::Layers { chain, keep } => {
                let chain = chain_of(&inner.store, chain, keep)?;
                match chain.is_empty() {
                    true => MountSource::Path(inner.empty.clone()),
                    false => MountSource::Layers(chain.paths()),
                }
            }
        };
        self.mounts.push(ResolvedMount { source, subpath, ..path_mount(PathBuf::new(), target, false) });
        Ok(())
    }

    /// A directory of its own on the disk of builds.
    fn scratch(&mut self, inner: &Inner) -> Result<PathBuf> {
        let path = inner.scratch.join(ContainerId::random().short());
        std::fs::create_dir_all(&path).map_err(BuildError::io(format!("make {}", path.display())))?;
        self.caches.push(CacheUse {
            data: path.clone(),
            _user: None,
            _lock: None,
            _directory: Some(Directory(path.clone())),
        });
        Ok(path)
    }
}

/// A cache mount's record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CacheMeta {
    /// As the Dockerfile names it.
    pub(crate) id: String,
    /// In nanoseconds since 1970.
    pub(crate) created: i64,
    /// In nanoseconds since 1970.
    pub(crate) used: i64,
    /// How often.
    pub(crate) uses: u64,
}

/// A cache mount that a step has.
struct CacheUse {
    data: PathBuf,
    _user: Option<User>,
    _lock: Option<OwnedMutexGuard<()>>,
    _directory: Option<Directory>,
}

/// Counts as one that uses a cache mount.
struct User {
    users: Arc<Mutex<HashMap<String, usize>>>,
    name: String,
}

impl Drop for User {
    fn drop(&mut self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.name);
            }
        }
    }
}

type Locks = HashMap<String, Arc<tokio::sync::Mutex<()>>>;

/// All cache mounts.
#[derive(Clone)]
pub(crate) struct CacheMounts {
    root: Arc<PathBuf>,
    locks: Arc<Mutex<Locks>>,
    users: Arc<Mutex<HashMap<String, usize>>>,
}

impl CacheMounts {
    pub(super) fn open(root: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&root).map_err(BuildError::io(format!("make {}", root.display())))?;
        for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
            // Half made.
            if !entry.path().join("meta.json").is_file() {
                drop(crate::volume::remove_tree(&entry.path()));
            }
        }
        Ok(Self { root: Arc::new(root), locks: Arc::default(), users: Arc::default() })
    }

    fn lock_of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds or waits for are not kept.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(name.to_owned()).or_default().clone()
    }

    async fn take(
        &self,
        inner: &Arc<Inner>,
        id: &str,
        sharing: Sharing,
        tree: &Root,
        source: &str,
        owner: Owner,
    ) -> Result<CacheUse> {
        let name = {
            let mut hasher = Hasher::new("cache mount");
            hasher.text(id);
            hasher.text(&tree.chain().iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            hasher.text(source);
            hasher.finish().hex()[..25].to_owned()
        };
        let (name, lock) = match sharing {
            Sharing::Shared => (name, None),
            Sharing::Locked => {
                let lock = self.lock_of(&name).lock_owned().await;
                (name, Some(lock))
            }
            Sharing::Private => self.private(&name),
        };
        let dir = self.root.join(&name);
        let (store, tree, source, id) = (inner.store.clone(), tree.clone(), source.to_owned(), id.to_owned());
        // One makes it at a time.
        let making = self.lock_of(&format!("make {name}")).lock_owned().await;
        let data = super::blocking(move || {
            let data = dir.join("data");
            let meta = dir.join("meta.json");
            let now = Timestamp::now().as_nanos();
            let mut known: CacheMeta = std::fs::read(&meta)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default();
            if !meta.is_file() {
                drop(crate::volume::remove_tree(&dir));
                std::fs::create_dir_all(&data).map_err(BuildError::io(format!("make {}", data.display())))?;
                if !tree.chain().is_empty() || matches!(tree, Root::Directory { .. }) {
                    copy::copy_out(&View::open(&store, &tree)?, &source, &data)?;
                } else {
                    rustix::fs::chown(&data, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                        .and_then(|()| rustix::fs::chmod(&data, Mode::from_raw_mode(owner.mode & 0o7777)))
                        .map_err(|e| BuildError::io(format!("make {}", data.display()))(e.into()))?;
                }
                known = CacheMeta { id, created: now, ..CacheMeta::default() };
            }
            known.used = now;
            known.uses += 1;
            let bytes = serde_json::to_vec(&known).unwrap_or_default();
            let temporary = dir.join("meta.new");
            std::fs::write(&temporary, bytes)
                .and_then(|()| std::fs::rename(&temporary, &meta))
                .map_err(BuildError::io(format!("write {}", meta.display())))?;
            Ok(data)
        })
        .await?;
        drop(making);
        Ok(CacheUse { data, _user: Some(self.user(&name)), _lock: lock, _directory: None })
    }

    fn user(&self, name: &str) -> User {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        *users.entry(name.to_owned()).or_default() += 1;
        User { users: self.users.clone(), name: name.to_owned() }
    }

    /// One that nobody has: the first, the second…
    fn private(&self, name: &str) -> (String, Option<OwnedMutexGuard<()>>) {
        for number in 0.. {
            let name = if number == 0 { name.to_owned() } else { format!("{name}-{number}") };
            if let Ok(guard) = self.lock_of(&name).try_lock_owned() {
                return (name, Some(guard));
            }
        }
        (name.to_owned(), None)
    }

    /// All: name, record, bytes, and whether a step has it.
    pub(crate) fn all(&self) -> Vec<(String, CacheMeta, u64, bool)> {
        let users: Vec<String> =
            self.users.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&*self.root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = std::fs::read(entry.path().join("meta.json")).ok();
            let Some(meta) = meta.and_then(|bytes| serde_json::from_slice(&bytes).ok()) else { continue };
            let is_used = users.contains(&name);
            all.push((name, meta, crate::volume::tree_size(&entry.path().join("data")), is_used));
        }
        all
    }

    /// Removes one. Whether it was there.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let dir = self.root.join(name);
        dir.is_dir() && crate::volume::remove_tree(&dir).is_ok()
    }
}
