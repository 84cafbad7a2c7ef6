//! JSON, as BuildKit's `client.SolveStatus` is written: one object a happening.

use super::{View, steps::Steps};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minke_engine::build::request::BuildEvent;
use minke_model::Timestamp;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Each happening as it came.
pub(super) struct Raw;

impl View for Raw {
    fn event(&mut self, _: &Steps, event: &BuildEvent, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", value(event))
    }

    fn end(&mut self, _: &Steps, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn value(event: &BuildEvent) -> Value {
    let time = |time: &Option<Timestamp>| time.as_ref().map(ToString::to_string);
    match event {
        BuildEvent::Vertex(vertex) => {
            let mut one = json!({ "digest": vertex.digest.as_str(), "name": vertex.name });
            let inputs: Vec<&str> = vertex.inputs.iter().map(|input| input.as_str()).collect();
            for (key, value) in [
                ("inputs", (!inputs.is_empty()).then(|| json!(inputs))),
                ("started", time(&vertex.started).map(Value::from)),
                ("completed", time(&vertex.completed).map(Value::from)),
                ("cached", vertex.cached.then_some(Value::Bool(true))),
                ("error", vertex.error.clone().map(Value::from)),
            ] {
                if let Some(value) = value {
                    one[key] = value;
                }
            }
            json!({ "vertexes": [one] })
        }
        BuildEvent::Status(status) => json!({ "statuses": [{
            "id": status.id,
            "vertex": status.vertex.as_str(),
            "name": status.name,
            "total": status.total,
            "current": status.current,
            "timestamp": status.time.to_string(),
            "started": time(&status.started),
            "completed": time(&status.completed),
        }] }),
        BuildEvent::Log(log) => json!({ "logs": [{
            "vertex": log.vertex.as_str(),
            "stream": log.stream,
            "data": STANDARD.encode(&log.bytes),
            "timestamp": log.time.to_string(),
        }] }),
        BuildEvent::Warning(warning) => json!({ "warnings": [{
            "vertex": warning.vertex.as_str(),
            "level": warning.level,
            "short": STANDARD.encode(&warning.short),
            "url": warning.url,
        }] }),
    }
}
