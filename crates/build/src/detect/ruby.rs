//! Ruby: Bundler; Rails, Rack (pure).

use super::{
    DetectError, Detected,
    recipe::{End, Recipe, Start},
    sources::{Sources, has_word, port_in},
    version::{self, Version},
};

const DEFAULT: &str = "3.4";

/// Gems that link to a library of Debian's: what is needed to run.
const LIBRARIES: [(&str, &str); 5] = [
    ("pg", "libpq5"),
    ("mysql2", "libmariadb3"),
    ("ruby-vips", "libvips42"),
    ("image_processing", "libvips42"),
    ("charlock_holmes", "libicu76"),
];

pub(super) fn is(sources: &Sources<'_>) -> bool {
    sources.has("Gemfile")
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("Ruby");
    let gemfile = sources.text("Gemfile");
    let locked = sources.has("Gemfile.lock");
    let gems = gemfile.clone() + "\n" + &sources.text("Gemfile.lock");
    let gem = |name: &str| {
        gemfile.lines().any(|line| {
            let line = line.trim();
            line.starts_with("gem ")
                && (line.contains(&format!("\"{name}\"")) || line.contains(&format!("'{name}'")))
        })
    };
    recipe.because(match locked {
        true => "Gemfile and Gemfile.lock: Ruby with Bundler",
        false => "Gemfile without Gemfile.lock: Ruby with Bundler, gems not pinned",
    });
    let version = version(sources, &gemfile);
    recipe.because(version.because);
    let rails = gem("rails") && sources.has("config/application.rb");
    let rack = sources.has("config.ru");
    let (start, port) = match () {
        () if rails => {
            recipe.because("config/application.rb: Rails");
            let program = if sources.has("bin/rails") { "bin/rails" } else { "bundle exec rails" };
            (Start::Shell(format!("{program} server -b 0.0.0.0 -p $PORT")), Some(3000))
        }
        () if rack => {
            recipe.because("config.ru: a Rack application");
            let server = match has_word(&gems, "puma") {
                true => "bundle exec puma -b tcp://0.0.0.0:$PORT",
                false => "bundle exec rackup -o 0.0.0.0 -p $PORT",
            };
            (Start::Shell(server.into()), Some(9292))
        }
        () => {
            let script = sources.first(&["app.rb", "main.rb", "server.rb", "web.rb"]);
            match (script, super::procfile::main(sources.procfile())) {
                (_, Some(process)) => (Start::Shell(process.command.clone()), None),
                (Some(script), None) => {
                    recipe.because(format!("{script}: the program"));
                    let text = sources.text(script);
                    let port = (gem("sinatra") || text.contains("TCPServer") || text.contains("WEBrick"))
                        .then(|| port_in(&text).unwrap_or(4567));
                    let flags = if gem("sinatra") { " -o 0.0.0.0 -p $PORT" } else { "" };
                    (Start::Shell(format!("bundle exec ruby {script}{flags}")), port)
                }
                (None, None) => {
                    return Err(DetectError::Incomplete {
                        language: "Ruby",
                        missing: "nothing says what to start: no Rails, no config.ru, no app.rb, main.rb, \
                                  server.rb or web.rb, no Procfile"
                            .into(),
                        way_out: "a Procfile with a line such as `web: bundle exec puma`",
                    });
                }
            }
        }
    };
    recipe.argument("RUBY_VERSION", version.tag);
    recipe.ignore(&["log/*", "tmp/*", "storage/*", "vendor/bundle", "node_modules", "config/master.key"]);

    recipe.stage("ruby:${RUBY_VERSION} AS build");
    recipe.line("WORKDIR /app");
    recipe.line(environment(locked));
    let node = sources.has("package.json");
    if node {
        recipe.because("package.json: assets are built with Node");
        recipe.run(
            &[],
            "apt-get update && apt-get install -y --no-install-recommends nodejs npm && rm -rf /var/lib/apt/lists/*",
        );
    }
    let beside = ["Gemfile.lock", ".ruby-version", ".tool-versions"];
    let files: Vec<&str> =
        std::iter::once("Gemfile").chain(beside.into_iter().filter(|f| sources.has(f))).collect();
    // A gemspec in the tree reads the tree.
    if gemfile.lines().any(|line| line.trim() == "gemspec" || line.contains("path:")) {
        recipe.because("Gemfile names gems of this tree: all of it is copied before gems come");
        recipe.line("COPY . .");
    } else {
        recipe.line(format!("COPY {} ./", files.join(" ")));
    }
    recipe.run(&["/root/.bundle/cache"], "bundle install && rm -rf \"$BUNDLE_PATH\"/ruby/*/cache");
    if node {
        let yarn = sources.has("yarn.lock");
        let lock =
            sources.first(&["yarn.lock", "package-lock.json"]).map(|l| format!(" {l}")).unwrap_or_default();
        recipe.line(format!("COPY package.json{lock} ./"));
        match yarn {
            true => recipe.run(
                &["/root/.npm", "/usr/local/share/.cache/yarn"],
                "npm install --global yarn@1.22.22 && yarn install --frozen-lockfile",
            ),
            false => recipe.run(&["/root/.npm"], if lock.is_empty() { "npm install" } else { "npm ci" }),
        }
    }
    recipe.line("COPY . .");
    let assets = ["sprockets-rails", "propshaft", "sprockets"].iter().any(|name| has_word(&gems, name));
    if rails && (assets || sources.has_dir("app/assets")) {
        recipe.because("app/assets: assets are built beforehand");
        let program = if sources.has("bin/rails") { "bin/rails" } else { "bundle exec rails" };
        recipe.line(format!("RUN RAILS_ENV=production SECRET_KEY_BASE_DUMMY=1 {program} assets:precompile"));
    }
    if node {
        recipe.line("RUN rm -rf node_modules");
    }

    recipe.stage("ruby:${RUBY_VERSION}-slim");
    let mut libraries: Vec<&str> = LIBRARIES.iter().filter(|(name, _)| gem(name)).map(|(_, l)| *l).collect();
    libraries.dedup();
    if !libraries.is_empty() {
        recipe.run(
            &[],
            format!(
                "apt-get update && apt-get install -y --no-install-recommends {} && rm -rf /var/lib/apt/lists/*",
                libraries.join(" ")
            ),
        );
    }
    recipe.user();
    recipe.line(environment(locked));
    recipe.line(
        "ENV RAILS_ENV=production RACK_ENV=production RAILS_LOG_TO_STDOUT=1 RAILS_SERVE_STATIC_FILES=1",
    );
    recipe.line("WORKDIR /app");
    recipe.line("COPY --from=build /usr/local/bundle /usr/local/bundle");
    recipe.line("COPY --from=build --chown=app:app /app ./");
    Ok(recipe.finish(sources, End { user: "app", port, start }))
}

