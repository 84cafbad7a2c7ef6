//! From a frontend's attributes to a build's request (BuildKit `frontend/dockerui/config.go`, `context.go`). Pure.

use super::proto::control::CacheOptionsEntry;
use minke_engine::{
    build::{
        BuildRequest, PlanOptions,
        dockerfile::instruction::RunNetwork,
        plan::NoCache,
        request::{CacheRef, ContextFrom, DockerfileFrom, RunOptions},
    },
    platform,
};
use minke_model::go::{csv_fields, parse_bool, quote};
use std::collections::BTreeMap;
use tonic::Status;

/// Names of frontends that mean this one (a `gateway.v0` build names its image).
const OFFICIAL: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];
/// What a frontend may be asked to know.
const FRONTEND_CAPS: [&str; 4] = [
    "moby.buildkit.frontend.inputs",
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
    "moby.buildkit.frontend.gitquerystring",
];

/// A frontend's attributes, by name.
pub(crate) type Attributes = BTreeMap<String, String>;

/// A build, and which of the client's directories other sessions serve.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is asked.
    pub(crate) request: BuildRequest,
    /// Directories by name, and the session that serves each.
    pub(crate) elsewhere: BTreeMap<String, String>,
    /// What else than an image is wanted: `frontend.lint`.
    pub(crate) question: Option<String>,
}

/// Whether the frontend is this one.
pub(crate) fn check_frontend(frontend: &str, attributes: &Attributes) -> Result<(), Status> {
    match frontend {
        "dockerfile.v0" => Ok(()),
        "gateway.v0" => {
            let source = attributes.get("source").map_or("", String::as_str);
            let bare = source.strip_prefix("docker.io/").unwrap_or(source);
            let name = bare.split(['@', ':']).next().unwrap_or_default();
            match OFFICIAL.contains(&name) {
                true => Ok(()),
                false => Err(wrong(format!(
                    "the frontend {} is not run by this daemon: it builds Dockerfiles of docker/dockerfile:1 itself",
                    quote(source)
                ))),
            }
        }
        other => Err(wrong(format!("frontend {other} not found"))),
    }
}

fn wrong(what: impl std::fmt::Display) -> Status {
    Status::unknown(what.to_string())
}

/// What the attributes ask for. `allowed` are the entitlements that came with the build, `imports` its caches.
pub(crate) fn read(
    attributes: &Attributes,
    allowed: &[String],
    imports: &[CacheOptionsEntry],
) -> Result<Asked, Status> {
    let get = |name: &str| attributes.get(name).map_or("", String::as_str);
    let caps = get("frontend.caps").split(',').filter(|cap| !cap.is_empty());
    for cap in caps {
        let name = cap.strip_suffix("+forward").unwrap_or(cap);
        if !FRONTEND_CAPS.contains(&name) {
            return Err(wrong(format!("unsupported frontend capability {name}")));
        }
    }
    let filled = |name: &str| Some(get(name).to_owned()).filter(|value| !value.is_empty());
    let platforms = get("platform").split(',').filter(|p| !p.is_empty()).map(|p| platform::parse(p.trim()));
    let platforms: Vec<_> = platforms.collect::<Result<_, _>>().map_err(wrong)?;
    let question = attributes.get("requestid").cloned();
    let request = BuildRequest {
        dockerfile: dockerfile(attributes),
        context: context(attributes),
        options: options(attributes, allowed)?,
        multi_platform: multi_platform(attributes, platforms.len())?,
        platforms,
        pull: match get("image-resolve-mode") {
            "pull" => true,
            "" | "default" | "local" => false,
            other => return Err(wrong(format!("invalid image-resolve-mode: {other}"))),
        },
        run: run(attributes)?,
        cache_from: caches(attributes, imports)?,
        check_only: question.is_some(),
        ..BuildRequest::default()
    };
    let prefixed = attributes.iter().filter_map(|(k, v)| Some((k.strip_prefix("local-sessionid:")?, v)));
    let elsewhere = prefixed.map(|(name, session)| (name.to_owned(), session.clone())).collect();
    let question = question.or_else(|| filled("requestid"));
    Ok(Asked { request, elsewhere, question })
}

fn local(attributes: &Attributes, key: &str, name: &str) -> String {
    attributes.get(key).filter(|value| !value.is_empty()).map_or_else(|| name.to_owned(), Clone::clone)
}

fn context(attributes: &Attributes) -> ContextFrom {
    match attributes.get("context").filter(|context| !context.is_empty()) {
        // What a client uploads as a stream is a directory of the client's as well, by this name.
        Some(url) if url.starts_with(super::client::UPLOAD) => ContextFrom::Local(url.clone()),
        Some(url) => ContextFrom::Remote(url.clone()),
        None => ContextFrom::Local(local(attributes, "contextkey", "context")),
    }
}

