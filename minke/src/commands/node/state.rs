//! `node drain|pause|activate|label`: the changes of a machine that are made most, as words of their own.

use super::change;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::output::each;
use serde_json::json;

pub(super) static DRAIN: Command = command!(NoFlags, drain, {
    name: "drain",
    usage: "NODE [NODE...]",
    about: "Move the tasks of machines to others; replacements start first",
    arity: Arity::AtLeast(1),
});

pub(super) static PAUSE: Command = command!(NoFlags, pause, {
    name: "pause",
    usage: "NODE [NODE...]",
    about: "Let machines keep their tasks and take no new ones",
    arity: Arity::AtLeast(1),
});

pub(super) static ACTIVATE: Command = command!(NoFlags, activate, {
    name: "activate",
    usage: "NODE [NODE...]",
    about: "Let machines take tasks again",
    arity: Arity::AtLeast(1),
});

pub(super) static LABEL: Command = command!(NoFlags, label, {
    name: "label",
    usage: "NODE KEY=VALUE|KEY- [KEY=VALUE|KEY-...]",
    about: "Set labels of a machine; KEY- takes one away",
    arity: Arity::AtLeast(2),
});

fn drain(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    become_available(cli, &args, "drain")
}

fn pause(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    become_available(cli, &args, "pause")
}

fn activate(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    become_available(cli, &args, "active")
}

fn become_available(cli: &Cli, names: &[String], availability: &str) -> Outcome {
    each(names, |name| {
        change(cli, name, |spec| {
            spec["Availability"] = json!(availability);
            Ok(())
        })?;
        show(&format!("{name}\n"))
    })
}

fn label(cli: &Cli, _: NoFlags, args: Vec<String>) -> Outcome {
    let wanted: Vec<(&str, Option<&str>)> = args[1..]
        .iter()
        .map(|word| match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => Ok((key, Some(value))),
            (None, Some(key)) if !key.is_empty() => Ok((key, None)),
            _ => Err(Failure::new(format!("{word:?} is neither KEY=VALUE nor KEY-"))),
        })
        .collect::<Result<_, _>>()?;
    change(cli, &args[0], |spec| {
        for (key, value) in wanted {
            match value {
                Some(value) => spec["Labels"][key] = json!(value),
                None => {
                    let gone = spec["Labels"].as_object_mut().and_then(|labels| labels.remove(key));
                    gone.ok_or_else(|| Failure::new(format!("key {key} doesn't exist in node's labels")))?;
                }
            }
        }
        Ok(())
    })?;
    show(&format!("{}\n", args[0]))
}
