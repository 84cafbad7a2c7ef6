//! Messages of etcd's API, as far as they are used here, with their field numbers (etcd 3.5, `api/etcdserverpb/rpc.proto`
//! and `api/mvccpb/kv.proto`; 3.4 has the same). Written by hand, so that no build needs `protoc`.

use prost::{Enumeration, Message, Oneof};

/// Declares messages in a line a field.
macro_rules! messages {
    ($($name:ident { $($(#[$tag:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Clone, PartialEq, Message)]
        pub(super) struct $name { $($(#[$tag])* pub(super) $field: $type,)* }
    )*};
}

messages! {
    KeyValue {
        #[prost(bytes = "vec", tag = "1")] key: Vec<u8>,
        #[prost(int64, tag = "3")] mod_revision: i64,
        #[prost(bytes = "vec", tag = "5")] value: Vec<u8>,
    }
    Event {
        #[prost(enumeration = "EventType", tag = "1")] kind: i32,
        #[prost(message, optional, tag = "2")] kv: Option<KeyValue>,
    }
    ResponseHeader {
        #[prost(uint64, tag = "1")] cluster_id: u64,
        #[prost(uint64, tag = "2")] member_id: u64,
        #[prost(int64, tag = "3")] revision: i64,
        #[prost(uint64, tag = "4")] raft_term: u64,
    }
    RangeRequest {
        #[prost(bytes = "vec", tag = "1")] key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")] range_end: Vec<u8>,
        #[prost(int64, tag = "3")] limit: i64,
        #[prost(int64, tag = "4")] revision: i64,
        #[prost(bool, tag = "8")] keys_only: bool,
    }
    RangeResponse {
        #[prost(message, optional, tag = "1")] header: Option<ResponseHeader>,
        #[prost(message, repeated, tag = "2")] kvs: Vec<KeyValue>,
        #[prost(bool, tag = "3")] more: bool,
    }
    PutRequest {
        #[prost(bytes = "vec", tag = "1")] key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")] value: Vec<u8>,
    }
    PutResponse {
        #[prost(message, optional, tag = "1")] header: Option<ResponseHeader>,
    }
    DeleteRangeRequest {
        #[prost(bytes = "vec", tag = "1")] key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")] range_end: Vec<u8>,
    }
    DeleteRangeResponse {
        #[prost(message, optional, tag = "1")] header: Option<ResponseHeader>,
    }
    Compare {
        #[prost(enumeration = "CompareResult", tag = "1")] result: i32,
        #[prost(enumeration = "CompareTarget", tag = "2")] target: i32,
        #[prost(bytes = "vec", tag = "3")] key: Vec<u8>,
        #[prost(oneof = "Compared", tags = "4, 6")] with: Option<Compared>,
    }
    RequestOp {
        #[prost(oneof = "Op", tags = "1, 2, 3")] op: Option<Op>,
    }
    ResponseOp {
        #[prost(oneof = "OpResponse", tags = "1, 2, 3")] op: Option<OpResponse>,
    }
    TxnRequest {
        #[prost(message, repeated, tag = "1")] compare: Vec<Compare>,
        #[prost(message, repeated, tag = "2")] success: Vec<RequestOp>,
        #[prost(message, repeated, tag = "3")] failure: Vec<RequestOp>,
    }
    TxnResponse {
        #[prost(message, optional, tag = "1")] header: Option<ResponseHeader>,
        #[prost(bool, tag = "2")] succeeded: bool,
        #[prost(message, repeated, tag = "3")] responses: Vec<ResponseOp>,
    }
    CompactionRequest {
        #[prost(int64, tag = "1")] revision: i64,
        #[prost(bool, tag = "2")] physical: bool,
    }
    HeaderOnly {
        #[prost(message, optional, tag = "1")] header: Option<ResponseHeader>,
    }
    WatchRequest {
        #[prost(message, optional, tag = "1")] create: Option<WatchCreateRequest>,
    }
    WatchCreateRequest {
        #[prost(bytes = "vec", tag = "1")] key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")] range_end: Vec<u8>,
        #[prost(int64, tag = "3")] start_revision: i64,
        #[prost(bool, tag = "8")] fragment: bool,
    }
    WatchResponse {
        #[prost(message, optional, tag = "1")] header: Option<ResponseHeader>,
        #[prost(bool, tag = "3")] created: bool,
        #[prost(bool, tag = "4")] canceled: bool,
        #[prost(int64, tag = "5")] compact_revision: i64,
        #[prost(string, tag = "6")] cancel_reason: String,
        #[prost(bool, tag = "7")] fragment: bool,
        #[prost(message, repeated, tag = "11")] events: Vec<Event>,
    }
    Member {
        #[prost(uint64, tag = "1")] id: u64,
        #[prost(string, tag = "2")] name: String,
        #[prost(string, repeated, tag = "3")] peer_urls: Vec<String>,
        #[prost(string, repeated, tag = "4")] client_urls: Vec<String>,
        #[prost(bool, tag = "5")] is_learner: bool,
    }
    MemberAddRequest {
        #[prost(string, repeated, tag = "1")] peer_urls: Vec<String>,
        #[prost(bool, tag = "2")] is_learner: bool,
    }
    MemberAddResponse {
        #[prost(message, optional, tag = "2")] member: Option<Member>,
        #[prost(message, repeated, tag = "3")] members: Vec<Member>,
    }
    MemberUpdateRequest {
        #[prost(uint64, tag = "1")] id: u64,
        #[prost(string, repeated, tag = "2")] peer_urls: Vec<String>,
    }
    // Of MemberRemove and MemberPromote.
    MemberRequest {
        #[prost(uint64, tag = "1")] id: u64,
    }
    MemberListRequest {
        #[prost(bool, tag = "1")] linearizable: bool,
    }
    // Of MemberList, MemberRemove, MemberUpdate and MemberPromote.
    MembersResponse {
        #[prost(message, repeated, tag = "2")] members: Vec<Member>,
    }
    AlarmRequest {
        #[prost(enumeration = "AlarmAction", tag = "1")] action: i32,
        #[prost(uint64, tag = "2")] member_id: u64,
        #[prost(int32, tag = "3")] alarm: i32,
    }
    AlarmMember {
        #[prost(uint64, tag = "1")] member_id: u64,
        #[prost(int32, tag = "2")] alarm: i32,
    }
    AlarmResponse {
        #[prost(message, repeated, tag = "2")] alarms: Vec<AlarmMember>,
    }
    Empty {}
    StatusResponse {
        #[prost(message, optional, tag = "1")] header: Option<ResponseHeader>,
        #[prost(string, tag = "2")] version: String,
        #[prost(int64, tag = "3")] db_size: i64,
        #[prost(uint64, tag = "4")] leader: u64,
        #[prost(uint64, tag = "5")] raft_index: u64,
        #[prost(string, repeated, tag = "8")] errors: Vec<String>,
        #[prost(int64, tag = "9")] db_size_in_use: i64,
        #[prost(bool, tag = "10")] is_learner: bool,
    }
    MoveLeaderRequest {
        #[prost(uint64, tag = "1")] target_id: u64,
    }
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Compared {
    #[prost(int64, tag = "4")]
    Version(i64),
    #[prost(int64, tag = "6")]
    ModRevision(i64),
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Op {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum OpResponse {
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    #[prost(message, tag = "2")]
    Put(PutResponse),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeResponse),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum EventType {
    Put = 0,
    Delete = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum CompareResult {
    Equal = 0,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum CompareTarget {
    Version = 0,
    Mod = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum AlarmAction {
    Get = 0,
    Deactivate = 2,
}
