//! Streams between this terminal and a container: raw mode, demultiplexing, detach keys, signals.

pub(crate) mod attach;
pub(crate) mod demux;
pub(crate) mod detach;
pub(crate) mod signals;
pub(crate) mod terminal;
