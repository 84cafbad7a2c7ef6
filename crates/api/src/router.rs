//! From a method and a path to an endpoint: docker's paths, in which names may hold slashes.
//!
//! A known path with another method is as unknown as any other, as in dockerd.

use crate::{query::decode, version::Version};
use http::Method;
use minke_model::go;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is the path beside it in `ROUTES`
pub(crate) enum Endpoint {
    Ping,
    Options,
    Version,
    Info,
    Events,
    DiskUsage,
    Space,
    Auth,
    ContainerList,
    ContainerCreate,
    ContainerInspect,
    ContainerTop,
    ContainerLogs,
    ContainerChanges,
    ContainerExport,
    ContainerStats,
    ContainerResize,
    ContainerStart,
    ContainerStop,
    ContainerRestart,
    ContainerKill,
    ContainerUpdate,
    ContainerRename,
    ContainerPause,
    ContainerUnpause,
    ContainerAttach,
    ContainerAttachWebsocket,
    ContainerWait,
    ContainerRemove,
    ContainerArchiveStat,
    ContainerArchiveGet,
    ContainerArchivePut,
    ContainerPrune,
    ContainerCheckpoint,
    ExecCreate,
    ExecStart,
    ExecResize,
    ExecInspect,
    ImageList,
    ImageCreate,
    ImageInspect,
    ImageHistory,
    ImagePush,
    ImageTag,
    ImageRemove,
    ImageSearch,
    ImagePrune,
    ImageVerify,
    ImageSave,
    ImageLoad,
    Commit,
    Build,
    BuildPrune,
    BuildCancel,
    Session,
    Grpc,
    Distribution,
    NetworkList,
    NetworkCreate,
    NetworkInspect,
    NetworkConnect,
    NetworkDisconnect,
    NetworkRemove,
    NetworkPrune,
    VolumeList,
    VolumeCreate,
    VolumeInspect,
    VolumeUpdate,
    VolumeRemove,
    VolumePrune,
    PluginList,
    Plugin,
    PluginChange,
    SwarmInit,
    SwarmJoin,
    SwarmLeave,
    SwarmInspect,
    SwarmUpdate,
    SwarmUnlock,
    SwarmUnlockKey,
    ClusterSpread,
    ClusterBackup,
    ClusterRestore,
    ServiceList,
    ServiceInspect,
    ServiceCreate,
    ServiceUpdate,
    ServiceRemove,
    ServiceLogs,
    NodeList,
    NodeInspect,
    NodeUpdate,
    NodeRemove,
    TaskList,
    TaskInspect,
    TaskLogs,
    SecretList,
    SecretInspect,
    SecretCreate,
    SecretUpdate,
    SecretRemove,
    ConfigList,
    ConfigInspect,
    ConfigCreate,
    ConfigUpdate,
    ConfigRemove,
}

use Endpoint::*;

