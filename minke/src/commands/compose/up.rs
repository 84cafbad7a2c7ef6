//! `compose up`: makes what the files say true, touches only what differs, and shows what the containers write.

use super::apply::Apply;
use super::observe;
use super::progress::Style;
use super::session::{Manner, Session, is_set};
use super::tail::{self, Message, Printer, Tail, What};
use super::warn;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::Client;
use crate::stream::{signals, terminal};
use minke_compose::plan::{self, Building, Plan, Recreate, Up};
use minke_compose::running::{Container, Outline, Running};
use minke_compose::{LoadOptions, Project};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `up`
pub(super) static COMMAND: Command = command!(UpFlags, up, {
    name: "up",
    usage: "[OPTIONS] [SERVICE...]",
    about: "Make and start containers",
    arity: Arity::Any,
});

flags! {
    /// Flags of `up`.
    struct UpFlags {
        abort_on_exit: bool ["abort-on-container-exit"], "Stop all containers when one has ended";
        abort_on_failure: bool ["abort-on-container-failure"], "Stop all containers when one has failed";
        always_recreate_deps: bool ["always-recreate-deps"], "Make containers anew that the named services need";
        attach: Vec<String> ["attach"], "Show the output of this service only";
        attach_dependencies: bool ["attach-dependencies"], "Show the output of what the named services need too";
        build: bool ["build"], "Build images first";
        detach: bool ["detach" 'd'], "Run in the background";
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        exit_code_from: String ["exit-code-from"], "End with the exit code of this service; implies --abort-on-container-exit";
        force_recreate: bool ["force-recreate"], "Make containers anew even where nothing changed";
        menu: bool ["menu"], "";
        no_attach: Vec<String> ["no-attach"], "Do not show the output of this service";
        no_build: bool ["no-build"], "Build no image, even where it is missing";
        no_color: bool ["no-color"], "No colours";
        no_deps: bool ["no-deps"], "Leave alone what the named services need";
        no_log_prefix: bool ["no-log-prefix"], "No names in front of lines";
        no_recreate: bool ["no-recreate"], "Leave containers as they are, even where something changed";
        no_start: bool ["no-start"], "Make containers and do not start them";
        pull: Option<String> ["pull"], "When images are fetched (\"always\", \"missing\", \"never\")";
        quiet_build: bool ["quiet-build"], "Show no progress of builds";
        quiet_pull: bool ["quiet-pull"], "Show no progress of pulls";
        remove_orphans: Option<bool> ["remove-orphans"], "Remove containers of services that no file has";
        renew: bool ["renew-anon-volumes" 'V'], "Do not keep anonymous volumes of replaced containers";
        scale: Vec<String> ["scale"], "So many containers of a service (SERVICE=NUMBER)";
        timeout: Option<i64> ["timeout" 't'], "Seconds before a container that shall stop is killed";
        timestamps: bool ["timestamps"], "Show when each line was written";
        wait: bool ["wait"], "Wait until services run or are healthy; implies --detach";
        wait_timeout: i64 ["wait-timeout"], "Wait at most so many seconds";
        watch: bool ["watch" 'w'], "Watch files and bring changes into containers";
        yes: bool ["yes" 'y'], "Answer all questions with yes";
    }
}

/// What `up` and `create` have in common.
#[derive(Default)]
pub(super) struct Making {
    pub(super) building: Building,
    pub(super) pull: Option<String>,
    pub(super) scale: Vec<String>,
    pub(super) recreate: Recreate,
    pub(super) recreate_dependencies: Recreate,
    pub(super) remove_orphans: bool,
    pub(super) no_deps: bool,
    pub(super) start: bool,
    pub(super) wait: bool,
    pub(super) yes: bool,
    pub(super) manner: Manner,
}

impl Making {
    /// From flags that exclude each other.
    pub(super) fn building(build: bool, no_build: bool) -> Result<Building, Failure> {
        match (build, no_build) {
            (true, true) => Err(Failure::new("--build and --no-build are incompatible")),
            (true, false) => Ok(Building::All),
            (false, true) => Ok(Building::Never),
            (false, false) => Ok(Building::Missing),
        }
    }
}

