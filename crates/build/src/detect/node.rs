//! Node: npm, Yarn and pnpm; programs that run, and pages that are only built (pure).

use super::{
    DetectError, Detected,
    recipe::{End, Recipe, Start},
    sources::{Sources, file_name, port_in},
    static_site,
    version::{self, Version},
};
use serde_json::Value;

/// Lines with long-term support, newest first (github.com/nodejs/release).
const KNOWN: [&str; 4] = ["24", "22", "20", "18"];
const DEFAULT: &str = "24";

/// Files that are started where package.json names none.
const SCRIPTS: [&str; 8] = [
    "server.js",
    "index.js",
    "app.js",
    "main.js",
    "server.mjs",
    "index.mjs",
    "src/index.js",
    "src/server.js",
];

/// Builders whose result is pages alone, and where they leave it.
const PAGES: [(&str, &str); 8] = [
    ("react-scripts", "build"),
    ("@vue/cli-service", "dist"),
    ("@angular/cli", "dist"),
    ("gatsby", "public"),
    ("astro", "dist"),
    ("parcel", "dist"),
    ("@11ty/eleventy", "_site"),
    ("vite", "dist"),
];

/// Packages with a server of their own: what they build is started.
const SERVERS: [&str; 12] = [
    "express",
    "fastify",
    "koa",
    "next",
    "nuxt",
    "@nestjs/core",
    "@hapi/hapi",
    "@remix-run/serve",
    "@sveltejs/adapter-node",
    "@astrojs/node",
    "hono",
    "socket.io",
];

pub(super) fn is(sources: &Sources<'_>) -> bool {
    sources.has("package.json")
}

/// Who installs the packages.
struct Manager {
    name: &'static str,
    /// To be installed first: `pnpm@9.1.0`.
    package: Option<String>,
    cache: &'static str,
    lock: Option<&'static str>,
    install: String,
    /// Leaves only what running needs.
    prune: Option<&'static str>,
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("Node");
    let package: Value =
        serde_json::from_str(&sources.text("package.json")).map_err(|error| DetectError::Incomplete {
            language: "Node",
            missing: format!("package.json cannot be read: {error}"),
            way_out: "correct it",
        })?;
    let manager = manager(sources, &package);
    recipe.because(match manager.lock {
        Some(lock) => format!("package.json and {lock}: packages by {}", manager.name),
        None => format!("package.json without a lock file: packages by {}, not pinned", manager.name),
    });
    let version = version(sources, &package);
    recipe.because(version.because);
    recipe.argument("NODE_VERSION", version.tag);
    recipe.ignore(&["**/node_modules", "**/npm-debug.log", ".next", "coverage"]);

    let script = |name: &str| package["scripts"][name].as_str();
    let built = script("build").is_some();
    let pages = pages(sources, &package, built);
    let start = match pages {
        Some(_) => None,
        None => Some(start(sources, &package, &manager)?),
    };

    recipe.stage("node:${NODE_VERSION}-slim AS build");
    recipe.line("WORKDIR /app");
    bring(sources, &package, &manager, &mut recipe);
    if built {
        recipe.because("package.json has a script build");
        recipe.run(&[manager.cache], format!("{} run build", manager.name));
    }
    if let Some((builder, directory)) = pages {
        recipe.because(format!("{builder} builds pages: {directory} is served by nginx"));
        return Ok(static_site::serve(recipe, sources, &format!("--from=build /app/{directory}")));
    }
    if let Some(prune) = manager.prune {
        recipe.line(format!("RUN {prune}"));
    }

    recipe.stage("node:${NODE_VERSION}-slim");
    recipe.line("ENV NODE_ENV=production HOSTNAME=0.0.0.0");
    recipe.line("WORKDIR /app");
    recipe.line("COPY --from=build --chown=node:node /app ./");
    if let (Some(needed), true) = (&manager.package, script("start").is_some()) {
        recipe.run(&[manager.cache], format!("npm install --global {needed}"));
    }
    let (start, port) = start.unwrap_or_else(|| (Start::exec(&["npm", "start"]), None));
    Ok(recipe.finish(sources, End { user: "node", port, start }))
}

fn depends(package: &Value, name: &str) -> bool {
    ["dependencies", "devDependencies"].iter().any(|kind| !package[*kind][name].is_null())
}

