//! A daemon's runtime of its own, and containers from a tiny root: everything is gone when it drops.

#![allow(dead_code)] // Each test file uses its part.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use minke_model::{Container, ContainerId, ContainerSpec, ContainerStatus, ExecId, Timestamp};
use minke_runtime::{
    AttachStreams, CreateRequest, ExecRequest, Exit, LogTarget, NetworkFiles, Process, Rootfs, Runtime,
    RuntimeConfig, RuntimeError,
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// The shim's program, built once a run.
fn shim() -> String {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let done = Command::new(env!("CARGO"))
            .args(["build", "-q", "-p", "minke-shim", "--bin", "minke-shim"])
            .status()
            .unwrap();
        assert!(done.success());
        let exe = std::env::current_exe().unwrap();
        exe.ancestors().nth(2).unwrap().join("minke-shim").to_str().unwrap().to_owned()
    })
    .clone()
}

/// Whether real containers can be made here.
pub(crate) fn can_run() -> bool {
    let good = rustix::process::geteuid().is_root() && Path::new("/bin/busybox").exists();
    if !good {
        eprintln!("skipped: needs root and /bin/busybox (busybox-static)");
    }
    good
}

/// A runtime with its own roots and cgroups.
pub(crate) struct House {
    pub(crate) root: PathBuf,
    pub(crate) runtime: Option<Runtime>,
    pub(crate) daemon_id: String,
}

/// Numbers a test's houses.
static HOUSES: AtomicU32 = AtomicU32::new(0);

impl House {
    pub(crate) fn new() -> House {
        let n = HOUSES.fetch_add(1, Ordering::Relaxed);
        let daemon_id = format!("{:04x}{n:04x}", std::process::id() & 0xffff);
        let root = std::env::temp_dir().join(format!("minke-runtime-{daemon_id}"));
        fs::create_dir_all(&root).unwrap();
        let mut house = House { root, runtime: None, daemon_id };
        house.layer();
        house.open();
        house
    }

    /// The config that a daemon with this house has.
    pub(crate) fn config(&self) -> RuntimeConfig {
        RuntimeConfig {
            exec_root: self.root.join("exec"),
            data_root: self.root.join("data"),
            daemon_id: self.daemon_id.clone(),
            shim: vec![shim()],
            ..Default::default()
        }
    }

    pub(crate) fn open(&mut self) {
        self.runtime = Some(open(&self.config()));
    }

    /// The daemon is gone, as after kill -9: nothing is told to anyone.
    pub(crate) fn crash(&mut self) {
        self.runtime = None;
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// A busybox root.
    fn layer(&self) {
        let layer = self.root.join("layer");
        for dir in ["bin", "etc", "dev", "proc", "sys", "tmp", "root", "home/web"] {
            fs::create_dir_all(layer.join(dir)).unwrap();
        }
        fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|a| *a != "busybox") {
            symlink("busybox", layer.join("bin").join(applet)).unwrap();
        }
        fs::write(
            layer.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/home/web:/bin/sh\n",
        )
        .unwrap();
        fs::write(layer.join("etc/group"), "root:x:0:\nweb:x:34:\nlogs:x:40:web\n").unwrap();
        for file in ["hostname", "hosts", "resolv.conf"] {
            fs::write(self.root.join(file), format!("{file}\n")).unwrap();
        }
    }

    /// A request for a container that runs `args`.
    pub(crate) fn request(&self, args: &[&str]) -> CreateRequest {
        let id = ContainerId::random();
        let state = self.root.join(id.short());
        for dir in ["upper", "work"] {
            fs::create_dir_all(state.join(dir)).unwrap();
        }
        CreateRequest {
            container: Arc::new(container(id, args)),
            rootfs: Rootfs {
                lower: vec![self.root.join("layer")],
                upper: state.join("upper"),
                work: state.join("work"),
                volatile: false,
            },
            files: Some(NetworkFiles {
                hostname: self.root.join("hostname"),
                hosts: self.root.join("hosts"),
                resolv_conf: self.root.join("resolv.conf"),
            }),
            mounts: Vec::new(),
            shm: None,
            join: Default::default(),
            log: LogTarget { driver: "json-file".into(), path: state.join("log"), ..Default::default() },
            extra_env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            stdin: false,
            init: false,
        }
    }

    /// Runs a request to its end: how it ended, its output and errors.
    pub(crate) async fn run(&self, request: CreateRequest) -> Ran {
        let id = request.container.id.clone();
        let tty = request.container.spec.process.tty;
        let process = self.runtime().create(request).await.unwrap();
        let stream = process.attach(OUT).await.unwrap();
        if let Err(e) = process.go().await {
            panic!("{e}");
        }
        let (out, err) = if tty { (read_all(stream).await, String::new()) } else { split(stream).await };
        let exit = process.wait().await;
        self.runtime().forget(&id).await.unwrap();
        Ran { exit, out, err }
    }

