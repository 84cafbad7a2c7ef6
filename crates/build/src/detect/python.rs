//! Python: requirements.txt, pyproject.toml (pip, Poetry, uv), Pipfile; Django, Flask, FastAPI (pure).

use super::{
    DetectError, Detected,
    recipe::{End, Recipe, Start},
    sources::{Sources, file_name, has_word, port_in},
    version::{self, Version},
};

/// Versions that python.org maintains, newest first (devguide.python.org/versions).
const KNOWN: [&str; 5] = ["3.14", "3.13", "3.12", "3.11", "3.10"];
const DEFAULT: &str = "3.13";

/// Files that name a program where nothing else does, the likeliest first.
const SCRIPTS: [&str; 8] =
    ["app.py", "main.py", "wsgi.py", "asgi.py", "server.py", "application.py", "run.py", "index.py"];

/// Packages that are compiled where they are installed, and what of Debian's they need when they run.
const COMPILED: [(&str, &str); 5] = [
    ("psycopg2", "libpq5"),
    ("psycopg", "libpq5"),
    ("mysqlclient", "libmariadb3"),
    ("uwsgi", ""),
    ("pylibmc", "libmemcached11"),
];

pub(super) fn is(sources: &Sources<'_>) -> bool {
    let files =
        ["requirements.txt", "pyproject.toml", "Pipfile", "setup.py", "manage.py", "uv.lock", "poetry.lock"];
    sources.first(&files).is_some()
}

/// Scripts alone.
pub(super) fn is_script(sources: &Sources<'_>) -> bool {
    sources.first(&SCRIPTS).is_some()
}

/// Who installs the packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Uv,
    Poetry,
    Pipenv,
    Requirements,
    /// The project itself is a package.
    Project,
    None,
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("Python");
    let manifest = ["requirements.txt", "pyproject.toml", "Pipfile", "setup.py", "setup.cfg"];
    let packages: String = manifest.iter().map(|file| sources.text(file) + "\n").collect();
    let manager = manager(sources, &mut recipe);
    let version = version(sources);
    recipe.because(version.because);
    let Some(program) = program(sources, &packages) else {
        return Err(DetectError::Incomplete {
            language: "Python",
            missing: format!(
                "nothing says what to start: no web process in a Procfile, no manage.py, no Flask or FastAPI \
                 application, no script in pyproject.toml, none of {}",
                SCRIPTS.join(", ")
            ),
            way_out: "a Procfile with a line such as `web: python server.py`",
        });
    };
    recipe.because(program.because.clone());
    let mut extra: Vec<&str> = program.servers.iter().copied().filter(|s| !has_word(&packages, s)).collect();
    extra.dedup();
    for server in &extra {
        recipe.because(format!("{server} serves it, and is installed besides: its packages do not name it"));
    }
    let compiled: Vec<&(&str, &str)> =
        COMPILED.iter().filter(|(name, _)| has_word(&packages, name)).collect();
    recipe.argument("PYTHON_VERSION", version.tag);
    recipe.ignore(&[
        "**/__pycache__",
        "**/*.pyc",
        ".venv",
        "venv",
        ".pytest_cache",
        ".mypy_cache",
        "*.sqlite3",
    ]);

    let slim = "python:${PYTHON_VERSION}-slim";
    // Nothing to install is nothing to build.
    let builds = manager != Manager::None || !extra.is_empty();
    if builds {
        match compiled.is_empty() {
            true => recipe.stage(&format!("{slim} AS build")),
            false => {
                let names: Vec<&str> = compiled.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                recipe.because(format!("{names} is compiled: the stage that builds has a compiler"));
                recipe.stage("python:${PYTHON_VERSION} AS build");
            }
        }
        install(sources, manager, &extra, &mut recipe);
        if program.is_script {
            install_project(manager, &mut recipe);
        }
    }

    recipe.stage(slim);
    let mut libraries: Vec<&str> =
        compiled.iter().map(|(_, library)| *library).filter(|l| !l.is_empty()).collect();
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
    let path = match sources.has_dir("src") && !sources.has("src/__init__.py") {
        true => " PYTHONPATH=/app/src",
        false => "",
    };
    let venv = if builds { "PATH=/venv/bin:$PATH " } else { "" };
    recipe.line(format!("ENV {venv}PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1{path}"));
    recipe.line("WORKDIR /app");
    if builds {
        recipe.line("COPY --from=build /venv /venv");
    }
    // The directory itself belongs to the program too: many keep a database file or uploads beside their code.
    recipe.line("RUN chown app:app /app");
    recipe.line("COPY --chown=app:app . .");
    if let Some(settings) = &program.static_files {
        recipe.because(format!("{settings} has a STATIC_ROOT: static files are collected"));
        recipe.line("RUN SECRET_KEY=build DJANGO_SECRET_KEY=build python manage.py collectstatic --noinput");
    }
    Ok(recipe.finish(sources, End { user: "app", port: program.port, start: program.start }))
}

