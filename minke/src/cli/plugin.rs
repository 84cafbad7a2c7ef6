//! Docker's command-line plugins (`compose`, `buildx`, …): programs that stand in for one verb.
//!
//! Only found here and called in our place; what they speak with the daemon is theirs.

use super::{Cli, Failure, Outcome, program};
use crate::client::{Host, context};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where docker's packages put them, in its order.
const DIRECTORIES: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The plugin for `verb`, in the user's own directories or the system's.
fn find(verb: &str, own: &Path, extra: &[String]) -> Option<PathBuf> {
    let is_name = verb.starts_with(|c: char| c.is_ascii_lowercase())
        && verb.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !is_name {
        return None;
    }
    let directories = std::iter::once(own.join("cli-plugins"))
        .chain(extra.iter().map(PathBuf::from))
        .chain(DIRECTORIES.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(format!("docker-{verb}"))).find(|path| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Becomes the plugin for `verb`, with all words of the command line. Returns only when there is none,
/// or with why it could not be called.
pub(super) fn become_plugin(cli: &Cli, verb: &str, words: &[String]) -> Outcome {
    let extra = cli.config().list("cliPluginsExtraDirs");
    let Some(path) = find(verb, cli.config().directory(), &extra) else { return Ok(()) };
    let mut command = Command::new(&path);
    command.args(words).env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", program());
    // A plugin knows docker's defaults only.
    if program() != "docker" && cli.context_name() == context::DEFAULT {
        let host = match cli.host()? {
            Host::Ssh { .. } => cli.explicit_host().unwrap_or_default(),
            host => host.to_string(),
        };
        command.env("DOCKER_HOST", host);
    }
    Err(Failure::new(format!("cannot start {}: {}", path.display(), command.exec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_come_first_and_must_be_programs() {
        let room = std::env::temp_dir().join(format!("minke-plugin-{}", std::process::id()));
        let (own, extra) = (room.join("cli-plugins"), room.join("extra"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(&extra).unwrap();
        std::fs::write(own.join("docker-surely"), "").unwrap();
        std::fs::write(extra.join("docker-surely"), "").unwrap();
        std::fs::set_permissions(extra.join("docker-surely"), std::fs::Permissions::from_mode(0o755))
            .unwrap();
        let extra_list = [extra.display().to_string()];
        assert_eq!(find("surely", &room, &extra_list), Some(extra.join("docker-surely")));
        assert_eq!(find("../surely", &room, &extra_list), None);
        assert_eq!(find("surely-not", &room, &extra_list), None);
        std::fs::remove_dir_all(room).unwrap();
    }
}
