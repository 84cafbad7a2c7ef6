//! PHP: Composer or plain files, served by Apache without root (pure).

use super::{
    DetectError, Detected,
    recipe::{End, Recipe, Start},
    sources::Sources,
    version::{self, Version},
};
use serde_json::Value;

/// Versions that php.net maintains, newest first; the first is what fits most.
const KNOWN: [&str; 5] = ["8.4", "8.5", "8.3", "8.2", "8.1"];

/// Extensions that the image compiles: what of Debian's each needs.
const EXTENSIONS: [(&str, &str); 16] = [
    ("bcmath", ""),
    ("calendar", ""),
    ("exif", ""),
    ("gd", "libpng-dev"),
    ("gmp", "libgmp-dev"),
    ("intl", "libicu-dev"),
    ("mysqli", ""),
    ("opcache", ""),
    ("pcntl", ""),
    ("pdo_mysql", ""),
    ("pdo_pgsql", "libpq-dev"),
    ("pgsql", "libpq-dev"),
    ("soap", "libxml2-dev"),
    ("sockets", ""),
    ("xsl", "libxslt1-dev"),
    ("zip", "libzip-dev"),
];

pub(super) fn is(sources: &Sources<'_>) -> bool {
    sources.has("composer.json")
}

/// Pages with PHP in them.
pub(super) fn is_script(sources: &Sources<'_>) -> bool {
    sources.first(&["index.php", "public/index.php"]).is_some()
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("PHP");
    let composer: Value = serde_json::from_str(&sources.text("composer.json")).unwrap_or_default();
    let composed = sources.has("composer.json");
    recipe.because(match (composed, sources.has("composer.lock")) {
        (true, true) => "composer.json and composer.lock: PHP with Composer",
        (true, false) => "composer.json without composer.lock: PHP with Composer, packages not pinned",
        (false, _) => "index.php: PHP",
    });
    let version = version(sources, &composer);
    recipe.because(version.because);
    let roots = ["public", "web", "webroot", "htdocs"];
    let root = roots.into_iter().find(|root| sources.has(&format!("{root}/index.php")));
    if root.is_none() && !sources.has("index.php") && sources.procfile().is_empty() {
        return Err(DetectError::Incomplete {
            language: "PHP",
            missing: format!("it has no index.php at its top or in {}", roots.join(", ")),
            way_out: "a Procfile that says what to start",
        });
    }
    let document_root = root.map(|root| format!("/app/{root}")).unwrap_or("/app".into());
    recipe.because(format!("index.php: pages under {document_root}, served by Apache"));
    recipe.argument("PHP_VERSION", version.tag);
    recipe.ignore(&["vendor", "node_modules", "storage/logs/*", "var/*"]);

    let assets = sources.has("package.json") && sources.text("package.json").contains("\"build\"");
    if assets {
        recipe.because("package.json has a script build: assets are built with Node");
        recipe.argument("NODE_VERSION", "24");
        recipe.stage("node:${NODE_VERSION}-slim AS assets");
        recipe.line("WORKDIR /app");
        let lock = sources.has("package-lock.json");
        recipe.line(if lock { "COPY package.json package-lock.json ./" } else { "COPY package.json ./" });
        recipe.run(&["/root/.npm"], if lock { "npm ci" } else { "npm install" });
        recipe.line("COPY . .");
        recipe.run(&["/root/.npm"], "npm run build && rm -rf node_modules");
    }
    if composed {
        recipe.stage("composer:2 AS build");
        recipe.line("WORKDIR /app");
        let lock = if sources.has("composer.lock") { " composer.lock" } else { "" };
        recipe.line(format!("COPY composer.json{lock} ./"));
        // Extensions are in the image that runs, not in Composer's.
        let flags = "--no-dev --no-interaction --no-progress --prefer-dist --ignore-platform-reqs";
        recipe.run(&["/tmp/cache"], format!("composer install {flags} --no-scripts --no-autoloader"));
        recipe.line(match assets {
            true => "COPY --from=assets /app ./",
            false => "COPY . .",
        });
        recipe.line("RUN composer dump-autoload --no-dev --optimize --no-scripts");
    }

    recipe.stage("php:${PHP_VERSION}-apache");
    extensions(sources, &composer, &mut recipe);
    recipe.user();
    recipe.line("ENV APACHE_RUN_DIR=/tmp APACHE_LOCK_DIR=/tmp APACHE_PID_FILE=/tmp/apache2.pid");
    recipe.line(format!(
        "RUN a2enmod rewrite \\\n  \
         && sed -ri -e 's!^Listen 80$!Listen ${{PORT}}!' /etc/apache2/ports.conf \\\n  \
         && sed -ri -e 's!\\*:80>!*:${{PORT}}>!' -e 's!/var/www/html!{document_root}!' \
         /etc/apache2/sites-available/000-default.conf \\\n  \
         && printf '<Directory {document_root}>\\nAllowOverride All\\nRequire all granted\\nFallbackResource /index.php\\n\
         </Directory>\\n' >/etc/apache2/conf-enabled/app.conf \\\n  \
         && mv \"$PHP_INI_DIR/php.ini-production\" \"$PHP_INI_DIR/php.ini\""
    ));
    recipe.line("WORKDIR /app");
    recipe.line(match (composed, assets) {
        (true, _) => "COPY --from=build --chown=app:app /app ./",
        (false, true) => "COPY --from=assets --chown=app:app /app ./",
        (false, false) => "COPY --chown=app:app . .",
    });
    let start = Start::exec(&["apache2-foreground"]);
    Ok(recipe.finish(sources, End { user: "app", port: Some(8080), start }))
}

