//! `minke daemon`, also called as `dockerd`: builds every room from its configuration, serves, and waits for the end.
//!
//! SIGTERM and SIGINT end the daemon, not the containers (unless asked); SIGHUP reads the configuration file again.

mod file;
mod flags;
mod listen;
mod settings;
mod systemd;

pub(crate) use settings::Persona;

use crate::{
    cli::{flag::Flags, help, parse},
    cluster::{Membership, Setup},
    executor::{About, Hands},
};
use flags::Given;
use listen::Listening;
use minke_api::{Listener, Server, ServerOptions, VersionInfo};
use minke_engine::Engine;
use settings::Settings;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Connections get so long to end when the daemon does.
const GOODBYE: Duration = Duration::from_secs(2);

/// Runs the daemon to its end.
pub(crate) fn main(persona: Persona, words: &[String]) -> ExitCode {
    let given = match read_flags(words) {
        Ok(Some(given)) => given,
        Ok(None) => return ExitCode::SUCCESS,
        Err(text) => return failed(&text),
    };
    let settings = match configure(given, words, persona) {
        Ok(Some(settings)) => settings,
        Ok(None) => return ExitCode::SUCCESS,
        Err(text) => return failed(&text),
    };
    log_to_stderr(&settings.log_level);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    minke_linux::allocator::give_back_at_once();
    raise_descriptors();
    adjust_oom_score(settings.oom_score_adjust);
    let workers = std::thread::available_parallelism().map_or(1, Into::into).min(4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_stack_size(1 << 20)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return failed(&format!("cannot start threads: {e}")),
    };
    let served = runtime.block_on(serve(settings, words.to_vec(), persona));
    // What still blocks must not hold the end up.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => failed(&text),
    }
}

fn failed(text: &str) -> ExitCode {
    eprintln!("failed to start daemon: {text}");
    ExitCode::FAILURE
}

/// The flags; `None` when help or the version was all that was asked for.
fn read_flags(words: &[String]) -> Result<Option<Given>, String> {
    match parse::parse::<Given>(words, true) {
        Ok(parsed) if parsed.flags.flags.version => {
            println!("{}", crate::commands::system::version::line());
            Ok(None)
        }
        Ok(parsed) => match parsed.args.first() {
            Some(extra) => Err(format!("unexpected argument {extra:?}: the daemon takes flags only")),
            None => Ok(Some(parsed.flags)),
        },
        Err(parse::Wrong::Help | parse::Wrong::ShortHelp) => {
            print!(
                "Usage:  minke daemon [OPTIONS]\n\nThe daemon of this machine's containers.\n\nOptions:\n{}",
                help::flags(Given::FLAGS, help::width())
            );
            Ok(None)
        }
        Err(parse::Wrong::Sentence(text)) => Err(text),
    }
}

/// Flags and file together; `None` when only a check was asked for.
fn configure(mut given: Given, _words: &[String], persona: Persona) -> Result<Option<Settings>, String> {
    let named = given.flags.config_file.clone();
    let path = named.clone().unwrap_or_else(|| persona.config_file().to_owned());
    file::read(Path::new(&path), named.is_none(), &mut given)?;
    let validate = given.flags.validate;
    let settings = settings::settle(&given, persona)?;
    if validate {
        println!("configuration OK");
        return Ok(None);
    }
    Ok(Some(settings))
}

fn log_to_stderr(level: &str) {
    let level = match level {
        "trace" => "trace",
        "debug" => "debug",
        "warn" => "warn",
        "error" | "fatal" | "panic" => "error",
        _ => "info",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("{level},hyper=warn,h2=warn,rustls=warn"));
    // A second subscriber is refused: then one is there already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(rustix::termios::isatty(io::stderr()))
        .with_target(false)
        .try_init();
}

/// As many descriptors as the machine allows: each container holds some.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
    if now.current != now.maximum
        && let Err(e) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!("the limit of open files stays at {:?}: {e}", now.current);
    }
}

fn adjust_oom_score(score: i64) {
    if score != 0
        && let Err(e) = fs::write("/proc/self/oom_score_adj", score.to_string())
    {
        tracing::warn!("oom_score_adj of the daemon stays as it is: {e}");
    }
}

