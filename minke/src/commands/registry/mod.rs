//! Logging in to registries and out of them.

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod search;

/// The key under which a registry's credentials are kept: Docker Hub's is its old index.
fn key_of(server: Option<&String>) -> String {
    let bare = |server: &str| {
        let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
        rest.trim_end_matches('/').to_owned()
    };
    match server.map(|server| bare(server)) {
        None => crate::client::config_file::HUB.to_owned(),
        Some(host) if matches!(host.as_str(), "docker.io" | "index.docker.io" | "index.docker.io/v1") => {
            crate::client::config_file::HUB.to_owned()
        }
        Some(host) => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_one_key_and_others_are_hosts() {
        let key = |server: &str| key_of(Some(&server.to_owned()));
        assert_eq!(key_of(None), "https://index.docker.io/v1/");
        assert_eq!(key("docker.io"), "https://index.docker.io/v1/");
        assert_eq!(key("https://index.docker.io/v1/"), "https://index.docker.io/v1/");
        assert_eq!(key("https://localhost:5000/"), "localhost:5000");
    }
}
