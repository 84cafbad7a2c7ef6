//! The cluster itself: one record.

use crate::{ClusterId, Labels, Subnet, object::Meta, secret::Sealed};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// A cluster as its users asked for it (`docker swarm update`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// `default`.
    pub name: String,
    /// The user's.
    pub labels: Labels,
    /// Ended tasks that are kept per slot.
    pub task_history: u64,
    /// Kept for inspect: the store is not Raft of our own.
    pub raft: RaftSpec,
    /// Kept for inspect; ours beat every second or slower (`cluster.md`).
    pub heartbeat: Duration,
    /// Life of a node's certificate.
    pub certificate_life: Duration,
    /// Where certificates are signed instead of here: protocol, URL, options, CA certificate (PEM).
    pub external_cas: Vec<ExternalCa>,
    /// Counts forced rotations of the CA.
    pub force_rotate: u64,
    /// Managers need the unlock key after a start.
    pub autolock: bool,
    /// Where tasks' output goes by default.
    pub log: Option<(String, BTreeMap<String, String>)>,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        ClusterSpec {
            name: "default".into(),
            labels: Labels::default(),
            task_history: 5,
            raft: RaftSpec::default(),
            heartbeat: Duration::from_secs(5),
            certificate_life: Duration::from_secs(90 * 24 * 3600),
            external_cas: Vec::new(),
            force_rotate: 0,
            autolock: false,
            log: None,
        }
    }
}

/// What Docker's clients show of Raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftSpec {
    /// Entries between snapshots.
    pub snapshot_interval: u64,
    /// Snapshots beyond the newest.
    pub keep_old_snapshots: Option<u64>,
    /// Entries kept for the slow.
    pub log_entries_for_slow_followers: u64,
    /// Ticks.
    pub election_tick: i64,
    /// Ticks.
    pub heartbeat_tick: i64,
}

impl Default for RaftSpec {
    fn default() -> Self {
        RaftSpec {
            snapshot_interval: 10_000,
            keep_old_snapshots: Some(0),
            log_entries_for_slow_followers: 500,
            election_tick: 10,
            heartbeat_tick: 1,
        }
    }
}

/// A service that signs certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalCa {
    /// `cfssl`.
    pub protocol: String,
    /// Where.
    pub url: String,
    /// For it.
    pub options: BTreeMap<String, String>,
    /// PEM; empty is the cluster's own.
    pub certificate: String,
}

/// The cluster: its record `cluster/cluster`. Written by the control plane only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Unique.
    pub id: ClusterId,
    /// Of the spec.
    pub meta: Meta,
    /// As asked.
    pub spec: ClusterSpec,
    /// Whom nodes trust and who signs.
    pub ca: CertificateAuthority,
    /// What a worker joins with: the secret half, sealed. The whole token is `SWMTKN-1-<digest of the CA>-<secret>`.
    pub worker_token: Sealed,
    /// What a manager joins with.
    pub manager_token: Sealed,
    /// The `SWMKEY-1-…` of autolock, sealed; `None`: no autolock.
    pub unlock_key: Option<Sealed>,
    /// UDP port of overlay networks.
    pub data_path_port: u16,
    /// Overlay networks are cut from these.
    pub address_pools: Vec<Subnet>,
    /// Prefix of each cut: 24.
    pub subnet_size: u8,
}

/// A cluster's certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateAuthority {
    /// Certificates that are trusted, PEM: one, or two while it rotates.
    pub trusted: String,
    /// The certificate that signs, PEM; cross-signed by the old one while it rotates.
    pub signer: String,
    /// The signer's key, sealed; `None`: an external one signs.
    pub key: Option<Sealed>,
    /// While it rotates: nodes with certificates of the old one are renewed.
    pub rotating: bool,
    /// Counts rotations and restores: certificates of another epoch do not join.
    pub epoch: u64,
}
