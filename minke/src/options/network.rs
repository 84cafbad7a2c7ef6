//! `--network`: a mode, or `name=…,alias=…,ip=…` and its kin; more than one is allowed.

use minke_model::go;
use serde_json::{Map, Value, json};

/// A container's wish to be on one network.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attachment {
    /// The network, or a mode such as `host`.
    pub(crate) target: String,
    /// Names of the container there.
    pub(crate) aliases: Vec<String>,
    /// Links to other containers there.
    pub(crate) links: Vec<String>,
    /// The wanted IPv4 address.
    pub(crate) ip: String,
    /// The wanted IPv6 address.
    pub(crate) ip6: String,
    /// Link-local addresses.
    pub(crate) link_local: Vec<String>,
    /// The wanted hardware address.
    pub(crate) mac: String,
    /// Options of the network's driver.
    pub(crate) driver_opts: Vec<(String, String)>,
    /// Which network gives the default gateway: the highest.
    pub(crate) gw_priority: i64,
}

/// Options that belong to the first network.
#[derive(Default)]
pub(crate) struct General {
    /// `--network-alias`
    pub(crate) aliases: Vec<String>,
    /// `--link`
    pub(crate) links: Vec<String>,
    /// `--ip`
    pub(crate) ip: String,
    /// `--ip6`
    pub(crate) ip6: String,
    /// `--link-local-ip`
    pub(crate) link_local: Vec<String>,
    /// `--mac-address`
    pub(crate) mac: String,
}