    /// The words of a start that must fail: before *go*, when that is how far it got, or at it.
    pub(crate) async fn refused(&self, request: CreateRequest) -> String {
        let id = request.container.id.clone();
        let error = match self.runtime().create(request).await {
            Ok(process) => process.go().await.unwrap_err(),
            Err(error) => error,
        };
        self.runtime().forget(&id).await.unwrap();
        assert!(matches!(error, minke_runtime::RuntimeError::Start(_)), "{error}");
        error.to_string()
    }

    /// Runs a shell line.
    pub(crate) async fn sh(&self, line: &str) -> Ran {
        self.run(self.request(&["sh", "-c", line])).await
    }

    /// The lines of a container's log: text and stream.
    pub(crate) fn log(&self, id: &ContainerId) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.root.join(id.short()).join("log")).unwrap();
        let field = |v: &serde_json::Value, name: &str| v[name].as_str().unwrap().to_owned();
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .map(|v| (field(&v, "log"), field(&v, "stream")))
            .collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.runtime = None;
        let config = self.config();
        // A daemon of its own takes all away: the old one's connections belong to a tokio that no longer turns.
        let swept = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio.block_on(async {
                let runtime = open(&config);
                for id in runtime.containers() {
                    let _ = runtime.forget(&id).await;
                }
            });
        });
        let swept = swept.join();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(format!("minke-{}", self.daemon_id)));
        }
        let _ = fs::remove_dir_all(&self.root);
        if !std::thread::panicking() {
            swept.unwrap();
        }
    }
}

/// Opens a runtime in place of one that was dropped: a spawn in flight on another thread holds a copy of its lock until
/// its exec.
pub(crate) fn open(config: &RuntimeConfig) -> Runtime {
    let mut opened = Runtime::open(config.clone());
    soon("the lock to be free", || {
        if matches!(opened, Err(RuntimeError::InUse { .. })) {
            opened = Runtime::open(config.clone());
        }
        !matches!(opened, Err(RuntimeError::InUse { .. }))
    });
    opened.unwrap()
}

/// What must happen has happened by then, however loaded the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what only looking can tell.
pub(crate) fn soon(what: &str, mut see: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !see() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a file in the container of a process, as one of its own would.
pub(crate) fn touch(pid: i32, path: &str) {
    fs::write(format!("/proc/{pid}/root/{path}"), "").unwrap();
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) const OUT: AttachStreams = AttachStreams { stdin: false, stdout: true, stderr: true };
pub(crate) const ALL: AttachStreams = AttachStreams { stdin: true, stdout: true, stderr: true };

/// All bytes to the end.
pub(crate) async fn read_all(mut stream: UnixStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All frames to the end: output and errors.
pub(crate) async fn split(mut stream: UnixStream) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some((kind, body)) = frame(&mut stream).await {
        match kind {
            1 => out.extend(body),
            2 => err.extend(body),
            other => panic!("stream {other}"),
        }
    }
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
}

/// The next frame.
pub(crate) async fn frame(stream: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0u8; 8];
    stream.read_exact(&mut head).await.ok()?;
    let mut body = vec![0; u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize];
    stream.read_exact(&mut body).await.unwrap();
    Some((head[0], body))
}

/// Reads raw bytes until `text` came.
pub(crate) async fn until(stream: &mut UnixStream, text: &str) -> String {
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(text) {
        let mut byte = [0u8; 256];
        match stream.read(&mut byte).await.unwrap() {
            0 => panic!("ended before {text:?}: {:?}", String::from_utf8_lossy(&got)),
            n => got.extend_from_slice(&byte[..n]),
        }
    }
    String::from_utf8_lossy(&got).into_owned()
}

pub(crate) async fn say(stream: &mut UnixStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Changes a request's record.
pub(crate) fn change(request: &mut CreateRequest, how: impl FnOnce(&mut Container)) {
    how(Arc::get_mut(&mut request.container).unwrap());
}

/// A request for an exec.
pub(crate) fn exec(args: &[&str]) -> ExecRequest {
    ExecRequest {
        id: ExecId::random(),
        args: args.iter().map(|a| a.to_string()).collect(),
        env: Vec::new(),
        cwd: String::new(),
        user: String::new(),
        tty: false,
        privileged: false,
        size: None,
        streams: Some(OUT),
    }
}

/// Runs an exec to its end: code, output, errors.
pub(crate) async fn exec_run(process: &Process, request: ExecRequest) -> (i32, String, String) {
    let id = request.id.clone();
    let exec = process.exec(request).await.unwrap();
    let (out, err) = split(exec.stream.unwrap()).await;
    (process.exec_wait(&id).await.unwrap(), out, err)
}

fn container(id: ContainerId, args: &[&str]) -> Container {
    Container {
        id,
        name: "test".into(),
        created: Timestamp::zero(),
        image_id: None,
        args: args.iter().map(|a| a.to_string()).collect(),
        spec: ContainerSpec::of("busybox"),
        mounts: Vec::new(),
        status: ContainerStatus::created(),
    }
}
