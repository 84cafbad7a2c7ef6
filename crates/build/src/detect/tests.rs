//! Trees and the Dockerfiles that come of them. Each is parsed and planned, as `minke build` would.

use super::*;
use crate::{
    Dockerfile, PlanOptions, Planner,
    plan::{Base, Given, Plan},
};
use minke_image::{ImageConfig, platform};
use std::{collections::BTreeMap, sync::Arc};

struct Tree {
    paths: Vec<String>,
    texts: BTreeMap<String, String>,
}

impl SourceTree for Tree {
    fn files(&self) -> &[String] {
        &self.paths
    }

    fn read(&self, path: &str) -> Option<String> {
        self.texts.get(path).cloned()
    }
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let texts: BTreeMap<String, String> =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Tree { paths: texts.keys().cloned().collect(), texts }
}

/// The Dockerfile's plan: every language's must have one, without a finding.
fn plan(text: &str) -> Plan {
    let file =
        Dockerfile::parse("Dockerfile", text.as_bytes()).unwrap_or_else(|e| panic!("{}\n{text}", e.report()));
    let options =
        PlanOptions { build_platform: platform::parse("linux/amd64").unwrap(), ..PlanOptions::default() };
    let mut planner = Planner::new(file, options).unwrap_or_else(|e| panic!("{}\n{text}", e.report()));
    let raw = format!(
        r#"{{"os":"linux","architecture":"amd64","config":{{"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        "a".repeat(64)
    );
    while let Some(wanted) = planner.wanted().into_iter().next() {
        let config = Arc::new(ImageConfig::parse(raw.as_bytes()).unwrap());
        let config = matches!(wanted.what, Base::Image(_)).then_some(config);
        planner.give(wanted.id, Given { digest: None, config }).unwrap();
    }
    planner.finish().unwrap_or_else(|e| panic!("{}\n{text}", e.report()))
}

/// Detects, plans, and holds what is promised of every Dockerfile.
fn detected(files: &[(&str, &str)]) -> (Detected, Plan) {
    let found = detect(&tree(files)).unwrap_or_else(|error| panic!("{error}"));
    let plan = plan(&found.dockerfile);
    let findings: Vec<&str> = plan.findings.iter().map(|f| f.message.as_str()).collect();
    assert!(findings.is_empty(), "{findings:?}\n{}", found.dockerfile);
    let defaults = &plan.image.defaults;
    assert!(!matches!(defaults.user.as_str(), "" | "root" | "0"), "{}", found.dockerfile);
    assert!(!found.because.is_empty());
    (found, plan)
}

fn says(found: &Detected, lines: &[&str]) {
    for line in lines {
        assert!(
            found.dockerfile.lines().any(|l| l.trim() == *line),
            "no line {line:?} in\n{}",
            found.dockerfile
        );
    }
}

fn serves(plan: &Plan, port: &str) {
    assert!(plan.image.defaults.healthcheck.is_some());
    assert!(
        plan.image.defaults.env.iter().any(|e| *e == format!("PORT={port}")),
        "{:?}",
        plan.image.defaults.env
    );
}

#[test]
fn flask_is_served_by_gunicorn() {
    let (found, plan) = detected(&[
        ("requirements.txt", "Flask==3.0\n-r more.txt\n"),
        ("more.txt", "requests\n"),
        ("app.py", "from flask import Flask\napp = Flask(__name__)\n"),
        (".python-version", "3.12.4\n"),
    ]);
    says(
        &found,
        &[
            "ARG PYTHON_VERSION=3.12.4",
            "COPY requirements.txt more.txt ./",
            "RUN --mount=type=cache,target=/root/.cache/pip \\",
            "pip install -r requirements.txt",
            "/venv/bin/pip install gunicorn",
            "USER app",
            "EXPOSE 8000",
            r#"CMD ["sh", "-c", "exec gunicorn --bind 0.0.0.0:$PORT app:app"]"#,
        ],
    );
    serves(&plan, "8000");
}

