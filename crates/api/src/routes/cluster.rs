//! Minke's own endpoints of a cluster: what Docker's have no word for.

use super::{Routes, to_its_end};
use crate::{
    error::Result,
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    swarm::Restore,
};
use http::{HeaderValue, StatusCode};

/// Largest backup that is taken, in bytes.
const LARGEST: usize = 1 << 30;
/// Header with the key that opens what is sealed in a backup.
const KEY: &str = "minke-backup-key";

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let door = routes.door.clone();
    match ask.endpoint {
        E::ClusterBackup => {
            let backup = to_its_end(async move { door.backup().await }).await?;
            let mut answer = response::whole(StatusCode::OK, "application/octet-stream", backup.bytes);
            if let Ok(key) = HeaderValue::from_str(&backup.key) {
                answer.headers_mut().insert(KEY, key);
            }
            Ok(answer)
        }
        E::ClusterRestore => {
            let wish = Restore {
                backup: ask.body.read(LARGEST).await?.to_vec(),
                key: ask.headers.get(KEY).and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned(),
                listen: ask.query.get("listen").to_owned(),
                advertise: ask.query.get("advertise").to_owned(),
            };
            let node = to_its_end(async move { door.restore(wish).await }).await?;
            response::json(StatusCode::OK, &node.as_str())
        }
        _ => {
            to_its_end(async move { door.spread().await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
    }
}
