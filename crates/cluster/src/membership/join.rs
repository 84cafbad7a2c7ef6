//! How a machine comes in: it hears which authority the cluster has, checks that against its token, and gets a
//! certificate for its key. Both sides.

use super::{
    MembershipError, Result,
    ca::{Authority, NodeKey},
    seal::Seal,
    token::{self, Token},
};
use crate::{
    tables::{CLUSTER, CLUSTER_NAME, NODES},
    transport::{message, mux, tls},
};
use minke_model::{
    ClusterId, ClusterNodeId, Kind, Timestamp,
    cluster::Cluster,
    node::{Availability, ManagerStatus, Node, NodeSpec, NodeState, Role},
    object::Meta,
};
use minke_store::{AnyStore, Prefix, Prefixes, Store as _, StoreError, Txn};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};
use tokio::time::timeout;

/// Name of the stream that gives the authority's certificates to anybody.
pub const AUTHORITY: &str = "authority";
/// Name of the stream on which somebody asks to come in.
pub const JOIN: &str = "join";
/// Name of the stream on which a member gets its next certificate.
pub const CERTIFICATE: &str = "certificate";

/// An answer is there within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Tries against others who write the same records.
const TRIES: usize = 16;

/// Who wants to come in.
#[derive(Serialize, Deserialize)]
pub struct Request {
    /// The secret half of its token.
    pub secret: String,
    /// For its key, PEM.
    pub request: String,
    /// Whether it takes tasks.
    pub availability: Availability,
    /// Where others find it, should it be a manager: `address:port`; an unspecified address is the one it comes from.
    pub address: Option<SocketAddr>,
}

/// What a member goes on with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Admission {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// As what.
    pub role: Role,
    /// Its certificate, and all between it and a root, PEM.
    pub chain: String,
    /// Trusted authorities, PEM.
    pub trusted: String,
}

/// An answer, or why there is none.
#[derive(Serialize, Deserialize)]
pub enum Answer<T> {
    /// As asked.
    Good(T),
    /// Not: the sentence for people.
    Refused(String),
}

impl<T> Answer<T> {
    /// As a result of the asking side.
    ///
    /// # Errors
    /// When it was refused.
    pub fn into_result(self) -> Result<T> {
        match self {
            Answer::Good(good) => Ok(good),
            Answer::Refused(message) => Err(MembershipError::Remote { kind: Kind::Invalid, message }),
        }
    }
}

impl<T> From<Result<T>> for Answer<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(good) => Answer::Good(good),
            Err(e) => Answer::Refused(e.to_string()),
        }
    }
}

/// Asks the manager at `address` to come in.
///
/// # Errors
/// When nobody answers there, it is another cluster, or the token is not good.
pub async fn ask(
    address: &str,
    token: &Token,
    key: &NodeKey,
    availability: Availability,
    listen: Option<SocketAddr>,
) -> Result<Admission> {
    let trusted = hear_authority(address).await?;
    token.check(&trusted)?;
    let question =
        Request { secret: token.secret().to_owned(), request: key.request()?, availability, address: listen };
    let connection = tls::dial(address, tls::stranger(&trusted)?).await?;
    let answer: Answer<Admission> = exchange(connection, JOIN, &question).await?;
    answer.into_result()
}

/// Which authority the cluster at `address` has (PEM). Anybody may have answered.
async fn hear_authority(address: &str) -> Result<String> {
    let connection = tls::dial(address, tls::blind()?).await?;
    exchange(connection, AUTHORITY, &()).await
}

async fn exchange<Q: Serialize, A: serde::de::DeserializeOwned>(
    connection: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
    name: &str,
    question: &Q,
) -> Result<A> {
    let (opener, _incoming) = mux::start(connection, mux::Side::Dialled, 0);
    let mut stream = opener.open(name)?;
    match timeout(PATIENCE, message::ask(&mut stream, question)).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(MembershipError::NoManager {
            managers: name.to_owned(),
            detail: format!("no answer within {} s", PATIENCE.as_secs()),
        }),
    }
}

