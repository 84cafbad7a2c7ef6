//! Making containers, networks and volumes, and giving containers their inline configs and secrets.

use super::{Apply, told};
use crate::cli::{Failure, Outcome};
use crate::client::http::Payload;
use crate::client::{Client, ClientError};
use crate::commands::compose::progress::Mark;
use crate::commands::compose::request::{Inherited, Wish, body, project_labels, seccomp_files, target};
use crate::commands::container::path;
use crate::commands::segment;
use crate::format::value::Value;
use minke_compose::{
    FileMount, FileObject, Network, Project, Service, Volume, label, network_hash, plan, volume_hash,
};
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Labels of what a project makes beside containers.
fn labels(
    own: &BTreeMap<String, String>,
    project: &str,
    key: (&str, &str),
    hash: String,
) -> BTreeMap<String, String> {
    let mut labels = own.clone();
    for (name, value) in [(label::PROJECT, project), key, (label::VERSION, label::TOOL_VERSION)] {
        labels.insert(name.to_owned(), value.to_owned());
    }
    labels.insert(label::CONFIG_HASH.to_owned(), hash);
    labels
}

/// The body of `POST /networks/create`.
pub(super) fn network(network: &Network, key: &str, project: &str) -> serde_json::Value {
    let labels = labels(&network.labels, project, (label::NETWORK, key), network_hash(network));
    let mut body = json!({
        "Name": network.name, "Driver": network.driver, "Options": network.driver_opts, "Labels": labels,
        "Internal": network.internal, "Attachable": network.attachable,
    });
    for (name, wanted) in [("EnableIPv4", network.enable_ipv4), ("EnableIPv6", network.enable_ipv6)] {
        if let Some(wanted) = wanted {
            body[name] = wanted.into();
        }
    }
    if !network.ipam.driver.is_empty() || !network.ipam.config.is_empty() {
        let pools: Vec<serde_json::Value> = (network.ipam.config.iter())
            .map(|pool| {
                json!({
                    "Subnet": pool.subnet, "IPRange": pool.ip_range, "Gateway": pool.gateway,
                    "AuxiliaryAddresses": pool.aux_addresses,
                })
            })
            .collect();
        body["IPAM"] = json!({"Driver": network.ipam.driver, "Config": pools});
    }
    body
}

/// The body of `POST /volumes/create`.
pub(super) fn volume(volume: &Volume, key: &str, project: &str) -> serde_json::Value {
    let labels = labels(&volume.labels, project, (label::VOLUME, key), volume_hash(volume));
    json!({"Name": volume.name, "Driver": volume.driver, "DriverOpts": volume.driver_opts, "Labels": labels})
}

