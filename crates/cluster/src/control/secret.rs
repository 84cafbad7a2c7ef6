//! Secrets and configs: made, listed, relabelled, removed when nobody needs them.

use super::{
    Code, Control, ControlError, Filters, Look, Result,
    filter::{check_file_name, resolve},
};
use crate::tables::{CONFIGS, NAMES, Named, SECRETS, SERVICES, name_of};
use minke_model::{
    ConfigId, Labels, SecretId,
    object::Meta,
    secret::{Config, LARGEST_CONFIG, LARGEST_SECRET, Secret},
    service::TaskContainer,
};
use minke_store::{Key, Snapshot, Txn};
use std::sync::Arc;

/// Stands for who uses a secret: touched by who takes it into use, and by who removes it.
pub(super) fn guard_of_secret(id: &SecretId) -> Key {
    Key::new(&format!("guard/secret/{id}"))
}

/// The same of a config.
pub(super) fn guard_of_config(id: &ConfigId) -> Key {
    Key::new(&format!("guard/config/{id}"))
}

/// A secret or config as its user asks for it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FileWish {
    /// Unique among its kind.
    pub name: String,
    /// The user's.
    pub labels: Labels,
    /// `golang` or empty.
    pub templating: String,
    /// Its content; `None`: not said.
    pub data: Option<Vec<u8>>,
}

/// Services whose tasks get a file, by name.
fn users(snapshot: &Snapshot, uses: impl Fn(&TaskContainer) -> bool) -> Result<Vec<String>> {
    let services = SERVICES.list(snapshot)?;
    Ok(services
        .iter()
        .filter(|(_, service)| !service.removing && uses(&service.spec.task.container))
        .map(|(_, service)| service.spec.name.clone())
        .collect())
}

fn in_use(what: &str, name: &str, users: &[String]) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    let services = if users.len() == 1 { "service" } else { "services" };
    let users = users.join(", ");
    Err(ControlError::invalid(format!("{what} '{name}' is in use by the following {services}: {users}")))
}

const LABELS_ONLY: &str = "only updates to Labels are allowed";

impl Control {
    /// All secrets, by id.
    async fn every_secret(&self) -> Result<Vec<Arc<Secret>>> {
        Ok(SECRETS.list(&self.look().await?)?.into_iter().map(|(_, secret)| secret.value).collect())
    }

    /// The secret that `input` means.
    pub async fn secret(&self, input: &str) -> Result<Arc<Secret>> {
        resolve("secret", input, &self.every_secret().await?, |s| (s.id.as_str(), &s.name))
    }

    /// Secrets that are wanted.
    pub async fn secrets(&self, filters: &Filters) -> Result<Vec<Arc<Secret>>> {
        filters.check(&["names", "name", "id", "label"])?;
        let named = ["names", "name", "id"].iter().any(|f| filters.has(f));
        let wanted = |s: &Secret| {
            (!named
                || (filters.has("names") && filters.is("names", &s.name))
                || (filters.has("name") && filters.begins("name", &s.name))
                || (filters.has("id") && filters.begins("id", s.id.as_str())))
                && filters.labelled("label", &s.labels)
        };
        Ok(self.every_secret().await?.into_iter().filter(|s| wanted(s)).collect())
    }

    /// Makes a secret. Its data is sealed before it goes anywhere.
    pub async fn create_secret(&self, wish: FileWish) -> Result<SecretId> {
        check_file_name(&wish.name)?;
        let data = wish.data.unwrap_or_default();
        if data.is_empty() || data.len() >= LARGEST_SECRET {
            return Err(ControlError::invalid(format!(
                "secret data must be larger than 0 and less than {LARGEST_SECRET} bytes"
            )));
        }
        let secret = Arc::new(Secret {
            id: SecretId::random(),
            meta: Meta::new(self.now()),
            name: wish.name,
            labels: wish.labels,
            templating: wish.templating,
            sealed: self.sealer.seal(&data)?,
        });
        self.wish(|snapshot| {
            let (id, name) = (secret.id.as_str(), name_of(Named::Secret, &secret.name));
            match NAMES.get(snapshot, &name)? {
                Some(holder) if holder.as_str() == id => Ok(Look::Done(secret.id.clone())),
                Some(_) => Err(ControlError::new(
                    Code::AlreadyExists,
                    format!("secret {} already exists", secret.name),
                )),
                None => {
                    let txn = Txn::on(snapshot)
                        .guard_absent(NAMES.key(&name))
                        .put(&NAMES, &name, id.to_owned())
                        .put(&SECRETS, id, secret.clone());
                    Ok(Look::Write(txn, secret.id.clone()))
                }
            }
        })
        .await
    }

    /// Gives a secret other labels; nothing else of it may change.
    pub async fn update_secret(&self, id: &SecretId, version: u64, wish: FileWish) -> Result<()> {
        self.wish(|snapshot| {
            let found = SECRETS.get(snapshot, id.as_str())?;
            let found =
                found.ok_or_else(|| ControlError::new(Code::NotFound, format!("secret {id} not found")))?;
            let same = match &wish.data {
                Some(data) => self.sealer.open(&found.sealed)? == *data,
                None => true,
            };
            if found.name != wish.name || !same {
                return Err(ControlError::invalid(LABELS_ONLY));
            }
            if found.meta.version == version + 1 && found.labels == wish.labels {
                return Ok(Look::Done(()));
            }
            if found.meta.version != version {
                return Err(ControlError::out_of_sequence());
            }
            let mut next = Secret::clone(&found);
            next.labels = wish.labels.clone();
            next.meta = next.meta.changed(self.now());
            let txn = Txn::on(snapshot).guard_at(SECRETS.key(id.as_str()), found.revision).put(
                &SECRETS,
                id.as_str(),
                next,
            );
            Ok(Look::Write(txn, ()))
        })
        .await
    }

