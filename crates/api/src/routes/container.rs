//! Verbs of containers.

use super::{Routes, done, ok, platform_of, repository_and_tag, to_its_end};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::{config::Config, create, prune, update::UpdateBody},
};
use futures_util::{FutureExt as _, stream};
use http::StatusCode;
use minke_engine::{
    ChangeKind,
    container::{Commit, Containers, CreateContainer, RemoveOptions, StopOptions, Update, WaitResult},
};
use minke_model::{image::ImageDefaults, resources::Resources};
use serde_json::{Value, json};

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let containers = routes.engine.containers.clone();
    let name = ask.name.clone();
    match ask.endpoint {
        E::ContainerCreate => create_container(containers, ask).await,
        E::ContainerStart => start(containers, ask).await,
        E::ContainerStop => {
            let options = stop_options(&ask)?;
            let stopped = to_its_end(async move { containers.stop(&name, options).await }).await?;
            if stopped { done() } else { Ok(response::empty(StatusCode::NOT_MODIFIED)) }
        }
        E::ContainerRestart => {
            let options = stop_options(&ask)?;
            to_its_end(async move { containers.restart(&name, options).await }).await?;
            done()
        }
        E::ContainerKill => {
            let signal = ask.query.filled("signal");
            let asked = name.clone();
            let killed = to_its_end(async move { containers.kill(&name, signal.as_deref()).await }).await;
            killed.map_err(|e| cannot_kill(e, &asked))?;
            done()
        }
        E::ContainerPause => {
            to_its_end(async move { containers.pause(&name).await }).await?;
            done()
        }
        E::ContainerUnpause => {
            to_its_end(async move { containers.unpause(&name).await }).await?;
            done()
        }
        E::ContainerRename => {
            let new = ask.query.get("name").to_owned();
            if new.is_empty() {
                return Err(ApiError::invalid("Neither old nor new names may be empty"));
            }
            to_its_end(async move { containers.rename(&name, &new).await }).await?;
            done()
        }
        E::ContainerResize => {
            let (rows, columns) = (ask.query.size("h", "height")?, ask.query.size("w", "width")?);
            containers.resize(&name, rows, columns).await?;
            Ok(response::empty(StatusCode::OK))
        }
        E::ContainerUpdate => update(containers, ask).await,
        E::ContainerRemove => {
            check_named(&name)?;
            let query = &ask.query;
            let options = RemoveOptions {
                force: query.flag("force"),
                volumes: query.flag("v"),
                link: query.flag("link"),
            };
            to_its_end(async move { containers.remove(&name, options).await }).await?;
            done()
        }
        E::ContainerPrune => {
            let filters = ask.filters()?;
            let pruned = to_its_end(async move { containers.prune(&filters).await }).await?;
            ok(&prune::Containers {
                containers_deleted: crate::wire::or_null(&pruned.deleted),
                space_reclaimed: pruned.space,
            })
        }
        E::ContainerTop => {
            let top = containers.top(&name, ask.query.get("ps_args")).await?;
            ok(&json!({ "Processes": top.processes, "Titles": top.titles }))
        }
        E::ContainerChanges => changes(containers, &name).await,
        E::ContainerWait => wait(containers, ask).await,
        _ => commit(containers, ask).await,
    }
}

/// What was tried before the reason, once.
fn cannot_kill(e: ApiError, name: &str) -> ApiError {
    let tried = format!("cannot kill container: {name}");
    if e.message.starts_with(&tried) { e } else { e.context(tried) }
}

/// Refuses the empty name, which a path may hold.
pub(super) fn check_named(name: &str) -> Result<()> {
    match name {
        "" => Err(ApiError::invalid("invalid name or ID supplied: \"\"")),
        _ => Ok(()),
    }
}

