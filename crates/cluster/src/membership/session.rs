//! A node's side of its connection to a manager: it dials, says who it is, beats, and serves what the manager opens
//! backwards. When the connection is gone it dials again, with back-off, at whatever manager answers.

use super::join::Answer;
use crate::transport::{TransportError, message, mux, tls::Peer};
use minke_model::{ClusterNodeId, node::NodeDescription, node::Role};
use serde::{Deserialize, Serialize};
use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

/// Name of the stream that carries beats.
pub const SESSION: &str = "session";

/// Streams that a manager may have open on a node.
const MOST_BACKWARDS: usize = 1024;
/// A manager answers a hello within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// First wait before dialling again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait.
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// As long, when the cluster says that this node is none of its own.
const RETRY_EXPELLED: Duration = Duration::from_secs(30);

/// A future in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// First thing that a node says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// What it is.
    pub description: NodeDescription,
    /// Where its data travels, when that was told to it; else it is where it comes from.
    pub data_address: Option<IpAddr>,
    /// Where it serves as a manager, should it be one.
    pub manager_address: Option<SocketAddr>,
}

/// What a node says after that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Up {
    /// It is there.
    Beat(u64),
    /// What it is has changed.
    Describe(NodeDescription),
    /// It goes, and comes back.
    Goodbye(u64),
    /// It goes for good.
    Leave(u64),
}

/// What a manager says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Down {
    /// What a member should know, at first and whenever it changes.
    Told(Told),
    /// A beat, or a goodbye, was heard.
    Heard(u64),
    /// Another manager leads: it is to be found there.
    Elsewhere(Vec<SocketAddr>),
    /// It is no member.
    Expelled(String),
}

/// What every member should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How often to beat.
    pub beat: Duration,
    /// Where managers are.
    pub managers: Vec<(ClusterNodeId, SocketAddr)>,
    /// Trusted authorities, PEM.
    pub trusted: String,
    /// What the node should be.
    pub role: Role,
    /// The authority changed, or the role: ask for a certificate now.
    pub renew: bool,
    /// Counts the node's sessions. What is assigned counts once it names this one.
    pub session: u64,
}

/// A connection to a manager.
pub struct Dialled {
    /// The bytes.
    pub io: Box<dyn Io + Unpin>,
    /// Who is there.
    pub peer: Peer,
}

/// Finds a manager. `hint` is where one said that another is to be found.
pub trait Dial: Send + Sync + 'static {
    /// Dials the next one.
    fn dial(&self, hint: Option<SocketAddr>) -> Boxed<'_, Result<Dialled, TransportError>>;
}

/// Serves what a manager opens on this node.
pub trait Backwards: Send + Sync + 'static {
    /// One stream, to its end.
    fn serve(&self, from: ClusterNodeId, name: String, stream: mux::Stream) -> Boxed<'static, ()>;
}

/// A beat that a manager acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When it was *sent*, in time since boot: deadlines count from it.
    pub sent: Duration,
    /// In which of the node's sessions.
    pub session: u64,
}

/// How a node stands to its cluster.
#[derive(Clone, Default)]
pub enum Standing {
    /// It looks for a manager.
    #[default]
    Dialling,
    /// It has one.
    Connected(Connected),
    /// Managers answer, and say that it is no member.
    Expelled(String),
}

impl Standing {
    /// The connection, if there is one.
    pub fn connected(&self) -> Option<&Connected> {
        match self {
            Standing::Connected(connected) => Some(connected),
            Standing::Dialling | Standing::Expelled(_) => None,
        }
    }
}

/// A connection that a manager takes beats on.
#[derive(Clone)]
pub struct Connected {
    /// For streams to the manager.
    pub opener: mux::Opener,
    /// Who it is.
    pub manager: ClusterNodeId,
    /// What it last said.
    pub told: Told,
}

/// A last word of the node. Answered when the manager has heard it.
struct Goodbye {
    for_good: bool,
    heard: tokio::sync::oneshot::Sender<()>,
}

/// A node's session, over as many connections as it takes.
pub struct Session {
    dial: Arc<dyn Dial>,
    backwards: Arc<dyn Backwards>,
    hello: watch::Receiver<Hello>,
    standing: watch::Sender<Standing>,
    heard: watch::Sender<Option<Heard>>,
    boot_time: Arc<dyn Fn() -> Duration + Send + Sync>,
    goodbyes: mpsc::Receiver<Goodbye>,
}

