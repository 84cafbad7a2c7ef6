//! `system uninstall`: what `system install` wrote goes; with `--purge`, everything that the daemon kept.
//!
//! Containers are stopped first, by the daemon itself: a daemon with nothing to keep takes its bridges, firewall table and
//! cgroups with it.

use super::install::{Place, systemctl, systemd_runs};
use super::units;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use crate::client::{Client, Host, Response};
use crate::commands::segment;
use std::fs;
use std::io;
use std::path::Path;
use std::process;

/// `system uninstall`
pub(crate) static COMMAND: Command = command!(UninstallFlags, uninstall, {
    name: "uninstall",
    usage: "[OPTIONS]",
    about: "Stop all containers and remove what install wrote",
    arity: Arity::None,
});

flags! {
    /// Flags of `system uninstall`.
    struct UninstallFlags {
        purge: bool ["purge"], "Remove all containers, images, volumes and settings too";
        root: String ["root"], "Uninstall from this directory instead of /";
    }
}

fn uninstall(_: &Cli, flags: UninstallFlags, _: Vec<String>) -> Outcome {
    let place = Place::new(&flags.root)?;
    if place.is_this_machine() {
        end_containers(flags.purge)?;
        stop()?;
    }
    for unit in [units::SERVICE, units::SOCKET, units::DOCKER_SOCKET] {
        remove(&place.at(units::UNITS).join(unit))?;
    }
    remove(&place.at(units::PROGRAM))?;
    if place.is_this_machine() && systemd_runs() {
        systemctl(&["daemon-reload"])?;
    }
    if !flags.purge {
        return show(&format!("{} is kept; --purge removes it too\n", units::DATA_ROOT));
    }
    for path in [units::EXEC_ROOT, units::DATA_ROOT, "/etc/minke"] {
        remove(&place.at(path))?;
    }
    remove_group(&place)
}

/// Removes our group; Docker's may be Docker's.
fn remove_group(place: &Place) -> Outcome {
    let root = place.at("/").to_string_lossy().into_owned();
    match process::Command::new("groupdel")
        .args(["--root", &root, "minke"])
        .stderr(process::Stdio::null())
        .status()
    {
        Ok(status) if status.success() => show("removed the group minke\n"),
        // Not there, or no tool for it: an empty group harms nobody.
        _ => Ok(()),
    }
}

/// Stops every container, or removes it. Where no daemon answers there is none to end.
fn end_containers(purge: bool) -> Outcome {
    let socket = Path::new(units::EXEC_ROOT).join("minke.sock");
    let client = Client::new(Host::Unix(socket), Vec::new());
    let Ok(all) = client.get("/containers/json", &[("all", purge.to_string())]) else { return Ok(()) };
    let mut left = Vec::new();
    for id in all.items().iter().map(|container| container.text("Id")) {
        let path = format!("/containers/{}", segment(id));
        let ended = if purge {
            let query = [("force", "1".to_owned()), ("v", "1".to_owned())];
            client.call("DELETE", &path, &query, Payload::None).and_then(Response::drain)
        } else {
            client.act(&format!("{path}/stop"), &[])
        };
        // The others shall end all the same.
        left.extend(ended.err().map(|e| e.to_string()));
    }
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("some containers do not end, so nothing is uninstalled: {}", left.join("; "))))
}

/// Stops the daemon, where systemd started it.
fn stop() -> Outcome {
    if !systemd_runs() {
        return show("systemd does not run here: a daemon started by hand is not stopped.\n");
    }
    let there = |unit: &&str| Path::new(units::UNITS).join(unit).exists();
    let units: Vec<&str> =
        [units::DOCKER_SOCKET, units::SOCKET, units::SERVICE].into_iter().filter(there).collect();
    if units.is_empty() {
        return Ok(());
    }
    systemctl(&[&["disable", "--now"], &units[..]].concat())
}

/// Removes a file or a directory and says so; what is not there is fine.
fn remove(path: &Path) -> Outcome {
    let gone = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match gone {
        Ok(()) => show(&format!("removed {}\n", path.display())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::new(format!("cannot remove {}: {e}", path.display()))),
    }
}
