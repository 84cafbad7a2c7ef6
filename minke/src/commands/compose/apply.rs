//! Carries out one step of a plan by requests to the daemon, and tells its progress.
//!
//! Makes no choice: what is done stands in the plan. Start at [`Apply::run`].

mod create;
mod health;

pub(crate) use super::request::{Wish, project_labels};
pub(crate) use create::inject;

use super::execute;
use super::progress::{Mark, Progress};
use crate::cli::{Failure, Outcome};
use crate::client::http::Payload;
use crate::client::{Client, ClientError};
use crate::commands::container::path;
use crate::commands::segment;
use minke_compose::plan::{Act, Plan};
use minke_compose::{Hook, Project, Service, label};
use serde_json::json;
use std::collections::BTreeMap;

/// How an image comes into being; the command that knows how to build gives it.
pub(crate) type Build<'a> = dyn Fn(&str) -> Outcome + Sync + 'a;
/// How an image is fetched: by its name and platform.
pub(crate) type Pull<'a> = dyn Fn(&str, &str) -> Outcome + Sync + 'a;

/// What all steps of a plan have in common.
pub(crate) struct Apply<'a> {
    /// The daemon.
    pub(crate) client: &'a Client,
    /// The files' project; `None` for commands that go by labels.
    pub(crate) project: Option<&'a Project>,
    /// Where progress is told.
    pub(crate) progress: &'a Progress,
    /// Between the parts of names.
    pub(crate) separator: &'a str,
    /// Files of `--env-file`.
    pub(crate) env_files: &'a [String],
    /// Proxies of the user's configuration.
    pub(crate) proxies: Vec<(String, String)>,
    /// Digests of configs and secrets by service.
    pub(crate) files: BTreeMap<String, String>,
    /// Ids of images by name.
    pub(crate) images: BTreeMap<String, String>,
    /// Seconds before a container is killed, where the user said.
    pub(crate) timeout: Option<i64>,
    /// Whether a replaced container's anonymous volumes are taken over.
    pub(crate) inherit: bool,
    /// The container that `service:NAME` stands for.
    pub(crate) first: BTreeMap<String, String>,
    /// How images are fetched.
    pub(crate) pull: &'a Pull<'a>,
    /// How images are built.
    pub(crate) build: &'a Build<'a>,
    /// So many steps at once.
    pub(crate) at_once: usize,
}

/// `Container web-1`, as progress names it.
fn told(name: &str) -> String {
    format!("Container {name}")
}

impl<'a> Apply<'a> {
    /// For plans that make nothing.
    pub(crate) fn plain(client: &'a Client, project: Option<&'a Project>, progress: &'a Progress) -> Self {
        fn no_pull(_: &str, _: &str) -> Outcome {
            Ok(())
        }
        fn no_build(_: &str) -> Outcome {
            Ok(())
        }
        Self {
            client,
            project,
            progress,
            separator: "-",
            env_files: &[],
            proxies: Vec::new(),
            files: BTreeMap::new(),
            images: BTreeMap::new(),
            timeout: None,
            inherit: true,
            first: BTreeMap::new(),
            pull: &no_pull,
            build: &no_build,
            at_once: execute::AT_ONCE,
        }
    }
}

