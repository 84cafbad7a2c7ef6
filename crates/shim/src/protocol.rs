//! What daemon and shim say to each other: fixed-size records on a unix socket.
//!
//! Never: a record that changes its meaning. A new word gets a new number; the hello carries the version that the
//! caller speaks, and a shim refuses only versions that it does not know.

/// Where starting a process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The plan could not be read.
    Plan = 0,
    /// A namespace of another container could not be joined.
    Join = 1,
    /// clone3(2).
    Clone = 2,
    /// Its cgroups could not be entered.
    Cgroup = 3,
    /// Its root could not be made.
    Root = 4,
    /// A mount.
    Mount = 5,
    /// A device node.
    Device = 6,
    /// A masked or read-only path.
    Mask = 7,
    /// Entering the root.
    Pivot = 8,
    /// Host or domain name.
    Hostname = 9,
    /// A kernel parameter.
    Sysctl = 10,
    /// A limit.
    Rlimit = 11,
    /// The user or group is not there.
    User = 12,
    /// Changing to user and groups.
    Credentials = 13,
    /// Capabilities.
    Capabilities = 14,
    /// AppArmor or SELinux.
    Label = 15,
    /// The filter of syscalls.
    Seccomp = 16,
    /// The working directory.
    Cwd = 17,
    /// The command.
    Exec = 18,
    /// The terminal.
    Terminal = 19,
    /// The log file.
    Log = 20,
    /// The external runtime.
    External = 21,
    /// The process is gone without a word.
    Gone = 22,
}

impl Stage {
    /// All, by number.
    const ALL: [Stage; 23] = [
        Stage::Plan,
        Stage::Join,
        Stage::Clone,
        Stage::Cgroup,
        Stage::Root,
        Stage::Mount,
        Stage::Device,
        Stage::Mask,
        Stage::Pivot,
        Stage::Hostname,
        Stage::Sysctl,
        Stage::Rlimit,
        Stage::User,
        Stage::Credentials,
        Stage::Capabilities,
        Stage::Label,
        Stage::Seccomp,
        Stage::Cwd,
        Stage::Exec,
        Stage::Terminal,
        Stage::Log,
        Stage::External,
        Stage::Gone,
    ];

    /// By its number.
    pub fn from_number(number: u8) -> Option<Stage> {
        Stage::ALL.get(usize::from(number)).copied()
    }

    /// What was being done, for a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Plan => "read the start plan",
            Stage::Join => "join a namespace",
            Stage::Clone => "clone into new namespaces",
            Stage::Cgroup => "enter the cgroup",
            Stage::Root => "prepare the root file system",
            Stage::Mount => "mount",
            Stage::Device => "make a device node",
            Stage::Mask => "mask a path",
            Stage::Pivot => "enter the root file system",
            Stage::Hostname => "set the host name",
            Stage::Sysctl => "set a kernel parameter",
            Stage::Rlimit => "set a resource limit",
            Stage::User => "find the user",
            Stage::Credentials => "change to the user",
            Stage::Capabilities => "set capabilities",
            Stage::Label => "set the security label",
            Stage::Seccomp => "load the seccomp filter",
            Stage::Cwd => "change to the working directory",
            Stage::Exec => "exec",
            Stage::Terminal => "set up the terminal",
            Stage::Log => "open the log",
            Stage::External => "run the external runtime",
            Stage::Gone => "wait for the process",
        }
    }
}

/// The version of the records; said in a hello.
pub const VERSION: i32 = 1;
/// Bytes of a record, either way.
pub const RECORD: usize = 72;
/// An exec's identity (all zero is the container's first process), or the shim's token in a hello.
pub type Id = [u8; 32];
/// The container's first process.
pub const FIRST: Id = [0; 32];
/// The most bytes that follow a record.
pub const MAX_TAIL: usize = crate::plan::MAX;

/// A client gives stdin.
pub const STDIN: u8 = 1;
/// A client takes stdout.
pub const STDOUT: u8 = 2;
/// A client takes stderr.
pub const STDERR: u8 = 4;