/// The cluster's record.
///
/// # Errors
/// When it is not there.
pub async fn cluster(store: &AnyStore) -> Result<Cluster> {
    let snapshot = store.read(CLUSTER.prefix()).await?;
    let found = CLUSTER.get(&snapshot, CLUSTER_NAME)?.ok_or(MembershipError::NoCluster)?;
    Ok((*found.value).clone())
}

/// A certificate for `request`, by the cluster's authority.
///
/// # Errors
/// When the request is none, or the authority's key is elsewhere.
pub fn sign(
    cluster: &Cluster,
    seal: &Seal,
    request: &str,
    role: Role,
    now: Timestamp,
) -> Result<(ClusterNodeId, Admission)> {
    let Some(key) = &cluster.ca.key else {
        return Err(MembershipError::Denied(
            "this cluster's certificates are signed by an external CA".into(),
        ));
    };
    let authority = Authority::from_pem(&cluster.ca.signer, &seal.open_text(key)?)?;
    let issued = authority.sign(request, role, &cluster.id, cluster.spec.certificate_life, now)?;
    let admission = Admission {
        cluster: cluster.id.clone(),
        role,
        chain: issued.chain,
        trusted: cluster.ca.trusted.clone(),
    };
    Ok((issued.node, admission))
}

/// As what who knows `secret` comes in.
///
/// # Errors
/// [`MembershipError::TokenUnknown`].
pub fn role_of(cluster: &Cluster, seal: &Seal, secret: &str) -> Result<Role> {
    if token::same(&seal.open_text(&cluster.manager_token)?, secret) {
        return Ok(Role::Manager);
    }
    if token::same(&seal.open_text(&cluster.worker_token)?, secret) {
        return Ok(Role::Worker);
    }
    Err(MembershipError::TokenUnknown)
}

/// Lets somebody in: its certificate, and its record in the store. `from` is where it comes from.
///
/// # Errors
/// When its token is not good, or the store fails.
pub async fn admit(
    store: &AnyStore,
    seal: &Seal,
    request: Request,
    from: Option<SocketAddr>,
    now: Timestamp,
) -> Result<Admission> {
    let cluster = cluster(store).await?;
    let role = role_of(&cluster, seal, &request.secret)?;
    let (id, admission) = sign(&cluster, seal, &request.request, role, now)?;
    let spec = NodeSpec { role, availability: request.availability, ..NodeSpec::default() };
    let mut node = new_node(id, spec, now);
    node.address = from.map(|from| from.ip());
    if role == Role::Manager {
        node.manager_status = request.address.map(|told| manager_at(told, from));
    }
    record(store, node).await?;
    Ok(admission)
}

/// How a manager stands that is to be found at `told`; where that says no address, at the one that it comes from.
pub fn manager_at(told: SocketAddr, from: Option<SocketAddr>) -> ManagerStatus {
    let mut address = told;
    if let Some(from) = from.filter(|_| told.ip().is_unspecified()) {
        address.set_ip(from.ip());
    }
    ManagerStatus { leader: false, reachable: false, address }
}

/// A node that never spoke.
pub fn new_node(id: ClusterNodeId, spec: NodeSpec, now: Timestamp) -> Node {
    Node {
        id,
        meta: Meta::new(now),
        spec,
        description: None,
        state: NodeState::Unknown,
        message: String::new(),
        since: now,
        last_silent: None,
        address: None,
        manager: None,
        manager_status: None,
        attachments: Vec::new(),
        signed_by: Vec::new(),
        sessions: 0,
    }
}

/// Writes a new node down. One that is there already is a try whose answer got lost.
async fn record(store: &AnyStore, node: Node) -> Result<()> {
    let mut last = StoreError::Closed;
    for _ in 0..TRIES {
        let snapshot = store.read(Prefixes::from([NODES.prefix(), Prefix::new("guard/")])).await?;
        if NODES.get(&snapshot, node.id.as_str())?.is_some() {
            return Ok(());
        }
        match store.commit(Txn::on(&snapshot).put(&NODES, node.id.as_str(), node.clone())).await {
            Ok(_) => return Ok(()),
            Err(lost @ (StoreError::Refused(_) | StoreError::OutcomeUnknown { .. })) => last = lost,
            Err(failed) => return Err(failed.into()),
        }
    }
    Err(last.into())
}
