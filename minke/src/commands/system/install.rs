//! `system install`: this binary becomes this machine's container engine, started by systemd.
//!
//! Every step can be done again: an upgrade is another install. What could not be done is said, with what to do.

use super::units;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;

/// `system install`
pub(crate) static COMMAND: Command = command!(InstallFlags, install, {
    name: "install",
    usage: "[OPTIONS]",
    about: "Install this binary as the machine's daemon, started by systemd",
    arity: Arity::None,
});

flags! {
    /// Flags of `system install`.
    struct InstallFlags {
        docker: bool ["docker"], "Answer on Docker's own socket too (/run/docker.sock)";
        root: String ["root"], "Install into this directory instead of /, and start nothing";
    }
}

fn install(_: &Cli, flags: InstallFlags, _: Vec<String>) -> Outcome {
    let place = Place::new(&flags.root)?;
    if flags.docker && place.is_this_machine() {
        refuse_other_daemon()?;
    }
    place.put_program()?;
    place.put(units::SERVICE, &units::service(flags.docker))?;
    place.put(units::SOCKET, &units::socket(&format!("{}/minke.sock", units::EXEC_ROOT), "minke"))?;
    add_group(&place, "minke")?;
    if flags.docker {
        place.put(units::DOCKER_SOCKET, &units::socket("/run/docker.sock", "docker"))?;
        add_group(&place, "docker")?;
    }
    if !place.is_this_machine() {
        return Ok(());
    }
    if !systemd_runs() {
        return show(
            "systemd does not run here, so nothing is started.\nStart the daemon by hand: minke daemon\n",
        );
    }
    systemctl(&["daemon-reload"])?;
    let mut sockets = vec!["enable", "--now", units::SOCKET];
    if flags.docker {
        sockets.push(units::DOCKER_SOCKET);
    }
    systemctl(&sockets)?;
    systemctl(&["enable", units::SERVICE])?;
    // A daemon that runs becomes this one; its containers do not notice.
    systemctl(&["restart", units::SERVICE])?;
    show(&format!(
        "The daemon runs and starts with the machine.\nUsers of group minke may use it: usermod -aG minke USER\nTry: {} run --rm hello-world\n",
        crate::cli::program()
    ))
}

/// Where things are installed: `/`, or a directory that will be some machine's `/`.
pub(super) struct Place(PathBuf);

impl Place {
    /// `root` is empty for this machine.
    pub(super) fn new(root: &str) -> Result<Place, Failure> {
        let root = if root.is_empty() { "/" } else { root };
        if !rustix::process::geteuid().is_root() && root == "/" {
            return Err(Failure::new("this needs root: try it with sudo"));
        }
        Ok(Place(PathBuf::from(root)))
    }

    pub(super) fn is_this_machine(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// A path of the machine.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Writes one unit and says so.
    fn put(&self, unit: &str, text: &str) -> Outcome {
        let path = self.at(units::UNITS).join(unit);
        replace(&path, 0o644, |file| file.write_all(text.as_bytes()))?;
        show(&format!("wrote {}\n", path.display()))
    }

    /// Copies this program, unless it runs from there already.
    fn put_program(&self) -> Outcome {
        let path = self.at(units::PROGRAM);
        let mut ours = File::open("/proc/self/exe").map_err(failed("read", Path::new("/proc/self/exe")))?;
        let from = ours.metadata().map_err(failed("look at", &path))?;
        if fs::metadata(&path).is_ok_and(|to| (to.dev(), to.ino()) == (from.dev(), from.ino())) {
            return Ok(());
        }
        replace(&path, 0o755, |file| io::copy(&mut ours, file).map(drop))?;
        show(&format!("wrote {}\n", path.display()))
    }
}

/// Makes a file that is whole or not there; a running program of that name is left alone.
fn replace(path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Outcome {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed("make", parent))?;
    }
    let beside = path.with_extension(format!("new{}", process::id()));
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).and_then(|mut file| {
            fill(&mut file)?;
            // Whatever the umask took away.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
    if written.is_err() {
        // Nothing half-made stays.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed("write", path))
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let text = format!("cannot {what} {}", path.display());
    move |e| Failure::new(format!("{text}: {e}"))
}

/// Docker's socket is Docker's while its daemon answers there.
fn refuse_other_daemon() -> Outcome {
    let path = "/run/docker.sock";
    let ours = Path::new(units::UNITS).join(units::DOCKER_SOCKET).exists();
    if !ours && UnixStream::connect(path).is_ok() {
        return Err(Failure::new(format!(
            "another daemon answers on {path}: stop it first (systemctl disable --now docker.service docker.socket)"
        )));
    }
    Ok(())
}

/// Makes a system group where there is none of that name.
fn add_group(place: &Place, name: &str) -> Outcome {
    let path = place.at("/etc/group");
    let groups = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(failed("read", &path)(e)),
    };
    if groups.lines().any(|line| line.split(':').next() == Some(name)) {
        return Ok(());
    }
    let root = place.0.to_string_lossy().into_owned();
    let added = process::Command::new("groupadd").args(["--root", &root, "--system", name]).status();
    match added {
        Ok(status) if status.success() => {}
        // A system without shadow's tools: the file is the database.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let Some(number) = free_number(&groups) else {
                return Err(Failure::new(format!(
                    "no number between 100 and 999 is free for the group {name}"
                )));
            };
            let ended = if groups.is_empty() || groups.ends_with('\n') { "" } else { "\n" };
            let text = format!("{groups}{ended}{name}:x:{number}:\n");
            replace(&path, 0o644, |file| file.write_all(text.as_bytes()))?;
        }
        Ok(status) => {
            return Err(Failure::new(format!("cannot add the group {name}: groupadd ended with {status}")));
        }
        Err(e) => return Err(Failure::new(format!("cannot add the group {name}: {e}"))),
    }
    show(&format!("added the group {name}\n"))
}

/// The highest number for a system group that nobody has.
fn free_number(groups: &str) -> Option<u32> {
    let taken: Vec<u32> = groups.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect();
    (100..1000).rev().find(|number| !taken.contains(number))
}

/// Whether systemd is this machine's init (sd_booted(3)).
pub(super) fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Runs `systemctl`; its own words are its user's.
pub(super) fn systemctl(words: &[&str]) -> Outcome {
    let tried = format!("systemctl {}", words.join(" "));
    match process::Command::new("systemctl").args(words).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("{tried} ended with {status}"))),
        Err(e) => Err(Failure::new(format!("cannot run {tried}: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_get_a_number_that_nobody_has() {
        assert_eq!(free_number("root:x:0:\nusers:x:999:\nodd\n"), Some(998));
        let full: String = (100..1000).map(|n| format!("g{n}:x:{n}:\n")).collect();
        assert_eq!(free_number(&full), None);
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = std::env::temp_dir().join(format!("minke-install-{}", process::id()));
        let path = dir.join("deep/unit");
        let broken = replace(&path, 0o644, |file| file.write_all(b"half").and(Err(io::Error::other("no"))));
        assert!(broken.is_err() && fs::read_dir(dir.join("deep")).is_ok_and(|mut d| d.next().is_none()));
        replace(&path, 0o640, |file| file.write_all(b"whole")).expect("it is written");
        let mode = fs::metadata(&path).expect("it is there").mode() & 0o777;
        assert_eq!((fs::read(&path).expect("it is there"), mode), (b"whole".to_vec(), 0o640));
        fs::remove_dir_all(dir).expect("it was there");
    }
}
