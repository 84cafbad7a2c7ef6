use super::*;

struct Dir(std::path::PathBuf);
impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("minke-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
    fn path(&self) -> String {
        self.0.join("log").to_string_lossy().into_owned()
    }
    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap_or_default()
    }
    fn texts(&self, name: &str) -> Vec<String> {
        String::from_utf8(self.read(name))
            .unwrap()
            .lines()
            .map(|l| l.split("\"log\":\"").nth(1).unwrap().split("\",\"stream").next().unwrap().to_string())
            .collect()
    }
}
impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plan(dir: &Dir, driver: LogDriver) -> Plan {
    Plan { driver, path: dir.path(), max_files: 1, ..Default::default() }
}

#[test]
fn lines_come_out_as_dockers_json() {
    let dir = Dir::new("json");
    let mut log = Log::open(&plan(&dir, LogDriver::JsonFile)).unwrap().unwrap();
    log.take(Stream::Stdout, b"one\ntw");
    log.take(Stream::Stderr, b"oops\n");
    log.take(Stream::Stdout, b"o\nrest");
    log.finish();
    let text = String::from_utf8(dir.read("log")).unwrap();
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"20")
            && first.ends_with("Z\"}"),
        "{first}"
    );
    assert_eq!(dir.texts("log"), ["one\\n", "oops\\n", "two\\n", "rest"]);
    assert!(text.lines().nth(1).unwrap().contains("\"stream\":\"stderr\""));
}

#[test]
fn long_lines_are_cut_at_16_kib_and_keep_one_time() {
    let dir = Dir::new("long");
    let mut log = Log::open(&plan(&dir, LogDriver::JsonFile)).unwrap().unwrap();
    log.take(Stream::Stdout, &[b'x'; 20_000]);
    log.take(Stream::Stdout, &[b'x'; 20_000]);
    log.take(Stream::Stdout, b"\n");
    log.take(Stream::Stdout, &[b'y'; lines::MAX]);
    log.take(Stream::Stdout, b"\n");
    log.finish();
    let lengths: Vec<usize> = dir.texts("log").iter().map(|t| t.len()).collect();
    assert_eq!(lengths, [16384, 16384, 40_000 - 2 * 16384 + 2, 16384, 2]);
    let text = String::from_utf8(dir.read("log")).unwrap();
    let times: Vec<&str> = text.lines().map(|l| l.split("\"time\":").nth(1).unwrap()).collect();
    assert_eq!(times[0], times[2]);
}