fn manager(sources: &Sources<'_>, package: &Value) -> Manager {
    let said = package["packageManager"].as_str().unwrap_or_default();
    // `pnpm@9.1.0+sha512.…`
    let pinned = |name: &str, default: &str| {
        let version = said.strip_prefix(name).and_then(|rest| rest.strip_prefix('@'));
        let version = version.and_then(|v| v.split('+').next()).filter(|v| !v.is_empty()).unwrap_or(default);
        format!("{name}@{version}")
    };
    if sources.has("pnpm-lock.yaml") || said.starts_with("pnpm@") {
        let lock = sources.first(&["pnpm-lock.yaml"]).map(|_| "pnpm-lock.yaml");
        let frozen = if lock.is_some() { " --frozen-lockfile" } else { "" };
        return Manager {
            name: "pnpm",
            package: Some(pinned("pnpm", "10")),
            cache: "/root/.local/share/pnpm/store",
            lock,
            install: format!("pnpm install{frozen}"),
            prune: Some("CI=true pnpm prune --prod --ignore-scripts"),
        };
    }
    if sources.has("yarn.lock") || said.starts_with("yarn@") {
        let lock = sources.first(&["yarn.lock"]).map(|_| "yarn.lock");
        let modern = sources.has(".yarnrc.yml") || (said.starts_with("yarn@") && !said.starts_with("yarn@1"));
        if modern {
            let frozen = if lock.is_some() { " --immutable" } else { "" };
            return Manager {
                name: "yarn",
                package: Some("corepack --force && corepack enable".into()),
                cache: "/root/.yarn/berry/cache",
                lock,
                install: format!("yarn install{frozen}"),
                prune: None,
            };
        }
        let frozen = if lock.is_some() { " --frozen-lockfile" } else { "" };
        return Manager {
            name: "yarn",
            // Node's images have it; others may not.
            package: Some("--force yarn@1.22.22".into()),
            cache: "/usr/local/share/.cache/yarn",
            lock,
            install: format!("yarn install{frozen}"),
            prune: Some("yarn install --production --ignore-scripts --prefer-offline"),
        };
    }
    let lock = sources.first(&["package-lock.json", "npm-shrinkwrap.json"]).map(|lock| match lock {
        "package-lock.json" => "package-lock.json",
        _ => "npm-shrinkwrap.json",
    });
    Manager {
        name: "npm",
        package: None,
        cache: "/root/.npm",
        lock,
        install: if lock.is_some() { "npm ci".into() } else { "npm install".into() },
        prune: Some("npm prune --omit=dev"),
    }
}

fn version(sources: &Sources<'_>, package: &Value) -> Version {
    let said = |tag: String, file| Version::said(tag, "Node", file);
    for file in [".nvmrc", ".node-version"] {
        if let Some(tag) = sources.line(file).and_then(|line| tag(&line)) {
            return said(tag, file);
        }
    }
    if let Some(tag) = sources.tool_version("nodejs").and_then(|text| tag(&text)) {
        return said(tag, ".tool-versions");
    }
    let places = [&package["volta"]["node"], &package["engines"]["node"]];
    let range = places.iter().find_map(|place| place.as_str());
    if let Some(tag) = range.and_then(|range| version::in_range(range, &KNOWN)) {
        return said(tag, "package.json");
    }
    Version::default(DEFAULT, "Node", ".nvmrc, .node-version or package.json's engines")
}

/// A version, or a name of nvm's for a line with long-term support.
fn tag(text: &str) -> Option<String> {
    match text.trim() {
        "lts/*" | "lts" => Some("lts".into()),
        "node" | "current" | "latest" => Some("current".into()),
        // Names of lines: github.com/nodejs/release.
        "lts/krypton" => Some("24".into()),
        "lts/jod" => Some("22".into()),
        "lts/iron" => Some("20".into()),
        "lts/hydrogen" => Some("18".into()),
        other => version::exact(other),
    }
}

/// What builds pages alone, and where they are.
fn pages(sources: &Sources<'_>, package: &Value, built: bool) -> Option<(&'static str, String)> {
    let served = SERVERS.iter().any(|server| depends(package, server)) || !sources.procfile().is_empty();
    if !built || served {
        return None;
    }
    let (builder, directory) = PAGES.into_iter().find(|(builder, _)| depends(package, builder))?;
    let start = package["scripts"]["start"].as_str().unwrap_or_default();
    // A start that is no development server is the project's own server.
    if start.starts_with("node ") {
        return None;
    }
    let mut directory = directory.to_owned();
    if builder == "@angular/cli" {
        // Its pages are in a directory by the project's name, of newer versions in `browser` below it.
        let angular: Value = serde_json::from_str(&sources.text("angular.json")).unwrap_or_default();
        let project = angular["projects"].as_object().and_then(|p| p.keys().next().cloned());
        let options = &angular["projects"][project.as_deref().unwrap_or_default()]["architect"]["build"];
        let path = options["options"]["outputPath"].as_str().map(str::to_owned);
        directory = path.or(project.map(|name| format!("dist/{name}"))).unwrap_or(directory);
        if options["builder"].as_str().is_some_and(|b| b.ends_with(":application")) {
            directory.push_str("/browser");
        }
    }
    if builder == "vite"
        && let Some(config) = sources.first(&["vite.config.js", "vite.config.ts", "vite.config.mjs"])
        && let Some(said) = quoted_after(&sources.text(config), "outDir")
    {
        directory = said;
    }
    Some((builder, directory))
}

