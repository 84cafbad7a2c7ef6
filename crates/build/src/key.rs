//! Identities: what a step is called in progress, and under which keys the cache has what it left (pure).
//!
//! A key is made of what the step does and of what its inputs *are*: layers by their chain ids, files of contexts by
//! their content. Equal keys mean equal results; times are no part of them.

use crate::{
    plan::{Op, Step, StepId},
    request::RunOptions,
};
use minke_image::platform;
use minke_model::id::Digest;
use sha2::{Digest as _, Sha256};

/// Changes when what goes into a key does.
const VERSION: &str = "minke-build 1";

/// Gathers what an identity is made of; each part with its length.
pub struct Hasher(Sha256);

impl Hasher {
    /// Of a kind of thing.
    pub fn new(kind: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.text(VERSION);
        hasher.text(kind);
        hasher
    }

    /// The next part.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The next part.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// The next part.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(number.to_le_bytes());
        self
    }

    /// All of it.
    pub fn finish(self) -> Digest {
        Digest::from_sha256(&self.0.finalize())
    }
}

/// What a step is called in progress: of equal steps on equal inputs the same.
pub(crate) fn vertex(step: &Step, inputs: &[Digest]) -> Digest {
    let mut hasher = Hasher::new("vertex");
    hasher.text(&definition(&step.op)).text(&step.name).text(&platform::format(&step.platform));
    for input in inputs {
        hasher.text(input.as_str());
    }
    hasher.finish()
}

/// What is done only inside of one build.
pub(crate) fn internal(build: &str, name: &str) -> Digest {
    let mut hasher = Hasher::new("internal");
    hasher.text(build).text(name);
    hasher.finish()
}

/// What a step does, whichever its inputs are. Variables of proxies are no part of it.
pub(crate) fn definition(op: &Op) -> String {
    let mut op = op.clone();
    let mut next = 0;
    op.renumber(&mut |_| {
        next += 1;
        StepId(next - 1)
    });
    if let Op::Run(run) = &mut op {
        run.proxy.clear();
    }
    // Names and contents of all fields, unambiguous by their quotes.
    format!("{op:?}")
}

/// The key of a step: by what it does, for which platform, and what its inputs are.
pub(crate) fn key(step: &Step, options: &RunOptions, epoch: Option<i64>, inputs: &[String]) -> Digest {
    let mut hasher = Hasher::new("step");
    hasher.text(&definition(&step.op));
    if let Op::Run(_) = step.op {
        hasher.text(&platform::format(&step.platform));
        let RunOptions { add_hosts, ulimits, shm_size, hostname, network, .. } = options;
        hasher.text(&format!("{add_hosts:?} {ulimits:?} {shm_size:?} {hostname:?} {network:?}"));
    }
    hasher.text(&format!("{epoch:?}"));
    for input in inputs {
        hasher.text(input);
    }
    hasher.finish()
}
