//! What a container, network or volume was made from, as one number: docker compose's own, bit for bit, so that each
//! tool knows what the other made (docker/compose `pkg/compose/hash.go`). Pure.

use crate::{
    print,
    project::{Form, Network, Part, Service, Volume},
};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The hash of a service's configuration: the label `com.docker.compose.config-hash` of its containers.
pub fn service_hash(service: &Service) -> String {
    let mut service = service.clone();
    // How many there are, and how the image came to be, does not change a container.
    service.build = None;
    service.pull_policy.clear();
    service.scale = None;
    if let Some(deploy) = &mut service.deploy {
        deploy.replicas = None;
    }
    service.depends_on.clear();
    service.profiles.clear();
    hash(&service)
}

/// The hash of a network's configuration.
pub fn network_hash(network: &Network) -> String {
    hash(network)
}

/// The hash of a volume's configuration.
pub fn volume_hash(volume: &Volume) -> String {
    let mut volume = volume.clone();
    if volume.driver.is_empty() {
        volume.driver = "local".to_owned();
    }
    hash(&volume)
}

/// SHA-256 of the JSON that Go would write.
fn hash(part: &impl Part) -> String {
    let json = print::json(&part.show(Form::Json), false);
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(json.as_bytes()) {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