/// Method, path, endpoint. `{}` is a name: anything, slashes too. The first that fits counts.
const ROUTES: &[(&str, &str, Endpoint)] = &[
    ("GET", "/_ping", Ping),
    ("HEAD", "/_ping", Ping),
    ("GET", "/version", Version),
    ("GET", "/info", Info),
    ("GET", "/events", Events),
    ("GET", "/system/df", DiskUsage),
    ("GET", "/system/space", Space),
    ("POST", "/auth", Auth),
    ("GET", "/containers/json", ContainerList),
    ("POST", "/containers/create", ContainerCreate),
    ("POST", "/containers/prune", ContainerPrune),
    ("GET", "/containers/{}/checkpoints", ContainerCheckpoint),
    ("POST", "/containers/{}/checkpoints", ContainerCheckpoint),
    ("HEAD", "/containers/{}/archive", ContainerArchiveStat),
    ("GET", "/containers/{}/archive", ContainerArchiveGet),
    ("PUT", "/containers/{}/archive", ContainerArchivePut),
    ("GET", "/containers/{}/export", ContainerExport),
    ("GET", "/containers/{}/changes", ContainerChanges),
    ("GET", "/containers/{}/json", ContainerInspect),
    ("GET", "/containers/{}/top", ContainerTop),
    ("GET", "/containers/{}/logs", ContainerLogs),
    ("GET", "/containers/{}/stats", ContainerStats),
    ("GET", "/containers/{}/attach/ws", ContainerAttachWebsocket),
    ("POST", "/containers/{}/attach", ContainerAttach),
    ("POST", "/containers/{}/kill", ContainerKill),
    ("POST", "/containers/{}/pause", ContainerPause),
    ("POST", "/containers/{}/unpause", ContainerUnpause),
    ("POST", "/containers/{}/restart", ContainerRestart),
    ("POST", "/containers/{}/start", ContainerStart),
    ("POST", "/containers/{}/stop", ContainerStop),
    ("POST", "/containers/{}/wait", ContainerWait),
    ("POST", "/containers/{}/resize", ContainerResize),
    ("POST", "/containers/{}/exec", ExecCreate),
    ("POST", "/containers/{}/rename", ContainerRename),
    ("POST", "/containers/{}/update", ContainerUpdate),
    ("DELETE", "/containers/{}", ContainerRemove),
    ("GET", "/exec/{}/json", ExecInspect),
    ("POST", "/exec/{}/start", ExecStart),
    ("POST", "/exec/{}/resize", ExecResize),
    ("POST", "/commit", Commit),
    ("GET", "/images/json", ImageList),
    ("GET", "/images/search", ImageSearch),
    ("GET", "/images/get", ImageSave),
    ("GET", "/images/{}/get", ImageSave),
    ("GET", "/images/{}/history", ImageHistory),
    ("GET", "/images/{}/json", ImageInspect),
    ("GET", "/images/{}/verify", ImageVerify),
    ("POST", "/images/load", ImageLoad),
    ("POST", "/images/create", ImageCreate),
    ("POST", "/images/prune", ImagePrune),
    ("POST", "/images/{}/push", ImagePush),
    ("POST", "/images/{}/tag", ImageTag),
    ("DELETE", "/images/{}", ImageRemove),
    ("POST", "/build", Build),
    ("POST", "/build/prune", BuildPrune),
    ("POST", "/build/cancel", BuildCancel),
    ("POST", "/session", Session),
    ("POST", "/grpc", Grpc),
    ("GET", "/distribution/{}/json", Distribution),
    ("GET", "/networks", NetworkList),
    ("GET", "/networks/", NetworkList),
    ("GET", "/networks/{}", NetworkInspect),
    ("POST", "/networks/create", NetworkCreate),
    ("POST", "/networks/prune", NetworkPrune),
    ("POST", "/networks/{}/connect", NetworkConnect),
    ("POST", "/networks/{}/disconnect", NetworkDisconnect),
    ("DELETE", "/networks/{}", NetworkRemove),
    ("GET", "/volumes", VolumeList),
    ("GET", "/volumes/{}", VolumeInspect),
    ("POST", "/volumes/create", VolumeCreate),
    ("POST", "/volumes/prune", VolumePrune),
    ("PUT", "/volumes/{}", VolumeUpdate),
    ("DELETE", "/volumes/{}", VolumeRemove),
    ("GET", "/plugins", PluginList),
    ("GET", "/plugins/privileges", PluginChange),
    ("GET", "/plugins/{}/json", Plugin),
    ("DELETE", "/plugins/{}", Plugin),
    ("POST", "/plugins/pull", PluginChange),
    ("POST", "/plugins/create", PluginChange),
    ("POST", "/plugins/{}/enable", Plugin),
    ("POST", "/plugins/{}/disable", Plugin),
    ("POST", "/plugins/{}/push", Plugin),
    ("POST", "/plugins/{}/upgrade", Plugin),
    ("POST", "/plugins/{}/set", Plugin),
    ("POST", "/swarm/init", SwarmInit),
    ("POST", "/swarm/join", SwarmJoin),
    ("POST", "/swarm/leave", SwarmLeave),
    ("GET", "/swarm", SwarmInspect),
    ("GET", "/swarm/unlockkey", SwarmUnlockKey),
    ("POST", "/swarm/update", SwarmUpdate),
    ("POST", "/swarm/unlock", SwarmUnlock),
    ("POST", "/minke/cluster/spread", ClusterSpread),
    ("GET", "/minke/cluster/backup", ClusterBackup),
    ("POST", "/minke/cluster/restore", ClusterRestore),
    ("GET", "/services", ServiceList),
    ("GET", "/services/{}/logs", ServiceLogs),
    ("GET", "/services/{}", ServiceInspect),
    ("POST", "/services/create", ServiceCreate),
    ("POST", "/services/{}/update", ServiceUpdate),
    ("DELETE", "/services/{}", ServiceRemove),
    ("GET", "/nodes", NodeList),
    ("GET", "/nodes/{}", NodeInspect),
    ("DELETE", "/nodes/{}", NodeRemove),
    ("POST", "/nodes/{}/update", NodeUpdate),
    ("GET", "/tasks", TaskList),
    ("GET", "/tasks/{}/logs", TaskLogs),
    ("GET", "/tasks/{}", TaskInspect),
    ("GET", "/secrets", SecretList),
    ("POST", "/secrets/create", SecretCreate),
    ("GET", "/secrets/{}", SecretInspect),
    ("DELETE", "/secrets/{}", SecretRemove),
    ("POST", "/secrets/{}/update", SecretUpdate),
    ("GET", "/configs", ConfigList),
    ("POST", "/configs/create", ConfigCreate),
    ("GET", "/configs/{}", ConfigInspect),
    ("DELETE", "/configs/{}", ConfigRemove),
    ("POST", "/configs/{}/update", ConfigUpdate),
];

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a handler.
    To {
        /// What it is for.
        endpoint: Endpoint,
        /// The name in its path; empty when the path has none.
        name: String,
        /// The version in its path; `None` is the newest.
        version: Option<Version>,
    },
    /// The client shall ask again there.
    Redirect(String),
    /// Nowhere.
    Unknown,
}

