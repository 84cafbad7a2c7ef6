//! Volumes: create, inspect, list.

use super::{Map, wire};
use minke_model::{Timestamp, volume::Volume as Model};
use serde::Serialize;

wire! {
    /// `POST /volumes/create`.
    struct CreateBody {
        name: String,
        driver: String,
        driver_opts: Map,
        labels: Map,
        cluster_volume_spec: Option<super::Empty>,
    }
}

/// A volume as inspect and list show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Volume {
    created_at: String,
    driver: String,
    labels: Option<Map>,
    mountpoint: String,
    name: String,
    options: Option<Map>,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_data: Option<Usage>,
}

/// What `system df` adds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    ref_count: i64,
    size: i64,
}

/// `GET /volumes`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct List {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) warnings: Option<Vec<String>>,
}

/// Marks volumes that no user named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

impl Volume {
    /// As dockerd shows it. `mountpoint` is its data on the host.
    pub(crate) fn new(volume: &Model, mountpoint: String) -> Self {
        let mut labels = volume.labels.clone();
        if volume.anonymous {
            labels.entry(ANONYMOUS.to_owned()).or_default();
        }
        // Whole seconds only.
        let created = Timestamp::from_nanos(volume.created.as_second().saturating_mul(1_000_000_000));
        Self {
            created_at: created.to_string(),
            driver: volume.driver.clone(),
            labels: (!labels.is_empty()).then_some(Map(labels)),
            mountpoint,
            name: volume.name.clone(),
            options: (!volume.options.is_empty()).then(|| Map(volume.options.clone())),
            scope: "local",
            usage_data: None,
        }
    }

    /// With who uses it and how much is in it.
    pub(crate) fn with_usage(mut self, users: usize, bytes: u64) -> Self {
        self.usage_data = Some(Usage {
            ref_count: i64::try_from(users).unwrap_or(i64::MAX),
            size: i64::try_from(bytes).unwrap_or(i64::MAX),
        });
        self
    }
}
