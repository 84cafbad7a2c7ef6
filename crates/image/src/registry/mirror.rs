//! Where registries are: mirrors, those without (good) TLS, proxies, certificates. The daemon's settings, checked once.
//!
//! The rules are dockerd's. Never: reads the environment; its caller hands in what was found there.

use super::{error::RegistryError, proxy::Proxies, tls};
use rustls::RootCertStore;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

/// Docker Hub's registry; its images are named after `docker.io`.
const HUB: &str = "https://registry-1.docker.io";

/// Always insecure, as in dockerd: people run their own registry there.
const LOOPBACK: [Cidr; 2] = [
    Cidr { base: IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
    Cidr { base: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
];

/// The settings as given.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// `registry-mirrors`: URLs asked before Docker Hub, for Docker Hub's images only.
    pub mirrors: Vec<String>,
    /// `insecure-registries`: `host[:port]` or CIDR; their certificates are not checked, and they may have none.
    pub insecure: Vec<String>,
    /// Where to look for `HOST/{*.crt,*.cert,*.key}`.
    pub certs_dirs: Vec<PathBuf>,
    /// Values of `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.
    pub proxies: Proxies,
    /// What registries see as our name.
    pub user_agent: String,
    /// Layers of one pull that arrive at once (`max-concurrent-downloads`); at least 1.
    pub max_downloads: usize,
    /// Layers of one push that are sent at once (`max-concurrent-uploads`); at least 1.
    pub max_uploads: usize,
    /// How often one download is begun (`max-download-attempts`); at least 1.
    pub max_attempts: u32,
}

impl Default for RegistryOptions {
    /// dockerd's defaults.
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            certs_dirs: ["/etc/docker/certs.d", "/etc/minke/certs.d"].map(PathBuf::from).to_vec(),
            proxies: Proxies::default(),
            user_agent: concat!("minke/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_downloads: 3,
            max_uploads: 5,
            max_attempts: 5,
        }
    }
}

/// The settings, checked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: RegistryOptions,
    mirrors: Vec<String>,
    insecure_hosts: BTreeSet<String>,
    insecure_cidrs: Vec<Cidr>,
    hub: String,
    /// The machine's certificate authorities, read when first needed.
    roots: OnceLock<Arc<RootCertStore>>,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        let options = RegistryOptions::default();
        Self::build(options, Vec::new(), BTreeSet::new(), LOOPBACK.to_vec(), HUB)
    }
}

