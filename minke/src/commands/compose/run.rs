//! `compose run`: one command in a container of its own, made as its service says.

use super::progress::{Progress, Style};
use super::session::{Manner, Session};
use super::up::{Making, bring_images, prepare, project};
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::commands::compose::apply::{Wish, inject, project_labels};
use crate::commands::container::run::{Attendance, attend};
use crate::commands::container::{check_tty, detach_keys};
use crate::options::container::StreamSet;
use crate::options::flags::Environment;
use crate::stream::terminal;
use minke_compose::plan::{Act, Building, Plan, Until};
use minke_compose::{Condition, Project, Service, ShellWords, label};
use std::io::Read;

/// `run`
pub(super) static COMMAND: Command = command!(RunFlags, run, {
    name: "run",
    usage: "[OPTIONS] SERVICE [COMMAND] [ARGS...]",
    about: "Run a command in a new container of a service",
    arity: Arity::AtLeast(1),
    interspersed: false,
});

flags! {
    /// Flags of `run`.
    struct RunFlags {
        build: bool ["build"], "Build the image first";
        cap_add: Vec<String> ["cap-add"], "Add a capability";
        cap_drop: Vec<String> ["cap-drop"], "Drop a capability";
        detach: bool ["detach" 'd'], "Run in the background and print the container's ID";
        entrypoint: Option<String> ["entrypoint"], "In place of the image's entry point";
        env: Environment ["env" 'e'], "Set environment variables";
        env_from_file: Vec<String> ["env-from-file"], "Read environment variables from a file";
        interactive: bool ["interactive" 'i'] = "true", "Keep stdin open";
        label: Vec<String> ["label" 'l'], "Add or override a label";
        name: String ["name"], "Name of the container";
        no_deps: bool ["no-deps"], "Do not start what the service needs";
        no_tty: Option<bool> ["no-TTY" 'T'], "Give it no terminal; without this it gets ours where there is one";
        publish: Vec<String> ["publish" 'p'], "Publish a port";
        pull: Option<String> ["pull"], "When images are fetched (\"always\", \"missing\", \"never\")";
        quiet: bool ["quiet" 'q'], "Show no progress";
        quiet_build: bool ["quiet-build"], "Show no progress of builds";
        quiet_pull: bool ["quiet-pull"], "Show no progress of pulls";
        remove_orphans: bool ["remove-orphans"], "Remove containers of services that no file has";
        rm: bool ["rm"], "Remove the container when it has ended";
        service_ports: bool ["service-ports" 'P'], "Publish the service's ports";
        tty: Option<bool> ["tty" 't'], "";
        use_aliases: bool ["use-aliases"], "Give it the service's names in its networks";
        user: String ["user" 'u'], "User, by name or number (user[:group])";
        volume: Vec<String> ["volume" 'v'], "Mount a volume";
        workdir: String ["workdir" 'w'], "Working directory";
    }
}

fn run(cli: &Cli, flags: RunFlags, args: Vec<String>) -> Outcome {
    if !flags.publish.is_empty() && flags.service_ports {
        return Err(Failure::new("--service-ports and --publish are incompatible"));
    }
    if flags.tty.is_some() && flags.no_tty.is_some() {
        return Err(Failure::new("--tty and --no-TTY can't be used together"));
    }
    let mut session = Session::new(cli, false)?;
    if flags.quiet {
        session.style = Style::Quiet;
    }
    let name = &args[0];
    let without_tty = match (flags.tty, flags.no_tty) {
        (Some(tty), _) => !tty,
        (None, Some(without)) => without,
        (None, None) => !terminal::stdin_is_terminal() || !terminal::stdout_is_terminal(),
    };
    check_tty(flags.interactive && !flags.detach, !without_tty)?;
    let making = Making {
        building: if flags.build { Building::All } else { Building::Missing },
        pull: flags.pull.clone(),
        no_deps: flags.no_deps,
        remove_orphans: flags.remove_orphans,
        start: true,
        ..Making::default()
    };
    let whole = project(&session, std::slice::from_ref(name), &making)?;
    let Some(service) = whole.services.get(name) else {
        return Err(Failure::new(format!("no such service: {name}")));
    };
    let service = changed(&flags, service, &args[1..], &whole, without_tty)?;
    // What it needs is made, started and waited for; of itself only the image is brought.
    let mut others = whole.clone();
    let own = others.services.remove(name);
    others.disabled_services.extend(own.map(|own| (name.clone(), own)));
    let (plan, running) = prepare(&session, &others, &[], &making)?;
    let progress = session.progress("Running")?;
    session.with_apply(&plan, Some(&others), &running, &making.manner, &progress, |apply| {
        apply.run(&plan, 0..plan.steps.len())
    })?;
    let alone = [(name.clone(), service.clone())].into();
    bring_images(&session, &Project { services: alone, ..whole.clone() }, &making)?;
    wait_for_needs(&session, &others, &service)?;
    let id = make(&session, &flags, &whole, &service, &plan)?;
    let (key_text, keys) = detach_keys(cli, "")?;
    let streams = match flags.detach {
        true => StreamSet::default(),
        false => StreamSet { stdin: flags.interactive, stdout: true, stderr: true },
    };
    attend(
        cli,
        &id,
        &Attendance {
            streams,
            tty: service.tty,
            keys,
            key_text,
            auto_remove: flags.rm,
            detach: flags.detach,
            sig_proxy: true,
        },
    )
}

