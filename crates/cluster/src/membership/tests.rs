//! A manager and its nodes over real connections on loopback, on a store in memory.

use super::{
    ca::{Authority, Identity, NodeKey},
    join::{self, Admission, CERTIFICATE},
    observe,
    reception::{Lead, Reception, Serve},
    rotate::{self, Founding},
    seal::Seal,
    session::{Backwards, Boxed, Dial, Dialled, Handle, Hello, Session, Standing},
    token::Token,
    *,
};
use crate::{
    tables::{CLUSTER, CLUSTER_NAME, NODES},
    transport::{
        TransportError, mux,
        tls::{self, Credentials, Peer},
    },
};
use minke_model::{
    ClusterNodeId, Timestamp,
    node::{Availability, Node, NodeDescription, NodeSpec, NodeState, Role},
};
use minke_store::{AnyStore, Memory, Prefix, Prefixes, Store as _, Txn, WallClock};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// Long enough for any machine: only a hang runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("in vain: {what}"),
    }
}

/// Says who asks and for what.
struct Echo;

impl Serve for Echo {
    fn serve(&self, peer: Peer, name: String, mut stream: mux::Stream) -> Boxed<'static, ()> {
        Box::pin(async move {
            let text = format!("{:?} asks for {name}", peer.role);
            let _ = stream.write_all(text.as_bytes()).await;
        })
    }
}

impl Backwards for Echo {
    fn serve(&self, _: ClusterNodeId, name: String, mut stream: mux::Stream) -> Boxed<'static, ()> {
        Box::pin(async move {
            let _ = stream.write_all(format!("here is {name}").as_bytes()).await;
        })
    }
}

struct Cluster {
    store: AnyStore,
    seal: Seal,
    address: SocketAddr,
    reception: Reception,
    credentials: watch::Sender<Credentials>,
    key: NodeKey,
    _leading: watch::Sender<Lead>,
    _tasks: Vec<JoinHandle<()>>,
}

