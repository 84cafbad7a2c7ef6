//! `top`: a container's processes. The default columns are read from /proc; others need the host's `ps`.

use super::Containers;
use crate::{Error, error::Result};
use minke_model::ContainerState;
use std::{collections::HashSet, process::Command};

/// A table of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// Column heads.
    pub titles: Vec<String>,
    /// One row a process.
    pub processes: Vec<Vec<String>>,
}

impl Containers {
    /// Its processes; `arguments` are `ps`', empty is `-ef`.
    pub async fn top(&self, name: &str, arguments: &str) -> Result<Top> {
        let cell = self.find(name)?;
        match cell.state() {
            ContainerState::Running | ContainerState::Paused => {}
            ContainerState::Restarting => {
                return Err(Error::Conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    cell.id
                )));
            }
            _ => return Err(Error::NotRunning(cell.id.to_string())),
        }
        let pids: Vec<i32> = cell.running_process()?.pids();
        let arguments = arguments.trim().to_owned();
        let top = crate::blocking(move || {
            if arguments.is_empty() || arguments == "-ef" {
                Ok(full(&pids))
            } else {
                by_ps(&pids, &arguments)
            }
        });
        let table = top.await??;
        self.tell(&cell.record(), "top", &[]);
        Ok(table)
    }
}

/// `ps -ef` of these processes, from /proc.
fn full(pids: &[i32]) -> Top {
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec();
    let boot = boot_time();
    // A process that ended meanwhile has no row.
    let processes = pids.iter().filter_map(|pid| row(*pid, boot)).collect();
    Top { titles, processes }
}

fn boot_time() -> i64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().find_map(|l| l.strip_prefix("btime ")).and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

fn row(pid: i32, boot: i64) -> Option<Vec<String>> {
    use std::os::unix::fs::MetadataExt;
    let directory = format!("/proc/{pid}");
    let uid = std::fs::metadata(&directory).ok()?.uid();
    let stat = std::fs::read_to_string(format!("{directory}/stat")).ok()?;
    // The name is in parentheses and may hold any character: fields follow the last one.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<i64>().ok()).unwrap_or(0);
    let hertz = rustix::param::clock_ticks_per_second() as i64;
    let (parent, tty, used, started) =
        (number(1), number(4), (number(11) + number(12)) / hertz, boot + number(19) / hertz);
    let command = std::fs::read(format!("{directory}/cmdline")).ok()?;
    let command = command.strip_suffix(b"\0").unwrap_or(&command);
    let command = if command.is_empty() {
        format!("[{name}]")
    } else {
        String::from_utf8_lossy(command).replace('\0', " ")
    };
    let lived = (jiff::Timestamp::now().as_second() - started).max(1);
    Some(vec![
        user_name(uid),
        pid.to_string(),
        parent.to_string(),
        (used * 100 / lived).min(99).to_string(),
        start_text(started),
        tty_text(tty),
        format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60),
        command,
    ])
}

/// The host's name for a user id, as `ps` shows it.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let wanted = uid.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then(|| name.to_owned())
    });
    match name {
        Some(name) if name.len() <= 8 => name,
        Some(name) => format!("{}+", &name[..name.char_indices().nth(7).map_or(name.len(), |(i, _)| i)]),
        None => wanted,
    }
}

fn start_text(started: i64) -> String {
    let Ok(at) = jiff::Timestamp::from_second(started) else { return "?".into() };
    let zone = jiff::tz::TimeZone::system();
    let (at, now) = (at.to_zoned_datetime(zone.clone()), jiff::Timestamp::now().to_zoned_datetime(zone));
    let form = if now.timestamp().as_second() - started < 86_400 && at.date() == now.date() {
        "%H:%M"
    } else {
        "%b%d"
    };
    at.strftime(form).to_string()
}

/// `pts/3`, `tty1` or `?`, by the device number of /proc/PID/stat.
fn tty_text(device: i64) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        4 => format!("tty{minor}"),
        _ => "?".into(),
    }
}

/// The host's `ps` with the client's arguments, rows of other processes left out.
fn by_ps(pids: &[i32], arguments: &str) -> Result<Top> {
    // Docker's rule against a column of somebody else's that looks like a pid.
    for word in arguments.split_whitespace() {
        if let Some(columns) =
            word.strip_prefix("-o").filter(|c| !c.is_empty()).or_else(|| word.strip_prefix("--format="))
        {
            refuse_renamed_pid(columns)?;
        }
    }
    let output = Command::new("ps").args(arguments.split_whitespace()).output().map_err(|e| {
        Error::Unsupported(format!(
            "ps on the host cannot be run ({e}): install procps, or leave out the arguments"
        ))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        return Err(Error::Internal(format!("ps: {first}")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let pid_column = titles
        .iter()
        .position(|t| t == "PID")
        .ok_or_else(|| Error::Invalid("Couldn't find PID field in ps output".into()))?;
    let wanted: HashSet<String> = pids.iter().map(i32::to_string).collect();
    let mut processes = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(pid_column).is_none_or(|pid| !wanted.contains(*pid)) {
            continue;
        }
        // The last column has spaces of its own.
        let last = titles.len() - 1;
        let mut row: Vec<String> = fields.iter().take(last).map(|f| (*f).to_owned()).collect();
        row.push(fields.get(last..).unwrap_or_default().join(" "));
        processes.push(row);
    }
    Ok(Top { titles, processes })
}

fn refuse_renamed_pid(columns: &str) -> Result<()> {
    for column in columns.split(',') {
        if let Some((name, head)) = column.split_once('=')
            && name != "pid"
            && head == "PID"
        {
            return Err(Error::Invalid(format!("specifying \"{column}\" is not allowed")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_row_with_its_command() {
        let me = std::process::id() as i32;
        let top = full(&[me, i32::MAX]);
        assert_eq!(top.processes.len(), 1, "the pid that no process has gives no row");
        assert_eq!(top.processes[0][1], me.to_string());
        assert!(top.processes[0][7].contains("minke"), "{:?}", top.processes[0]);
    }
}
