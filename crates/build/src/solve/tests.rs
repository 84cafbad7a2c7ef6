//! Whole builds on a machine of text: trees are lists of lines, and every step that is done is noted.

use super::*;
use crate::{
    error::Lines,
    host::{About, Blobs, CopyWork, Duplex, Files, ImageFound, Incoming, Left, RunWork, Selection, Wanted},
    plan::{CopySource, Git, Http},
    request::{CacheRef, ContextFrom, DockerfileFrom},
};
use futures_util::FutureExt;
use minke_image::{ImageConfig, registry::RegistryAuth};
use minke_model::Timestamp;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};
use tokio::{io::AsyncWrite, sync::Notify};

fn digest(text: &str) -> Digest {
    Digest::from_sha256(&Sha256::digest(text.as_bytes()))
}

/// A machine whose layers are texts.
#[derive(Default)]
struct Fake {
    /// What was done, in order.
    done: Mutex<Vec<String>>,
    cache: Mutex<HashMap<Digest, Left>>,
    /// The context's files: path and content.
    files: Mutex<BTreeMap<String, String>>,
    /// Steps that run now, and the most that ever did.
    running: Mutex<(usize, usize)>,
    /// A `RUN wait` ends when told.
    go: Notify,
    stopped: Mutex<usize>,
}

/// Counts one that stops before its end.
struct Stopping<'a>(&'a Fake, bool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        if !self.1 {
            *self.0.stopped.lock().unwrap() += 1;
        }
        self.0.running.lock().unwrap().0 -= 1;
    }
}

impl Fake {
    fn note(&self, what: &str) {
        self.done.lock().unwrap().push(what.to_owned());
    }

    fn took(&self) -> Vec<String> {
        std::mem::take(&mut *self.done.lock().unwrap())
    }

    fn layered(base: &Root, text: &str) -> Root {
        let chain: Vec<Digest> = base.chain().iter().cloned().chain([digest(text)]).collect();
        Root::Layers { chain: chain.into(), keep: Arc::new(()) }
    }
}

impl Host for Fake {
    fn platform(&self) -> Platform {
        platform::parse("linux/amd64").unwrap()
    }

    fn check_platform(&self, _: &Platform) -> Result<()> {
        Ok(())
    }

