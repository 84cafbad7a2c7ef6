//! Rust: a package or a workspace with Cargo (pure).

use super::{
    DetectError, Detected,
    recipe::{End, Recipe, Start},
    sources::{Sources, file_name, has_word, port_in},
    version::{self, Version},
};

/// Packages that serve.
const SERVERS: [&str; 8] = ["axum", "actix-web", "rocket", "warp", "hyper", "tide", "poem", "salvo"];

/// Directories whose files programs read when they run.
const READ: [&str; 8] =
    ["templates", "static", "public", "assets", "migrations", "config", "Rocket.toml", "locales"];

pub(super) fn is(sources: &Sources<'_>) -> bool {
    sources.has("Cargo.toml")
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("Rust");
    let locked = sources.has("Cargo.lock");
    recipe.because(match locked {
        true => "Cargo.toml and Cargo.lock: Rust with Cargo",
        false => "Cargo.toml without Cargo.lock: Rust with Cargo, packages not pinned",
    });
    let version = version(sources);
    recipe.because(version.because);
    let Some(program) = program(sources) else {
        return Err(DetectError::Incomplete {
            language: "Rust",
            missing: "no package of it has a program: no [[bin]], no src/main.rs, no src/bin/*.rs".into(),
            way_out: "name the directory of the package that has one",
        });
    };
    recipe.because(format!("the program {} of {}", program.name, program.manifest));
    recipe.argument("RUST_VERSION", version.tag);
    recipe.ignore(&["target"]);

    recipe.stage("rust:${RUST_VERSION}-trixie AS build");
    recipe.line("WORKDIR /src");
    recipe.line("COPY . .");
    let lock = if locked { " --locked" } else { "" };
    // The directory of results is a cache: what is to stay is copied out of it.
    recipe.run(
        &["/usr/local/cargo/registry", "/usr/local/cargo/git", "/src/target"],
        format!(
            "cargo build --release{lock} --bin {name} && install -D target/release/{name} /out/{name}",
            name = program.name
        ),
    );

    recipe.stage("debian:trixie-slim");
    if has_word(&sources.text("Cargo.lock"), "openssl-sys")
        || has_word(&sources.text("Cargo.toml"), "openssl")
    {
        recipe.because("it uses OpenSSL");
        recipe.run(
            &[],
            "apt-get update && apt-get install -y --no-install-recommends libssl3t64 && rm -rf /var/lib/apt/lists/*",
        );
    }
    recipe.user();
    recipe.line("COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/");
    recipe.line("WORKDIR /app");
    recipe.line(format!("COPY --from=build /out/{name} /usr/local/bin/{name}", name = program.name));
    for name in READ.into_iter().filter(|name| sources.has_dir(name) || sources.has(name)) {
        recipe.line(format!("COPY {name} ./{name}"));
    }
    if sources.has("Rocket.toml") || has_word(&program.text, "rocket") {
        recipe.line("ENV ROCKET_ADDRESS=0.0.0.0");
    }
    let main = sources.text(&program.source);
    let serves =
        SERVERS.iter().any(|server| has_word(&program.text, server)) || main.contains("TcpListener::bind");
    let port = serves.then(|| port_in(&main).unwrap_or(8080));
    Ok(recipe.finish(sources, End { user: "app", port, start: Start::exec(&[&program.name]) }))
}

fn version(sources: &Sources<'_>) -> Version {
    for file in ["rust-toolchain.toml", "rust-toolchain"] {
        let text = sources.text(file);
        let table = text.parse::<toml::Table>().unwrap_or_default();
        let channel = table.get("toolchain").and_then(|t| t.get("channel")).and_then(toml::Value::as_str);
        let channel = channel.unwrap_or(text.trim());
        match channel {
            "" | "stable" => {}
            // rustup in the image fetches what the file asks for.
            _ if channel.starts_with("nightly") || channel.starts_with("beta") => {
                let because = format!("Rust {channel}, said by {file}: fetched by rustup");
                return Version { tag: "1".into(), because };
            }
            _ => {
                if let Some(tag) = version::exact(channel) {
                    return Version::said(tag, "Rust", file);
                }
            }
        }
    }
    // `rust-version` is the oldest that will do: the newest does too.
    Version::default("1", "Rust", "rust-toolchain.toml")
}

/// A program of a package.
struct Program {
    name: String,
    manifest: String,
    /// The manifest's text.
    text: String,
    /// Its main source file.
    source: String,
}

fn program(sources: &Sources<'_>) -> Option<Program> {
    let manifests = sources.find(|path| {
        file_name(path) == "Cargo.toml" && path.matches('/').count() <= 3 && !path.starts_with("target/")
    });
    let mut all: Vec<Program> =
        manifests.into_iter().take(200).flat_map(|manifest| programs_of(sources, manifest)).collect();
    // What serves is the likeliest of several in a workspace.
    let top = all.iter().position(|p| p.manifest == "Cargo.toml");
    let serves = || all.iter().position(|p| SERVERS.iter().any(|server| has_word(&p.text, server)));
    let at = top.or_else(serves).unwrap_or(0);
    (at < all.len()).then(|| all.swap_remove(at))
}

/// The programs of one manifest, its default first.
fn programs_of(sources: &Sources<'_>, manifest: &str) -> Vec<Program> {
    let text = sources.text(manifest);
    let table = text.parse::<toml::Table>().unwrap_or_default();
    let Some(package) = table.get("package") else { return Vec::new() };
    let Some(name) = package.get("name").and_then(toml::Value::as_str) else { return Vec::new() };
    let directory = manifest.trim_end_matches("Cargo.toml");
    let mut programs: Vec<(String, String)> = Vec::new();
    for bin in table.get("bin").and_then(toml::Value::as_array).into_iter().flatten() {
        let Some(bin_name) = bin.get("name").and_then(toml::Value::as_str) else { continue };
        let path = bin.get("path").and_then(toml::Value::as_str).unwrap_or("src/main.rs");
        programs.push((bin_name.to_owned(), format!("{directory}{path}")));
    }
    let main = format!("{directory}src/main.rs");
    if sources.has(&main) && !programs.iter().any(|(_, path)| *path == main) {
        programs.push((name.to_owned(), main));
    }
    let bins = format!("{directory}src/bin/");
    for path in sources.find(|path| path.starts_with(&bins) && path.ends_with(".rs")) {
        let rest = &path[bins.len()..];
        let bin_name = rest.strip_suffix("/main.rs").or(rest.strip_suffix(".rs")).unwrap_or(rest);
        if !bin_name.contains('/') && !programs.iter().any(|(known, _)| known == bin_name) {
            programs.push((bin_name.to_owned(), path.to_owned()));
        }
    }
    let default = package.get("default-run").and_then(toml::Value::as_str).unwrap_or(name);
    programs.sort_by_key(|(bin_name, _)| bin_name != default);
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    programs
        .into_iter()
        .filter(|(bin_name, _)| plain(bin_name))
        .map(|(name, source)| Program { name, manifest: manifest.to_owned(), text: text.clone(), source })
        .collect()
}