fn dockerfile(attributes: &Attributes) -> DockerfileFrom {
    let file = local(attributes, "filename", "Dockerfile");
    // A context that comes from elsewhere has the Dockerfile, too, unless the client says that it has it.
    let elsewhere = attributes.get("context").is_some_and(|context| !context.is_empty());
    match elsewhere && !attributes.contains_key("dockerfilekey") {
        true => DockerfileFrom::Context { file },
        false => DockerfileFrom::Local { local: local(attributes, "dockerfilekey", "dockerfile"), file },
    }
}

fn multi_platform(attributes: &Attributes, platforms: usize) -> Result<bool, Status> {
    let asked = attributes.get("build-arg:BUILDKIT_MULTI_PLATFORM").filter(|value| !value.is_empty());
    let Some(text) = asked.or_else(|| attributes.get("multi-platform")).filter(|v| !v.is_empty()) else {
        return Ok(platforms > 1);
    };
    match parse_bool(text) {
        None => Err(wrong(format!("invalid boolean value for multi-platform: {text}"))),
        Some(false) if platforms > 1 => {
            Err(wrong("conflicting config: returning multiple target platforms is not allowed"))
        }
        Some(asked) => Ok(asked),
    }
}

fn options(attributes: &Attributes, allowed: &[String]) -> Result<PlanOptions, Status> {
    let below = |prefix: &str| {
        let named = attributes.iter().filter_map(|(k, v)| Some((k.strip_prefix(prefix)?, v)));
        named.map(|(name, value)| (name.to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    let no_cache = match attributes.get("no-cache").map(String::as_str) {
        None => NoCache::Nothing,
        Some("") => NoCache::All,
        Some(stages) => NoCache::Stages(stages.split(',').map(str::to_owned).collect()),
    };
    let network = match attributes.get("force-network-mode").map_or("", String::as_str) {
        "" | "sandbox" | "default" => RunNetwork::Default,
        "none" => RunNetwork::None,
        "host" => RunNetwork::Host,
        other => return Err(wrong(format!("invalid netmode {other}"))),
    };
    // What the daemon does not allow cannot be asked for (dockerd's default: the host's network, and nothing else).
    if allowed.iter().any(|name| name == "security.insecure") {
        return Err(wrong(
            "granting entitlement security.insecure is not allowed by build daemon configuration",
        ));
    }
    Ok(PlanOptions {
        target: attributes.get("target").filter(|target| !target.is_empty()).cloned(),
        build_args: below("build-arg:"),
        labels: below("label:"),
        no_cache,
        contexts: below("context:"),
        network,
        allow_host_network: allowed.iter().any(|name| name == "network.host"),
        ..PlanOptions::default()
    })
}

fn run(attributes: &Attributes) -> Result<RunOptions, Status> {
    let get = |name: &str| attributes.get(name).filter(|value| !value.is_empty());
    let number = |name: &str| -> Result<Option<i64>, Status> {
        let parsed = get(name).map(|text| text.parse::<i64>().map_err(|_| (text, name)));
        let wrong = |(text, name): (&String, &str)| {
            wrong(format!(
                "failed to parse {name}: strconv.ParseInt: parsing {}: invalid syntax",
                quote(text)
            ))
        };
        parsed.transpose().map_err(wrong)
    };
    let mut run = RunOptions {
        cgroup_parent: get("cgroup-parent").cloned(),
        hostname: get("build-arg:BUILDKIT_SANDBOX_HOSTNAME").or_else(|| get("hostname")).cloned(),
        shm_size: number("shm-size")?.and_then(|size| u64::try_from(size).ok()),
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: get("cpusetcpus").cloned().unwrap_or_default(),
        cpuset_mems: get("cpusetmems").cloned().unwrap_or_default(),
        ..RunOptions::default()
    };
    let fields = |name: &str| -> Result<Vec<String>, Status> {
        let read = get(name).map(|text| csv_fields(text)).transpose();
        Ok(read.map_err(|e| wrong(format!("failed to parse {name}: {e}")))?.unwrap_or_default())
    };
    for field in fields("add-hosts")? {
        let (host, address) =
            field.split_once('=').ok_or_else(|| wrong(format!("invalid key-value pair: {field}")))?;
        run.add_hosts.push((host.to_owned(), address.to_owned()));
    }
    for field in fields("ulimit")? {
        let limit = ulimit(&field).ok_or_else(|| wrong(format!("failed to parse ulimit: {field}")))?;
        run.ulimits.push(limit);
    }
    Ok(run)
}

/// `nofile=1024:2048`, where one number is both.
fn ulimit(text: &str) -> Option<(String, i64, i64)> {
    let (name, limits) = text.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Some((name.to_owned(), soft.parse().ok()?, hard.parse().ok()?))
}

/// Caches to look into: those of the request, the attribute's JSON, and the older attribute's names.
fn caches(attributes: &Attributes, imports: &[CacheOptionsEntry]) -> Result<Vec<CacheRef>, Status> {
    let mut entries = imports.to_vec();
    if let Some(json) = attributes.get("cache-imports").filter(|json| !json.is_empty()) {
        let more: Vec<CacheOptionsEntry> = serde_json::from_str(json)
            .map_err(|e| wrong(format!("failed to unmarshal cache-imports ({}): {e}", quote(json))))?;
        entries.extend(more);
    }
    for name in attributes.get("cache-from").into_iter().flat_map(|names| names.split(',')) {
        if !name.is_empty() {
            let attrs = BTreeMap::from([("ref".to_owned(), name.to_owned())]);
            entries.push(CacheOptionsEntry { kind: "registry".into(), attrs });
        }
    }
    let mut caches: Vec<CacheRef> = Vec::new();
    for entry in entries {
        let cache = CacheRef { kind: entry.kind, attributes: entry.attrs };
        // Clients send them both in the request and as an attribute.
        if !caches.contains(&cache) {
            caches.push(cache);
        }
    }
    Ok(caches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn asked(pairs: &[(&str, &str)]) -> Asked {
        read(&attributes(pairs), &[], &[]).unwrap()
    }

    #[test]
    fn what_buildx_sends_is_understood() {
        let asked = asked(&[
            ("filename", "Dockerfile.dev"),
            ("build-arg:A", "1"),
            ("label:l", "v"),
            ("target", "t"),
            ("no-cache", "a,b"),
            ("platform", "linux/amd64"),
            ("image-resolve-mode", "pull"),
            ("add-hosts", "a=10.0.0.1,\"b=::1\""),
            ("ulimit", "nofile=1:2,core=0"),
            ("shm-size", "1024"),
            ("force-network-mode", "none"),
            ("context:x", "docker-image://alpine"),
            ("local-sessionid:context", "s1"),
            ("vcs:source", "ignored"),
        ]);
        let request = asked.request;
        assert_eq!(request.options.build_args["A"], "1");
        assert_eq!(request.options.labels["l"], "v");
        assert_eq!(request.options.target.as_deref(), Some("t"));
        assert_eq!(request.options.no_cache, NoCache::Stages(vec!["a".into(), "b".into()]));
        assert_eq!(request.options.network, RunNetwork::None);
        assert_eq!(request.options.contexts["x"], "docker-image://alpine");
        assert_eq!(request.platforms.len(), 1);
        assert!(request.pull && !request.multi_platform && !request.check_only);
        let hosts = [("a".to_owned(), "10.0.0.1".to_owned()), ("b".to_owned(), "::1".to_owned())];
        assert_eq!(request.run.add_hosts, hosts);
        assert_eq!(request.run.ulimits, [("nofile".into(), 1, 2), ("core".into(), 0, 0)]);
        assert_eq!(request.run.shm_size, Some(1024));
        assert_eq!(asked.elsewhere["context"], "s1");
        assert!(matches!(request.context, ContextFrom::Local(name) if name == "context"));
        assert!(matches!(request.dockerfile,
            DockerfileFrom::Local { local, file } if local == "dockerfile" && file == "Dockerfile.dev"));
    }

    #[test]
    fn a_context_from_elsewhere_has_its_dockerfile_unless_the_client_has_it() {
        let remote = asked(&[("context", "https://host/repo.git")]).request;
        assert!(matches!(remote.context, ContextFrom::Remote(_)));
        assert!(matches!(remote.dockerfile, DockerfileFrom::Context { file } if file == "Dockerfile"));
        let own = asked(&[("context", "https://host/repo.git"), ("dockerfilekey", "dockerfile")]).request;
        assert!(matches!(own.dockerfile, DockerfileFrom::Local { .. }));
        let upload = asked(&[("context", "http://buildkit-session/x")]).request;
        assert!(matches!(upload.context, ContextFrom::Local(_)));
    }

    #[test]
    fn what_cannot_be_is_refused_in_buildkits_words() {
        let refused = |pairs: &[(&str, &str)]| {
            read(&attributes(pairs), &[], &[]).map(drop).map_err(|e| e.message().to_owned())
        };
        assert_eq!(refused(&[("frontend.caps", "moby.buildkit.frontend.contexts+forward")]), Ok(()));
        assert_eq!(refused(&[("frontend.caps", "x")]), Err("unsupported frontend capability x".into()));
        assert_eq!(refused(&[("force-network-mode", "x")]), Err("invalid netmode x".into()));
        let insecure = read(&Attributes::new(), &["security.insecure".into()], &[]);
        assert!(insecure.is_err_and(|e| e.message().contains("security.insecure is not allowed")));
    }

    #[test]
    fn caches_count_once() {
        let json = r#"[{"Type":"registry","Attrs":{"ref":"r/c"}},{"Type":"local","Attrs":{"src":"d"}}]"#;
        let request = asked(&[("cache-imports", json), ("cache-from", "r/c")]).request;
        assert_eq!(request.cache_from.len(), 2);
    }
}
