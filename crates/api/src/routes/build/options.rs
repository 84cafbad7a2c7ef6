//! The parameters of `POST /build`, as dockerd reads them (moby `api/server/router/build`).

use crate::{
    error::{ApiError, Result},
    query::Query,
};
use minke_engine::{
    Reference,
    build::{
        PlanOptions,
        dockerfile::instruction::{Pairs, RunNetwork},
        plan::NoCache,
        request::{BuildRequest, ContextFrom, DockerfileFrom, RunOptions},
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// What a build is asked for.
#[derive(Debug)]
pub(super) struct Options {
    /// `Dockerfile`, as it was named.
    pub(super) dockerfile: String,
    /// Names for the result.
    pub(super) tags: Vec<Reference>,
    /// Only the image's id is told.
    pub(super) quiet: bool,
    /// Where the context is, if not in the body.
    pub(super) remote: String,
    /// Images whose steps may be used again: with any, no others.
    pub(super) cache_from: Vec<String>,
    /// Names of all build arguments, also those without a value.
    pub(super) given: Vec<String>,
    /// By which it can be cancelled.
    pub(super) build_id: String,
    /// By BuildKit (`version=2`).
    pub(super) buildkit: bool,
    /// A BuildKit client's session.
    pub(super) session: String,
    /// What becomes of the result; none is an image here.
    pub(super) outputs: Vec<Output>,
    /// What is built.
    pub(super) request: BuildRequest,
}

/// An exporter of BuildKit's, as clients write it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Output {
    /// `local`, `tar`…
    #[serde(rename = "Type", default)]
    pub(super) kind: String,
    /// `dest`…
    #[serde(rename = "Attrs", default)]
    pub(super) attributes: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Ulimit {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Soft", default)]
    soft: i64,
    #[serde(rename = "Hard", default)]
    hard: i64,
}

/// A parameter in JSON; nothing where it is empty.
fn json<T: DeserializeOwned>(query: &Query, name: &str, doing: &str) -> Result<Option<T>> {
    match query.get(name) {
        "" => Ok(None),
        text => serde_json::from_str(text).map_err(|e| ApiError::invalid(format!("{doing}: {e}"))),
    }
}

impl Options {
    /// Of a request's query.
    pub(super) fn read(query: &Query) -> Result<Self> {
        if query.has("securityopt") {
            return Err(ApiError::invalid("security options are not supported on linux"));
        }
        let buildkit = match query.get("version") {
            "" | "1" => false,
            "2" => true,
            other => return Err(ApiError::invalid(format!("invalid version {other:?}"))),
        };
        match query.get("isolation").to_ascii_lowercase().as_str() {
            "" | "default" => {}
            other => return Err(ApiError::invalid(format!("unsupported isolation: {other:?}"))),
        }
        if query.flag("squash") {
            return Err(ApiError::invalid("squash is only supported with experimental mode"));
        }
        let arguments: BTreeMap<String, Option<String>> =
            json(query, "buildargs", "error reading build args")?.unwrap_or_default();
        let labels: Pairs = json(query, "labels", "error reading labels")?.unwrap_or_default();
        let cache_from: Vec<String> =
            json(query, "cachefrom", "error reading cache-from")?.unwrap_or_default();
        let outputs: Option<Vec<Output>> = json(query, "outputs", "invalid outputs specified")?;
        let ulimits: Option<Vec<Ulimit>> = json(query, "ulimits", "error reading ulimit settings")?;
        let platforms = super::super::platform_of(query.get("platform"))?.into_iter().collect();
        let (network, named) = match query.get("networkmode") {
            "" | "default" | "bridge" => (RunNetwork::Default, None),
            "none" => (RunNetwork::None, None),
            "host" => (RunNetwork::Host, None),
            other => (RunNetwork::Default, Some(other.to_owned())),
        };
        let number = |name: &str| query.get(name).parse::<i64>().ok().filter(|n| *n != 0);
        let shm_size = match query.get("shmsize") {
            "" => None,
            _ => query.number("shmsize")?.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0),
        };
        let ulimit = |u: Ulimit| (u.name, u.soft, u.hard);
        let run = RunOptions {
            add_hosts: query.all("extrahosts").iter().map(|text| host(text)).collect::<Result<_>>()?,
            ulimits: ulimits.unwrap_or_default().into_iter().map(ulimit).collect(),
            shm_size,
            cgroup_parent: query.filled("cgroupparent"),
            hostname: None,
            memory: number("memory"),
            memory_swap: number("memswap"),
            cpu_shares: number("cpushares"),
            cpuset_cpus: query.get("cpusetcpus").to_owned(),
            cpuset_mems: query.get("cpusetmems").to_owned(),
            cpu_period: number("cpuperiod"),
            cpu_quota: number("cpuquota"),
            network: named,
        };
        let dockerfile = query.filled("dockerfile").unwrap_or_else(|| "Dockerfile".into());
        let remote = query.get("remote").to_owned();
        let options = PlanOptions {
            target: query.filled("target"),
            build_args: arguments.iter().filter_map(|(n, v)| Some((n.clone(), v.clone()?))).collect(),
            labels,
            no_cache: if query.flag("nocache") { NoCache::All } else { NoCache::Nothing },
            network,
            // dockerd's classic builder asks for no entitlement.
            allow_host_network: true,
            ..PlanOptions::default()
        };
        let request = BuildRequest {
            dockerfile: DockerfileFrom::Local { local: "context".into(), file: dockerfile.clone() },
            context: ContextFrom::Local("context".into()),
            options,
            platforms,
            pull: query.flag("pull"),
            run,
            ..BuildRequest::default()
        };
        Ok(Self {
            dockerfile,
            tags: tags(&query.all("t"))?,
            quiet: query.flag("q"),
            remote,
            cache_from,
            given: arguments.into_keys().collect(),
            build_id: query.get("buildid").to_owned(),
            buildkit,
            session: query.get("session").to_owned(),
            outputs: outputs.unwrap_or_default(),
            request,
        })
    }
}

/// Names with tags, each once (moby `api/server/backend/build/tag.go`).
fn tags(all: &[String]) -> Result<Vec<Reference>> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in all.iter().filter(|text| !text.is_empty()) {
        let reference = Reference::parse(text).map_err(|e| ApiError::invalid(e.to_string()))?;
        if reference.digest().is_some() {
            return Err(ApiError::invalid("build tag cannot contain a digest"));
        }
        let reference = reference.or_latest();
        if !tags.contains(&reference) {
            tags.push(reference);
        }
    }
    Ok(tags)
}

