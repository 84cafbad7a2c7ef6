//! Go: modules, with or without a vendor directory (pure).

use super::{
    DetectError, Detected,
    recipe::{End, Recipe, Start},
    sources::{Sources, file_name, port_in},
    version::{self, Version},
};

const DEFAULT: &str = "1.26";

/// Directories whose files programs read when they run.
const READ: [&str; 9] =
    ["templates", "static", "public", "views", "assets", "web", "migrations", "locales", "config"];

/// Packages that call C.
const CGO: [&str; 3] =
    ["github.com/mattn/go-sqlite3", "github.com/confluentinc/confluent-kafka-go", "gocv.io/x/gocv"];

pub(super) fn is(sources: &Sources<'_>) -> bool {
    sources.has("go.mod")
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("Go");
    let module = sources.text("go.mod");
    let name = module.lines().find_map(|line| line.trim().strip_prefix("module ")).unwrap_or_default();
    recipe.because(format!("go.mod: Go, module {}", name.trim()));
    let version = version(sources, &module);
    recipe.because(version.because);
    let Some(program) = program(sources, name.trim()) else {
        return Err(DetectError::Incomplete {
            language: "Go",
            missing: "it has no package main at its top or in cmd/*".into(),
            way_out: "name the directory of the program",
        });
    };
    recipe.because(format!("package main in {program}"));
    let cgo = CGO.iter().any(|package| module.contains(package));
    if cgo {
        recipe.because("a package calls C: the program links to the system's C library");
    }
    recipe.argument("GO_VERSION", version.tag);
    recipe.ignore(&["bin", "*.test"]);

    // Programs without C are built on this machine for the other, natively and fast.
    match cgo {
        true => recipe.stage("golang:${GO_VERSION}-trixie AS build"),
        false => {
            recipe.stage("--platform=$BUILDPLATFORM golang:${GO_VERSION}-trixie AS build");
            recipe.line("ARG TARGETOS TARGETARCH");
        }
    }
    recipe.line("WORKDIR /src");
    if !sources.has_dir("vendor") {
        let sum = if sources.has("go.sum") { " go.sum" } else { "" };
        recipe.line(format!("COPY go.mod{sum} ./"));
        recipe.run(&["/go/pkg/mod"], "go mod download");
    }
    recipe.line("COPY . .");
    let environment = if cgo { "CGO_ENABLED=1" } else { "CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH" };
    recipe.run(
        &["/go/pkg/mod", "/root/.cache/go-build"],
        format!("{environment} go build -trimpath -ldflags='-s -w' -o /out/app {program}"),
    );

    recipe.stage("debian:trixie-slim");
    recipe.user();
    recipe.line("COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/");
    recipe.line("COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /usr/share/zoneinfo.zip");
    recipe.line("ENV ZONEINFO=/usr/share/zoneinfo.zip");
    recipe.line("WORKDIR /app");
    recipe.line("COPY --from=build /out/app /usr/local/bin/app");
    for directory in READ.into_iter().filter(|dir| sources.has_dir(dir)) {
        recipe.line(format!("COPY {directory} ./{directory}"));
    }
    let port = port(sources, &module);
    Ok(recipe.finish(sources, End { user: "app", port, start: Start::exec(&["app"]) }))
}

fn version(sources: &Sources<'_>, module: &str) -> Version {
    let said = |key: &str| {
        let line = module.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(' '));
        line.and_then(version::exact)
    };
    if let Some(tag) = sources.line(".go-version").and_then(|line| version::exact(&line)) {
        return Version::said(tag, "Go", ".go-version");
    }
    match said("toolchain").or_else(|| said("go")) {
        Some(tag) => Version::said(tag, "Go", "go.mod"),
        None => Version::default(DEFAULT, "Go", "go.mod"),
    }
}

fn is_main(sources: &Sources<'_>, path: &str) -> bool {
    let text = sources.text(path);
    text.lines().any(|line| line.split("//").next().is_some_and(|code| code.trim() == "package main"))
}

/// The package to build: `.` or `./cmd/name`.
fn program(sources: &Sources<'_>, module: &str) -> Option<String> {
    let source = |path: &str| path.ends_with(".go") && !path.ends_with("_test.go");
    let top = sources.find(|path| !path.contains('/') && source(path));
    if top.iter().any(|path| is_main(sources, path)) {
        return Some(".".into());
    }
    let in_cmd =
        sources.find(|path| path.starts_with("cmd/") && path.matches('/').count() <= 2 && source(path));
    let mut programs: Vec<&str> = in_cmd
        .into_iter()
        .filter(|path| is_main(sources, path))
        .filter_map(|path| path.rsplit_once('/').map(|(directory, _)| directory))
        .collect();
    programs.dedup();
    let last = module.rsplit('/').find(|part| !is_major(part)).unwrap_or_default();
    let wanted = [last, "server", "web", "api", "app"];
    let best = wanted.iter().find_map(|name| programs.iter().find(|p| file_name(p) == *name));
    best.or(programs.first()).map(|path| format!("./{path}"))
}

/// `v2`, the end of a module's path.
fn is_major(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn port(sources: &Sources<'_>, module: &str) -> Option<u16> {
    let frameworks = ["gin-gonic/gin", "labstack/echo", "gofiber/fiber", "go-chi/chi", "gorilla/mux"];
    let files = sources.find(|path| path.ends_with(".go") && !path.ends_with("_test.go"));
    let texts: Vec<String> = files.into_iter().take(200).map(|path| sources.text(path)).collect();
    let serves = |text: &String| text.contains("ListenAndServe") || text.contains("net.Listen(");
    let server = texts.iter().find(|text| serves(text));
    let framework = frameworks.iter().any(|name| module.contains(name));
    let said = || server.into_iter().chain(&texts).find_map(|text| port_in(text));
    (server.is_some() || framework).then(|| said().unwrap_or(8080))
}
