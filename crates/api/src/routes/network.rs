//! Networks.

use super::{Routes, done, ok, overlay, to_its_end};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    swarm::LocalState,
    wire::{
        network::{ConnectBody, CreateBody, DisconnectBody, Inspect, Resource},
        overlay::Inspect as OfCluster,
        prune,
    },
};
use http::StatusCode;
use minke_cluster::control::{Control, network::PREDEFINED};
use minke_engine::network::NetworkInspection;
use minke_model::{go::quote, network::NetworkDriver, overlay::ClusterNetwork};
use serde_json::json;
use std::sync::Arc;

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let networks = routes.engine.networks.clone();
    match ask.endpoint {
        E::NetworkList => {
            let filters = ask.filters()?;
            let mut found = networks.list(&filters)?;
            let mut rows = Vec::new();
            if let Ok(control) = routes.control() {
                let of_cluster = overlay::list(&control, &filters).await?;
                found.retain(|n| of_cluster.iter().all(|other| other.id != n.network.id));
                for network in &of_cluster {
                    rows.push(serde_json::to_value(OfCluster::new(network)).unwrap_or_default());
                }
            }
            let with_containers = ask.dialect.networks_with_containers;
            rows.extend(
                found.iter().map(|n| serde_json::to_value(show(n, with_containers)).unwrap_or_default()),
            );
            ok(&rows)
        }
        E::NetworkInspect => {
            let verbose = check_verbose(&ask)?;
            let scope = ask.query.get("scope");
            if scope == "swarm" && PREDEFINED.contains(&ask.name.as_str()) {
                routes.control()?;
                return ok(&OfCluster::predefined(&ask.name));
            }
            match of_cluster(routes, &ask.name, scope).await {
                Some((control, network)) => ok(&overlay::inspect(routes, &control, &network, verbose).await?),
                // What is this machine's own has the scope `local`; others are none of it.
                None if !matches!(scope, "" | "local") => {
                    Err(ApiError::new(StatusCode::NOT_FOUND, format!("network {} not found", ask.name)))
                }
                None => ok(&show(&networks.inspect(&ask.name)?, true)),
            }
        }
        E::NetworkCreate => {
            let mut body: CreateBody = ask.json().await?;
            let control = routes.control();
            if let Ok(control) = &control
                && (PREDEFINED.contains(&body.name.as_str())
                    || control.networks().await?.iter().any(|n| n.spec.name == body.name))
            {
                let text = format!("network with name {} already exists", body.name);
                return Err(ApiError::new(StatusCode::CONFLICT, text));
            }
            if body.is_of_cluster() && routes.door.standing().state != LocalState::Inactive {
                let (control, spec) = (control?, body.parse_for_cluster()?);
                let id = to_its_end(async move { control.create_network(spec).await }).await?;
                return response::json(StatusCode::CREATED, &json!({ "Id": id.as_str(), "Warning": "" }));
            }
            body.take_defaults(&networks.default_options(body.driver()))?;
            let spec = body.parse()?;
            let network = to_its_end(async move { networks.create(spec).await }).await?;
            response::json(StatusCode::CREATED, &json!({ "Id": network.id.as_str(), "Warning": "" }))
        }
        E::NetworkConnect => {
            let body: ConnectBody = ask.json().await?;
            let wish = body.endpoint_config.unwrap_or_default().parse_for_connect(&ask.name)?;
            let containers = routes.engine.containers.clone();
            super::container::check_named(&body.container)?;
            to_its_end(async move { containers.connect(&ask.name, &body.container, wish).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
        E::NetworkDisconnect => {
            let body: DisconnectBody = ask.json().await?;
            let containers = routes.engine.containers.clone();
            super::container::check_named(&body.container)?;
            to_its_end(async move { containers.disconnect(&ask.name, &body.container, body.force).await })
                .await?;
            Ok(response::empty(StatusCode::OK))
        }
        E::NetworkRemove => {
            if let Some((control, network)) = of_cluster(routes, &ask.name, "").await {
                to_its_end(async move { control.remove_network(&network.id).await }).await?;
                return done();
            }
            to_its_end(async move { networks.remove(&ask.name).await }).await?;
            done()
        }
        _ => {
            let filters = ask.filters()?;
            let control = routes.control().ok();
            let mut deleted = match &control {
                Some(control) => overlay::prune(control, &filters).await?,
                None => Vec::new(),
            };
            deleted.extend(to_its_end(async move { networks.prune(&filters).await }).await?);
            ok(&prune::Networks { networks_deleted: crate::wire::or_null(&deleted) })
        }
    }
}

fn show(found: &NetworkInspection, with_containers: bool) -> Inspect {
    let containers = found.containers.iter().filter(|_| with_containers);
    let rows =
        containers.map(|(id, (name, endpoint))| (id.as_str().to_owned(), Resource::new(name, endpoint)));
    Inspect::new(&found.network, rows.collect())
}

/// The network of the cluster that `name` means, where this machine may know it. What is exactly the name or id of one of
/// the machine's own is that one.
async fn of_cluster(routes: &Routes, name: &str, scope: &str) -> Option<(Control, Arc<ClusterNetwork>)> {
    if scope == "local" {
        return None;
    }
    let control = routes.control().ok()?;
    if scope != "swarm"
        && let Ok(local) = routes.engine.networks.find(name)
        && local.spec.driver != NetworkDriver::Overlay
        && (local.spec.name == name || local.id.as_str() == name)
    {
        return None;
    }
    let network = control.network(name).await.ok()?;
    Some((control, network))
}

/// `verbose`: with services, of a network of the cluster.
fn check_verbose(ask: &Ask) -> Result<bool> {
    let text = ask.query.get("verbose");
    let known = ["", "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"];
    match known.contains(&text) {
        true => Ok(minke_model::go::parse_bool(text).unwrap_or(false)),
        false => Err(ApiError::invalid(format!(
            "invalid value for verbose: {text}: strconv.ParseBool: parsing {}: invalid syntax",
            quote(text)
        ))),
    }
}
