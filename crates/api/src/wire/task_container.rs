//! The container of a task: `ContainerSpec`, both ways.
//!
//! What this daemon never does is refused by name; the rest of its meaning is the control plane's and the node's to check.

use super::{
    Empty, Map,
    config::Healthcheck,
    devices::Ulimit,
    is_default,
    mounts::Mount,
    secret::{ConfigReference, SecretReference, decode_base64, encode_base64},
    template::{invalid, nanos, rpc_invalid, span},
    wire,
};
use crate::error::Result;
use minke_model::{
    go::quote,
    health::HealthSpec,
    service::{Privileges as ModelPrivileges, TaskContainer, TaskDns},
};

wire! {
    /// The container of a task.
    struct ContainerSpec {
        #[serde(skip_serializing_if = "String::is_empty")]
        image: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        labels: Map,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        #[serde(skip_serializing_if = "String::is_empty")]
        hostname: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        env: Vec<String>,
        #[serde(skip_serializing_if = "String::is_empty")]
        dir: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        user: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        groups: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        privileges: Option<Privileges>,
        #[serde(skip_serializing_if = "Option::is_none")]
        init: Option<bool>,
        #[serde(skip_serializing_if = "String::is_empty")]
        stop_signal: String,
        #[serde(rename = "TTY", skip_serializing_if = "is_default")]
        tty: bool,
        #[serde(skip_serializing_if = "is_default")]
        open_stdin: bool,
        #[serde(skip_serializing_if = "is_default")]
        read_only: bool,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        mounts: Vec<Mount>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_grace_period: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        healthcheck: Option<Healthcheck>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        hosts: Vec<String>,
        #[serde(rename = "DNSConfig", skip_serializing_if = "Option::is_none")]
        dns_config: Option<DnsConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<SecretReference>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        configs: Vec<ConfigReference>,
        #[serde(skip_serializing_if = "String::is_empty")]
        isolation: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        sysctls: Map,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        capability_add: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        capability_drop: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ulimits: Vec<Ulimit>,
        #[serde(skip_serializing_if = "is_default")]
        oom_score_adj: i64,
    }
}

wire! {
    /// Resolvers of a task.
    struct DnsConfig {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        nameservers: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        search: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    }
}

wire! {
    /// What Swarm calls privileges.
    struct Privileges {
        credential_spec: Option<Empty>,
        #[serde(rename = "SELinuxContext")]
        selinux: Option<Selinux>,
        #[serde(skip_serializing_if = "Option::is_none")]
        seccomp: Option<Seccomp>,
        #[serde(rename = "AppArmor", skip_serializing_if = "Option::is_none")]
        apparmor: Option<Apparmor>,
        no_new_privileges: bool,
    }
}

wire! {
    /// SELinux labels.
    struct Selinux {
        disable: bool,
        user: String,
        role: String,
        #[serde(rename = "Type")]
        kind: String,
        level: String,
    }
}

wire! {
    /// Which system calls.
    struct Seccomp {
        #[serde(skip_serializing_if = "String::is_empty")]
        mode: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        profile: String,
    }
}

wire! {
    /// An AppArmor profile.
    struct Apparmor {
        #[serde(skip_serializing_if = "String::is_empty")]
        mode: String,
    }
}

impl ContainerSpec {
    /// As our model has it, or why not.
    pub(crate) fn parse(&self) -> Result<TaskContainer> {
        if !matches!(self.isolation.as_str(), "" | "default") {
            return Err(invalid(format!(
                "isolation {} is only for Windows containers",
                quote(&self.isolation)
            )));
        }
        let dns = self.dns_config.as_ref().map(|dns| TaskDns {
            nameservers: dns.nameservers.clone(),
            search: dns.search.clone(),
            options: dns.options.clone(),
        });
        let grace = |n: i64| {
            span(n).ok_or_else(|| rpc_invalid("ContainerSpec: stop grace period cannot be negative"))
        };
        Ok(TaskContainer {
            image: self.image.clone(),
            labels: self.labels.0.clone(),
            command: self.command.clone(),
            args: self.args.clone(),
            hostname: self.hostname.clone(),
            env: self.env.clone(),
            dir: self.dir.clone(),
            user: self.user.clone(),
            groups: self.groups.clone(),
            tty: self.tty,
            open_stdin: self.open_stdin,
            read_only: self.read_only,
            mounts: self.mounts.iter().map(Mount::parse_for_service).collect::<Result<_>>()?,
            stop_signal: self.stop_signal.clone(),
            stop_grace: self.stop_grace_period.map(grace).transpose()?,
            healthcheck: self.healthcheck.as_ref().map(check_health).transpose()?,
            hosts: self.hosts.clone(),
            dns,
            secrets: self.secrets.iter().map(SecretReference::parse).collect::<Result<_>>()?,
            configs: self.configs.iter().map(ConfigReference::parse).collect::<Result<_>>()?,
            init: self.init,
            sysctls: self.sysctls.0.clone(),
            cap_add: self.capability_add.clone(),
            cap_drop: self.capability_drop.clone(),
            ulimits: self.ulimits.iter().map(Into::into).collect(),
            oom_score_adj: self.oom_score_adj,
            privileges: self.privileges.as_ref().map(Privileges::parse).transpose()?,
            isolation: "default".to_owned(),
            ..TaskContainer::default()
        })
    }
}

