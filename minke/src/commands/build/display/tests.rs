use super::*;
use minke_engine::build::request::{Vertex, VertexLog, VertexStatus};
use minke_model::{Timestamp, id::Digest};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn digest(letter: char) -> Digest {
    Digest::parse(&format!("sha256:{}", letter.to_string().repeat(64))).unwrap()
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_nanos((seconds * 1e9) as i64)
}

fn vertex(letter: char, name: &str, from: Option<f64>, to: Option<f64>) -> Vertex {
    Vertex {
        digest: digest(letter),
        inputs: Vec::new(),
        name: name.into(),
        started: from.map(at),
        completed: to.map(at),
        cached: false,
        error: None,
    }
}

fn log(letter: char, when: f64, text: &'static str) -> BuildEvent {
    BuildEvent::Log(VertexLog { vertex: digest(letter), stream: 1, bytes: text.into(), time: at(when) })
}

#[test]
fn plain_lines_are_buildxs() {
    let page = Page::default();
    let display = Display::with(Some(Box::<plain::Plain>::default()), Box::new(page.clone()));
    let transfer = VertexStatus {
        id: "transferring context:".into(),
        vertex: digest('a'),
        name: String::new(),
        current: 2050,
        total: 0,
        time: at(1.0),
        started: Some(at(1.0)),
        completed: Some(at(1.0)),
    };
    let failing = Vertex {
        error: Some("process \"/bin/sh -c x\" did not complete successfully: exit code: 1".into()),
        ..vertex('b', "[2/2] RUN x", Some(1.0), Some(1.5))
    };
    let cached = Vertex { cached: true, ..vertex('c', "[1/2] FROM busybox", Some(1.0), Some(1.0)) };
    for event in [
        BuildEvent::Vertex(vertex('a', "[internal] load build context", None, None)),
        BuildEvent::Vertex(vertex('a', "[internal] load build context", Some(1.0), None)),
        BuildEvent::Status(transfer),
        BuildEvent::Vertex(vertex('a', "[internal] load build context", Some(1.0), Some(1.2))),
        BuildEvent::Vertex(cached),
        BuildEvent::Vertex(vertex('b', "[2/2] RUN x", Some(1.0), None)),
        log('b', 1.25, "one\ntw"),
        log('b', 1.5, "o\n"),
        BuildEvent::Vertex(failing),
    ] {
        display.report(event);
    }
    display.end();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert_eq!(
        text,
        "#1 [internal] load build context\n\
         #1 transferring context: 2.05kB done\n\
         #1 DONE 0.2s\n\
         \n\
         #2 [1/2] FROM busybox\n\
         #2 CACHED\n\
         \n\
         #3 [2/2] RUN x\n\
         #3 0.250 one\n\
         #3 0.500 two\n\
         #3 ERROR: process \"/bin/sh -c x\" did not complete successfully: exit code: 1\n\
         ------\n > [2/2] RUN x:\none\ntwo\n------\n"
    );
}

#[test]
fn a_step_that_runs_beside_waits_for_the_word() {
    let page = Page::default();
    let display = Display::with(Some(Box::<plain::Plain>::default()), Box::new(page.clone()));
    for event in [
        BuildEvent::Vertex(vertex('a', "one", Some(0.0), None)),
        BuildEvent::Vertex(vertex('b', "two", Some(0.0), None)),
        log('b', 0.0, "from two\n"),
        log('a', 0.0, "from one\n"),
        BuildEvent::Vertex(vertex('a', "one", Some(0.0), Some(1.0))),
        BuildEvent::Vertex(vertex('b', "two", Some(0.0), Some(1.0))),
    ] {
        display.report(event);
    }
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text, "#1 one\n#1 0.000 from one\n#1 DONE 1.0s\n\n#2 two\n#2 0.000 from two\n#2 DONE 1.0s\n");
}
