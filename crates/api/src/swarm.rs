//! What of a cluster the API needs, and who gives it: the binary, where machine and cluster meet.
//!
//! `routes/swarm.rs` and its neighbours ask a [`Door`] how this machine stands, and [`Control`] for everything that
//! only a manager knows. Never: certificates, connections, or what a machine does.

mod events;

pub(crate) use events::tell;

use minke_cluster::control::Control;
use minke_model::{
    ClusterNodeId, Kind, Labels, Subnet, TaskId, Timestamp, cluster::ClusterSpec, node::Availability,
};
use std::{future::Future, pin::Pin};

/// A future in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a wish was refused: the sentence is dockerd's, the kind becomes its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What sort of refusal.
    pub kind: Kind,
    /// The whole sentence.
    pub message: String,
}

impl Refusal {
    /// Of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Refusal { kind, message: message.into() }
    }

    /// Leaving, where there is nothing to leave.
    pub fn no_swarm() -> Self {
        Refusal::new(Kind::Unavailable, "This node is not part of a swarm")
    }

    /// Joining or making a cluster, twice.
    pub fn swarm_exists() -> Self {
        Refusal::new(
            Kind::Unavailable,
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.",
        )
    }
}

/// What a door's verbs return.
pub type Result<T> = std::result::Result<T, Refusal>;

/// How this machine stands to a cluster, in Docker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalState {
    /// In none.
    #[default]
    Inactive,
    /// On its way in.
    Pending,
    /// In.
    Active,
    /// In, but it cannot go on; see [`Standing::error`].
    Error,
    /// A manager that needs the unlock key.
    Locked,
}

impl LocalState {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            LocalState::Inactive => "inactive",
            LocalState::Pending => "pending",
            LocalState::Active => "active",
            LocalState::Error => "error",
            LocalState::Locked => "locked",
        }
    }
}

/// How this machine stands, at one moment.
#[derive(Clone, Default)]
pub struct Standing {
    /// In short.
    pub state: LocalState,
    /// Itself, once it has an identity.
    pub node: Option<ClusterNodeId>,
    /// Its address as others know it, without port; empty when it has none.
    pub address: String,
    /// Why it cannot go on; empty when it can.
    pub error: String,
    /// It is a manager, or was one before it was locked.
    pub manager: bool,
    /// Managers that it knows: id and `address:port`.
    pub managers: Vec<(ClusterNodeId, String)>,
    /// The control plane; on a manager that answers.
    pub control: Option<Control>,
}

/// `POST /swarm/init`.
#[derive(Clone, Debug, Default)]
pub struct Init {
    /// `[address|interface][:port]`, as asked: `0.0.0.0:2377`.
    pub listen: String,
    /// The same; empty is found.
    pub advertise: String,
    /// Address or interface of the data path; empty is that of `advertise`.
    pub data_path: String,
    /// UDP; 0 is 4789.
    pub data_path_port: u16,
    /// Make one of what this machine has left of a lost one.
    pub force_new_cluster: bool,
    /// Defaults where nothing was asked.
    pub spec: ClusterSpec,
    /// The CA's certificate and key to begin with (PEM); empty: made.
    pub signing: Signing,
    /// Of this node.
    pub availability: Availability,
    /// Overlay networks are cut from these; empty is 10.0.0.0/8.
    pub address_pools: Vec<Subnet>,
    /// Prefix of each cut; 0 is 24.
    pub subnet_size: u8,
}

/// A CA of the user's own.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Signing {
    /// PEM; empty is none.
    pub certificate: String,
    /// PEM; empty is none.
    pub key: String,
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signing").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// `POST /swarm/join`.
#[derive(Clone, Default)]
pub struct Join {
    /// As of [`Init`].
    pub listen: String,
    /// As of [`Init`].
    pub advertise: String,
    /// As of [`Init`].
    pub data_path: String,
    /// Managers, `address[:port]`.
    pub remotes: Vec<String>,
    /// `SWMTKN-1-…`.
    pub token: String,
    /// Of this node.
    pub availability: Availability,
}

/// `POST /swarm/update`.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The version that was seen; another is refused.
    pub version: u64,
    /// The whole new spec.
    pub spec: ClusterSpec,
    /// A CA to rotate to.
    pub signing: Signing,
    /// A new worker token.
    pub rotate_worker_token: bool,
    /// A new manager token.
    pub rotate_manager_token: bool,
    /// A new unlock key.
    pub rotate_unlock_key: bool,
}

/// Everything that a cluster knows.
#[derive(Clone, Default)]
pub struct Backup {
    /// What is secret in it is sealed.
    pub bytes: Vec<u8>,
    /// Opens what is sealed: `SWMKEY-1-…`.
    pub key: String,
}

/// A cluster from a backup.
#[derive(Clone, Default)]
pub struct Restore {
    /// As [`Backup::bytes`].
    pub backup: Vec<u8>,
    /// As [`Backup::key`].
    pub key: String,
    /// As of [`Init`].
    pub listen: String,
    /// As of [`Init`].
    pub advertise: String,
}

