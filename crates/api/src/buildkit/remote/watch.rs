//! Progress as it travels, back to the build room's events.

use crate::buildkit::proto::{Timestamp as WireTime, control::StatusResponse};
use minke_engine::build::{
    Lines,
    error::Source,
    request::{BuildEvent, Vertex, VertexLog, VertexStatus, VertexWarning},
};
use minke_model::{Timestamp, id::Digest};

fn time(wire: WireTime) -> Timestamp {
    Timestamp::from_nanos(wire.seconds.saturating_mul(1_000_000_000).saturating_add(wire.nanos.into()))
}

/// What one message tells: steps, their parts, what they said, what checks found, ends of steps. A step whose digest is
/// none is left out.
pub(super) fn events(status: StatusResponse) -> Vec<BuildEvent> {
    let mut events = Vec::new();
    let mut ended = Vec::new();
    for vertex in status.vertexes {
        let Some(digest) = Digest::parse(&vertex.digest) else { continue };
        let vertex = Vertex {
            digest,
            inputs: vertex.inputs.iter().filter_map(|input| Digest::parse(input)).collect(),
            name: vertex.name,
            started: vertex.started.map(time),
            completed: vertex.completed.map(time),
            cached: vertex.cached,
            error: Some(vertex.error).filter(|error| !error.is_empty()),
        };
        if vertex.completed.is_some() {
            // What it did and said comes before its end.
            events.push(BuildEvent::Vertex(Vertex { completed: None, error: None, ..vertex.clone() }));
            ended.push(BuildEvent::Vertex(vertex));
        } else {
            events.push(BuildEvent::Vertex(vertex));
        }
    }
    for part in status.statuses {
        let Some(vertex) = Digest::parse(&part.vertex) else { continue };
        events.push(BuildEvent::Status(VertexStatus {
            id: part.id,
            vertex,
            name: part.name,
            current: part.current,
            total: part.total,
            time: part.timestamp.map(time).unwrap_or_else(Timestamp::now),
            started: part.started.map(time),
            completed: part.completed.map(time),
        }));
    }
    for log in status.logs {
        let Some(vertex) = Digest::parse(&log.vertex) else { continue };
        events.push(BuildEvent::Log(VertexLog {
            vertex,
            stream: if log.stream == 2 { 2 } else { 1 },
            bytes: log.msg,
            time: log.timestamp.map(time).unwrap_or_else(Timestamp::now),
        }));
    }
    for warning in status.warnings {
        let Some(vertex) = Digest::parse(&warning.vertex) else { continue };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (file, source) =
            warning.info.map(|info| (info.filename.clone(), text(&info.data))).unwrap_or_default();
        let line = |line: i32| u32::try_from(line).unwrap_or_default();
        let lines = warning.ranges.first().map(|range| Lines {
            first: range.start.map_or(0, |at| line(at.line)),
            last: range.end.map_or(0, |at| line(at.line)),
        });
        events.push(BuildEvent::Warning(VertexWarning {
            vertex,
            level: i32::try_from(warning.level).unwrap_or_default(),
            short: text(&warning.short),
            detail: warning.detail.iter().map(|line| text(line)).collect(),
            url: warning.url,
            source: Source { file: file.into(), text: source.into() },
            lines: lines.unwrap_or_default(),
        }));
    }
    events.extend(ended);
    events
}
