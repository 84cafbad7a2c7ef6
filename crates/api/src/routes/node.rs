//! Nodes of the cluster.

use super::{Routes, ok, swarm::seen_version, to_its_end};
use crate::{
    error::Result,
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::{
        node::{Node, NodeSpec},
        swarm::tls_info,
    },
};
use http::StatusCode;
use minke_cluster::control::Filters;

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let done = || Ok(response::empty(StatusCode::OK));
    match ask.endpoint {
        E::NodeList => {
            let filters = Filters::from(ask.query.filters()?);
            let control = routes.control()?;
            let tls = tls_info(&*control.cluster().await?);
            let nodes = control.nodes(&filters).await?;
            ok(&nodes.iter().map(|n| Node::new(n, &tls)).collect::<Vec<_>>())
        }
        E::NodeInspect => {
            let control = routes.control()?;
            let tls = tls_info(&*control.cluster().await?);
            ok(&Node::new(&*control.node(&ask.name).await?, &tls))
        }
        E::NodeUpdate => {
            let spec: NodeSpec = ask.json().await?;
            let version = seen_version(&ask, "node", true)?;
            let control = routes.control()?;
            let spec = spec.parse()?;
            let node = control.node(&ask.name).await?;
            to_its_end(async move { control.update_node(&node.id, version, spec).await }).await?;
            done()
        }
        _ => {
            let (control, force) = (routes.control()?, ask.query.flag("force"));
            let node = control.node(&ask.name).await?;
            to_its_end(async move { control.remove_node(&node.id, force).await }).await?;
            done()
        }
    }
}