    /// Removes a secret that no service needs.
    pub async fn remove_secret(&self, id: &SecretId) -> Result<()> {
        self.wish(|snapshot| {
            let found = SECRETS.get(snapshot, id.as_str())?;
            let found = found
                .ok_or_else(|| ControlError::new(Code::NotFound, format!("could not find secret {id}")))?;
            let users = users(snapshot, |c| c.secrets.iter().any(|s| s.id == *id))?;
            in_use("secret", &found.name, &users)?;
            let txn = Txn::on(snapshot)
                .guard_at(SECRETS.key(id.as_str()), found.revision)
                .retire(guard_of_secret(id), snapshot.revision_of(&guard_of_secret(id)))
                .remove(&SECRETS, id.as_str())
                .remove(&NAMES, &name_of(Named::Secret, &found.name));
            Ok(Look::Write(txn, ()))
        })
        .await
    }

    /// All configs, by id.
    async fn every_config(&self) -> Result<Vec<Arc<Config>>> {
        Ok(CONFIGS.list(&self.look().await?)?.into_iter().map(|(_, config)| config.value).collect())
    }

    /// The config that `input` means.
    pub async fn config(&self, input: &str) -> Result<Arc<Config>> {
        resolve("config", input, &self.every_config().await?, |c| (c.id.as_str(), &c.name))
    }

    /// Configs that are wanted.
    pub async fn configs(&self, filters: &Filters) -> Result<Vec<Arc<Config>>> {
        filters.check(&["name", "id", "label"])?;
        let named = ["name", "id"].iter().any(|f| filters.has(f));
        let wanted = |c: &Config| {
            (!named
                || (filters.has("name") && filters.begins("name", &c.name))
                || (filters.has("id") && filters.begins("id", c.id.as_str())))
                && filters.labelled("label", &c.labels)
        };
        Ok(self.every_config().await?.into_iter().filter(|c| wanted(c)).collect())
    }

    /// Makes a config.
    pub async fn create_config(&self, wish: FileWish) -> Result<ConfigId> {
        check_file_name(&wish.name)?;
        let data = wish.data.unwrap_or_default();
        if data.is_empty() || data.len() >= LARGEST_CONFIG {
            return Err(ControlError::invalid(format!(
                "config data must be larger than 0 and less than {LARGEST_CONFIG} bytes"
            )));
        }
        let config = Arc::new(Config {
            id: ConfigId::random(),
            meta: Meta::new(self.now()),
            name: wish.name,
            labels: wish.labels,
            templating: wish.templating,
            data,
        });
        self.wish(|snapshot| {
            let (id, name) = (config.id.as_str(), name_of(Named::Config, &config.name));
            match NAMES.get(snapshot, &name)? {
                Some(holder) if holder.as_str() == id => Ok(Look::Done(config.id.clone())),
                Some(_) => Err(ControlError::new(
                    Code::AlreadyExists,
                    format!("config {} already exists", config.name),
                )),
                None => {
                    let txn = Txn::on(snapshot)
                        .guard_absent(NAMES.key(&name))
                        .put(&NAMES, &name, id.to_owned())
                        .put(&CONFIGS, id, config.clone());
                    Ok(Look::Write(txn, config.id.clone()))
                }
            }
        })
        .await
    }

    /// Gives a config other labels; nothing else of it may change.
    pub async fn update_config(&self, id: &ConfigId, version: u64, wish: FileWish) -> Result<()> {
        self.wish(|snapshot| {
            let found = CONFIGS.get(snapshot, id.as_str())?;
            let found =
                found.ok_or_else(|| ControlError::new(Code::NotFound, format!("config {id} not found")))?;
            if found.name != wish.name || wish.data.as_ref().is_some_and(|data| *data != found.data) {
                return Err(ControlError::invalid(LABELS_ONLY));
            }
            if found.meta.version == version + 1 && found.labels == wish.labels {
                return Ok(Look::Done(()));
            }
            if found.meta.version != version {
                return Err(ControlError::out_of_sequence());
            }
            let mut next = Config::clone(&found);
            next.labels = wish.labels.clone();
            next.meta = next.meta.changed(self.now());
            let txn = Txn::on(snapshot).guard_at(CONFIGS.key(id.as_str()), found.revision).put(
                &CONFIGS,
                id.as_str(),
                next,
            );
            Ok(Look::Write(txn, ()))
        })
        .await
    }

    /// Removes a config that no service needs.
    pub async fn remove_config(&self, id: &ConfigId) -> Result<()> {
        self.wish(|snapshot| {
            let found = CONFIGS.get(snapshot, id.as_str())?;
            let found = found
                .ok_or_else(|| ControlError::new(Code::NotFound, format!("could not find config {id}")))?;
            let users = users(snapshot, |c| c.configs.iter().any(|s| s.id == *id))?;
            in_use("config", &found.name, &users)?;
            let txn = Txn::on(snapshot)
                .guard_at(CONFIGS.key(id.as_str()), found.revision)
                .retire(guard_of_config(id), snapshot.revision_of(&guard_of_config(id)))
                .remove(&CONFIGS, id.as_str())
                .remove(&NAMES, &name_of(Named::Config, &found.name));
            Ok(Look::Write(txn, ()))
        })
        .await
    }
}
