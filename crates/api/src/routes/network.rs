//! Networks.

use super::{Routes, done, ok, to_its_end};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::{
        network::{ConnectBody, CreateBody, DisconnectBody, Inspect, Resource},
        prune,
    },
};
use http::StatusCode;
use minke_engine::network::NetworkInspection;
use minke_model::go::quote;
use serde_json::json;

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let networks = routes.engine.networks.clone();
    match ask.endpoint {
        E::NetworkList => {
            let found = networks.list(&ask.filters()?)?;
            let rows: Vec<Inspect> =
                found.iter().map(|n| show(n, ask.dialect.networks_with_containers)).collect();
            ok(&rows)
        }
        E::NetworkInspect => {
            check_verbose(&ask)?;
            ok(&show(&networks.inspect(&ask.name)?, true))
        }
        E::NetworkCreate => {
            let mut body: CreateBody = ask.json().await?;
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
            to_its_end(async move { networks.remove(&ask.name).await }).await?;
            done()
        }
        _ => {
            let filters = ask.filters()?;
            let deleted = to_its_end(async move { networks.prune(&filters).await }).await?;
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

fn check_verbose(ask: &Ask) -> Result<()> {
    let text = ask.query.get("verbose");
    let known = ["", "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"];
    match known.contains(&text) {
        true => Ok(()),
        false => Err(ApiError::invalid(format!(
            "invalid value for verbose: {text}: strconv.ParseBool: parsing {}: invalid syntax",
            quote(text)
        ))),
    }
}
