//! Users and groups by the files of the container's root: bounded, parsed here.
//!
//! Never: getpwnam or anything that loads code from inside a container (CVE-2019-14271).

use crate::protocol::Stage;
use crate::report::{Failure, Outcome};
use minke_linux::mount;
use rustix::fs::OFlags;
use std::{
    io::{Read, Take},
    os::fd::BorrowedFd,
};

/// The most bytes of a user or group file that are read.
const MAX_FILE: u64 = 8 << 20;
/// The highest id that Docker takes.
const MAX_ID: u32 = 0x7fff_ffff;

/// A user with groups and home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All groups: the first is `gid`.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// Finds `spec` (`user[:group]`, names or numbers, empty is root) and `extra` groups in the files of `root`.
pub(crate) fn find(root: BorrowedFd<'_>, spec: &str, extra: &[String]) -> Outcome<User> {
    look_up(&read(root, "/etc/passwd"), &read(root, "/etc/group"), spec, extra)
}

/// The same for who gives plans to other runtimes; refused in Docker's words.
pub fn resolve(root: BorrowedFd<'_>, spec: &str, extra: &[String]) -> Result<User, String> {
    find(root, spec, extra).map_err(|failure| failure.detail)
}

/// The ids of a user and its group (`user[:group]`) by the files of `root`; an error in Docker's words.
pub fn ids(root: BorrowedFd<'_>, spec: &str) -> Result<(u32, u32), String> {
    find(root, spec, &[]).map(|user| (user.uid, user.gid)).map_err(|failure| failure.detail)
}

/// A file of `root`; what is missing, odd (a FIFO, a device) or not readable is as empty.
fn read(root: BorrowedFd<'_>, path: &str) -> String {
    let mut text = Vec::new();
    // NONBLOCK: a FIFO in its place must not hold the start.
    if let Ok(fd) = mount::open_in_root(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        let regular = rustix::fs::fstat(&fd).is_ok_and(|s| s.st_mode & libc::S_IFMT == libc::S_IFREG);
        if regular {
            let file: Take<std::fs::File> = std::fs::File::from(fd).take(MAX_FILE);
            let _ = { file }.read_to_end(&mut text);
        }
    }
    match String::from_utf8(text) {
        Ok(text) => text,
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    }
}

fn refuse(text: String) -> Failure {
    Failure { stage: Stage::User, errno: 0, detail: text }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn in_range(id: i64) -> Outcome<u32> {
    u32::try_from(id)
        .ok()
        .filter(|id| *id <= MAX_ID)
        .ok_or_else(|| refuse(format!("uids and gids must be in range 0-{MAX_ID}")))
}

/// A line of the user file: name, uid, gid, home.
fn users(text: &str) -> impl Iterator<Item = (&str, u32, u32, &str)> {
    text.lines().filter(|l| !l.starts_with('#')).filter_map(|line| {
        let mut parts = line.trim().split(':');
        let (name, _, uid, gid) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some((name, uid.parse().ok()?, gid.parse().ok()?, parts.nth(1).unwrap_or("")))
    })
}

/// A line of the group file: name, gid, members.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter(|l| !l.starts_with('#')).filter_map(|line| {
        let mut parts = line.trim().split(':');
        let (name, _, gid) = (parts.next()?, parts.next()?, parts.next()?);
        Some((name, gid.parse().ok()?, parts.next().unwrap_or("")))
    })
}