/// A probe whose spans can be.
fn check_health(probe: &Healthcheck) -> Result<HealthSpec> {
    let spans = [
        ("Interval", probe.interval),
        ("Timeout", probe.timeout),
        ("StartPeriod", probe.start_period),
        ("StartInterval", probe.start_interval),
    ];
    if let Some((name, _)) = spans.iter().find(|(_, n)| *n != 0 && *n < 1_000_000) {
        return Err(rpc_invalid(format!("ContainerSpec: {name} in HealthConfig cannot be less than 1ms")));
    }
    if probe.retries < 0 {
        return Err(rpc_invalid("ContainerSpec: Retries in HealthConfig cannot be negative"));
    }
    Ok(HealthSpec::from(probe))
}

impl From<&TaskContainer> for ContainerSpec {
    fn from(model: &TaskContainer) -> Self {
        let dns = model.dns.as_ref().map(|dns| DnsConfig {
            nameservers: dns.nameservers.clone(),
            search: dns.search.clone(),
            options: dns.options.clone(),
        });
        Self {
            image: model.image.clone(),
            labels: Map(model.labels.clone()),
            command: model.command.clone(),
            args: model.args.clone(),
            hostname: model.hostname.clone(),
            env: model.env.clone(),
            dir: model.dir.clone(),
            user: model.user.clone(),
            groups: model.groups.clone(),
            privileges: model.privileges.as_ref().map(Privileges::from),
            init: model.init,
            stop_signal: model.stop_signal.clone(),
            tty: model.tty,
            open_stdin: model.open_stdin,
            read_only: model.read_only,
            mounts: model.mounts.iter().map(Mount::from).collect(),
            stop_grace_period: model.stop_grace.map(nanos),
            healthcheck: model.healthcheck.as_ref().map(Healthcheck::from),
            hosts: model.hosts.clone(),
            dns_config: dns,
            secrets: model.secrets.iter().map(SecretReference::from).collect(),
            configs: model.configs.iter().map(ConfigReference::from).collect(),
            isolation: "default".to_owned(),
            sysctls: Map(model.sysctls.clone()),
            capability_add: model.cap_add.clone(),
            capability_drop: model.cap_drop.clone(),
            ulimits: model.ulimits.iter().map(Ulimit::from).collect(),
            oom_score_adj: model.oom_score_adj,
        }
    }
}

impl Privileges {
    fn parse(&self) -> Result<ModelPrivileges> {
        if self.credential_spec.is_some() {
            return Err(invalid("credential specs are only for Windows containers"));
        }
        let mut selinux = Vec::new();
        if let Some(context) = &self.selinux {
            if context.disable {
                selinux.push("disable".to_owned());
            }
            let parts = [
                ("user", &context.user),
                ("role", &context.role),
                ("type", &context.kind),
                ("level", &context.level),
            ];
            selinux.extend(
                parts.iter().filter(|(_, v)| !v.is_empty()).map(|(name, value)| format!("{name}:{value}")),
            );
        }
        let seccomp = self.seccomp.clone().unwrap_or_default();
        Ok(ModelPrivileges {
            no_new_privileges: self.no_new_privileges,
            seccomp_mode: self.seccomp.as_ref().map(|s| default_word(&s.mode)).unwrap_or_default(),
            seccomp_profile: decode_base64(&seccomp.profile, "SeccompOpts.Profile")?,
            apparmor_mode: self.apparmor.as_ref().map(|a| default_word(&a.mode)).unwrap_or_default(),
            selinux,
        })
    }
}

/// A mode that was given without a word is the default.
fn default_word(mode: &str) -> String {
    if mode.is_empty() { "default".to_owned() } else { mode.to_owned() }
}

impl From<&ModelPrivileges> for Privileges {
    fn from(model: &ModelPrivileges) -> Self {
        let part = |name: &str| {
            model
                .selinux
                .iter()
                .find_map(|label| label.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or("")
                .to_owned()
        };
        let selinux = (!model.selinux.is_empty()).then(|| Selinux {
            disable: model.selinux.iter().any(|label| label == "disable"),
            user: part("user"),
            role: part("role"),
            kind: part("type"),
            level: part("level"),
        });
        let seccomp = (!model.seccomp_mode.is_empty()).then(|| Seccomp {
            mode: model.seccomp_mode.clone(),
            profile: encode_base64(&model.seccomp_profile),
        });
        Self {
            credential_spec: None,
            selinux,
            seccomp,
            apparmor: (!model.apparmor_mode.is_empty())
                .then(|| Apparmor { mode: model.apparmor_mode.clone() }),
            no_new_privileges: model.no_new_privileges,
        }
    }
}