fn check(flags: &UpFlags) -> Outcome {
    let refuse = |text: &str| Err(Failure::new(text));
    let stops = flags.abort_on_exit || (!flags.exit_code_from.is_empty() && !flags.abort_on_failure);
    if stops && flags.abort_on_failure {
        return refuse("--abort-on-container-failure cannot be combined with --abort-on-container-exit");
    }
    let attached = stops
        || flags.abort_on_failure
        || flags.attach_dependencies
        || !flags.attach.is_empty()
        || flags.watch;
    if flags.wait && attached {
        return refuse(
            "--wait cannot be combined with --abort-on-container-exit, --abort-on-container-failure, --attach, --attach-dependencies or --watch",
        );
    }
    if flags.detach && attached {
        return refuse(
            "--detach cannot be combined with --abort-on-container-exit, --abort-on-container-failure, --attach, --attach-dependencies or --watch",
        );
    }
    for (clash, text) in [
        (flags.renew && flags.no_recreate, "--no-recreate and --renew-anon-volumes are incompatible"),
        (flags.force_recreate && flags.no_recreate, "--force-recreate and --no-recreate are incompatible"),
        (
            flags.always_recreate_deps && flags.no_recreate,
            "--always-recreate-deps and --no-recreate are incompatible",
        ),
        (flags.no_build && flags.watch, "--no-build and --watch are incompatible"),
        (
            !flags.attach.is_empty() && flags.attach_dependencies,
            "cannot combine --attach and --attach-dependencies",
        ),
        (
            flags.watch,
            "--watch is not there yet: the official docker compose has it, and works with this daemon",
        ),
    ] {
        if clash {
            return refuse(text);
        }
    }
    Ok(())
}

fn up(cli: &Cli, flags: UpFlags, services: Vec<String>) -> Outcome {
    check(&flags)?;
    let session = Session::new(cli, flags.dry_run)?;
    let detached = flags.detach || flags.wait || flags.no_start;
    let choose = |always: bool| match (flags.no_recreate, always) {
        (true, _) => Recreate::Never,
        (false, true) => Recreate::Always,
        (false, false) => Recreate::Changed,
    };
    let making = Making {
        building: Making::building(flags.build, flags.no_build)?,
        pull: flags.pull.clone(),
        scale: flags.scale.clone(),
        recreate: choose(flags.force_recreate || flags.renew),
        recreate_dependencies: choose(flags.always_recreate_deps),
        remove_orphans: flags.remove_orphans.unwrap_or_else(|| is_set("COMPOSE_REMOVE_ORPHANS")),
        no_deps: flags.no_deps,
        start: !flags.no_start,
        wait: flags.wait,
        yes: flags.yes,
        manner: Manner {
            timeout: flags.timeout,
            renew_anonymous: flags.renew,
            quiet_build: flags.quiet_build,
        },
    };
    let project = project(&session, &services, &making)?;
    if project.services.is_empty() && !session.flags.all_resources {
        return Err(Failure::new("no service selected"));
    }
    if !flags.exit_code_from.is_empty() && !project.services.contains_key(&flags.exit_code_from) {
        return Err(Failure::new(format!("no such service: {}", flags.exit_code_from)));
    }
    let (plan, running) = prepare(&session, &project, &services, &making)?;
    if session.dry_run {
        return session.explain(&plan);
    }
    if detached {
        let limit = (flags.wait && flags.wait_timeout > 0).then_some(flags.wait_timeout);
        if let Some(seconds) = limit {
            end_after(seconds);
        }
        let progress = session.progress("Running")?;
        return session.with_apply(&plan, Some(&project), &running, &making.manner, &progress, |apply| {
            apply.run(&plan, 0..plan.steps.len())
        });
    }
    attached(&session, &flags, &project, &services, (&plan, &running), &making)
}

