//! `manifest annotate`

use super::list::List;
use super::parse;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Commas, flags};
use crate::cli::{Cli, Failure, Outcome};

/// `manifest annotate`
pub(crate) static COMMAND: Command = command!(AnnotateFlags, annotate, {
    name: "annotate",
    usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Say what an image of a list is for",
    arity: Arity::Exactly(2),
});

flags! {
    /// Flags of `manifest annotate`.
    struct AnnotateFlags {
        arch: String ["arch"], "Set architecture";
        os: String ["os"], "Set operating system";
        os_features: Commas ["os-features"], "Set operating system features";
        os_version: String ["os-version"], "Set operating system version";
        variant: String ["variant"], "Set architecture variant";
    }
}

fn annotate(cli: &Cli, flags: AnnotateFlags, args: Vec<String>) -> Outcome {
    let list = List::of(cli, parse(&args[0])?);
    let asked = parse(&args[1])?;
    let found = list.parts()?.into_iter().find(|part| part.asked == asked.full());
    let mut part = found.ok_or_else(|| {
        Failure::new(format!("manifest for image {} does not exist in {}", asked.full(), list.name.full()))
    })?;
    let set = |place: &mut String, value: String| {
        if !value.is_empty() {
            *place = value;
        }
    };
    set(&mut part.architecture, flags.arch);
    set(&mut part.os, flags.os);
    set(&mut part.os_version, flags.os_version);
    set(&mut part.variant, flags.variant);
    for feature in flags.os_features.0 {
        if !part.os_features.contains(&feature) {
            part.os_features.push(feature);
        }
    }
    let platform = format!("{}/{}", part.os, part.architecture);
    if minke_image::platform::parse(&platform).is_err() {
        return Err(Failure::new(format!(
            "manifest entry for image has unsupported os/arch combination: {platform}"
        )));
    }
    list.put(&part)
}