fn manager(sources: &Sources<'_>, recipe: &mut Recipe) -> Manager {
    let project = sources.text("pyproject.toml");
    let (manager, why) = match () {
        () if sources.has("uv.lock") => (Manager::Uv, "uv.lock: packages by uv"),
        () if sources.has("poetry.lock") || project.contains("[tool.poetry]") => {
            (Manager::Poetry, "pyproject.toml with Poetry: packages by Poetry")
        }
        () if sources.has("requirements.txt") => (Manager::Requirements, "requirements.txt: packages by pip"),
        () if sources.has("Pipfile") => (Manager::Pipenv, "Pipfile: packages by Pipenv"),
        () if project.contains("[project]") || sources.has("setup.py") => {
            let file = if sources.has("setup.py") { "setup.py" } else { "pyproject.toml" };
            recipe.because(format!("{file}: a package, installed by pip"));
            return Manager::Project;
        }
        () => (Manager::None, "Python without a list of packages"),
    };
    recipe.because(why);
    manager
}

fn version(sources: &Sources<'_>) -> Version {
    let said = |tag: String, file| Version::said(tag, "Python", file);
    if let Some(tag) = sources.line(".python-version").and_then(|line| version::exact(&line)) {
        return said(tag, ".python-version");
    }
    if let Some(tag) = sources.line("runtime.txt").and_then(|line| version::exact(&line)) {
        return said(tag, "runtime.txt");
    }
    if let Some(tag) = sources.tool_version("python").and_then(|text| version::exact(&text)) {
        return said(tag, ".tool-versions");
    }
    let table = |file| sources.text(file).parse::<toml::Table>().unwrap_or_default();
    let text = |value: Option<&toml::Value>| value.and_then(toml::Value::as_str).map(str::to_owned);
    let project = table("pyproject.toml");
    let requires = text(project.get("project").and_then(|p| p.get("requires-python"))).or_else(|| {
        let poetry = project.get("tool").and_then(|t| t.get("poetry"));
        text(poetry.and_then(|p| p.get("dependencies")).and_then(|d| d.get("python")))
    });
    if let Some(range) = requires {
        // The default where it fits: what is newest is not yet everybody's.
        let known: Vec<&str> = std::iter::once(DEFAULT).chain(KNOWN).collect();
        if let Some(tag) = version::in_range(&range, &known) {
            return said(tag, "pyproject.toml");
        }
    }
    let pipfile = table("Pipfile");
    let requires = pipfile.get("requires");
    let asked = ["python_full_version", "python_version"].iter().find_map(|key| text(requires?.get(key)));
    if let Some(tag) = asked.and_then(|text| version::exact(&text)) {
        return said(tag, "Pipfile");
    }
    Version::default(DEFAULT, "Python", ".python-version, runtime.txt or pyproject.toml")
}

/// The packages come before the source: they change less.
fn install(sources: &Sources<'_>, manager: Manager, extra: &[&str], recipe: &mut Recipe) {
    const PIP: &[&str] = &["/root/.cache/pip"];
    recipe.line("ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1");
    recipe.line("RUN python -m venv /venv");
    recipe.line("WORKDIR /app");
    match manager {
        Manager::Uv => {
            recipe.run(PIP, "python3 -m venv /tools && /tools/bin/pip install uv");
            recipe.line("ENV UV_PROJECT_ENVIRONMENT=/venv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never");
            recipe.line("COPY pyproject.toml uv.lock ./");
            recipe.run(&["/root/.cache/uv"], "/tools/bin/uv sync --locked --no-dev --no-install-project");
        }
        Manager::Poetry => {
            recipe.run(PIP, "python3 -m venv /tools && /tools/bin/pip install poetry");
            let lock = if sources.has("poetry.lock") { " poetry.lock" } else { "" };
            recipe.line(format!("COPY pyproject.toml{lock} ./"));
            recipe.run(
                &["/root/.cache/pypoetry"],
                "/tools/bin/poetry install --no-interaction --only main --no-root",
            );
        }
        Manager::Pipenv => {
            recipe.run(PIP, "python3 -m venv /tools && /tools/bin/pip install pipenv");
            let (files, verb) = match sources.has("Pipfile.lock") {
                true => ("Pipfile Pipfile.lock", "sync"),
                false => ("Pipfile", "install --skip-lock"),
            };
            recipe.line(format!("COPY {files} ./"));
            recipe.line("ENV PIPENV_VERBOSITY=-1");
            recipe.run(&["/root/.cache/pip", "/root/.cache/pipenv"], format!("/tools/bin/pipenv {verb}"));
        }
        Manager::Requirements => {
            let text = sources.text("requirements.txt");
            let own = |line: &str| {
                let line = line.trim();
                line.starts_with("-e .")
                    || line.starts_with("./")
                    || line == "."
                    || line.starts_with("--editable .")
            };
            if text.lines().any(own) {
                recipe
                    .because("requirements.txt names this tree itself: all of it is copied before packages");
                recipe.line("COPY . .");
            } else {
                recipe.line(format!("COPY {} ./", requirement_files(sources, &text).join(" ")));
            }
            recipe.run(PIP, "pip install -r requirements.txt");
        }
        Manager::Project => {
            recipe.line("COPY . .");
            recipe.run(PIP, "pip install .");
        }
        Manager::None => {}
    }
    match manager {
        _ if extra.is_empty() => {}
        Manager::Uv => {
            recipe.run(&["/root/.cache/uv"], format!("/tools/bin/uv pip install {}", extra.join(" ")));
        }
        _ => recipe.run(PIP, format!("/venv/bin/pip install {}", extra.join(" "))),
    }
}

