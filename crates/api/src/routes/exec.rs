//! Execs: further processes in a running container.

use super::{Routes, ok, to_its_end};
use crate::{
    error::{ApiError, Result},
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

async fn create(routes: &Routes, mut ask: Ask) -> Result<Answer> {
    let body: CreateBody = ask.json().await?;
    if body.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(ApiError::invalid("No exec command specified"));
    }
    let id = routes.engine.containers.exec_create(&ask.name, ExecSpec::from(body)).await?;
    response::json(StatusCode::CREATED, &json!({ "Id": id.as_str() }))
}

async fn start(routes: &Routes, mut ask: Ask) -> Result<Answer> {
    let body: StartBody = ask.json().await?;
    let containers = routes.engine.containers.clone();
    let exec = containers.exec_check(&ask.name)?;
    let size = body.console_size.filter(|_| body.tty);
    let wish = ExecStart { detach: body.detach, console_size: size };
    let id = ask.name.clone();
    if body.detach {
        to_its_end(async move { containers.exec_start(&id, wish).await }).await?;
        return Ok(response::empty(StatusCode::OK));
    }
    let takeover = ask.takeover()?;
    let head = Head { upgrade: ask.upgrades(), multiplexed: !body.tty && ask.dialect.names_multiplexed };
    let server = routes.name.to_str().unwrap_or_default().to_owned();
    let takes_input = exec.spec.attach_stdin;
    // Started before the connection is taken over: what the request itself has wrong is an answer of its own. Whoever
    // asked may be gone before it runs; it runs all the same.
    let started =
        to_its_end(async move { Ok::<_, ApiError>(containers.exec_start(&id, wish).await) }).await?;
    let started = match started {
        Err(e) if !matches!(e, minke_engine::Error::Start { .. }) => return Err(e.into()),
        other => other,
    };
    takeover.claim(Box::new(move |mut socket| {
        Box::pin(async move {
            let more = [
                ("Api-Version", NEWEST),
                ("Docker-Experimental", "false"),
                ("Ostype", "linux"),
                ("Server", &server),
            ];
            if socket.write_all(&head.to_bytes(&more)).await.is_err() {
                return;
            }
            match started {
                Ok(Some(attachment)) => {
                    stream::run(socket, attachment, takes_input).await;
                }
                Ok(None) => {}
                Err(e) => stream::say(socket, body.tty, &format!("{e}\r\n")).await,
            }
        })
    }));
    Ok(response::empty(StatusCode::OK))
}
