//! A daemon for the time before the command line is there. Not committed.
use minke_api::{Listener, Server, ServerOptions, VersionInfo};
use minke_engine::{Engine, EngineConfig, PublishPolicy};
use std::{path::PathBuf, sync::Arc};

fn main() {
    let root = PathBuf::from(std::env::args().nth(1).unwrap());
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rt.block_on(async move {
        let config = EngineConfig {
            data_root: root.join("data"),
            exec_root: root.join("run"),
            bridge: "minke9".into(),
            bip: None,
            fixed_cidr: None,
            bip6: None,
            fixed_cidr_v6: None,
            ipv6: false,
            icc: true,
            ip_masq: true,
            ip_forward: true,
            default_host_ip: "0.0.0.0".parse().unwrap(),
            mtu: 0,
            address_pools: vec![],
            publish_policy: PublishPolicy::Open,
            log: minke_model::log::LogSpec { driver: "json-file".into(), options: Default::default() },
            cgroup_parent: String::new(),
            runtimes: Default::default(),
            default_runtime: String::new(),
            default_ulimits: vec![],
            default_shm_size: 64 << 20,
            default_ipc_shareable: false,
            default_cgroupns_host: None,
            no_new_privileges: false,
            seccomp_profile: String::new(),
            init: false,
            dns: vec![],
            dns_options: vec![],
            dns_search: vec![],
            host_gateway: vec![],
            labels: Default::default(),
            shutdown_timeout: 15,
            stop_survivors: false,
            shim: vec!["/work/main/target/debug/minke-shim".into()],
            shim_bytes: None,
            registries: match std::env::var("DEVD_MIRROR") {
                Ok(mirror) => {
                    minke_engine::registry::RegistryConfig::new(minke_engine::registry::RegistryOptions {
                        mirrors: vec![mirror],
                        ..Default::default()
                    })
                    .unwrap()
                }
                Err(_) => Default::default(),
            },
            debug: true,
            live_restore: false,
        };
        let engine = Engine::open(config).await.unwrap();
        let server = Server::new(
            Arc::new(engine),
            ServerOptions {
                version: VersionInfo { minke: "0".into(), commit: String::new(), built: String::new() },
            },
        );
        let path = root.join("sock");
        let _ = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        println!("ready {}", path.display());
        server.serve(Listener::Unix(listener), std::future::pending()).await.unwrap();
    });
}