/// Finds where a request goes. `path` is as it came, percent-encoded.
pub(crate) fn route(method: &Method, path: &str) -> Route {
    let path = decode(path, false);
    let clean = clean(&path);
    if clean != path {
        return Route::Redirect(clean);
    }
    let (version, rest) = split_version(&path);
    if version.is_none() && path != rest {
        return Route::Unknown;
    }
    if method == Method::OPTIONS {
        return Route::To { endpoint: Options, name: String::new(), version };
    }
    for (verb, pattern, endpoint) in ROUTES {
        if method.as_str() == *verb
            && let Some(name) = matches(pattern, rest)
        {
            return Route::To { endpoint: *endpoint, name: name.to_owned(), version };
        }
    }
    Route::Unknown
}

/// The name in `path`, if it has the form of `pattern`.
fn matches<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    match pattern.split_once("{}") {
        None => (path == pattern).then_some(""),
        Some((before, after)) => path.strip_prefix(before)?.strip_suffix(after),
    }
}

/// `/v1.51/info` is `1.51` and `/info`; what is no version stays in the path.
fn split_version(path: &str) -> (Option<Version>, &str) {
    let Some(rest) = path.strip_prefix("/v") else { return (None, path) };
    let end = rest.find('/').unwrap_or(rest.len());
    match Version::parse(&rest[..end]) {
        Some(version) if end < rest.len() => (Some(version), &rest[end..]),
        _ => (None, path),
    }
}

/// Without doubled slashes and dots; a last slash stays.
fn clean(path: &str) -> String {
    if !path.contains("//") && !path.contains("/.") && path.starts_with('/') {
        return path.to_owned();
    }
    let mut cleaned = go::clean_rooted(path);
    if path.ends_with('/') && cleaned != "/" {
        cleaned.push('/');
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> (Option<Endpoint>, String, Option<String>) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        match route(&method, path) {
            Route::To { endpoint, name, version } => (Some(endpoint), name, version.map(|v| v.to_string())),
            Route::Redirect(to) => (None, to, None),
            Route::Unknown => (None, String::new(), None),
        }
    }

    #[test]
    fn names_may_hold_slashes() {
        assert_eq!(found("GET", "/images/a/b:1/json"), (Some(ImageInspect), "a/b:1".into(), None));
        assert_eq!(
            found("GET", "/v1.44/images/a%2Fb/history"),
            (Some(ImageHistory), "a/b".into(), Some("1.44".into()))
        );
        assert_eq!(found("DELETE", "/images/host:5000/a@sha256:00").1, "host:5000/a@sha256:00");
    }

    #[test]
    fn fixed_paths_come_before_names() {
        assert_eq!(found("GET", "/containers/json").0, Some(ContainerList));
        assert_eq!(found("GET", "/containers/json/json"), (Some(ContainerInspect), "json".into(), None));
        assert_eq!(found("POST", "/networks/create").0, Some(NetworkCreate));
        assert_eq!(found("GET", "/containers/x/attach/ws").0, Some(ContainerAttachWebsocket));
    }

    #[test]
    fn other_paths_and_methods_lead_nowhere() {
        for (method, path) in [
            ("GET", "/nothing"),
            ("POST", "/containers/json"),
            ("DELETE", "/version"),
            ("GET", "/version/"),
            ("GET", "/v1.2x/version"),
            ("PUT", "/_ping"),
            ("GET", "/v1.51"),
            ("PATCH", "/info"),
        ] {
            assert_eq!(found(method, path).0, None, "{method} {path}");
        }
    }

    #[test]
    fn odd_versions_are_versions() {
        assert_eq!(found("GET", "/v1.24.3/version").2, Some("1.24.3".into()));
        assert_eq!(found("OPTIONS", "/whatever").0, Some(Options));
    }

    #[test]
    fn doubled_slashes_are_redirected() {
        assert_eq!(found("GET", "//version"), (None, "/version".into(), None));
        assert_eq!(found("GET", "/containers//json"), (None, "/containers/json".into(), None));
        assert_eq!(found("GET", "/images/../info"), (None, "/info".into(), None));
    }
}
