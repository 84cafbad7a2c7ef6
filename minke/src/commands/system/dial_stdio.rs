//! `system dial-stdio`: the far end of an `ssh://` address.

use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::NoFlags;
use crate::cli::{Cli, Outcome};
use crate::client::connection::Connection;
use crate::stream::{attach::copy_raw, terminal};

/// `system dial-stdio`
pub(crate) static COMMAND: Command = command!(NoFlags, dial, {
    name: "dial-stdio",
    usage: "",
    about: "Copy stdin and stdout to and from the daemon; the far end of ssh:// calls it",
    arity: Arity::None,
    shown: false,
});

fn dial(cli: &Cli, _: NoFlags, _: Vec<String>) -> Outcome {
    let Connection { reader, mut writer } = cli.client()?.dial()?;
    let input = terminal::stdin()?;
    std::thread::spawn(move || {
        // Whatever ended it: the daemon is told that nothing more comes, and its answers still pass.
        let _ = copy_raw(input, &mut writer);
        writer.finish();
    });
    Ok(copy_raw(reader, &mut terminal::stdout()?)?)
}