    fn image_config<'a>(
        &'a self,
        reference: &'a str,
        _: &'a Platform,
        _: bool,
        _: &'a At,
    ) -> BoxFuture<'a, Result<ImageFound>> {
        async move {
            if reference.contains("missing") {
                return Err(BuildError::not_found(format!("{reference}: not found")));
            }
            let raw = format!(
                r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["{}"]}},"history":[{{"created_by":"base"}}]}}"#,
                digest(reference)
            );
            Ok(ImageFound { digest: None, config: Arc::new(ImageConfig::parse(raw.as_bytes()).unwrap()) })
        }
        .boxed()
    }

    fn image<'a>(&'a self, reference: &'a str, _: &'a Platform, _: &'a At) -> BoxFuture<'a, Result<Left>> {
        let root = Fake::layered(&Root::empty(), reference);
        async move { Ok(Left { root, created: Timestamp::from_nanos(0) }) }.boxed()
    }

    fn local<'a>(&'a self, local: &'a str, _: Wanted, _: &'a str, _: &'a At) -> BoxFuture<'a, Result<Root>> {
        let path: &std::path::Path = local.as_ref();
        async move { Ok(Root::Directory { path: path.into(), keep: Arc::new(()) }) }.boxed()
    }

    fn http<'a>(&'a self, _: &'a Http, _: &'a At) -> BoxFuture<'a, Result<Root>> {
        async { Err(BuildError::unsupported("no network")) }.boxed()
    }

    fn git<'a>(&'a self, _: &'a Git, _: &'a At) -> BoxFuture<'a, Result<Root>> {
        async { Err(BuildError::unsupported("no network")) }.boxed()
    }

    fn unpack<'a>(&'a self, _: &'a Root, _: &'a str) -> BoxFuture<'a, Result<Option<Root>>> {
        async { Ok(None) }.boxed()
    }

    fn read<'a>(&'a self, _: &'a Root, path: &'a str, _: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        let found = self.files.lock().unwrap().get(path).map(|text| text.clone().into_bytes());
        async move { Ok(found) }.boxed()
    }

    fn content<'a>(&'a self, root: &'a Root, selection: &'a Selection) -> BoxFuture<'a, Result<Digest>> {
        let files = self.files.lock().unwrap();
        let path = selection.path.trim_start_matches('/');
        let found = match root {
            Root::Layers { chain, .. } => Some(format!("{chain:?}")),
            Root::Directory { .. } => files.get(path).cloned(),
        };
        let missing = || BuildError::not_found(format!("\"{}\": not found", selection.path));
        let answer = found.map(|text| digest(&text)).ok_or_else(missing);
        async move { answer }.boxed()
    }

    fn copy<'a>(&'a self, work: CopyWork, _: &'a At) -> BoxFuture<'a, Result<Root>> {
        async move {
            self.note(&format!("copy to {}", work.op.destination));
            let mut text = String::new();
            for source in &work.op.sources {
                if let CopySource::Files { path, .. } = source {
                    text += self.files.lock().unwrap().get(path.trim_start_matches('/')).unwrap_or(path);
                }
            }
            Ok(Fake::layered(&work.base, &text))
        }
        .boxed()
    }

    fn directory<'a>(
        &'a self,
        base: Root,
        path: &'a str,
        _: &'a str,
        _: Option<i64>,
    ) -> BoxFuture<'a, Result<Root>> {
        async move { Ok(Fake::layered(&base, path)) }.boxed()
    }

    fn run<'a>(&'a self, work: RunWork, at: &'a At) -> BoxFuture<'a, Result<Root>> {
        async move {
            let command = work.op.args.last().cloned().unwrap_or_default();
            self.note(&command);
            let mut stopping = {
                let mut running = self.running.lock().unwrap();
                running.0 += 1;
                running.1 = running.1.max(running.0);
                Stopping(self, false)
            };
            at.reporter.log(1, format!("ran {command}\n"));
            if command.starts_with("wait") {
                self.go.notified().await;
            } else {
                tokio::task::yield_now().await;
            }
            stopping.1 = true;
            if command.starts_with("false") {
                return Err(BuildError::Exit { command: "/bin/sh -c false".into(), code: Some(1) });
            }
            Ok(Fake::layered(&work.base, &command))
        }
        .boxed()
    }

    fn stack(&self, below: &Root, above: &Root) -> Result<Root> {
        let chain: Vec<Digest> = below.chain().iter().chain(above.chain()).cloned().collect();
        Ok(Root::Layers { chain: chain.into(), keep: Arc::new(()) })
    }

    fn find<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Option<Left>> {
        let found = self.cache.lock().unwrap().get(key).cloned();
        async move { found }.boxed()
    }

    fn keep<'a>(&'a self, keys: &'a [Digest], left: &'a Left, _: About) -> BoxFuture<'a, Result<()>> {
        self.cache.lock().unwrap().extend(keys.iter().map(|key| (key.clone(), left.clone())));
        async { Ok(()) }.boxed()
    }

    fn import<'a>(&'a self, _: &'a [CacheRef], _: &'a At) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }
}

struct Nobody;

impl Client for Nobody {
    fn key(&self, _: &str) -> String {
        String::new()
    }
    fn sync<'a>(&'a self, _: &'a str, _: Wanted, _: Incoming) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }
    fn secret<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        async { Ok(None) }.boxed()
    }
    fn has_ssh<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        async { Ok(false) }.boxed()
    }
    fn ssh<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn Duplex>>> {
        async { Err(BuildError::unsupported("no agent")) }.boxed()
    }
    fn auth<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>>> {
        async { Ok(None) }.boxed()
    }
    fn send_tar<'a>(
        &'a self,
        _: &'a str,
        _: BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Box<dyn AsyncWrite + Send + Unpin>>> {
        async { Err(BuildError::unsupported("no exports")) }.boxed()
    }
    fn send_files<'a>(&'a self, _: &'a str, _: Arc<dyn Files>) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }
    fn blobs(&self, _: &str) -> Option<Arc<dyn Blobs>> {
        None
    }
}

/// Notes all that is told.
#[derive(Default)]
struct Notes(Mutex<Vec<BuildEvent>>);