impl RegistryConfig {
    /// Checks the settings. Errors: `Settings`, with dockerd's sentence.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        Self::with_hub(options, HUB)
    }

    /// With something else in the place of Docker Hub.
    pub(crate) fn with_hub(options: RegistryOptions, hub: &str) -> Result<Self, RegistryError> {
        let mut mirrors = Vec::new();
        for mirror in &options.mirrors {
            let mirror = check_mirror(mirror)?;
            if !mirrors.contains(&mirror) {
                mirrors.push(mirror);
            }
        }
        let mut cidrs = Vec::new();
        let mut hosts = BTreeSet::new();
        for given in &options.insecure {
            let given = normal_index(given);
            if given.starts_with('-') || given.ends_with('-') {
                let why = format!("invalid index name ({given}). Cannot begin or end with a hyphen");
                return Err(RegistryError::Settings(why));
            }
            let bare = strip_scheme(given);
            if bare.contains("://") {
                let why = format!("insecure registry {given} should not contain '://'");
                return Err(RegistryError::Settings(why));
            }
            match Cidr::parse(bare) {
                Some(cidr) if !cidrs.contains(&cidr) => cidrs.push(cidr),
                Some(_) => {}
                None => {
                    check_host(bare).map_err(|why| {
                        RegistryError::Settings(format!("insecure registry {bare} is not valid: {why}"))
                    })?;
                    hosts.insert(bare.to_owned());
                }
            }
        }
        for cidr in LOOPBACK.into_iter().rev() {
            if !cidrs.contains(&cidr) {
                cidrs.push(cidr);
            }
        }
        options.proxies.check()?;
        Ok(Self::build(options, mirrors, hosts, cidrs, hub))
    }

    fn build(
        mut options: RegistryOptions,
        mirrors: Vec<String>,
        insecure_hosts: BTreeSet<String>,
        insecure_cidrs: Vec<Cidr>,
        hub: &str,
    ) -> Self {
        options.max_downloads = options.max_downloads.max(1);
        options.max_uploads = options.max_uploads.max(1);
        options.max_attempts = options.max_attempts.max(1);
        let hub = hub.to_owned();
        let roots = OnceLock::new();
        Self { inner: Arc::new(Inner { options, mirrors, insecure_hosts, insecure_cidrs, hub, roots }) }
    }

    /// The mirrors, each with a slash at its end, as `docker info` shows them.
    pub fn mirrors(&self) -> &[String] {
        &self.inner.mirrors
    }

    /// Insecure registries that are named by host.
    pub fn insecure_hosts(&self) -> impl Iterator<Item = &str> {
        self.inner.insecure_hosts.iter().map(String::as_str)
    }

    /// Insecure registries that are named by network, loopback included: `127.0.0.0/8`.
    pub fn insecure_cidrs(&self) -> impl Iterator<Item = String> {
        self.inner.insecure_cidrs.iter().map(|cidr| format!("{}/{}", cidr.base, cidr.prefix))
    }

    /// The settings as they were given.
    pub fn options(&self) -> &RegistryOptions {
        &self.inner.options
    }

    /// The machine's certificate authorities.
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.inner.roots.get_or_init(|| Arc::new(tls::machine_roots())).clone()
    }

    /// Where to ask for images of `domain`, in order. With `mirrors` for reading, without for writing and logins.
    pub(crate) async fn endpoints(&self, domain: &str, mirrors: bool) -> Vec<Endpoint> {
        if normal_index(domain) != crate::reference::DEFAULT_DOMAIN {
            let insecure = self.is_insecure(domain).await;
            let secure = Endpoint::new("https", domain, "", insecure, false);
            let plain = Endpoint::new("http", domain, "", true, false);
            return if insecure { vec![secure, plain] } else { vec![secure] };
        }
        let mut endpoints = Vec::new();
        for mirror in self.inner.mirrors.iter().filter(|_| mirrors) {
            let (scheme, host, path) = split_url(mirror);
            let insecure = scheme == "http" || self.is_insecure(host).await;
            endpoints.push(Endpoint::new(scheme, host, path, insecure, true));
        }
        let (scheme, host, path) = split_url(&self.inner.hub);
        endpoints.push(Endpoint::new(scheme, host, path, scheme == "http", false));
        endpoints
    }

    /// Whether `host[:port]` is insecure: named so, or an address of it lies in a network that is.
    async fn is_insecure(&self, host_port: &str) -> bool {
        if self.inner.insecure_hosts.contains(host_port) {
            return true;
        }
        let inside = |address: IpAddr| self.inner.insecure_cidrs.iter().any(|cidr| cidr.contains(address));
        let (host, port) = split_port(host_port);
        match host.parse() {
            Ok(address) => inside(address),
            Err(_) => match tokio::net::lookup_host((host, port.unwrap_or(443))).await {
                Ok(mut addresses) => addresses.any(|address| inside(address.ip())),
                Err(_) => false,
            },
        }
    }
}

/// One place to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https` or `http`.
    pub(crate) scheme: String,
    /// `host[:port]`.
    pub(crate) host: String,
    /// What comes before `/v2/`; empty, or with a slash in front and none at its end.
    pub(crate) prefix: String,
    /// Certificates are not checked.
    pub(crate) insecure: bool,
    /// It stands for another registry, whose credentials it never gets.
    pub(crate) mirror: bool,
}

