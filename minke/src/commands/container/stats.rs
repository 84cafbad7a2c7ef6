//! `stats`: what containers use, once or as a table that is drawn anew with each sample.

use super::{check_name, path};
use crate::cli::command::{Arity, Command, Offer, command};
use crate::cli::flag::flags;
use crate::cli::{Cli, Failure, Outcome, show};
use crate::client::Client;
use crate::client::http::Payload;
use crate::format::listing::{Listing, Row};
use crate::format::value::Value;
use crate::human;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// `stats`
pub(crate) static COMMAND: Command = command!(StatsFlags, stats, {
    name: "stats",
    known_as: &["container stats", "stats"],
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Show what containers use, again and again",
    offer: Offer::Running,
    arity: Arity::Any,
});

flags! {
    /// Flags of `stats`.
    struct StatsFlags {
        all: bool ["all" 'a'], "Show all containers, not just those that run";
        format: String ["format"], "Format by a template:\n'table':            columns with heads (default)\n'table TEMPLATE':   columns of your own\n'json':             JSON\n'TEMPLATE':         a Go template";
        no_stream: bool ["no-stream"], "Show the first sample only";
        no_trunc: bool ["no-trunc"], "Do not cut what is long";
    }
}

const LISTING: Listing = Listing {
    type_name: "*container.statsContext",
    heads: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    table: "table {{.ID}}\\t{{.Name}}\\t{{.CPUPerc}}\\t{{.MemUsage}}\\t{{.MemPerc}}\\t{{.NetIO}}\\t{{.BlockIO}}\\t{{.PIDs}}",
    quiet: "{{.ID}}",
    raw: "",
};

/// News that wait to be drawn; who has more waits for the terminal.
const NEWS: usize = 256;

/// What a follower of one container tells.
enum News {
    /// A sample of the container that was asked for by this name.
    Sample(String, Box<Value>),
    /// Its stream ended, with a reason or without.
    End(String, Option<Failure>),
    /// A container began to run.
    Began(String),
}

/// A sample as a row. `asked` is how the user named the container.
fn row(asked: &str, sample: Option<&Value>, trunc: bool) -> Row {
    let Some(sample) = sample else {
        let dashes = || Value::from("--");
        let pair = || Value::from("-- / --");
        return Row::new([
            ("BlockIO", pair()),
            ("CPUPerc", dashes()),
            ("Container", asked.into()),
            ("ID", dashes()),
            ("MemPerc", dashes()),
            ("MemUsage", pair()),
            ("Name", dashes()),
            ("NetIO", pair()),
            ("PIDs", dashes()),
        ]);
    };
    let (used, limit) = (memory(sample), sample.int("memory_stats.limit") as f64);
    let percent = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let (received, sent) = network(sample);
    let (read, written) = block(sample);
    let io = |a: f64, b: f64| Value::from(format!("{} / {}", human::size_with(a, 3), human::size_with(b, 3)));
    let id = sample.text("id");
    Row::new([
        ("BlockIO", io(read, written)),
        ("CPUPerc", format!("{:.2}%", cpu(sample)).into()),
        ("Container", asked.into()),
        ("ID", if trunc { human::short_id(id) } else { id }.into()),
        ("MemPerc", format!("{percent:.2}%").into()),
        ("MemUsage", format!("{} / {}", human::bytes(used), human::bytes(limit)).into()),
        ("Name", sample.text("name").trim_start_matches('/').into()),
        ("NetIO", io(received, sent)),
        ("PIDs", sample.int("pids_stats.current").to_string().into()),
    ])
}

/// Percent of one CPU since the sample before.
fn cpu(sample: &Value) -> f64 {
    let number = |path: &str| sample.int(path) as f64;
    let used = number("cpu_stats.cpu_usage.total_usage") - number("precpu_stats.cpu_usage.total_usage");
    let passed = number("cpu_stats.system_cpu_usage") - number("precpu_stats.system_cpu_usage");
    let online = match sample.int("cpu_stats.online_cpus") {
        0 => sample.list("cpu_stats.cpu_usage.percpu_usage").len() as i64,
        count => count,
    };
    if used > 0.0 && passed > 0.0 { used / passed * online as f64 * 100.0 } else { 0.0 }
}

