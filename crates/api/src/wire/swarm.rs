//! The cluster as a whole: init, join, update, inspect, and its part of `info`.

use super::{
    Map, is_default,
    node::{TlsInfo, availability},
    secret::{Version, encode_base64},
    template::{Driver, nanos, span},
    wire,
};
use crate::{
    error::{ApiError, Result},
    swarm::{Init, Join, Signing, Standing, Tokens, Update},
};
use minke_cluster::control::cluster::issuer;
use minke_model::{
    Subnet,
    cluster::{Cluster, ClusterSpec, ExternalCa as ModelCa, RaftSpec},
    go::quote,
    node::Availability,
};
use serde::Serialize;
use serde_json::{Value, json};

wire! {
    /// A cluster as asked.
    struct Spec {
        name: String,
        labels: Map,
        orchestration: Orchestration,
        raft: Raft,
        dispatcher: Dispatcher,
        #[serde(rename = "CAConfig")]
        ca_config: CaConfig,
        task_defaults: TaskDefaults,
        encryption_config: Encryption,
    }
}

wire! {
    struct Orchestration {
        #[serde(skip_serializing_if = "Option::is_none")]
        task_history_retention_limit: Option<i64>,
    }
}

wire! {
    struct Raft {
        #[serde(skip_serializing_if = "is_default")]
        snapshot_interval: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        keep_old_snapshots: Option<u64>,
        #[serde(skip_serializing_if = "is_default")]
        log_entries_for_slow_followers: u64,
        election_tick: i64,
        heartbeat_tick: i64,
    }
}

wire! {
    struct Dispatcher {
        #[serde(skip_serializing_if = "is_default")]
        heartbeat_period: i64,
    }
}

wire! {
    struct CaConfig {
        #[serde(skip_serializing_if = "is_default")]
        node_cert_expiry: i64,
        #[serde(rename = "ExternalCAs", skip_serializing_if = "Vec::is_empty")]
        external_cas: Vec<ExternalCa>,
        #[serde(rename = "SigningCACert", skip_serializing)]
        signing_cert: String,
        #[serde(rename = "SigningCAKey", skip_serializing)]
        signing_key: String,
        #[serde(skip_serializing_if = "is_default")]
        force_rotate: u64,
    }
}

wire! {
    struct ExternalCa {
        protocol: String,
        #[serde(rename = "URL")]
        url: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        options: Map,
        #[serde(rename = "CACert")]
        certificate: String,
    }
}

wire! {
    struct TaskDefaults {
        #[serde(skip_serializing_if = "Option::is_none")]
        log_driver: Option<Driver>,
    }
}

wire! {
    struct Encryption {
        auto_lock_managers: bool,
    }
}

wire! {
    /// `POST /swarm/init`.
    struct InitBody {
        listen_addr: String,
        advertise_addr: String,
        data_path_addr: String,
        data_path_port: u32,
        force_new_cluster: bool,
        spec: Spec,
        auto_lock_managers: bool,
        availability: String,
        default_addr_pool: Vec<String>,
        subnet_size: u32,
    }
}

wire! {
    /// `POST /swarm/join`.
    struct JoinBody {
        listen_addr: String,
        advertise_addr: String,
        data_path_addr: String,
        remote_addrs: Vec<String>,
        join_token: String,
        availability: String,
    }
}

wire! {
    /// `POST /swarm/unlock`, and what `GET /swarm/unlockkey` answers.
    struct UnlockBody {
        unlock_key: String,
    }
}

/// `GET /swarm`; without tokens, as `info` has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspect {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    created_at: String,
    updated_at: String,
    spec: Spec,
    #[serde(rename = "TLSInfo")]
    tls_info: TlsInfo,
    root_rotation_in_progress: bool,
    default_addr_pool: Option<Vec<String>>,
    subnet_size: u8,
    data_path_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_tokens: Option<JoinTokens>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct JoinTokens {
    worker: String,
    manager: String,
}

const WRONG_NAME: &str = "swarm spec must be named \"default\"";

