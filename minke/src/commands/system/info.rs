//! `system info`, also `info`

use super::spoilt;
use crate::cli::command::{Arity, Command, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::format::value::Value;
use crate::format::{Data, Template, expand};
use crate::human;
use crate::output::warn;
use std::fmt::Write as _;

/// `info`
pub(crate) static COMMAND: Command = command!(InfoFlags, info, {
    name: "info",
    known_as: &["system info", "info"],
    usage: "[OPTIONS]",
    about: "Show the daemon's settings and counts",
    arity: Arity::None,
});

flags! {
    /// Flags of `info`.
    struct InfoFlags {
        format: String ["format" 'f'], "Format by a template:\n'json':             JSON\n'TEMPLATE':         a Go template";
    }
}

/// The list of a daemon's facts, line by line, as docker prints it.
fn server(info: &Value) -> String {
    let mut text = String::new();
    let mut line = |depth: usize, name: &str, value: &str| {
        let _ = writeln!(text, "{:depth$}{name}: {value}", "");
    };
    let number = |name: &str| info.int(name).to_string();
    let flag = |name: &str| info.bool(name).to_string();
    for (depth, name, field) in [
        (1, "Containers", "Containers"),
        (2, "Running", "ContainersRunning"),
        (2, "Paused", "ContainersPaused"),
        (2, "Stopped", "ContainersStopped"),
        (1, "Images", "Images"),
    ] {
        line(depth, name, &number(field));
    }
    line(1, "Server Version", info.text("ServerVersion"));
    line(1, "Storage Driver", info.text("Driver"));
    for pair in info.list("DriverStatus") {
        if let [name, value] = pair.items() {
            line(2, name.as_text(), value.as_text());
        }
    }
    line(1, "Logging Driver", info.text("LoggingDriver"));
    line(1, "Cgroup Driver", info.text("CgroupDriver"));
    if !info.text("CgroupVersion").is_empty() {
        line(1, "Cgroup Version", info.text("CgroupVersion"));
    }
    let plugins = info.at("Plugins");
    let _ = writeln!(text, " Plugins:");
    for (name, field) in
        [("Volume", "Volume"), ("Network", "Network"), ("Authorization", "Authorization"), ("Log", "Log")]
    {
        let names = plugins.texts(field);
        if name != "Authorization" || !names.is_empty() {
            let _ = writeln!(text, "  {name}: {}", names.join(" "));
        }
    }
    let directories = info.texts("CDISpecDirs");
    if !directories.is_empty() {
        let _ = writeln!(text, " CDI spec directories:\n  {}", directories.join("\n  "));
    }
    let swarm = info.text("Swarm.LocalNodeState");
    let _ = writeln!(text, " Swarm: {}", if swarm.is_empty() { "inactive" } else { swarm });
    let mut runtimes: Vec<&str> =
        info.at("Runtimes").entries().iter().map(|(name, _)| name.as_str()).collect();
    runtimes.sort_unstable();
    if !runtimes.is_empty() {
        let _ = writeln!(
            text,
            " Runtimes: {}\n Default Runtime: {}",
            runtimes.join(" "),
            info.text("DefaultRuntime")
        );
    }
    let _ = writeln!(text, " Init Binary: {}", info.text("InitBinary"));
    for (name, field) in [("containerd", "ContainerdCommit"), ("runc", "RuncCommit"), ("init", "InitCommit")]
    {
        let _ = writeln!(text, " {name} version: {}", info.at(field).text("ID"));
    }
    security(info, &mut text);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, " {name}: {value}");
    };
    line("Kernel Version", info.text("KernelVersion"));
    line("Operating System", info.text("OperatingSystem"));
    line("OSType", info.text("OSType"));
    line("Architecture", info.text("Architecture"));
    line("CPUs", &number("NCPU"));
    line("Total Memory", &human::bytes(info.int("MemTotal") as f64));
    line("Name", info.text("Name"));
    line("ID", info.text("ID"));
    line("Docker Root Dir", info.text("DockerRootDir"));
    line("Debug Mode", &flag("Debug"));
    if info.bool("Debug") {
        for (name, field) in [
            ("File Descriptors", "NFd"),
            ("Goroutines", "NGoroutines"),
            ("EventsListeners", "NEventsListener"),
        ] {
            line(&format!(" {name}"), &number(field));
        }
    }
    for (name, field) in [("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")]
    {
        if !info.text(field).is_empty() {
            line(name, info.text(field));
        }
    }
    let mut list = |name: &str, items: Vec<&str>| {
        if !items.is_empty() {
            let _ = writeln!(text, " {name}:\n  {}", items.join("\n  "));
        }
    };
    list("Labels", info.texts("Labels"));
    let _ = writeln!(text, " Experimental: {}", flag("ExperimentalBuild"));
    registries(info, &mut text);
    let _ = writeln!(text, " Live Restore Enabled: {}", flag("LiveRestoreEnabled"));
    if !info.text("ProductLicense").is_empty() {
        let _ = writeln!(text, " Product License: {}", info.text("ProductLicense"));
    }
    let pools = info.list("DefaultAddressPools");
    if !pools.is_empty() {
        let _ = writeln!(text, " Default Address Pools:");
        for pool in pools {
            let _ = writeln!(text, "   Base: {}, Size: {}", pool.text("Base"), pool.int("Size"));
        }
    }
    text.push('\n');
    text
}

