//! /etc/hostname, /etc/hosts and /etc/resolv.conf of a container: files of the daemon's, mounted into it.

use super::Containers;
use crate::{Error, error::Result};
use minke_model::{Container, container::NetworkMode, go::quote};
use minke_network::dns::{ResolverConfig, hosts, resolv_conf};
use minke_runtime::NetworkFiles;
use std::{net::IpAddr, path::Path};

impl Containers {
    /// Where the files lie: the container's own, or those of the one whose network it shares.
    pub(crate) fn files(&self, record: &Container) -> Result<NetworkFiles> {
        let owner = match &record.spec.networking.mode {
            NetworkMode::Container(target) => self.find(target)?.id.clone(),
            _ => record.id.clone(),
        };
        let directory = self.directory(&owner);
        Ok(NetworkFiles {
            hostname: directory.join("hostname"),
            hosts: directory.join("hosts"),
            resolv_conf: directory.join("resolv.conf"),
        })
    }

    /// Writes the files for a start, once addresses are known; how its embedded resolver behaves.
    pub(crate) fn write_files(&self, record: &Container) -> Result<ResolverConfig> {
        let own_resolvers = !matches!(record.spec.networking.mode, NetworkMode::Container(_));
        let bad = |server: &&String| server.split('%').next().is_none_or(|a| a.parse::<IpAddr>().is_err());
        if let Some(server) = record.spec.networking.dns.iter().find(bad).filter(|_| own_resolvers) {
            return Err(Error::Internal(format!(
                "bad nameserver address {server}: ParseAddr({}): unable to parse IP",
                quote(server)
            )));
        }
        let resolv = self.resolv_conf(record);
        if !matches!(record.spec.networking.mode, NetworkMode::Container(_)) {
            let files = self.files(record)?;
            write(&files.hostname, &format!("{}\n", self.hostname(record)))?;
            self.write_hosts(record)?;
            write(&files.resolv_conf, &resolv.text)?;
        }
        Ok(ResolverConfig { servers: resolv.servers, ndots_set: resolv.ndots_set })
    }

    /// Writes what a change of networks changes.
    pub(super) fn write_files_again(&self, record: &Container) -> Result<ResolverConfig> {
        let own_resolvers = !matches!(record.spec.networking.mode, NetworkMode::Container(_));
        let bad = |server: &&String| server.split('%').next().is_none_or(|a| a.parse::<IpAddr>().is_err());
        if let Some(server) = record.spec.networking.dns.iter().find(bad).filter(|_| own_resolvers) {
            return Err(Error::Internal(format!(
                "bad nameserver address {server}: ParseAddr({}): unable to parse IP",
                quote(server)
            )));
        }
        let resolv = self.resolv_conf(record);
        self.write_hosts(record)?;
        write(&self.files(record)?.resolv_conf, &resolv.text)?;
        Ok(ResolverConfig { servers: resolv.servers, ndots_set: resolv.ndots_set })
    }

    /// How the embedded resolver of a container behaves.
    pub(crate) fn resolver(&self, record: &Container) -> ResolverConfig {
        let resolv = self.resolv_conf(record);
        ResolverConfig { servers: resolv.servers, ndots_set: resolv.ndots_set }
    }

    fn write_hosts(&self, record: &Container) -> Result<()> {
        let files = self.files(record)?;
        let asked = &record.spec.networking;
        let extra_hosts = asked.extra_hosts.iter().flatten();
        if matches!(asked.mode, NetworkMode::Host) && extra_hosts.clone().next().is_none() {
            let of_host = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            return write(&files.hosts, &of_host);
        }
        let mut extra = self.extra_hosts(record)?;
        extra.extend(self.links(record).into_iter().map(|l| (l.names, IpAddr::V4(l.address))));
        let addresses: Vec<IpAddr> = record
            .status
            .endpoints
            .values()
            .flat_map(|e| {
                e.ipv4.map(|(a, _)| IpAddr::V4(a)).into_iter().chain(e.ipv6.map(|(a, _)| IpAddr::V6(a)))
            })
            .collect();
        let hostname = self.hostname(record);
        let content = hosts::Hosts {
            ipv6: self.inner.networks.has_ipv6(record),
            extra: &extra,
            hostname: &hostname,
            domainname: &record.spec.domainname,
            addresses: &addresses,
        };
        write(&files.hosts, &hosts::write(&content))
    }

    /// Writes /etc/hosts of a build's process, the same each time it runs: its own name is the loopback's.
    ///
    /// Source: BuildKit, `executor/oci/hosts.go`.
    pub(crate) fn write_build_hosts(&self, record: &Container) -> Result<()> {
        let mut text = format!(
            "127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n",
            self.hostname(record)
        );
        for (names, address) in self.extra_hosts(record)? {
            text.push_str(&format!("{address}\t{names}\n"));
        }
        write(&self.files(record)?.hosts, &text)
    }

    /// The names that were asked for, with their addresses.
    fn extra_hosts(&self, record: &Container) -> Result<Vec<(String, IpAddr)>> {
        let gateways = self.inner.networks.host_gateway();
        let mut extra = Vec::new();
        for entry in record.spec.networking.extra_hosts.iter().flatten() {
            let parsed =
                hosts::parse_extra(&entry.replacen('=', ":", usize::from(!entry.contains(':'))), &gateways);
            extra
                .extend(parsed.ok_or_else(|| Error::Invalid(format!("bad format for add-host: {entry:?}")))?);
        }
        Ok(extra)
    }

    fn hostname(&self, record: &Container) -> String {
        if record.spec.hostname.is_empty() {
            return rustix::system::uname().nodename().to_string_lossy().into_owned();
        }
        record.spec.hostname.clone()
    }

    fn resolv_conf(&self, record: &Container) -> resolv_conf::Written {
        let (asked, config) = (&record.spec.networking, &self.inner.config);
        let or = |own: Option<&Vec<String>>, default: &Vec<String>| {
            own.filter(|o| !o.is_empty()).unwrap_or(default).clone()
        };
        let servers = or(Some(&asked.dns), &config.dns);
        let search = or(asked.dns_search.as_ref(), &config.dns_search);
        let options = or(asked.dns_options.as_ref(), &config.dns_options);
        let wanted = resolv_conf::Wanted { servers: &servers, search: &search, options: &options };
        let audience = match asked.mode {
            NetworkMode::Host => resolv_conf::Audience::Host,
            _ if self.inner.networks.embedded_dns(record) => resolv_conf::Audience::Embedded,
            _ => resolv_conf::Audience::Plain { ipv6: self.inner.networks.has_ipv6(record) },
        };
        let path = config.resolv_conf();
        let host = std::fs::read_to_string(&path).unwrap_or_default();
        resolv_conf::write(&path, &host, wanted, audience)
    }
}

/// Written in place: the container has the file itself mounted, a rename would leave it the old one.
fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(Error::io(format!("cannot make {}", directory.display())))?;
    }
    std::fs::write(path, text).map_err(Error::io(format!("cannot write {}", path.display())))
}
