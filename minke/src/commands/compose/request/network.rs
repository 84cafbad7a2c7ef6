//! A service's place in its networks.

use super::Wish;
use minke_compose::{Project, Service, ServiceNetwork};
use serde_json::{Map, Value, json};

/// The driver's option that names the interface in the container.
const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// The network mode, and the endpoints where there are some. The first network, by priority, is the mode.
pub(super) fn settings(
    project: &Project,
    service: &Service,
    wish: &Wish<'_>,
) -> Result<(String, Option<Map<String, Value>>), String> {
    if !service.network_mode.is_empty() {
        return Ok((service.network_mode.clone(), None));
    }
    if project.networks.is_empty() {
        return Ok(("none".into(), None));
    }
    let keys = match service.networks_by_priority() {
        keys if keys.is_empty() => vec!["default"],
        keys => keys,
    };
    let mut endpoints = Map::new();
    for (at, key) in keys.iter().enumerate() {
        let config = service.networks.get(*key).and_then(Option::as_ref);
        let mut endpoint = endpoint(project, service, config, wish);
        if at == 0 && !service.mac_address.is_empty() {
            let own = endpoint["MacAddress"].as_str().unwrap_or_default();
            if !own.is_empty() && own != service.mac_address {
                return Err(format!(
                    "the service-level mac_address should have the same value as network {key}"
                ));
            }
            endpoint["MacAddress"] = service.mac_address.clone().into();
        }
        endpoints.insert(name(project, key), endpoint);
    }
    let mode = keys.first().map(|key| name(project, key)).unwrap_or_default();
    Ok((mode, Some(endpoints)))
}

fn name(project: &Project, key: &str) -> String {
    project.networks.get(key).map_or_else(|| key.to_owned(), |network| network.name.clone())
}

fn endpoint(project: &Project, service: &Service, config: Option<&ServiceNetwork>, wish: &Wish<'_>) -> Value {
    let own = match (service.container_name.is_empty(), wish.number) {
        (false, _) => service.container_name.clone(),
        (true, number) => {
            let (separator, number) = (wish.separator, number.map_or(-1, i64::from));
            format!("{}{separator}{}{separator}{number}", project.name, service.name)
        }
    };
    let mut aliases = vec![own];
    if !wish.without_aliases {
        aliases.push(service.name.clone());
        aliases.extend(config.iter().flat_map(|config| config.aliases.clone()));
    }
    let mut endpoint = json!({"Aliases": aliases, "Links": wish.links});
    let Some(config) = config else { return endpoint };
    let mut options = config.driver_opts.clone();
    if !config.interface_name.is_empty() {
        options.insert(INTERFACE.to_owned(), config.interface_name.clone());
    }
    endpoint["IPAMConfig"] = json!({
        "IPv4Address": config.ipv4_address,
        "IPv6Address": config.ipv6_address,
        "LinkLocalIPs": config.link_local_ips,
    });
    endpoint["MacAddress"] = config.mac_address.clone().into();
    endpoint["GwPriority"] = config.gw_priority.into();
    if !options.is_empty() {
        endpoint["DriverOpts"] = json!(options);
    }
    endpoint
}
