//! The kernel's words: netlink, nftables, cgroups, seccomp, mounts, processes. Plain functions over file descriptors.
//!
//! Never: policy, our words, async.

#![allow(unsafe_code)] // The one place, besides `shim`, that speaks to the kernel past safe wrappers.

pub mod netlink;
pub mod nftables;
pub mod cgroup;
