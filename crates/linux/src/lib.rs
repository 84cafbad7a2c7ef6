//! The kernel's words: netlink, nftables, cgroups, seccomp, mounts, processes. Plain functions over file descriptors.
//!
//! Never: policy, our words, async.

#![allow(unsafe_code)] // The one place, besides `shim`, that speaks to the kernel past safe wrappers.

#[cfg(feature = "allocator")]
pub mod allocator;
pub mod apparmor;
pub mod capability;
pub mod cgroup;
pub mod datagram;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod nftables;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod socket;
pub mod words;