#[test]
fn fastapi_with_each_manager() {
    let main = ("src/shop/main.py", "import fastapi\napp: fastapi.FastAPI = fastapi.FastAPI()\n");
    let start = r#"CMD ["sh", "-c", "exec uvicorn --host 0.0.0.0 --port $PORT shop.main:app"]"#;
    let (uv, _) = detected(&[
        main,
        (
            "pyproject.toml",
            "[project]\nname='shop'\nrequires-python='>=3.11,<3.13'\ndependencies=['fastapi','uvicorn']\n",
        ),
        ("uv.lock", ""),
    ]);
    says(
        &uv,
        &[
            "ARG PYTHON_VERSION=3.12",
            "COPY pyproject.toml uv.lock ./",
            "/tools/bin/uv sync --locked --no-dev --no-install-project",
            start,
        ],
    );
    assert!(!uv.dockerfile.contains("install uvicorn"));
    let (poetry, _) = detected(&[
        main,
        (
            "pyproject.toml",
            "[tool.poetry]\nname='shop'\n[tool.poetry.dependencies]\npython='^3.10'\nfastapi='*'\n",
        ),
        ("poetry.lock", ""),
    ]);
    says(&poetry, &["ARG PYTHON_VERSION=3.13", "COPY pyproject.toml poetry.lock ./", start]);
    says(&poetry, &["/tools/bin/poetry install --no-interaction --only main --no-root"]);
    let (pipenv, _) =
        detected(&[main, ("Pipfile", "[requires]\npython_version = '3.11'\n"), ("Pipfile.lock", "{}")]);
    says(
        &pipenv,
        &["ARG PYTHON_VERSION=3.11", "COPY Pipfile Pipfile.lock ./", "/tools/bin/pipenv sync", start],
    );
}

#[test]
fn django_collects_its_files_and_links_to_its_database() {
    let (found, plan) = detected(&[
        ("manage.py", ""),
        ("requirements.txt", "Django>=5\npsycopg2\n"),
        ("mysite/wsgi.py", ""),
        ("mysite/settings.py", "STATIC_ROOT = 'static'\n"),
        ("runtime.txt", "python-3.11.9"),
        ("package.json", "{}"),
    ]);
    says(
        &found,
        &[
            "FROM python:${PYTHON_VERSION} AS build",
            "ARG PYTHON_VERSION=3.11.9",
            r#"CMD ["sh", "-c", "exec gunicorn --bind 0.0.0.0:$PORT mysite.wsgi:application"]"#,
            "# - it has files of Node too: a Dockerfile of your own can build those",
        ],
    );
    assert!(found.dockerfile.contains("collectstatic") && found.dockerfile.contains("libpq5"));
    serves(&plan, "8000");
}

