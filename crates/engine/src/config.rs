//! How one machine's engine is set up. Read by the binary; nothing here reads files or the environment.

use minke_image::registry::RegistryConfig;
use minke_model::{Labels, log::LogSpec, network::Subnet, resources::Ulimit};
use minke_network::{Faults as NetworkFaults, PublishPolicy, ipam::AddressPool};
use minke_runtime::ExternalRuntime;
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

/// One machine's engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// State that stays.
    pub data_root: PathBuf,
    /// State that a reboot ends.
    pub exec_root: PathBuf,
    /// The default bridge's device.
    pub bridge: String,
    /// The device is the user's, with addresses of the user's choice; else the daemon makes it and gives it its own.
    pub bridge_is_users: bool,
    /// The default bridge's own address and prefix; `None` is chosen.
    pub bip: Option<Subnet>,
    /// Containers of the default bridge get theirs from this part.
    pub fixed_cidr: Option<Subnet>,
    /// The default bridge's own IPv6 address and prefix; `None` is chosen.
    pub bip6: Option<Subnet>,
    /// Containers of the default bridge get their IPv6 addresses from this part.
    pub fixed_cidr_v6: Option<Subnet>,
    /// The way out of containers of the default bridge; `None` is the bridge itself.
    pub default_gateway: Option<IpAddr>,
    /// The same for IPv6.
    pub default_gateway_v6: Option<IpAddr>,
    /// The default bridge gives IPv6 addresses.
    pub ipv6: bool,
    /// Containers of the default bridge reach each other.
    pub icc: bool,
    /// Outgoing traffic is masqueraded.
    pub ip_masq: bool,
    /// Host forwarding is turned on when needed.
    pub ip_forward: bool,
    /// Bridges stay when the daemon ends and nothing runs, as dockerd's do: others may use them.
    pub keep_bridges: bool,
    /// There are firewall rules; without them published ports are copied, and nothing is kept apart.
    pub firewall: bool,
    /// Where ports without a host address appear; unspecified is everywhere.
    pub default_host_ip: IpAddr,
    /// MTU of the default bridge's links; 0 is 1500.
    pub mtu: u32,
    /// Pools that networks are cut from; empty is Docker's.
    pub address_pools: Vec<AddressPool>,
    /// Options that networks get where they have none of that name, by driver.
    pub network_options: BTreeMap<String, Labels>,
    /// Published ports are reached by the containers' own addresses too.
    pub direct_routing: bool,
    /// What of networks shall fail, for tests.
    pub network_faults: NetworkFaults,
    /// How published ports and the host's firewall meet.
    pub publish_policy: PublishPolicy,
    /// The log of containers that ask for none.
    pub log: LogSpec,
    /// Below which containers' cgroups are made; empty is the daemon's own.
    pub cgroup_parent: String,
    /// External OCI runtimes by name.
    pub runtimes: BTreeMap<String, ExternalRuntime>,
    /// Used where a container names none; empty is our own.
    pub default_runtime: String,
    /// Limits of containers that ask for none of that name.
    pub default_ulimits: Vec<Ulimit>,
    /// `/dev/shm` of containers that ask for no size, bytes.
    pub default_shm_size: i64,
    /// `private` or `shareable`.
    pub default_ipc_shareable: bool,
    /// `Some(true)`: host cgroup namespace by default; `None` is by the cgroup version.
    pub default_cgroupns_host: Option<bool>,
    /// All containers get no-new-privileges.
    pub no_new_privileges: bool,
    /// Daemon-wide seccomp profile: JSON, `unconfined`, or empty for the built-in one.
    pub seccomp_profile: String,
    /// Containers get a reaping PID 1 unless they say otherwise.
    pub init: bool,
    /// The host's list of resolvers; `None` is /etc/resolv.conf, or systemd's behind it.
    pub resolv_conf: Option<PathBuf>,
    /// Resolvers of containers that ask for none.
    pub dns: Vec<String>,
    /// resolv.conf options of containers that ask for none.
    pub dns_options: Vec<String>,
    /// Search domains of containers that ask for none.
    pub dns_search: Vec<String>,
    /// What `host-gateway` means in extra hosts; empty is the default bridge's address.
    pub host_gateway: Vec<IpAddr>,
    /// Shown by `info`.
    pub labels: Labels,
    /// Seconds that containers get to stop when the daemon stops them.
    pub shutdown_timeout: i64,
    /// dockerd's meaning without `--live-restore`: survivors of a kill are stopped at start.
    pub stop_survivors: bool,
    /// The shim's program and first arguments; empty is `shim_bytes`.
    pub shim: Vec<String>,
    /// The shim's own small program; `None` is the daemon's program with `shim`.
    pub shim_bytes: Option<&'static [u8]>,
    /// Clients are told to build by BuildKit's protocol rather than the classic one; both are served.
    pub buildkit: bool,
    /// Where vendors describe devices; `None`: such devices are not given.
    pub cdi: Option<Vec<PathBuf>>,
    /// When unused things go from a disk that fills up.
    pub watermarks: crate::space::Watermarks,
    /// Registries.
    pub registries: RegistryConfig,
    /// Debug logging is on (`info`).
    pub debug: bool,
    /// dockerd's word for it in `info`.
    pub live_restore: bool,
}

impl EngineConfig {
    /// Where the host's resolvers stand now.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.resolv_conf.clone().unwrap_or_else(minke_network::dns::resolv_conf::host_path)
    }
}
