//! `cp` both ways: tars out of and into a container's root.

use super::Containers;
use crate::{Error, body, body::Body, error::Result};
use minke_image::{ImageError, tree};
use minke_model::{Timestamp, go::clean_rooted, mount::MountKind};

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Kind and permissions, as `st_mode`.
    pub mode: u32,
    /// Last change of its content.
    pub mtime: Timestamp,
    /// Where a symbolic link leads, inside the container; empty for others.
    pub link_target: String,
}

/// How to extract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// A directory does not replace a file, nor a file a directory.
    pub no_overwrite_dir_non_dir: bool,
    /// All belongs to the container's user, whatever the tar says.
    pub copy_uid_gid: bool,
}

impl Containers {
    /// What lies at `path`.
    pub async fn archive_stat(&self, name: &str, path: &str) -> Result<PathStat> {
        let cell = self.find(name)?;
        let (asked, wanted, holder) = (path.to_owned(), absolute(path), name.to_owned());
        self.with_root(&cell, move |root| stat(root, &wanted).map_err(missing(&asked, &holder))).await
    }

    /// What lies at `path`, and a tar of it.
    pub async fn archive_get(&self, name: &str, path: &str) -> Result<(PathStat, Body)> {
        let cell = self.find(name)?;
        let stat = self.archive_stat(name, path).await?;
        let (mut writer, body) = body::channel();
        let (containers, wanted) = (self.clone(), absolute(path));
        tokio::spawn(async move {
            let written = containers
                .with_root(&cell, move |root| {
                    let written = tree::write_tar(
                        root,
                        &wanted,
                        &mut writer,
                        &tree::WriteOptions { named: true, ..Default::default() },
                    );
                    writer.finish(written.map_err(std::io::Error::other));
                    Ok(())
                })
                .await;
            if let Err(e) = written {
                tracing::warn!("cannot read a tar out of container {}: {e}", cell.id);
            }
        });
        Ok((stat, body))
    }

    /// Extracts a tar in the directory `path`.
    pub async fn archive_put(&self, name: &str, path: &str, tar: Body, options: PutOptions) -> Result<()> {
        let cell = self.find(name)?;
        let record = cell.record();
        let wanted = absolute(path);
        let below = |mount: &str| wanted == mount || wanted.starts_with(&format!("{mount}/"));
        let in_mount =
            record.mounts.iter().filter(|m| below(&m.destination)).max_by_key(|m| m.destination.len());
        match in_mount {
            Some(mount) if !mount.writable => {
                return Err(Error::Forbidden("mounted volume is marked read-only".into()));
            }
            Some(mount) if mount.kind == MountKind::Tmpfs => {}
            None if record.spec.security.readonly_rootfs => {
                return Err(Error::Forbidden("container rootfs is marked read-only".into()));
            }
            _ => {}
        }
        let (asked, holder, user) = (path.to_owned(), name.to_owned(), record.spec.process.user.clone());
        let extracted = self
            .with_root(&cell, move |root| {
                let at = stat(root, &wanted).map_err(missing(&asked, &holder))?;
                let resolved = resolve(root, &wanted, &at)?;
                // Without a user of its own, a container's files keep whom they belonged to.
                let owner = match options.copy_uid_gid && !user.is_empty() {
                    true => Some(minke_runtime::user_ids(root, &user).map_err(Error::Invalid)?),
                    false => None,
                };
                let rules = tree::ExtractOptions {
                    owner,
                    no_overwrite_dir_non_dir: options.no_overwrite_dir_non_dir,
                    ..Default::default()
                };
                tree::extract(root, &resolved, tar, &rules).map_err(|e| match e {
                    ImageError::Tar { entry, .. } if entry.is_empty() => {
                        Error::Internal("archive/tar: invalid tar header".into())
                    }
                    other => other.into(),
                })
            })
            .await;
        extracted?;
        self.tell(&record, "extract-to-dir", &[("path", path.to_owned())]);
        Ok(())
    }
}

/// The path from the root on. A dot at its end stands for what is in a directory, a slash for the directory itself, not for
/// a link to it (Go's `filepath.Base` and moby's `archive.PreserveTrailingDotOrSeparator`).
fn absolute(path: &str) -> String {
    let cleaned = clean_rooted(path);
    let last = path.trim_end_matches('/').rsplit('/').next();
    let content = path.is_empty() || last == Some(".");
    match cleaned.as_str() {
        "/" if content => "/.".to_owned(),
        "/" => cleaned,
        _ if content => format!("{cleaned}/."),
        _ if path.ends_with('/') => format!("{cleaned}/"),
        _ => cleaned,
    }
}

fn stat(root: std::os::fd::BorrowedFd<'_>, path: &str) -> std::result::Result<PathStat, ImageError> {
    let found = tree::stat(root, path)?;
    Ok(PathStat {
        name: found.name,
        size: found.size,
        mode: found.mode,
        mtime: found.mtime,
        link_target: found.link_target,
    })
}

/// The directory that a link leads to; what is no directory is refused.
fn resolve(root: std::os::fd::BorrowedFd<'_>, path: &str, at: &PathStat) -> Result<String> {
    const KIND: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    const LINK: u32 = 0o120_000;
    match at.mode & KIND {
        DIRECTORY => Ok(path.to_owned()),
        LINK => {
            let target = stat(root, &format!("{}/.", at.link_target))?;
            if target.mode & KIND == DIRECTORY {
                Ok(at.link_target.clone())
            } else {
                Err(Error::Invalid("extraction point is not a directory".into()))
            }
        }
        _ => Err(Error::Invalid("extraction point is not a directory".into())),
    }
}

/// Docker's sentence for a path that is not there.
fn missing<'a>(path: &'a str, container: &'a str) -> impl FnOnce(ImageError) -> Error + 'a {
    move |e| match e {
        ImageError::NoSuchPath { .. } => {
            Error::NotFound(format!("Could not find the file {path} in container {container}"))
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn a_dot_asks_for_what_is_in_it_and_a_slash_for_the_directory() {
        for (path, want) in [
            ("/", "/"),
            (".", "/."),
            ("./", "/."),
            ("/./", "/."),
            ("", "/."),
            ("srv", "/srv"),
            ("/srv//d/", "/srv/d/"),
            ("srv/d/.", "/srv/d/."),
            ("/srv/../etc/./", "/etc/."),
        ] {
            assert_eq!(absolute(path), want, "{path:?}");
        }
    }
}