/// Memory in use, without the page cache that can be dropped: cgroup v1 and v2 name it differently.
fn memory(sample: &Value) -> f64 {
    let usage = sample.int("memory_stats.usage");
    let stats = sample.at("memory_stats.stats");
    for name in ["total_inactive_file", "inactive_file"] {
        let cache = stats.int(name);
        if !stats.at(name).is_null() && cache < usage {
            return (usage - cache) as f64;
        }
    }
    usage as f64
}

fn network(sample: &Value) -> (f64, f64) {
    sample.at("networks").entries().iter().fold((0.0, 0.0), |(received, sent), (_, network)| {
        (received + network.int("rx_bytes") as f64, sent + network.int("tx_bytes") as f64)
    })
}

fn block(sample: &Value) -> (f64, f64) {
    sample.list("blkio_stats.io_service_bytes_recursive").iter().fold((0.0, 0.0), |(read, written), entry| {
        match entry.text("op").to_lowercase().chars().next() {
            Some('r') => (read + entry.int("value") as f64, written),
            Some('w') => (read, written + entry.int("value") as f64),
            _ => (read, written),
        }
    })
}

/// Does it for containers that are named.
pub(crate) fn stats(cli: &Cli, flags: StatsFlags, args: Vec<String>) -> Outcome {
    let configured = cli.config().text("statsFormat");
    let format = match flags.format.as_str() {
        "" if configured.is_empty() => "table",
        "" => configured,
        format => format,
    };
    args.iter().try_for_each(|name| check_name(name))?;
    let client = cli.client()?;
    let names = if args.is_empty() { running(client, flags.all)? } else { args.clone() };
    if flags.no_stream {
        return once(client, &names, format, flags.no_trunc, !args.is_empty());
    }
    live(cli, names, format, &flags, args.is_empty())
}

fn render(format: &str, rows: &[Row]) -> Result<String, Failure> {
    LISTING
        .render(format, false, rows)
        .map_err(|why| Failure::new(why.replacen("failed to execute template", "template parsing error", 1)))
}

/// The ids of the containers that run, or of all.
fn running(client: &Client, all: bool) -> Result<Vec<String>, Failure> {
    let query: Vec<_> = if all { vec![("all", "1".to_owned())] } else { Vec::new() };
    let containers = client.get("/containers/json", &query)?;
    Ok(containers.items().iter().map(|container| human::short_id(container.text("Id")).to_owned()).collect())
}

/// One sample of each, asked for side by side: the daemon takes a second for one.
fn once(client: &Client, names: &[String], format: &str, no_trunc: bool, named: bool) -> Outcome {
    let samples: Vec<Result<Value, Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| Ok(client.get(&path(name, "/stats"), &[("stream", "0".into())])?)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Failure::new("a worker of this command died")))
            })
            .collect()
    });
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (name, sample) in names.iter().zip(samples) {
        match sample {
            Ok(sample) => rows.push(row(name, Some(&sample), !no_trunc)),
            Err(failure) if named => failures.push(failure),
            // A container that went away between the list and its sample.
            Err(_) => {}
        }
    }
    if !failures.is_empty() {
        return crate::output::together(failures);
    }
    show(&render(format, &rows)?)
}

