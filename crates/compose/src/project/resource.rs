//! What services share: networks, volumes, configs, secrets. Pure.

use super::shape::shape;
use std::collections::BTreeMap;

shape! {
    /// A network.
    pub struct Network {
        /// Its name in the engine.
        name: String = "name",
        /// Its driver.
        driver: String = "driver",
        /// Options of the driver.
        driver_opts: BTreeMap<String, String> = "driver_opts",
        /// Its addresses.
        ipam: Ipam = "ipam",
        /// Others make it and take it away.
        external: bool = "external",
        /// It leads nowhere outside.
        internal: bool = "internal",
        /// Containers of others may join.
        attachable: bool = "attachable",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
        /// Whether it has IPv4.
        enable_ipv4: Option<bool> = "enable_ipv4",
        /// Whether it has IPv6.
        enable_ipv6: Option<bool> = "enable_ipv6",
    }
}

shape! {
    /// A network's addresses.
    pub struct Ipam {
        /// Who gives them.
        driver: String = "driver",
        /// From where.
        config: Vec<IpamPool> = "config",
    }
}

shape! {
    /// A range of addresses.
    pub struct IpamPool {
        /// The subnet.
        subnet: String = "subnet",
        /// The gateway.
        gateway: String = "gateway",
        /// From which containers get theirs.
        ip_range: String = "ip_range",
        /// Names of addresses that are taken.
        aux_addresses: BTreeMap<String, String> = "aux_addresses",
    }
}

shape! {
    /// A volume.
    pub struct Volume {
        /// Its name in the engine.
        name: String = "name",
        /// Its driver.
        driver: String = "driver",
        /// Options of the driver.
        driver_opts: BTreeMap<String, String> = "driver_opts",
        /// Others make it and take it away.
        external: bool = "external",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
    }
}

shape! {
    /// A config or secret: where its bytes come from.
    pub struct FileObject {
        /// Its name in the engine.
        name: String = "name",
        /// A file, absolute.
        file: String = "file",
        /// A variable of the caller's environment.
        environment: String = "environment",
        /// The bytes themselves; filled from `environment` when loaded. A secret's are never printed.
        content: String = "content",
        /// Others make it.
        external: bool = "external",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
        /// Who keeps it.
        driver: String = "driver",
        /// What that one is told.
        driver_opts: BTreeMap<String, String> = "driver_opts",
        /// Who fills in templates.
        template_driver: String = "template_driver",
    }
}

shape! {
    /// A language model.
    pub struct Model {
        /// Its name.
        name: String = "name",
        /// Its image.
        model: String = "model",
        /// How many tokens of context.
        context_size: i64 = "context_size",
        /// What the runtime is told.
        runtime_flags: Vec<String> = "runtime_flags",
    }
}
