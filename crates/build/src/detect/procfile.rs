//! Procfiles: a program's processes by name (pure). The form is Heroku's: `name: command`, a line each.

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// `web`
    pub(super) name: String,
    /// As a shell takes it.
    pub(super) command: String,
}

/// Lines that are `name: command`; others are skipped, as Heroku does.
pub(super) fn parse(text: &str) -> Vec<Process> {
    let process = |line: &str| {
        let (name, command) = line.split_once(':')?;
        let (name, command) = (name.trim(), command.trim());
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        (is_name && !command.is_empty())
            .then(|| Process { name: name.to_owned(), command: command.to_owned() })
    };
    text.lines().filter_map(process).collect()
}

/// The process that a container runs where nothing else is said: `web`, else the first but `release`.
pub(super) fn main(processes: &[Process]) -> Option<&Process> {
    let web = processes.iter().find(|p| p.name == "web");
    web.or_else(|| processes.iter().find(|p| p.name != "release"))
}

/// The language whose own word begins the main process.
pub(super) fn language(processes: &[Process]) -> Option<&'static str> {
    let first = main(processes)?.command.split_whitespace().find(|word| !word.contains('='))?;
    match first.rsplit('/').next().unwrap_or(first) {
        "node" | "npm" | "yarn" | "pnpm" | "npx" => Some("Node"),
        "python" | "python3" | "gunicorn" | "uvicorn" | "flask" | "daphne" | "hypercorn" | "celery"
        | "streamlit" => Some("Python"),
        "bundle" | "rails" | "puma" | "rackup" | "rake" | "ruby" => Some("Ruby"),
        "java" => Some("Java"),
        "php" | "heroku-php-apache2" | "heroku-php-nginx" => Some("PHP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_is_the_main_process_wherever_it_stands() {
        let all = parse(
            "release: ./migrate\nworker: celery -A x worker\n\n# no: comment\nweb: gunicorn x:app --bind :$PORT\n",
        );
        let names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["release", "worker", "web"]);
        assert_eq!(main(&all).unwrap().command, "gunicorn x:app --bind :$PORT");
        assert_eq!(main(&all[..2]).unwrap().name, "worker");
        assert_eq!(language(&all), Some("Python"));
    }
}