/// Waits for what the service itself waits for: nothing else of the plan did.
fn wait_for_needs(session: &Session<'_>, others: &Project, service: &Service) -> Outcome {
    let running = session.observe(&others.name, None)?;
    let mut plan = Plan::default();
    for (name, need) in &service.depends_on {
        let until = match need.condition {
            Condition::Started => continue,
            Condition::Healthy => Until::Healthy,
            Condition::CompletedSuccessfully => Until::Completed,
        };
        let names: Vec<String> = running.of_service(name).map(|one| one.name.clone()).collect();
        if !names.is_empty() {
            let act = Act::Wait { service: name.clone(), names, until, required: need.required };
            plan.push(act, [], "the service needs it");
        }
    }
    let quiet = Progress::new(Style::Quiet, "")?;
    session.with_apply(&plan, Some(others), &running, &Manner::default(), &quiet, |apply| {
        apply.run(&plan, 0..plan.steps.len())
    })
}

/// The service as the flags change it.
fn changed(
    flags: &RunFlags,
    service: &Service,
    command: &[String],
    project: &Project,
    without_tty: bool,
) -> Result<Service, Failure> {
    let mut service = service.clone();
    service.tty = !without_tty;
    service.stdin_open = flags.interactive;
    service.restart = String::new();
    if let Some(deploy) = &mut service.deploy {
        deploy.restart_policy = None;
    }
    if !command.is_empty() {
        service.command = ShellWords(Some(command.to_vec()));
    }
    if let Some(line) = &flags.entrypoint {
        let words = minke_compose::shell_words(line).map_err(Failure::new)?;
        service.entrypoint = ShellWords(Some(words));
        if command.is_empty() {
            service.command = ShellWords(Some(Vec::new()));
        }
    }
    if !flags.user.is_empty() {
        service.user.clone_from(&flags.user);
    }
    if !flags.workdir.is_empty() {
        service.working_dir.clone_from(&flags.workdir);
    }
    for (name, value) in environment(flags, project)? {
        service.environment.insert(name, Some(value));
    }
    service.cap_drop.retain(|name| !flags.cap_add.contains(name));
    service.cap_add.retain(|name| !flags.cap_drop.contains(name));
    service.cap_add.extend(flags.cap_add.iter().cloned());
    service.cap_drop.extend(flags.cap_drop.iter().cloned());
    for label in &flags.label {
        let (name, value) =
            label.split_once('=').ok_or_else(|| Failure::new("label must be set as KEY=VALUE"))?;
        service.labels.insert(name.to_owned(), value.to_owned());
    }
    if !flags.service_ports {
        service.ports = Vec::new();
        for port in &flags.publish {
            service.ports.extend(minke_compose::parse_port(port).map_err(Failure::new)?);
        }
    }
    for volume in &flags.volume {
        let mut mount = minke_compose::parse_volume(volume).map_err(Failure::new)?;
        if mount.r#type == "bind" && !mount.source.starts_with('/') {
            mount.source = std::env::current_dir()?.join(&mount.source).to_string_lossy().into_owned();
        }
        service.volumes.push(mount);
    }
    Ok(service)
}

/// Variables of `--env`, then those of files that it does not name. One without a value comes from the project's.
fn environment(flags: &RunFlags, project: &Project) -> Result<Vec<(String, String)>, Failure> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for entry in &flags.env.0 {
        match entry.split_once('=') {
            Some((name, value)) => variables.push((name.to_owned(), value.to_owned())),
            None => {
                let value = project.environment.get(entry).cloned();
                variables.extend(value.map(|value| (entry.clone(), value)));
            }
        }
    }
    for entry in crate::options::env::environment(&flags.env_from_file, &[])? {
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        if !variables.iter().any(|(known, _)| known == name) {
            variables.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(variables)
}

/// Makes the container; its id.
fn make(
    session: &Session<'_>,
    flags: &RunFlags,
    project: &Project,
    service: &Service,
    plan: &Plan,
) -> Result<String, Failure> {
    let slug = slug()?;
    let mut service = service.clone();
    let separator = session.separator;
    service.container_name = match flags.name.as_str() {
        "" => {
            let short = slug.get(..12).unwrap_or(&slug);
            format!("{}{separator}{}{separator}run{separator}{short}", project.name, service.name)
        }
        name => name.to_owned(),
    };
    let running = session.observe(&project.name, Some(project))?;
    let mut labels = project_labels(project, &session.options(&[])?.env_files, &service.name);
    labels.insert(label::ONE_OFF.into(), "True".into());
    labels.insert(label::SLUG.into(), slug);
    if let Some(image) = running.images.get(&service.image_name(&project.name, separator)) {
        labels.insert(label::IMAGE.into(), image.id.clone());
    }
    let progress = session.progress("Creating")?;
    session.with_apply(plan, Some(project), &running, &Manner::default(), &progress, |apply| {
        let wish = Wish {
            labels,
            auto_remove: flags.rm,
            attach_stdin: flags.interactive && !flags.detach,
            without_aliases: !flags.use_aliases,
            ..apply.wish(project, &service, 1)?
        };
        let resolved = apply.resolved(&service)?;
        let id = apply.send(project, &resolved, &wish, &service.container_name)?;
        inject(apply.client, project, &service, &id)?;
        Ok(id)
    })
}

/// 64 hex digits that nothing else has.
fn slug() -> Result<String, Failure> {
    let mut bytes = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
