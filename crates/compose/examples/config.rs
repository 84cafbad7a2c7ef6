//! Prints a project as `docker compose config` does: `config [-f FILE]… [--json|--hash|--tree|--variables] [SERVICE…]`.
//! For comparing the loader with compose's; `minke compose config` is for people.

use minke_compose::{FileError, FileKind, Files, Format, LoadOptions};
use std::process::ExitCode;

/// The files of this machine.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        let size = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => FileError::NotFound,
            _ => FileError::Other(error.to_string()),
        })?;
        match size.len() > limit {
            true => Err(FileError::TooLarge { limit }),
            false => std::fs::read(path).map_err(|error| FileError::Other(error.to_string())),
        }
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let data = std::fs::metadata(path).ok()?;
        Some(if data.is_dir() { FileKind::Directory } else { FileKind::File })
    }

    fn resolve(&self, path: &str) -> Option<String> {
        std::fs::canonicalize(path).ok()?.into_os_string().into_string().ok()
    }
}

fn main() -> ExitCode {
    let mut options = LoadOptions {
        environment: std::env::vars().collect(),
        working_directory: std::env::current_dir()
            .ok()
            .and_then(|path| path.into_os_string().into_string().ok())
            .unwrap_or_default(),
        ..LoadOptions::default()
    };
    let (mut format, mut what) = (Format::Yaml, "");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-f" => options.files.extend(words.next().map(str::to_owned)),
            "--env-file" => options.env_files.extend(words.next().map(str::to_owned)),
            "--profile" => options.profiles.extend(words.next().map(str::to_owned)),
            "-p" => options.project_name = words.next().map(str::to_owned),
            "--no-interpolate" => options.interpolate = false,
            "--no-normalize" => options.normalize = false,
            "--no-path-resolution" => options.resolve_paths = false,
            "--no-consistency" => options.consistency = false,
            "--json" => format = Format::Json,
            "--hash" | "--tree" | "--variables" => what = word,
            service => options.services.push(service.to_owned()),
        }
    }
    let faults = match what {
        "--tree" => {
            options.interpolate = false;
            minke_compose::load_model(&options, &Disk).map(|tree| print!("{}", tree.print(format)))
        }
        "--variables" => {
            options.interpolate = false;
            minke_compose::load_model(&options, &Disk).map(|tree| {
                for variable in minke_compose::variables(&tree.value).values() {
                    println!("{variable:?}");
                }
            })
        }
        _ => {
            options.resolve_environment = what != "--hash";
            minke_compose::load(&options, &Disk).map(|loaded| {
                for warning in &loaded.warnings {
                    eprintln!("warning: {}", warning.report());
                }
                match what {
                    "--hash" => {
                        for (name, service) in &loaded.project.services {
                            println!("{name} {}", minke_compose::service_hash(service));
                        }
                    }
                    _ => print!("{}", loaded.project.print(format)),
                }
            })
        }
    };
    for fault in faults.err().into_iter().flatten() {
        eprintln!("{}", fault.report());
        options.files.clear();
        what = "failed";
    }
    if what == "failed" { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
