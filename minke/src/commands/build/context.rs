//! Where a build's files are: a directory, a stream on stdin, or somewhere that the daemon fetches from.

use super::{source::Source, wish::Wish};
use crate::{cli::Failure, commands::go_error};
use minke_engine::build::{detect, detect::Detected, git};
use std::{
    fs,
    io::{self, Cursor, Read, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The largest Dockerfile, bytes.
const MOST_DOCKERFILE: u64 = 4 << 20;

/// Where the files are.
pub(super) enum Context {
    /// Here.
    Directory(PathBuf),
    /// A tar that comes on stdin.
    Tar(Box<dyn Read + Send>),
    /// Elsewhere; the daemon fetches it.
    Remote(String),
    /// There are none.
    Empty,
}

/// Where the Dockerfile is.
pub(super) enum Dockerfile {
    /// In a directory of ours.
    Directory(PathBuf),
    /// In a directory made for it, which goes with this.
    Made(Made),
    /// In the context, wherever that is.
    Context,
}

/// Both, and what the Dockerfile is called.
pub(super) struct Found {
    pub(super) context: Context,
    pub(super) dockerfile: Dockerfile,
    pub(super) file: String,
    /// It was written for the source.
    pub(super) detected: Option<Detected>,
}

/// A directory for a Dockerfile that is in none; only we may read it.
pub(super) struct Made(PathBuf);

impl Made {
    fn new(files: &[(&str, &[u8])]) -> io::Result<Self> {
        let mut bytes = [0; 8];
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let name = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let path = std::env::temp_dir().join(format!("minke-build-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let made = Self(path);
        for (name, bytes) in files {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(made.0.join(name))?;
            file.write_all(bytes)?;
        }
        Ok(made)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // In the system's own place for what may stay behind.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> Failure {
    let what = what.to_owned();
    move |error| Failure::new(format!("{what}: {}", go_error(&error)))
}

fn made(files: &[(&str, &[u8])]) -> Result<Dockerfile, Failure> {
    Made::new(files).map(Dockerfile::Made).map_err(failed("cannot keep the Dockerfile"))
}

/// Whether the daemon has to fetch it.
fn is_remote(context: &str) -> bool {
    context.starts_with("http://")
        || context.starts_with("https://")
        || git::parse(context).is_some_and(|url| {
            // `github.com/a/b` may be a directory as well.
            url.is_ok_and(|url| !url.like_a_path || !Path::new(context).exists())
        })
}

/// Finds both.
pub(super) fn find(wish: &Wish) -> Result<Found, Failure> {
    let named = if wish.file.is_empty() { "Dockerfile" } else { &wish.file };
    let found = |context, dockerfile, file: &str| Found {
        context,
        dockerfile,
        file: file.to_owned(),
        detected: None,
    };
    if let Some(text) = &wish.inline {
        let context = match wish.context.as_str() {
            remote if is_remote(remote) => Context::Remote(remote.to_owned()),
            directory => Context::Directory(existing(directory)?),
        };
        return Ok(found(context, made(&[("Dockerfile", text.as_bytes())])?, "Dockerfile"));
    }
    if wish.context == "-" {
        if wish.file == "-" {
            return Err(Failure::new(
                "invalid argument: can't use stdin for both build context and dockerfile",
            ));
        }
        let mut stdin = crate::stream::terminal::stdin()?;
        if rustix::termios::isatty(&stdin) {
            return Err(Failure::new(
                "a build context on stdin is a tar or a Dockerfile: stdin is a terminal",
            ));
        }
        let mut head = Vec::new();
        (&mut stdin).take(1024).read_to_end(&mut head)?;
        if head.is_empty() {
            return Err(Failure::new("failed to read Dockerfile from STDIN, or empty dockerfile provided"));
        }
        if is_tar(&head) {
            let tar = Box::new(Cursor::new(head).chain(stdin));
            return Ok(found(Context::Tar(tar), Dockerfile::Context, named));
        }
        if !wish.file.is_empty() {
            return Err(Failure::new(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
            ));
        }
        stdin.take(MOST_DOCKERFILE).read_to_end(&mut head)?;
        return Ok(found(Context::Empty, made(&[("Dockerfile", &head)])?, "Dockerfile"));
    }
    let from_stdin = match wish.file.as_str() {
        "-" => {
            let mut text = Vec::new();
            crate::stream::terminal::stdin()?.take(MOST_DOCKERFILE).read_to_end(&mut text)?;
            Some(made(&[("Dockerfile", &text)])?)
        }
        _ => None,
    };
    if is_remote(&wish.context) {
        let context = Context::Remote(wish.context.clone());
        return Ok(match from_stdin {
            Some(made) => found(context, made, "Dockerfile"),
            None => found(context, Dockerfile::Context, named),
        });
    }
    let root = existing(&wish.context)?;
    if let Some(made) = from_stdin {
        return Ok(found(Context::Directory(root), made, "Dockerfile"));
    }
    let path = match wish.file.as_str() {
        "" => root.join("Dockerfile"),
        // Relative to where we are, as buildx has it; if there is none, to the context.
        file if Path::new(file).exists() => PathBuf::from(file),
        file => root.join(file),
    };
    let lower = root.join("dockerfile");
    let path = if wish.file.is_empty() && !path.exists() && lower.exists() { lower } else { path };
    if path.is_file() {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(found(Context::Directory(root), Dockerfile::Directory(directory.to_owned()), &file));
    }
    if !wish.file.is_empty() {
        return Err(Failure::new(format!(
            "failed to read dockerfile: open {}: no such file or directory",
            wish.file
        )));
    }
    let detected = detect::detect(&Source::list(&root))
        .map_err(|error| Failure::new(format!("there is no Dockerfile in {}, and {error}", wish.context)))?;
    let ignore = detected.ignore.join("\n") + "\n";
    let mut files = vec![("Dockerfile", detected.dockerfile.as_bytes())];
    // Patterns of the user's own count alone.
    if !root.join(".dockerignore").exists() {
        files.push(("Dockerfile.dockerignore", ignore.as_bytes()));
    }
    let dockerfile = made(&files)?;
    Ok(Found {
        context: Context::Directory(root),
        dockerfile,
        file: "Dockerfile".into(),
        detected: Some(detected),
    })
}

/// The Dockerfile's text, where it is here.
pub(super) fn dockerfile_text(found: &Found) -> Result<Vec<u8>, Failure> {
    let directory = match &found.dockerfile {
        Dockerfile::Directory(directory) => directory.as_path(),
        Dockerfile::Made(made) => made.path(),
        Dockerfile::Context => {
            return Err(Failure::new(
                "the Dockerfile is where the context is: the daemon has it once it builds",
            ));
        }
    };
    let path = directory.join(&found.file);
    let mut text = Vec::new();
    let file = fs::File::open(&path).map_err(failed(&format!("open {}", path.display())))?;
    file.take(MOST_DOCKERFILE).read_to_end(&mut text)?;
    Ok(text)
}

fn existing(directory: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(directory);
    match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(path),
        Ok(_) => {
            Err(Failure::new(format!("unable to prepare context: path {directory:?} is not a directory")))
        }
        Err(_) => Err(Failure::new(format!("unable to prepare context: path {directory:?} not found"))),
    }
}

/// Whether what begins so is a tar, compressed or not.
fn is_tar(head: &[u8]) -> bool {
    let magic = [&b"\x1f\x8b"[..], b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    magic.iter().any(|magic| head.starts_with(magic)) || head.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_fetches_is_told_from_directories() {
        for remote in ["https://x/y.tar.gz", "https://x/y.git#main", "git@host:a/b.git", "git://x/y"] {
            assert!(is_remote(remote), "{remote}");
        }
        for local in [".", "./dir", "/a/b", "dir"] {
            assert!(!is_remote(local), "{local}");
        }
    }

    #[test]
    fn a_tar_is_told_from_a_dockerfile() {
        assert!(is_tar(b"\x1f\x8b\x08") && is_tar(b"Dockerfile\0\0"));
        assert!(!is_tar(b"FROM scratch\n"));
    }

    #[test]
    fn what_was_made_goes_away() {
        let made = Made::new(&[("Dockerfile", b"FROM scratch\n")]).unwrap();
        let path = made.path().to_owned();
        assert!(path.join("Dockerfile").exists());
        drop(made);
        assert!(!path.exists());
    }
}
