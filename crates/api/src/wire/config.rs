//! `Config`: what runs in a container, and what an image gives to it.

use super::{Empty, Map, Words, is_default, or_null, ports, wire};
use minke_model::{ContainerSpec, health::HealthSpec, image::ImageDefaults, port::Port};
use std::collections::BTreeSet;

wire! {
    /// A container's portable half.
    struct Config {
        hostname: String,
        domainname: String,
        user: String,
        attach_stdin: bool,
        attach_stdout: bool,
        attach_stderr: bool,
        #[serde(skip_serializing_if = "Map::is_empty")]
        exposed_ports: Map<Empty>,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        env: Option<Vec<String>>,
        cmd: Option<Words>,
        #[serde(skip_serializing_if = "Option::is_none")]
        healthcheck: Option<Healthcheck>,
        #[serde(skip_serializing_if = "is_default")]
        args_escaped: bool,
        image: String,
        volumes: Option<Map<Empty>>,
        working_dir: String,
        entrypoint: Option<Words>,
        #[serde(skip_serializing_if = "is_default")]
        network_disabled: bool,
        #[serde(skip_serializing_if = "String::is_empty")]
        mac_address: String,
        on_build: Option<Vec<String>>,
        labels: Option<Map>,
        #[serde(skip_serializing_if = "String::is_empty")]
        stop_signal: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        shell: Option<Words>,
    }
}

impl Config {
    /// The names of its fields: a body with none of them has no `Config` at all.
    pub(crate) const FIELDS: [&str; 25] = [
        "Hostname",
        "Domainname",
        "User",
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "ExposedPorts",
        "Tty",
        "OpenStdin",
        "StdinOnce",
        "Env",
        "Cmd",
        "Healthcheck",
        "ArgsEscaped",
        "Image",
        "Volumes",
        "WorkingDir",
        "Entrypoint",
        "NetworkDisabled",
        "MacAddress",
        "OnBuild",
        "Labels",
        "StopSignal",
        "StopTimeout",
        "Shell",
    ];
}

wire! {
    /// A probe. Times in nanoseconds; 0 is inherited.
    struct Healthcheck {
        #[serde(skip_serializing_if = "Option::is_none")]
        test: Option<Vec<String>>,
        #[serde(skip_serializing_if = "is_default")]
        interval: i64,
        #[serde(skip_serializing_if = "is_default")]
        timeout: i64,
        #[serde(skip_serializing_if = "is_default")]
        start_period: i64,
        #[serde(skip_serializing_if = "is_default")]
        start_interval: i64,
        #[serde(skip_serializing_if = "is_default")]
        retries: i64,
    }
}

impl From<&HealthSpec> for Healthcheck {
    fn from(spec: &HealthSpec) -> Self {
        Self {
            test: spec.test.clone().filter(|test| !test.is_empty()),
            interval: spec.interval,
            timeout: spec.timeout,
            start_period: spec.start_period,
            start_interval: spec.start_interval,
            retries: i64::from(spec.retries),
        }
    }
}

impl From<&Healthcheck> for HealthSpec {
    fn from(probe: &Healthcheck) -> Self {
        Self {
            test: probe.test.clone(),
            interval: probe.interval,
            timeout: probe.timeout,
            start_period: probe.start_period,
            start_interval: probe.start_interval,
            retries: u32::try_from(probe.retries).unwrap_or(0),
            at_start: false,
        }
    }
}

/// A set as Go shows it: members with `{}`.
pub(crate) fn set<'a, T: ToString + 'a>(members: impl IntoIterator<Item = &'a T>) -> Map<Empty> {
    Map(members.into_iter().map(|m| (m.to_string(), Empty {})).collect())
}

/// Exposed ports as they were said.
fn exposed(spec: &ContainerSpec) -> Map<Empty> {
    let otherwise: BTreeSet<Port> = spec.exposed_as.iter().filter_map(|key| ports::meant(key)).collect();
    let ours = spec.exposed_ports.difference(&otherwise).map(ToString::to_string);
    Map(ours.chain(spec.exposed_as.iter().cloned()).map(|key| (key, Empty {})).collect())
}

impl From<&ContainerSpec> for Config {
    fn from(spec: &ContainerSpec) -> Self {
        let process = &spec.process;
        Self {
            hostname: spec.hostname.clone(),
            domainname: spec.domainname.clone(),
            user: process.user.clone(),
            attach_stdin: process.attach_stdin,
            attach_stdout: process.attach_stdout,
            attach_stderr: process.attach_stderr,
            exposed_ports: exposed(spec),
            tty: process.tty,
            open_stdin: process.open_stdin,
            stdin_once: process.stdin_once,
            env: or_null(&process.env),
            cmd: process.cmd.clone().map(Words),
            healthcheck: spec.healthcheck.as_ref().map(Healthcheck::from),
            args_escaped: process.args_escaped,
            image: spec.image.clone(),
            volumes: (!spec.volumes.is_empty()).then(|| set(&spec.volumes)),
            working_dir: process.working_dir.clone(),
            entrypoint: process.entrypoint.clone().map(Words),
            network_disabled: spec.networking.disabled,
            mac_address: spec.networking.mac.clone(),
            on_build: spec.on_build.clone(),
            labels: Some(Map(spec.labels.clone())),
            stop_signal: spec.stop_signal.clone().unwrap_or_default(),
            stop_timeout: spec.stop_timeout,
            shell: spec.shell.clone().map(Words),
        }
    }
}

/// What `commit` and `import --change` carry of a `Config`.
impl TryFrom<&Config> for ImageDefaults {
    type Error = String;

    fn try_from(config: &Config) -> Result<Self, String> {
        let ports =
            config.exposed_ports.0.keys().map(|p| p.parse()).collect::<Result<BTreeSet<Port>, _>>()?;
        Ok(Self {
            user: config.user.clone(),
            exposed_ports: ports,
            env: config.env.clone().unwrap_or_default(),
            entrypoint: config.entrypoint.clone().map(|w| w.0),
            cmd: config.cmd.clone().map(|w| w.0),
            volumes: config.volumes.iter().flat_map(|v| v.0.keys().cloned()).collect(),
            working_dir: config.working_dir.clone(),
            labels: config.labels.clone().unwrap_or_default().0,
            stop_signal: (!config.stop_signal.is_empty()).then(|| config.stop_signal.clone()),
            stop_timeout: config.stop_timeout,
            healthcheck: config.healthcheck.as_ref().map(HealthSpec::from),
            shell: config.shell.clone().map(|w| w.0),
            on_build: config.on_build.clone().unwrap_or_default(),
            args_escaped: config.args_escaped,
        })
    }
}