async fn serve(settings: Settings, words: Vec<String>, persona: Persona) -> Result<(), String> {
    let exec_root = settings.engine.exec_root.clone();
    fs::create_dir_all(&exec_root).map_err(|e| format!("cannot make {}: {e}", exec_root.display()))?;
    let _pidfile = settings.pidfile.as_deref().map(PidFile::write).transpose()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
    let mut listening = Vec::new();
    for host in &settings.hosts {
        listening.extend(listen::open(
            host,
            &settings.group,
            settings.tls.as_ref().is_some_and(|t| t.verify),
        )?);
    }
    let sockets: Vec<PathBuf> = listening.iter().filter_map(Listening::path).collect();
    let tls = match &settings.tls {
        Some(files) => {
            let (certificate, key, authority) = read_tls(files)?;
            Some(
                minke_api::tls::server_config(&certificate, &key, authority.as_deref())
                    .map_err(|e| e.to_string())?,
            )
        }
        None => None,
    };
    let directory = settings.engine.data_root.join("cluster");
    let about = About { hostname: settings.node_name, generic: Vec::new() };
    let engine = Engine::open(settings.engine).await.map_err(|e| e.to_string())?;
    let membership = Membership::open(Setup {
        directory,
        machine: engine.clone(),
        executor: Arc::new(Hands::new(engine.clone(), exec_root.clone(), about)),
        default_advertise: settings.default_advertise,
        etcd_binary: settings.etcd_binary,
    })
    .await;
    let options = ServerOptions { version: version() };
    let server = Server::new(Arc::new(engine.clone()), options, Arc::new(membership.clone()));
    let (stop, stopped) = watch::channel(false);
    let mut serving = tokio::task::JoinSet::new();
    for socket in listening {
        let listener = match (socket, &tls) {
            (Listening::Unix { listener, .. }, _) => {
                tokio::net::UnixListener::from_std(listener).map(Listener::Unix)
            }
            (Listening::Tcp(listener), Some(tls)) => {
                tokio::net::TcpListener::from_std(listener).map(|l| Listener::Tls(l, tls.clone()))
            }
            (Listening::Tcp(listener), None) => {
                tokio::net::TcpListener::from_std(listener).map(Listener::Tcp)
            }
        };
        let listener = listener.map_err(|e| format!("cannot serve a socket: {e}"))?;
        let (server, mut stopped) = (server.clone(), stopped.clone());
        serving.spawn(async move {
            // An error is the sender's end: then all ends.
            server.serve(listener, async move { drop(stopped.wait_for(|stop| *stop).await) }).await
        });
    }
    eprintln!("minke {} is ready: API listen on {}", env!("CARGO_PKG_VERSION"), settings.hosts.join(", "));
    systemd::notify("READY=1");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                systemd::notify("RELOADING=1");
                reload(&engine, &words, persona);
                systemd::notify("READY=1");
            }
        }
    }
    systemd::notify("STOPPING=1");
    tracing::info!(
        "the daemon goes down{}",
        if settings.stop_containers { " and its containers with it" } else { "; containers run on" }
    );
    membership.close().await;
    engine.close(settings.stop_containers, settings.shutdown_timeout).await;
    // Nobody waits for this any more when all servers have ended.
    let _ = stop.send(true);
    let _ = tokio::time::timeout(GOODBYE, serving.join_all()).await;
    for socket in sockets {
        let _ = fs::remove_file(socket);
    }
    Ok(())
}

/// What this binary knows of itself.
fn version() -> VersionInfo {
    VersionInfo {
        minke: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("MINKE_COMMIT").unwrap_or_default().into(),
        built: option_env!("MINKE_BUILT").unwrap_or_default().into(),
    }
}

/// The files of `--tls…`: certificate, key and, to verify clients, the CA's certificate.
fn read_tls(files: &settings::TlsFiles) -> Result<(Vec<u8>, Vec<u8>, Option<Vec<u8>>), String> {
    let read = |path: &Path| fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let authority = files.ca.as_deref().filter(|_| files.verify).map(read).transpose()?;
    Ok((read(&files.cert)?, read(&files.key)?, authority))
}

/// SIGHUP: what can change while running does; a broken file changes nothing.
fn reload(engine: &Engine, words: &[String], persona: Persona) {
    let read =
        read_flags(words).and_then(|given| given.map_or(Ok(None), |given| configure(given, words, persona)));
    match read {
        Ok(Some(settings)) => {
            let proxies = settings.engine.registries.options().proxies.clone();
            engine.reload(settings.engine);
            let [http_proxy, https_proxy] =
                [&proxies.http, &proxies.https].map(|url| minke_engine::registry::without_login(url));
            tracing::info!(http_proxy, https_proxy, no_proxy = proxies.no, "Reloaded configuration");
        }
        Ok(None) => {}
        Err(e) => tracing::error!("the configuration stays as it was: {e}"),
    }
}

/// The file with our process id; gone when we are.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Result<Self, String> {
        let of_other = fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u32>().ok());
        let alive = |pid: u32| pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists();
        if let Some(pid) = of_other.filter(|pid| alive(*pid)) {
            return Err(format!(
                "process with PID {pid} is still running; the pid file is {}",
                path.display()
            ));
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|e| format!("cannot make {}: {e}", directory.display()))?;
        }
        fs::write(path, std::process::id().to_string())
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}