async fn cluster() -> Cluster {
    let now = Timestamp::now();
    let (authority, seal, key) =
        (Authority::generate(now).unwrap(), Seal::generate(), NodeKey::generate().unwrap());
    let record = rotate::found(Founding::default(), &authority, &seal, now).unwrap();
    let (id, admission) = join::sign(&record, &seal, &key.request().unwrap(), Role::Manager, now).unwrap();
    let store = AnyStore::new(Memory::new());
    let snapshot = store.read(Prefixes::all()).await.unwrap();
    let mut node = join::new_node(id.clone(), NodeSpec { role: Role::Manager, ..NodeSpec::default() }, now);
    node.signed_by = Identity::of_pem(&admission.chain).unwrap().issuer;
    let txn = Txn::on(&snapshot).put(&CLUSTER, CLUSTER_NAME, record.clone()).put(&NODES, id.as_str(), node);
    store.commit(txn).await.unwrap();
    let credentials = watch::Sender::new(Credentials {
        chain: admission.chain,
        key: key.to_der(),
        trusted: admission.trusted,
        cluster: record.id.as_str().to_owned(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (leading, lead) = watch::channel(Lead::Here);
    let reception =
        Reception::new(id, store.clone(), Arc::new(WallClock::new()), seal.clone(), Arc::new(Echo), lead);
    let tending = reception.clone();
    let tasks = vec![
        tokio::spawn(reception.clone().listen(listener, credentials.subscribe())),
        tokio::spawn(async move { tending.tend().await }),
    ];
    Cluster { store, seal, address, reception, credentials, key, _leading: leading, _tasks: tasks }
}

impl Cluster {
    async fn record(&self) -> minke_model::cluster::Cluster {
        join::cluster(&self.store).await.unwrap()
    }

    async fn tokens(&self) -> (Token, Token) {
        rotate::tokens(&self.record().await, &self.seal).unwrap()
    }

    async fn nodes(&self) -> Vec<Node> {
        let snapshot = self.store.read(NODES.prefix()).await.unwrap();
        NODES.list(&snapshot).unwrap().into_iter().map(|(_, node)| (*node.value).clone()).collect()
    }

    /// Waits until a node's record is so.
    async fn sees(&self, id: &ClusterNodeId, what: &str, wanted: impl Fn(&Node) -> bool) {
        let waiting = async {
            loop {
                let snapshot = self.store.read(NODES.prefix()).await.unwrap();
                if NODES.get(&snapshot, id.as_str()).unwrap().is_some_and(|node| wanted(&node)) {
                    return;
                }
                let _ = self.store.watch(NODES.prefix(), snapshot.revision()).next().await;
            }
        };
        patiently(what, waiting).await;
    }

    async fn join(&self, token: &Token) -> Result<Machine> {
        let key = NodeKey::generate()?;
        let address = self.address.to_string();
        let admission =
            join::ask(&address, token, &key, Availability::Active, Some("0.0.0.0:99".parse().unwrap()))
                .await?;
        Ok(Machine { key, admission, address: self.address })
    }
}

/// A machine that came in.
struct Machine {
    key: NodeKey,
    admission: Admission,
    address: SocketAddr,
}

struct To {
    address: SocketAddr,
    credentials: Credentials,
}

impl Dial for To {
    fn dial(&self, _: Option<SocketAddr>) -> Boxed<'_, Result<Dialled, TransportError>> {
        Box::pin(async {
            let stream = tls::dial(&self.address.to_string(), self.credentials.client()?).await?;
            let peer = tls::peer(stream.get_ref().1.peer_certificates(), &self.credentials.cluster)?.unwrap();
            Ok(Dialled { io: Box::new(stream), peer })
        })
    }
}

/// A session that ends when this is dropped.
struct Connection {
    handle: Handle,
    _hello: watch::Sender<Hello>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Machine {
    fn credentials(&self) -> Credentials {
        Credentials {
            chain: self.admission.chain.clone(),
            key: self.key.to_der(),
            trusted: self.admission.trusted.clone(),
            cluster: self.admission.cluster.as_str().to_owned(),
        }
    }

    fn connect(&self) -> Connection {
        let hello = Hello {
            description: NodeDescription { hostname: "w1".into(), ..NodeDescription::default() },
            data_address: None,
            manager_address: None,
        };
        let (hello_sender, hello) = watch::channel(hello);
        let dial = Arc::new(To { address: self.address, credentials: self.credentials() });
        let (session, handle) = Session::new(dial, Arc::new(Echo), hello, Arc::new(|| Duration::ZERO));
        Connection { handle, _hello: hello_sender, task: tokio::spawn(session.run()) }
    }

    /// A bare connection with this machine's certificate.
    async fn raw(&self) -> mux::Opener {
        let stream =
            tls::dial(&self.address.to_string(), self.credentials().client().unwrap()).await.unwrap();
        mux::start(stream, mux::Side::Dialled, 0).0
    }
}

impl Connection {
    async fn opener(&self) -> mux::Opener {
        let mut standing = self.handle.standing.clone();
        let standing = standing.wait_for(|s| s.connected().is_some());
        patiently("a session", standing).await.unwrap().connected().unwrap().opener.clone()
    }
}

async fn text_of(mut stream: mux::Stream) -> String {
    let mut text = String::new();
    let _ = patiently("an answer", stream.read_to_string(&mut text)).await;
    text
}

#[tokio::test]
async fn a_machine_joins_beats_falls_silent_and_comes_back() {
    let cluster = cluster().await;
    let (worker, _) = cluster.tokens().await;
    let machine = cluster.join(&worker).await.unwrap();
    let id = machine.key.id();
    assert_eq!(machine.admission.role, Role::Worker);
    let connection = machine.connect();
    cluster.sees(&id, "Ready", |node| node.state == NodeState::Ready).await;
    let node = cluster.nodes().await.into_iter().find(|node| node.id == id).unwrap();
    assert_eq!((node.hostname(), node.address), ("w1", Some("127.0.0.1".parse().unwrap())));
    assert_eq!(text_of(cluster.reception.open(&id, "logs").unwrap()).await, "here is logs");

    drop(connection);
    cluster.sees(&id, "Unknown", |node| node.state == NodeState::Unknown).await;
    cluster.sees(&id, "Down", |node| node.state == NodeState::Down).await;
    let _again = machine.connect();
    cluster.sees(&id, "Ready again", |node| node.state == NodeState::Ready).await;
}

#[tokio::test]
async fn a_restart_that_was_announced_is_no_silence_and_who_leaves_is_down_at_once() {
    let cluster = cluster().await;
    let (worker, _) = cluster.tokens().await;
    let machine = cluster.join(&worker).await.unwrap();
    let id = machine.key.id();
    let connection = machine.connect();
    connection.opener().await;
    patiently("a goodbye", connection.handle.goodbye()).await;
    cluster.sees(&id, "Away", |node| node.state == NodeState::Away).await;
    drop(connection);
    let connection = machine.connect();
    cluster.sees(&id, "Ready", |node| node.state == NodeState::Ready).await;
    connection.opener().await;
    patiently("a farewell", connection.handle.leave()).await;
    cluster.sees(&id, "Down", |node| node.state == NodeState::Down && node.message.contains("left")).await;
}

#[tokio::test]
async fn only_a_token_of_this_cluster_that_was_not_replaced_lets_anybody_in() {
    let cluster = cluster().await;
    let (worker, manager) = cluster.tokens().await;
    assert_eq!(cluster.join(&manager).await.unwrap().admission.role, Role::Manager);
    let stranger = Authority::generate(Timestamp::now()).unwrap();
    let other = Token::new(stranger.certificate(), worker.secret()).unwrap();
    assert!(matches!(cluster.join(&other).await, Err(MembershipError::OtherAuthority { .. })));

    let seal = cluster.seal.clone();
    rotate::change::<MembershipError>(&cluster.store, |record| {
        record.worker_token = seal.seal(token::new_secret().as_bytes());
        Ok(())
    })
    .await
    .unwrap();
    let refused = cluster.join(&worker).await.err().unwrap().to_string();
    assert!(refused.contains("A valid join token is necessary"), "{refused}");
    assert!(cluster.join(&cluster.tokens().await.0).await.is_ok());
}

#[tokio::test]
async fn a_stranger_hears_the_authority_and_nothing_else() {
    let cluster = cluster().await;
    let trusted = cluster.record().await.ca.trusted;
    let open = async |name: &str| {
        let config = tls::stranger(&trusted).unwrap();
        let stream = tls::dial(&cluster.address.to_string(), config).await.unwrap();
        let (opener, _) = mux::start(stream, mux::Side::Dialled, 0);
        text_of(opener.open(name).unwrap()).await
    };
    for name in ["session", "certificate", "store", "store/everything", "keys", "to/x/y"] {
        assert_eq!(open(name).await, "", "{name}");
    }
}

#[tokio::test]
async fn a_stolen_workers_certificate_gets_no_other_one_and_no_other_role() {
    let cluster = cluster().await;
    let (worker, _) = cluster.tokens().await;
    let machine = cluster.join(&worker).await.unwrap();
    let opener = machine.raw().await;
    let own: Result<Admission> = session::ask(&opener, CERTIFICATE, &machine.key.request().unwrap()).await;
    assert_eq!(own.unwrap().role, Role::Worker);
    // For another key, which would be another node.
    let other = NodeKey::generate().unwrap();
    let stolen: Result<Admission> = session::ask(&opener, CERTIFICATE, &other.request().unwrap()).await;
    assert!(stolen.is_err());
    assert_eq!(text_of(opener.open("keys").unwrap()).await, "Worker asks for keys");
}

#[tokio::test]
async fn a_node_that_was_removed_is_told_so_and_served_no_more() {
    let cluster = cluster().await;
    let (worker, _) = cluster.tokens().await;
    let machine = cluster.join(&worker).await.unwrap();
    let connection = machine.connect();
    connection.opener().await;
    let raw = machine.raw().await;
    let snapshot = cluster.store.read(Prefixes::from([NODES.prefix(), Prefix::new("guard/")])).await.unwrap();
    let id = machine.key.id();
    cluster.store.commit(Txn::on(&snapshot).remove(&NODES, id.as_str())).await.unwrap();
    let mut standing = connection.handle.standing.clone();
    patiently("expelled", standing.wait_for(|s| matches!(s, Standing::Expelled(_)))).await.unwrap();
    assert_eq!(text_of(raw.open("store").unwrap()).await, "");
    let renewed: Result<Admission> = session::ask(&raw, CERTIFICATE, &machine.key.request().unwrap()).await;
    assert!(renewed.is_err());
}

#[tokio::test]
async fn a_demoted_managers_certificate_gives_a_workers_rights_at_once() {
    let cluster = cluster().await;
    let (_, manager) = cluster.tokens().await;
    let machine = cluster.join(&manager).await.unwrap();
    let opener = machine.raw().await;
    assert_eq!(text_of(opener.open("x").unwrap()).await, "Manager asks for x");
    let id = machine.key.id();
    observe::node(&cluster.store, &id, Timestamp::now(), |node| node.spec.role = Role::Worker).await.unwrap();
    assert_eq!(text_of(opener.open("x").unwrap()).await, "Worker asks for x");
}

#[tokio::test]
async fn the_authority_rotates_until_everybody_has_a_certificate_of_the_new_one() {
    let cluster = cluster().await;
    let (worker, _) = cluster.tokens().await;
    let mut machine = cluster.join(&worker).await.unwrap();
    let connection = machine.connect();
    connection.opener().await;
    let now = Timestamp::now();
    let next = Authority::generate(now).unwrap();
    let seal = cluster.seal.clone();
    rotate::change(&cluster.store, |record| rotate::begin(record, &next, &seal, now)).await.unwrap();

    // The manager takes its own new certificate, as its daemon does.
    let record = cluster.record().await;
    assert!(record.ca.rotating);
    let (me, own) =
        join::sign(&record, &cluster.seal, &cluster.key.request().unwrap(), Role::Manager, now).unwrap();
    cluster.credentials.send_modify(|c| (c.chain, c.trusted) = (own.chain.clone(), own.trusted.clone()));
    let issuer = Identity::of_pem(&own.chain).unwrap().issuer;
    observe::node(&cluster.store, &me, now, |node| node.signed_by = issuer.clone()).await.unwrap();

    // The worker is told, renews on the connection that it has, and shows it on the next.
    let mut standing = connection.handle.standing.clone();
    let told = standing.wait_for(|s| s.connected().is_some_and(|c| c.told.renew));
    let opener = patiently("renew", told).await.unwrap().connected().unwrap().opener.clone();
    machine.admission = session::ask(&opener, CERTIFICATE, &machine.key.request().unwrap()).await.unwrap();
    drop(connection);
    let _connection = machine.connect();
    let ended = async {
        while cluster.record().await.ca.rotating {
            let snapshot = cluster.store.read(CLUSTER.prefix()).await.unwrap();
            if cluster.record().await.ca.rotating {
                let _ = cluster.store.watch(CLUSTER.prefix(), snapshot.revision()).next().await;
            }
        }
    };
    patiently("the end of the rotation", ended).await;
    assert_eq!(cluster.record().await.ca.trusted.trim(), next.certificate().trim());
    // Tokens pin the new one.
    assert!(cluster.tokens().await.0.check(next.certificate()).is_ok());
}
