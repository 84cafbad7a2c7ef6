//! `volume create`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::{Bytes, Pairs, flags};
use crate::cli::{Cli, Failure, Outcome, show};
use crate::options::env;
use serde_json::{Map, Value, json};

/// `volume create`
pub(crate) static COMMAND: Command = command!(CreateFlags, create, {
    name: "create",
    usage: "[OPTIONS] [VOLUME]",
    about: "Make a volume",
    arity: Arity::AtMost(1),
});

flags! {
    /// Flags of `volume create`.
    struct CreateFlags {
        availability: Option<String> ["availability"], "";
        driver: String ["driver" 'd'] = "local", "Driver of the volume";
        group: Option<String> ["group"], "";
        label: Vec<String> ["label"], "Set a label";
        limit_bytes: Bytes ["limit-bytes"], "";
        name: String ["name"], "";
        opt: Pairs ["opt" 'o'], "Options of the driver";
        required_bytes: Bytes ["required-bytes"], "";
        scope: Option<String> ["scope"], "";
        secret: Pairs ["secret"], "";
        sharing: Option<String> ["sharing"], "";
        topology_preferred: Vec<String> ["topology-preferred"], "";
        topology_required: Vec<String> ["topology-required"], "";
        kind: Option<String> ["type"], "";
    }
}

fn create(cli: &Cli, flags: CreateFlags, args: Vec<String>) -> Outcome {
    let of_cluster = flags.availability.is_some()
        || flags.group.is_some()
        || flags.limit_bytes.0 != 0
        || flags.required_bytes.0 != 0
        || flags.scope.is_some()
        || !flags.secret.0.is_empty()
        || flags.sharing.is_some()
        || !flags.topology_preferred.is_empty()
        || !flags.topology_required.is_empty()
        || flags.kind.is_some();
    if of_cluster {
        return Err(Failure::new("volumes of a cluster are not there yet: they come with a later version"));
    }
    if !args.is_empty() && !flags.name.is_empty() {
        return Err(Failure::new(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
        ));
    }
    let name = args.into_iter().next().unwrap_or(flags.name);
    let labels: Map<String, Value> =
        env::labels(&[], &flags.label)?.into_iter().map(|(name, value)| (name, value.into())).collect();
    let body =
        json!({"Name": name, "Driver": flags.driver, "DriverOpts": flags.opt.to_json(), "Labels": labels});
    let volume = cli.client()?.post("/volumes/create", &[], &body)?;
    show(&format!("{}\n", volume.text("Name")))
}