/// Reads one `--network`.
pub(crate) fn parse(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !text.contains('=') {
        attachment.target = text.to_owned();
        return Ok(attachment);
    }
    for field in go::csv_fields(text)? {
        let Some((key, value)) =
            field.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty())
        else {
            return Err(format!("invalid field {field}"));
        };
        let (key, value) = (key.trim().to_lowercase(), value.trim().to_owned());
        match key.as_str() {
            "name" => attachment.target = value,
            "alias" => attachment.aliases.push(value),
            "ip" => attachment.ip = value,
            "ip6" => attachment.ip6 = value,
            "mac-address" => attachment.mac = super::host::mac(&value)?,
            "link-local-ip" => attachment.link_local.push(value),
            "driver-opt" => {
                let (name, value) = value
                    .split_once('=')
                    .ok_or_else(|| "invalid key value pair format in driver options".to_owned())?;
                attachment.driver_opts.push((name.trim().to_lowercase(), value.trim().to_owned()));
            }
            "gw-priority" => {
                attachment.gw_priority = value.parse().map_err(|_| {
                    format!(
                        "invalid gw-priority ({value}): strconv.Atoi: parsing {}: invalid syntax",
                        minke_model::go::quote(&value)
                    )
                })?
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if attachment.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(attachment)
}

/// Whether `mode` names a network that someone made.
pub(crate) fn is_user_defined(mode: &str) -> bool {
    !matches!(mode, "" | "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}

/// All attachments as the API's mode and endpoints. The error is docker's sentence.
pub(crate) fn endpoints(
    mut attachments: Vec<Attachment>,
    general: General,
) -> Result<(String, Value), String> {
    if attachments.is_empty() {
        attachments.push(Attachment { target: "default".into(), ..Attachment::default() });
    }
    let mode = attachments[0].target.clone();
    let defined = attachments.iter().filter(|attachment| is_user_defined(&attachment.target)).count();
    if attachments.len() > 1 && defined > 0 && defined < attachments.len() {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes".into(),
        );
    }
    apply(&mut attachments[0], general)?;
    let mut endpoints = Map::new();
    for attachment in attachments {
        if endpoints.contains_key(&attachment.target) {
            return Err(format!(
                "network {} is specified multiple times",
                minke_model::go::quote(&attachment.target)
            ));
        }
        let target = attachment.target.clone();
        let endpoint = endpoint(attachment)?;
        // Modes that join another's network or none have no endpoint to speak of.
        if matches!(target.as_str(), "host" | "none") || target.starts_with("container:") {
            continue;
        }
        endpoints.insert(target, endpoint);
    }
    Ok((mode, endpoints.into()))
}

/// Gives the first network what was said for the whole container.
fn apply(first: &mut Attachment, general: General) -> Result<(), String> {
    let conflict = |what: &str| Err(format!("conflicting options: cannot specify both {what}"));
    if !first.aliases.is_empty() && !general.aliases.is_empty() {
        return conflict("--network-alias and per-network alias");
    }
    if !first.links.is_empty() && !general.links.is_empty() {
        return conflict("--link and per-network links");
    }
    if !first.ip.is_empty() && !general.ip.is_empty() {
        return conflict("--ip and per-network IPv4 address");
    }
    if !first.ip6.is_empty() && !general.ip6.is_empty() {
        return conflict("--ip6 and per-network IPv6 address");
    }
    if !first.mac.is_empty() && !general.mac.is_empty() {
        return conflict("--mac-address and per-network MAC address");
    }
    if !first.link_local.is_empty() && !general.link_local.is_empty() {
        return conflict("--link-local-ip and per-network link-local IP addresses");
    }
    first.aliases.extend(general.aliases);
    if is_user_defined(&first.target) {
        first.links.extend(general.links);
    }
    first.link_local.extend(general.link_local);
    for (own, given) in
        [(&mut first.ip, general.ip), (&mut first.ip6, general.ip6), (&mut first.mac, general.mac)]
    {
        if !given.is_empty() {
            *own = given;
        }
    }
    Ok(())
}

/// One attachment as the API's endpoint settings.
pub(crate) fn endpoint(attachment: Attachment) -> Result<Value, String> {
    if attachment.target.trim().is_empty() {
        return Err("no name set for network".into());
    }
    if !is_user_defined(&attachment.target) {
        if !attachment.aliases.is_empty() {
            return Err("network-scoped aliases are only supported for user-defined networks".into());
        }
        if !attachment.links.is_empty() {
            return Err("links are only supported for user-defined networks".into());
        }
    }
    let mut endpoint = json!({});
    if !attachment.aliases.is_empty() {
        endpoint["Aliases"] = attachment.aliases.into();
    }
    if !attachment.links.is_empty() {
        endpoint["Links"] = attachment.links.into();
    }
    if !attachment.mac.is_empty() {
        endpoint["MacAddress"] = attachment.mac.into();
    }
    if !attachment.driver_opts.is_empty() {
        endpoint["DriverOpts"] = attachment
            .driver_opts
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect::<Map<_, _>>()
            .into();
    }
    if attachment.gw_priority != 0 {
        endpoint["GwPriority"] = attachment.gw_priority.into();
    }
    let mut ipam = Map::new();
    if !attachment.ip.is_empty() {
        ipam.insert("IPv4Address".into(), attachment.ip.into());
    }
    if !attachment.ip6.is_empty() {
        ipam.insert("IPv6Address".into(), attachment.ip6.into());
    }
    if !attachment.link_local.is_empty() {
        ipam.insert("LinkLocalIPs".into(), attachment.link_local.into());
    }
    if !ipam.is_empty() {
        endpoint["IPAMConfig"] = ipam.into();
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        assert_eq!(parse("host").unwrap().target, "host");
        let attachment = parse(
            "name=n,alias=a,alias=b,ip=1.2.3.4,driver-opt=k=v,gw-priority=-5,mac-address=92:d0:c6:0a:29:33",
        )
        .unwrap();
        assert_eq!(
            (attachment.target.as_str(), attachment.aliases.len(), attachment.gw_priority),
            ("n", 2, -5)
        );
        assert_eq!(parse("name=n,foo=1").unwrap_err(), "invalid field key foo");
        assert_eq!(parse("alias=a").unwrap_err(), "network name/id is not specified");
    }

    #[test]
    fn the_first_network_takes_the_general_options() {
        let general = General { aliases: vec!["x".into()], ip: "1.2.3.4".into(), ..General::default() };
        let (mode, endpoints) = endpoints(vec![parse("n").unwrap(), parse("m").unwrap()], general).unwrap();
        assert_eq!(mode, "n");
        assert_eq!(
            endpoints,
            json!({"n": {"Aliases": ["x"], "IPAMConfig": {"IPv4Address": "1.2.3.4"}}, "m": {}})
        );
    }

    #[test]
    fn conflicts_are_told() {
        let fails = |attachments: &[&str], general: General| {
            endpoints(attachments.iter().map(|text| parse(text).unwrap()).collect(), general).unwrap_err()
        };
        assert_eq!(
            fails(&["n", "host"], General::default()),
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        );
        assert_eq!(fails(&["n", "n"], General::default()), "network \"n\" is specified multiple times");
        assert_eq!(
            fails(&[], General { aliases: vec!["x".into()], ..General::default() }),
            "network-scoped aliases are only supported for user-defined networks"
        );
    }
}
