//! Execs: create, start, inspect.

use super::{is_default, wire};
use minke_engine::container::{ExecInspection, ExecSpec};
use serde::Serialize;

wire! {
    /// `POST /containers/{name}/exec`.
    struct CreateBody {
        user: String,
        privileged: bool,
        tty: bool,
        console_size: Option<(u16, u16)>,
        attach_stdin: bool,
        attach_stderr: bool,
        attach_stdout: bool,
        detach_keys: String,
        env: Option<Vec<String>>,
        working_dir: String,
        cmd: Option<Vec<String>>,
    }
}

wire! {
    /// `POST /exec/{id}/start`.
    struct StartBody {
        detach: bool,
        tty: bool,
        console_size: Option<(u16, u16)>,
    }
}

impl From<CreateBody> for ExecSpec {
    fn from(body: CreateBody) -> Self {
        Self {
            cmd: body.cmd.unwrap_or_default(),
            env: body.env.unwrap_or_default(),
            user: body.user,
            working_dir: body.working_dir,
            tty: body.tty,
            privileged: body.privileged,
            attach_stdin: body.attach_stdin,
            attach_stdout: body.attach_stdout,
            attach_stderr: body.attach_stderr,
            detach_keys: body.detach_keys,
            console_size: body.console_size,
        }
    }
}

/// `GET /exec/{id}/json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    #[serde(rename = "ID")]
    id: String,
    running: bool,
    exit_code: Option<i32>,
    process_config: ProcessConfig,
    open_stdin: bool,
    open_stderr: bool,
    open_stdout: bool,
    can_remove: bool,
    #[serde(rename = "ContainerID")]
    container_id: String,
    detach_keys: String,
    pid: i32,
}

#[derive(Debug, Serialize)]
struct ProcessConfig {
    tty: bool,
    entrypoint: String,
    arguments: Vec<String>,
    privileged: bool,
    #[serde(skip_serializing_if = "is_default")]
    user: String,
}

impl From<&ExecInspection> for Inspect {
    fn from(exec: &ExecInspection) -> Self {
        let spec = &exec.spec;
        let (entrypoint, arguments) = match spec.cmd.split_first() {
            Some((first, rest)) => (first.clone(), rest.to_vec()),
            None => (String::new(), Vec::new()),
        };
        Self {
            id: exec.id.as_str().to_owned(),
            running: exec.running,
            exit_code: exec.exit_code,
            process_config: ProcessConfig {
                tty: spec.tty,
                entrypoint,
                arguments,
                privileged: spec.privileged,
                user: spec.user.clone(),
            },
            open_stdin: spec.attach_stdin,
            open_stderr: spec.attach_stderr,
            open_stdout: spec.attach_stdout,
            can_remove: false,
            container_id: exec.container.id.as_str().to_owned(),
            detach_keys: spec.detach_keys.clone(),
            pid: exec.pid,
        }
    }
}