fn environment(locked: bool) -> String {
    let frozen = if locked { " BUNDLE_DEPLOYMENT=1" } else { "" };
    format!("ENV BUNDLE_PATH=/usr/local/bundle BUNDLE_WITHOUT=development:test{frozen}")
}

fn version(sources: &Sources<'_>, gemfile: &str) -> Version {
    let said = |tag: String, file| Version::said(tag, "Ruby", file);
    if let Some(tag) = sources.line(".ruby-version").and_then(|line| version::exact(&line)) {
        return said(tag, ".ruby-version");
    }
    if let Some(tag) = sources.tool_version("ruby").and_then(|text| version::exact(&text)) {
        return said(tag, ".tool-versions");
    }
    let line = gemfile.lines().find_map(|line| line.trim().strip_prefix("ruby "));
    let known = ["3.4", "4.0", "3.3", "3.2"];
    let asked = line.map(|text| text.trim_matches(['"', '\'', ' ']));
    if let Some(tag) =
        asked.filter(|a| !a.starts_with("file")).and_then(|range| version::in_range(range, &known))
    {
        return said(tag, "Gemfile");
    }
    let lock = sources.text("Gemfile.lock");
    let ran = lock.split_once("RUBY VERSION").and_then(|(_, rest)| version::exact(rest.trim_start()));
    match ran {
        Some(tag) => said(tag, "Gemfile.lock"),
        None => Version::default(DEFAULT, "Ruby", ".ruby-version, Gemfile or Gemfile.lock"),
    }
}
