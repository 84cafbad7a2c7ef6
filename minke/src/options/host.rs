//! Names and addresses that a flag adds: `--add-host`, `--dns`, `--mac-address`.

use std::net::IpAddr;

/// What stands for the host's own address.
const GATEWAY: &str = "host-gateway";

/// `name:ip` or `name=ip`, the address perhaps in brackets; the result is `name:ip`.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let quoted = minke_model::go::quote(text);
    let pair = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, address)) = pair.filter(|(name, address)| !name.is_empty() && !address.is_empty()) else {
        return Err(format!("bad format for add-host: {quoted}"));
    };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare != GATEWAY && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {}", minke_model::go::quote(address)));
    }
    Ok(format!("{name}:{bare}"))
}

/// An address of `--dns`.
pub(crate) fn dns(text: &str) -> Result<String, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// A domain of `--dns-search`; `.` means none.
pub(crate) fn dns_search(text: &str) -> Result<String, String> {
    let text = text.trim();
    let valid = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match text {
        "." => Ok(".".into()),
        _ if text.len() <= 255 && text.trim_end_matches('.').split('.').all(valid) => Ok(text.to_owned()),
        _ => Err(format!("{text} is not a valid domain")),
    }
}

/// A hardware address.
pub(crate) fn mac(text: &str) -> Result<String, String> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.trim().split(separator).collect();
    let valid = parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()));
    if valid { Ok(text.trim().to_owned()) } else { Err(format!("{text} is not a valid mac address")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts_have_a_name_and_an_address() {
        assert_eq!(extra_host("a:1.2.3.4").unwrap(), "a:1.2.3.4");
        assert_eq!(extra_host("a=::1").unwrap(), "a:::1");
        assert_eq!(extra_host("a:[::1]").unwrap(), "a:::1");
        assert_eq!(extra_host("a:host-gateway").unwrap(), "a:host-gateway");
        assert_eq!(extra_host("a").unwrap_err(), "bad format for add-host: \"a\"");
        assert_eq!(extra_host("a:b").unwrap_err(), "invalid IP address in add-host: \"b\"");
    }

    #[test]
    fn addresses_are_checked() {
        assert!(dns("1.1.1.1").is_ok() && dns("x").is_err());
        assert!(mac("92:d0:c6:0a:29:33").is_ok() && mac("92:d0").is_err());
        assert!(dns_search("example.com").is_ok() && dns_search(".").is_ok() && dns_search("a..b").is_err());
    }
}
