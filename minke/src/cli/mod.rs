//! The command line: words to a command, its flags, and what it needs to reach the daemon.
//!
//! Start at [`main`]. The commands themselves are in `commands/`; the parser's rules in `parse.rs`.

pub(crate) mod command;
pub(crate) mod flag;
pub(crate) mod help;
pub(crate) mod parse;
mod plugin;

use crate::client::{Client, ClientError, Host, config_file::ConfigFile, context, host, tls::Trust};
use command::{Command, Entry};
use flag::{Flags, flags};
use parse::Wrong;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

/// How a command ended.
pub(crate) type Outcome = Result<(), Failure>;

/// An end that is no success: what to say and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: i32,
    /// A sentence for stderr; nothing is printed when it is empty.
    pub(crate) text: String,
}

impl Failure {
    /// Exit code 1 with a sentence.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { code: 1, text: text.into() }
    }

    /// An exit code without words.
    pub(crate) fn silent(code: i32) -> Self {
        Self { code, text: String::new() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::new(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::new(text)
    }
}

static PROGRAM: OnceLock<&'static str> = OnceLock::new();

/// The name that we were called by: `minke` or `docker`.
pub(crate) fn program() -> &'static str {
    PROGRAM.get_or_init(|| "minke")
}

flags! {
    /// What stands before the command.
    struct Globals {
        config: Option<String> ["config"], "Directory of the client's configuration";
        context: Option<String> ["context" 'c'], "Context to reach the daemon by (goes before DOCKER_HOST and before the context set with \"context use\")";
        debug: bool ["debug" 'D'], "Say more";
        host: Vec<String> ["host" 'H'], "Address of the daemon";
        log_level: String ["log-level" 'l'] = "info", "Level of messages (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")";
        tls: bool ["tls"], "Speak TLS";
        tls_ca: String ["tlscacert"], "Trust certificates signed by this CA only";
        tls_cert: String ["tlscert"], "Certificate of this client";
        tls_key: String ["tlskey"], "Key of this client";
        tls_verify: Option<bool> ["tlsverify"], "Speak TLS and verify the daemon";
        version: bool ["version" 'v'], "Print the version and quit";
    }
}

/// What a command has at hand.
pub(crate) struct Cli {
    globals: Globals,
    /// The words that led to the command: `container ls`.
    pub(crate) path: String,
    /// The words between a group's and its command's: the group's own flags.
    leading: Vec<String>,
    config: OnceLock<ConfigFile>,
    client: OnceLock<Client>,
}

/// Runs a command line, without the program's own name. Returns the exit code.
pub(crate) fn main(called_as: &'static str, words: &[String]) -> i32 {
    let _ = PROGRAM.set(called_as);
    let outcome = run(words);
    let code = match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.text.is_empty() {
                let _ = writeln!(std::io::stderr(), "{}", failure.text);
            }
            failure.code
        }
    };
    let _ = std::io::stdout().flush();
    code
}

fn run(words: &[String]) -> Outcome {
    let tree = crate::commands::TREE;
    let program = program();
    let parsed = match parse::parse::<Globals>(words, false) {
        Ok(parsed) => parsed,
        Err(wrong) => {
            if matches!(wrong, Wrong::ShortHelp) {
                show("Flag shorthand -h has been deprecated, use --help\n")?;
            }
            return match wrong {
                Wrong::Help | Wrong::ShortHelp => {
                    show(&help::root(program, tree, Globals::FLAGS, help::width()))
                }
                Wrong::Sentence(text) => Err(Failure {
                    code: 125,
                    text: format!(
                        "{text}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information"
                    ),
                }),
            };
        }
    };
    if parsed.flags.version {
        println!("{}", crate::commands::system::version::line());
        return Ok(());
    }
    if !matches!(
        parsed.flags.log_level.as_str(),
        "trace" | "debug" | "info" | "warn" | "warning" | "error" | "fatal" | "panic"
    ) {
        return Err(Failure::new(format!("Unable to parse logging level: {}", parsed.flags.log_level)));
    }
    let cli = Cli {
        globals: parsed.flags,
        path: String::new(),
        leading: Vec::new(),
        config: OnceLock::new(),
        client: OnceLock::new(),
    };
    dispatch(cli, tree, &parsed.args, words)
}

