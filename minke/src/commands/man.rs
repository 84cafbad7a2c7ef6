//! `man`: manual pages, made from the same definitions as the parser and the help.

use super::TREE;
use crate::cli::command::{Arity, Command, Entry, command};
use crate::cli::flag::{Flag, flags};
use crate::cli::{Cli, Failure, Outcome, program, show};
use std::fmt::Write as _;
use std::path::Path;

/// `man`
pub(crate) static COMMAND: Command = command!(ManFlags, man, {
    name: "man",
    usage: "[OPTIONS] [COMMAND...]",
    about: "Print the manual page of a command, or write all of them",
    arity: Arity::Any,
});

flags! {
    /// Flags of `man`.
    struct ManFlags {
        output: String ["output" 'o'], "Write all pages into this directory";
    }
}

/// Text as troff takes it.
fn escape(text: &str) -> String {
    text.lines()
        .map(|line| line.replace('\\', "\\e").replace('-', "\\-"))
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

fn head(name: &str, about: &str) -> String {
    format!(".TH \"{}\" 1\n.SH NAME\n{} \\- {}\n", name.to_uppercase(), escape(name), escape(about))
}

fn options(flags: &[Flag]) -> String {
    let mut shown: Vec<&Flag> = flags.iter().filter(|flag| !flag.help.is_empty()).collect();
    shown.sort_by_key(|flag| flag.name);
    if shown.is_empty() {
        return String::new();
    }
    let mut text = String::from(".SH OPTIONS\n");
    for flag in shown {
        let short = flag.short.map(|short| format!("\\fB\\-{short}\\fR, ")).unwrap_or_default();
        let word =
            if flag.word.is_empty() { String::new() } else { format!(" \\fI{}\\fR", escape(flag.word)) };
        let default = flag.default.map(|default| format!(" (default {default})")).unwrap_or_default();
        let _ = write!(
            text,
            ".TP\n{short}\\fB\\-\\-{}\\fR{word}\n{}{}\n",
            escape(flag.name),
            escape(flag.help),
            escape(&default)
        );
    }
    text
}

/// The page of one command.
fn page(path: &str, command: &Command) -> String {
    let name = format!("{} {path}", program());
    let mut text = head(&name.replace(' ', "-"), command.about);
    text.push_str(".SH SYNOPSIS\n");
    for form in command.usage.split('\n') {
        let _ = write!(text, "\\fB{}\\fR {}\n.br\n", escape(&name), escape(form));
    }
    let _ = write!(text, ".SH DESCRIPTION\n{}.\n", escape(command.about.trim_end_matches('.')));
    if !command.long.is_empty() {
        let _ = write!(text, ".PP\n.nf\n{}\n.fi\n", escape(command.long));
    }
    text + &options(command.flags)
}

/// The page of a group, or of the program itself.
fn overview(path: &str, about: &str, entries: &[Entry]) -> String {
    let name = format!("{} {path}", program()).trim_end().to_owned();
    let mut text = head(&name.replace(' ', "-"), about)
        + &format!(".SH SYNOPSIS\n\\fB{}\\fR COMMAND\n.SH COMMANDS\n", escape(&name));
    for entry in entries.iter().filter(|entry| entry.shown()) {
        let _ = write!(text, ".TP\n\\fB{}\\fR\n{}\n", escape(entry.name()), escape(entry.about()));
    }
    text
}

/// All pages with their paths.
fn pages() -> Vec<(String, String)> {
    let mut pages = vec![(String::new(), overview("", "runs containers", TREE))];
    for entry in TREE.iter().filter(|entry| entry.shown()) {
        match entry {
            Entry::Command(command) | Entry::Alias(_, command) => {
                pages.push((entry.name().to_owned(), page(entry.name(), command)))
            }
            Entry::Group(_) | Entry::Flagged(_) => {
                let Some(group) = entry.group() else { continue };
                let own =
                    if let Entry::Flagged(flagged) = entry { options(flagged.flags) } else { String::new() };
                pages.push((group.name.to_owned(), overview(group.name, group.about, group.entries) + &own));
                for inner in group.entries.iter().filter(|inner| inner.shown()) {
                    if let Entry::Command(command) | Entry::Alias(_, command) = inner {
                        let path = format!("{} {}", group.name, inner.name());
                        pages.push((path.clone(), page(&path, command)));
                    }
                }
            }
        }
    }
    pages
}

fn man(_: &Cli, flags: ManFlags, args: Vec<String>) -> Outcome {
    let pages = pages();
    if flags.output.is_empty() {
        let wanted = args.join(" ");
        let page = pages.iter().find(|(path, _)| *path == wanted);
        return show(&page.ok_or_else(|| Failure::new(format!("no manual page for {wanted}")))?.1);
    }
    std::fs::create_dir_all(&flags.output)?;
    for (path, page) in pages {
        let name = format!("{} {path}", program()).trim_end().replace(' ', "-");
        std::fs::write(Path::new(&flags.output).join(format!("{name}.1")), page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages();
        assert!(pages.len() > 80, "{}", pages.len());
        let (_, run) = pages.iter().find(|(path, _)| path == "container run").unwrap();
        assert!(
            run.contains("\\fB\\-\\-publish\\fR \\fIlist\\fR")
                && run.starts_with(".TH \"MINKE-CONTAINER-RUN\" 1")
        );
    }
}
