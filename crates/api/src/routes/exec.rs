//! Execs: further processes in a running container.

use super::{Routes, ok, to_its_end};
use crate::{
    error::{ApiError, Result},
    frames::Framing,
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    stream::{self, Head},
    version::NEWEST,
    wire::exec::{CreateBody, Inspect, StartBody},
};
use http::StatusCode;
use minke_engine::container::{ExecSpec, ExecStart};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::ExecCreate => create(routes, ask).await,
        E::ExecStart => start(routes, ask).await,
        E::ExecResize => {
            let (rows, columns) = (ask.query.size("h", "height")?, ask.query.size("w", "width")?);
            routes.engine.containers.exec_resize(&ask.name, rows, columns).await?;
            Ok(response::empty(StatusCode::OK))
        }
        _ => ok(&Inspect::from(&routes.engine.containers.exec_inspect(&ask.name)?)),
    }
}

async fn create(routes: &Routes, ask: Ask) -> Result<Answer> {
    let body: CreateBody = ask.json().await?;
    if body.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(ApiError::invalid("No exec command specified"));
    }
    let id = routes.engine.containers.exec_create(&ask.name, ExecSpec::from(body)).await?;
    response::json(StatusCode::CREATED, &json!({ "Id": id.as_str() }))
}

async fn start(routes: &Routes, ask: Ask) -> Result<Answer> {
    let body: StartBody = ask.json().await?;
    let containers = routes.engine.containers.clone();
    let exec = containers.exec_check(&ask.name)?;
    let size = body.console_size.filter(|_| body.tty);
    let output_only = body.tty && !exec.spec.tty;
    let wish = ExecStart { detach: body.detach, output_only, console_size: size };
    let id = ask.name.clone();
    if body.detach {
        to_its_end(async move { containers.exec_start(&id, wish).await }).await?;
        return Ok(response::empty(StatusCode::OK));
    }
    let takeover = ask.takeover()?;
    let head = Head { upgrade: ask.upgrades(), multiplexed: !body.tty && ask.dialect.names_multiplexed };
    let server = routes.name.to_str().unwrap_or_default().to_owned();
    let takes_input = exec.spec.attach_stdin;
    // Whether the client wants frames is its own word, whatever the exec has.
    let framing = match (exec.spec.tty, body.tty) {
        (true, false) => Framing::Add,
        (false, true) => Framing::Remove,
        _ => Framing::Keep,
    };
    takeover.claim(Box::new(move |mut socket| {
        Box::pin(async move {
            let more = [
                ("Api-Version", NEWEST),
                ("Docker-Experimental", "false"),
                ("Ostype", "linux"),
                ("Server", &server),
            ];
            // Before the start, as dockerd does. A client that is gone already has asked for the start all the same.
            let _ = socket.write_all(&head.to_bytes(&more)).await;
            let started = to_its_end(async move { containers.exec_start(&id, wish).await });
            let (started, ()) = tokio::join!(started, socket.drained());
            match started {
                Ok(Some(attachment)) => {
                    stream::run(socket, attachment, takes_input, framing).await;
                }
                Ok(None) => {}
                Err(e) => stream::say(socket, body.tty, &format!("{e}\r\n")).await,
            }
        })
    }));
    Ok(response::empty(StatusCode::OK))
}