/// Follows the words down the tree. `all` are those of the whole command line.
fn dispatch(mut cli: Cli, tree: &'static [Entry], words: &[String], all: &[String]) -> Outcome {
    let program = program();
    let (mut entries, mut at, mut group): (&[Entry], usize, Option<&Entry>) = (tree, 0, None);
    loop {
        let word = match words.get(at).map(String::as_str) {
            None | Some("--help") => return show(&overview(&cli.path, tree, group)),
            Some("-h") => {
                show("Flag shorthand -h has been deprecated, use --help\n")?;
                return show(&overview(&cli.path, tree, group));
            }
            Some("help") if group.is_none() => return help_on(tree, &words[at + 1..]),
            Some(word) => word,
        };
        let shown =
            format!("{}{word}", if cli.path.is_empty() { String::new() } else { format!("{} ", cli.path) });
        if word.starts_with('-') && word.len() > 1 {
            let text = match word.strip_prefix("--") {
                Some(name) => format!("unknown flag: --{}", name.split('=').next().unwrap_or_default()),
                None => {
                    format!("unknown shorthand flag: '{}' in {word}", word.chars().nth(1).unwrap_or_default())
                }
            };
            return Err(wrong_in_group(&cli.path, &text));
        }
        match entries.iter().find(|entry| entry.answers_to(word)) {
            Some(entry @ (Entry::Group(_) | Entry::Flagged(_))) => {
                entries = entry.group().map_or(entries, |group| group.entries);
                group = Some(entry);
                cli.path = shown;
                at += 1;
                if let Entry::Flagged(flagged) = entry {
                    let count = match (flagged.leading)(&words[at..]) {
                        Ok(count) => count,
                        Err(Wrong::Sentence(text)) => return Err(wrong_in_group(&cli.path, &text)),
                        Err(Wrong::Help | Wrong::ShortHelp) => {
                            return show(&overview(&cli.path, tree, group));
                        }
                    };
                    cli.leading = words[at..at + count].to_vec();
                    at += count;
                }
            }
            Some(Entry::Command(found) | Entry::Alias(_, found)) => {
                cli.path = shown;
                return (found.run)(&cli, found, &words[at + 1..]);
            }
            None => {
                if group.is_none() {
                    plugin::become_plugin(&cli, word, all)?;
                }
                if let Some(later) = crate::commands::comes_later(&shown) {
                    return Err(Failure::new(format!(
                        "{program}: '{program} {later}' is not there yet: it comes with a later version"
                    )));
                }
                let usage = if cli.path.is_empty() {
                    String::new()
                } else {
                    format!("\n\nUsage:  {program} {}", cli.path)
                };
                let path =
                    if cli.path.is_empty() { program.to_owned() } else { format!("{program} {}", cli.path) };
                return Err(Failure::new(format!(
                    "{program}: unknown command: {program} {shown}{usage}\n\nRun '{path} --help' for more information"
                )));
            }
        }
    }
}

/// A flag that a group does not know.
fn wrong_in_group(path: &str, text: &str) -> Failure {
    let program = program();
    Failure {
        code: 125,
        text: format!(
            "{text}\n\nUsage:  {program} {path} COMMAND\n\nRun '{program} {path} --help' for more information"
        ),
    }
}

fn overview(path: &str, tree: &[Entry], group: Option<&Entry>) -> String {
    match group {
        Some(Entry::Flagged(flagged)) => help::group(program(), path, &flagged.group, flagged.flags),
        Some(entry) => {
            entry.group().map_or_else(String::new, |group| help::group(program(), path, group, &[]))
        }
        None => help::root(program(), tree, Globals::FLAGS, help::width()),
    }
}

/// `help`, `help run`, `help container ls`.
fn help_on(tree: &'static [Entry], words: &[String]) -> Outcome {
    let (mut entries, mut group, mut path) = (tree, None, String::new());
    for word in words {
        if !path.is_empty() {
            path.push(' ');
        }
        path.push_str(word);
        match entries.iter().find(|entry| entry.answers_to(word)) {
            Some(Entry::Command(found) | Entry::Alias(_, found)) => {
                return show(&help::command(program(), &path, found, help::width()));
            }
            Some(entry) => {
                entries = entry.group().map_or(entries, |group| group.entries);
                group = Some(entry);
            }
            None => return Err(Failure::new(format!("unknown help topic: {}", words.join(" ")))),
        }
    }
    show(&overview(&path, tree, group))
}

/// Prints to stdout. A reader that went away is no failure.
pub(crate) fn show(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::silent(0)),
        other => Ok(other?),
    }
}

/// No address could be made of what was said.
fn unresolved(why: String) -> Failure {
    Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {why}"))
}

impl Cli {
    /// Parses the words of `command` and checks how many arguments there are.
    pub(crate) fn parse<F: Flags>(
        &self,
        command: &Command,
        words: &[String],
    ) -> Result<(F, Vec<String>), Failure> {
        let program = program();
        match parse::parse::<F>(words, command.interspersed) {
            Ok(parsed) => {
                for notice in parsed.notices {
                    show(&format!("{notice}\n"))?;
                }
                if let Some(complaint) = command.arity.complaint(parsed.args.len()) {
                    let lead = if complaint.contains("at least") && !complaint.contains(" and ") {
                        "See"
                    } else {
                        "Run"
                    };
                    return Err(Failure::new(format!(
                        "{program}: '{program} {}' {complaint}\n\n{}\n\n{lead} '{program} {} --help' for more information",
                        self.path,
                        help::usage(program, &self.path, command),
                        self.path
                    )));
                }
                Ok((parsed.flags, parsed.args))
            }
            Err(Wrong::Sentence(text)) => Err(Failure {
                code: 125,
                text: format!(
                    "{text}\n\n{}\n\nRun '{program} {} --help' for more information",
                    help::usage(program, &self.path, command),
                    self.path
                ),
            }),
            Err(wrong) => {
                if matches!(wrong, Wrong::ShortHelp) {
                    show("Flag shorthand -h has been deprecated, use --help\n")?;
                }
                show(&help::command(program, &self.path, command, help::width()))?;
                Err(Failure::silent(0))
            }
        }
    }

