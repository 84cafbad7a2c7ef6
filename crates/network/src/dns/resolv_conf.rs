//! A container's /etc/resolv.conf: pure, but for finding the host's.
//!
//! Its text is Docker 28's to the byte, comments included: moby's own tests compare all of it
//! (`integration/networking/resolvconf_test.go`), and users grep it.

use super::{
    ADDRESS,
    upstream::{Servers, Upstream},
};
use std::{
    fmt::Write,
    net::IpAddr,
    path::{Path, PathBuf},
};

const ETC: &str = "/etc/resolv.conf";
/// Where systemd-resolved keeps the servers that stand behind its 127.0.0.53.
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";

/// Docker's: for a container without the embedded resolver on a host without a server that it could reach.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const FALLBACK_IPV6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// Who looks at the file, and so which servers may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A container in the host's namespace: the host's servers as they are.
    Host,
    /// A container on the default bridge or without a network: the host's servers but those on its loopback and,
    /// without IPv6, those of IPv6; Google's when none is left.
    Plain {
        /// The container has IPv6.
        ipv6: bool,
    },
    /// A container on a user's network: the embedded resolver, which asks the others.
    Embedded,
}

/// What a user asks for (or the daemon's defaults); empty lists are the host's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Servers, valid addresses.
    pub servers: &'a [String],
    /// Search domains; `.` alone means none.
    pub search: &'a [String],
    /// Options.
    pub options: &'a [String],
}

/// The file, and what the embedded resolver must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// All of it.
    pub text: String,
    /// Whom the embedded resolver asks.
    pub servers: Servers,
    /// For [`super::ResolverConfig::ndots_set`].
    pub ndots_set: bool,
}

/// A resolv.conf, read (resolv.conf(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    servers: Vec<Upstream>,
    search: Vec<String>,
    options: Vec<String>,
    others: Vec<String>,
    invalid: Vec<String>,
}

impl ResolvConf {
    /// Its servers, in order.
    pub fn servers(&self) -> &[Upstream] {
        &self.servers
    }
}

/// The host's file: /etc/resolv.conf, or, where that names systemd-resolved alone, the file behind it. Reads it.
pub fn host_path() -> PathBuf {
    let text = std::fs::read_to_string(ETC).unwrap_or_default();
    if behind_systemd(&parse(&text)) { BEHIND_SYSTEMD } else { ETC }.into()
}

fn behind_systemd(etc: &ResolvConf) -> bool {
    matches!(&etc.servers[..], [only] if only.address == IpAddr::from([127, 0, 0, 53]))
}

/// Reads a resolv.conf. Nothing is an error: what is not known is kept.
pub fn parse(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next().filter(|word| !word.starts_with(['#', ';'])) else { continue };
        let words: Vec<&str> = words.collect();
        match (first, &words[..]) {
            ("nameserver", [address, ..]) => match parse_server(address) {
                Some(server) => conf.servers.push(server),
                None => conf.invalid.push(address.to_string()),
            },
            // The last one counts.
            ("search" | "domain", [_, ..]) => conf.search = owned(&words),
            ("options", [_, ..]) => conf.options.extend(owned(&words)),
            ("nameserver" | "search" | "domain" | "options", []) => {}
            _ => conf.others.push(line.to_owned()),
        }
    }
    conf
}

/// An address with, for link-local ones, `%` and an interface.
fn parse_server(text: &str) -> Option<Upstream> {
    let (address, zone) = text.split_once('%').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let is_good = zone.is_empty() != text.contains('%') && (zone.is_empty() || address.is_ipv6());
    is_good.then(|| Upstream { address, zone: zone.to_owned(), port: 53 })
}

fn show(server: &Upstream) -> String {
    if server.zone.is_empty() {
        server.address.to_string()
    } else {
        format!("{}%{}", server.address, server.zone)
    }
}