#[test]
fn a_full_file_makes_room_and_the_oldest_goes() {
    let dir = Dir::new("rotate");
    let plan = Plan { max_size: 200, max_files: 3, ..plan(&dir, LogDriver::JsonFile) };
    let mut log = Log::open(&plan).unwrap().unwrap();
    for n in 0..10 {
        log.take(Stream::Stdout, format!("line {n}\n").as_bytes());
    }
    log.finish();
    let all: Vec<String> = ["log.2", "log.1", "log"].iter().flat_map(|f| dir.texts(f)).collect();
    assert_eq!(all.last().unwrap(), "line 9\\n");
    assert!(all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
    assert!(!dir.0.join("log.3").exists());
    for file in ["log", "log.1", "log.2"] {
        let n = dir.read(file).len();
        assert!(n <= 200 && n > 0, "{file}: {n}");
    }
}

#[test]
fn compressed_files_move_up_too_and_nothing_moves_while_another_renames() {
    let dir = Dir::new("compressed");
    let plan = Plan { max_size: 100, max_files: 3, compress: true, ..plan(&dir, LogDriver::JsonFile) };
    let mut log = Log::open(&plan).unwrap().unwrap();
    let mut say = |n: u32| {
        log.take(Stream::Stdout, format!("line {n}\n").as_bytes());
        log.flush();
    };
    say(0);
    say(1);
    std::fs::rename(dir.0.join("log.1"), dir.0.join("log.1.gz")).unwrap();
    say(2);
    assert_eq!(
        ["log", "log.1", "log.2", "log.2.gz"].map(|name| dir.texts(name)),
        [vec!["line 2\\n".to_string()], vec!["line 1\\n".to_string()], vec![], vec!["line 0\\n".to_string()]]
    );
    let held = names(&dir.path()).unwrap();
    say(3);
    assert_eq!(dir.texts("log"), ["line 2\\n", "line 3\\n"]);
    drop(held);
    say(4);
    assert_eq!(
        ["log", "log.1", "log.2", "log.2.gz"].map(|name| dir.texts(name).len()),
        [1, 2, 1, 0],
        "the oldest went"
    );
}

#[test]
fn one_file_only_begins_anew() {
    let dir = Dir::new("single");
    let mut log = Log::open(&Plan { max_size: 100, ..plan(&dir, LogDriver::JsonFile) }).unwrap().unwrap();
    for n in 0..5 {
        log.take(Stream::Stdout, format!("line {n}\n").as_bytes());
        log.flush();
    }
    assert_eq!(dir.texts("log"), ["line 4\\n"]);
}

#[test]
fn a_record_larger_than_a_file_is_kept_whole() {
    let dir = Dir::new("large");
    let mut log =
        Log::open(&Plan { max_size: 50, max_files: 2, ..plan(&dir, LogDriver::JsonFile) }).unwrap().unwrap();
    log.take(Stream::Stdout, b"first\nsecond\n");
    log.finish();
    assert_eq!(
        (dir.texts("log.1"), dir.texts("log")),
        (vec!["first\\n".to_string()], vec!["second\\n".to_string()])
    );
}

#[test]
fn the_local_format_reads_back() {
    let dir = Dir::new("local");
    let plan = Plan { attributes: vec![("tag".into(), "web".into())], ..plan(&dir, LogDriver::Local) };
    let mut log = Log::open(&plan).unwrap().unwrap();
    log.take(Stream::Stderr, b"a\xff\nb");
    log.finish();
    let bytes = dir.read("log");
    let mut at = 0;
    let mut got = Vec::new();
    while let Some((record, n)) = local::parse(&bytes[at..]) {
        got.push((record.stream, record.whole, record.line.to_vec()));
        at += n;
    }
    assert_eq!(at, bytes.len());
    assert_eq!(
        got,
        [
            (None, true, b"tag=web\0".to_vec()),
            (Some(Stream::Stderr), true, b"a\xff".to_vec()),
            (Some(Stream::Stderr), false, b"b".to_vec())
        ]
    );
}

#[test]
fn going_on_appends() {
    let dir = Dir::new("again");
    for text in ["a\n", "b\n"] {
        let mut log = Log::open(&plan(&dir, LogDriver::JsonFile)).unwrap().unwrap();
        log.take(Stream::Stdout, text.as_bytes());
        log.finish();
    }
    assert_eq!(dir.texts("log"), ["a\\n", "b\\n"]);
}

#[test]
fn a_full_disk_loses_whole_records_only() {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    use std::os::fd::AsFd;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // A disk of 64 KiB, attached nowhere.
    let fs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_set_string(fs.as_fd(), "size", "64k").unwrap();
    rustix::mount::fsconfig_create(fs.as_fd()).unwrap();
    let disk =
        rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    let path = |name: &str| format!("{}/{name}", minke_linux::mount::fd_path(&disk));
    std::fs::write(path("ballast"), [0; 32 << 10]).unwrap();
    let plan = Plan { driver: LogDriver::JsonFile, path: path("log"), max_files: 1, ..Default::default() };
    let mut log = Log::open(&plan).unwrap().unwrap();
    for n in 0..2000 {
        log.take(Stream::Stdout, format!("line {n}\n").as_bytes());
        log.flush();
    }
    std::fs::remove_file(path("ballast")).unwrap();
    log.take(Stream::Stdout, b"after\n");
    log.finish();
    let text = std::fs::read_to_string(path("log")).unwrap();
    assert!(text.lines().all(|l| l.starts_with("{\"log\":\"") && l.ends_with("Z\"}")), "{text}");
    assert!(text.lines().count() < 2000 && text.contains("after"));
}
