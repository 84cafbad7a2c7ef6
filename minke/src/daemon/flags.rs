//! The daemon's flags: dockerd's names, and Minke's own. Each is also a key of the configuration file.

use crate::cli::flag::{Flag, Flags, flags};
use std::collections::{BTreeMap, BTreeSet};

flags! {
    /// The daemon's flags as given.
    struct DaemonFlags {
        add_runtime: Vec<String> ["add-runtime"], "Register an additional OCI runtime (name=path)";
        allow_nondistributable: Vec<String> ["allow-nondistributable-artifacts"], "Accepted; such artifacts are pushed as others";
        allow_direct_routing: bool ["allow-direct-routing"], "Published ports are reached by the containers' own addresses too";
        authorization_plugin: Vec<String> ["authorization-plugin"], "Not supported";
        base_domain: Option<String> ["base-domain"], "";
        bip: String ["bip"], "Address and prefix of the default bridge (192.168.1.5/24)";
        bip6: String ["bip6"], "IPv6 address and prefix of the default bridge";
        bridge: Option<String> ["bridge" 'b'], "Device of the default bridge; \"none\" for no default bridge";
        cdi_spec_dir: Vec<String> ["cdi-spec-dir"], "Directories of CDI device descriptions (default /etc/cdi, /var/run/cdi)";
        cgroup_parent: String ["cgroup-parent"], "Parent cgroup of all containers";
        config_file: Option<String> ["config-file"], "Configuration file of the daemon";
        containerd: Option<String> ["containerd"], "Accepted; there is no containerd";
        containerd_namespace: Option<String> ["containerd-namespace"], "Accepted; there is no containerd";
        containerd_plugins_namespace: Option<String> ["containerd-plugins-namespace"], "Accepted; there is no containerd";
        cpu_rt_period: i64 ["cpu-rt-period"], "Not supported";
        cpu_rt_runtime: i64 ["cpu-rt-runtime"], "Not supported";
        data_root: Option<String> ["data-root"], "Directory of state that stays";
        debug: bool ["debug" 'D'], "Say more";
        default_address_pool: Vec<String> ["default-address-pool"], "Pools that networks are cut from (base=10.0.0.0/8,size=24)";
        default_cgroupns_mode: String ["default-cgroupns-mode"], "Default cgroup namespace of containers (\"host\" or \"private\")";
        default_gateway: String ["default-gateway"], "Gateway of the default bridge";
        default_gateway_v6: String ["default-gateway-v6"], "IPv6 gateway of the default bridge";
        default_ipc_mode: String ["default-ipc-mode"] = "private", "Default IPC of containers (\"shareable\" or \"private\")";
        default_network_opt: Vec<String> ["default-network-opt"], "Default options of networks (bridge=option=value)";
        default_runtime: String ["default-runtime"], "Runtime of containers that name none";
        default_shm_size: String ["default-shm-size"] = "64MiB", "Default shm size of containers";
        default_ulimit: Vec<String> ["default-ulimit"], "Default limits of containers (nofile=1024:2048)";
        disk_high: i64 ["disk-high"] = "90", "Percent of the disk in use from which on unused images go (0: never)";
        disk_keep: String ["disk-keep"] = "24h", "What was used within that time stays, however full the disk";
        disk_low: i64 ["disk-low"] = "80", "Percent of the disk in use at which no more go";
        dns: Vec<String> ["dns"], "Resolvers of containers";
        dns_opt: Vec<String> ["dns-opt"], "Options of resolv.conf";
        dns_search: Vec<String> ["dns-search"], "Search domains of containers";
        etcd_binary: String ["etcd-binary"] = "etcd", "Program that keeps a cluster's records when it has several managers";
        exec_opt: Vec<String> ["exec-opt"], "Runtime options (native.cgroupdriver=cgroupfs)";
        exec_root: Option<String> ["exec-root"], "Directory of state that a reboot ends";
        experimental: bool ["experimental"], "Accepted; without effect";
        feature: Vec<String> ["feature"], "Features to be on or off (cdi=false, buildkit=false); others are accepted, without effect";
        firewall_backend: String ["firewall-backend"], "Accepted; the firewall is nftables (\"nftables\", \"iptables\")";
        fixed_cidr: String ["fixed-cidr"], "Range of addresses on the default bridge";
        fixed_cidr_v6: String ["fixed-cidr-v6"], "IPv6 range of the default bridge";
        group: Option<String> ["group" 'G'], "Group of the unix socket";
        host: Vec<String> ["host" 'H'], "Sockets to listen on (unix:///path, tcp://127.0.0.1:2375, fd://)";
        host_gateway_ip: Vec<String> ["host-gateway-ip"], "What host-gateway means in --add-host";
        http_proxy: String ["http-proxy"], "Proxy for http requests to registries";
        https_proxy: String ["https-proxy"], "Proxy for https requests to registries";
        icc: Option<bool> ["icc"], "Containers of the default bridge reach each other (default true)";
        init: bool ["init"], "Run a reaping PID 1 in containers";
        init_path: String ["init-path"], "Accepted; the init is built in";
        insecure_registry: Vec<String> ["insecure-registry"], "Registries to be spoken to without verified TLS";
        ip: String ["ip"] = "0.0.0.0", "Address that ports are published on by default";
        ip_forward: Option<bool> ["ip-forward"], "Turn on forwarding when it is needed (default true)";
        ip_forward_no_drop: bool ["ip-forward-no-drop"], "Accepted; the forward policy is never changed";
        ip_masq: Option<bool> ["ip-masq"], "Masquerade outgoing traffic (default true)";
        ip6tables: Option<bool> ["ip6tables"], "Accepted; --iptables is for both families";
        iptables: Option<bool> ["iptables"], "Program the firewall (default true); without it published ports are copied";
        ipv6: bool ["ipv6"], "Give IPv6 addresses on the default bridge";
        label: Vec<String> ["label"], "Labels of the daemon (key=value)";
        live_restore: Option<bool> ["live-restore"], "Containers outlive the daemon (as dockerd: default false)";
        log_driver: String ["log-driver"] = "json-file", "Default log driver";
        log_format: String ["log-format"] = "text", "Form of the daemon's own messages (\"text\")";
        log_level: String ["log-level" 'l'] = "info", "Level of the daemon's own messages";
        log_opt: Vec<String> ["log-opt"], "Default log options (max-size=10m)";
        max_concurrent_downloads: i64 ["max-concurrent-downloads"] = "3", "Layers of one image fetched at once";
        max_concurrent_uploads: i64 ["max-concurrent-uploads"] = "5", "Layers of one image sent at once";
        max_download_attempts: i64 ["max-download-attempts"] = "5", "Tries for each layer";
        metrics_addr: String ["metrics-addr"], "Not supported";
        mtu: i64 ["mtu"], "MTU of the default bridge";
        network_control_plane_mtu: i64 ["network-control-plane-mtu"] = "1500", "Accepted; without effect";
        no_new_privileges: bool ["no-new-privileges"], "Containers gain no privileges by default";
        no_proxy: String ["no-proxy"], "Hosts that are reached without proxy";
        node_generic_resource: Vec<String> ["node-generic-resource"], "Accepted; without effect";
        node_name: Option<String> ["node-name"], "Name of this machine";
        oom_score_adjust: i64 ["oom-score-adjust"], "oom_score_adj of the daemon";
        pidfile: Option<String> ["pidfile" 'p'], "File for the daemon's process id";
        publish_policy: String ["publish-policy"], "Published ports and the host's firewall: \"host\" (its forward rules hold) or \"open\"";
        raw_logs: bool ["raw-logs"], "Messages without colours";
        registry_mirror: Vec<String> ["registry-mirror"], "Mirrors of Docker Hub";
        rootless: bool ["rootless"], "Not supported";
        seccomp_profile: String ["seccomp-profile"], "Default seccomp profile: a file, \"builtin\" or \"unconfined\"";
        selinux_enabled: bool ["selinux-enabled"], "Not supported";
        shutdown_timeout: i64 ["shutdown-timeout"] = "15", "Seconds that containers get when the daemon stops them";
        stop_containers_on_exit: bool ["stop-containers-on-exit"], "SIGTERM stops containers too";
        storage_driver: String ["storage-driver" 's'], "Only overlay2";
        storage_opt: Vec<String> ["storage-opt"], "Storage options";
        swarm_default_advertise_addr: String ["swarm-default-advertise-addr"], "Address or interface that a cluster's other machines find this one at, when nothing else is said";
        tls: bool ["tls"], "Speak TLS on tcp sockets";
        tlscacert: Option<String> ["tlscacert"], "Trust clients' certificates signed by this CA";
        tlscert: Option<String> ["tlscert"], "Certificate of the daemon";
        tlskey: Option<String> ["tlskey"], "Key of the daemon";
        tlsverify: bool ["tlsverify"], "Verify clients on tcp sockets";
        userland_proxy: Option<bool> ["userland-proxy"], "Accepted; there is no such process";
        userland_proxy_path: Option<String> ["userland-proxy-path"], "Accepted; there is no such process";
        userns_remap: String ["userns-remap"], "Not supported yet";
        validate: bool ["validate"], "Check the configuration and quit";
        version: bool ["version" 'v'], "Print the version and quit";
    }
}

/// Flags, and which of them were given.
#[derive(Default)]
pub(super) struct Given {
    pub(super) flags: DaemonFlags,
    pub(super) names: BTreeSet<String>,
    /// As given, for messages.
    pub(super) texts: BTreeMap<String, Vec<String>>,
}

impl Flags for Given {
    const FLAGS: &'static [Flag] = DaemonFlags::FLAGS;
    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        self.names.insert(name.to_owned());
        self.texts.entry(name.to_owned()).or_default().push(text.to_owned());
        self.flags.set(name, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_well_formed() {
        for flag in DaemonFlags::FLAGS {
            if let Some(default) = flag.default {
                assert_eq!(DaemonFlags::default().set(flag.name, default), Ok(()), "--{}", flag.name);
            }
        }
    }
}