/// What others see and ask of a session.
#[derive(Clone)]
pub struct Handle {
    /// How it stands.
    pub standing: watch::Receiver<Standing>,
    /// The last beat that a manager acknowledged.
    pub heard: watch::Receiver<Option<Heard>>,
    goodbyes: mpsc::Sender<Goodbye>,
}

impl Handle {
    /// Says that the node goes and comes back, and waits until a manager has heard it, for a moment.
    pub async fn goodbye(&self) {
        self.say(false).await;
    }

    /// Says that the node goes for good.
    pub async fn leave(&self) {
        self.say(true).await;
    }

    async fn say(&self, for_good: bool) {
        let (told, heard) = tokio::sync::oneshot::channel();
        if self.goodbyes.send(Goodbye { for_good, heard: told }).await.is_ok() {
            // Without a manager there is nobody to tell.
            let _ = timeout(Duration::from_secs(1), heard).await;
        }
    }
}

impl Session {
    /// A session that begins with [`Session::run`]. `boot_time` is time since boot, suspension included.
    pub fn new(
        dial: Arc<dyn Dial>,
        backwards: Arc<dyn Backwards>,
        hello: watch::Receiver<Hello>,
        boot_time: Arc<dyn Fn() -> Duration + Send + Sync>,
    ) -> (Self, Handle) {
        let (standing, standing_seen) = watch::channel(Standing::Dialling);
        let (heard, heard_seen) = watch::channel(None);
        let (goodbye, goodbyes) = mpsc::channel(1);
        let handle = Handle { standing: standing_seen, heard: heard_seen, goodbyes: goodbye };
        (Session { dial, backwards, hello, standing, heard, boot_time, goodbyes }, handle)
    }