impl Apply<'_> {
    /// Carries out the steps of `plan` in `part`; those before it are done.
    pub(crate) fn run(&self, plan: &Plan, part: std::ops::Range<usize>) -> Outcome {
        let after: Vec<Vec<usize>> = plan.steps[part.clone()]
            .iter()
            .map(|step| step.after.iter().filter_map(|before| before.checked_sub(part.start)).collect())
            .collect();
        execute::run(&after, self.at_once, |step| self.act(&plan.steps[part.start + step].act))
    }

    fn act(&self, act: &Act) -> Outcome {
        match act {
            Act::Pull { service, image, optional } => self.pull_image(service, image, *optional),
            Act::Build { service, image, unless_there } => {
                if *unless_there && self.image_is_there(image)? {
                    return Ok(());
                }
                (self.build)(service)
            }
            Act::CreateNetwork { key, name } => self.create_network(key, name),
            Act::Leave { network, containers } => self.leave(network, containers),
            Act::RemoveNetwork { id, name } => self.remove_network(id, name),
            Act::CreateVolume { key, name } => self.create_volume(key, name),
            Act::RemoveVolume { name } => self.remove_volume(name),
            Act::Keep { name } => {
                self.progress.tell(&told(name), Mark::Done, "Running");
                Ok(())
            }
            Act::Create { service, number, name } => self.create(service, *number, name),
            Act::Replace { service, number, name, old, old_name } => {
                self.replace(service, *number, name, old, old_name)
            }
            Act::Rename { id, name } => {
                Ok(self.client.act(&path(id, "/rename"), &[("name", name.clone())])?)
            }
            Act::Start { service, name } => self.start(service, name),
            Act::Unpause { id, name } => {
                self.watched(name, "Unpausing", "Unpaused", || self.client.act(&path(id, "/unpause"), &[]))
            }
            Act::Restart { service, id, name } => self.restart(service, id, name),
            Act::Stop { service, id, name } => self.stop(service, id, name),
            Act::Remove { id, name, volumes } => self.remove(id, name, *volumes),
            Act::Wait { service, names, until, required } => {
                health::wait(self, service, names, *until, *required)
            }
            Act::RemoveImage { name } => self.remove_image(name),
        }
    }

    fn service(&self, name: &str) -> Option<&Service> {
        self.project.and_then(|project| project.services.get(name))
    }

    /// Tells `working`, does it, and tells `done`, or the error.
    fn watched(
        &self,
        name: &str,
        working: &str,
        done: &str,
        work: impl FnOnce() -> Result<(), ClientError>,
    ) -> Outcome {
        self.watched_thing(&told(name), working, done, work)
    }

    fn watched_thing(
        &self,
        thing: &str,
        working: &str,
        done: &str,
        work: impl FnOnce() -> Result<(), ClientError>,
    ) -> Outcome {
        self.progress.tell(thing, Mark::Working, working);
        match work() {
            Ok(()) => {
                self.progress.tell(thing, Mark::Done, done);
                Ok(())
            }
            Err(error) => {
                self.progress.tell(thing, Mark::Error, "Error");
                Err(error.into())
            }
        }
    }

    fn image_is_there(&self, image: &str) -> Result<bool, Failure> {
        match self.client.get(&format!("/images/{}/json", segment(image)), &[]) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn pull_image(&self, service: &str, image: &str, optional: bool) -> Outcome {
        let platform = self.service(service).map_or("", |service| service.platform.as_str());
        self.progress.tell_image(service, Mark::Working, "Pulling", "");
        match (self.pull)(image, platform) {
            Ok(()) => {
                self.progress.tell_image(service, Mark::Done, "Pulled", "");
                Ok(())
            }
            Err(failure) => {
                let text = failure.text.trim_start_matches("Error response from daemon: ").to_owned();
                match optional {
                    true => self.progress.tell_image(service, Mark::Warning, "Warning", &text),
                    false => self.progress.tell_image(service, Mark::Error, "Error", &text),
                }
                if optional { Ok(()) } else { Err(failure) }
            }
        }
    }

    fn create_network(&self, key: &str, name: &str) -> Outcome {
        let Some(network) = self.project.and_then(|project| project.networks.get(key)) else { return Ok(()) };
        let body = create::network(network, key, self.project.map_or("", |project| &project.name));
        self.watched_thing(&format!("Network {name}"), "Creating", "Created", || {
            match self.client.post("/networks/create", &[], &body) {
                // Another run of the same command made it meanwhile, or one that was killed asked for it.
                Err(error @ ClientError::Daemon { status: 409, .. }) => {
                    let there = self.client.get(&format!("/networks/{}", segment(name)), &[])?;
                    let labels = there.at("Labels");
                    let same = [label::PROJECT, label::NETWORK, label::CONFIG_HASH]
                        .iter()
                        .all(|label| body["Labels"][*label].as_str() == Some(labels.at_key(label).as_text()));
                    if same { Ok(()) } else { Err(error) }
                }
                other => other.map(|_| ()),
            }
        })
        .map_err(|failure| Failure {
            text: format!("failed to create network {name}: {}", failure.text),
            ..failure
        })
    }

    fn leave(&self, network: &str, containers: &[String]) -> Outcome {
        for container in containers {
            let body = json!({"Container": container, "Force": true});
            let target = format!("/networks/{}/disconnect", segment(network));
            self.client.call("POST", &target, &[], Payload::json(&body))?.drain()?;
        }
        Ok(())
    }

    fn remove_network(&self, id: &str, name: &str) -> Outcome {
        let thing = format!("Network {name}");
        self.progress.tell(&thing, Mark::Working, "Removing");
        match self.delete(&format!("/networks/{}", segment(id)), &[]) {
            Ok(()) => self.progress.tell(&thing, Mark::Done, "Removed"),
            Err(error) if error.is_not_found() => {
                self.progress.tell(&thing, Mark::Warning, "No resource found to remove");
            }
            Err(error) if is_in_use(&error) => {
                self.progress.tell(&thing, Mark::Warning, "Resource is still in use")
            }
            Err(error) => {
                self.progress.tell(&thing, Mark::Error, "Error");
                return Err(Failure::new(format!("failed to remove network {name}: {error}")));
            }
        }
        Ok(())
    }

    fn create_volume(&self, key: &str, name: &str) -> Outcome {
        let Some(volume) = self.project.and_then(|project| project.volumes.get(key)) else { return Ok(()) };
        let body = create::volume(volume, key, self.project.map_or("", |project| &project.name));
        self.watched_thing(&format!("Volume {name}"), "Creating", "Created", || {
            self.client.post("/volumes/create", &[], &body).map(|_| ())
        })
    }

    fn remove_volume(&self, name: &str) -> Outcome {
        self.remove_thing(
            &format!("Volume {name}"),
            &format!("/volumes/{}", segment(name)),
            &[("force", "1".into())],
        )
    }

    fn remove_image(&self, name: &str) -> Outcome {
        self.remove_thing(&format!("Image {name}"), &format!("/images/{}", segment(name)), &[])
    }

    /// Removes what may be in use or gone already: that is told and no failure.
    fn remove_thing(&self, thing: &str, target: &str, query: &[(&str, String)]) -> Outcome {
        self.progress.tell(thing, Mark::Working, "Removing");
        match self.delete(target, query) {
            Ok(()) => self.progress.tell(thing, Mark::Done, "Removed"),
            Err(error) if error.is_not_found() => {
                self.progress.tell(thing, Mark::Done, "Warning: No resource found to remove");
            }
            Err(error) if is_in_use(&error) => {
                self.progress.tell(thing, Mark::Warning, "Resource is still in use")
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn delete(&self, target: &str, query: &[(&str, String)]) -> Result<(), ClientError> {
        self.client.call("DELETE", target, query, Payload::None)?.drain()
    }

    fn timeout(&self) -> Vec<(&'static str, String)> {
        self.timeout.map(|seconds| ("t", seconds.to_string())).into_iter().collect()
    }

    fn start(&self, service: &str, name: &str) -> Outcome {
        let thing = told(name);
        if let (Some(project), Some(service)) = (self.project, self.service(service)) {
            create::inject(self.client, project, service, name)?;
        }
        self.progress.tell(&thing, Mark::Working, "Starting");
        if let Err(error) = self.client.act(&path(name, "/start"), &[]) {
            self.progress.mark_failed(&thing, &error.to_string());
            return Err(error.into());
        }
        for hook in self.service(service).into_iter().flat_map(|service| &service.post_start) {
            self.hook(name, service, hook)?;
        }
        self.progress.tell(&thing, Mark::Done, "Started");
        Ok(())
    }

    fn restart(&self, service: &str, id: &str, name: &str) -> Outcome {
        for hook in self.service(service).into_iter().flat_map(|service| &service.pre_stop) {
            self.hook(id, service, hook)?;
        }
        self.watched(name, "Restarting", "Started", || {
            self.client.act(&path(id, "/restart"), &self.timeout())
        })?;
        for hook in self.service(service).into_iter().flat_map(|service| &service.post_start) {
            self.hook(id, service, hook)?;
        }
        Ok(())
    }

    fn stop(&self, service: &str, id: &str, name: &str) -> Outcome {
        let thing = told(name);
        self.progress.tell(&thing, Mark::Working, "Stopping");
        for hook in self.service(service).into_iter().flat_map(|service| &service.pre_stop) {
            match self.hook(id, service, hook) {
                // It has ended already: there is nothing to prepare for.
                Err(failure) if failure.text.contains("is not running") => break,
                other => other?,
            }
        }
        match self.client.act(&path(id, "/stop"), &self.timeout()) {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                self.progress.tell(&thing, Mark::Error, "Error while Stopping");
                return Err(error.into());
            }
        }
        self.progress.tell(&thing, Mark::Done, "Stopped");
        Ok(())
    }

    fn remove(&self, id: &str, name: &str, volumes: bool) -> Outcome {
        let thing = told(name);
        self.progress.tell(&thing, Mark::Working, "Removing");
        let mut query = vec![("force", "1".to_owned())];
        if volumes {
            query.push(("v", "1".to_owned()));
        }
        match self.delete(&path(id, ""), &query) {
            Err(error) if !error.is_not_found() && !is_in_use(&error) => {
                self.progress.tell(&thing, Mark::Error, "Error while Removing");
                Err(error.into())
            }
            _ => {
                self.progress.tell(&thing, Mark::Done, "Removed");
                Ok(())
            }
        }
    }

    /// Runs a command of the service's own in a container, and waits for its end.
    fn hook(&self, container: &str, service: &str, hook: &Hook) -> Outcome {
        let environment: Vec<String> = (hook.environment.iter())
            .map(|(name, value)| {
                value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"))
            })
            .collect();
        let command = hook.command.0.clone().unwrap_or_default();
        let body = json!({
            "User": hook.user, "Privileged": hook.privileged, "Env": environment, "WorkingDir": hook.working_dir,
            "Cmd": command, "AttachStdout": true, "AttachStderr": true,
        });
        let id = self.client.post(&path(container, "/exec"), &[], &body)?.text("Id").to_owned();
        let start = Payload::json(&json!({"Detach": false, "Tty": false}));
        let stream = self.client.hijack(&format!("/exec/{id}/start"), &[], start)?;
        let (mut out, mut err) = (crate::stream::terminal::stderr()?, crate::stream::terminal::stderr()?);
        crate::stream::demux::copy(stream.reader, &mut out, &mut err)?;
        match self.client.get(&format!("/exec/{id}/json"), &[])?.int("ExitCode") {
            0 => Ok(()),
            code => Err(Failure::new(format!("{service} hook exited with status {code}"))),
        }
    }
}

/// Whether the daemon refused since something else still uses the thing.
fn is_in_use(error: &ClientError) -> bool {
    match error {
        ClientError::Daemon { status: 409, .. } => true,
        ClientError::Daemon { status: 403, message } => message.contains("active endpoints"),
        _ => false,
    }
}
