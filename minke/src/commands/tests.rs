//! The tree as a whole: every declaration is sound.

use super::*;
use crate::cli::command::Command;
use crate::cli::flag::Flag;

fn commands() -> Vec<&'static Command> {
    let mut all = Vec::new();
    for entry in TREE {
        match entry {
            Entry::Command(command) | Entry::Alias(_, command) => all.push(*command),
            Entry::Group(_) | Entry::Flagged(_) => {
                all.extend(entry.group().into_iter().flat_map(|group| group.entries).filter_map(|entry| {
                    match entry {
                        Entry::Command(command) | Entry::Alias(_, command) => Some(*command),
                        Entry::Group(_) | Entry::Flagged(_) => None,
                    }
                }))
            }
        }
    }
    all
}

#[test]
fn no_name_is_given_twice() {
    let mut names: Vec<&str> = TREE.iter().map(Entry::name).collect();
    names.sort_unstable();
    names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
    for command in commands() {
        for (at, flag) in command.flags.iter().enumerate() {
            let clash = |other: &Flag| {
                other.name == flag.name || (other.short.is_some() && other.short == flag.short)
            };
            assert!(!command.flags[at + 1..].iter().any(clash), "{}: --{}", command.name, flag.name);
        }
    }
}

#[test]
fn what_comes_later_is_not_listed() {
    for verb in LATER {
        let mut words = verb.split(' ');
        let first = words.next().unwrap();
        let entry = TREE.iter().find(|entry| entry.answers_to(first));
        match (entry, words.next()) {
            (Some(Entry::Group(group)), Some(second)) => {
                assert!(!group.entries.iter().any(|entry| entry.answers_to(second)), "{verb}")
            }
            (found, _) => assert!(found.is_none(), "{verb}"),
        }
    }
    assert_eq!(comes_later("stack"), Some("stack"));
    assert_eq!(comes_later("runn"), None);
}

#[test]
fn the_reasons_of_errors_are_gos() {
    let error = std::fs::read("/nonexistent/minke").unwrap_err();
    assert_eq!(go_error(&error), "no such file or directory");
}

#[test]
fn all_flags_of_dockers_run_are_known() {
    const DOCKERS: &str = "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops disable-content-trust dns dns-option dns-search domainname entrypoint env env-file expose gpus group-add health-cmd health-interval health-retries health-start-interval health-start-period health-timeout hostname init interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label label-file link link-local-ip log-driver log-opt mac-address memory memory-reservation memory-swap memory-swappiness mount name network network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all pull quiet read-only restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit use-api-socket user userns uts volume volume-driver volumes-from workdir";
    for name in DOCKERS.split(' ') {
        assert!(container::run::COMMAND.flags.iter().any(|flag| flag.name == name), "--{name}");
    }
}
