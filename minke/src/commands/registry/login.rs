//! `login`.

use super::key_of;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::config_file::Credentials;
use serde_json::json;
use std::io::{BufRead, Read, Write};

/// `login`
pub(crate) static COMMAND: Command = command!(LoginFlags, login, {
    name: "login",
    usage: "[OPTIONS] [SERVER]",
    about: "Log in to a registry",
    arity: Arity::AtMost(1),
});

flags! {
    /// Flags of `login`.
    struct LoginFlags {
        password: Option<String> ["password" 'p'], "Password (seen by others in lists of processes: better --password-stdin)";
        password_stdin: bool ["password-stdin"], "Read the password from stdin";
        username: String ["username" 'u'], "User";
    }
}

/// A password has no more bytes than this.
const LONGEST: u64 = 64 << 10;

fn login(cli: &Cli, flags: LoginFlags, args: Vec<String>) -> Outcome {
    let key = key_of(args.first());
    let mut username = flags.username;
    let password = match (flags.password, flags.password_stdin) {
        (Some(_), true) => {
            return Err(Failure::new("--password and --password-stdin are mutually exclusive"));
        }
        (Some(password), false) => {
            eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            password
        }
        (None, true) if username.is_empty() => {
            return Err(Failure::new("Must provide --username with --password-stdin"));
        }
        (None, true) => {
            let mut text = String::new();
            std::io::stdin().take(LONGEST).read_to_string(&mut text)?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        (None, false) => {
            if !rustix::termios::isatty(std::io::stdin()) {
                return Err(Failure::new("Error: Cannot perform an interactive login from a non TTY device"));
            }
            if username.is_empty() {
                username = ask("Username: ")?;
            }
            without_echo(|| ask("Password: "))?
        }
    };
    let body = json!({ "username": username, "password": password, "serveraddress": key });
    let answer = cli.client()?.post("/auth", &[], &body)?;
    let token = answer.text("IdentityToken").to_owned();
    let credentials = match token.is_empty() {
        true => Credentials { username, password, identity_token: String::new(), server: key },
        false => Credentials { username, password: String::new(), identity_token: token, server: key },
    };
    let place = cli.config().store(&credentials).map_err(Failure::new)?;
    if let Some(place) = place {
        eprintln!(
            "\nWARNING! Your credentials are stored unencrypted in '{place}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n"
        );
    }
    let status = answer.text("Status");
    show(&format!("{}\n", if status.is_empty() { "Login Succeeded" } else { status }))
}

/// Asks a question on the terminal.
fn ask(question: &str) -> Result<String, Failure> {
    let mut out = std::io::stdout();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// What is typed meanwhile does not show.
fn without_echo<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let terminal = std::io::stdin();
    let before = tcgetattr(&terminal).map_err(std::io::Error::from)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Now, &quiet).map_err(std::io::Error::from)?;
    let answer = work();
    let restored = tcsetattr(&terminal, OptionalActions::Now, &before);
    println!();
    restored.map_err(std::io::Error::from)?;
    answer
}
