//! The shim itself: one loop over all its descriptors.
//!
//! Never: blocks but in `poll`.

use crate::{
    cgroup,
    control::{Control, Input},
    deadline::Deadline,
    directory::Directory,
    external,
    log::{Log, clock},
    plan::{Cgroups, ExecPlan, External, Namespace, StartPlan},
    protocol::{self, FIRST, Id, Kind, Op, Phase, Reply, Request, Stage},
    report::{self, At, Failure, Outcome, Word},
    stream::Part,
    task::{self, Home, Task},
};
use minke_linux::{namespace, pidfd};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

/// Ended execs that are remembered.
const MAX_DONE: usize = 1024;
/// Connections at once: a daemon, and one that takes over.
const MAX_CONTROLS: usize = 16;
/// After this long without anything, memory is given back.
const REST: Duration = Duration::from_millis(200);

/// What a descriptor in `poll` belongs to.
#[derive(Clone, Copy, Debug)]
enum Source {
    Listener,
    Control(u64),
    /// The first process may run no longer.
    Deadline,
    /// A process ended.
    End(Id),
    /// A process says something before exec.
    Report(Id),
    Stream(Id, Part),
}

pub(crate) struct Shim {
    directory: Directory,
    token: Id,
    listener: OwnedFd,
    controls: Vec<Control>,
    next_control: u64,
    home: Home,
    first: Option<Task>,
    /// netns of the container, for whoever connects.
    netns: Option<OwnedFd>,
    /// mount namespace of the container. Taking it down waits for the kernel, and unmounting an overlay writes its whole upper
    /// file system to disk. Held here, that happens when the shim ends, not between a process' end and its being told.
    mounts: Option<OwnedFd>,
    cgroups: Cgroups,
    /// The runtime that makes the container instead of this shim, and its name for it.
    external: Option<(External, String)>,
    /// Its processes die with the first.
    own_pids: bool,
    log: Option<Log>,
    execs: Vec<Task>,
    done: VecDeque<(Id, i32, i32)>,
    /// How the first process stands.
    state: Reply,
    failure: Option<Failure>,
    forgotten: bool,
    /// Dies when no daemon is connected any more.
    bound: bool,
    /// Until when it may run, and what wakes the loop then.
    deadline: Option<Deadline>,
    /// For reading.
    piece: Vec<u8>,
}

/// Runs a shim for the container whose plan lies in `dir`; its listening socket is stdin.
pub(crate) fn run(dir: OwnedFd, listener: OwnedFd) -> io::Result<()> {
    let directory = Directory::new(dir);
    let token = directory.token()?;
    let plan = directory.plan()?;
    let home = Home::open().map_err(|f| io::Error::from_raw_os_error(f.errno))?;
    let mut shim = Shim {
        directory,
        token,
        listener,
        controls: Vec::new(),
        next_control: 1,
        home,
        first: None,
        netns: None,
        mounts: None,
        cgroups: plan.cgroups.clone(),
        external: plan.external.clone().map(|external| (external, plan.id.clone())),
        own_pids: plan.namespaces.pid == Namespace::New,
        log: None,
        execs: Vec::new(),
        done: VecDeque::new(),
        state: Reply::new(Kind::State, 0),
        failure: None,
        forgotten: false,
        bound: false,
        deadline: None,
        piece: Vec::new(),
    };
    if let Err(failure) = shim.create(&plan) {
        shim.fail(failure);
    }
    // The child has its own copy.
    drop(plan);
    shim.serve()
}

impl Shim {
    /// Phase one.
    fn create(&mut self, plan: &StartPlan) -> Outcome<()> {
        let first = match &plan.external {
            Some(external) => external::first(plan, external)
                .inspect(|first| external::enter_unified(&plan.cgroups.unified, first.pid))?,
            None => task::first(plan, &self.home)?,
        };
        self.state.pid = first.pid;
        self.first = Some(first);
        let pid = match plan.namespaces.net {
            Namespace::New => self.state.pid,
            Namespace::Host => std::process::id() as i32,
            Namespace::Join { pid } => pid,
        };
        self.netns = Some(namespace::open(pid, "net").at(Stage::Join, "net")?);
        self.mounts = Some(namespace::open(self.state.pid, "mnt").at(Stage::Join, "mnt")?);
        self.log = Log::open(&plan.log).at(Stage::Log, plan.log.path.as_str())?;
        if let Some(first) = &self.first {
            first.go();
        }
        Ok(())
    }