/// Of a *go*: the process dies when no daemon is connected any more.
pub const BOUND: u8 = 1;

/// What the daemon asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// First on every connection: `a` is the version, `id` the token. Answer: `State`, with pidfd and netns.
    Hello = 1,
    /// The waiting process goes on to its exec. Answer: `Done` with the time, or `Failed`.
    Go = 2,
    /// Signal `a` to the process `id`.
    Signal = 3,
    /// SIGKILL to all processes.
    Kill = 4,
    /// Terminal of `id`: `a` rows, `b` columns.
    Resize = 5,
    /// A socket comes along as a client of the first process' streams; `flags` say which.
    Attach = 6,
    /// An exec plan follows; with `flags` a socket comes along as client. Answer: `Done` with the pid, or `Failed`.
    Exec = 7,
    /// How exec `id` stands. Answer: `Exec`.
    ExecState = 8,
    /// The exit is recorded: the shim may end.
    Forget = 9,
    /// The process may run until `a` s and `b` ns after boot (CLOCK_BOOTTIME), and is killed then, daemon or not. A
    /// deadline never moves back.
    RunUntil = 10,
}

impl Op {
    /// By its number.
    pub fn from_number(number: u8) -> Option<Op> {
        const ALL: [Op; 10] = [
            Op::Hello,
            Op::Go,
            Op::Signal,
            Op::Kill,
            Op::Resize,
            Op::Attach,
            Op::Exec,
            Op::ExecState,
            Op::Forget,
            Op::RunUntil,
        ];
        ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What.
    pub op: Op,
    /// Streams.
    pub flags: u8,
    /// Comes back in the answer.
    pub seq: u32,
    /// By `op`.
    pub a: i32,
    /// By `op`.
    pub b: i32,
    /// Bytes that follow.
    pub tail: u32,
    /// By `op`.
    pub id: Id,
}

impl Request {
    /// A request of one record.
    pub fn new(op: Op, seq: u32) -> Self {
        Request { op, flags: 0, seq, a: 0, b: 0, tail: 0, id: FIRST }
    }

    /// As a record.
    pub fn encode(&self) -> [u8; RECORD] {
        let mut r = [0; RECORD];
        r[0] = self.op as u8;
        r[1] = self.flags;
        r[4..8].copy_from_slice(&self.seq.to_le_bytes());
        r[8..12].copy_from_slice(&self.a.to_le_bytes());
        r[12..16].copy_from_slice(&self.b.to_le_bytes());
        r[16..20].copy_from_slice(&self.tail.to_le_bytes());
        r[40..72].copy_from_slice(&self.id);
        r
    }

    /// From a record; `None` for an unknown op.
    pub fn decode(r: &[u8; RECORD]) -> Option<Self> {
        Some(Request {
            op: Op::from_number(r[0])?,
            flags: r[1],
            seq: word(r, 4) as u32,
            a: word(r, 8),
            b: word(r, 12),
            tail: word(r, 16) as u32,
            id: id(r),
        })
    }
}

/// Which sort of answer, or event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// How the first process stands.
    State = 1,
    /// As asked.
    Done = 2,
    /// Not as asked: stage, errno, and the detail follows.
    Failed = 3,
    /// Event: the first process ended.
    Exit = 4,
    /// Event, or answer to `ExecState`: how an exec stands.
    Exec = 5,
}

/// How a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Made, waits for `Go`.
    Waiting = 0,
    /// Execs or runs.
    Running = 1,
    /// Ended.
    Exited = 2,
    /// Could not start.
    Failed = 3,
    /// Never heard of.
    Unknown = 4,
}

/// An answer or an event (`seq` 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which.
    pub kind: Kind,
    /// How the process stands.
    pub phase: Phase,
    /// Where it failed.
    pub stage: Stage,
    /// The kernel killed something for memory.
    pub oom: bool,
    /// Of the request; 0 for an event.
    pub seq: u32,
    /// On the host.
    pub pid: i32,
    /// Exit code; 128 + n after signal n.
    pub code: i32,
    /// Of a failure.
    pub errno: i32,
    /// Bytes that follow: a failure's detail, or warnings.
    pub tail: u32,
    /// Nanoseconds since 1970: when it ended, or started.
    pub time: i64,
    /// Nanoseconds since 1970: when it started; 0 never.
    pub started: i64,
    /// Of an exec.
    pub id: Id,
}