/// The project's own script must be installed too, where only its packages were.
fn install_project(manager: Manager, recipe: &mut Recipe) {
    let (cache, command) = match manager {
        Manager::Uv => ("/root/.cache/uv", "/tools/bin/uv sync --locked --no-dev --no-editable --inexact"),
        Manager::Poetry => {
            ("/root/.cache/pypoetry", "/tools/bin/poetry install --no-interaction --only main")
        }
        Manager::Requirements | Manager::Pipenv => ("/root/.cache/pip", "/venv/bin/pip install --no-deps ."),
        Manager::Project | Manager::None => return,
    };
    recipe.line("COPY . .");
    recipe.run(&[cache], command);
}

/// requirements.txt and the files at its side that it names.
fn requirement_files(sources: &Sources<'_>, text: &str) -> Vec<String> {
    let mut files = vec!["requirements.txt".to_owned()];
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some("-r" | "-c" | "--requirement" | "--constraint"), Some(file)) = (words.next(), words.next())
        else {
            continue;
        };
        // One directory is copied flat: files of others would land elsewhere.
        if !file.contains('/') && sources.has(file) && !files.iter().any(|f| f == file) {
            files.push(file.to_owned());
        }
    }
    files
}

/// What is started.
struct Program {
    start: Start,
    port: Option<u16>,
    because: String,
    /// Packages that serve it.
    servers: Vec<&'static str>,
    /// It is a script that the project installs.
    is_script: bool,
    /// The settings of Django that want static files collected.
    static_files: Option<String>,
}