/// `name=seccomp,profile=builtin` over lines.
fn security(info: &Value, text: &mut String) {
    let options = info.texts("SecurityOptions");
    if options.is_empty() {
        return;
    }
    let _ = writeln!(text, " Security Options:");
    for option in options {
        for (at, pair) in option.split(',').enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or(("name", pair));
            if at == 0 && name == "name" {
                let _ = writeln!(text, "  {value}");
                continue;
            }
            let mut letters = name.chars();
            let title: String = letters
                .next()
                .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
                .unwrap_or_default();
            let _ = writeln!(text, "   {title}: {value}");
        }
    }
}

fn registries(info: &Value, text: &mut String) {
    let config = info.at("RegistryConfig");
    let insecure: Vec<&str> = config
        .at("IndexConfigs")
        .entries()
        .iter()
        .filter(|(_, index)| !index.bool("Secure"))
        .map(|(name, _)| name.as_str())
        .collect();
    let ranges = config.texts("InsecureRegistryCIDRs");
    if !insecure.is_empty() || !ranges.is_empty() {
        let _ = writeln!(text, " Insecure Registries:");
        for name in insecure.into_iter().chain(ranges) {
            let _ = writeln!(text, "  {name}");
        }
    }
    let mirrors = config.texts("Mirrors");
    if !mirrors.is_empty() {
        let _ = writeln!(text, " Registry Mirrors:\n  {}", mirrors.join("\n  "));
    }
}

fn info(cli: &Cli, flags: InfoFlags, _: Vec<String>) -> Outcome {
    let template = match flags.format.as_str() {
        "" => None,
        format => Some(
            Template::parse(expand(format))
                .map_err(|why| Failure { code: 64, text: format!("template parsing error: {why}") })?,
        ),
    };
    let answer = cli.client()?.get("/info", &[]);
    let (version, context) = (env!("CARGO_PKG_VERSION"), cli.context_name());
    if let Some(template) = template {
        let mut root = match &answer {
            Ok(info) => info.clone(),
            Err(error) => {
                Value::Struct(vec![("ServerErrors".into(), Value::List(vec![error.to_string().into()]))])
            }
        };
        let own = [
            ("Debug", Value::Bool(false)),
            ("Version", version.into()),
            ("Context", context.into()),
            ("Plugins", Value::List(Vec::new())),
            ("Warnings", Value::Null),
        ];
        root.set(
            "ClientInfo",
            Value::Struct(own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        );
        let data =
            Data { root: &root, labels: &[], type_name: "system.dockerInfo", row: false, heads: false };
        return show(&format!("{}\n", template.render(&data).map_err(|why| spoilt(&why))?));
    }
    show(&format!(
        "Client:\n Version:    {version}\n Context:    {context}\n Debug Mode: false\n\nServer:\n"
    ))?;
    match answer {
        Ok(info) => {
            show(&server(&info))?;
            for warning in info.texts("Warnings") {
                warn(warning);
            }
            Ok(())
        }
        Err(error) => Err(Failure::new(format!("{error}\nerrors pretty printing info"))),
    }
}
