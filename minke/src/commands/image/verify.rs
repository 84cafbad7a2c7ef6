//! `image verify`: whether all that an image is made of still is what its digests say.

use super::path;
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::human;

/// `image verify`
pub(crate) static COMMAND: Command = command!(VerifyFlags, verify, {
    name: "verify",
    usage: "[OPTIONS] [IMAGE...]",
    about: "Check that images (all, if none is named) are what their digests say",
    arity: Arity::Any,
    offer: Offer::Images,
});

flags! {
    /// Flags of `image verify`.
    struct VerifyFlags {
        quiet: bool ["quiet" 'q'], "Show damaged images only";
    }
}

fn verify(cli: &Cli, flags: VerifyFlags, mut args: Vec<String>) -> Outcome {
    let client = cli.client()?;
    if args.is_empty() {
        let images = client.get("/images/json", &[("all", "1".to_owned())])?;
        args = images.items().iter().map(|image| image.text("Id").to_owned()).collect();
    }
    let mut damaged = Vec::new();
    for name in &args {
        let answer = client.get(&path(name, "/verify"), &[])?;
        let parts = answer.list("Parts");
        let bad: Vec<_> = parts.iter().filter(|part| !part.text("Damage").is_empty()).collect();
        let bytes: i64 = parts.iter().map(|part| part.int("Size")).sum();
        let shown = name.strip_prefix("sha256:").map_or(name.as_str(), human::short_id);
        if bad.is_empty() {
            if !flags.quiet {
                show(&format!("{shown}: whole ({} parts, {})\n", parts.len(), human::size(bytes as f64)))?;
            }
            continue;
        }
        damaged.push(shown.to_owned());
        for part in bad {
            let digest = human::short_id(part.text("Digest"));
            show(&format!("{shown}: DAMAGED: {} {digest}: {}\n", part.text("Kind"), part.text("Damage")))?;
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "damaged: {}\nTo replace such an image: remove every image that has the damaged layer, then pull or load it again",
        damaged.join(", ")
    )))
}