/// Draws the table anew with each sample that comes, until all streams have ended.
fn live(cli: &Cli, names: Vec<String>, format: &str, flags: &StatsFlags, watch: bool) -> Outcome {
    let (tell, news): (SyncSender<News>, Receiver<News>) = sync_channel(NEWS);
    let mut order: Vec<String> = Vec::new();
    let mut samples: BTreeMap<String, Option<Box<Value>>> = BTreeMap::new();
    let follow = |name: &str| -> Outcome {
        follow(Client::new(cli.host()?, cli.config().headers()), name.to_owned(), tell.clone())
    };
    if watch {
        watch_starts(Client::new(cli.host()?, cli.config().headers()), tell.clone());
    }
    for name in names {
        follow(&name)?;
        samples.insert(name.clone(), None);
        order.push(name);
    }
    let mut failures = Vec::new();
    draw(&order, &samples, format, flags)?;
    while watch || !order.is_empty() {
        let Ok(first) = news.recv() else { break };
        for item in std::iter::once(first).chain(news.try_iter()) {
            match item {
                News::Sample(name, sample) => {
                    samples.insert(name, Some(sample));
                }
                News::End(name, failure) => {
                    failures.extend(failure.filter(|_| !watch));
                    if !(watch && flags.all) {
                        order.retain(|known| *known != name);
                        samples.remove(&name);
                    }
                }
                News::Began(id) if order.contains(&id) => {}
                News::Began(id) => {
                    follow(&id)?;
                    samples.insert(id.clone(), None);
                    order.push(id);
                }
            }
        }
        draw(&order, &samples, format, flags)?;
    }
    crate::output::together(failures)
}

fn draw(
    order: &[String],
    samples: &BTreeMap<String, Option<Box<Value>>>,
    format: &str,
    flags: &StatsFlags,
) -> Outcome {
    let rows: Vec<Row> = order
        .iter()
        .map(|name| row(name, samples.get(name).and_then(|sample| sample.as_deref()), !flags.no_trunc))
        .collect();
    let table = render(format, &rows)?;
    // Home, each line cleared to its end, and all below.
    show(&format!("\x1b[H{}\x1b[J", table.replace('\n', "\x1b[K\n")))
}

/// Follows one container's samples on a thread of its own.
fn follow(client: Client, name: String, tell: SyncSender<News>) -> Outcome {
    std::thread::Builder::new().spawn(move || {
        let end = match client.call("GET", &path(&name, "/stats"), &[("stream", "1".into())], Payload::None) {
            Err(error) => Some(error.into()),
            Ok(answer) => {
                let mut lines = BufReader::new(answer.body).lines();
                while let Some(Ok(line)) = lines.next() {
                    let Ok(sample) = serde_json::from_str::<Value>(&line) else { continue };
                    // A container that is not running has no first reading.
                    if sample.text("read").starts_with("0001") {
                        break;
                    }
                    if tell.send(News::Sample(name.clone(), Box::new(sample))).is_err() {
                        return;
                    }
                }
                None
            }
        };
        let _ = tell.send(News::End(name, end));
    })?;
    Ok(())
}

/// Tells of containers that start from now on.
fn watch_starts(client: Client, tell: SyncSender<News>) {
    std::thread::spawn(move || {
        let filters = r#"{"event":{"start":true},"type":{"container":true}}"#;
        let Ok(answer) = client.call("GET", "/events", &[("filters", filters.into())], Payload::None) else {
            return;
        };
        for line in BufReader::new(answer.body).lines().map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str::<Value>(&line) {
                let id = human::short_id(event.text("Actor.ID")).to_owned();
                if tell.send(News::Began(id)).is_err() {
                    return;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_row() {
        let sample: Value = serde_json::from_str(
            r#"{"id":"c44242d550d44f1c","name":"/s1","pids_stats":{"current":3},
            "cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":2097152,"limit":4194304,"stats":{"inactive_file":1048576}},
            "networks":{"eth0":{"rx_bytes":1000,"tx_bytes":5}},
            "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":2000},{"op":"write","value":1}]}}"#,
        )
        .unwrap();
        let text = LISTING
            .render(
                "{{.ID}} {{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.BlockIO}} {{.PIDs}}",
                false,
                &[row("s1", Some(&sample), true)],
            )
            .unwrap();
        assert_eq!(text, "c44242d550d4 s1 40.00% 1MiB / 4MiB 25.00% 1kB / 5B 2kB / 1B 3\n");
        assert_eq!(
            LISTING.render("{{.Name}} {{.NetIO}}", false, &[row("s1", None, true)]).unwrap(),
            "-- -- / --\n"
        );
    }
}
