//! Who builds here, and what it can: what clients ask before they ask for anything else.

use super::proto::{
    control::{BuildkitVersion, GcPolicy, WorkerRecord},
    gateway::Cap,
    solver::Platform,
};
use minke_engine::Engine;
use std::collections::BTreeMap;

/// The BuildKit whose behaviour this follows: the one in dockerd 28.5.2 (its `vendor.mod`).
const VERSION: &str = "v0.25.2";

/// What a gateway build may ask for (BuildKit `frontend/gateway/pb/caps.go`).
const FRONTEND_CAPS: [&str; 18] = [
    "solve.base",
    "solve.inlinereturn",
    "resolveimage",
    "resolveimage.resolvemode",
    "readfile",
    "return",
    "returnmap",
    "readdir",
    "statfile",
    "importcaches",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "gateway.solve.metadata",
    "frontend.caps",
    "gateway.solve.evaluate",
    "gateway.evaluate",
    "gateway.warnings",
];

/// What of the solver's own language clients look for before they offer an option (BuildKit `solver/pb/caps.go`).
const SOLVER_CAPS: [&str; 44] = [
    "source.image",
    "source.image.resolvemode",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "source.local.differ",
    "source.git",
    "source.git.keepgitdir",
    "source.git.fullurl",
    "source.git.subdir",
    "source.git.checksum",
    "source.http",
    "source.http.checksum",
    "source.http.perm",
    "soruce.http.uidgid",
    "source.ocilayout",
    "source.buildop.llbfilename",
    "exec.meta.base",
    "exec.meta.cgroup.parent",
    "exec.meta.network",
    "exec.meta.proxyenv",
    "exec.meta.security",
    "exec.meta.setsdefaultpath",
    "exec.meta.ulimit",
    "exec.mount.bind",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.tmpfs.size",
    "exec.mount.secret",
    "exec.mount.ssh",
    "exec.secretenv",
    "file.base",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "exporter.multiple",
    "gc.freespacefilter",
];

fn caps(ids: &[&str]) -> Vec<Cap> {
    ids.iter().map(|id| Cap { id: (*id).to_owned(), enabled: true }).collect()
}

/// What a gateway build may ask for.
pub(crate) fn frontend_caps() -> Vec<Cap> {
    caps(&FRONTEND_CAPS)
}

/// What the solver can.
pub(crate) fn solver_caps() -> Vec<Cap> {
    caps(&SOLVER_CAPS)
}

/// Which BuildKit this behaves as.
pub(crate) fn version(suffix: &str) -> BuildkitVersion {
    BuildkitVersion {
        package: "github.com/moby/buildkit".into(),
        version: format!("{VERSION}{suffix}"),
        revision: String::new(),
    }
}

/// This machine.
pub(crate) fn record(engine: &Engine) -> WorkerRecord {
    let mut labels = BTreeMap::new();
    if let Some(gateway) = host_gateway(engine) {
        labels.insert("org.mobyproject.buildkit.worker.moby.host-gateway-ip".into(), gateway);
    }
    // Clients of the driver `docker` offer what needs more than dockerd's oldest store (archives, caches outside, direct
    // pushes, several platforms) only where this label is.
    labels.insert("org.mobyproject.buildkit.worker.snapshotter".into(), "overlayfs".into());
    WorkerRecord {
        id: engine.machine.id().to_owned(),
        labels,
        platforms: platforms(engine),
        gc_policy: vec![GcPolicy { all: true, ..GcPolicy::default() }],
        buildkit_version: Some(version("-moby")),
    }
}

/// What this machine's processors run, and what it has emulators for.
fn platforms(engine: &Engine) -> Vec<Platform> {
    let known = engine.builds.platforms();
    let mut platforms = Vec::new();
    for platform in known {
        let of = |variant: &str| Platform {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: variant.into(),
            os_version: String::new(),
        };
        platforms.push(of(&platform.variant));
        // As BuildKit's archutil finds them: what processors of a later level run as well.
        if platform.architecture == "amd64" && platform.variant.is_empty() {
            platforms.extend(level().iter().map(|variant| of(variant)));
        }
    }
    platforms
}

/// The levels of x86-64 beyond the first that these processors have (x86-64 psABI, 3.1.1).
fn level() -> &'static [&'static str] {
    #[cfg(target_arch = "x86_64")]
    {
        let second = std::is_x86_feature_detected!("sse4.2")
            && std::is_x86_feature_detected!("ssse3")
            && std::is_x86_feature_detected!("popcnt");
        let third = second
            && std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("bmi2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("lzcnt")
            && std::is_x86_feature_detected!("movbe");
        let fourth = third
            && std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512cd")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl");
        match (second, third, fourth) {
            (.., true) => &["v2", "v3", "v4"],
            (_, true, _) => &["v2", "v3"],
            (true, ..) => &["v2"],
            _ => &[],
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    &[]
}

/// Where `host-gateway` leads: the default bridge's own address.
fn host_gateway(engine: &Engine) -> Option<String> {
    let bridge = engine.networks.find("bridge").ok()?;
    bridge.spec.pools.iter().find_map(|pool| pool.gateway.filter(|ip| ip.is_ipv4())).map(|ip| ip.to_string())
}
