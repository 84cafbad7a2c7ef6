//! Kernel parameters of a container: which it gets, and which are not its own to set. Pure.

use super::SpecError;
use crate::request::CreateRequest;
use minke_shim::plan::{Namespace, Namespaces};

/// Those of System V's and POSIX' message queues and memory, which belong to the IPC namespace (runc's validator).
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
/// What Docker gives a network of one's own (moby `oci_linux.go`, `WithSysctls`): anyone inside may ping and serve
/// port 80, nothing there is the machine's.
const OF_OWN_NETWORK: [(&str, &str); 2] =
    [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")];

/// Docker's two, then the user's.
///
/// # Errors
/// When one of the user's would change the machine.
pub(super) fn plan(
    request: &CreateRequest,
    namespaces: &Namespaces,
) -> Result<Vec<(String, String)>, SpecError> {
    let asked = &request.container.spec.sysctls;
    let mut sysctls = Vec::new();
    if super::mounts::has_own_network(request) {
        let free = OF_OWN_NETWORK.into_iter().filter(|(name, _)| !asked.contains_key(*name));
        sysctls.extend(free.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    for (name, value) in asked {
        check(name, namespaces).map_err(SpecError::Runc)?;
        sysctls.push((name.clone(), value.clone()));
    }
    Ok(sysctls)
}

/// Whose a parameter is. The error is runc's sentence.
fn check(name: &str, namespaces: &Namespaces) -> Result<(), String> {
    let dotted = name.replace('/', ".");
    let apart = |namespace: &Namespace| *namespace != Namespace::Host;
    if OF_IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return match apart(&namespaces.ipc) {
            true => Ok(()),
            false => Err(format!("sysctl {name:?} is not allowed in the hosts ipc namespace")),
        };
    }
    if dotted.starts_with("net.") {
        return match apart(&namespaces.net) {
            true => Ok(()),
            false => Err(format!("sysctl {name:?} not allowed in host network namespace")),
        };
    }
    match dotted.as_str() {
        "kernel.domainname" if apart(&namespaces.uts) => Ok(()),
        "kernel.hostname" if apart(&namespaces.uts) => {
            Err(format!("sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"))
        }
        _ => Err(format!("sysctl {name:?} is not in a separate kernel namespace")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_namespace_keeps_apart_may_be_set() {
        let own = Namespaces {
            pid: Namespace::New,
            ipc: Namespace::New,
            net: Namespace::New,
            uts: Namespace::New,
            cgroup: Namespace::New,
        };
        let hosts = Namespaces { ipc: Namespace::Host, net: Namespace::Host, ..own.clone() };
        for name in ["net.ipv4.ip_forward", "net/core/somaxconn", "kernel.shmmax", "fs.mqueue.msg_max"] {
            assert_eq!(check(name, &own), Ok(()), "{name}");
            assert!(check(name, &hosts).is_err(), "{name}");
        }
        assert_eq!(
            check("kernel.panic", &own).unwrap_err(),
            "sysctl \"kernel.panic\" is not in a separate kernel namespace"
        );
        assert_eq!(check("kernel.domainname", &own), Ok(()));
        assert!(check("kernel.hostname", &own).is_err());
    }
}