impl Spec {
    /// As our model has it: what is not said is as in `base`.
    fn parse(&self, base: ClusterSpec) -> Result<(ClusterSpec, Signing)> {
        if !matches!(self.name.as_str(), "" | "default") {
            return Err(ApiError::invalid(WRONG_NAME));
        }
        let or = |given: u64, base: u64| if given == 0 { base } else { given };
        let tick = |given: i64, base: i64| if given == 0 { base } else { given };
        let raft = RaftSpec {
            snapshot_interval: or(self.raft.snapshot_interval, base.raft.snapshot_interval),
            keep_old_snapshots: self.raft.keep_old_snapshots.or(base.raft.keep_old_snapshots),
            log_entries_for_slow_followers: or(
                self.raft.log_entries_for_slow_followers,
                base.raft.log_entries_for_slow_followers,
            ),
            election_tick: tick(self.raft.election_tick, base.raft.election_tick),
            heartbeat_tick: tick(self.raft.heartbeat_tick, base.raft.heartbeat_tick),
        };
        let heartbeat = match self.dispatcher.heartbeat_period {
            0 => base.heartbeat,
            n => span(n).ok_or_else(|| {
                super::template::rpc_invalid("heartbeat time period cannot be a negative duration")
            })?,
        };
        let certificate_life = match self.ca_config.node_cert_expiry {
            0 => base.certificate_life,
            n => span(n).unwrap_or_default(),
        };
        let external_cas =
            self.ca_config.external_cas.iter().map(ExternalCa::parse).collect::<Result<_>>()?;
        let history = self.orchestration.task_history_retention_limit;
        let log = self.task_defaults.log_driver.clone().map(|d| (d.name, d.options.0)).or(base.log);
        let spec = ClusterSpec {
            name: "default".to_owned(),
            labels: self.labels.0.clone(),
            // A negative one keeps all of them.
            task_history: history.map_or(base.task_history, |n| u64::try_from(n).unwrap_or(u64::MAX)),
            raft,
            heartbeat,
            certificate_life,
            external_cas,
            force_rotate: self.ca_config.force_rotate,
            autolock: self.encryption_config.auto_lock_managers,
            log,
        };
        let signing = Signing {
            certificate: self.ca_config.signing_cert.clone(),
            key: self.ca_config.signing_key.clone(),
        };
        Ok((spec, signing))
    }

    fn new(spec: &ClusterSpec) -> Self {
        Self {
            name: spec.name.clone(),
            labels: Map(spec.labels.clone()),
            orchestration: Orchestration {
                task_history_retention_limit: Some(i64::try_from(spec.task_history).unwrap_or(-1)),
            },
            raft: Raft {
                snapshot_interval: spec.raft.snapshot_interval,
                keep_old_snapshots: spec.raft.keep_old_snapshots,
                log_entries_for_slow_followers: spec.raft.log_entries_for_slow_followers,
                election_tick: spec.raft.election_tick,
                heartbeat_tick: spec.raft.heartbeat_tick,
            },
            dispatcher: Dispatcher { heartbeat_period: nanos(spec.heartbeat) },
            ca_config: CaConfig {
                node_cert_expiry: nanos(spec.certificate_life),
                external_cas: spec.external_cas.iter().map(ExternalCa::from).collect(),
                signing_cert: String::new(),
                signing_key: String::new(),
                force_rotate: spec.force_rotate,
            },
            task_defaults: TaskDefaults {
                log_driver: spec.log.clone().map(|(name, options)| Driver { name, options: Map(options) }),
            },
            encryption_config: Encryption { auto_lock_managers: spec.autolock },
        }
    }
}

impl ExternalCa {
    fn parse(&self) -> Result<ModelCa> {
        if !self.protocol.eq_ignore_ascii_case("cfssl") {
            return Err(ApiError::invalid(format!("invalid protocol: {}", quote(&self.protocol))));
        }
        Ok(ModelCa {
            protocol: "cfssl".to_owned(),
            url: self.url.clone(),
            options: self.options.0.clone(),
            certificate: self.certificate.clone(),
        })
    }
}

impl From<&ModelCa> for ExternalCa {
    fn from(model: &ModelCa) -> Self {
        Self {
            protocol: model.protocol.clone(),
            url: model.url.clone(),
            options: Map(model.options.clone()),
            certificate: model.certificate.clone(),
        }
    }
}

/// A node's first availability; empty is active.
fn first_availability(text: &str) -> Result<Availability> {
    if text.is_empty() { Ok(Availability::Active) } else { availability(text) }
}

/// Pools that overlay networks are cut from.
fn parse_pools(pools: &[String], size: u32) -> Result<(Vec<Subnet>, u8)> {
    if pools.is_empty() {
        return match size {
            0 => Ok((Vec::new(), 0)),
            size => u8::try_from(size)
                .map(|size| (Vec::new(), size))
                .map_err(|_| ApiError::invalid(format!("invalid default subnet size: {size}"))),
        };
    }
    let size = match size {
        0 => 24,
        30.. => return Err(ApiError::invalid("subnet size is out of range: must be at most 29")),
        size => u8::try_from(size).unwrap_or(24),
    };
    let mut parsed: Vec<Subnet> = Vec::new();
    for text in pools {
        let pool: Subnet = text.parse().map_err(|_| {
            ApiError::invalid(format!("invalid base pool {}: invalid CIDR address: {text}", quote(text)))
        })?;
        if pool.address.is_ipv4() && pool.prefix > size {
            return Err(ApiError::invalid(format!(
                "invalid CIDR: {} subnet size is too large for the pool",
                quote(text)
            )));
        }
        if let Some(other) = parsed.iter().find(|other| other.overlaps(&pool)) {
            return Err(ApiError::invalid(format!("subnet {pool} overlaps with {other}")));
        }
        parsed.push(pool);
    }
    Ok((parsed, size))
}

