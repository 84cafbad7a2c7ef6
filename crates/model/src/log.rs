//! Where a container's output goes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A log driver and its options, as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// `json-file`, `local`, `none`…; never empty in a container's record.
    pub driver: String,
    /// `max-size`, `max-file`, `labels`, `env`, `tag`…
    pub options: BTreeMap<String, String>,
}
