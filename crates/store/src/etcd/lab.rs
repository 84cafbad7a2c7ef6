//! Real etcds for tests. `script/test` fetches one; the first in PATH is used.

use super::{Admin, Endpoints};
use crate::{Clock, WallClock};
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// An etcd of its own, which goes with its owner: a shell ends it when our end of its standard input is closed, also by
/// the death of this process.
pub(crate) struct Server {
    shell: Child,
    pub(crate) client_url: String,
    pub(crate) peer_url: String,
    flags: Vec<String>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    pub(crate) fn prepare(name: &str) -> Server {
        let (client, peer) = (free_port(), free_port());
        let (client_url, peer_url) =
            (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut server =
            Server { shell: Command::new("true").spawn().unwrap(), client_url, peer_url, flags: Vec::new() };
        server.shell.wait().unwrap();
        let flags = [
            ("--name", name),
            ("--listen-client-urls", &server.client_url),
            ("--advertise-client-urls", &server.client_url),
            ("--listen-peer-urls", &server.peer_url),
            ("--initial-advertise-peer-urls", &server.peer_url),
            ("--logger", "zap"),
            ("--log-level", "error"),
        ];
        server.flags = flags.iter().flat_map(|(flag, value)| [flag.to_string(), value.to_string()]).collect();
        server
    }

    /// Lets clients in only by certificates.
    pub(crate) fn use_tls(&mut self, flags: &[(&str, &str)]) {
        let secure = self.client_url.replace("http:", "https:");
        self.flags
            .iter_mut()
            .filter(|flag| **flag == self.client_url)
            .for_each(|flag| flag.clone_from(&secure));
        self.flags.extend(flags.iter().flat_map(|(flag, value)| [flag.to_string(), value.to_string()]));
        self.client_url = secure;
    }

    pub(crate) fn start(&mut self, more: &[&str]) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("minke-etcd-{}-{number}", std::process::id()));
        let script = r#"d=$1; shift; "$@" --data-dir "$d" & cat >/dev/null; kill -9 $!; wait; rm -rf "$d""#;
        self.shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&directory)
            .arg("etcd")
            .args(&self.flags)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
    }

    /// Stops or continues the member itself, as SIGSTOP and SIGCONT do.
    pub(crate) fn signal(&self, name: &str) {
        let shell = self.shell.id();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let member = children.split_whitespace().next().unwrap();
        assert!(
            Command::new("sh").args(["-c", &format!("kill -{name} {member}")]).status().unwrap().success()
        );
    }

    /// As a power cut would: at once, and its disk too.
    pub(crate) fn kill(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until a member answers.
pub(crate) async fn up(endpoints: &Endpoints) {
    let admin = Admin::new(endpoints.clone());
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while admin.members().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "etcd does not start: is it installed?");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn endpoints(servers: &[Server]) -> Endpoints {
    Endpoints { urls: servers.iter().map(|server| server.client_url.clone()).collect(), tls: None }
}

/// The one etcd of this process.
pub(crate) async fn shared() -> Endpoints {
    static SERVER: OnceLock<Vec<Server>> = OnceLock::new();
    let servers = SERVER.get_or_init(|| {
        let mut server = Server::prepare("only");
        let cluster = format!("only={}", server.peer_url);
        server.start(&["--initial-cluster", &cluster]);
        vec![server]
    });
    let endpoints = endpoints(servers);
    up(&endpoints).await;
    endpoints
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(WallClock::new())
}

/// One etcd of its own.
pub(crate) async fn one() -> (Server, Endpoints) {
    let mut server = Server::prepare("only");
    let cluster = format!("only={}", server.peer_url);
    server.start(&["--initial-cluster", &cluster]);
    let endpoints = endpoints(std::slice::from_ref(&server));
    up(&endpoints).await;
    (server, endpoints)
}

/// Three members.
pub(crate) async fn three() -> (Vec<Server>, Endpoints) {
    let mut servers: Vec<_> = ["a", "b", "c"].map(Server::prepare).into();
    let names =
        ["a", "b", "c"].iter().zip(&servers).map(|(name, server)| format!("{name}={}", server.peer_url));
    let cluster = names.collect::<Vec<_>>().join(",");
    servers.iter_mut().for_each(|server| server.start(&["--initial-cluster", &cluster]));
    let endpoints = endpoints(&servers);
    up(&endpoints).await;
    (servers, endpoints)
}