/// The rules are Docker's (moby/sys user.GetExecUser): a number is always an id, also when a name of digits exists; the
/// first entry that fits wins; a named group replaces the user's groups.
fn look_up(passwd: &str, group: &str, spec: &str, extra: &[String]) -> Outcome<User> {
    let (user_arg, group_arg) = spec.split_once(':').unwrap_or((spec, ""));
    let user_id = number(user_arg);
    let mut found = User { home: "/".into(), ..Default::default() };
    let mut name = "";
    let entry = users(passwd).find(|(n, uid, ..)| match (user_arg, user_id) {
        ("", _) => *uid == 0,
        (_, Some(id)) => i64::from(*uid) == id,
        _ => *n == user_arg,
    });
    match (entry, user_id) {
        (Some((n, uid, gid, home)), _) => {
            name = n;
            found = User {
                uid,
                gid,
                groups: Vec::new(),
                home: if home.is_empty() { "/".into() } else { home.into() },
            };
        }
        (None, Some(id)) => found.uid = in_range(id)?,
        (None, None) if user_arg.is_empty() => {}
        (None, None) => {
            return Err(refuse(format!(
                "unable to find user {user_arg}: no matching entries in passwd file"
            )));
        }
    }
    let mut more: Vec<u32> = Vec::new();
    if !group_arg.is_empty() {
        let id = number(group_arg);
        let entry = groups(group).find(|(n, gid, _)| id.map_or(*n == group_arg, |id| i64::from(*gid) == id));
        found.gid = match (entry, id) {
            (Some((_, gid, _)), _) => gid,
            (None, Some(id)) => in_range(id)?,
            (None, None) => {
                return Err(refuse(format!(
                    "unable to find group {group_arg}: no matching entries in group file"
                )));
            }
        };
    } else if !name.is_empty() {
        more.extend(
            groups(group)
                .filter(|(_, _, members)| members.split(',').any(|m| m.trim() == name))
                .map(|(_, gid, _)| gid),
        );
    }
    for wanted in extra {
        let id = number(wanted);
        let entry =
            groups(group).find(|(n, gid, _)| *n == wanted || id.is_some_and(|id| i64::from(*gid) == id));
        more.push(match (entry, id) {
            (Some((_, gid, _)), _) => gid,
            (None, Some(id)) => in_range(id)?,
            (None, None) => {
                return Err(refuse(format!(
                    "unable to find group {wanted}: no matching entries in group file"
                )));
            }
        });
    }
    // The group of the process is among its supplementary groups too (CVE-2022-36109).
    found.groups.push(found.gid);
    for gid in more {
        if !found.groups.contains(&gid) {
            found.groups.push(gid);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:33::/srv/web:/bin/sh\n1000:x:5:5::/five:\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nlogs:x:4:web,other\nextra:x:77:other\n";

    fn find(spec: &str, extra: &[&str]) -> Outcome<User> {
        look_up(PASSWD, GROUP, spec, &extra.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_brings_its_groups_and_home() {
        assert_eq!(
            find("web", &[]).unwrap(),
            User { uid: 33, gid: 33, groups: vec![33, 4], home: "/srv/web".into() }
        );
    }

    #[test]
    fn nothing_is_root() {
        assert_eq!(find("", &[]).unwrap(), User { uid: 0, gid: 0, groups: vec![0], home: "/root".into() });
    }

    #[test]
    fn an_image_without_user_files_still_has_numbers() {
        let user = look_up("", "", "1000:1001", &[]).unwrap();
        assert_eq!(user, User { uid: 1000, gid: 1001, groups: vec![1001], home: "/".into() });
        assert_eq!(look_up("", "", "", &[]).unwrap().home, "/");
    }

    #[test]
    fn digits_are_ids_even_where_a_name_of_digits_exists() {
        let user = find("1000", &[]).unwrap();
        assert_eq!((user.uid, user.gid), (1000, 0));
    }

    #[test]
    fn a_named_group_replaces_the_users_groups() {
        assert_eq!(find("web:extra", &[]).unwrap().groups, vec![77]);
    }

    #[test]
    fn extra_groups_are_added_once() {
        assert_eq!(find("web", &["extra", "4", "99"]).unwrap().groups, vec![33, 4, 77, 99]);
    }

    #[test]
    fn what_is_unknown_is_told_in_dockers_words() {
        let text = |r: Outcome<User>| r.unwrap_err().detail;
        assert_eq!(
            text(find("nobody", &[])),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert_eq!(
            text(find("web:none", &[])),
            "unable to find group none: no matching entries in group file"
        );
        assert_eq!(
            text(find("web", &["none"])),
            "unable to find group none: no matching entries in group file"
        );
        assert_eq!(text(find("4294967296", &[])), "uids and gids must be in range 0-2147483647");
        assert_eq!(text(find("-1", &[])), "uids and gids must be in range 0-2147483647");
    }
}