fn version(sources: &Sources<'_>, composer: &Value) -> Version {
    if let Some(tag) = sources.line(".php-version").and_then(|line| version::exact(&line)) {
        return Version::said(tag, "PHP", ".php-version");
    }
    let places = [&composer["config"]["platform"]["php"], &composer["require"]["php"]];
    let range = places.iter().find_map(|place| place.as_str());
    match range.and_then(|range| version::in_range(range, &KNOWN)) {
        Some(tag) => Version::said(tag, "PHP", "composer.json"),
        None => Version::default(KNOWN[0], "PHP", ".php-version or composer.json"),
    }
}

/// Those that composer.json requires and the image does not have yet.
fn extensions(sources: &Sources<'_>, composer: &Value, recipe: &mut Recipe) {
    let mut wanted: Vec<&(&str, &str)> = Vec::new();
    let required: Vec<String> = composer["require"]
        .as_object()
        .into_iter()
        .flat_map(|require| require.keys())
        .filter_map(|name| name.strip_prefix("ext-").map(|name| name.replace('-', "_")))
        .collect();
    wanted.extend(EXTENSIONS.iter().filter(|(name, _)| required.iter().any(|r| r == name)));
    if wanted.is_empty() && sources.has("artisan") {
        recipe.because("artisan: Laravel, with the databases that it speaks to");
        let databases = ["pdo_mysql", "pdo_pgsql", "bcmath"];
        wanted.extend(EXTENSIONS.iter().filter(|(name, _)| databases.contains(name)));
    }
    if wanted.is_empty() {
        return;
    }
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    recipe.because(format!("extensions {}", names.join(", ")));
    let mut packages: Vec<&str> =
        wanted.iter().map(|(_, package)| *package).filter(|p| !p.is_empty()).collect();
    packages.dedup();
    let install = format!("docker-php-ext-install -j\"$(nproc)\" {}", names.join(" "));
    match packages.is_empty() {
        true => recipe.line(format!("RUN {install}")),
        false => recipe.line(format!(
            "RUN apt-get update && apt-get install -y --no-install-recommends {} \\\n  && {install} \\\n  && rm -rf /var/lib/apt/lists/*",
            packages.join(" ")
        )),
    }
}
