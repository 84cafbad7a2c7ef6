//! Output of a service's tasks, or of one, from all nodes at once; each line says whose it is.

use super::Routes;
use crate::{
    error::{ApiError, Result},
    frames,
    request::Ask,
    response::{self, Answer},
    router::Endpoint as E,
    stream::{MULTIPLEXED, RAW},
    swarm::{Door, LogLine, LogWish},
    wire::time,
};
use bytes::Bytes;
use minke_cluster::control::{Control, Filters, task::TaskView};
use minke_model::{ServiceId, TaskId};
use std::{collections::BTreeSet, sync::Arc};
use tokio::{sync::mpsc, task::JoinSet};

/// Chunks on their way to a client that does not read.
const WAITING: usize = 64;
/// Where the daemon's own words go in a framed stream.
const SYSTEM_ERROR: u8 = 3;

/// What is wanted, of whom.
struct Wish {
    stdout: bool,
    stderr: bool,
    follow: bool,
    since: Option<minke_model::Timestamp>,
    tail: Option<usize>,
    form: Form,
}

/// How lines are written.
#[derive(Clone, Copy)]
struct Form {
    framed: bool,
    timestamps: bool,
    details: bool,
}

/// Whose output.
enum Whose {
    Service(ServiceId),
    Task(TaskId),
}

pub(super) async fn handle(routes: &Routes, ask: Ask) -> Result<Answer> {
    let query = &ask.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::internal("Bad parameters: you must choose at least one stream"));
    }
    let control = routes.control()?;
    let (whose, tty) = match ask.endpoint {
        E::ServiceLogs => {
            let service = control.service(&ask.name).await?;
            (Whose::Service(service.id.clone()), service.spec.task.container.tty)
        }
        _ => {
            let task = control.task(&ask.name).await?;
            (Whose::Task(task.task.id.clone()), task.spec.as_ref().is_some_and(|spec| spec.container.tty))
        }
    };
    let tail = match query.get("tail") {
        "" | "all" => None,
        text => match text.parse::<i64>() {
            Err(_) => return Err(ApiError::internal("tail value must be a positive integer or \"all\"")),
            Ok(n) => Some(
                usize::try_from(n).map_err(|_| ApiError::internal("negative tail values not supported"))?,
            ),
        },
    };
    let form = Form { framed: !tty, timestamps: query.flag("timestamps"), details: query.flag("details") };
    let follow = query.flag("follow");
    let wish = Wish { stdout, stderr, follow, since: time::unix(query.get("since"))?, tail, form };
    let kind = if form.framed && ask.dialect.names_multiplexed { MULTIPLEXED } else { RAW };
    let (sender, receiver) = mpsc::channel(WAITING);
    // Ends when the client's end of the channel is dropped.
    tokio::spawn(gather(control, routes.door.clone(), whose, wish, sender));
    Ok(response::chunks(
        kind,
        response::steps(receiver, |mut receiver| async move {
            let chunk = receiver.recv().await?;
            Some((Ok(chunk), receiver))
        }),
    ))
}

/// Reads the tasks that there are, and where it follows, those that come.
async fn gather(control: Control, door: Arc<dyn Door>, whose: Whose, wish: Wish, out: mpsc::Sender<Bytes>) {
    let (mut seen, mut readers, mut failures) = (BTreeSet::new(), JoinSet::new(), Vec::new());
    let Ok(first) = control.look().await else { return };
    let mut changes = control.watch(first.revision());
    loop {
        let mut live = false;
        for task in tasks(&control, &whose).await {
            live |= !task.state().is_terminal();
            let id = task.task.id.clone();
            // Nothing was said before there is a container.
            let began = task.status.as_ref().is_some_and(|status| status.container.is_some());
            if began && seen.insert(id) {
                readers.spawn(read(door.clone(), task, wish.request(), wish.form, out.clone()));
            }
        }
        let goes_on = wish.follow && (live || matches!(whose, Whose::Service(_)));
        if readers.is_empty() && !goes_on {
            break;
        }
        tokio::select! {
            () = out.closed() => return,
            Some(ended) = readers.join_next() => failures.extend(ended.ok().flatten()),
            change = changes.next(), if goes_on => if change.is_err() { break },
        }
    }
    failures.dedup();
    if !failures.is_empty() {
        let text = format!(
            "Error grabbing logs: rpc error: code = Unknown desc = warning: incomplete log stream. some logs could not be retrieved for the following reasons: {}\n",
            failures.join(", ")
        );
        let mut chunk = Vec::new();
        if wish.form.framed {
            chunk.extend_from_slice(&frames::head(SYSTEM_ERROR, text.len()));
        }
        chunk.extend_from_slice(text.as_bytes());
        // Who left does not hear it.
        let _ = out.send(chunk.into()).await;
    }
}

async fn tasks(control: &Control, whose: &Whose) -> Vec<TaskView> {
    match whose {
        Whose::Service(id) => {
            // A service that is gone meanwhile has no tasks.
            control.tasks(&Filters::default().with("service", id.as_str())).await.unwrap_or_default()
        }
        Whose::Task(id) => control.task_by_id(id).await.into_iter().collect(),
    }
}

impl Wish {
    /// All but of whom.
    fn request(&self) -> impl Fn(&TaskView) -> Option<LogWish> + Send + Sync + 'static {
        let (stdout, stderr, follow, since, tail) =
            (self.stdout, self.stderr, self.follow, self.since, self.tail);
        move |view| {
            let (task, node) = (view.task.id.clone(), view.task.node.clone()?);
            Some(LogWish { task, node, stdout, stderr, follow, since, tail })
        }
    }
}

/// Reads one task; says why it could not, if it could not.
async fn read(
    door: Arc<dyn Door>,
    view: TaskView,
    request: impl Fn(&TaskView) -> Option<LogWish>,
    form: Form,
    out: mpsc::Sender<Bytes>,
) -> Option<String> {
    let wish = request(&view)?;
    let node = wish.node.clone();
    let mut lines = match door.logs(wish).await {
        Ok(lines) => lines,
        Err(e) => return Some(e.message),
    };
    let context = [
        ("com.docker.swarm.node.id", node.as_str()),
        ("com.docker.swarm.service.id", view.task.service.as_str()),
        ("com.docker.swarm.task.id", view.task.id.as_str()),
    ];
    while let Some(line) = lines.recv().await {
        match line {
            Ok(line) => out.send(form.write(line, &context)).await.ok()?,
            Err(e) => return Some(e.message),
        }
    }
    None
}

impl Form {
    /// One line, ready to be sent.
    fn write(self, mut line: LogLine, context: &[(&str, &str)]) -> Bytes {
        let mut text = Vec::with_capacity(line.text.len() + 256);
        if self.timestamps {
            text.extend_from_slice(time::fixed(line.at).as_bytes());
            text.push(b' ');
        }
        if self.details {
            line.details
                .extend(context.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            let pairs: Vec<String> = line
                .details
                .iter()
                .map(|(name, value)| format!("{}={}", super::logs::escape(name), super::logs::escape(value)))
                .collect();
            text.extend_from_slice(pairs.join(",").as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(&line.text);
        if !self.framed {
            return text.into();
        }
        let mut chunk = frames::head(line.stream, text.len()).to_vec();
        chunk.append(&mut text);
        chunk.into()
    }
}
