//! `fsutil.types`: how directories travel.

use bytes::Bytes;
use std::collections::BTreeMap;

/// A packet's types.
pub(crate) const STAT: i32 = 0;
/// The receiver wants a file's bytes.
pub(crate) const REQ: i32 = 1;
/// Bytes of a file; none is its end.
pub(crate) const DATA: i32 = 2;
/// The receiver has all; answered with the same.
pub(crate) const FIN: i32 = 3;
/// A sentence why not.
pub(crate) const ERR: i32 = 4;

/// One packet, in either direction.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Packet {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    /// None in a packet of type [`STAT`] is the end of entries.
    #[prost(message, optional, tag = "2")]
    pub(crate) stat: Option<Stat>,
    /// Which entry, counted from 0 in the order of their stats.
    #[prost(uint32, tag = "3")]
    pub(crate) id: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) data: Bytes,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Stat {
    #[prost(string, tag = "1")]
    pub(crate) path: String,
    /// Go's `os.FileMode`.
    #[prost(uint32, tag = "2")]
    pub(crate) mode: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) gid: u32,
    #[prost(int64, tag = "5")]
    pub(crate) size: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(crate) mod_time: i64,
    #[prost(string, tag = "7")]
    pub(crate) linkname: String,
    #[prost(int64, tag = "8")]
    pub(crate) devmajor: i64,
    #[prost(int64, tag = "9")]
    pub(crate) devminor: i64,
    #[prost(btree_map = "string, bytes", tag = "10")]
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}
