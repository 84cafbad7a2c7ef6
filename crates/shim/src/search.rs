//! Finds the command: by `PATH` of the container's environment, as Go's LookPath does for runc.
//!
//! Never: runs anything.

use crate::{
    protocol::Stage,
    report::{At, Failure, Outcome},
};
use minke_linux::process;
use std::ffi::CString;

/// The path to exec: `name` itself when it has a slash, else the first executable of that name in `PATH`.
pub(crate) fn find(name: &str, env: &[String]) -> Outcome<String> {
    if name.contains('/') {
        return check(name).map(|()| name.to_owned());
    }
    // The last of several wins, as with setenv.
    let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or("");
    let candidates = path
        .split(':')
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| format!("{}/{name}", dir.trim_end_matches('/')));
    let missing = Failure { stage: Stage::Exec, errno: libc::ENOENT, detail: name.into() };
    if name.is_empty() {
        return Err(missing);
    }
    { candidates }.find(|c| check(c).is_ok()).ok_or(missing)
}

/// Whether it is a file that may be executed.
fn check(path: &str) -> Outcome<()> {
    let stat = rustix::fs::stat(path).at(Stage::Exec, path)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Failure { stage: Stage::Exec, errno: libc::EISDIR, detail: path.into() });
    }
    let name = CString::new(path).map_err(|_| Failure {
        stage: Stage::Exec,
        errno: libc::EINVAL,
        detail: path.into(),
    })?;
    process::may_execute(&name).at(Stage::Exec, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(path: &str) -> Vec<String> {
        vec!["PATH=/nowhere".into(), format!("PATH={path}")]
    }

    #[test]
    fn a_name_is_searched_in_the_last_path() {
        assert_eq!(find("sh", &env("/nowhere:/bin")).unwrap(), "/bin/sh");
    }

    #[test]
    fn relative_directories_in_the_path_are_passed_over() {
        assert_eq!(find("Cargo.toml", &env("src:.:")).unwrap_err().errno, libc::ENOENT);
    }

    #[test]
    fn a_directory_or_a_plain_file_is_no_program() {
        assert_eq!(find("/etc", &[]).unwrap_err().errno, libc::EISDIR);
        assert_eq!(find("/etc/passwd", &[]).unwrap_err().errno, libc::EACCES);
        assert_eq!(find("/no/such", &[]).unwrap_err().errno, libc::ENOENT);
        assert_eq!(find("passwd", &env("/etc")).unwrap_err().errno, libc::ENOENT);
    }
}
