//! Tasks of the cluster.

use super::{Routes, ok};
use crate::{
    error::Result,
    request::Ask,
    response::Answer,
    router::Endpoint as E,
    wire::task::{Networks, Task},
};
use minke_cluster::control::{Control, Filters};

async fn networks(control: &Control) -> Result<Networks> {
    Ok(control.networks().await?.into_iter().map(|n| (n.id.clone(), n)).collect())
}

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::TaskList => {
            let filters = Filters::from(ask.query.filters()?);
            let control = routes.control()?;
            let tasks = control.tasks(&filters).await?;
            let networks = networks(&control).await?;
            ok(&tasks.iter().map(|task| Task::new(task, &networks)).collect::<Vec<_>>())
        }
        _ => {
            let control = routes.control()?;
            let task = control.task(&ask.name).await?;
            ok(&Task::new(&task, &networks(&control).await?))
        }
    }
}
