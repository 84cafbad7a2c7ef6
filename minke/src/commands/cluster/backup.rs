//! `cluster backup`

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::http::Payload;
use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _};

/// `cluster backup`
pub(crate) static COMMAND: Command = command!(BackupFlags, backup, {
    name: "backup",
    usage: "FILE",
    about: "Write everything that the cluster knows into a file, and print the key that opens it",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `cluster backup`.
    struct BackupFlags {}
}

fn backup(cli: &Cli, _flags: BackupFlags, args: Vec<String>) -> Outcome {
    let answer = cli.client()?.call("GET", "/minke/cluster/backup", &[], Payload::None)?;
    let key = answer.head.get("minke-backup-key").unwrap_or_default().to_owned();
    let bytes = answer.bytes()?;
    let path = &args[0];
    let failed = |e: std::io::Error| Failure::new(format!("cannot write {path}: {e}"));
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    show(&format!("{key}\n"))
}