/// `name:address`, or `name=address`.
fn host(text: &str) -> Result<(String, String)> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    match split {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            Ok((name.to_owned(), address.to_owned()))
        }
        _ => Err(ApiError::invalid(format!("bad format for add-host: {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_a_request() {
        let query = Query::parse(
            "t=a&t=a:latest&t=r:5000/b:v1&buildargs={\"A\":\"1\",\"B\":null}&labels={\"l\":\"v\"}&nocache=1&networkmode=none\
             &extrahosts=h:10.0.0.1&extrahosts=six=::1&shmsize=1048576&memory=64&target=x&platform=linux/arm64",
        );
        let options = Options::read(&query).unwrap();
        let tags: Vec<String> = options.tags.iter().map(Reference::familiar).collect();
        assert_eq!(tags, ["a:latest", "r:5000/b:v1"]);
        let request = &options.request;
        assert_eq!(request.options.build_args, Pairs::from([("A".into(), "1".into())]));
        assert_eq!(options.given, ["A", "B"]);
        assert_eq!(request.options.no_cache, NoCache::All);
        assert_eq!(request.options.network, RunNetwork::None);
        let hosts = [("h".to_owned(), "10.0.0.1".to_owned()), ("six".to_owned(), "::1".to_owned())];
        assert_eq!(request.run.add_hosts, hosts);
        assert_eq!((request.run.shm_size, request.run.memory), (Some(1 << 20), Some(64)));
        assert_eq!(request.platforms[0].architecture, "arm64");
    }

    #[test]
    fn what_is_wrong_is_refused_in_dockerd_s_words() {
        let refused = |text: &str| Options::read(&Query::parse(text)).unwrap_err().message;
        assert_eq!(refused("version=3"), "invalid version \"3\"");
        assert_eq!(refused("squash=1"), "squash is only supported with experimental mode");
        assert!(refused("buildargs=x").starts_with("error reading build args: "));
        assert!(refused("t=UP").starts_with("invalid reference format"));
    }
}
