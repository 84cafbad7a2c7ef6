use super::*;
use minke_engine::build::request::VertexLog;
use minke_model::Timestamp;

struct Told {
    steps: Steps,
    text: String,
}

fn digest(name: &str) -> Digest {
    let hex: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(&format!("sha256:{hex}")).unwrap()
}

impl Told {
    fn new(text: &str, given: &[&str]) -> Self {
        let file = Dockerfile::parse("Dockerfile", text.as_bytes()).unwrap();
        let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
        let mut steps = Steps::new(&file, file.stages.len() - 1, &Pairs::new(), &given);
        let lines = steps.begin();
        let mut told = Self { steps, text: String::new() };
        told.add(lines);
        told
    }

    fn add(&mut self, lines: Vec<Line>) {
        for line in lines {
            let value: serde_json::Value = serde_json::from_slice(&line.to_bytes()).unwrap();
            match value["stream"].as_str() {
                Some(text) => self.text.push_str(text),
                None => self.text.push_str(&format!("{value}\n")),
            }
        }
    }

    fn vertex(&mut self, name: &str, began: bool, ended: bool, cached: bool) {
        let at = |happened: bool| happened.then_some(Timestamp::from_nanos(0));
        let vertex = Vertex {
            digest: digest(name),
            inputs: Vec::new(),
            name: name.into(),
            started: at(began),
            completed: at(ended),
            cached,
            error: None,
        };
        let lines = self.steps.event(BuildEvent::Vertex(vertex));
        self.add(lines);
    }

    fn log(&mut self, name: &str, text: &str) {
        let log = VertexLog {
            vertex: digest(name),
            stream: 1,
            bytes: text.to_owned().into(),
            time: Timestamp::from_nanos(0),
        };
        let lines = self.steps.event(BuildEvent::Log(log));
        self.add(lines);
    }

    /// Lines, with ids replaced.
    fn lines(&self) -> Vec<String> {
        let blank = |word: &str| match word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit()) {
            true => "ID".to_owned(),
            false => word.to_owned(),
        };
        self.text.lines().map(|line| line.split(' ').map(blank).collect::<Vec<_>>().join(" ")).collect()
    }
}

#[test]
fn steps_are_told_one_after_the_other_with_what_they_say() {
    let mut told = Told::new("FROM busybox\nENV A=1\nRUN echo hi\nCMD x\n", &["LOST"]);
    for name in ["[1/2] FROM busybox", "[2/2] RUN echo hi"] {
        told.vertex(name, false, false, false);
    }
    told.vertex("[1/2] FROM busybox", true, true, false);
    told.vertex("[2/2] RUN echo hi", true, false, false);
    told.log("[2/2] RUN echo hi", "hi\n");
    assert_eq!(told.lines().last().unwrap(), "hi");
    told.vertex("[2/2] RUN echo hi", true, true, false);
    let lines = told.steps.finish(&format!("sha256:{}", "a".repeat(64)));
    told.add(lines);
    assert_eq!(
        told.lines(),
        [
            "Step 1/4 : FROM busybox",
            " ---> ID",
            "Step 2/4 : ENV A=1",
            " ---> Running in ID",
            " ---> Removed intermediate container ID",
            " ---> ID",
            "Step 3/4 : RUN echo hi",
            " ---> Running in ID",
            "hi",
            " ---> Removed intermediate container ID",
            " ---> ID",
            "Step 4/4 : CMD x",
            " ---> Running in ID",
            " ---> Removed intermediate container ID",
            " ---> ID",
            &format!("{{\"aux\":{{\"ID\":\"sha256:{}\"}}}}", "a".repeat(64)),
            "[Warning] One or more build-args [LOST] were not consumed",
            "Successfully built ID",
        ]
    );
}

#[test]
fn what_is_cached_says_so_notes_too() {
    let mut told = Told::new("FROM busybox\nENV FOO=bar\nRUN touch baz\nRUN touch bax\n", &[]);
    told.vertex("[1/3] FROM busybox", true, true, true);
    told.vertex("[2/3] RUN touch baz", true, true, true);
    told.vertex("[3/3] RUN touch bax", true, true, true);
    let lines = told.steps.finish("sha256:aaaaaaaaaaaaaaaa");
    told.add(lines);
    assert_eq!(told.lines().iter().filter(|line| *line == " ---> Using cache").count(), 3);
}

#[test]
fn a_later_stage_that_runs_meanwhile_waits_for_its_turn() {
    let mut told =
        Told::new("FROM a AS one\nRUN x\nFROM b AS not\nRUN z\nFROM b\nRUN y\nCOPY --from=one / /\n", &[]);
    for name in [
        "[one 1/2] FROM a",
        "[one 2/2] RUN x",
        "[stage-2 1/3] FROM b",
        "[stage-2 2/3] RUN y",
        "[stage-2 3/3] COPY",
    ] {
        told.vertex(name, false, false, false);
    }
    told.vertex("[stage-2 1/3] FROM b", true, true, false);
    told.vertex("[stage-2 2/3] RUN y", true, false, false);
    told.log("[stage-2 2/3] RUN y", "from y\n");
    assert_eq!(told.lines(), ["Step 1/7 : FROM a AS one"]);
    told.vertex("[one 1/2] FROM a", true, true, false);
    told.vertex("[one 2/2] RUN x", true, true, false);
    assert!(told.text.contains(" ---> Skipped"));
    assert!(told.text.ends_with("from y\n"), "{}", told.text);
}

#[test]
fn a_failed_step_is_shown_with_all_it_said() {
    let mut told = Told::new("FROM a\nENV X=1\nRUN boom\n", &[]);
    told.vertex("[1/2] FROM a", true, true, true);
    told.log("[2/2] RUN boom", "ouch\n");
    let mut failed = Vertex {
        digest: digest("[2/2] RUN boom"),
        inputs: Vec::new(),
        name: "[2/2] RUN boom".into(),
        started: None,
        completed: None,
        cached: false,
        error: Some("x".into()),
    };
    failed.started = Some(Timestamp::from_nanos(0));
    let lines = told.steps.event(BuildEvent::Vertex(failed));
    told.add(lines);
    let lines = told.steps.fail(Some(&digest("[2/2] RUN boom")));
    told.add(lines);
    assert!(told.text.ends_with("ouch\n"), "{}", told.text);
    assert!(told.lines().contains(&"Step 3/3 : RUN boom".to_owned()));
}
