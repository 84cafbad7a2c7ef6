//! What runs of a project, as the daemon tells it.

use crate::cli::Failure;
use crate::client::{Client, ClientError};
use crate::commands::segment;
use crate::format::value::Value;
use minke_compose::label;
use minke_compose::running::{Container, Image, Network, Running, State, Volume};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Containers, networks and volumes; no images.
pub(crate) fn running(client: &Client, project: &str) -> Result<Running, Failure> {
    let (containers, networks, volumes) = std::thread::scope(|scope| {
        let containers = scope.spawn(|| containers(client, project));
        let networks = scope.spawn(|| client.get("/networks", &[]));
        let volumes = client.get("/volumes", &[]);
        let join = |what: Result<Result<Value, ClientError>, _>| {
            what.unwrap_or_else(|_| Err(ClientError::Protocol("a worker of this command died".into())))
        };
        let containers =
            containers.join().unwrap_or_else(|_| Err(Failure::new("a worker of this command died")));
        (containers, join(networks.join()), volumes)
    });
    let (networks, volumes) = (networks?, volumes?);
    Ok(Running {
        containers: containers?,
        networks: (networks.items().iter())
            .map(|one| Network {
                id: one.text("Id").to_owned(),
                name: one.text("Name").to_owned(),
                labels: labels(one.at("Labels")),
            })
            .collect(),
        volumes: (volumes.list("Volumes").iter())
            .map(|one| Volume { name: one.text("Name").to_owned(), labels: labels(one.at("Labels")) })
            .collect(),
        images: BTreeMap::new(),
    })
}

/// The project's containers, stopped ones and those of `run` too.
pub(crate) fn containers(client: &Client, project: &str) -> Result<Vec<Container>, Failure> {
    Ok(list(client, project, true)?.items().iter().map(container).collect())
}

/// The daemon's list of the project's containers.
pub(crate) fn list(client: &Client, project: &str, all: bool) -> Result<Value, Failure> {
    let filters = json!({"label": [format!("{}={project}", label::PROJECT), label::CONFIG_HASH]});
    let mut query = vec![("filters", filters.to_string())];
    if all {
        query.push(("all", "1".to_owned()));
    }
    Ok(client.get("/containers/json", &query)?)
}

/// One entry of the daemon's list.
pub(crate) fn container(one: &Value) -> Container {
    let name = one
        .texts("Names")
        .into_iter()
        .map(|name| name.trim_start_matches('/'))
        .find(|name| !name.contains('/'));
    Container {
        id: one.text("Id").to_owned(),
        name: name.unwrap_or_default().to_owned(),
        state: State::parse(one.text("State")),
        created: one.int("Created"),
        labels: labels(one.at("Labels")),
        networks: (one.at("NetworkSettings.Networks").entries().iter())
            .map(|(_, network)| network.text("NetworkID").to_owned())
            .collect(),
        volumes: (one.list("Mounts").iter())
            .filter(|mount| mount.text("Type") == "volume")
            .map(|mount| mount.text("Name").to_owned())
            .collect(),
    }
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    value.entries().iter().map(|(name, value)| (name.clone(), value.as_text().to_owned())).collect()
}

/// Those of `names` that are there.
pub(crate) fn images(client: &Client, names: BTreeSet<String>) -> Result<BTreeMap<String, Image>, Failure> {
    let look = |name: &String| match client.get(&format!("/images/{}/json", segment(name)), &[]) {
        Ok(image) => {
            let tagged = crate::human::unix_seconds(image.text("Metadata.LastTagTime")).unwrap_or(0);
            Ok(Some((name.clone(), Image { id: image.text("Id").to_owned(), tagged })))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    };
    let names: Vec<String> = names.into_iter().collect();
    let mut there = BTreeMap::new();
    for group in names.chunks(super::execute::AT_ONCE) {
        let found = std::thread::scope(|scope| {
            let workers: Vec<_> = group.iter().map(|name| scope.spawn(move || look(name))).collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(ClientError::Protocol("a worker of this command died".into())))
            };
            workers.into_iter().map(join).collect::<Result<Vec<_>, _>>()
        })?;
        there.extend(found.into_iter().flatten());
    }
    Ok(there)
}
