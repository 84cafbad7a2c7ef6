//! The care of etcd's members: who belongs to it, how each is, and its house-keeping.

use super::{
    client::{Client, Endpoints},
    proto::{
        AlarmAction, AlarmRequest, AlarmResponse, CompactionRequest, Empty, HeaderOnly, MemberAddRequest,
        MemberAddResponse, MemberListRequest, MemberRequest, MemberUpdateRequest, MembersResponse,
        MoveLeaderRequest, StatusResponse,
    },
};
use crate::Result;
use std::time::Duration;

/// How long a call may take.
const PATIENCE: Duration = crate::patience(5_000);
/// How long a member may take to write its file again: some seconds a GiB.
const DEFRAGMENTING: Duration = Duration::from_secs(120);

/// One machine of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As etcd counts it.
    pub id: u64,
    /// Empty until it has started for the first time.
    pub name: String,
    /// Where the others reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// It still copies, and has no vote.
    pub is_learner: bool,
}

/// How one member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Its own id.
    pub member: u64,
    /// The leader's id; 0: it knows none.
    pub leader: u64,
    /// How far its log is.
    pub raft_index: u64,
    /// The newest revision it holds.
    pub revision: i64,
    /// Bytes of its file.
    pub size: u64,
    /// Bytes of it in use.
    pub in_use: u64,
    /// It still copies, and has no vote.
    pub is_learner: bool,
    /// What it complains about.
    pub errors: Vec<String>,
}

/// What a member has raised the alarm about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Its file has reached the quota: it takes no more writes.
    NoSpace(u64),
    /// Its data differs from the others'.
    Corrupt(u64),
}