impl Reply {
    /// A plain one.
    pub fn new(kind: Kind, seq: u32) -> Self {
        Reply {
            kind,
            phase: Phase::Waiting,
            stage: Stage::Plan,
            oom: false,
            seq,
            pid: 0,
            code: 0,
            errno: 0,
            tail: 0,
            time: 0,
            started: 0,
            id: FIRST,
        }
    }

    /// As a record.
    pub fn encode(&self) -> [u8; RECORD] {
        let mut r = [0; RECORD];
        r[0] = self.kind as u8;
        r[1] = self.phase as u8;
        r[2] = self.stage as u8;
        r[3] = u8::from(self.oom);
        r[4..8].copy_from_slice(&self.seq.to_le_bytes());
        r[8..12].copy_from_slice(&self.pid.to_le_bytes());
        r[12..16].copy_from_slice(&self.code.to_le_bytes());
        r[16..20].copy_from_slice(&self.errno.to_le_bytes());
        r[20..24].copy_from_slice(&self.tail.to_le_bytes());
        r[24..32].copy_from_slice(&self.time.to_le_bytes());
        r[32..40].copy_from_slice(&self.started.to_le_bytes());
        r[40..72].copy_from_slice(&self.id);
        r
    }

    /// From a record; `None` for what is unknown.
    pub fn decode(r: &[u8; RECORD]) -> Option<Self> {
        Some(Reply {
            kind: [Kind::State, Kind::Done, Kind::Failed, Kind::Exit, Kind::Exec]
                .into_iter()
                .find(|k| *k as u8 == r[0])?,
            phase: [Phase::Waiting, Phase::Running, Phase::Exited, Phase::Failed, Phase::Unknown]
                .into_iter()
                .find(|p| *p as u8 == r[1])?,
            stage: Stage::from_number(r[2])?,
            oom: r[3] != 0,
            seq: word(r, 4) as u32,
            pid: word(r, 8),
            code: word(r, 12),
            errno: word(r, 16),
            tail: word(r, 20) as u32,
            time: long(r, 24),
            started: long(r, 32),
            id: id(r),
        })
    }
}

fn word(r: &[u8; RECORD], at: usize) -> i32 {
    i32::from_le_bytes([r[at], r[at + 1], r[at + 2], r[at + 3]])
}

fn long(r: &[u8; RECORD], at: usize) -> i64 {
    (i64::from(word(r, at + 4)) << 32) | i64::from(word(r, at) as u32)
}

fn id(r: &[u8; RECORD]) -> Id {
    let mut id = FIRST;
    id.copy_from_slice(&r[40..72]);
    id
}

/// An id of 64 hex digits as bytes.
pub fn parse_id(hex: &str) -> Option<Id> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let bytes = hex.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let mut id = FIRST;
    for (i, pair) in bytes.chunks_exact(2).enumerate() {
        id[i] = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_keep_their_numbers() {
        for (n, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(*stage as usize, n);
        }
    }

    #[test]
    fn requests_and_replies_survive_the_way() {
        let request = Request { op: Op::Exec, flags: 5, seq: 7, a: -1, b: 3, tail: 99, id: [9; 32] };
        assert_eq!(Request::decode(&request.encode()), Some(request));
        let reply = Reply {
            phase: Phase::Exited,
            stage: Stage::Exec,
            oom: true,
            pid: 4,
            code: 137,
            errno: 2,
            tail: 8,
            time: -5,
            started: i64::MAX,
            id: [3; 32],
            ..Reply::new(Kind::Exit, 1)
        };
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }

    #[test]
    fn an_id_is_64_digits() {
        assert_eq!(parse_id(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(parse_id("0f"), None);
        assert_eq!(parse_id(&"zz".repeat(32)), None);
    }
}