async fn create_container(containers: Containers, ask: Ask) -> Result<Answer> {
    let platform = platform_of(ask.query.get("platform"))?;
    let name = ask.query.filled("name");
    let Some(body) = ask.value().await? else {
        return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
    };
    let cpus = std::thread::available_parallelism().map_or(1, Into::into);
    let mut asked = create::parse(body, platform, cpus)?;
    for bind in asked.spec.binds.iter_mut().flatten() {
        bind.shallow = ask.dialect.shallow_read_only;
    }
    let wish = CreateContainer { name, spec: asked.spec };
    let created = to_its_end(async move { containers.create(wish).await }).await?;
    let mut warnings = created.warnings;
    warnings.extend(asked.warnings);
    response::json(StatusCode::CREATED, &json!({ "Id": created.id.as_str(), "Warnings": warnings }))
}

async fn start(containers: Containers, ask: Ask) -> Result<Answer> {
    if ask.body.length.is_none_or(|length| length > 7) {
        return Err(ApiError::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if !ask.query.get("checkpoint").is_empty() {
        return Err(ApiError::invalid("checkpoint is only supported in experimental mode"));
    }
    to_its_end(async move { containers.start(&ask.name).await }).await?;
    done()
}

fn stop_options(ask: &Ask) -> Result<StopOptions> {
    Ok(StopOptions { signal: ask.query.filled("signal"), timeout: ask.query.number("t")? })
}

async fn update(containers: Containers, ask: Ask) -> Result<Answer> {
    let body: UpdateBody = ask.json().await?;
    let cpus = std::thread::available_parallelism().map_or(1, Into::into);
    body.resources.check(cpus, true)?;
    let restart = if body.restart_policy.is_absent() {
        None
    } else {
        Some(create::parse_restart(&body.restart_policy)?)
    };
    let mut resources = Resources::from(&body.resources);
    // Everything below 1 means "without limit" here.
    resources.pids_limit = resources.pids_limit.map(|limit| limit.max(0));
    let wish = Update { resources, restart };
    let mut warnings = to_its_end(async move { containers.update(&ask.name, wish).await }).await?;
    warnings.extend(body.resources.warnings());
    ok(&json!({ "Warnings": crate::wire::or_null(&warnings) }))
}

async fn changes(containers: Containers, name: &str) -> Result<Answer> {
    let changes = containers.changes(name).await?;
    let rows: Vec<Value> = changes
        .iter()
        .map(|change| {
            let kind = match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            };
            json!({ "Path": change.path, "Kind": kind })
        })
        .collect();
    ok(&crate::wire::or_null(&rows))
}

async fn wait(containers: Containers, ask: Ask) -> Result<Answer> {
    let condition = Containers::parse_wait_condition(ask.query.get("condition"))?;
    let end = containers.wait(&ask.name, condition).await?;
    let show = |result: WaitResult| {
        let mut body = json!({ "StatusCode": result.code });
        if let Some(message) = result.error {
            body["Error"] = json!({ "Message": message });
        }
        response::line(&body)
    };
    if !ask.dialect.waits_with_head {
        return Ok(response::whole(StatusCode::OK, "application/json", show(end.await)));
    }
    // The head goes out at once: the client knows that nothing is missed from now on.
    let body = end.map(move |result| Ok(show(result)));
    Ok(response::chunks("application/json", stream::once(body)))
}

async fn commit(containers: Containers, ask: Ask) -> Result<Answer> {
    let config = match ask.value().await? {
        None | Some(Value::Null) => None,
        Some(body) => {
            let config: Config =
                crate::wire::folded(body).map_err(|e| ApiError::invalid(format!("invalid JSON: {e}")))?;
            let given = config != Config::default();
            given.then(|| ImageDefaults::try_from(&config).map_err(ApiError::invalid)).transpose()?
        }
    };
    let query = &ask.query;
    let wish = Commit {
        reference: repository_and_tag(query.get("repo"), query.get("tag"))?,
        author: query.get("author").to_owned(),
        comment: query.get("comment").to_owned(),
        pause: query.flag_or("pause", true),
        changes: query.all("changes"),
        config,
    };
    let container = query.get("container").to_owned();
    check_named(&container)?;
    let id = to_its_end(async move { containers.commit(&container, wish).await }).await?;
    response::json(StatusCode::CREATED, &json!({ "Id": id.as_str() }))
}
