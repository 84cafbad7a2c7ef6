//! Attributes that the specification has and Minke does nothing with: each is named with its line. Pure.

use crate::{
    error::{Fault, Place},
    node::{Data, Node},
    path::Path,
};

/// Attributes, and why.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("models.*", "Minke runs no language models"),
    ("services.*.models", "Minke runs no language models"),
    ("services.*.provider", "Minke runs no programs that provide services"),
    ("services.*.use_api_socket", "Minke hands containers no credentials of its socket; mount it"),
    ("services.*.credential_spec", "it is for Windows containers"),
    ("services.*.isolation", "it is for Windows containers"),
    ("services.*.cpu_count", "it is for Windows containers; use cpus"),
    ("services.*.cpu_percent", "it is for Windows containers; use cpus"),
    ("services.*.build.isolation", "it is for Windows containers"),
    ("services.*.develop", "nothing watches files here"),
    ("services.*.deploy.placement", "it is for a cluster, and this is one machine"),
    ("services.*.deploy.endpoint_mode", "it is for a cluster, and this is one machine"),
    ("services.*.deploy.update_config", "it is for a cluster, and this is one machine"),
    ("services.*.deploy.rollback_config", "it is for a cluster, and this is one machine"),
    (
        "services.*.deploy.resources.reservations.generic_resources",
        "it is for a cluster, and this is one machine",
    ),
];

/// A warning for each that is there.
pub(crate) fn unhonoured(node: &Node, path: &Path, files: &[String], warnings: &mut Vec<Fault>) {
    if let Some(why) = path.find(ATTRIBUTES) {
        let message = format!("{path} is not honoured: {why}");
        warnings.push(Fault::at(Place::of(node.spot(), files), message));
        return;
    }
    if let Data::Map(map) = &node.data {
        map.iter().for_each(|(key, value)| unhonoured(value, &path.next(key), files, warnings));
    }
}
