//! `completion`: small scripts for the shells. They ask the hidden command `__complete` what may follow,
//! which reads the same tree as the parser, and the daemon for names.

use super::TREE;
use crate::cli::command::{Arity, Command, Entry, Offer, command};
use crate::cli::flag::{Flag, NoFlags};
use crate::cli::{Cli, Failure, Outcome, program, show};
use crate::client::Client;

/// `completion`
pub(crate) static COMMAND: Command = command!(NoFlags, completion, {
    name: "completion",
    usage: "bash|zsh|fish",
    about: "Print the completion script of a shell",
    long: "For this session:\n\n  bash:  source <(minke completion bash)\n  zsh:   source <(minke completion zsh)\n  fish:  minke completion fish | source",
    arity: Arity::Exactly(1),
});

/// `__complete WORD…`: what may stand in place of the last word.
pub(crate) static OFFERS: Command = Command {
    name: "__complete",
    interspersed: false,
    shown: false,
    run: |cli, _, words| offers(cli, words),
    ..Command::PLAIN
};

const BASH: &str = r#"_PROGRAM() {
    local IFS=$'\n' current=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=($(PROGRAM __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
    COMPREPLY=($(compgen -W "${COMPREPLY[*]}" -- "$current"))
}
complete -o default -F _PROGRAM PROGRAM
"#;

const ZSH: &str = r#"#compdef PROGRAM
_PROGRAM() {
    local -a offers
    local line
    while IFS=$'\t' read -r name about; do
        offers+=("${name//:/\\:}${about:+:$about}")
    done < <(PROGRAM __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#offers} )); then _describe PROGRAM offers; else _files; fi
}
compdef _PROGRAM PROGRAM
"#;

const FISH: &str = r#"function __PROGRAM_offers
    set -l words (commandline -opc) (commandline -ct)
    PROGRAM __complete $words[2..-1] 2>/dev/null
end
complete -c PROGRAM -a '(__PROGRAM_offers)'
"#;

fn completion(_: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    let script = match args[0].as_str() {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        other => return Err(Failure::new(format!("no completion for {other}: bash, zsh and fish have one"))),
    };
    show(&script.replace("PROGRAM", program()))
}

/// What the words before the last one lead to.
enum Reached {
    /// A group's commands, or the tree's.
    Entries(&'static [Entry]),
    /// A command, and whether the word is a flag's value.
    Command(&'static Command, bool),
}

fn reach(words: &[String]) -> Reached {
    let mut entries = TREE;
    let mut at = 0;
    let mut leading: &[Flag] = &[];
    while let Some(word) = words.get(at) {
        at += 1;
        if word.starts_with('-') {
            // Flags of the program or of a group that take their value from the next word.
            let global = matches!(
                word.as_str(),
                "-H" | "--host" | "-c" | "--context" | "--config" | "-l" | "--log-level"
            );
            at += usize::from(global || is_value(leading, std::slice::from_ref(word)));
            continue;
        }
        match entries.iter().find(|entry| entry.answers_to(word)) {
            Some(Entry::Group(group)) => entries = group.entries,
            Some(Entry::Flagged(flagged)) => (entries, leading) = (flagged.group.entries, flagged.flags),
            Some(Entry::Command(command) | Entry::Alias(_, command)) => {
                return Reached::Command(command, is_value(command.flags, &words[at..]));
            }
            None => break,
        }
    }
    Reached::Entries(entries)
}

/// Whether the word after `words` is the value of a flag.
fn is_value(flags: &[Flag], words: &[String]) -> bool {
    let Some(last) = words.last() else { return false };
    let takes = |flag: Option<&Flag>| flag.is_some_and(|flag| !flag.bare);
    match (last.strip_prefix("--"), last.strip_prefix('-')) {
        (Some(name), _) => !name.contains('=') && takes(flags.iter().find(|flag| flag.name == name)),
        (None, Some(group)) => takes(flags.iter().find(|flag| flag.short == group.chars().last())),
        _ => false,
    }
}

fn offers(cli: &Cli, words: &[String]) -> Outcome {
    let (current, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let mut lines: Vec<(String, String)> = Vec::new();
    match reach(before) {
        Reached::Command(_, true) => {}
        Reached::Command(command, false) if current.starts_with('-') => {
            lines.extend(
                command
                    .flags
                    .iter()
                    .filter(|flag| !flag.help.is_empty())
                    .map(|flag| (format!("--{}", flag.name), flag.help.to_owned())),
            );
        }
        Reached::Command(command, false) => {
            // Without a daemon there are no names to offer, and nothing to say about it.
            if let Ok(client) = cli.client() {
                lines.extend(names(cli, client, command.offer).into_iter().map(|name| (name, String::new())));
            }
        }
        Reached::Entries(entries) => lines.extend(
            entries
                .iter()
                .filter(|entry| entry.shown())
                .map(|entry| (entry.name().to_owned(), entry.about().to_owned())),
        ),
    }
    let text: String = lines
        .into_iter()
        .filter(|(name, _)| name.starts_with(current))
        .map(|(name, about)| match about.lines().next() {
            Some(about) => format!("{name}\t{about}\n"),
            None => format!("{name}\n"),
        })
        .collect();
    show(&text)
}

/// Names that the daemon knows.
fn names(cli: &Cli, client: &Client, offer: Offer) -> Vec<String> {
    let list = |path: &str, query: &[(&str, String)]| {
        client.get(path, query).map(|value| value.items().to_vec()).unwrap_or_default()
    };
    let containers = |all: bool| -> Vec<String> {
        let query: Vec<_> = if all { vec![("all", "1".to_owned())] } else { Vec::new() };
        list("/containers/json", &query)
            .iter()
            .flat_map(|container| {
                container
                    .texts("Names")
                    .into_iter()
                    .map(|name| name.trim_start_matches('/').to_owned())
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let images = || {
        list("/images/json", &[])
            .iter()
            .flat_map(|image| image.texts("RepoTags").into_iter().map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let networks =
        || list("/networks", &[]).iter().map(|network| network.text("Name").to_owned()).collect::<Vec<_>>();
    let volumes = || {
        client
            .get("/volumes", &[])
            .map(|value| {
                value.list("Volumes").iter().map(|volume| volume.text("Name").to_owned()).collect::<Vec<_>>()
            })
            .unwrap_or_default()
    };
    match offer {
        Offer::Files => Vec::new(),
        Offer::Running => containers(false),
        Offer::Containers => containers(true),
        Offer::Images => images(),
        Offer::Networks => networks(),
        Offer::Volumes => volumes(),
        Offer::Contexts => cli
            .contexts()
            .list()
            .into_iter()
            .map(|context| context.name)
            .chain(["default".to_owned()])
            .collect(),
        Offer::Anything => [containers(true), images(), networks(), volumes()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match reach(&words) {
            Reached::Entries(entries) => format!("{} entries", entries.len()),
            Reached::Command(command, value) => {
                format!("{}{}", command.name, if value { " value" } else { "" })
            }
        }
    }

    #[test]
    fn words_lead_to_what_may_follow() {
        assert_eq!(reached("run"), "run");
        assert_eq!(reached("-H unix:///x container rm -f"), "rm");
        assert_eq!(reached("run --name"), "run value");
        assert_eq!(reached("run -itp"), "run value");
        assert_eq!(reached("run -it"), "run");
        assert_eq!(reached("context"), "6 entries");
    }
}