impl InitBody {
    /// As the door takes it.
    pub(crate) fn parse(&self) -> Result<Init> {
        if self.listen_addr.is_empty() {
            return Err(ApiError::invalid("invalid ListenAddr \"\": invalid empty address"));
        }
        let (mut spec, signing) = self.spec.parse(ClusterSpec::default())?;
        spec.autolock |= self.auto_lock_managers;
        let data_path_port = match self.data_path_port {
            0 => 0,
            n @ 1024..=49151 => u16::try_from(n).unwrap_or(0),
            _ => return Err(ApiError::invalid("Datapath port number is not in valid range (1024-49151) ")),
        };
        let (address_pools, subnet_size) = parse_pools(&self.default_addr_pool, self.subnet_size)?;
        Ok(Init {
            listen: self.listen_addr.clone(),
            advertise: self.advertise_addr.clone(),
            data_path: self.data_path_addr.clone(),
            data_path_port,
            force_new_cluster: self.force_new_cluster,
            spec,
            signing,
            availability: first_availability(&self.availability)?,
            address_pools,
            subnet_size,
        })
    }
}

impl JoinBody {
    /// As the door takes it.
    pub(crate) fn parse(&self) -> Result<Join> {
        if self.listen_addr.is_empty() {
            return Err(ApiError::invalid("invalid ListenAddr \"\": invalid empty address"));
        }
        if self.remote_addrs.is_empty() {
            return Err(ApiError::invalid("at least 1 RemoteAddr is required to join"));
        }
        if self.remote_addrs.iter().any(String::is_empty) {
            return Err(ApiError::invalid("invalid remoteAddr \"\": invalid empty address"));
        }
        Ok(Join {
            listen: self.listen_addr.clone(),
            advertise: self.advertise_addr.clone(),
            data_path: self.data_path_addr.clone(),
            remotes: self.remote_addrs.clone(),
            token: self.join_token.clone(),
            availability: first_availability(&self.availability)?,
        })
    }
}

/// `POST /swarm/update`: the whole spec; what is not said is the default.
pub(crate) fn parse_update(spec: &Spec, version: u64) -> Result<Update> {
    let (spec, signing) = spec.parse(ClusterSpec { labels: Default::default(), ..ClusterSpec::default() })?;
    Ok(Update { version, spec, signing, ..Update::default() })
}

/// Whom the cluster's nodes trust.
pub(crate) fn tls_info(cluster: &Cluster) -> TlsInfo {
    let (subject, key) = issuer(&cluster.ca.signer).unwrap_or_default();
    TlsInfo {
        trust_root: cluster.ca.trusted.clone(),
        cert_issuer_subject: encode_base64(&subject),
        cert_issuer_public_key: encode_base64(&key),
    }
}

impl Inspect {
    /// As dockerd shows it.
    pub(crate) fn new(cluster: &Cluster, tokens: Option<Tokens>) -> Self {
        let pools: Vec<String> = cluster.address_pools.iter().map(Subnet::to_string).collect();
        Self {
            id: cluster.id.as_str().to_owned(),
            version: Version { index: cluster.meta.version },
            created_at: cluster.meta.created.to_string(),
            updated_at: cluster.meta.updated.to_string(),
            spec: Spec::new(&cluster.spec),
            tls_info: tls_info(cluster),
            root_rotation_in_progress: cluster.ca.rotating,
            default_addr_pool: (!pools.is_empty()).then_some(pools),
            subnet_size: if cluster.subnet_size == 0 { 24 } else { cluster.subnet_size },
            data_path_port: if cluster.data_path_port == 0 { 4789 } else { cluster.data_path_port },
            join_tokens: tokens.map(|t| JoinTokens { worker: t.worker, manager: t.manager }),
        }
    }
}

/// What only managers know for `info`: the cluster, its nodes, and how many of them manage.
pub(crate) struct Known {
    pub(crate) cluster: Inspect,
    pub(crate) nodes: usize,
    pub(crate) managers: usize,
}

/// `Swarm` of `GET /info`.
pub(crate) fn info(standing: &Standing, known: Option<Known>, error: Option<String>) -> Value {
    let managers: Vec<Value> = standing
        .managers
        .iter()
        .map(|(id, address)| json!({ "NodeID": id.as_str(), "Addr": address }))
        .collect();
    let mut value = json!({
        "NodeID": standing.node.as_ref().map_or("", |id| id.as_str()),
        "NodeAddr": standing.address,
        "LocalNodeState": standing.state.as_str(),
        "ControlAvailable": standing.control.is_some(),
        "Error": error.unwrap_or_else(|| standing.error.clone()),
        "RemoteManagers": if managers.is_empty() { Value::Null } else { json!(managers) },
    });
    if let Some(known) = known {
        if known.nodes > 0 {
            value["Nodes"] = json!(known.nodes);
        }
        if known.managers > 0 {
            value["Managers"] = json!(known.managers);
        }
        value["Cluster"] = json!(known.cluster);
        if known.managers == 2 {
            value["Warnings"] = json!([TWO_MANAGERS]);
        }
    }
    value
}

const TWO_MANAGERS: &str = "WARNING: Running Swarm in a two-manager configuration. This configuration provides\n         no fault tolerance, and poses a high risk to lose control over the cluster.\n         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the\n         Swarm for fault-tolerance.";