/// Whole join tokens.
#[derive(Clone, Default)]
pub struct Tokens {
    /// `SWMTKN-1-…`.
    pub worker: String,
    /// `SWMTKN-1-…`.
    pub manager: String,
}

/// Whose output is wanted, and which.
#[derive(Clone, Debug)]
pub struct LogWish {
    /// Of this task.
    pub task: TaskId,
    /// Which runs, or ran, there.
    pub node: ClusterNodeId,
    /// Its standard output.
    pub stdout: bool,
    /// Its standard error.
    pub stderr: bool,
    /// Goes on until the task has ended.
    pub follow: bool,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// The last so many lines; `None` is all.
    pub tail: Option<usize>,
}

/// One line of a task's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, by the node's clock.
    pub at: Timestamp,
    /// 1 is standard output, 2 standard error.
    pub stream: u8,
    /// What the log keeps beside it.
    pub details: Labels,
    /// With its line feed, if it has one.
    pub text: bytes::Bytes,
}

/// Lines as they come. Never longer than its channel: a slow reader holds back the node's sender.
pub type LogLines = tokio::sync::mpsc::Receiver<Result<LogLine>>;

/// How this machine comes into a cluster, out of it, and to what only the cluster's members know.
pub trait Door: Send + Sync + 'static {
    /// How it stands now. Cheap: asked by every request.
    fn standing(&self) -> Standing;
    /// Makes a cluster of this machine, and gives its node's id.
    fn init(&self, wish: Init) -> Boxed<'_, Result<ClusterNodeId>>;
    /// Joins one.
    fn join(&self, wish: Join) -> Boxed<'_, Result<()>>;
    /// Leaves it.
    fn leave(&self, force: bool) -> Boxed<'_, Result<()>>;
    /// Opens a locked manager.
    fn unlock(&self, key: String) -> Boxed<'_, Result<()>>;
    /// The key that opens it; empty without autolock. Managers only.
    fn unlock_key(&self) -> Boxed<'_, Result<String>>;
    /// Changes the cluster's spec and what is rotated with it. Managers only.
    fn update(&self, wish: Update) -> Boxed<'_, Result<()>>;
    /// What others join with. Managers only.
    fn tokens(&self) -> Boxed<'_, Result<Tokens>>;
    /// A task's output, from the node that it runs on. Managers only.
    fn logs(&self, wish: LogWish) -> Boxed<'_, Result<LogLines>>;
    /// Spreads the cluster's records over its managers. Managers only.
    fn spread(&self) -> Boxed<'_, Result<()>>;
    /// Everything that the cluster knows. Managers only.
    fn backup(&self) -> Boxed<'_, Result<Backup>>;
    /// Makes a cluster of this machine from a backup, and gives its node's id.
    fn restore(&self, wish: Restore) -> Boxed<'_, Result<ClusterNodeId>>;
}

/// The door of a machine that can be in no cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outside;

/// dockerd's answer of a machine that is in no cluster.
pub(crate) const NOT_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

impl Outside {
    fn refuse<T: Send + 'static>(kind: Kind, message: &str) -> Boxed<'_, Result<T>> {
        let refusal = Refusal::new(kind, message);
        Box::pin(std::future::ready(Err(refusal)))
    }
}

impl Door for Outside {
    fn standing(&self) -> Standing {
        Standing::default()
    }

    fn init(&self, _wish: Init) -> Boxed<'_, Result<ClusterNodeId>> {
        Outside::refuse(Kind::NotImplemented, "swarm mode is not supported by this daemon")
    }

    fn join(&self, _wish: Join) -> Boxed<'_, Result<()>> {
        Outside::refuse(Kind::NotImplemented, "swarm mode is not supported by this daemon")
    }

    fn leave(&self, _force: bool) -> Boxed<'_, Result<()>> {
        Outside::refuse(Kind::Unavailable, "This node is not part of a swarm")
    }

    fn unlock(&self, _key: String) -> Boxed<'_, Result<()>> {
        Outside::refuse(Kind::Unavailable, NOT_MANAGER)
    }

    fn unlock_key(&self) -> Boxed<'_, Result<String>> {
        Outside::refuse(Kind::Unavailable, NOT_MANAGER)
    }

    fn update(&self, _wish: Update) -> Boxed<'_, Result<()>> {
        Outside::refuse(Kind::Unavailable, NOT_MANAGER)
    }

    fn tokens(&self) -> Boxed<'_, Result<Tokens>> {
        Outside::refuse(Kind::Unavailable, NOT_MANAGER)
    }

    fn logs(&self, _wish: LogWish) -> Boxed<'_, Result<LogLines>> {
        Outside::refuse(Kind::Unavailable, NOT_MANAGER)
    }

    fn spread(&self) -> Boxed<'_, Result<()>> {
        Outside::refuse(Kind::Unavailable, NOT_MANAGER)
    }

    fn backup(&self) -> Boxed<'_, Result<Backup>> {
        Outside::refuse(Kind::Unavailable, NOT_MANAGER)
    }

    fn restore(&self, _wish: Restore) -> Boxed<'_, Result<ClusterNodeId>> {
        Outside::refuse(Kind::NotImplemented, "swarm mode is not supported by this daemon")
    }
}
