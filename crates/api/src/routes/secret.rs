//! Secrets and configs of the cluster.

use super::{Routes, done, ok, swarm::seen_version, to_its_end};
use crate::{
    error::Result,
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    wire::secret::{Created, File, FileSpec},
};
use http::StatusCode;
use minke_cluster::control::Filters;

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let created = |id: &str| response::json(StatusCode::CREATED, &Created { id: id.to_owned() });
    match ask.endpoint {
        E::SecretList => {
            let filters = Filters::from(ask.query.filters()?);
            let found = routes.control()?.secrets(&filters).await?;
            ok(&found.iter().map(|s| File::from(&**s)).collect::<Vec<_>>())
        }
        E::SecretInspect => ok(&File::from(&*routes.control()?.secret(&ask.name).await?)),
        E::SecretCreate => {
            let spec: FileSpec = ask.json().await?;
            let (control, wish) = (routes.control()?, spec.parse("Secret")?);
            created(to_its_end(async move { control.create_secret(wish).await }).await?.as_str())
        }
        E::SecretUpdate => {
            let spec: FileSpec = ask.json().await?;
            let version = seen_version(&ask, "secret", false)?;
            let control = routes.control()?;
            let secret = control.secret(&ask.name).await?;
            let wish = spec.parse("Secret")?;
            to_its_end(async move { control.update_secret(&secret.id, version, wish).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
        E::SecretRemove => {
            let control = routes.control()?;
            let secret = control.secret(&ask.name).await?;
            to_its_end(async move { control.remove_secret(&secret.id).await }).await?;
            done()
        }
        E::ConfigList => {
            let filters = Filters::from(ask.query.filters()?);
            let found = routes.control()?.configs(&filters).await?;
            ok(&found.iter().map(|c| File::from(&**c)).collect::<Vec<_>>())
        }
        E::ConfigInspect => ok(&File::from(&*routes.control()?.config(&ask.name).await?)),
        E::ConfigCreate => {
            let spec: FileSpec = ask.json().await?;
            let (control, wish) = (routes.control()?, spec.parse("Config")?);
            created(to_its_end(async move { control.create_config(wish).await }).await?.as_str())
        }
        E::ConfigUpdate => {
            let spec: FileSpec = ask.json().await?;
            let version = seen_version(&ask, "config", false)?;
            let control = routes.control()?;
            let config = control.config(&ask.name).await?;
            let wish = spec.parse("Config")?;
            to_its_end(async move { control.update_config(&config.id, version, wish).await }).await?;
            Ok(response::empty(StatusCode::OK))
        }
        _ => {
            let control = routes.control()?;
            let config = control.config(&ask.name).await?;
            to_its_end(async move { control.remove_config(&config.id).await }).await?;
            done()
        }
    }
}