/// The text in quotes after `key:`.
fn quoted_after(text: &str, key: &str) -> Option<String> {
    let rest = &text[text.find(key)? + key.len()..];
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = rest[1..].split(quote).next()?;
    let plain = inner.chars().all(|c| c.is_ascii_alphanumeric() || "-_/.".contains(c));
    (plain && !inner.is_empty() && !inner.contains("..")).then(|| inner.trim_start_matches("./").to_owned())
}

/// Brings the packages before the source, where the source has no part in installing them.
fn bring(sources: &Sources<'_>, package: &Value, manager: &Manager, recipe: &mut Recipe) {
    if let Some(needed) = &manager.package {
        recipe.run(&["/root/.npm"], format!("npm install --global {needed}"));
    }
    let hook = ["preinstall", "install", "postinstall", "prepare"]
        .into_iter()
        .find(|name| package["scripts"][*name].is_string());
    if let Some(hook) = hook {
        recipe.because(format!("package.json has a script {hook}: the source is there when packages come"));
        recipe.line("COPY . .");
        recipe.run(&[manager.cache], &manager.install);
        return;
    }
    let beside = [".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-workspace.yaml", ".pnpmfile.cjs", "lerna.json"];
    let mut files = vec!["package.json"];
    files.extend(manager.lock);
    files.extend(beside.into_iter().filter(|file| sources.has(file)));
    recipe.line(format!("COPY {} ./", files.join(" ")));
    for directory in [".yarn/releases", ".yarn/plugins", ".yarn/patches", "patches"] {
        if sources.has_dir(directory) {
            recipe.line(format!("COPY {directory} ./{directory}"));
        }
    }
    if !package["workspaces"].is_null() || sources.has("pnpm-workspace.yaml") {
        let parts = sources.find(|path| {
            file_name(path) == "package.json" && path != "package.json" && !path.contains("node_modules/")
        });
        recipe.because(format!("a workspace of {} packages", parts.len()));
        for part in parts {
            // Names with blanks need the other form.
            let to = part.trim_end_matches("package.json");
            recipe.line(format!(
                "COPY [{}, {}]",
                crate::go::quote(part),
                crate::go::quote(&format!("./{to}"))
            ));
        }
    }
    recipe.run(&[manager.cache], &manager.install);
    recipe.line("COPY . .");
}

/// What is started, and where it listens.
fn start(
    sources: &Sources<'_>,
    package: &Value,
    manager: &Manager,
) -> Result<(Start, Option<u16>), DetectError> {
    let main = package["main"].as_str().map(|main| main.trim_start_matches("./"));
    let main = main.filter(|main| sources.has(main)).or_else(|| sources.first(&SCRIPTS));
    if let Some(said) = package["scripts"]["start"].as_str() {
        let file = said.strip_prefix("node ").and_then(|rest| rest.split_whitespace().last());
        let text = file.or(main).map(|file| sources.text(file)).unwrap_or_default();
        let simple =
            said.strip_prefix("node ").filter(|rest| !rest.contains(['&', '|', ';', '$', '"', '\'']));
        // Node itself gets the signals; through npm they would end in a shell.
        let start = match simple {
            Some(rest) => {
                Start::Exec(std::iter::once("node").chain(rest.split_whitespace()).map(Into::into).collect())
            }
            None => Start::exec(&[manager.name, "start"]),
        };
        return Ok((start, Some(listens(&text))));
    }
    if let Some(process) = super::procfile::main(sources.procfile()) {
        return Ok((Start::Shell(process.command.clone()), (process.name == "web").then_some(3000)));
    }
    let Some(script) = main else {
        return Err(DetectError::Incomplete {
            language: "Node",
            missing: format!(
                "nothing says what to start: no script start in package.json, no main, none of {}",
                SCRIPTS.join(", ")
            ),
            way_out: "a script start in package.json",
        });
    };
    let text = sources.text(script);
    let server = SERVERS.iter().any(|server| depends(package, server));
    let port = (server || text.contains("listen(")).then(|| listens(&text));
    Ok((Start::exec(&["node", script]), port))
}

fn listens(text: &str) -> u16 {
    port_in(text).unwrap_or(3000)
}