    /// The first process will never run.
    fn fail(&mut self, failure: Failure) {
        if let Some(first) = &self.first {
            pidfd::kill(first.pidfd.as_fd());
        }
        self.state.phase = Phase::Failed;
        self.state.stage = failure.stage;
        self.state.errno = failure.errno;
        self.failure = Some(failure);
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut fds: Vec<libc::pollfd> = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        let mut busy = true;
        while !self.is_over() {
            fds.clear();
            sources.clear();
            self.watch(&mut |fd, events, source| {
                fds.push(libc::pollfd { fd, events, revents: 0 });
                sources.push(source);
            });
            let mut timeout = if busy { Some(REST) } else { None };
            if let Some(deadline) = self.tasks().filter_map(|t| t.streams.deadline()).min() {
                let left = deadline.saturating_duration_since(Instant::now());
                timeout = Some(timeout.map_or(left, |t| t.min(left)));
            }
            let wait = timeout.map_or(-1, |t| t.as_millis() as i32 + 1);
            // SAFETY: the list lives through the call and its length is told.
            match unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, wait) } {
                0 => {
                    busy = false;
                    self.rest();
                }
                1.. => busy = true,
                _ => {
                    let e = io::Error::last_os_error();
                    if e.raw_os_error() != Some(libc::EINTR) {
                        return Err(e);
                    }
                    continue;
                }
            }
            for (fd, source) in fds.iter().zip(&sources).filter(|(fd, _)| fd.revents != 0) {
                self.handle(*source, fd.revents);
            }
            if let Some(log) = &mut self.log {
                log.flush();
            }
            self.first.iter_mut().chain(&mut self.execs).for_each(|t| t.streams.sweep());
            self.execs.retain(|t| !t.ended || t.streams.attended());
        }
        Ok(())
    }

    /// Whether nothing is left to do.
    fn is_over(&self) -> bool {
        match self.state.phase {
            Phase::Waiting | Phase::Failed => {
                let abandoned = self.forgotten || (self.next_control > 1 && self.controls.is_empty());
                // The daemon that made it is gone before it said go, or after it heard that it failed.
                if let Some(first) = self.first.as_ref().filter(|_| abandoned) {
                    pidfd::kill(first.pidfd.as_fd());
                }
                // Not before it is reaped: its cgroups are empty then.
                abandoned && self.first.is_none()
            }
            Phase::Exited => self.forgotten && !self.tasks().any(|t| t.streams.attended()),
            _ => false,
        }
    }

    fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.first.iter().chain(&self.execs)
    }

    fn task(&mut self, id: Id) -> Option<&mut Task> {
        self.first.iter_mut().chain(&mut self.execs).find(|t| t.id == id)
    }

    /// Names every descriptor that something may come from.
    fn watch(&self, add: &mut dyn FnMut(i32, i16, Source)) {
        // First: whoever has no time left gets none by words that came with it.
        if let Some(deadline) = &self.deadline {
            add(deadline.raw(), libc::POLLIN, Source::Deadline);
        }
        add(self.listener.as_raw_fd(), libc::POLLIN, Source::Listener);
        for control in &self.controls {
            add(control.raw(), libc::POLLIN, Source::Control(control.number));
        }
        for task in self.tasks() {
            // What it says comes before its end, its output too: handled in this order.
            if let Some(report) = &task.report {
                add(report.as_raw_fd(), libc::POLLIN, Source::Report(task.id));
            }
            task.streams.watch(|fd, events, part| add(fd, events, Source::Stream(task.id, part)));
            if !task.ended {
                add(task.pidfd.as_raw_fd(), libc::POLLIN, Source::End(task.id));
            }
        }
    }

    fn handle(&mut self, source: Source, events: i16) {
        match source {
            Source::Listener => self.accept(),
            Source::Deadline => {
                self.deadline = None;
                self.kill_all();
            }
            Source::Control(number) => self.control(number),
            Source::Report(id) => self.report(id),
            Source::End(id) => self.ended(id),
            Source::Stream(id, part) => {
                let Shim { first, execs, log, piece, .. } = self;
                match first {
                    Some(task) if id == FIRST => task.streams.handle(part, events, log.as_mut(), piece),
                    _ => {
                        if let Some(task) = execs.iter_mut().find(|t| t.id == id) {
                            task.streams.handle(part, events, None, piece);
                        }
                    }
                }
            }
        }
    }

    fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        if let Ok(socket) = rustix::net::accept_with(&self.listener, flags)
            && self.controls.len() < MAX_CONTROLS
        {
            self.controls.push(Control::new(self.next_control, socket));
            self.next_control += 1;
        }
    }

    fn control(&mut self, number: u64) {
        loop {
            let Some(control) = self.controls.iter_mut().find(|c| c.number == number) else { return };
            match control.read() {
                Input::Later => return,
                Input::Gone => {
                    self.controls.retain(|c| c.number != number);
                    if self.bound && self.controls.is_empty() {
                        // Nobody will ask for it: its end is the shim's.
                        self.kill_all();
                        self.forgotten = true;
                    }
                    return;
                }
                Input::Request(request, tail, fd) => self.request(number, request, &tail, fd),
            }
        }
    }

    fn answer(&mut self, number: u64, reply: Reply, tail: &[u8]) {
        self.controls.retain(|c| c.number != number || c.send(reply, tail, &[]));
    }

    fn tell_all(&mut self, reply: Reply) {
        self.controls.retain(|c| !c.known || c.send(reply, &[], &[]));
    }

    fn request(&mut self, number: u64, request: Request, tail: &[u8], fd: Option<OwnedFd>) {
        let mut done = Reply::new(Kind::Done, request.seq);
        match request.op {
            Op::Hello => return self.hello(number, request),
            Op::Go => {
                self.bound = request.flags & protocol::BOUND != 0;
                return self.go(number, request.seq);
            }
            Op::Signal => {
                let sent = self.task(request.id).map(|t| pidfd::signal(t.pidfd.as_fd(), request.a));
                if let Some(Err(e)) = sent {
                    (done.kind, done.errno) = (Kind::Failed, e.raw_os_error().unwrap_or(0));
                }
            }
            Op::Kill => self.kill_all(),
            Op::Resize => {
                if let Some(task) = self.task(request.id) {
                    task.resize(request.a as u16, request.b as u16);
                }
            }
            Op::Attach => {
                let attached = self
                    .first
                    .as_mut()
                    .zip(fd)
                    .is_some_and(|(first, fd)| first.streams.attach(fd, request.flags).is_ok());
                if !attached {
                    done.kind = Kind::Failed;
                }
            }
            Op::Exec => return self.exec(number, request, tail, fd),
            Op::ExecState => {
                (done.kind, done.id) = (Kind::Exec, request.id);
                if let Some((_, pid, code)) = self.done.iter().find(|d| d.0 == request.id) {
                    (done.phase, done.pid, done.code) = (Phase::Exited, *pid, *code);
                } else if let Some(task) = self.execs.iter().find(|t| t.id == request.id) {
                    (done.phase, done.pid) = (Phase::Running, task.pid);
                } else {
                    done.phase = Phase::Unknown;
                }
            }
            Op::Forget => self.forgotten = true,
            Op::RunUntil => {
                if let Err(e) = self.run_until(request.a, request.b) {
                    (done.kind, done.errno) = (Kind::Failed, e.raw_os_error().unwrap_or(0));
                }
            }
        }
        self.answer(number, done, &[]);
    }

    fn run_until(&mut self, seconds: i32, nanos: i32) -> io::Result<()> {
        match &mut self.deadline {
            Some(deadline) => deadline.push(seconds, nanos)?,
            None => self.deadline = Some(Deadline::new(seconds, nanos)?),
        }
        Ok(())
    }

    fn hello(&mut self, number: u64, request: Request) {
        let Shim { controls, state, token, first, netns, failure, .. } = self;
        let good = request.a == protocol::VERSION && request.id == *token;
        let reply = Reply { seq: request.seq, ..*state };
        let detail = failure.as_ref().map_or("", |f| f.detail.as_str());
        let fds: Vec<_> = match (&*first, &*netns) {
            (Some(first), Some(netns)) if matches!(state.phase, Phase::Waiting | Phase::Running) => {
                vec![first.pidfd.as_fd(), netns.as_fd()]
            }
            _ => Vec::new(),
        };
        controls.retain_mut(|c| {
            if c.number != number {
                return true;
            }
            c.known = good;
            good && c.send(reply, detail.as_bytes(), &fds)
        });
    }

    fn go(&mut self, number: u64, seq: u32) {
        match (&mut self.first, self.state.phase) {
            (Some(first), Phase::Waiting) if first.asker.is_none() => {
                first.asker = Some((number, seq));
                match &self.external {
                    None => first.go(),
                    Some((external, id)) => match external::start(external, id) {
                        Ok(()) => self.started(FIRST),
                        // Told with its end.
                        Err(failure) => {
                            first.failure = Some(failure);
                            pidfd::kill(first.pidfd.as_fd());
                        }
                    },
                }
            }
            _ => {
                let failure = self.failure.clone().unwrap_or(Failure {
                    stage: Stage::Gone,
                    errno: 0,
                    detail: "the container was started before".into(),
                });
                self.answer_failure(number, seq, &failure);
            }
        }
    }

    fn answer_failure(&mut self, number: u64, seq: u32, failure: &Failure) {
        let reply = Reply {
            phase: Phase::Failed,
            stage: failure.stage,
            errno: failure.errno,
            ..Reply::new(Kind::Failed, seq)
        };
        self.answer(number, reply, failure.detail.as_bytes());
    }

    fn exec(&mut self, number: u64, request: Request, tail: &[u8], fd: Option<OwnedFd>) {
        match self.try_exec(request, tail, fd) {
            Ok(mut task) => {
                task.asker = Some((number, request.seq));
                let (id, runs) = (task.id, task.report.is_none());
                self.execs.push(task);
                if runs {
                    self.started(id);
                }
            }
            Err(failure) => self.answer_failure(number, request.seq, &failure),
        }
    }

    fn try_exec(&mut self, request: Request, tail: &[u8], fd: Option<OwnedFd>) -> Outcome<Task> {
        let plan = ExecPlan::decode(tail).map_err(|e| Failure {
            stage: Stage::Plan,
            errno: 0,
            detail: e.to_string(),
        })?;
        let id = protocol::parse_id(&plan.id).ok_or(Failure {
            stage: Stage::Plan,
            errno: 0,
            detail: "id".into(),
        })?;
        if self.state.phase != Phase::Running
            || self.done.iter().any(|d| d.0 == id)
            || self.execs.iter().any(|t| t.id == id)
        {
            return Err(Failure {
                stage: Stage::Gone,
                errno: libc::ESRCH,
                detail: "the container is not running".into(),
            });
        }
        let Some(first) = &self.first else {
            return Err(Failure { stage: Stage::Gone, errno: libc::ESRCH, detail: String::new() });
        };
        if let Some((external, (_, name))) = plan.external.as_ref().zip(self.external.as_ref()) {
            return external::exec(&plan, external, name, id, fd.map(|fd| (fd, request.flags)));
        }
        task::exec(&plan, id, &first.pidfd, &self.home, fd.map(|fd| (fd, request.flags)))
    }

    /// A process said something, or its exec closed its mouth.
    fn report(&mut self, id: Id) {
        let Some(task) = self.task(id) else { return };
        let Some(report) = &task.report else { return };
        match report::hear(report.as_fd()) {
            Ok(Some(Word::Warning(text))) => {
                task.warnings.push_str(&text);
                task.warnings.push('\n');
            }
            Ok(Some(Word::Console(master))) => task.set_console(master),
            // Told once it ended.
            Ok(Some(Word::Failed(failure))) => task.failure = Some(failure),
            Ok(None) | Err(_) => {
                task.report = None;
                if task.failure.is_none() && task.asker.is_some() {
                    self.started(id);
                }
            }
        }
    }

    /// Exec worked, as far as one can see: a process killed before also closes its end.
    fn started(&mut self, id: Id) {
        let time = clock::now();
        let Some(task) = self.task(id) else { return };
        let (pid, asker, warnings) = (task.pid, task.asker.take(), std::mem::take(&mut task.warnings));
        if id == FIRST {
            self.state.phase = Phase::Running;
            self.state.started = time;
        }
        if let Some((number, seq)) = asker {
            self.answer(
                number,
                Reply { phase: Phase::Running, pid, time, started: time, id, ..Reply::new(Kind::Done, seq) },
                warnings.as_bytes(),
            );
        }
    }

    /// A process ended.
    fn ended(&mut self, id: Id) {
        // Its last words first.
        while self.task(id).is_some_and(|t| t.report.is_some()) {
            self.report(id);
        }
        let Some(task) = self.task(id) else { return };
        let code = match pidfd::reap(&task.pidfd) {
            Ok(Some(code)) => code,
            Ok(None) => return,
            Err(_) => 255,
        };
        task.ended = true;
        if id != FIRST {
            return self.exec_ended(id, code);
        }
        self.first_ended(code);
        if let Some((external, name)) = &self.external {
            external::delete(external, name);
        }
    }

    fn first_ended(&mut self, code: i32) {
        let time = clock::now();
        let started = self.state.phase == Phase::Running;
        if started && !self.own_pids {
            cgroup::kill(&self.cgroups);
        }
        let Shim { first, log, piece, .. } = self;
        let Some(first) = first else { return };
        first.streams.drain(log.as_mut(), piece);
        first.streams.end();
        let (asker, failure) = (first.asker.take(), first.failure.take());
        if let Some(log) = log {
            log.finish();
        }
        if !started {
            let failure = failure.or(self.failure.take()).unwrap_or(Failure {
                stage: Stage::Gone,
                errno: 0,
                detail: format!("it ended with code {code} before its exec"),
            });
            self.fail(failure.clone());
            if let Some((number, seq)) = asker {
                self.answer_failure(number, seq, &failure);
            }
            // Not looked at again.
            self.first = None;
            return;
        }
        self.state =
            Reply { phase: Phase::Exited, code, time, oom: cgroup::had_oom(&self.cgroups), ..self.state };
        self.directory.keep_exit(&self.state);
        self.tell_all(Reply { kind: Kind::Exit, seq: 0, ..self.state });
    }

    fn exec_ended(&mut self, id: Id, code: i32) {
        let Shim { execs, piece, .. } = self;
        let Some(task) = execs.iter_mut().find(|t| t.id == id) else { return };
        task.streams.drain(None, piece);
        task.streams.end();
        let pid = task.pid;
        let (asker, failure) = (task.asker.take(), task.failure.take());
        if self.done.len() == MAX_DONE {
            self.done.pop_front();
        }
        if let (Some((number, seq)), failure) = (asker, failure) {
            let failure = failure.unwrap_or(Failure {
                stage: Stage::Gone,
                errno: 0,
                detail: format!("it ended with code {code} before its exec"),
            });
            self.execs.retain(|t| t.id != id);
            return self.answer_failure(number, seq, &failure);
        }
        self.done.push_back((id, pid, code));
        self.tell_all(Reply {
            phase: Phase::Exited,
            pid,
            code,
            time: clock::now(),
            id,
            ..Reply::new(Kind::Exec, 0)
        });
    }

    fn kill_all(&mut self) {
        if let Some(first) = &self.first {
            pidfd::kill(first.pidfd.as_fd());
        }
        if !self.own_pids {
            cgroup::kill(&self.cgroups);
        }
    }

    /// Nothing happened for a while.
    fn rest(&mut self) {
        self.piece = Vec::new();
        if self.external.is_some() {
            external::reap_orphans(&self.tasks().filter(|t| !t.ended).map(|t| t.pid).collect::<Vec<_>>());
        }
        if let Some(log) = &mut self.log {
            log.rest();
        }
    }
}
