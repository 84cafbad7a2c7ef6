//! External OCI runtimes, runc and crun: which one a container names, and what it is given.
//!
//! The shim runs it; here its program is found and its bundle written from the same plan as our own start.

use crate::{
    RuntimeError, bundle,
    request::{CreateRequest, ExecRequest, ExternalRuntime, RuntimeConfig},
    spec::{self, Host, Plan, oci},
};
use minke_model::Container;
use minke_shim::plan::{ExecPlan, External, Root};
use std::{
    io,
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

/// Names that mean our own code. Docker's clients say `runc` for whatever is the default.
const OWN: [&str; 4] = ["", "minke", "runc", "io.containerd.runc.v2"];

/// The external runtime that a container names; `None` is our own, unless one of that name is configured.
///
/// # Errors
/// When there is no such runtime.
pub fn named(config: &RuntimeConfig, name: &str) -> Result<Option<ExternalRuntime>, RuntimeError> {
    let name = if name.is_empty() { config.default_runtime.as_str() } else { name };
    match config.runtimes.get(name) {
        Some(configured) => Ok(Some(configured.clone())),
        None if OWN.contains(&name) => Ok(None),
        None => Err(RuntimeError::NoSuchRuntime { name: name.to_owned() }),
    }
}

/// A program by its name in the daemon's `PATH`, or by its path.
fn find(program: &str) -> Option<PathBuf> {
    let runs = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| runs(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| runs(path))
}

/// Where an external runtime keeps its state.
fn state_root(exec_root: &Path, runtime: &ExternalRuntime) -> PathBuf {
    let name = Path::new(&runtime.path).file_name().unwrap_or_default();
    exec_root.join("runtimes").join(name)
}

/// A bundle to be written once the container's directory is there.
pub(crate) struct Bundle {
    dir: PathBuf,
    config: serde_json::Value,
}

impl Bundle {
    /// Writes it.
    pub(crate) fn write(&self) -> Result<(), RuntimeError> {
        let failed = RuntimeError::io(format!("write a bundle in {}", self.dir.display()));
        bundle::write(&self.dir, &self.config).map(drop).map_err(failed)
    }
}

/// Hands a plan to an external runtime, if the container names one. Its bundle will lie in `dir`, the container's own
/// in exec-root.
///
/// # Errors
/// When the program or the user is not found.
pub(crate) fn prepare(
    plan: &mut Plan,
    request: &CreateRequest,
    host: &Host,
    config: &RuntimeConfig,
    dir: &Path,
) -> Result<Option<Bundle>, RuntimeError> {
    let spec = &request.container.spec;
    let Some(runtime) = named(config, &spec.runtime)? else { return Ok(None) };
    let program =
        find(&runtime.path).ok_or_else(|| RuntimeError::NoSuchRuntime { name: runtime.path.clone() })?;
    let ids = ids(&plan.start.root, &plan.start.process.user, &plan.start.process.groups)?;
    let capabilities = spec::capabilities(&spec.security, host.capabilities)?;
    let seccomp = host.filters.profile(&spec.security, capabilities)?;
    let json = oci::config(plan, &ids, seccomp.as_ref(), &spec.annotations);
    plan.start.external = Some(external(program, &runtime, config, bundle::path(dir)));
    Ok(Some(Bundle { dir: dir.to_owned(), config: json }))
}

/// Hands an exec to an external runtime; the root is that of the running container.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn prepare_exec(
    plan: &mut ExecPlan,
    request: &ExecRequest,
    container: &Container,
    config: &RuntimeConfig,
    pid: i32,
) -> Result<(), RuntimeError> {
    let Some(runtime) = named(config, &container.spec.runtime)? else { return Ok(()) };
    let program =
        find(&runtime.path).ok_or_else(|| RuntimeError::NoSuchRuntime { name: runtime.path.clone() })?;
    let root = Root::Bind { path: format!("/proc/{pid}/root") };
    let ids = ids(&root, &plan.process.user, &plan.process.groups)?;
    let json = oci::process(&plan.process, &ids);
    let dir = crate::shim::Files::of(&config.exec_root, &container.id).path().to_owned();
    let failed = RuntimeError::io(format!("write a process in {}", dir.display()));
    let file = bundle::write_process(&dir, request.id.as_str(), &json).map_err(failed)?;
    plan.external = Some(external(program, &runtime, config, file));
    Ok(())
}

fn external(
    program: PathBuf,
    runtime: &ExternalRuntime,
    config: &RuntimeConfig,
    bundle: PathBuf,
) -> External {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    External {
        path: text(program),
        args: runtime.args.clone(),
        root: text(state_root(&config.exec_root, runtime)),
        bundle: text(bundle),
    }
}

/// Looks up users and groups in a root's own files.
fn ids(root: &Root, user: &str, groups: &[String]) -> Result<oci::Ids, RuntimeError> {
    let named = |what: &str| RuntimeError::io(what.to_owned());
    let open = |path: &str| {
        use rustix::fs::{Mode, OFlags};
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
    };
    let fd = match root {
        Root::Bind { path } => open(path).map_err(named("open a container's root"))?,
        Root::Overlay { lower, upper, .. } if lower.is_empty() => {
            open(upper).map_err(named("open a container's root"))?
        }
        Root::Overlay { lower, upper, work } | Root::Volatile { lower, upper, work } => {
            minke_linux::mount::overlay(lower, Some((upper, work)))
                .map_err(named("open a container's root"))?
        }
    };
    let user = minke_shim::user::resolve(fd.as_fd(), user, groups).map_err(RuntimeError::Invalid)?;
    let further = user.groups.iter().copied().filter(|gid| *gid != user.gid).collect();
    Ok(oci::Ids { uid: user.uid, gid: user.gid, groups: further, home: user.home })
}
