//! One run of a `compose` command: which project is meant, and how a plan is carried out for it.

use super::apply::Apply;
use super::execute::AT_ONCE;
use super::files::{Disk, digests, surroundings};
use super::observe;
use super::progress::{Progress, Style};
use super::{ProjectFlags, warn};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::Client;
use crate::commands::image::pull;
use minke_compose::plan::Plan;
use minke_compose::running::{Container, Outline, Running};
use minke_compose::{LoadOptions, Project, load};
use std::collections::BTreeSet;

/// What a command of a project has at hand.
pub(crate) struct Session<'a> {
    /// The command line.
    pub(crate) cli: &'a Cli,
    /// What stood before the command.
    pub(crate) flags: ProjectFlags,
    /// How progress is shown.
    pub(crate) style: Style,
    /// Whether nothing is done.
    pub(crate) dry_run: bool,
    /// Between the parts of names.
    pub(crate) separator: &'static str,
}

/// What is particular to one carrying out.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// Seconds before a container is killed.
    pub(crate) timeout: Option<i64>,
    /// Whether builds say nothing.
    pub(crate) quiet_build: bool,
    /// Whether anonymous volumes are not taken over.
    pub(crate) renew_anonymous: bool,
}

impl<'a> Session<'a> {
    /// Of the command line; `dry_run` is the command's own flag.
    pub(crate) fn new(cli: &'a Cli, dry_run: bool) -> Result<Self, Failure> {
        let flags: ProjectFlags = cli.leading();
        let given = match flags.progress.as_str() {
            "" => std::env::var("COMPOSE_PROGRESS").unwrap_or_default(),
            given => given.to_owned(),
        };
        let mut style = Style::of(&given)?;
        match flags.ansi.as_str() {
            "never" if style == Style::Terminal && given.is_empty() => style = Style::Plain,
            "never" | "always" | "auto" => {}
            other => {
                return Err(Failure::new(format!(
                    "unsupported --ansi value {}",
                    minke_model::go::quote(other)
                )));
            }
        }
        let old_names = flags.compatibility || is_set("COMPOSE_COMPATIBILITY");
        let separator = if old_names { "_" } else { "-" };
        Ok(Self { cli, dry_run: dry_run || flags.dry_run, flags, style, separator })
    }