impl Endpoint {
    fn new(scheme: &str, host: &str, path: &str, insecure: bool, mirror: bool) -> Self {
        let prefix = path.trim_end_matches('/').to_owned();
        Self { scheme: scheme.into(), host: host.into(), prefix, insecure, mirror }
    }

    /// The URL of `path` below `/v2/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{}/v2/{path}", self.scheme, self.host, self.prefix)
    }
}

/// A network: all addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Parses `10.0.0.0/8`; the bits after the prefix are cleared.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then(|| Self { base: mask(address, prefix), prefix })
    }

    /// Whether `address` is in it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4() && mask(address, self.prefix) == self.base
    }
}

/// `address` with only its first `prefix` bits.
fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & keep).into())
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & keep).into())
        }
    }
}

/// Docker Hub under its older name is Docker Hub.
fn normal_index(name: &str) -> &str {
    if name == "index.docker.io" { crate::reference::DEFAULT_DOMAIN } else { name }
}

/// dockerd drops a scheme that people put in front of a host.
fn strip_scheme(text: &str) -> &str {
    let lower = text.to_ascii_lowercase();
    match (lower.starts_with("http://"), lower.starts_with("https://")) {
        (true, _) => &text[7..],
        (_, true) => &text[8..],
        _ => text,
    }
}

/// Scheme, host and path of a URL that was checked.
fn split_url(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    match rest.find('/') {
        Some(slash) => (scheme, &rest[..slash], &rest[slash..]),
        None => (scheme, rest, ""),
    }
}

/// The host without brackets, and the port.
pub(crate) fn split_port(host_port: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = host_port.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match host_port.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (host_port, None),
    }
}

/// Whether `text` is `host[:port]` or an address.
fn check_host(text: &str) -> Result<(), String> {
    let (host, _) = split_port(text);
    let as_name = format!("{text}/x");
    let good = crate::Reference::parse(&as_name).is_ok_and(|r| r.domain() == text)
        || crate::Reference::parse(&format!("{text}:1/x")).is_ok_and(|r| r.domain() == format!("{text}:1"))
        || host.parse::<IpAddr>().is_ok();
    if !good {
        return Err(format!("invalid host {host:?}"));
    }
    let port = text.strip_prefix(host).and_then(|rest| rest.strip_prefix(':')).unwrap_or_default();
    match port.is_empty() || port.parse::<u16>().is_ok() {
        true => Ok(()),
        false => Err(format!("invalid port {port:?}")),
    }
}