impl Apply<'_> {
    pub(super) fn create(&self, service: &str, number: u32, name: &str) -> Outcome {
        let thing = told(name);
        self.progress.tell(&thing, Mark::Working, "Creating");
        match self.make(service, number, name, None) {
            Ok(()) => {
                self.progress.tell(&thing, Mark::Done, "Created");
                Ok(())
            }
            Err(failure) => {
                self.progress.tell(&thing, Mark::Error, &failure.text);
                Err(failure)
            }
        }
    }

    /// The new one is made under another name before the old one stops: the time without either is short.
    pub(super) fn replace(
        &self,
        service: &str,
        number: u32,
        name: &str,
        old: &str,
        old_name: &str,
    ) -> Outcome {
        let thing = told(old_name);
        self.progress.tell(&thing, Mark::Working, "Recreate");
        let work = || -> Outcome {
            let temporary = format!("{}_{name}", old.get(..12).unwrap_or(old));
            match self.make(service, number, &temporary, Some(old)) {
                // An earlier replacement of the same container was cut off, and its request came through late.
                Err(failure) if failure.text.contains("is already in use by container") => {
                    self.delete(&path(&temporary, ""), &[("force", "1".to_owned())])?;
                    self.make(service, number, &temporary, Some(old))?;
                }
                other => other?,
            }
            self.client.act(&path(old, "/stop"), &self.timeout())?;
            self.delete(&path(old, ""), &[])?;
            Ok(self.client.act(&path(&temporary, "/rename"), &[("name", name.to_owned())])?)
        };
        match work() {
            Ok(()) => {
                self.progress.tell(&thing, Mark::Done, "Recreated");
                Ok(())
            }
            Err(failure) => {
                self.progress.tell(&thing, Mark::Error, &failure.text);
                Err(failure)
            }
        }
    }

    fn make(&self, service: &str, number: u32, name: &str, old: Option<&str>) -> Outcome {
        let (Some(project), Some(service)) = (self.project, self.service(service)) else { return Ok(()) };
        let mut labels = project_labels(project, self.env_files, &service.name);
        if let Some(id) = self.images.get(&service.image_name(&project.name, self.separator)) {
            labels.insert(label::IMAGE.into(), id.clone());
        }
        if let Some(digests) = self.files.get(&service.name).filter(|digests| !digests.is_empty()) {
            labels.insert(label::FILES.into(), digests.clone());
        }
        let mut inherited = Vec::new();
        if let Some(old) = old {
            let usual = match service.container_name.is_empty() {
                true => format!("{}{}{number}", service.name, self.separator),
                false => service.container_name.clone(),
            };
            labels.insert(label::REPLACE.into(), usual);
            if self.inherit {
                inherited = self.inherited(old)?;
            }
        }
        let wish = Wish {
            number: Some(number),
            separator: self.separator,
            labels,
            inherited,
            ..self.wish(project, service, number)?
        };
        let service = self.resolved(service)?;
        self.send(project, &service, &wish, name).map(|_| ())
    }

    /// What containers of `up` and of `run` have in common.
    pub(crate) fn wish(
        &self,
        project: &Project,
        service: &Service,
        number: u32,
    ) -> Result<Wish<'_>, Failure> {
        Ok(Wish {
            separator: self.separator,
            proxies: self.proxies.clone(),
            links: self.links(project, service, number)?,
            profiles: profiles(project, service)?,
            ..Wish::default()
        })
    }

    /// Sends the request; the container's id.
    pub(crate) fn send(
        &self,
        project: &Project,
        service: &Service,
        wish: &Wish<'_>,
        name: &str,
    ) -> Result<String, Failure> {
        let body = body(project, service, wish)?;
        let mut query = vec![("name", name.to_owned())];
        let platform = match service.platform.as_str() {
            "" => project.environment.get("DOCKER_DEFAULT_PLATFORM").map_or("", String::as_str),
            platform => platform,
        };
        if !platform.is_empty() {
            query.push(("platform", platform.to_owned()));
        }
        let answer = match self.client.post("/containers/create", &query, &body) {
            // What another run of the same command made meanwhile, or one that was killed asked for, is as good as ours.
            Err(error @ ClientError::Daemon { status: 409, .. }) => {
                match self.client.get(&path(name, "/json"), &[]) {
                    Ok(there) if is_same(&body, &there) => return Ok(there.text("Id").to_owned()),
                    _ => return Err(error.into()),
                }
            }
            other => other?,
        };
        for warning in answer.texts("Warnings") {
            self.progress.tell_image(&service.name, Mark::Warning, warning, "");
        }
        Ok(answer.text("Id").to_owned())
    }

    /// The service with ids in place of `service:NAME`.
    pub(crate) fn resolved(&self, service: &Service) -> Result<Service, Failure> {
        let missing = RefCell::new(String::new());
        let id = |name: &str| {
            let container = self.first.get(name)?;
            Some(self.client.get(&path(container, "/json"), &[]).ok()?.text("Id").to_owned())
        };
        let resolved = plan::resolved(service, |name| {
            let found = id(name);
            if found.is_none() {
                name.clone_into(&mut missing.borrow_mut());
            }
            found
        });
        resolved.ok_or_else(|| {
            let missing = missing.borrow();
            Failure::new(format!("cannot share namespace with service {missing}: container missing"))
        })
    }

    /// Links name containers: those of the linked services that are there.
    fn links(&self, project: &Project, service: &Service, number: u32) -> Result<Vec<String>, Failure> {
        let mut links = Vec::new();
        if service.links.is_empty() && service.external_links.is_empty() {
            return Ok(links);
        }
        let containers = super::super::observe::containers(self.client, &project.name)?;
        for link in &service.links {
            let (name, alias) = link.split_once(':').unwrap_or((link, link));
            for container in containers.iter().filter(|one| one.service() == name && !one.is_one_off()) {
                let separator = self.separator;
                links.extend([
                    format!("{}:{alias}", container.name),
                    format!("{}:{name}{separator}{number}", container.name),
                    format!("{}:{}{separator}{name}{separator}{number}", container.name, project.name),
                ]);
            }
        }
        for link in &service.external_links {
            let (name, alias) = link.split_once(':').unwrap_or((link, link));
            links.push(format!("{name}:{alias}"));
        }
        Ok(links)
    }

    /// The mounts of a container that is replaced.
    fn inherited(&self, old: &str) -> Result<Vec<Inherited>, Failure> {
        let old = match self.client.get(&path(old, "/json"), &[]) {
            Ok(old) => old,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let image = match self.client.get(&format!("/images/{}/json", segment(old.text("Config.Image"))), &[])
        {
            Ok(image) => image,
            Err(ClientError::Daemon { .. }) => Value::Null,
            Err(error) => return Err(error.into()),
        };
        let declared: Vec<&str> =
            image.at("Config.Volumes").entries().iter().map(|(target, _)| target.as_str()).collect();
        let mounts = old.list("Mounts").iter().filter(|mount| mount.text("Type") != "tmpfs");
        Ok(mounts
            .map(|mount| Inherited {
                kind: mount.text("Type").to_owned(),
                source: if mount.text("Type") == "volume" {
                    mount.text("Name")
                } else {
                    mount.text("Source")
                }
                .to_owned(),
                target: mount.text("Destination").to_owned(),
                read_only: !mount.bool("RW"),
                of_image: declared.contains(&mount.text("Destination")),
            })
            .collect())
    }
}