    /// The daemon.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        self.cli.client()
    }

    /// What the loader is told.
    pub(crate) fn options(&self, services: &[String]) -> Result<LoadOptions, Failure> {
        let (environment, working_directory) = surroundings()?;
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let env_files = match self.flags.env_file.is_empty() {
            true => environment
                .get("COMPOSE_ENV_FILES")
                .map(|files| files.split(',').filter(|file| !file.is_empty()).map(str::to_owned).collect())
                .unwrap_or_default(),
            false => self.flags.env_file.clone(),
        };
        Ok(LoadOptions {
            files: self.flags.file.clone(),
            env_files,
            profiles: self.flags.profile.clone(),
            project_name: given(&self.flags.project_name),
            project_directory: given(&self.flags.project_directory),
            environment,
            working_directory,
            services: services.to_vec(),
            all_resources: self.flags.all_resources,
            ..LoadOptions::default()
        })
    }

    /// The files' project: the named services and what they need; all without names. Warnings are told.
    pub(crate) fn load(&self, services: &[String]) -> Result<Project, Failure> {
        self.load_with(&self.options(services)?, true)
    }

    /// [`Session::load`] by options of the caller's.
    pub(crate) fn load_with(&self, options: &LoadOptions, aloud: bool) -> Result<Project, Failure> {
        let loaded = load(options, &Disk).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(|fault| fault.report()).collect();
            Failure::new(faults.join("\n"))
        })?;
        if aloud {
            loaded.warnings.iter().for_each(|warning| warn(&warning.report()));
        }
        Ok(loaded.project)
    }

    /// The files' project, or only its name where the user gave that and no file.
    pub(crate) fn project_or_name(&self, services: &[String]) -> Result<(Option<Project>, String), Failure> {
        if self.flags.file.is_empty() && !self.flags.project_name.is_empty() {
            return Ok((None, self.flags.project_name.to_lowercase()));
        }
        let options = LoadOptions { resolve_environment: false, ..self.options(services)? };
        match self.load_with(&options, true) {
            Ok(project) => {
                let name = project.name.clone();
                Ok((Some(project), name))
            }
            Err(failure) => match std::env::var("COMPOSE_PROJECT_NAME") {
                Ok(name) if !name.is_empty() => Ok((None, name)),
                _ => Err(failure),
            },
        }
    }

    /// The project's name.
    pub(crate) fn name(&self) -> Result<String, Failure> {
        if !self.flags.project_name.is_empty() {
            return Ok(self.flags.project_name.to_lowercase());
        }
        match std::env::var("COMPOSE_PROJECT_NAME") {
            Ok(name) if !name.is_empty() => Ok(name),
            _ => Ok(self.load_with(&self.options(&[])?, false)?.name),
        }
    }

    /// What the services need, from the files or else from labels.
    pub(crate) fn outline(&self, project: Option<&Project>, name: &str, running: &Running) -> Outline {
        match project {
            Some(project) => Outline::of_project(project, self.separator),
            None => Outline::of_running(name, running),
        }
    }

    /// Of a project without files: the named services must have containers.
    pub(crate) fn check_named(&self, outline: &Outline, services: &[String]) -> Outcome {
        let unknown = services.iter().find(|name| !outline.services.contains_key(*name));
        unknown.map_or(Ok(()), |name| Err(Failure::new(format!("no such service: {name}"))))
    }

    /// What runs, with the images that the project's services name.
    pub(crate) fn observe(&self, name: &str, project: Option<&Project>) -> Result<Running, Failure> {
        let client = self.client()?;
        let mut running = observe::running(client, name)?;
        if let Some(project) = project {
            let services = project.services.values();
            let mut names: BTreeSet<String> =
                services.clone().map(|service| service.image_name(&project.name, self.separator)).collect();
            let mounted =
                services.flat_map(|service| &service.volumes).filter(|mount| mount.r#type == "image");
            names.extend(mounted.map(|mount| mount.source.clone()));
            running.images = observe::images(client, names)?;
        }
        Ok(running)
    }

    /// The one container of `service` that is meant: that number, or the first; not one of `run` unless it is alone.
    pub(crate) fn container(
        &self,
        project: &str,
        service: &str,
        index: i64,
        stopped: bool,
    ) -> Result<Container, Failure> {
        let containers = observe::list(self.client()?, project, stopped)?;
        let mut containers: Vec<Container> = (containers.items().iter())
            .map(observe::container)
            .filter(|one| one.service() == service)
            .filter(|one| index == 0 || i64::from(one.number()) == index)
            .collect();
        containers.sort_by_key(|one| (one.is_one_off(), one.number()));
        let quoted = minke_model::go::quote(service);
        containers.into_iter().next().ok_or_else(|| {
            Failure::new(match index {
                0 => format!("service {quoted} is not running"),
                index => format!("service {quoted} is not running container #{index}"),
            })
        })
    }

    /// Progress under `title`.
    pub(crate) fn progress(&self, title: &'static str) -> Result<Progress, Failure> {
        Progress::new(self.style, title)
    }

    /// Prints the plan instead of carrying it out.
    pub(crate) fn explain(&self, plan: &Plan) -> Outcome {
        plan.warnings.iter().for_each(|warning| warn(warning));
        let mut text = String::new();
        for step in &plan.steps {
            text.push_str(&format!("{step}\n"));
        }
        if plan.is_idle() {
            text.push_str("nothing would change\n");
        }
        show(&text)
    }

    /// Carries out a plan whole, or explains it.
    pub(crate) fn carry_out(
        &self,
        title: &'static str,
        plan: &Plan,
        project: Option<&Project>,
        manner: &Manner,
    ) -> Outcome {
        if self.dry_run {
            return self.explain(plan);
        }
        plan.warnings.iter().for_each(|warning| warn(warning));
        let progress = self.progress(title)?;
        self.with_apply(plan, project, &Running::default(), manner, &progress, |apply| {
            apply.run(plan, 0..plan.steps.len())
        })
    }

    /// Calls `work` with what carries out steps.
    pub(crate) fn with_apply<T>(
        &self,
        plan: &Plan,
        project: Option<&Project>,
        running: &Running,
        manner: &Manner,
        progress: &Progress,
        work: impl FnOnce(&Apply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let client = self.client()?;
        let config = self.cli.config();
        let pull = |image: &str, platform: &str| pull::quietly(client, config, image, platform);
        let (cli, mode) = (self.cli, super::build::mode(self, project, manner.quiet_build)?);
        let build = |service: &str| match project {
            Some(project) => super::build::one(cli, project, service, self.separator, mode, progress),
            None => Ok(()),
        };
        let limit = match (self.flags.parallel, std::env::var("COMPOSE_PARALLEL_LIMIT")) {
            (-1, Ok(limit)) => limit.parse().unwrap_or(-1),
            (limit, _) => limit,
        };
        let images = running.images.iter().map(|(name, image)| (name.clone(), image.id.clone()));
        let options = self.options(&[])?;
        work(&Apply {
            client,
            project,
            progress,
            separator: self.separator,
            env_files: &options.env_files,
            proxies: config.proxies(&self.cli.host()?.to_string()),
            files: project.map(digests).unwrap_or_default(),
            images: images.collect(),
            timeout: manner.timeout,
            inherit: !manner.renew_anonymous,
            first: plan.first.clone(),
            pull: &pull,
            build: &build,
            at_once: usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(AT_ONCE),
        })
    }
}

/// Whether a variable of the environment says yes.
pub(crate) fn is_set(variable: &str) -> bool {
    std::env::var(variable)
        .is_ok_and(|value| matches!(value.to_lowercase().as_str(), "1" | "t" | "true" | "y" | "yes"))
}
