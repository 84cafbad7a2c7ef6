//! BuildKit's messages, as far as they are spoken here.
//!
//! Names and field numbers are facts of the protocol (moby/buildkit v0.25 `*.proto`, tonistiigi/fsutil `types/*.proto`,
//! containerd `api/services/content/v1/content.proto`, googleapis `rpc/status.proto`); everything else is ours. A field
//! that nobody reads here is left out: protobuf skips what it does not know. Enumerations are plain numbers with
//! constants beside them, so that an unknown one stays what it was.

pub(crate) mod content;
pub(crate) mod control;
pub(crate) mod fsutil;
pub(crate) mod gateway;
pub(crate) mod session;
pub(crate) mod solver;

use minke_model::Timestamp as Time;

/// `google.protobuf.Timestamp`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        let nanos = time.as_nanos();
        Self { seconds: nanos.div_euclid(1_000_000_000), nanos: nanos.rem_euclid(1_000_000_000) as i32 }
    }
}

/// `google.protobuf.Empty`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Empty {}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `grpc.health.v1.HealthCheckResponse`; its request is read as [`Empty`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Health {
    /// 1 is serving.
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
}

/// A piece of a stream: every service of BuildKit's has a `BytesMessage` of its own, all of this form.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct BytesMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: bytes::Bytes,
}