    /// Keeps a connection for as long as nobody drops this.
    pub async fn run(mut self) {
        let mut wait = RETRY_FIRST;
        let mut hint: Option<SocketAddr> = None;
        loop {
            let hinted = hint.is_some();
            let end = match self.dial.dial(hint.take()).await {
                Ok(dialled) => self.converse(dialled).await,
                Err(error) => End::Failed(error),
            };
            let was_connected = matches!(*self.standing.borrow(), Standing::Connected(_));
            if was_connected {
                wait = RETRY_FIRST;
            }
            match end {
                End::Elsewhere(addresses) => {
                    self.set(Standing::Dialling);
                    // One that is sent on at once is not sent on again at once.
                    hint = addresses.first().copied().filter(|_| !hinted);
                    if hint.is_some() {
                        continue;
                    }
                }
                End::Expelled(why) => {
                    tracing::warn!("the cluster says: {why}");
                    self.set(Standing::Expelled(why));
                    wait = RETRY_EXPELLED;
                }
                End::Failed(error) => {
                    if was_connected {
                        tracing::info!("the connection to the manager is gone: {error}");
                    } else {
                        tracing::debug!("no manager yet: {error}");
                    }
                    self.set(Standing::Dialling);
                }
            }
            tokio::select! {
                biased;
                () = sleep(wait) => {}
                // Nobody hears it: who asked need not wait.
                Some(asked) = self.goodbyes.recv() => drop(asked),
            }
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }

    fn set(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// One connection, to its end.
    async fn converse(&mut self, dialled: Dialled) -> End {
        let (opener, mut incoming) = mux::start(dialled.io, mux::Side::Dialled, MOST_BACKWARDS);
        let end = self.beat_on(&opener, &mut incoming, dialled.peer.node).await;
        opener.close("the session has ended");
        end.unwrap_or_else(End::Failed)
    }

    async fn beat_on(
        &mut self,
        opener: &mux::Opener,
        incoming: &mut mux::Incoming,
        manager: ClusterNodeId,
    ) -> Result<End, TransportError> {
        let mut stream = opener.open(SESSION)?;
        let hello = self.hello.borrow_and_update().clone();
        let mut sent = vec![(0u64, (self.boot_time)())];
        message::write(&mut stream, &hello).await?;
        let answer = timeout(PATIENCE, message::read(&mut stream)).await;
        let told = match answer.map_err(|_| TransportError::Protocol("the manager does not answer"))?? {
            Down::Told(told) => told,
            Down::Elsewhere(addresses) => return Ok(End::Elsewhere(addresses)),
            Down::Expelled(why) => return Ok(End::Expelled(why)),
            Down::Heard(_) => return Err(TransportError::Protocol("a manager answers before it says hello")),
        };
        let session = told.session;
        self.heard.send_replace(sent.last().map(|(_, at)| Heard { sent: *at, session }));
        let mut beat = told.beat;
        self.set(Standing::Connected(Connected { opener: opener.clone(), manager: manager.clone(), told }));
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (news, mut coming) = mpsc::channel(16);
        // Reads on by itself: a half-read message is never dropped.
        let reading = async move {
            loop {
                let message = message::read::<Down>(&mut reader).await;
                let over = message.is_err();
                if news.send(message).await.is_err() || over {
                    return;
                }
            }
        };
        tokio::pin!(reading);
        let mut read_over = false;
        let mut number = 0u64;
        let mut next_beat = Instant::now() + beat;
        let mut last_heard = Instant::now();
        let mut goodbye: Option<(u64, Goodbye)> = None;
        loop {
            tokio::select! {
                biased;
                () = &mut reading, if !read_over => read_over = true,
                () = tokio::time::sleep_until(next_beat) => {
                    if last_heard.elapsed() > beat * 3 {
                        return Err(TransportError::Ended("the manager hears no beats".into()));
                    }
                    // After a goodbye a beat would say that it is back.
                    if goodbye.is_none() {
                        number += 1;
                        sent.push((number, (self.boot_time)()));
                        message::write(&mut writer, &Up::Beat(number)).await?;
                    }
                    next_beat = Instant::now() + beat;
                }
                message = coming.recv() => {
                    let Some(message) = message else {
                        return Err(TransportError::Ended("the manager ended it".into()));
                    };
                    match message? {
                        Down::Heard(n) => {
                            last_heard = Instant::now();
                            if let Some((_, at)) = sent.iter().find(|(sent, _)| *sent == n) {
                                self.heard.send_replace(Some(Heard { sent: *at, session }));
                            }
                            sent.retain(|(sent, _)| *sent > n);
                            if goodbye.as_ref().is_some_and(|(said, _)| *said == n)
                                && let Some((_, asked)) = goodbye.take()
                            {
                                let _ = asked.heard.send(());
                            }
                        }
                        Down::Told(told) => {
                            beat = told.beat;
                            self.standing.send_modify(|standing| {
                                if let Standing::Connected(connected) = standing {
                                    connected.told = told;
                                }
                            });
                        }
                        Down::Elsewhere(addresses) => return Ok(End::Elsewhere(addresses)),
                        Down::Expelled(why) => return Ok(End::Expelled(why)),
                    }
                }
                Some(asked) = self.goodbyes.recv() => {
                    number += 1;
                    let last = if asked.for_good { Up::Leave(number) } else { Up::Goodbye(number) };
                    message::write(&mut writer, &last).await?;
                    goodbye = Some((number, asked));
                }
                changed = self.hello.changed() => {
                    if changed.is_err() {
                        return Err(TransportError::Ended("the node leaves".into()));
                    }
                    let description = self.hello.borrow_and_update().description.clone();
                    message::write(&mut writer, &Up::Describe(description)).await?;
                }
                opened = incoming.next() => {
                    let Some((name, stream)) = opened else {
                        return Err(TransportError::Ended(opener.ended().await));
                    };
                    tokio::spawn(self.backwards.serve(manager.clone(), name, stream));
                }
            }
        }
    }
}

/// How one connection ended.
enum End {
    Elsewhere(Vec<SocketAddr>),
    Expelled(String),
    Failed(TransportError),
}

/// Asks the manager of a session one thing, on a stream of its own.
///
/// # Errors
/// When the connection ends, or the manager refuses.
pub async fn ask<Q: Serialize, A: serde::de::DeserializeOwned>(
    opener: &mux::Opener,
    name: &str,
    question: &Q,
) -> super::Result<A> {
    let mut stream = opener.open(name)?;
    let asked = message::ask::<Q, Answer<A>>(&mut stream, question);
    match timeout(Duration::from_secs(20), asked).await {
        Ok(answer) => answer?.into_result(),
        Err(_) => Err(TransportError::Ended(format!("no answer to {name}")).into()),
    }
}
