//! The daemon as a whole.

use super::{Routes, lowered, ok};
use crate::{
    error::{ApiError, Result},
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::{
        event::Message,
        image,
        space::Space,
        summary::Summary,
        system::{self, AuthAnswer, AuthConfig, CacheRecord, DiskUsage, Info},
        time,
    },
};
use http::{HeaderValue, StatusCode};
use minke_engine::{events::EventStream, registry::RegistryAuth};
use minke_model::{Timestamp, event::Noun};

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    match ask.endpoint {
        E::Ping => Ok(ping(&ask, routes.engine.machine.buildkit(), &routes.swarm_word())),
        E::Version => ok(&system::version(&routes.options.version, &routes.engine.machine.info().kernel)),
        E::Info => {
            let machine = routes.engine.machine.clone();
            // It reads many small files.
            let facts = tokio::task::spawn_blocking(move || machine.info()).await;
            let facts = facts.map_err(|e| ApiError::internal(format!("cannot look at the machine: {e}")))?;
            let info = Info::new(&facts, &routes.options.version, routes.swarm_info().await);
            lowered(&ask.version, ask.endpoint, StatusCode::OK, &info)
        }
        E::Events => events(routes, &ask),
        E::DiskUsage => disk_usage(routes, &ask).await,
        E::Space => {
            let (view, plan) = routes.engine.space.explain().await?;
            ok(&Space::new(&view, &plan, routes.engine.space.watermarks()))
        }
        _ => auth(routes, ask).await,
    }
}

fn ping(ask: &Ask, buildkit: bool, swarm: &str) -> Answer {
    // As dockerd: HEAD says that there is nothing, not what GET would bring.
    let body = if ask.head { "" } else { "OK" };
    let mut answer = response::whole(StatusCode::OK, "text/plain; charset=utf-8", body);
    let headers = answer.headers_mut();
    headers.insert("Cache-Control", HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    if ask.head {
        headers.insert("Content-Length", HeaderValue::from_static("0"));
    }
    headers.insert("Pragma", HeaderValue::from_static("no-cache"));
    // 2 makes clients send builds as BuildKit's.
    headers.insert("Builder-Version", HeaderValue::from_static(if buildkit { "2" } else { "1" }));
    headers.insert("Swarm", HeaderValue::from_str(swarm).unwrap_or(HeaderValue::from_static("error")));
    answer
}

fn events(routes: &Routes, ask: &Ask) -> Result<Answer> {
    let query = &ask.query;
    let (since, until) = (time::unix(query.get("since"))?, time::unix(query.get("until"))?);
    if let (Some(from), Some(to)) = (since, until)
        && to < from
    {
        return Err(ApiError::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            query.get("since"),
            query.get("until")
        )));
    }
    let filters = ask.filters()?;
    let follow = Follow {
        events: routes.engine.events.subscribe(since, until, filters),
        with_image_create: ask.dialect.image_create_events,
    };
    Ok(response::chunks(
        "application/json",
        response::steps(follow, |mut follow| async move {
            let chunk = follow.next().await?;
            Some((Ok(chunk), follow))
        }),
    ))
}

/// Events on their way to a client.
struct Follow {
    events: EventStream,
    with_image_create: bool,
}

impl Follow {
    async fn next(&mut self) -> Option<bytes::Bytes> {
        loop {
            let event = self.events.next().await?;
            if self.with_image_create || event.noun != Noun::Image || event.action != "create" {
                return Some(response::line(&Message::from(&*event)));
            }
        }
    }
}

async fn disk_usage(routes: &Routes, ask: &Ask) -> Result<Answer> {
    let types = ask.query.all("type");
    if let Some(unknown) =
        types.iter().find(|t| !["container", "image", "volume", "build-cache"].contains(&t.as_str()))
    {
        return Err(ApiError::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted = |kind: &str| types.is_empty() || types.iter().any(|t| t == kind);
    let (images, containers, volumes) = (wanted("image"), wanted("container"), wanted("volume"));
    let usage = routes.engine.machine.disk_usage(images, containers, volumes).await?;
    let now = Timestamp::now();
    let answer = DiskUsage {
        layers_size: usage.layers_size,
        images: images.then(|| {
            let row = |i: &minke_engine::image::ImageSummary| {
                image::Summary::new(&i.image, &i.tags, &i.digests, i.shared_size, i.containers)
                    .in_disk_usage()
            };
            usage.images.iter().map(row).collect()
        }),
        containers: containers.then(|| usage.containers.iter().map(|c| Summary::new(c, now)).collect()),
        volumes: volumes.then(|| {
            usage
                .volumes
                .iter()
                .map(|(v, size, users)| super::volume::show(v).with_usage(*users, *size))
                .collect()
        }),
        build_cache: match wanted("build-cache") {
            true => {
                let usage = routes.engine.builds.usage(&[]).await.map_err(minke_engine::Error::from)?;
                Some(usage.iter().map(CacheRecord::new).collect())
            }
            false => None,
        },
    };
    lowered(&ask.version, ask.endpoint, StatusCode::OK, &answer)
}

/// `POST /auth`: whatever its type, its body is JSON.
async fn auth(routes: &Routes, ask: Ask) -> Result<Answer> {
    let body = ask.body.read(1 << 20).await?;
    let config: AuthConfig = serde_json::from_slice(&body).map_err(|e| ApiError::internal(e.to_string()))?;
    let status = routes.engine.images.login(RegistryAuth::from(config)).await?;
    ok(&AuthAnswer { status: status.status, identity_token: status.identity_token })
}
