//! Which requests go through a proxy: the usual meaning of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
//!
//! Rules as in Go's `httpproxy`, which dockerd uses. Never: reads the environment.

use super::{
    error::RegistryError,
    mirror::{Cidr, split_port},
};
use base64::Engine as _;
use std::{fmt, net::IpAddr};

/// The values of the three variables; empty where not set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: String,
    /// For `https` URLs.
    pub https: String,
    /// Hosts that are reached directly: names, addresses, networks, `*`.
    pub no: String,
}

impl fmt::Debug for Proxies {
    /// Proxies' URLs may have passwords: only whether they are set is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &str| if url.is_empty() { "" } else { "set" };
        f.debug_struct("Proxies")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("no", &self.no)
            .finish()
    }
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Without brackets.
    pub(crate) host: String,
    /// 80 if not given, or 443.
    pub(crate) port: u16,
    /// It is spoken to by TLS.
    pub(crate) secure: bool,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

impl Proxies {
    /// Whether all are usable. Errors: `Settings`.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        for url in [&self.http, &self.https] {
            if !url.is_empty() {
                parse(url)?;
            }
        }
        Ok(())
    }

    /// The proxy for a URL of `scheme` to `host:port`, if it shall not go directly.
    pub(crate) fn proxy_for(&self, scheme: &str, host: &str, port: u16) -> Option<Proxy> {
        let url = if scheme == "https" { &self.https } else { &self.http };
        if url.is_empty() || self.is_direct(host, port) {
            return None;
        }
        parse(url).ok()
    }

    fn is_direct(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        // This machine is never reached through a proxy.
        if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
            return true;
        }
        self.no.split(',').map(str::trim).filter(|rule| !rule.is_empty()).any(|rule| {
            let rule = rule.to_ascii_lowercase();
            if rule == "*" {
                return true;
            }
            if let Some(cidr) = Cidr::parse(&rule) {
                return address.is_some_and(|a| cidr.contains(a));
            }
            let (name, wanted) = split_port(&rule);
            if wanted.is_some_and(|wanted| wanted != port) {
                return false;
            }
            if let Ok(named) = name.parse::<IpAddr>() {
                return address == Some(named);
            }
            // `.example.org` and `*.example.org` are what lies below; `example.org` is that and itself.
            let below = name.strip_prefix('*').unwrap_or(name);
            match below.strip_prefix('.') {
                Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
                None => host == below || host.strip_suffix(below).is_some_and(|rest| rest.ends_with('.')),
            }
        })
    }
}

/// A proxy's URL as it may be told: with what could be a login in the place of one.
pub fn without_login(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}xxxxx:xxxxx{}", &rest[at..]),
        None => url.to_owned(),
    }
}

/// A proxy's URL, with `http://`, `https://` or without a scheme.
fn parse(url: &str) -> Result<Proxy, RegistryError> {
    let wrong = |why: &str| RegistryError::Settings(format!("invalid proxy: {why}"));
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let secure = scheme.eq_ignore_ascii_case("https");
    if !secure && !scheme.eq_ignore_ascii_case("http") {
        return Err(wrong(&format!("unsupported scheme {scheme:?}: must use 'http://' or 'https://'")));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host_port) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = split_port(host_port);
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
        return Err(wrong("it has no host"));
    }
    let authorization = user.map(|user| {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let pair = [percent_decode(name), b":".to_vec(), percent_decode(password)].concat();
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    });
    Ok(Proxy {
        host: host.to_owned(),
        port: port.unwrap_or(if secure { 443 } else { 80 }),
        secure,
        authorization,
    })
}

/// The bytes that a part of a URL stands for.
fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_excepted_are_reached_directly() {
        let no = "10.0.0.0/8, .corp.example,plain.example,one.example:8443,192.0.2.7".into();
        let proxies = Proxies { http: String::new(), https: "http://u:p%40ss@proxy:3128/".into(), no };
        let direct = |host: &str, port| proxies.proxy_for("https", host, port).is_none();
        for host in [
            "localhost",
            "127.0.0.1",
            "[::1]",
            "10.9.8.7",
            "a.corp.example",
            "plain.example",
            "x.plain.example",
            "192.0.2.7",
        ] {
            assert!(direct(host, 443), "{host}");
        }
        for host in ["corp.example", "notplain.example", "one.example", "192.0.2.8", "quay.io"] {
            assert!(!direct(host, 443), "{host}");
        }
        assert!(direct("one.example", 8443));
        assert!(proxies.proxy_for("http", "quay.io", 80).is_none(), "each scheme has its own proxy");
        let proxy = proxies.proxy_for("https", "quay.io", 443).unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy", 3128));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dTpwQHNz"));
        assert!(!format!("{proxies:?}").contains("p%40ss"), "no password in logs");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_at_once() {
        let check = |url: &str| Proxies { http: url.into(), ..Proxies::default() }.check();
        assert!(
            check("socks5://p:1080").is_err() && check("http://").is_err() && check("proxy:3128").is_ok()
        );
        let proxy = parse("https://proxy").unwrap();
        assert_eq!((proxy.port, proxy.secure), (443, true));
    }

    #[test]
    fn logins_are_not_told() {
        for (url, told) in [
            ("https://u:p@x@proxy:3128/a@b", "https://xxxxx:xxxxx@proxy:3128/a@b"),
            ("u:p@proxy", "xxxxx:xxxxx@proxy"),
            ("http://proxy/", "http://proxy/"),
        ] {
            assert_eq!(without_login(url), told);
        }
    }
}
