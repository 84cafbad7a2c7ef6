//! What a client is told of a build that failed: a status, and beside it where in the Dockerfile, and which step
//! (BuildKit `util/grpcerrors`, `solver/errdefs`).

use super::proto::{Any, RpcStatus};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minke_engine::build::{BuildError, Lines, dockerfile::fault::Fault, error::Source};
use minke_model::{Kind, id::Digest};
use prost::Message as _;
use serde_json::json;
use tonic::{Code, Status};

/// A failure as it is sent.
pub(crate) fn status(error: &BuildError) -> Status {
    from_rpc(rpc(error))
}

/// A failure as builds' records keep it.
pub(crate) fn rpc(error: &BuildError) -> RpcStatus {
    let code = match error.kind() {
        Kind::Cancelled => Code::Cancelled,
        // BuildKit's errors have no code, and its clients put a code's name before the sentence.
        _ => Code::Unknown,
    };
    let mut details = Vec::new();
    if let Some((source, lines)) = error.place().filter(|_| !is_of_whole_file(error)) {
        details.push(located(source, lines));
    }
    if let Some(vertex) = error.vertex() {
        details.push(of_vertex(vertex));
    }
    RpcStatus { code: code as i32, message: error.to_string(), details }
}

/// Nothing in the file is wrong where something is missing; of some mistakes BuildKit does not know where they are.
fn is_of_whole_file(error: &BuildError) -> bool {
    matches!(error, BuildError::Dockerfile(e) if matches!(e.fault, Fault::Target(_) | Fault::Empty | Fault::NetworkHost | Fault::StageIndex(_)))
}

/// A status with its details.
pub(crate) fn from_rpc(rpc: RpcStatus) -> Status {
    let details = rpc.encode_to_vec();
    Status::with_details(Code::from(rpc.code), rpc.message, details.into())
}

/// A status as records and answers of other calls keep it.
pub(crate) fn to_rpc(status: &Status) -> RpcStatus {
    let kept = RpcStatus::decode(status.details()).ok().filter(|kept| kept.code != 0);
    kept.unwrap_or_else(|| RpcStatus {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// There is no such question that a frontend can be asked.
pub(crate) fn unknown_question(name: &str) -> Status {
    let detail = any("errdefs.Subrequest+json", json!({ "name": name }));
    let message = format!("unsupported request {name}");
    from_rpc(RpcStatus { code: Code::Unknown as i32, message, details: vec![detail] })
}

/// BuildKit's typed details are JSON, under the names that its Go packages have registered.
fn any(name: &str, value: serde_json::Value) -> Any {
    Any { type_url: format!("github.com/moby/buildkit/{name}"), value: value.to_string().into_bytes() }
}

fn located(source: &Source, lines: Lines) -> Any {
    let value = json!({ "info": info(source), "ranges": [range(lines)] });
    any("errdefs.Source+json", value)
}

fn of_vertex(vertex: &Digest) -> Any {
    any("errdefs.Vertex+json", json!({ "digest": vertex.as_str() }))
}

/// A file as Go's JSON has BuildKit's `pb.SourceInfo`.
pub(crate) fn info(source: &Source) -> serde_json::Value {
    json!({
        "filename": &*source.file,
        "data": STANDARD.encode(source.text.as_bytes()),
        "language": "Dockerfile",
    })
}

/// Lines as Go's JSON has BuildKit's `pb.Range`.
pub(crate) fn range(lines: Lines) -> serde_json::Value {
    json!({ "start": { "line": lines.first }, "end": { "line": lines.last.max(lines.first) } })
}
