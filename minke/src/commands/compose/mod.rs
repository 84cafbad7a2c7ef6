//! `compose …`: a project of services from compose files, with docker compose's names, labels, words and exit codes.
//!
//! Reading files and planning is `minke_compose`'s; here is what it asks of the outside, and the commands, one a file.
//! Start at `up.rs`.

mod apply;
mod execute;
mod files;
mod observe;
mod progress;
mod request;
mod session;
mod tail;

mod attach;
mod build;
mod commit;
mod config;
mod cp;
mod create;
mod down;
mod events;
mod exec;
mod export;
mod images;
mod kill;
mod logs;
mod ls;
mod pause;
mod port;
mod ps;
mod pull;
mod push;
mod restart;
mod rm;
mod run;
mod scale;
mod start;
mod stats;
mod stop;
mod top;
mod up;
mod version;
mod volumes;
mod wait;

use crate::cli::command::{Entry, Flagged, Group, leading};
use crate::cli::flag::{Flags, flags};
use crate::stream::terminal;
use std::io::Write;

/// The group.
pub(crate) static GROUP: Flagged = Flagged {
    group: Group {
        name: "compose",
        about: "Run projects of several containers from compose files",
        entries: &[
            Entry::Command(&attach::COMMAND),
            Entry::Command(&build::COMMAND),
            Entry::Command(&commit::COMMAND),
            Entry::Command(&config::COMMAND),
            Entry::Command(&cp::COMMAND),
            Entry::Command(&create::COMMAND),
            Entry::Command(&down::COMMAND),
            Entry::Command(&events::COMMAND),
            Entry::Command(&exec::COMMAND),
            Entry::Command(&export::COMMAND),
            Entry::Command(&images::COMMAND),
            Entry::Command(&kill::COMMAND),
            Entry::Command(&logs::COMMAND),
            Entry::Command(&ls::COMMAND),
            Entry::Command(&pause::COMMAND),
            Entry::Command(&port::COMMAND),
            Entry::Command(&ps::COMMAND),
            Entry::Command(&pull::COMMAND),
            Entry::Command(&push::COMMAND),
            Entry::Command(&restart::COMMAND),
            Entry::Command(&rm::COMMAND),
            Entry::Command(&run::COMMAND),
            Entry::Command(&scale::COMMAND),
            Entry::Command(&start::COMMAND),
            Entry::Command(&stats::COMMAND),
            Entry::Command(&stop::COMMAND),
            Entry::Command(&top::COMMAND),
            Entry::Command(&pause::UNPAUSE),
            Entry::Command(&up::COMMAND),
            Entry::Command(&version::COMMAND),
            Entry::Command(&volumes::COMMAND),
            Entry::Command(&wait::COMMAND),
        ],
    },
    flags: <ProjectFlags as Flags>::FLAGS,
    leading: leading::<ProjectFlags>,
};

flags! {
    /// What stands between `compose` and its command.
    struct ProjectFlags {
        all_resources: bool ["all-resources"], "Keep networks, volumes, configs and secrets that no service uses";
        ansi: String ["ansi"] = "auto", "When to print control characters of terminals (\"never\", \"always\", \"auto\")";
        compatibility: bool ["compatibility"], "Names with underscores, as Compose 1 had them";
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
        env_file: Vec<String> ["env-file"], "Read variables from this file instead of .env";
        file: Vec<String> ["file" 'f'], "Compose files; later ones add to and override earlier ones";
        parallel: i64 ["parallel"] = "-1", "How many things are done at once; -1 sets no limit";
        profile: Vec<String> ["profile"], "Enable a profile";
        progress: String ["progress"], "How progress is shown (\"auto\", \"tty\", \"plain\", \"json\", \"quiet\")";
        project_directory: String ["project-directory"], "Directory that the project's paths stand against";
        project_name: String ["project-name" 'p'], "Name of the project";
    }
}

flags! {
    /// A command whose only flag is `--dry-run`.
    struct DryRun {
        dry_run: bool ["dry-run"], "Say what would be done, and why, and do nothing";
    }
}

/// Tells something on stderr as docker compose's logger does.
fn log(level: &str, text: &str) {
    let text = match terminal::stderr_is_terminal() {
        true => format!("{}[0000] {text}", level.to_uppercase().get(..4).unwrap_or(level)),
        false => {
            let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
            format!("time=\"{time}\" level={level} msg={}", minke_model::go::quote(text))
        }
    };
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Warns.
fn warn(text: &str) {
    log("warning", text);
}

#[cfg(test)]
mod tests;
