//! `attach`, over a connection that is taken over, and over a websocket.

use super::Routes;
use crate::{
    error::{ApiError, Result},
    frames::Framing,
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    stream::{self, End, Head},
    websocket,
};
use http::{HeaderValue, StatusCode, header};
use minke_engine::container::AttachOptions;
use tokio::io::AsyncWriteExt as _;

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::ContainerAttach => attach(routes, ask).await.or_else(refuse),
        _ => attach_websocket(routes, ask).await,
    }
}

fn options(ask: &Ask) -> AttachOptions {
    let query = &ask.query;
    AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        detach_keys: query.get("detachKeys").to_owned(),
    }
}

/// A refusal in the form that clients of streams expect: a line of text, then the end.
fn refuse(e: ApiError) -> Result<Answer> {
    let mut answer = response::whole(e.status, stream::RAW, format!("{e}\r\n"));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(answer)
}

async fn attach(routes: &Routes, ask: Ask) -> Result<Answer> {
    let takeover = ask.takeover()?;
    let options = options(&ask);
    let takes_input = options.stdin && options.stream;
    let containers = routes.engine.containers.clone();
    let attachment = containers.attach(&ask.name, options).await?;
    let head =
        Head { upgrade: ask.upgrades(), multiplexed: !attachment.tty && ask.dialect.names_multiplexed };
    let name = ask.name.clone();
    takeover.claim(Box::new(move |mut socket| {
        Box::pin(async move {
            if socket.write_all(&head.to_bytes(&[])).await.is_err() {
                return;
            }
            socket.drained().await;
            if stream::run(socket, attachment, takes_input, Framing::Keep).await == End::Detached {
                containers.detached(&name);
            }
        })
    }));
    Ok(response::empty(StatusCode::OK))
}

async fn attach_websocket(routes: &Routes, ask: Ask) -> Result<Answer> {
    let takeover = ask.takeover()?;
    let options = options(&ask);
    let takes_input = options.stdin;
    // Who is not there is told before who does not speak the protocol.
    routes.engine.containers.get(&ask.name)?;
    let head = match websocket::head(&ask.headers) {
        Ok(head) => head,
        Err(e) => return Ok(response::whole(e.status, "text/plain; charset=utf-8", e.message)),
    };
    let attachment = routes.engine.containers.attach(&ask.name, options).await?;
    let binary = ask.dialect.binary_websocket;
    takeover.claim(Box::new(move |mut socket| {
        Box::pin(async move {
            if socket.write_all(&head).await.is_ok() {
                websocket::run(socket, attachment, takes_input, binary).await;
            }
        })
    }));
    Ok(response::empty(StatusCode::OK))
}
