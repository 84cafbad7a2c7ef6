//! Services of the cluster.

use super::{Routes, ok, swarm::seen_version, to_its_end};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::service::{CreateAnswer, Service, ServiceSpec, UpdateAnswer},
};
use http::StatusCode;
use minke_cluster::control::{Control, Filters, network::PREDEFINED, service::Credentials};
use minke_model::service::ServiceSpec as Spec;

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::ServiceList => {
            let filters = Filters::from(ask.query.filters()?);
            let with_status = truth(&ask, "status")?;
            let control = routes.control()?;
            let services = control.services(&filters).await?;
            let mut rows: Vec<Service> = services.iter().map(|s| Service::new(s)).collect();
            if with_status {
                let tallies = control.tallies(&services).await?;
                rows = rows.into_iter().zip(tallies).map(|(row, tally)| row.with_tally(tally)).collect();
            }
            ok(&rows)
        }
        E::ServiceInspect => {
            let with_defaults = truth(&ask, "insertDefaults")?;
            let service = Service::new(&*routes.control()?.service(&ask.name).await?);
            ok(&if with_defaults { service.with_defaults() } else { service })
        }
        E::ServiceCreate => {
            let body: ServiceSpec = ask.json().await?;
            let control = routes.control()?;
            let spec = parse(routes, &control, body).await?;
            let credentials = credentials(&ask);
            let id = to_its_end(async move { control.create_service(spec, credentials).await }).await?;
            let answer = CreateAnswer { id: id.as_str().to_owned(), warnings: Vec::new() };
            response::json(StatusCode::CREATED, &answer)
        }
        E::ServiceUpdate => update(routes, ask).await,
        _ => {
            let control = routes.control()?;
            let service = control.service(&ask.name).await?;
            to_its_end(async move { control.remove_service(&service.id).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
    }
}

async fn update(routes: &Routes, ask: Ask) -> Result<Answer> {
    let body: ServiceSpec = ask.json().await?;
    let version = seen_version(&ask, "service", true)?;
    let control = routes.control()?;
    let spec = parse(routes, &control, body).await?;
    let service = control.service(&ask.name).await?;
    let credentials = match (credentials(&ask), ask.query.get("registryAuthFrom")) {
        (Some(given), _) => Credentials::Given(given),
        (None, "" | "spec") => Credentials::Keep,
        (None, "previous-spec") => Credentials::Previous,
        _ => return Err(ApiError::internal("unsupported registryAuthFrom value")),
    };
    let rolls_back = match ask.query.get("rollback") {
        "" | "none" => false,
        "previous" => true,
        other => return Err(ApiError::internal(format!("unrecognized rollback option {other}"))),
    };
    to_its_end(async move {
        match rolls_back {
            true => control.roll_back_service(&service.id, version).await,
            false => control.update_service(&service.id, version, spec, credentials).await,
        }
    })
    .await?;
    ok(&UpdateAnswer { warnings: None })
}

/// `X-Registry-Auth`, as it came: the node that pulls reads it.
fn credentials(ask: &Ask) -> Option<String> {
    let text = ask.headers.get("X-Registry-Auth")?.to_str().ok()?;
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A truth as Go parses it.
fn truth(ask: &Ask, name: &str) -> Result<bool> {
    match ask.query.get(name) {
        "" => Ok(false),
        text => minke_model::go::parse_bool(text).ok_or_else(|| {
            ApiError::invalid(format!(
                "invalid value for {name}: {text}: strconv.ParseBool: parsing {}: invalid syntax",
                minke_model::go::quote(text)
            ))
        }),
    }
}

/// A service as asked, with its networks by their ids.
async fn parse(routes: &Routes, control: &Control, mut body: ServiceSpec) -> Result<Spec> {
    for network in body.networks_mut() {
        network.target = resolve(routes, control, &network.target).await?;
    }
    body.parse()
}

/// The id of a network of the cluster, or the name of one that every node has.
async fn resolve(routes: &Routes, control: &Control, target: &str) -> Result<String> {
    if PREDEFINED.contains(&target) {
        return Ok(target.to_owned());
    }
    let missing = match control.network(target).await {
        Ok(network) => return Ok(network.id.as_str().to_owned()),
        Err(e) => e,
    };
    let Ok(local) = routes.engine.networks.inspect(target) else {
        // dockerd answers with 500: nobody classed this error of its.
        let e = ApiError::from(missing);
        return Err(match e.status {
            StatusCode::NOT_FOUND => ApiError::internal(e.message),
            _ => e,
        });
    };
    let name = &local.network.spec.name;
    if PREDEFINED.contains(&name.as_str()) {
        return Ok(name.clone());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        format!(
            "The network {name} cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver."
        ),
    ))
}
