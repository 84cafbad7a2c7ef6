//! Help texts, laid out as docker's are.

use super::command::{Command, Entry, Group};
use super::flag::Flag;
use std::fmt::Write as _;

/// Columns to wrap at: the terminal's, or 80.
pub(crate) fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map(|size| size.ws_col as usize)
        .ok()
        .filter(|&columns| columns > 0)
        .unwrap_or(80)
}

/// The line `Usage:  docker run [OPTIONS] …`, and further ones where a command has several forms.
pub(crate) fn usage(program: &str, path: &str, command: &Command) -> String {
    let forms: Vec<String> = command
        .usage
        .split('\n')
        .map(|form| format!("{program} {path} {form}").trim_end().to_owned())
        .collect();
    format!("Usage:  {}", forms.join("\n\t"))
}

/// All of a command's help.
pub(crate) fn command(program: &str, path: &str, command: &Command, columns: usize) -> String {
    let mut text = format!("{}\n\n{}\n", usage(program, path, command), command.about);
    if !command.long.is_empty() {
        let _ = write!(text, "\n{}\n", command.long);
    }
    if !command.known_as.is_empty() {
        let names: Vec<String> = command.known_as.iter().map(|name| format!("{program} {name}")).collect();
        let _ = write!(text, "\nAliases:\n  {}\n", names.join(", "));
    }
    if command.flags.iter().any(|flag| !flag.help.is_empty()) {
        let _ = write!(text, "\nOptions:\n{}", flags(command.flags, columns));
    }
    text
}

/// A group's help: its commands, after its own flags where it has some.
pub(crate) fn group(program: &str, path: &str, group: &Group, own: &[Flag]) -> String {
    let (usage, options) = match own {
        [] => ("", String::new()),
        own => ("[OPTIONS] ", format!("Options:\n{}\n", flags(own, width()))),
    };
    format!(
        "Usage:  {program} {path} {usage}COMMAND\n\n{}\n\n{options}Commands:\n{}\nRun '{program} {path} COMMAND --help' for more information on a command.\n",
        group.about,
        entries(group.entries.iter().filter(|entry| entry.shown()), 11)
    )
}

fn entries<'a>(entries: impl Iterator<Item = &'a Entry>, pad: usize) -> String {
    let mut entries: Vec<&Entry> = entries.collect();
    entries.sort_by_key(|entry| entry.name());
    entries.iter().map(|entry| format!("  {:pad$} {}\n", entry.name(), entry.about())).collect()
}

/// The help of the program itself.
pub(crate) fn root(program: &str, tree: &[Entry], global: &[Flag], columns: usize) -> String {
    const COMMON: [&str; 7] = ["run", "exec", "ps", "pull", "images", "version", "info"];
    let mut text = format!("Usage:  {program} [OPTIONS] COMMAND\n\nRuns containers\n\nCommon Commands:\n");
    for entry in COMMON.iter().filter_map(|name| tree.iter().find(|entry| entry.name() == *name)) {
        let _ = writeln!(text, "  {:11} {}", entry.name(), entry.about());
    }
    let shown = || tree.iter().filter(|entry| entry.shown());
    let _ = write!(
        text,
        "\nManagement Commands:\n{}\nCommands:\n{}\nGlobal Options:\n{}\nRun '{program} COMMAND --help' for more information on a command.\n",
        entries(shown().filter(|entry| entry.group().is_some()), 11),
        entries(shown().filter(|entry| entry.group().is_none() && !COMMON.contains(&entry.name())), 11),
        flags(global, columns)
    );
    text
}

/// The block of flags, sorted by name, wrapped to `columns`.
pub(crate) fn flags(flags: &[Flag], columns: usize) -> String {
    let mut shown: Vec<&Flag> =
        flags.iter().filter(|flag| !flag.help.is_empty() && flag.deprecated.is_none()).collect();
    shown.sort_by_key(|flag| flag.name);
    let lines: Vec<(String, String)> = shown.iter().map(|flag| (left(flag), right(flag))).collect();
    let indent = lines.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0) + 3;
    lines.iter().map(|(left, right)| format!("{left:indent$}{}\n", wrap(right, indent, columns))).collect()
}

fn left(flag: &Flag) -> String {
    let mut text = match flag.short {
        Some(short) => format!("  -{short}, --{}", flag.name),
        None => format!("      --{}", flag.name),
    };
    if !flag.word.is_empty() {
        let _ = write!(text, " {}", flag.word);
    }
    text
}

fn right(flag: &Flag) -> String {
    match flag.default {
        Some(default) if flag.quoted => format!("{} (default \"{default}\")", flag.help),
        Some(default) => format!("{} (default {default})", flag.help),
        None => flag.help.to_owned(),
    }
}

/// Wraps `text` for a column that begins at `indent`. A last word may stick out by a little, so that
/// no line holds one orphan.
fn wrap(text: &str, indent: usize, columns: usize) -> String {
    const SLOP: usize = 5;
    let room = columns.saturating_sub(indent).max(24) - SLOP;
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut rest = paragraph;
        while rest.len() >= room + SLOP {
            let head = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
            let Some(cut) = rest[..head].rfind(' ').filter(|&at| at > 0) else { break };
            lines.push(&rest[..cut]);
            rest = &rest[cut + 1..];
        }
        lines.push(rest);
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_line_up_and_wrap() {
        const FLAGS: &[Flag] = &[
            Flag {
                name: "tail",
                short: Some('n'),
                word: "string",
                bare: false,
                quoted: true,
                default: Some("all"),
                help: "Number of lines to begin with, counted from the end",
                deprecated: None,
            },
            Flag {
                name: "details",
                short: None,
                word: "",
                bare: true,
                quoted: false,
                default: None,
                help: "Say all that is known",
                deprecated: None,
            },
        ];
        assert_eq!(
            flags(FLAGS, 60),
            "      --details       Say all that is known\n  -n, --tail string   Number of lines to begin with,\n                      counted from the end (default \"all\")\n"
        );
    }
}
