//! Why a service, a node or a task is as it is.

use super::{Control, Result};
use crate::{View, why, why::Because};

impl Control {
    /// The chain of causes of what `input` names: a service, a node, or a task.
    ///
    /// # Errors
    /// Nothing has that name; what is said then is what would be said of a task.
    pub async fn why(&self, input: &str) -> Result<Vec<Because>> {
        let (service, node) = (self.service(input).await, self.node(input).await);
        let task = match (&service, &node) {
            (Err(_), Err(_)) => Some(self.task(input).await?),
            _ => None,
        };
        let view = View::of(&self.look().await?).map_err(|crate::ClusterError::Store(error)| error)?;
        let now = self.now();
        Ok(match (service, node, task) {
            (Ok(service), ..) => why::of_service(&view, &service.id, now),
            (_, Ok(node), _) => why::of_node(&view, &node.id, now),
            (_, _, task) => task.map_or(Vec::new(), |task| why::of_task(&view, &task.task.id, now)),
        })
    }
}