    /// The flags of the command's group, which stood before its word.
    pub(crate) fn leading<F: Flags>(&self) -> F {
        // They were parsed once before: what is wrong with them was said then.
        parse::parse::<F>(&self.leading, false).map(|parsed| parsed.flags).unwrap_or_default()
    }

    /// A failure that names the command and points at its help, as docker ends `run` and `create`.
    pub(crate) fn with_help(&self, code: i32, text: impl std::fmt::Display) -> Failure {
        let program = program();
        Failure {
            code,
            text: format!("{program}: {text}\n\nRun '{program} {} --help' for more information", self.path),
        }
    }

    /// The user's configuration file.
    pub(crate) fn config(&self) -> &ConfigFile {
        self.config.get_or_init(|| {
            let (config, warning) = ConfigFile::load(&self.config_directory());
            if let Some(warning) = warning {
                eprintln!("{warning}");
            }
            config
        })
    }

    fn config_directory(&self) -> PathBuf {
        if let Some(directory) = &self.globals.config {
            return directory.into();
        }
        if let Some(directory) = std::env::var_os("DOCKER_CONFIG").filter(|directory| !directory.is_empty()) {
            return directory.into();
        }
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".docker")
    }

    /// The contexts.
    pub(crate) fn contexts(&self) -> context::Store {
        context::Store::new(self.config().directory())
    }

    /// The address given by `-H` or by the environment.
    pub(crate) fn explicit_host(&self) -> Option<String> {
        let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        self.globals.host.last().cloned().or_else(|| given("MINKE_HOST")).or_else(|| given("DOCKER_HOST"))
    }

    /// The name of the context that holds.
    pub(crate) fn context_name(&self) -> String {
        if let Some(name) = &self.globals.context {
            return name.clone();
        }
        if self.explicit_host().is_some() {
            return context::DEFAULT.into();
        }
        if let Some(name) = std::env::var("DOCKER_CONTEXT").ok().filter(|name| !name.is_empty()) {
            return name;
        }
        match self.config().text("currentContext") {
            "" => context::DEFAULT.into(),
            name => name.to_owned(),
        }
    }

    /// The address of the daemon.
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        if self.globals.context.is_some() && !self.globals.host.is_empty() {
            return Err(Failure::new("conflicting options: cannot specify both --host and --context"));
        }
        let name = self.context_name();
        if name != context::DEFAULT {
            let contexts = self.contexts();
            let context = contexts.get(&name).map_err(unresolved)?;
            let host = Host::parse(&context.host).map_err(unresolved)?;
            return Ok(match contexts.trust(&context) {
                Some(trust) => host.secured(&context.host, trust),
                None => host,
            });
        }
        let trust = self.trust();
        if let Some(trust) = &trust {
            trust.check().map_err(unresolved)?;
        }
        match (self.explicit_host(), trust) {
            (Some(text), None) => Host::parse(&text).map_err(unresolved),
            (Some(text), Some(trust)) => Ok(Host::parse(&text).map_err(unresolved)?.secured(&text, trust)),
            (None, None) => Ok(Host::Unix(host::default_socket())),
            (None, Some(trust)) => Ok(Host::Tls { address: "localhost:2376".into(), trust }),
        }
    }

    /// The certificates that flags and environment name; `None` is no TLS. docker's rules: a client's own certificate is
    /// not missed where nobody asked for it, an authority is.
    fn trust(&self) -> Option<Trust> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let by_environment = set("DOCKER_TLS_VERIFY").is_some();
        if !self.globals.tls && self.globals.tls_verify.is_none() && !by_environment {
            return None;
        }
        let directory = set("DOCKER_CERT_PATH").map_or_else(|| self.config_directory(), PathBuf::from);
        let usual = Trust::of_directory(&directory, self.globals.tls_verify.unwrap_or(by_environment));
        let said = |path: &String| Some(path).filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(Trust {
            authority: said(&self.globals.tls_ca).or_else(|| Some(directory.join("ca.pem"))),
            certificate: said(&self.globals.tls_cert).or(usual.certificate),
            key: said(&self.globals.tls_key).or(usual.key),
            verify: usual.verify,
        })
    }

    /// The daemon. Nothing is dialled before the first request.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(self.host()?, self.config().headers());
        Ok(self.client.get_or_init(|| client))
    }
}