/// Whether a container is what `body` asks for: by the labels that say so, and it has not run yet.
fn is_same(body: &serde_json::Value, there: &Value) -> bool {
    let names = [
        label::PROJECT,
        label::SERVICE,
        label::NUMBER,
        label::CONFIG_HASH,
        label::IMAGE,
        label::FILES,
        label::SLUG,
    ];
    there.text("State.Status") == "created"
        && names.iter().all(|name| {
            body["Labels"][*name].as_str().unwrap_or_default()
                == there.at("Config.Labels").at_key(name).as_text()
        })
}

/// Seccomp profiles by the option that names their file, without white space.
fn profiles(project: &Project, service: &Service) -> Result<BTreeMap<String, String>, Failure> {
    let mut profiles = BTreeMap::new();
    for (option, file) in seccomp_files(service) {
        let path = std::path::Path::new(&project.working_dir).join(file);
        let text = std::fs::read(&path).map_err(|error| {
            let why = crate::commands::go_error(&error);
            Failure::new(format!("opening seccomp profile ({file}) failed: open {}: {why}", path.display()))
        })?;
        let profile: serde_json::Value = serde_json::from_slice(&text).map_err(|error| {
            Failure::new(format!("compacting json for seccomp profile ({file}) failed: {error}"))
        })?;
        profiles.insert(option.to_owned(), profile.to_string());
    }
    Ok(profiles)
}

/// Copies configs and secrets that are no files into a container that does not run yet.
pub(crate) fn inject(client: &Client, project: &Project, service: &Service, container: &str) -> Outcome {
    for (kind, files, objects, directory) in [
        ("secret", &service.secrets, &project.secrets, "/run/secrets/"),
        ("config", &service.configs, &project.configs, "/"),
    ] {
        for file in files {
            let Some(object) = objects.get(&file.source) else { continue };
            let Some(content) = content(project, kind, object)? else { continue };
            if service.read_only {
                return Err(Failure::new(format!(
                    "cannot create {kind} {} in read-only service {}: `file` is the sole supported option",
                    minke_model::go::quote(&object.name),
                    service.name
                )));
            }
            let archive = archive(file, &target(file, directory), content)?;
            let mut query = vec![("path", "/".to_owned())];
            if !file.uid.is_empty() || !file.gid.is_empty() {
                query.push(("copyUIDGID", "true".to_owned()));
            }
            let payload = Payload::Stream("application/x-tar", Box::new(std::io::Cursor::new(archive)));
            client.call("PUT", &path(container, "/archive"), &query, payload)?.drain()?;
        }
    }
    Ok(())
}

/// The bytes of one that is no file.
fn content(project: &Project, kind: &str, object: &FileObject) -> Result<Option<String>, Failure> {
    if !object.content.is_empty() {
        return Ok(Some(object.content.clone()));
    }
    if object.environment.is_empty() {
        return Ok(None);
    }
    match project.environment.get(&object.environment) {
        Some(value) => Ok(Some(value.clone()).filter(|value| !value.is_empty())),
        None => Err(Failure::new(format!(
            "environment variable {} required by {kind} {} is not set",
            minke_model::go::quote(&object.environment),
            minke_model::go::quote(&object.name)
        ))),
    }
}

/// A tar of one file.
fn archive(file: &FileMount, target: &str, content: String) -> Result<Vec<u8>, Failure> {
    let number = |text: &str| match text {
        "" => Ok(0),
        text => text.parse::<u64>().map_err(|error| Failure::new(format!("{text}: {error}"))),
    };
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(file.mode.map_or(0o444, |mode| u32::try_from(mode.0).unwrap_or(0o444)));
    header.set_uid(number(&file.uid)?);
    header.set_gid(number(&file.gid)?);
    header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0));
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, target.trim_start_matches('/'), content.as_bytes())?;
    Ok(archive.into_inner()?)
}
