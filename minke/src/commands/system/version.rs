//! `version`

use super::spoilt;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, program, show};
use crate::client::API_VERSION;
use crate::format::value::Value;
use crate::format::{Data, Template, expand, tabs};
use std::fmt::Write as _;

/// `version`
pub(crate) static COMMAND: Command = command!(VersionFlags, version, {
    name: "version",
    usage: "[OPTIONS]",
    about: "Show the version information of client and daemon",
    arity: Arity::None,
});

flags! {
    /// Flags of `version`.
    struct VersionFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
    }
}

/// Whose behaviour this command line follows.
const DOCKER_VERSION: &str = "28.5.2";

/// What `--version` says.
pub(crate) fn line() -> String {
    match program() {
        "docker" => format!("Docker version {DOCKER_VERSION}, build minke-{}", env!("CARGO_PKG_VERSION")),
        program => format!("{program} version {}", env!("CARGO_PKG_VERSION")),
    }
}

/// Go's name of this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn client_part(cli: &Cli, version: &str) -> Value {
    let fields = [
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("ApiVersion", version.to_owned()),
        ("DefaultAPIVersion", API_VERSION.to_owned()),
        ("Os", "linux".to_owned()),
        ("Arch", architecture().to_owned()),
        ("Context", cli.context_name()),
    ];
    Value::Struct(fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect())
}

/// A time of building in the words of the C library, as docker shows it.
fn build_time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => {
            time.to_zoned_datetime(jiff::tz::TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string()
        }
        Err(_) => text.to_owned(),
    }
}

fn table(client: &Value, server: Option<&Value>) -> String {
    let mut text = String::from("Client:\n");
    let negotiated = match client.text("ApiVersion") {
        API_VERSION => API_VERSION.to_owned(),
        other => format!("{other} (downgraded from {API_VERSION})"),
    };
    let _ = writeln!(
        text,
        " Version:\t{}\n API version:\t{negotiated}\n OS/Arch:\t{}/{}\n Context:\t{}",
        client.text("Version"),
        client.text("Os"),
        client.text("Arch"),
        client.text("Context")
    );
    let Some(server) = server else { return tabs::align(&text, 20, 1) };
    let platform = server.text("Platform.Name");
    let _ = writeln!(text, "\nServer:{}{platform}", if platform.is_empty() { "" } else { " " });
    for component in server.list("Components") {
        let details = component.at("Details");
        let _ = writeln!(text, " {}:\n  Version:\t{}", component.text("Name"), component.text("Version"));
        if component.text("Name") == "Engine" {
            let detail = |name: &str| details.text(name);
            let _ = writeln!(
                text,
                "  API version:\t{} (minimum version {})\n  Go version:\t{}\n  Git commit:\t{}\n  Built:\t{}\n  OS/Arch:\t{}/{}\n  Experimental:\t{}",
                detail("ApiVersion"),
                detail("MinAPIVersion"),
                detail("GoVersion"),
                detail("GitCommit"),
                build_time(detail("BuildTime")),
                detail("Os"),
                detail("Arch"),
                detail("Experimental")
            );
            continue;
        }
        let mut names: Vec<_> = details.entries().iter().collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, value) in names {
            let _ = writeln!(text, "  {name}:\t{}", value.as_text());
        }
    }
    tabs::align(&text, 20, 1)
}

fn version(cli: &Cli, flags: VersionFlags, _: Vec<String>) -> Outcome {
    let template = match flags.format.as_str() {
        "" => None,
        format => Some(
            Template::named("version", expand(format))
                .map_err(|why| Failure { code: 64, text: format!("template parsing error: {why}") })?,
        ),
    };
    let client = cli.client()?;
    let (negotiated, server, failure) =
        match client.version().and_then(|version| Ok((version, client.get("/version", &[])?))) {
            Ok((version, server)) => (version, server, None),
            Err(error) => (API_VERSION, Value::Null, Some(Failure::from(error))),
        };
    let own = client_part(cli, negotiated);
    match template {
        Some(template) => {
            let root = Value::Struct(vec![("Client".into(), own), ("Server".into(), server)]);
            let data =
                Data { root: &root, labels: &[], type_name: "system.versionInfo", row: false, heads: false };
            show(&format!("{}\n", template.render(&data).map_err(|why| spoilt(&why))?))?;
        }
        None => show(&table(&own, failure.is_none().then_some(&server)))?,
    }
    failure.map_or(Ok(()), Err)
}