#[test]
fn a_script_alone_is_run_and_one_that_is_not_there_is_named() {
    let (found, plan) = detected(&[("main.py", "print(1)\n")]);
    says(&found, &[r#"CMD ["python", "main.py"]"#]);
    assert!(plan.image.defaults.healthcheck.is_none());
    let error = detect(&tree(&[("requirements.txt", "")])).unwrap_err().to_string();
    assert!(error.starts_with("this is Python, and nothing says what to start"), "{error}");
}

#[test]
fn a_projects_script_is_installed() {
    let (found, _) = detected(&[
        ("pyproject.toml", "[project]\nname='tool'\nversion='1'\n[project.scripts]\ntool='tool:main'\n"),
        ("tool.py", ""),
    ]);
    says(&found, &["COPY . .", "pip install .", r#"CMD ["tool"]"#]);
}

#[test]
fn node_keeps_only_what_running_needs() {
    let (found, plan) = detected(&[
        (
            "package.json",
            r#"{"scripts":{"start":"node server.js","build":"tsc"},"engines":{"node":">=18 <21"},"dependencies":{"express":"4"}}"#,
        ),
        ("package-lock.json", "{}"),
        ("server.js", "app.listen(process.env.PORT || 4000)"),
    ]);
    says(
        &found,
        &[
            "ARG NODE_VERSION=20",
            "COPY package.json package-lock.json ./",
            "npm ci",
            "npm run build",
            "RUN npm prune --omit=dev",
            "USER node",
            r#"CMD ["node", "server.js"]"#,
        ],
    );
    serves(&plan, "4000");
}

#[test]
fn yarn_and_pnpm_have_their_own_words() {
    let package = r#"{"scripts":{"start":"next start","build":"next build"},"dependencies":{"next":"15"}}"#;
    let (yarn, _) = detected(&[("package.json", package), ("yarn.lock", ""), (".nvmrc", "lts/iron")]);
    says(&yarn, &["ARG NODE_VERSION=20", "yarn install --frozen-lockfile", r#"CMD ["yarn", "start"]"#]);
    let pinned = r#"{"packageManager":"pnpm@9.1.0+sha512.x","main":"index.js"}"#;
    let (pnpm, _) = detected(&[("package.json", pinned), ("pnpm-lock.yaml", ""), ("index.js", "")]);
    says(
        &pnpm,
        &["npm install --global pnpm@9.1.0", "pnpm install --frozen-lockfile", r#"CMD ["node", "index.js"]"#],
    );
}

#[test]
fn a_workspaces_manifests_come_before_its_source() {
    let (found, _) = detected(&[
        ("package.json", r#"{"workspaces":["packages/*"],"scripts":{"start":"node packages/a/x.js"}}"#),
        ("packages/a/package.json", "{}"),
        ("packages/a/x.js", "require('http').createServer().listen(3001)"),
    ]);
    says(&found, &[r#"COPY ["packages/a/package.json", "./packages/a/"]"#]);
}

#[test]
fn pages_that_are_built_are_served_by_nginx() {
    let (found, plan) = detected(&[
        ("package.json", r#"{"scripts":{"build":"vite build","dev":"vite"},"devDependencies":{"vite":"6"}}"#),
        ("package-lock.json", "{}"),
        ("vite.config.ts", "export default { build: { outDir: './out' } }"),
        ("index.html", ""),
    ]);
    assert_eq!(found.language, "Node");
    says(&found, &["npm run build", "COPY --from=build /app/out /srv/www/"]);
    serves(&plan, "8080");
    let (pages, _) = detected(&[("index.html", "<p>"), ("style.css", "")]);
    assert_eq!(pages.language, "static");
    says(&pages, &["FROM nginx:${NGINX_VERSION}", "COPY . /srv/www/"]);
}

#[test]
fn go_finds_its_program() {
    let (found, plan) = detected(&[
        ("go.mod", "module example.com/shop/v2\n\ngo 1.24\n"),
        ("go.sum", ""),
        ("cmd/tool/main.go", "package main\n"),
        ("cmd/shop/main.go", "package main // here\nfunc main() { http.ListenAndServe(\":9000\", nil) }\n"),
        ("templates/a.html", ""),
    ]);
    says(
        &found,
        &[
            "ARG GO_VERSION=1.24",
            "COPY go.mod go.sum ./",
            "go mod download",
            "COPY templates ./templates",
            r#"CMD ["app"]"#,
        ],
    );
    assert!(found.dockerfile.contains("-o /out/app ./cmd/shop"), "{}", found.dockerfile);
    serves(&plan, "9000");
    let error = detect(&tree(&[("go.mod", "module x\n"), ("x.go", "package x\n")])).unwrap_err().to_string();
    assert!(error.contains("no package main"), "{error}");
}

#[test]
fn rust_builds_the_program_that_serves() {
    let (found, plan) = detected(&[
        ("Cargo.toml", "[workspace]\nmembers = ['a', 'b']\n"),
        ("Cargo.lock", "name = \"openssl-sys\""),
        ("a/Cargo.toml", "[package]\nname='a'\n"),
        ("a/src/main.rs", ""),
        (
            "b/Cargo.toml",
            "[package]\nname='b'\n[dependencies]\naxum='0.8'\n[[bin]]\nname='web'\npath='src/main.rs'\n",
        ),
        ("b/src/main.rs", "bind(\"0.0.0.0:3000\")"),
        ("rust-toolchain.toml", "[toolchain]\nchannel = '1.90'\n"),
    ]);
    says(&found, &["ARG RUST_VERSION=1.90", r#"CMD ["web"]"#]);
    assert!(found.dockerfile.contains("cargo build --release --locked --bin web"), "{}", found.dockerfile);
    assert!(found.dockerfile.contains("libssl3t64"));
    serves(&plan, "3000");
}

#[test]
fn rails_builds_its_assets() {
    let (found, plan) = detected(&[
        (
            "Gemfile",
            "source 'https://rubygems.org'\nruby '3.3.5'\ngem 'rails', '~> 8.0'\ngem 'pg'\ngem 'propshaft'\n",
        ),
        ("Gemfile.lock", ""),
        ("config/application.rb", ""),
        ("config.ru", ""),
        ("bin/rails", ""),
        ("Procfile", "web: bundle exec puma -C config/puma.rb\nworker: bundle exec sidekiq\n"),
    ]);
    says(
        &found,
        &[
            "ARG RUBY_VERSION=3.3.5",
            "COPY Gemfile Gemfile.lock ./",
            "RUN RAILS_ENV=production SECRET_KEY_BASE_DUMMY=1 bin/rails assets:precompile",
            r#"LABEL dev.minke.process.worker="bundle exec sidekiq""#,
            r#"CMD ["sh", "-c", "exec bundle exec puma -C config/puma.rb"]"#,
        ],
    );
    assert!(found.dockerfile.contains("libpq5"));
    serves(&plan, "3000");
}

#[test]
fn php_is_served_from_its_public_directory() {
    let (found, plan) = detected(&[
        ("composer.json", r#"{"require":{"php":"^8.2","ext-pdo_pgsql":"*","ext-zip":"*","ext-json":"*"}}"#),
        ("composer.lock", "{}"),
        ("public/index.php", "<?php"),
    ]);
    says(
        &found,
        &["ARG PHP_VERSION=8.4", "COPY composer.json composer.lock ./", r#"CMD ["apache2-foreground"]"#],
    );
    assert!(found.dockerfile.contains("docker-php-ext-install -j\"$(nproc)\" pdo_pgsql zip"));
    assert!(found.dockerfile.contains("!/app/public!"));
    serves(&plan, "8080");
    let (plain, _) = detected(&[("index.php", "<?php")]);
    assert_eq!(plain.language, "PHP");
    says(&plain, &["COPY --chown=app:app . ."]);
}

#[test]
fn maven_makes_wars_for_tomcat_and_jars() {
    let war = "<project><packaging>war</packaging><properties><maven.compiler.release>17</maven.compiler.release>\
               </properties><dependency>jakarta.servlet</dependency></project>";
    let (found, plan) = detected(&[("pom.xml", war), ("src/main/webapp/index.jsp", "")]);
    says(
        &found,
        &[
            "FROM maven:3-eclipse-temurin-${JAVA_VERSION} AS build",
            "ARG JAVA_VERSION=17",
            "mvn -B -ntp dependency:go-offline",
            "FROM tomcat:${TOMCAT_VERSION}-jre${JAVA_VERSION}",
            "ARG TOMCAT_VERSION=10.1",
            r#"CMD ["catalina.sh", "run"]"#,
        ],
    );
    serves(&plan, "8080");
    let old = war.replace("jakarta.servlet", "javax.servlet");
    says(&detected(&[("pom.xml", &old)]).0, &["ARG TOMCAT_VERSION=9.0"]);
    let boot = "<project><parent><artifactId>spring-boot-starter-parent</artifactId></parent>\
                <java.version>21</java.version><artifactId>spring-boot-starter-web</artifactId>\
                <artifactId>spring-boot-maven-plugin</artifactId></project>";
    let settings = ("src/main/resources/application.properties", "server.port=${PORT:9090}\n");
    let (jar, plan) = detected(&[("pom.xml", boot), settings]);
    says(
        &jar,
        &[
            r#"CMD ["sh", "-c", "exec java -XX:MaxRAMPercentage=75 -Dserver.port=$PORT -Dquarkus.http.port=$PORT -Dmicronaut.server.port=$PORT -jar app.jar"]"#,
        ],
    );
    serves(&plan, "9090");
    let plain =
        [("pom.xml", "<project/>"), ("src/main/java/a/b/App.java", "public static void main(String[] a)")];
    says(
        &detected(&plain).0,
        &[r#"CMD ["java", "-XX:MaxRAMPercentage=75", "-cp", "app.jar:lib/*", "a.b.App"]"#],
    );
}

#[test]
fn gradle_in_either_language() {
    let wrapper = (
        "gradle/wrapper/gradle-wrapper.properties",
        "distributionUrl=https\\://services.gradle.org/distributions/gradle-8.10.2-bin.zip\n",
    );
    let (boot, _) = detected(&[
        (
            "build.gradle",
            "plugins {\n id 'org.springframework.boot' version '3.3'\n}\nsourceCompatibility = '17'\n",
        ),
        wrapper,
    ]);
    says(&boot, &["ARG GRADLE_VERSION=8.10.2", "ARG JAVA_VERSION=17"]);
    assert!(boot.dockerfile.contains("gradle --no-daemon bootJar"));
    let (kotlin, _) = detected(&[
        ("settings.gradle.kts", "include(\"app\")"),
        (
            "app/build.gradle.kts",
            "plugins {\n    application\n}\njava { toolchain { languageVersion = JavaLanguageVersion.of(21) } }\n",
        ),
    ]);
    assert!(kotlin.dockerfile.contains("gradle --no-daemon :app:installDist"), "{}", kotlin.dockerfile);
    let (war, _) = detected(&[("build.gradle", "apply plugin: 'war'\n")]);
    assert!(war.dockerfile.contains("FROM tomcat:"));
}

#[test]
fn a_procfile_decides_among_languages_and_what_runs() {
    let files = [
        ("package.json", r#"{"main":"index.js"}"#),
        ("index.js", ""),
        ("requirements.txt", ""),
        ("Procfile", "web: node index.js --port $PORT && echo \"$PORT\"\n"),
    ];
    let (found, plan) = detected(&files);
    assert_eq!(found.language, "Node");
    says(&found, &[r#"CMD ["sh", "-c", "node index.js --port $PORT && echo \"$PORT\""]"#]);
    let label = &plan.image.defaults.labels["dev.minke.process.web"];
    assert_eq!(label, "node index.js --port $PORT && echo \"$PORT\"");
    let worker = [("main.py", ""), ("Procfile", "worker: python main.py\n")];
    assert!(detected(&worker).1.image.defaults.healthcheck.is_none());
}

#[test]
fn what_is_nothing_says_what_was_looked_for() {
    let error = detect(&tree(&[("README.md", "")])).unwrap_err();
    assert_eq!(error, DetectError::Unknown);
    let text = error.to_string();
    for file in [
        "Gemfile",
        "composer.json",
        "pom.xml",
        "go.mod",
        "Cargo.toml",
        "pyproject.toml",
        "package.json",
        "index.html",
    ] {
        assert!(text.contains(file), "{text}");
    }
}
