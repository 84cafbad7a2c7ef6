//! One command of the tree: its words, its flags, and the function that carries it out.

use super::flag::{Flag, Flags};
use super::parse::{Wrong, parse};
use super::{Cli, Outcome};

/// How many arguments a command takes.
#[derive(Clone, Copy)]
pub(crate) enum Arity {
    /// Any number.
    Any,
    /// None at all.
    None,
    /// Just so many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// So many or fewer.
    AtMost(usize),
    /// Between the two.
    Range(usize, usize),
}

impl Arity {
    /// Docker's sentence when `count` arguments are too few or too many.
    pub(crate) fn complaint(self, count: usize) -> Option<String> {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        match self {
            Arity::Any => None,
            Arity::None => (count > 0).then(|| "accepts no arguments".to_owned()),
            Arity::Exactly(n) => (count != n).then(|| format!("requires {n} {}", plural(n))),
            Arity::AtLeast(n) => (count < n).then(|| format!("requires at least {n} {}", plural(n))),
            Arity::AtMost(n) => (count > n).then(|| format!("requires at most {n} {}", plural(n))),
            Arity::Range(least, most) => (count < least || count > most)
                .then(|| format!("requires at least {least} and at most {most} {}", plural(most))),
        }
    }
}

/// What a shell may offer for a command's arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Nothing of ours; the shell's own files.
    Files,
    /// Containers that run.
    Running,
    /// All containers.
    Containers,
    /// Images.
    Images,
    /// Networks.
    Networks,
    /// Volumes.
    Volumes,
    /// Contexts.
    Contexts,
    /// Containers, images, networks and volumes.
    Anything,
}

/// A command.
pub(crate) struct Command {
    /// Its word.
    pub(crate) name: &'static str,
    /// Other words for it in the same group.
    pub(crate) aliases: &'static [&'static str],
    /// All paths that lead to it, for its help.
    pub(crate) known_as: &'static [&'static str],
    /// What follows its name in the usage line; several forms on lines of their own.
    pub(crate) usage: &'static str,
    /// One line of what it does.
    pub(crate) about: &'static str,
    /// More of that.
    pub(crate) long: &'static str,
    /// How many arguments it takes.
    pub(crate) arity: Arity,
    /// Whether flags may follow arguments.
    pub(crate) interspersed: bool,
    /// Its flags.
    pub(crate) flags: &'static [Flag],
    /// What completion offers.
    pub(crate) offer: Offer,
    /// Whether help lists it.
    pub(crate) shown: bool,
    /// Parses the words after its name and does it.
    pub(crate) run: fn(&Cli, &Command, &[String]) -> Outcome,
}

impl Command {
    /// What most commands have in common.
    pub(crate) const PLAIN: Command = Command {
        name: "",
        aliases: &[],
        known_as: &[],
        usage: "",
        about: "",
        long: "",
        arity: Arity::Any,
        interspersed: true,
        flags: &[],
        offer: Offer::Files,
        shown: true,
        run: |_, _, _| Ok(()),
    };
}

/// A group of commands, or one.
pub(crate) enum Entry {
    /// A command.
    Command(&'static Command),
    /// A group, such as `container`.
    Group(&'static Group),
    /// A group with flags of its own, such as `compose`.
    Flagged(&'static Flagged),
    /// The command under another name (`ps` is `container ls`).
    Alias(&'static str, &'static Command),
}

/// A group of commands.
pub(crate) struct Group {
    /// Its word.
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) about: &'static str,
    /// What is in it.
    pub(crate) entries: &'static [Entry],
}

/// A group whose flags stand between its word and its command's: `compose -f x.yaml up`.
pub(crate) struct Flagged {
    /// The group.
    pub(crate) group: Group,
    /// Its flags.
    pub(crate) flags: &'static [Flag],
    /// How many of the words after the group's are flags and their values.
    pub(crate) leading: fn(&[String]) -> Result<usize, Wrong>,
}

/// [`Flagged::leading`] for a set of flags.
pub(crate) fn leading<F: Flags>(words: &[String]) -> Result<usize, Wrong> {
    Ok(words.len() - parse::<F>(words, false)?.args.len())
}

impl Entry {
    /// The group, when it is one.
    pub(crate) fn group(&self) -> Option<&'static Group> {
        match self {
            Entry::Command(_) | Entry::Alias(..) => None,
            Entry::Group(group) => Some(*group),
            Entry::Flagged(flagged) => Some(&flagged.group),
        }
    }

    /// The word that leads here.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Entry::Command(command) => command.name,
            Entry::Group(group) => group.name,
            Entry::Flagged(flagged) => flagged.group.name,
            Entry::Alias(name, _) => name,
        }
    }

    /// One line of what it does.
    pub(crate) fn about(&self) -> &'static str {
        match self {
            Entry::Command(command) | Entry::Alias(_, command) => command.about,
            Entry::Group(group) => group.about,
            Entry::Flagged(flagged) => flagged.group.about,
        }
    }

    /// Whether help lists it.
    pub(crate) fn shown(&self) -> bool {
        match self {
            Entry::Command(command) | Entry::Alias(_, command) => command.shown,
            Entry::Group(_) | Entry::Flagged(_) => true,
        }
    }

    /// Whether `word` means this.
    pub(crate) fn answers_to(&self, word: &str) -> bool {
        match self {
            Entry::Command(command) => command.name == word || command.aliases.contains(&word),
            Entry::Group(group) => group.name == word,
            Entry::Flagged(flagged) => flagged.group.name == word,
            Entry::Alias(name, _) => *name == word,
        }
    }
}

/// Declares a command: fields of [`Command`], the type of its flags, and the function that does it.
macro_rules! command {
    ($flags:ty, $run:path, { $($field:ident : $value:expr),* $(,)? }) => {
        $crate::cli::command::Command {
            $($field: $value,)*
            flags: <$flags as $crate::cli::flag::Flags>::FLAGS,
            run: |cli, command, words| {
                let (flags, args) = cli.parse::<$flags>(command, words)?;
                $run(cli, flags, args)
            },
            ..$crate::cli::command::Command::PLAIN
        }
    };
}
pub(crate) use command;