impl Progress for Notes {
    fn report(&self, event: BuildEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Notes {
    fn cached(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let cached = |event: &BuildEvent| match event {
            BuildEvent::Vertex(vertex) if vertex.cached => Some(vertex.name.clone()),
            _ => None,
        };
        events.iter().filter_map(cached).collect()
    }

    fn logs(&self) -> String {
        let events = self.0.lock().unwrap();
        let said = |event: &BuildEvent| match event {
            BuildEvent::Log(log) => Some(String::from_utf8_lossy(&log.bytes).into_owned()),
            _ => None,
        };
        events.iter().filter_map(said).collect()
    }
}

/// A machine that stays between builds.
#[derive(Default)]
struct House {
    fake: Arc<Fake>,
    flights: Arc<Flights>,
}

impl House {
    fn with(files: &[(&str, &str)]) -> Self {
        let house = House::default();
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        *house.fake.files.lock().unwrap() = files.collect();
        house
    }

    fn request(dockerfile: &str) -> BuildRequest {
        BuildRequest {
            dockerfile: DockerfileFrom::Text { name: "Dockerfile".into(), bytes: dockerfile.into() },
            context: ContextFrom::Local("context".into()),
            ..BuildRequest::default()
        }
    }

    async fn build(&self, dockerfile: &str) -> (Result<Arc<Built>>, Arc<Notes>) {
        self.ask(Self::request(dockerfile)).await
    }

    async fn ask(&self, request: BuildRequest) -> (Result<Arc<Built>>, Arc<Notes>) {
        let notes = Arc::new(Notes::default());
        let (host, progress): (Arc<dyn Host>, Arc<dyn Progress>) = (self.fake.clone(), notes.clone());
        let built = solve(request, host, Arc::new(Nobody), progress, self.flights.clone()).await;
        (built, notes)
    }
}

/// Lets others go on for a while.
async fn a_while() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_second_build_does_nothing_and_makes_the_same_image() {
    let house = House::with(&[("a", "1")]);
    let dockerfile = "FROM base\nCOPY a /a\nRUN make\nENV X=1\n";
    let first = house.build(dockerfile).await.0.unwrap();
    assert_eq!(house.fake.took(), ["copy to /a", "make"]);
    let (second, notes) = house.build(dockerfile).await;
    assert_eq!(house.fake.took(), [""; 0]);
    assert_eq!(
        notes.cached(),
        ["[1/3] FROM docker.io/library/base:latest", "[2/3] COPY a /a", "[3/3] RUN make"]
    );
    // Times are those of the steps, so even they are equal.
    assert_eq!(first.images[0].config.raw, second.unwrap().images[0].config.raw);
}

#[tokio::test]
async fn a_changed_file_does_again_what_reads_it_and_nothing_before() {
    let house = House::with(&[("a", "1"), ("b", "1")]);
    let dockerfile = "FROM base\nRUN first\nCOPY a /a\nRUN second\nCOPY b /b\n";
    house.build(dockerfile).await.0.unwrap();
    house.fake.took();
    house.fake.files.lock().unwrap().insert("a".into(), "2".into());
    house.build(dockerfile).await.0.unwrap();
    assert_eq!(house.fake.took(), ["copy to /a", "second", "copy to /b"]);
}

#[tokio::test]
async fn stages_that_are_not_needed_are_not_built() {
    let house = House::default();
    let dockerfile = "FROM base AS a\nRUN a\nFROM base AS b\nRUN b\nFROM a\nRUN c\n";
    house.build(dockerfile).await.0.unwrap();
    assert_eq!(house.fake.took(), ["a", "c"]);
}

#[tokio::test]
async fn independent_stages_run_side_by_side() {
    let house = House::default();
    let dockerfile = "FROM base AS a\nRUN wait a\nFROM base AS b\nRUN wait b\nFROM base\nCOPY --from=a /x /\nCOPY --from=b /x /\n";
    let building = house.build(dockerfile);
    let telling = async {
        while house.fake.running.lock().unwrap().0 < 2 {
            tokio::task::yield_now().await;
        }
        house.fake.go.notify_waiters();
    };
    let (built, ()) = tokio::join!(building, telling);
    built.0.unwrap();
    assert_eq!(house.fake.running.lock().unwrap().1, 2);
}

#[tokio::test]
async fn equal_steps_of_builds_at_once_are_done_once_and_seen_by_both() {
    let house = House::default();
    let (one, two) = (house.build("FROM base\nRUN wait\n"), house.build("FROM base\nRUN wait\nENV A=1\n"));
    let telling = async {
        while house.fake.running.lock().unwrap().0 < 1 {
            tokio::task::yield_now().await;
        }
        a_while().await;
        house.fake.go.notify_waiters();
    };
    let (one, two, ()) = tokio::join!(one, two, telling);
    assert_eq!(house.fake.took(), ["wait"]);
    assert_eq!(one.0.unwrap().images[0].root.chain(), two.0.unwrap().images[0].root.chain());
    assert_eq!((one.1.logs(), two.1.logs()), ("ran wait\n".into(), "ran wait\n".into()));
}

#[tokio::test]
async fn a_dropped_build_stops_its_steps_unless_another_waits_for_them() {
    let house = House::default();
    {
        let mut building = Box::pin(house.build("FROM base\nRUN wait\n"));
        tokio::select! { _ = &mut building => panic!("it ended"), () = a_while() => {} }
        let mut other = Box::pin(house.build("FROM base\nRUN wait\n"));
        tokio::select! { _ = &mut other => panic!("it ended"), () = a_while() => {} }
        drop(building);
        assert_eq!(*house.fake.stopped.lock().unwrap(), 0);
        drop(other);
    }
    assert_eq!(*house.fake.stopped.lock().unwrap(), 1);
    assert_eq!(house.fake.took(), ["wait"]);
}

#[tokio::test]
async fn a_failure_names_its_step_and_its_lines_and_ends_the_others() {
    let house = House::default();
    let dockerfile = "FROM base AS a\nRUN wait\nFROM base\nRUN false\nCOPY --from=a /x /\n";
    let error = house.build(dockerfile).await.0.unwrap_err();
    assert_eq!(error.to_string(), "process \"/bin/sh -c false\" did not complete successfully: exit code: 1");
    assert_eq!(error.exit_code(), Some(1));
    assert_eq!(error.place().map(|(_, lines)| lines), Some(Lines::one(4)));
    assert_eq!(*house.fake.stopped.lock().unwrap(), 1);
    // What failed is not cached.
    assert!(house.build(dockerfile).await.0.is_err());
}

#[tokio::test]
async fn no_cache_does_all_again_and_keeps_what_came_of_it() {
    let house = House::default();
    let dockerfile = "FROM base\nRUN make\n";
    house.build(dockerfile).await.0.unwrap();
    let mut request = House::request(dockerfile);
    request.options.no_cache = crate::plan::NoCache::All;
    house.ask(request).await.0.unwrap();
    house.build(dockerfile).await.0.unwrap();
    assert_eq!(house.fake.took(), ["make", "make"]);
}

#[tokio::test]
async fn a_linked_copy_does_not_depend_on_what_it_lies_on() {
    let house = House::with(&[("a", "1")]);
    house.build("FROM base\nCOPY --link a /a\n").await.0.unwrap();
    let built = house.build("FROM other\nCOPY --link a /a\n").await.0.unwrap();
    assert_eq!(house.fake.took(), ["copy to /a"]);
    let layers = [digest("docker.io/library/other:latest"), digest("1")];
    assert_eq!(built.images[0].root.chain(), layers);
}

#[tokio::test]
async fn a_base_that_is_not_there_is_told_with_its_line() {
    let house = House::default();
    let error = house.build("FROM base\nFROM missing\n").await.0.unwrap_err();
    assert_eq!(error.place().map(|(_, lines)| lines), Some(Lines::one(2)));
    assert!(error.to_string().contains("docker.io/library/missing:latest: not found"), "{error}");
}

#[tokio::test]
async fn histories_tell_every_instruction_and_count_layers() {
    let house = House::with(&[("a", "1")]);
    let built = house.build("FROM base\nENV A=1\nCOPY a /a\nCMD [\"x\"]\n").await.0.unwrap();
    let history = &built.images[0].config.history;
    let shown: Vec<_> = history.iter().map(|h| (h.created_by.as_str(), h.empty_layer)).collect();
    assert_eq!(
        shown,
        [("base", false), ("ENV A=1", true), ("COPY a /a # buildkit", false), ("CMD [\"x\"]", true)]
    );
    assert_eq!(built.images[0].config.diff_ids.len(), 2);
}