fn owned(words: &[impl ToString]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Writes a container's file from the host's (`host`, read from `path`).
pub fn write(path: &Path, host: &str, wanted: Wanted<'_>, audience: Audience) -> Written {
    let mut conf = parse(host);
    let mut overrides = Vec::new();
    let mut ndots_from = if ndots(&conf.options).is_some() { "host" } else { "" };
    if !wanted.servers.is_empty() {
        conf.servers = wanted.servers.iter().filter_map(|server| parse_server(server)).collect();
        overrides.push("nameservers");
    }
    if !wanted.search.is_empty() {
        conf.search = wanted.search.iter().filter(|domain| *domain != ".").cloned().collect();
        overrides.push("search");
    }
    if !wanted.options.is_empty() {
        conf.options = wanted.options.to_vec();
        ndots_from = if ndots(&conf.options).is_some() { "override" } else { "" };
        overrides.push("options");
    }
    let ndots_set = ndots(&conf.options).is_some();
    let own_servers = !wanted.servers.is_empty();

    let mut shown: Vec<String> = conf.servers.iter().map(show).collect();
    let mut asked = Vec::new();
    let mut fell_back = false;
    let mut transform = "";
    match audience {
        Audience::Host => {}
        Audience::Plain { ipv6 } => {
            transform = " (legacy)";
            let reached = |s: &&Upstream| !s.address.is_loopback() && (ipv6 || s.address.is_ipv4());
            if !own_servers {
                shown = conf.servers.iter().filter(reached).map(show).collect();
                fell_back = shown.is_empty();
            }
            if fell_back {
                shown = owned(&FALLBACK);
                shown.extend(owned(if ipv6 { &FALLBACK_IPV6 } else { &[] }));
            }
        }
        Audience::Embedded => {
            transform = " (internal resolver)";
            asked =
                shown.iter().map(|s| if own_servers { s.clone() } else { format!("host({s})") }).collect();
            shown = vec![ADDRESS.to_string()];
            conf.options
                .retain(|option| option_value(option, "ndots").is_none_or(|v| v.parse::<u32>().is_ok()));
            if ndots(&conf.options).is_none() {
                // So that a service's bare name is asked as it is, before any search domain.
                conf.options.push("ndots:0".into());
                ndots_from = "internal";
            }
        }
    }

    let mut text = String::from(
        "# Generated by Docker Engine.\n\
         # This file can be edited; Docker Engine will not make further changes once it\n\
         # has been modified.\n\n",
    );
    let mut line = |line: std::fmt::Arguments<'_>| {
        // A string takes everything.
        let _ = writeln!(text, "{line}");
    };
    shown.iter().for_each(|server| line(format_args!("nameserver {server}")));
    if !conf.search.is_empty() {
        line(format_args!("search {}", conf.search.join(" ")));
    }
    if !conf.options.is_empty() {
        line(format_args!("options {}", conf.options.join(" ")));
    }
    conf.others.iter().for_each(|other| line(format_args!("{other}")));
    line(format_args!("\n# Based on host file: '{}'{transform}", path.display()));
    if fell_back {
        line(format_args!("# Used default nameservers."));
    }
    if !asked.is_empty() {
        line(format_args!("# ExtServers: [{}]", asked.join(" ")));
    }
    if !conf.invalid.is_empty() {
        line(format_args!("# Invalid nameservers: [{}]", conf.invalid.join(" ")));
    }
    line(format_args!("# Overrides: [{}]", overrides.join(" ")));
    if !ndots_from.is_empty() {
        line(format_args!("# Option ndots from: {ndots_from}"));
    }
    let servers = if own_servers { Servers::Given(conf.servers) } else { Servers::Host };
    Written { text, servers, ndots_set }
}

/// The value of option `name`, written `name:value` or `name`.
fn option_value<'a>(option: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = option.split_once(':').unwrap_or((option, ""));
    (key == name).then_some(value)
}

/// The last `ndots`.
fn ndots(options: &[String]) -> Option<&str> {
    options.iter().rev().find_map(|option| option_value(option, "ndots"))
}

#[cfg(test)]
mod tests;
