//! `EXPOSE`: ports, ranges, protocols; and what must not stand there but may (pure).

use crate::{dockerfile::fault::Fault, go::quote};
use minke_model::port::{Port, Protocol};
use std::net::IpAddr;

/// Most ports of one instruction: all numbers of all protocols.
const MAX_PORTS: usize = 3 * 65536;

/// What was found besides the ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exposed {
    pub(super) ports: Vec<Port>,
    /// Words with a protocol that is not in lower case.
    pub(super) casing: Vec<String>,
    /// Words with an address or a port of the host.
    pub(super) mapped: Vec<String>,
}

/// Reads words like `80`, `53/udp`, `8000-8010`; `[ip:]host:container` is taken for its last part.
pub(super) fn parse(words: &[String]) -> Result<Exposed, Fault> {
    let mut exposed = Exposed::default();
    for word in words {
        one(word, &mut exposed)?;
        if exposed.ports.len() > MAX_PORTS {
            return Err(Fault::Port(format!("invalid port: {}: too many ports", quote(word))));
        }
    }
    Ok(exposed)
}

fn one(word: &str, exposed: &mut Exposed) -> Result<(), Fault> {
    let mut parts = word.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
    let bad = |why: String| Fault::Port(format!("invalid port: {}: {why}", quote(word)));
    if container.is_empty() {
        return Err(bad("no port specified".into()));
    }
    let transport: Protocol = match protocol {
        "" => Protocol::Tcp,
        text => text.parse().map_err(|_| bad(format!("invalid proto: {text}")))?,
    };
    if protocol != protocol.to_lowercase() {
        exposed.casing.push(word.to_owned());
    }
    if !address.is_empty() || !host.is_empty() {
        exposed.mapped.push(word.to_owned());
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(Fault::Port(format!("invalid IP address: {bare}")));
    }
    let (first, last) =
        range(container).ok_or_else(|| Fault::Port(format!("invalid containerPort: {container}")))?;
    if !host.is_empty() {
        let (from, to) = range(host).ok_or_else(|| Fault::Port(format!("invalid hostPort: {host}")))?;
        if to - from != last - first && first != last {
            let why =
                format!("invalid ranges specified for container and host Ports: {container} and {host}");
            return Err(Fault::Port(why));
        }
    }
    exposed.ports.extend((first..=last).map(|number| Port { number, protocol: transport }));
    Ok(())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let exposed = parse(&words).map_err(|fault| fault.to_string())?;
        Ok(exposed.ports.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn ports_and_ranges() {
        assert_eq!(
            ports(&["80", "53/UDP", "90-92/sctp"]).unwrap(),
            ["80/tcp", "53/udp", "90/sctp", "91/sctp", "92/sctp"]
        );
        assert_eq!(ports(&["[::1]:8080:80", "81:82"]).unwrap(), ["80/tcp", "82/tcp"]);
        for (word, sentence) in [
            ("x", "invalid containerPort: x"),
            ("90-80", "invalid containerPort: 90-80"),
            ("70000", "invalid containerPort: 70000"),
            ("80/x", "invalid port: \"80/x\": invalid proto: x"),
            ("/tcp", "invalid port: \"/tcp\": no port specified"),
            ("x:80", "invalid hostPort: x"),
            ("y:80:80", "invalid IP address: y"),
        ] {
            assert_eq!(ports(&[word]), Err(sentence.to_owned()));
        }
    }
}
