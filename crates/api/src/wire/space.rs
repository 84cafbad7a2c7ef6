//! `GET /system/space`, Minke's own: how full the disk is, and what would go in which order.

use minke_engine::space::{Plan, Thing, Verdict, View, Watermarks};
use serde::Serialize;

/// The disk and the plan for it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Space {
    total: u64,
    free: u64,
    /// Percent.
    used: u8,
    high: u8,
    low: u8,
    keep_seconds: i64,
    wanted: u64,
    things: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "Type")]
    sort: &'static str,
    #[serde(rename = "ID")]
    id: String,
    name: String,
    size: u64,
    last_used: String,
    /// `goes`, `next` or `stays`.
    verdict: &'static str,
    /// Why it stays.
    why: String,
}

impl Space {
    pub(crate) fn new(view: &View, plan: &Plan, marks: Watermarks) -> Self {
        Self {
            total: view.total,
            free: view.free,
            used: plan.used,
            high: marks.high,
            low: marks.low,
            keep_seconds: marks.keep,
            wanted: plan.wanted,
            things: plan.things.iter().map(row).collect(),
        }
    }
}

fn row((thing, verdict): &(Thing, Verdict)) -> Row {
    let (verdict, why) = match verdict {
        Verdict::Goes => ("goes", String::new()),
        Verdict::Next => ("next", String::new()),
        Verdict::Stays(why) => ("stays", why.clone()),
    };
    Row {
        sort: thing.sort.name(),
        id: thing.id.clone(),
        name: thing.name.clone(),
        size: thing.bytes,
        last_used: thing.used.to_string(),
        verdict,
        why,
    }
}
