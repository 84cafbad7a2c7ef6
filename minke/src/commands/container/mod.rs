//! `container …`, most of which also stands alone.

pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;

use crate::cli::command::{Entry, Group};
use crate::cli::{Cli, Failure};
use crate::client::Client;
use crate::format::value::Value;
use crate::stream::{detach, signals, terminal};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "container",
    about: "Manage containers",
    entries: &[
        Entry::Command(&attach::COMMAND),
        Entry::Command(&commit::COMMAND),
        Entry::Command(&cp::COMMAND),
        Entry::Command(&create::COMMAND),
        Entry::Command(&diff::COMMAND),
        Entry::Command(&exec::COMMAND),
        Entry::Command(&export::COMMAND),
        Entry::Command(&inspect::COMMAND),
        Entry::Command(&kill::COMMAND),
        Entry::Command(&logs::COMMAND),
        Entry::Command(&ls::COMMAND),
        Entry::Command(&pause::COMMAND),
        Entry::Command(&port::COMMAND),
        Entry::Command(&prune::COMMAND),
        Entry::Command(&rename::COMMAND),
        Entry::Command(&restart::COMMAND),
        Entry::Command(&rm::COMMAND),
        Entry::Command(&run::COMMAND),
        Entry::Command(&start::COMMAND),
        Entry::Command(&stats::COMMAND),
        Entry::Command(&stop::COMMAND),
        Entry::Command(&top::COMMAND),
        Entry::Command(&pause::UNPAUSE),
        Entry::Command(&update::COMMAND),
        Entry::Command(&wait::COMMAND),
    ],
};

/// The path of a container's resource.
pub(crate) fn path(name: &str, rest: &str) -> String {
    format!("/containers/{}{rest}", super::segment(name))
}

/// Refuses a name that is none, as docker's client does before it asks the daemon.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    if name.trim().is_empty() {
        Err(Failure::new("invalid container name or ID: value is empty"))
    } else {
        Ok(())
    }
}

/// What the daemon tells about a container.
pub(crate) fn get(client: &Client, name: &str) -> Result<Value, Failure> {
    check_name(name)?;
    Ok(client.get(&path(name, "/json"), &[])?)
}

/// The keys that detach: the flag's, the user's configuration's, or docker's.
pub(crate) fn detach_keys(cli: &Cli, flag: &str) -> Result<(String, Vec<u8>), Failure> {
    let text = match (flag, cli.config().text("detachKeys")) {
        ("", "") => "",
        ("", configured) => configured,
        (flag, _) => flag,
    };
    let keys = detach::parse(if text.is_empty() { detach::DEFAULT } else { text })
        .map_err(|why| Failure::new(format!("invalid detach keys ({text}): {why}")))?;
    Ok((text.to_owned(), keys))
}

/// Refuses a terminal for the container where our stdin is none.
pub(crate) fn check_tty(stdin: bool, tty: bool) -> Result<(), Failure> {
    if stdin && tty && !terminal::stdin_is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}

/// Tells the daemon the size of our terminal, now and whenever it changes. `resource` is
/// `/containers/ID` or `/exec/ID`. With `redraw`, a first and wrong size makes a program that runs
/// already draw itself anew.
pub(crate) fn follow_size(cli: &Cli, resource: &str, redraw: bool) -> Result<(), Failure> {
    let client = Client::new(cli.host()?, cli.config().headers());
    let target = format!("{resource}/resize");
    let resize = move |more: u16| {
        if let Some((rows, columns)) = terminal::size() {
            // The container may have ended meanwhile; then nobody misses it.
            let _ = client.act(
                &target,
                &[
                    ("h", rows.saturating_add(more).to_string()),
                    ("w", columns.saturating_add(more).to_string()),
                ],
            );
        }
    };
    if terminal::size().is_some() {
        if redraw {
            resize(1);
        }
        resize(0);
        let resize = move || resize(0);
        signals::on_resize(resize)?;
    }
    Ok(())
}

/// Forwards our signals to a container, from now on.
pub(crate) fn proxy_signals(cli: &Cli, id: &str) -> Result<(), Failure> {
    let client = Client::new(cli.host()?, cli.config().headers());
    let target = path(id, "/kill");
    signals::forward(move |name| {
        let _ = client.act(&target, &[("signal", name.to_owned())]);
    })?;
    Ok(())
}

/// The exit code of a finished wait, or the daemon's error about it.
pub(crate) fn exit_code(answer: &Value) -> Result<i32, Failure> {
    let error = answer.text("Error.Message");
    if !error.is_empty() {
        return Err(Failure { code: 125, text: format!("Error waiting for container: {error}") });
    }
    Ok(answer.int("StatusCode") as i32)
}