/// Ends this command when it takes longer than that.
pub(super) fn end_after(seconds: i64) {
    std::thread::spawn(move || {
        std::thread::park_timeout(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        eprintln!("application not healthy after {seconds}s");
        std::process::exit(1);
    });
}

/// The project with what the flags change of it.
pub(super) fn project(
    session: &Session<'_>,
    services: &[String],
    making: &Making,
) -> Result<Project, Failure> {
    let options: LoadOptions = session.options(services)?;
    let mut project = session.load_with(&options, true)?;
    if making.no_deps {
        let named = |name: &String| services.is_empty() || services.contains(name);
        let (named, others): (_, std::collections::BTreeMap<_, _>) =
            std::mem::take(&mut project.services).into_iter().partition(|(name, _)| named(name));
        project.services = named;
        project.disabled_services.extend(others);
        let there: BTreeSet<String> = project.services.keys().cloned().collect();
        for service in project.services.values_mut() {
            service.depends_on.retain(|name, _| there.contains(name));
        }
    }
    if let Some(policy) = &making.pull {
        if !matches!(policy.as_str(), "always" | "never" | "build" | "missing" | "if_not_present") {
            return Err(Failure::new(format!("invalid --pull option {}", minke_model::go::quote(policy))));
        }
        project.services.values_mut().for_each(|service| service.pull_policy.clone_from(policy));
    }
    for scale in &making.scale {
        let (name, number) = (scale.split_once('='))
            .and_then(|(name, number)| Some((name, number.parse::<i64>().ok()?)))
            .ok_or_else(|| {
                let quoted = minke_model::go::quote(scale);
                Failure::new(format!("invalid --scale option {quoted}. Should be SERVICE=NUM"))
            })?;
        match project.services.get_mut(name) {
            Some(service) => service.scale = Some(number),
            None => return Err(Failure::new(format!("no such service: {name}"))),
        }
    }
    Ok(project)
}

/// Fetches and builds images; what runs then.
pub(super) fn bring_images(
    session: &Session<'_>,
    project: &Project,
    making: &Making,
) -> Result<Running, Failure> {
    let running = session.observe(&project.name, Some(project))?;
    let now = jiff::Timestamp::now().as_second();
    let images = plan::images(project, session.separator, &running.images, making.building, now)
        .map_err(|error| Failure::new(error.to_string()))?;
    if images.steps.is_empty() {
        return Ok(running);
    }
    if session.dry_run {
        session.explain(&images)?;
        return Ok(running);
    }
    let progress = session.progress("Running")?;
    session.with_apply(&images, Some(project), &running, &making.manner, &progress, |apply| {
        apply.run(&images, 0..images.steps.len())
    })?;
    session.observe(&project.name, Some(project))
}

/// Fetches and builds images, looks at what runs, and plans the rest.
pub(super) fn prepare(
    session: &Session<'_>,
    project: &Project,
    services: &[String],
    making: &Making,
) -> Result<(Plan, Running), Failure> {
    let running = bring_images(session, project, making)?;
    let asked = Up {
        services: services.to_vec(),
        recreate: making.recreate,
        recreate_dependencies: making.recreate_dependencies,
        orphans: (!is_set("COMPOSE_IGNORE_ORPHANS")).then_some(making.remove_orphans),
        renew_volumes: renewed(session, project, &running, making.yes)?,
        start: making.start,
        wait: making.wait,
        separator: session.separator.to_owned(),
        files: super::files::digests(project),
    };
    let plan = plan::up(project, &running, &asked).map_err(|error| Failure::new(error.to_string()))?;
    if !session.dry_run {
        plan.warnings.iter().for_each(|warning| warn(warning));
    }
    Ok((plan, running))
}

/// Volumes that changed and whose data the user gives up.
fn renewed(
    session: &Session<'_>,
    project: &Project,
    running: &Running,
    yes: bool,
) -> Result<BTreeSet<String>, Failure> {
    let mut renewed = BTreeSet::new();
    for (key, volume) in plan::changed_volumes(project, running) {
        let question = format!(
            "Volume {} exists but doesn't match configuration in compose file. Recreate (data will be lost)?",
            minke_model::go::quote(&volume.name)
        );
        let agreed =
            yes || (!session.dry_run && terminal::stdin_is_terminal() && crate::output::confirm(&question)?);
        if agreed {
            renewed.insert(key.to_owned());
        } else {
            warn(&format!(
                "volume {} is not what the file says any more; it stays as it is (--yes makes it anew, without its data)",
                minke_model::go::quote(&volume.name)
            ));
        }
    }
    Ok(renewed)
}

/// The services whose output is shown.
fn shown(flags: &UpFlags, project: &Project, services: &[String]) -> Result<BTreeSet<String>, Failure> {
    if !flags.attach.is_empty() {
        let unknown: Vec<&str> = flags
            .attach
            .iter()
            .map(String::as_str)
            .filter(|name| !project.services.contains_key(*name))
            .collect();
        if !unknown.is_empty() {
            return Err(Failure::new(format!(
                "cannot attach to services not included in up: {}",
                unknown.join(", ")
            )));
        }
        return Ok(flags.attach.iter().cloned().collect());
    }
    let named = |name: &String| services.is_empty() || flags.attach_dependencies || services.contains(name);
    Ok((project.services.iter())
        .filter(|(name, service)| {
            named(name) && service.attach.unwrap_or(true) && !flags.no_attach.contains(name)
        })
        .map(|(name, _)| name.clone())
        .collect())
}

/// Makes the containers, attaches to them, starts them, and stays until all have ended or the user has enough.
fn attached(
    session: &Session<'_>,
    flags: &UpFlags,
    project: &Project,
    services: &[String],
    (plan, running): (&Plan, &Running),
    making: &Making,
) -> Outcome {
    let shown = shown(flags, project, services)?;
    let progress = session.progress("Running")?;
    session.with_apply(plan, Some(project), running, &making.manner, &progress, |apply| {
        apply.run(plan, 0..plan.created)
    })?;
    let client = Arc::new(Client::new(session.cli.host()?, session.cli.config().headers()));
    let printer = Arc::new(Printer::new(!flags.no_color, !flags.no_log_prefix, flags.timestamps));
    let mut containers: Vec<Container> = (observe::containers(&client, &project.name)?.into_iter())
        .filter(|one| !one.is_one_off() && shown.contains(one.service()))
        .collect();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<&str> = containers.iter().map(Container::short_name).collect();
    show(&format!("Attaching to {}\n", names.join(", ")))?;
    let events = tail::events(&client, &project.name)?;
    let mut tail = Tail::new(Arc::clone(&client), Arc::clone(&printer));
    names.iter().for_each(|name| printer.register(name));
    for container in &containers {
        tail.took(&container.id, tail::attach(&client, &printer, container)?);
        tail.expect(&container.id);
    }
    tail::listen(&client, events, shown.clone(), tail.tell.clone());
    let tell = tail.tell.clone();
    signals::on_stop(move || {
        let _ = tell.send(Message::Signal);
    })?;
    // What was made is started while its output is shown already; signals are heard meanwhile.
    let quiet = super::progress::Progress::new(Style::Quiet, "")?;
    session.with_apply(plan, Some(project), running, &making.manner, &quiet, |apply| {
        std::thread::scope(|scope| {
            let tell = tail.tell.clone();
            scope.spawn(move || tell.send(Message::Done(apply.run(plan, plan.created..plan.steps.len()))));
            watch(session, flags, project, &mut tail)
        })
    })
}

/// Shows output and takes part in what happens, until all is over.
fn watch(session: &Session<'_>, flags: &UpFlags, project: &Project, tail: &mut Tail) -> Outcome {
    let stops_on_exit = flags.abort_on_exit || (!flags.exit_code_from.is_empty() && !flags.abort_on_failure);
    let (mut signals, mut exit_code, mut stopping, mut started) = (0u32, None, false, false);
    loop {
        if tail.is_over() && started {
            break;
        }
        let Ok(message) = tail.messages.recv() else { break };
        match message {
            Message::Done(Ok(())) => started = true,
            // Told by then: the stop took what was to be started.
            Message::Done(Err(_)) if stopping => started = true,
            Message::Done(Err(failure)) => return Err(failure),
            Message::Ended(why) => return Err(Failure::new(why)),
            Message::Signal => {
                signals += 1;
                if signals == 1 {
                    show("Gracefully Stopping... press Ctrl+C again to force\n")?;
                    stopping = true;
                    stop_all(session, flags, project, tail)?;
                } else {
                    kill_all(session, project)?;
                    return Err(Failure::silent(130));
                }
            }
            Message::Happened(happened) => {
                tail.happened(&happened, &[]);
                let What::Died { code, restarts: false } = happened.what else { continue };
                if exit_code.is_none() && happened.service == flags.exit_code_from {
                    exit_code = Some(code);
                }
                if !stopping && (stops_on_exit || (flags.abort_on_failure && code != 0)) {
                    eprintln!("Aborting on container exit...");
                    stopping = true;
                    if flags.exit_code_from.is_empty() {
                        exit_code = Some(code);
                    }
                    stop_all(session, flags, project, tail)?;
                }
            }
        }
    }
    match (signals, exit_code) {
        (1.., _) => Err(Failure::silent(130)),
        (0, Some(code)) if code != 0 => Err(Failure::silent(code as i32)),
        (0, _) => Ok(()),
    }
}

/// Stops the project on a thread, so that output and a second signal are not kept waiting.
fn stop_all(session: &Session<'_>, flags: &UpFlags, project: &Project, tail: &Tail) -> Outcome {
    let running = session.observe(&project.name, None)?;
    let plan = plan::stop(&Outline::of_project(project, session.separator), &running, &[]);
    let client = Client::new(session.cli.host()?, session.cli.config().headers());
    let progress = session.progress("Stopping")?;
    let (project, timeout, tell) = (project.clone(), flags.timeout, tail.tell.clone());
    std::thread::spawn(move || {
        let apply = Apply { timeout, ..Apply::plain(&client, Some(&project), &progress) };
        if let Err(failure) = apply.run(&plan, 0..plan.steps.len()) {
            let _ = tell.send(Message::Ended(failure.text));
        }
    });
    Ok(())
}

fn kill_all(session: &Session<'_>, project: &Project) -> Outcome {
    let client = session.client()?;
    for container in observe::containers(client, &project.name)?.iter().filter(|one| !one.is_one_off()) {
        // Some have ended meanwhile: that is what was wanted.
        let _ = client.act(&crate::commands::container::path(&container.id, "/kill"), &[]);
    }
    Ok(())
}
