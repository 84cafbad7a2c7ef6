//! Where a daemon is: the address forms of `-H`, and the order in which an address is found.

use super::tls::Trust;
use std::fmt;
use std::path::PathBuf;

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, without TLS.
    Tcp(String),
    /// `host:port`, with TLS.
    Tls {
        /// `host:port`.
        address: String,
        /// Certificates.
        trust: Trust,
    },
    /// Another machine by `ssh`, through a command there that copies its standard streams.
    Ssh {
        /// Arguments of `ssh`: options and destination.
        arguments: Vec<String>,
        /// The command line's name over there.
        program: &'static str,
    },
}

impl Host {
    /// Reads an address. The error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("unable to parse docker host `{text}`: {why}");
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.is_empty() => Ok(Host::Unix(default_socket())),
            "unix" => Ok(Host::Unix(rest.into())),
            "tcp" | "http" | "https" => {
                let authority = rest.split('/').next().unwrap_or_default();
                let bracket = authority.rfind(']').map_or(0, |at| at + 1);
                Ok(Host::Tcp(match authority[bracket..].rsplit_once(':') {
                    Some((_, port)) if port.parse::<u16>().is_err() => return Err(wrong("invalid port")),
                    Some(_) if authority.starts_with(':') => format!("127.0.0.1{authority}"),
                    Some(_) => authority.to_owned(),
                    None if authority.is_empty() => "127.0.0.1:2375".to_owned(),
                    None => format!("{authority}:2375"),
                }))
            }
            "ssh" => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                if !path.is_empty() {
                    return Err(wrong("an ssh address has no path"));
                }
                let (user, machine) = authority
                    .rsplit_once('@')
                    .map_or((None, authority), |(user, machine)| (Some(user), machine));
                let (machine, port) = match machine.rsplit_once(':') {
                    Some((machine, port)) if port.parse::<u16>().is_ok() => (machine, Some(port)),
                    _ => (machine, None),
                };
                // A name that begins with a dash would be an option of ssh (CVE-2017-1000117 and its kin).
                if machine.is_empty()
                    || machine.starts_with('-')
                    || user.is_some_and(|user| user.contains(':') || user.starts_with('-'))
                {
                    return Err(wrong("want ssh://[user@]host[:port]"));
                }
                let mut arguments = vec!["-o".to_owned(), "ConnectTimeout=30".to_owned(), "-T".to_owned()];
                if let Some(user) = user {
                    arguments.extend(["-l".to_owned(), user.to_owned()]);
                }
                if let Some(port) = port {
                    arguments.extend(["-p".to_owned(), port.to_owned()]);
                }
                arguments.push(machine.to_owned());
                Ok(Host::Ssh { arguments, program: crate::cli::program() })
            }
            _ => Err(format!("invalid bind address format: {text}")),
        }
    }
}

impl Host {
    /// The address that `text` gave, with TLS; only TCP can have it. Its usual port is another then.
    pub(crate) fn secured(self, text: &str, trust: Trust) -> Self {
        match self {
            Host::Tcp(address) => {
                let usual = address.strip_suffix(":2375").filter(|_| !text.contains(":2375"));
                let address = usual.map_or_else(|| address.clone(), |host| format!("{host}:2376"));
                Host::Tls { address, trust }
            }
            other => other,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "unix://{}", path.display()),
            Host::Tcp(address) | Host::Tls { address, .. } => write!(f, "tcp://{address}"),
            Host::Ssh { arguments, .. } => write!(f, "ssh://{}", arguments.last().map_or("", String::as_str)),
        }
    }
}

/// The socket of this machine's daemon, by the name that we were called by.
pub(crate) fn default_socket() -> PathBuf {
    if crate::cli::program() == "docker" {
        "/var/run/docker.sock".into()
    } else {
        "/run/minke/minke.sock".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        assert_eq!(Host::parse("unix:///a/b").unwrap(), Host::Unix("/a/b".into()));
        assert_eq!(Host::parse("tcp://h:1/x").unwrap(), Host::Tcp("h:1".into()));
        assert_eq!(Host::parse("foo").unwrap(), Host::Tcp("foo:2375".into()));
        assert_eq!(Host::parse(":2376").unwrap(), Host::Tcp("127.0.0.1:2376".into()));
        assert_eq!(Host::parse("tcp://[::1]:2375").unwrap(), Host::Tcp("[::1]:2375".into()));
        assert!(Host::parse("npipe:////./pipe/docker").is_err());
        assert!(Host::parse("tcp://h:x").is_err());
    }

    #[test]
    fn tls_has_a_port_of_its_own_and_is_for_tcp_alone() {
        let secured = |text: &str| Host::parse(text).unwrap().secured(text, Trust::default()).to_string();
        assert_eq!(secured("tcp://h"), "tcp://h:2376");
        assert_eq!(secured("tcp://h:2375"), "tcp://h:2375");
        assert_eq!(secured("unix:///a"), "unix:///a");
    }

    #[test]
    fn ssh_takes_user_and_port_and_no_options() {
        let Host::Ssh { arguments, .. } = Host::parse("ssh://me@box:2222").unwrap() else {
            panic!("not ssh")
        };
        assert_eq!(arguments[3..], ["-l", "me", "-p", "2222", "box"]);
        assert!(Host::parse("ssh://-oProxyCommand=x").is_err());
        assert!(Host::parse("ssh://").is_err());
    }
}
