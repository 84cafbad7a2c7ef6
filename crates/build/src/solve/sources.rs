//! What is read before and beside the steps: the Dockerfile, `.dockerignore`, build contexts.

use super::{Session, Sources};
use crate::{
    error::{BuildError, Result},
    git,
    host::{At, Root, Wanted},
    ignore, key,
    plan::{Http, Plan},
    request::{CacheRef, ContextFrom, DockerfileFrom},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::{collections::BTreeSet, sync::Arc};

/// Largest Dockerfile that is read, in bytes.
const MAX_DOCKERFILE: u64 = 16 << 20;
/// Largest .dockerignore.
const MAX_IGNORE: u64 = 4 << 20;
/// The name that is looked for where none was given.
const DOCKERFILE: &str = "Dockerfile";

/// The main context, brought at most once, when a step first needs it.
pub(super) type Context = Shared<BoxFuture<'static, Result<Root, Arc<BuildError>>>>;

/// As progress names a cache outside.
pub(super) fn shown_cache(cache: &CacheRef) -> String {
    let of = |key: &str| cache.attributes.get(key).cloned();
    of("ref").or_else(|| of("src")).unwrap_or_else(|| cache.kind.clone())
}

impl Session {
    /// Reads the Dockerfile.
    pub(super) async fn sources(&self) -> Result<Sources> {
        let remote = match &self.request.context {
            ContextFrom::Remote(url) => Some(self.remote(url).await?),
            ContextFrom::Local(_) | ContextFrom::Empty => None,
        };
        // A URL of one file that is no archive is the Dockerfile itself.
        if let Some(Remote::File { name, bytes }) = remote {
            let definition = key::internal(&self.id, &name);
            return Ok(Sources {
                dockerfile_name: DOCKERFILE.into(),
                dockerfile: bytes,
                own_ignore: None,
                ignore: Vec::new(),
                definition,
                remote: Some(Root::empty()),
            });
        }
        let remote = match remote {
            Some(Remote::Tree(root)) => Some(root),
            _ => None,
        };
        let (dockerfile_name, dockerfile, own_ignore) = self.dockerfile(remote.as_ref()).await?;
        let definition = key::internal(&self.id, &definition_name(&dockerfile_name));
        Ok(Sources { dockerfile_name, dockerfile, own_ignore, ignore: Vec::new(), definition, remote })
    }

    /// Reads what is ignored: by the Dockerfile's own file, else by the context's.
    pub(super) async fn ignored(&self, sources: &mut Sources) -> Result<()> {
        let ignored = match sources.own_ignore.take() {
            Some(bytes) => Some(bytes),
            None => self.ignore_file(sources.remote.as_ref()).await?,
        };
        sources.ignore = ignored.map(|bytes| ignore::lines(&bytes)).unwrap_or_default();
        Sources::check(&sources.ignore)
    }

    /// The Dockerfile's name and text, and its own ignore file.
    async fn dockerfile(&self, remote: Option<&Root>) -> Result<(String, Vec<u8>, Option<Vec<u8>>)> {
        let (file, local) = match &self.request.dockerfile {
            DockerfileFrom::Text { name, bytes } => return Ok((name.clone(), bytes.clone(), None)),
            DockerfileFrom::Local { local, file } => (file, Some(local.clone())),
            DockerfileFrom::Context { file } => (
                file,
                match &self.request.context {
                    ContextFrom::Local(local) => Some(local.clone()),
                    ContextFrom::Remote(_) | ContextFrom::Empty => None,
                },
            ),
        };
        let file = if file.is_empty() { DOCKERFILE } else { file }.to_owned();
        let name = definition_name(&file);
        let loaded = self.internal(&name, |at| {
            let (file, remote) = (file.clone(), remote.cloned());
            Box::pin(async move { self.read_dockerfile(file, local, remote, at).await })
        });
        let (bytes, ignored) = loaded.await?;
        let missing = || format!("failed to read dockerfile: open {file}: no such file or directory");
        let bytes = bytes.ok_or_else(|| BuildError::not_found(missing()))?;
        Ok((file, bytes, ignored))
    }

    /// The Dockerfile's text, if there is one, and its own ignore file.
    async fn read_dockerfile(
        &self,
        file: String,
        local: Option<String>,
        remote: Option<Root>,
        at: At,
    ) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        let own_ignore = ignore::name_for(&file);
        let root = match (local, remote) {
            (Some(local), _) => {
                let follow = vec![file.clone(), own_ignore.clone(), file.to_lowercase()];
                let wanted = Wanted { follow, ..Wanted::default() };
                self.host.local(&local, wanted, "dockerfile", &at).await?
            }
            (None, Some(remote)) => remote,
            (None, None) => Root::empty(),
        };
        let mut found = self.host.read(&root, &file, MAX_DOCKERFILE).await?;
        if found.is_none() && file == DOCKERFILE {
            found = self.host.read(&root, &file.to_lowercase(), MAX_DOCKERFILE).await?;
        }
        let ignored = self.host.read(&root, &own_ignore, MAX_IGNORE).await?;
        Ok((found, ignored))
    }

    /// `.dockerignore` of the main context.
    async fn ignore_file(&self, remote: Option<&Root>) -> Result<Option<Vec<u8>>> {
        const NAME: &str = ".dockerignore";
        match (&self.request.context, remote) {
            (ContextFrom::Local(local), _) => {
                let loaded = self.internal("[internal] load .dockerignore", |at| {
                    Box::pin(async move {
                        let wanted = Wanted { follow: vec![NAME.into()], ..Wanted::default() };
                        let root = self.host.local(local, wanted, "context", &at).await?;
                        self.host.read(&root, NAME, MAX_IGNORE).await
                    })
                });
                loaded.await
            }
            (_, Some(root)) => self.host.read(root, NAME, MAX_IGNORE).await,
            (ContextFrom::Remote(_) | ContextFrom::Empty, None) => Ok(None),
        }
    }

    /// The main context: only what some plan reads.
    pub(super) fn context(&self, plans: &[Plan], sources: &Sources) -> Context {
        let mut paths = Some(BTreeSet::new());
        for plan in plans {
            match (&mut paths, &plan.context_paths) {
                (Some(paths), Some(more)) => paths.extend(more.iter().cloned()),
                _ => paths = None,
            }
        }
        let wanted = Wanted {
            include: Vec::new(),
            exclude: sources.ignore.clone(),
            follow: paths.map(|paths| paths.into_iter().collect()).unwrap_or_default(),
        };
        let (session, remote) = (self.clone(), sources.remote.clone());
        let bring = async move {
            if let Some(remote) = remote {
                return Ok(remote);
            }
            let ContextFrom::Local(local) = &session.request.context else { return Ok(Root::empty()) };
            let at = session.at(crate::report::Reporter::of(
                &key::internal(&session.id, "[internal] load build context"),
                &session.progress,
            ));
            session.host.local(local, wanted, "context", &at).await.map_err(Arc::new)
        };
        bring.boxed().shared()
    }

    /// A further context, by what the options say that it is.
    pub(super) async fn named_context(&self, name: &str, at: &At) -> Result<Root> {
        if let Some(input) = self.request.input(name) {
            return Ok(input.root.clone());
        }
        let value = self.request.options.contexts.get(name).cloned().unwrap_or_default();
        if let Some(local) = value.strip_prefix("local:") {
            let wanted = Wanted { follow: vec![".dockerignore".into()], ..Wanted::default() };
            let root = self.host.local(local, wanted, "context", at).await?;
            let ignored = self.host.read(&root, ".dockerignore", MAX_IGNORE).await?;
            let exclude = ignored.map(|bytes| ignore::lines(&bytes)).unwrap_or_default();
            Sources::check(&exclude)?;
            let wanted = Wanted { exclude, ..Wanted::default() };
            return self.host.local(local, wanted, "context", at).await;
        }
        match self.fetch(&value, at).await? {
            Some(Remote::Tree(root)) => Ok(root),
            Some(Remote::File { .. }) => {
                Err(BuildError::unsupported(format!("the build context {name} ({value}) is no archive")))
            }
            None => Err(BuildError::unsupported(format!(
                "unsupported context source {} for {name}",
                value.split(':').next().unwrap_or_default()
            ))),
        }
    }

    async fn remote(&self, url: &str) -> Result<Remote> {
        let name = match git::parse(url) {
            Some(_) => format!("[internal] load git source {url}"),
            None => format!("[internal] load remote build context {url}"),
        };
        let fetched = self.internal(&name, |at| Box::pin(async move { self.fetch(url, &at).await })).await?;
        fetched.ok_or_else(|| {
            BuildError::invalid(format!("the build context {url} is neither a repository nor a URL"))
        })
    }

    async fn fetch(&self, url: &str, at: &At) -> Result<Option<Remote>> {
        if let Some(parsed) = git::parse(url) {
            let parsed = parsed.map_err(BuildError::invalid)?;
            let mut git = parsed.git;
            git.keep_git_dir = parsed.keep_git_dir.unwrap_or_default();
            return Ok(Some(Remote::Tree(self.host.git(&git, at).await?)));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Ok(None);
        }
        let file = "context".to_owned();
        let http = Http { url: url.to_owned(), file: file.clone(), checksum: None };
        let root = self.host.http(&http, at).await?;
        if let Some(tree) = self.host.unpack(&root, &file).await? {
            return Ok(Some(Remote::Tree(tree)));
        }
        let bytes = self.host.read(&root, &file, MAX_DOCKERFILE).await?.unwrap_or_default();
        Ok(Some(Remote::File { name: url.to_owned(), bytes }))
    }
}

/// What a URL gave.
enum Remote {
    Tree(Root),
    File { name: String, bytes: Vec<u8> },
}

fn definition_name(file: &str) -> String {
    format!("[internal] load build definition from {file}")
}