impl Program {
    fn new(start: Start, port: Option<u16>, because: String, servers: &[&'static str]) -> Self {
        Self { start, port, because, servers: servers.to_vec(), is_script: false, static_files: None }
    }
}

fn program(sources: &Sources<'_>, packages: &str) -> Option<Program> {
    if let Some(program) = django(sources, packages).or_else(|| application(sources)) {
        return Some(with_procfile(sources, program));
    }
    if let Some(process) = super::procfile::main(sources.procfile()) {
        let port = (process.name == "web").then_some(8000);
        let start = Start::Shell(process.command.clone());
        return Some(Program::new(start, port, "the Procfile says what to start".into(), &[]));
    }
    if has_word(packages, "streamlit")
        && let Some(script) = sources.first(&["streamlit_app.py", "app.py", "main.py"])
    {
        let start = format!("streamlit run {script} --server.address 0.0.0.0 --server.port $PORT");
        return Some(Program::new(Start::Shell(start), Some(8501), format!("{script}: Streamlit"), &[]));
    }
    let project = sources.text("pyproject.toml").parse::<toml::Table>().unwrap_or_default();
    let scripts = project.get("project").and_then(|p| p.get("scripts")).and_then(toml::Value::as_table);
    if let Some(name) = scripts.and_then(|scripts| scripts.keys().next()) {
        let why = format!("pyproject.toml has the script {name}");
        let program = Program::new(Start::exec(&[name]), None, why, &[]);
        return Some(Program { is_script: true, ..program });
    }
    if let Some(script) = sources.first(&SCRIPTS) {
        let text = sources.text(script);
        let listens = ["http.server", "socket", "aiohttp", "tornado", "bottle", "PORT"]
            .iter()
            .any(|w| text.contains(w));
        let port = listens.then(|| port_in(&text).unwrap_or(8000));
        let start = Start::exec(&["python", script]);
        return Some(Program::new(start, port, format!("{script}: the program"), &[]));
    }
    let main = sources.find(|path| file_name(path) == "__main__.py" && path.matches('/').count() <= 2);
    let module = module(main.first()?.strip_suffix("/__main__.py")?);
    let why = format!("{module} has a __main__.py");
    Some(Program::new(Start::exec(&["python", "-m", &module]), None, why, &[]))
}

/// What the Procfile starts needs no server of ours.
fn with_procfile(sources: &Sources<'_>, mut program: Program) -> Program {
    if super::procfile::main(sources.procfile()).is_some() {
        program.servers.clear();
    }
    program
}

fn django(sources: &Sources<'_>, packages: &str) -> Option<Program> {
    if !sources.has("manage.py") {
        return None;
    }
    let asgi =
        has_word(packages, "channels") || has_word(packages, "daphne") || has_word(packages, "uvicorn");
    let at = |name: &str| {
        let found = sources.find(|path| file_name(path) == name && path.matches('/').count() <= 3);
        found.first().map(|path| module(path.trim_end_matches(".py")))
    };
    let (start, server, why) = match (asgi.then(|| at("asgi.py")).flatten(), at("wsgi.py")) {
        (Some(asgi), _) => {
            (format!("uvicorn --host 0.0.0.0 --port $PORT {asgi}:application"), "uvicorn", asgi)
        }
        (None, Some(wsgi)) => (format!("gunicorn --bind 0.0.0.0:$PORT {wsgi}:application"), "gunicorn", wsgi),
        (None, None) => return None,
    };
    let why = format!("manage.py and {why}: Django, served by {server}");
    let mut program = Program::new(Start::Shell(start), Some(8000), why, &[server]);
    let settings = sources.find(|path| path.contains("settings") && path.ends_with(".py"));
    program.static_files = settings
        .into_iter()
        .find(|path| sources.text(path).lines().any(|line| line.trim_start().starts_with("STATIC_ROOT")))
        .map(str::to_owned);
    Some(program)
}

/// An application of a framework, by what its source says.
fn application(sources: &Sources<'_>) -> Option<Program> {
    let mut candidates: Vec<&str> = SCRIPTS.iter().copied().filter(|s| sources.has(s)).collect();
    let others = sources.find(|path| {
        let tests = path.split('/').any(|part| part.starts_with("test") || part.starts_with('.'));
        path.ends_with(".py") && path.matches('/').count() <= 2 && !tests
    });
    candidates.extend(others.into_iter().filter(|o| !SCRIPTS.contains(o)).take(200));
    for path in candidates {
        let text = sources.text(path);
        let module = module(path.trim_end_matches(".py").trim_end_matches("/__init__"));
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("def ").and_then(|l| l.split('(').next())
                && matches!(name, "create_app" | "make_app")
                && text.contains("Flask(")
            {
                let start = format!("gunicorn --bind 0.0.0.0:$PORT '{module}:{name}()'");
                let why = format!("{path} has {name}(): Flask, served by gunicorn");
                return Some(Program::new(
                    Start::Shell(start),
                    Some(port_in(&text).unwrap_or(8000)),
                    why,
                    &["gunicorn"],
                ));
            }
            let Some((name, framework)) = assignment(line) else { continue };
            let wsgi = matches!(framework, "Flask" | "Bottle");
            let (server, start) = match wsgi {
                true => ("gunicorn", format!("gunicorn --bind 0.0.0.0:$PORT {module}:{name}")),
                false => ("uvicorn", format!("uvicorn --host 0.0.0.0 --port $PORT {module}:{name}")),
            };
            let why = format!("{path} has {name} = {framework}(…), served by {server}");
            return Some(Program::new(
                Start::Shell(start),
                Some(port_in(&text).unwrap_or(8000)),
                why,
                &[server],
            ));
        }
    }
    None
}

/// `app = Flask(__name__)` at the edge of a line.
fn assignment(line: &str) -> Option<(&str, &'static str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.split(':').next()?.trim_end();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let called = value.trim().split('(').next()?.rsplit('.').next()?;
    let frameworks = ["Flask", "FastAPI", "Starlette", "Quart", "Litestar", "Bottle"];
    let framework = frameworks.into_iter().find(|f| *f == called && value.contains('('))?;
    Some((name, framework))
}

/// `src/shop/app` is `shop.app`.
fn module(path: &str) -> String {
    path.strip_prefix("src/").unwrap_or(path).replace('/', ".")
}
