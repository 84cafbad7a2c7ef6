//! What all that is copied gets: owner, mode, times.

use crate::build::view::{kind, open_in};
use minke_build::{Result, plan::Mode as Chmod};
use rustix::fs::{FileType, OFlags, Stat, Timespec, Timestamps};
use std::{fs::File, io::Read, os::fd::BorrowedFd, path::Path};

/// Largest file of users that is read.
const MAX_USERS: u64 = 8 << 20;

/// What all that is copied gets.
pub(super) struct Rules {
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<Chmod>,
    pub(super) epoch: Option<i64>,
}

impl Rules {
    pub(super) fn times(&self, stat: &Stat) -> Timestamps {
        let time = match self.epoch {
            Some(seconds) => Timespec { tv_sec: seconds, tv_nsec: 0 },
            None => Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
        };
        Timestamps { last_access: time, last_modification: time }
    }

    pub(super) fn mode(&self, stat: &Stat) -> u32 {
        match &self.mode {
            None => stat.st_mode & 0o7777,
            Some(Chmod::Octal(bits)) => *bits,
            Some(Chmod::Symbolic(text)) => symbolic(text, stat.st_mode),
        }
    }

    /// The mode of directories that are made on the way: an octal one counts for them as well, as in BuildKit.
    pub(super) fn made(&self) -> u32 {
        match self.mode {
            Some(Chmod::Octal(bits)) => bits,
            Some(Chmod::Symbolic(_)) | None => 0o755,
        }
    }

    pub(super) fn owner(&self, stat: &Stat) -> (u32, u32) {
        self.owner.unwrap_or((stat.st_uid, stat.st_gid))
    }

    /// Nothing of a file would change.
    pub(super) fn leaves(&self, stat: &Stat) -> bool {
        self.epoch.is_none()
            && self.owner(stat) == (stat.st_uid, stat.st_gid)
            && self.mode(stat) == stat.st_mode & 0o7777
    }
}

/// Permission bits by chmod(1)'s words, which were checked before (POSIX chmod).
pub(super) fn symbolic(text: &str, st_mode: u32) -> u32 {
    let mut mode = st_mode & 0o7777;
    let is_dir = st_mode & 0o170000 == 0o040000;
    for clause in text.split(',') {
        let end = clause.find(['+', '-', '=']).unwrap_or(clause.len());
        let (who, mut actions) = clause.split_at(end);
        let all = who.is_empty() || who.contains('a');
        let mask = |letter, bits| if all || who.contains(letter) { bits } else { 0 };
        let reach = mask('u', 0o4700) | mask('g', 0o2070) | mask('o', 0o1007);
        while let Some(operator) = actions.chars().next() {
            let rest = &actions[1..];
            let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
            let (letters, further) = rest.split_at(end);
            let mut bits = 0;
            for letter in letters.chars() {
                bits |= match letter {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_dir || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => spread(mode >> 6),
                    'g' => spread(mode >> 3),
                    'o' => spread(mode),
                    _ => 0,
                };
            }
            let bits = bits & reach;
            mode = match operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => (mode & !(reach & 0o777)) | bits,
            };
            actions = further;
        }
    }
    mode
}

/// Three bits for everyone.
fn spread(bits: u32) -> u32 {
    (bits & 7) * 0o111
}

/// `user[:group]` by the files of a tree. A name that is not there is root, as in BuildKit.
pub(super) fn ids(root: BorrowedFd<'_>, owner: &str) -> Result<(u32, u32)> {
    let (user, group) = owner.split_once(':').map_or((owner, ""), |(user, group)| (user, group));
    let lines = |path: &str| -> String {
        let mut text = Vec::new();
        if let Ok(fd) = open_in(root, Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
            && rustix::fs::fstat(&fd).is_ok_and(|stat| kind(&stat) == FileType::RegularFile)
        {
            // What cannot be read has no names.
            let _ = File::from(fd).take(MAX_USERS).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    let field = |text: &str, name: &str, number: usize| -> Option<u32> {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(number)?.parse().ok()
    };
    let (mut uid, mut gid) = (0, 0);
    match user.parse::<u32>() {
        _ if user.is_empty() => {}
        Ok(id) => (uid, gid) = (id, id),
        Err(_) => {
            let users = lines("etc/passwd");
            if let Some(id) = field(&users, user, 2) {
                (uid, gid) = (id, field(&users, user, 3).unwrap_or(0));
            }
        }
    }
    match group.parse::<u32>() {
        _ if group.is_empty() => {}
        Ok(id) => gid = id,
        Err(_) => gid = field(&lines("etc/group"), group, 2).unwrap_or(gid),
    }
    Ok((uid, gid))
}
