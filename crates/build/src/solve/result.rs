//! The configuration of what was built, as BuildKit writes it (moby `dockerfile2llb/image.go`, `containerimage/writer.go`).

use super::graph::Done;
use crate::{
    error::{BuildError, Result},
    plan::Plan,
};
use minke_image::ImageConfig;
use minke_model::{Kind, Timestamp, id::Digest, image::ImageDefaults};
use serde_json::{Map, Value, json};

/// The comment of what a build adds to a history.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// The configuration of a plan's image. `copied` is when a context that it begins with became a layer.
pub(super) fn config(
    plan: &Plan,
    done: &[Done],
    diff_ids: &[Digest],
    copied: Option<Timestamp>,
) -> Result<ImageConfig> {
    let image = &plan.image;
    let epoch =
        plan.source_date_epoch.map(|seconds| Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000)));
    let mut history: Vec<Value> = Vec::new();
    let mut last = copied;
    if let Some(base) = &image.base {
        history.extend(base_history(&base.raw));
        last = base.history.iter().rev().find_map(|entry| entry.created).or(last);
    }
    // Until the first layer is made nothing has a time of its own: then that of the first.
    let first = image.history.iter().find_map(|made| made.layer).and_then(|id| done.get(id.0));
    let mut now = epoch.or(first.map(|done| done.left.created)).or(last).unwrap_or_else(Timestamp::now);
    for made in &image.history {
        if let (None, Some(done)) = (epoch, made.layer.and_then(|id| done.get(id.0))) {
            now = done.left.created;
        }
        let mut entry =
            json!({ "created": now.to_string(), "created_by": made.created_by, "comment": COMMENT });
        if made.layer.is_none() {
            entry["empty_layer"] = json!(true);
        }
        history.push(entry);
    }
    let created = match image.history.is_empty() {
        true => epoch.or(last).unwrap_or(now),
        false => now,
    };
    let mut whole = json!({
        "architecture": image.platform.architecture,
        "config": defaults(&image.defaults),
        "created": created.to_string(),
        "history": history,
        "os": image.platform.os,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    for (name, value) in [("author", &image.author), ("variant", &image.platform.variant)] {
        if !value.is_empty() {
            whole[name] = json!(value);
        }
    }
    let bytes = serde_json::to_vec(&whole).map_err(|e| {
        BuildError::other(Kind::Internal, format!("cannot write the image's configuration: {e}"))
    })?;
    ImageConfig::parse(&bytes).map_err(BuildError::Image)
}

/// The entries of the configuration it began with, as they are.
fn base_history(raw: &[u8]) -> Vec<Value> {
    let whole: Value = serde_json::from_slice(raw).unwrap_or_default();
    whole.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn defaults(defaults: &ImageDefaults) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value, is_set: bool| {
        if is_set {
            out.insert(name.to_owned(), value);
        }
    };
    let set = |names: Vec<String>| Value::Object(names.into_iter().map(|name| (name, json!({}))).collect());
    put("User", json!(defaults.user), !defaults.user.is_empty());
    let ports: Vec<String> = defaults.exposed_ports.iter().map(ToString::to_string).collect();
    put("ExposedPorts", set(ports), !defaults.exposed_ports.is_empty());
    put("Env", json!(defaults.env), !defaults.env.is_empty());
    put(
        "Entrypoint",
        json!(defaults.entrypoint),
        defaults.entrypoint.as_ref().is_some_and(|e| !e.is_empty()),
    );
    put("Cmd", json!(defaults.cmd), defaults.cmd.as_ref().is_some_and(|c| !c.is_empty()));
    put("Volumes", set(defaults.volumes.iter().cloned().collect()), !defaults.volumes.is_empty());
    put("WorkingDir", json!(defaults.working_dir), !defaults.working_dir.is_empty());
    put("Labels", json!(defaults.labels), !defaults.labels.is_empty());
    put("StopSignal", json!(defaults.stop_signal), defaults.stop_signal.is_some());
    put("ArgsEscaped", json!(true), defaults.args_escaped);
    put("OnBuild", json!(defaults.on_build), !defaults.on_build.is_empty());
    put("StopTimeout", json!(defaults.stop_timeout), defaults.stop_timeout.is_some());
    put("Shell", json!(defaults.shell), defaults.shell.as_ref().is_some_and(|s| !s.is_empty()));
    if let Some(health) = &defaults.healthcheck {
        let mut value = Map::new();
        if let Some(test) = &health.test {
            value.insert("Test".into(), json!(test));
        }
        for (name, nanos) in [
            ("Interval", health.interval),
            ("Timeout", health.timeout),
            ("StartPeriod", health.start_period),
            ("StartInterval", health.start_interval),
            ("Retries", health.retries.into()),
        ] {
            if nanos != 0 {
                value.insert(name.into(), json!(nanos));
            }
        }
        put("Healthcheck", Value::Object(value), true);
    }
    Value::Object(out)
}
