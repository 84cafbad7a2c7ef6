//! Published and exposed ports: `[[ip:][hostPort]:]containerPort[/proto]`, with ranges.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Container ports (`80/tcp`) with the host's address and port for each.
pub(crate) type Bindings = BTreeMap<String, Vec<(String, String)>>;

/// Reads all `--publish`. The error is docker's sentence.
pub(crate) fn parse_published(specs: &[String]) -> Result<Bindings, String> {
    let mut bindings = Bindings::new();
    for spec in specs {
        for (port, host) in parse_one(&standard(spec)?)? {
            bindings.entry(port).or_default().push(host);
        }
    }
    Ok(bindings)
}

/// The long form (`published=80,target=8080`) as the short one.
fn standard(spec: &str) -> Result<String, String> {
    if !spec.contains('=') {
        return Ok(spec.to_owned());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for part in spec.split(',') {
        match part.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((name, _)) if !name.is_empty() => {}
            _ => return Err(format!("invalid publish opts format (should be name=value but got '{part}')")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

fn parse_one(spec: &str) -> Result<Vec<(String, (String, String))>, String> {
    let (rest, port) = spec.rsplit_once(':').unwrap_or(("", spec));
    let (ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (port, protocol) = split_protocol(port)?;
    let ip = match ip.strip_prefix('[') {
        Some(bare) => bare
            .strip_suffix(']')
            .ok_or_else(|| format!("invalid IP address {ip}: address {ip}:: missing ']' in address"))?,
        None => ip,
    };
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if port.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (first, last) = range(port).ok_or_else(|| format!("invalid containerPort: {port}"))?;
    let hosts = if host.is_empty() {
        None
    } else {
        Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?)
    };
    if let Some((from, to)) = hosts
        && to - from != last - first
        && first != last
    {
        return Err(format!("invalid ranges specified for container and host Ports: {port} and {host}"));
    }
    let published = (first..=last).map(|number| {
        let host_port = match hosts {
            None => String::new(),
            // One port of the container's and a range of the host's: the daemon picks.
            Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
            Some((from, _)) => (u32::from(from) + u32::from(number - first)).to_string(),
        };
        (format!("{number}/{protocol}"), (ip.to_owned(), host_port))
    });
    Ok(published.collect())
}

/// Reads all `--expose`: ports without a binding.
pub(crate) fn parse_exposed(specs: &[String]) -> Result<Vec<String>, String> {
    let mut ports = Vec::new();
    for spec in specs {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (port, protocol) = split_protocol(spec)?;
        let (first, last) = range(port).ok_or_else(|| format!("invalid range format for --expose: {spec}, error: strconv.ParseUint: parsing {}: invalid syntax", minke_model::go::quote(port)))?;
        ports.extend((first..=last).map(|number| format!("{number}/{protocol}")));
    }
    Ok(ports)
}

fn split_protocol(port: &str) -> Result<(&str, String), String> {
    let (port, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    Ok((port, protocol))
}

/// `80` or `80-90`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(specs: &[&str]) -> String {
        let specs: Vec<String> = specs.iter().map(|spec| spec.to_string()).collect();
        match parse_published(&specs) {
            Ok(bindings) => {
                let lines = bindings.iter().map(|(port, hosts)| {
                    format!(
                        "{port}={}",
                        hosts.iter().map(|(ip, port)| format!("{ip}|{port}")).collect::<Vec<_>>().join(",")
                    )
                });
                lines.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error,
        }
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(show(&["80"]), "80/tcp=|");
        assert_eq!(show(&["8080:80", "81:80/TCP"]), "80/tcp=|8080,|81");
        assert_eq!(show(&["127.0.0.1::53/udp"]), "53/udp=127.0.0.1|");
        assert_eq!(show(&["[::1]:90:91"]), "91/tcp=::1|90");
        assert_eq!(show(&["::1:90:91"]), "91/tcp=::1|90");
        assert_eq!(show(&["8000-8001:80-81"]), "80/tcp=|8000 81/tcp=|8001");
        assert_eq!(show(&["8000-8009:80"]), "80/tcp=|8000-8009");
        assert_eq!(show(&["published=8080,target=80,protocol=udp"]), "80/udp=|8080");
        assert_eq!(show(&["65535:65535"]), "65535/tcp=|65535");
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        assert_eq!(show(&["1:x"]), "invalid containerPort: x");
        assert_eq!(show(&["x:1"]), "invalid hostPort: x");
        assert_eq!(show(&["1.2.3:1:1"]), "invalid IP address: 1.2.3");
        assert_eq!(show(&["1-3:1-2"]), "invalid ranges specified for container and host Ports: 1-2 and 1-3");
        assert_eq!(show(&["80/icmp"]), "invalid proto: icmp");
        assert_eq!(show(&["8080:"]), "no port specified: 8080:<empty>");
        assert_eq!(show(&["70000"]), "invalid containerPort: 70000");
        assert_eq!(parse_exposed(&["80:80".into()]).unwrap_err(), "invalid port format for --expose: 80:80");
        assert_eq!(parse_exposed(&["80-81/udp".into()]).unwrap(), ["80/udp", "81/udp"]);
    }
}