/// A mirror's URL, with one slash at its end.
fn check_mirror(url: &str) -> Result<String, RegistryError> {
    let wrong = |why: String| Err(RegistryError::Settings(format!("invalid mirror: {why}")));
    let must = "must use either 'https://' or 'http://'";
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| !scheme.is_empty()) else {
        return wrong(format!("no scheme specified for {url:?}: {must}"));
    };
    let parsed: Option<http::Uri> = url.parse().ok();
    if parsed.as_ref().is_none_or(|uri| uri.host().unwrap_or_default().is_empty()) {
        return wrong(format!("{url:?} is not a valid URI"));
    }
    if scheme != "http" && scheme != "https" {
        return wrong(format!("unsupported scheme {scheme:?} in {url:?}: {must}"));
    }
    if url.contains(['?', '#']) {
        return wrong(format!("query or fragment at end of the URI {url:?}"));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if let Some((user, host)) = authority.rsplit_once('@') {
        // The message goes to logs: no password in it.
        let user = user.split(':').next().unwrap_or_default();
        let shown = format!("{scheme}://{user}:xxxxx@{host}{}", &rest[authority.len()..]);
        return wrong(format!("username/password not allowed in URI {shown:?}"));
    }
    Ok(format!("{}/", url.strip_suffix('/').unwrap_or(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(mirrors: &[&str], insecure: &[&str]) -> Result<RegistryConfig, RegistryError> {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        RegistryConfig::new(RegistryOptions {
            mirrors: own(mirrors),
            insecure: own(insecure),
            ..RegistryOptions::default()
        })
    }

    async fn urls(config: &RegistryConfig, domain: &str, mirrors: bool) -> Vec<String> {
        config.endpoints(domain, mirrors).await.iter().map(|e| e.url("")).collect()
    }

    #[tokio::test]
    async fn mirrors_come_before_docker_hub_and_only_there() {
        let config = config(&["https://m.example/sub", "http://n.example/"], &[]).unwrap();
        assert_eq!(
            urls(&config, "docker.io", true).await,
            ["https://m.example/sub/v2/", "http://n.example/v2/", "https://registry-1.docker.io/v2/"]
        );
        assert_eq!(urls(&config, "index.docker.io", false).await, ["https://registry-1.docker.io/v2/"]);
        assert_eq!(urls(&config, "192.0.2.1", true).await, ["https://192.0.2.1/v2/"]);
    }

    #[tokio::test]
    async fn what_is_insecure_may_be_without_tls() {
        let config = config(&[], &["reg.example:5000", "10.1.0.0/16", "http://Old.example"]).unwrap();
        let both = |host: &str| vec![format!("https://{host}/v2/"), format!("http://{host}/v2/")];
        for host in
            ["reg.example:5000", "10.1.2.3:80", "127.0.0.1:5000", "127.8.8.8", "[::1]:5000", "Old.example"]
        {
            assert_eq!(urls(&config, host, true).await, both(host), "{host}");
        }
        for host in ["192.0.2.1:5000", "10.2.0.1", "[2001:db8::1]:443"] {
            assert_eq!(urls(&config, host, true).await, [format!("https://{host}/v2/")], "{host}");
        }
        let cidrs: Vec<String> = config.insecure_cidrs().collect();
        assert_eq!(cidrs, ["10.1.0.0/16", "::1/128", "127.0.0.0/8"]);
    }

    #[test]
    fn wrong_settings_are_refused_in_dockerds_words() {
        let error = |mirrors: &[&str], insecure: &[&str]| config(mirrors, insecure).unwrap_err().to_string();
        assert_eq!(
            error(&["m.example"], &[]),
            "invalid mirror: no scheme specified for \"m.example\": must use either 'https://' or 'http://'"
        );
        assert_eq!(
            error(&["ftp://m"], &[]),
            "invalid mirror: unsupported scheme \"ftp\" in \"ftp://m\": must use either 'https://' or 'http://'"
        );
        assert_eq!(
            error(&["https://m/?a"], &[]),
            "invalid mirror: query or fragment at end of the URI \"https://m/?a\""
        );
        assert_eq!(
            error(&["https://u:secret@m/"], &[]),
            "invalid mirror: username/password not allowed in URI \"https://u:xxxxx@m/\""
        );
        assert_eq!(error(&[], &["-a"]), "invalid index name (-a). Cannot begin or end with a hyphen");
        assert_eq!(error(&[], &["svn://a"]), "insecure registry svn://a should not contain '://'");
        assert_eq!(error(&[], &["a b"]), "insecure registry a b is not valid: invalid host \"a b\"");
        assert_eq!(
            error(&[], &["a:99999"]),
            "insecure registry a:99999 is not valid: invalid port \"99999\""
        );
    }

    #[test]
    fn networks_contain_their_addresses() {
        let cidr = Cidr::parse("10.1.2.3/8").unwrap();
        assert!(cidr.contains("10.255.0.1".parse().unwrap()) && !cidr.contains("11.0.0.1".parse().unwrap()));
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains("1.2.3.4".parse().unwrap()));
        assert!(!Cidr::parse("0.0.0.0/0").unwrap().contains("::1".parse().unwrap()));
        assert!(Cidr::parse("10.0.0.0/33").is_none() && Cidr::parse("10.0.0.0").is_none());
    }
}
