//! `service logs`: what the tasks of a service wrote, or one task.

use super::path;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome};
use crate::client::http::Payload;
use crate::commands::segment;
use crate::options::moment;
use crate::stream::{attach::copy_raw, demux, terminal};

/// `service logs`
pub(crate) static COMMAND: Command = command!(LogsFlags, logs, {
    name: "logs",
    usage: "[OPTIONS] SERVICE|TASK",
    about: "Show what the tasks of a service wrote",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `service logs`.
    struct LogsFlags {
        details: bool ["details"], "Show the attributes that a log carries, and whose each line is";
        follow: bool ["follow" 'f'], "Go on with what is written from now on";
        since: String ["since"], "Only from then on (e.g. \"2013-01-02T13:23:37Z\", or \"42m\" for 42 minutes ago)";
        tail: String ["tail" 'n'] = "all", "Number of lines from the end of each task";
        timestamps: bool ["timestamps" 't'], "Show when each line was written";
    }
}

fn logs(cli: &Cli, flags: LogsFlags, args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    let mut query = vec![("stdout", "1".to_owned()), ("stderr", "1".to_owned()), ("tail", flags.tail)];
    if !flags.since.is_empty() {
        let since = moment::parse(&flags.since, jiff::Timestamp::now());
        query.push((
            "since",
            since.map_err(|why| Failure::new(format!("invalid value for \"since\": {why}")))?,
        ));
    }
    for (name, given) in
        [("details", flags.details), ("follow", flags.follow), ("timestamps", flags.timestamps)]
    {
        if given {
            query.push((name, "1".to_owned()));
        }
    }
    let (source, tty) = match client.get(&path(&args[0]), &[]) {
        Ok(service) => (path(service.text("ID")), service.bool("Spec.TaskTemplate.ContainerSpec.TTY")),
        Err(_) => {
            let task = client.get(&format!("/tasks/{}", segment(&args[0])), &[])?;
            (format!("/tasks/{}", task.text("ID")), task.bool("Spec.ContainerSpec.TTY"))
        }
    };
    let answer = client.call("GET", &format!("{source}/logs"), &query, Payload::None)?;
    let (mut out, mut err) = (terminal::stdout()?, terminal::stderr()?);
    match tty {
        true => copy_raw(answer.body, &mut out)?,
        false => demux::copy(answer.body, &mut out, &mut err)?,
    }
    Ok(())
}