/// The care of etcd's members. Clones share a connection.
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Of the etcd at `endpoints`.
    pub fn new(endpoints: Endpoints) -> Self {
        Admin::with(Client::new(endpoints))
    }

    pub(super) fn with(client: Client) -> Self {
        Admin { client }
    }

    /// All members.
    ///
    /// # Errors
    /// No majority answers.
    pub async fn members(&self) -> Result<Vec<Member>> {
        let request = MemberListRequest { linearizable: true };
        let found: MembersResponse = self.call("/etcdserverpb.Cluster/MemberList", request).await?;
        Ok(found.members.into_iter().map(member).collect())
    }

    /// Announces a member that will start as a learner; returns it and all.
    ///
    /// # Errors
    /// There is a learner already, or no majority answers.
    pub async fn add_learner(&self, peer_url: &str) -> Result<(Member, Vec<Member>)> {
        let request = MemberAddRequest { peer_urls: vec![peer_url.to_owned()], is_learner: true };
        let added: MemberAddResponse = self.call("/etcdserverpb.Cluster/MemberAdd", request).await?;
        Ok((member(added.member.unwrap_or_default()), added.members.into_iter().map(member).collect()))
    }

    /// Gives a learner that has caught up its vote.
    ///
    /// # Errors
    /// It has not caught up, or no majority answers.
    pub async fn promote(&self, id: u64) -> Result<()> {
        let _: MembersResponse =
            self.call("/etcdserverpb.Cluster/MemberPromote", MemberRequest { id }).await?;
        Ok(())
    }

    /// Takes a member out.
    ///
    /// # Errors
    /// It is not there, too few would be left, or no majority answers.
    pub async fn remove(&self, id: u64) -> Result<()> {
        let _: MembersResponse =
            self.call("/etcdserverpb.Cluster/MemberRemove", MemberRequest { id }).await?;
        Ok(())
    }

    /// Says where a member is reached now.
    ///
    /// # Errors
    /// It is not there, or no majority answers.
    pub async fn update(&self, id: u64, peer_url: &str) -> Result<()> {
        let request = MemberUpdateRequest { id, peer_urls: vec![peer_url.to_owned()] };
        let _: MembersResponse = self.call("/etcdserverpb.Cluster/MemberUpdate", request).await?;
        Ok(())
    }

    /// How the member at `url` is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self, url: &str) -> Result<Status> {
        let only = self.client.only(url);
        let status = only.call("/etcdserverpb.Maintenance/Status", Empty {}, PATIENCE).await;
        let status: StatusResponse = status.map_err(|failed| failed.error)?;
        let header = status.header.unwrap_or_default();
        Ok(Status {
            version: status.version,
            member: header.member_id,
            leader: status.leader,
            raft_index: status.raft_index,
            revision: header.revision,
            size: status.db_size.max(0) as u64,
            in_use: status.db_size_in_use.max(0) as u64,
            is_learner: status.is_learner,
            errors: status.errors,
        })
    }

    /// Forgets what was before `revision`; its room is free for what comes.
    ///
    /// # Errors
    /// It is forgotten already, or no majority answers.
    pub async fn compact(&self, revision: i64) -> Result<()> {
        let request = CompactionRequest { revision, physical: false };
        let _: HeaderOnly = self.call("/etcdserverpb.KV/Compact", request).await?;
        Ok(())
    }

    /// Writes the file of the member at `url` again, without what is free. It answers nobody meanwhile: one at a time.
    ///
    /// # Errors
    /// It does not answer, or has no room.
    pub async fn defragment(&self, url: &str) -> Result<()> {
        let only = self.client.only(url);
        let done = only.call("/etcdserverpb.Maintenance/Defragment", Empty {}, DEFRAGMENTING).await;
        let _: HeaderOnly = done.map_err(|failed| failed.error)?;
        Ok(())
    }

    /// Makes another member the leader. Asked of the leader at `url`.
    ///
    /// # Errors
    /// It is not the leader, or the other cannot be.
    pub async fn move_leader(&self, url: &str, to: u64) -> Result<()> {
        let only = self.client.only(url);
        let request = MoveLeaderRequest { target_id: to };
        let done = only.call("/etcdserverpb.Maintenance/MoveLeader", request, PATIENCE).await;
        let _: HeaderOnly = done.map_err(|failed| failed.error)?;
        Ok(())
    }

    /// The alarms that are raised.
    ///
    /// # Errors
    /// No majority answers.
    pub async fn alarms(&self) -> Result<Vec<Alarm>> {
        let request = AlarmRequest { action: AlarmAction::Get as i32, member_id: 0, alarm: 0 };
        let found: AlarmResponse = self.call("/etcdserverpb.Maintenance/Alarm", request).await?;
        Ok(found
            .alarms
            .into_iter()
            .filter_map(|alarm| match alarm.alarm {
                1 => Some(Alarm::NoSpace(alarm.member_id)),
                2 => Some(Alarm::Corrupt(alarm.member_id)),
                _ => None,
            })
            .collect())
    }

    /// Ends the alarm about space, after there is some again.
    ///
    /// # Errors
    /// No majority answers.
    pub async fn end_alarm(&self, alarm: &Alarm) -> Result<()> {
        let (member_id, alarm) = match alarm {
            Alarm::NoSpace(id) => (*id, 1),
            Alarm::Corrupt(id) => (*id, 2),
        };
        let request = AlarmRequest { action: AlarmAction::Deactivate as i32, member_id, alarm };
        let _: AlarmResponse = self.call("/etcdserverpb.Maintenance/Alarm", request).await?;
        Ok(())
    }

    async fn call<I, O>(&self, path: &'static str, request: I) -> Result<O>
    where
        I: prost::Message + Default + Send + Sync + 'static,
        O: prost::Message + Default + Send + Sync + 'static,
    {
        self.client.call(path, request, PATIENCE).await.map_err(|failed| failed.error)
    }
}

fn member(found: super::proto::Member) -> Member {
    let super::proto::Member { id, name, peer_urls, client_urls, is_learner } = found;
    Member { id, name, peer_urls, client_urls, is_learner }
}
