//! One run: a random while under faults, then everything is mended, and must become right and stay so.

use crate::{
    bugs::Bug,
    checks::{self, Watcher},
    faults::fault,
    random::Random,
    wishes,
    world::World,
};
use minke_store::{Revision, Store};
use std::time::Duration;

/// How long everything has to become right once all is whole.
const SETTLE: Duration = Duration::from_secs(180);
/// How long nothing may change after that.
const STILL: Duration = Duration::from_secs(20);
/// Between two looks.
const STEP: Duration = Duration::from_millis(100);

/// What a run came to.
pub(crate) struct Run {
    /// What happened, in order.
    pub(crate) trace: Vec<String>,
    /// What was wrong; empty is good.
    pub(crate) findings: Vec<String>,
    /// The world's age at its end.
    pub(crate) age: Duration,
    /// Commits.
    pub(crate) revision: Revision,
}

/// Runs the world of `seed`.
pub(crate) fn run(seed: u64, bug: Option<Bug>) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime {
        Ok(runtime) => runtime.block_on(story(seed, bug)),
        Err(error) => Run {
            trace: Vec::new(),
            findings: vec![format!("no runtime: {error}")],
            age: Duration::ZERO,
            revision: Revision::default(),
        },
    }
}

async fn story(seed: u64, bug: Option<Bug>) -> Run {
    let mut random = Random::new(seed);
    let (nodes, managers) = (random.between(2, 6) as usize, random.between(1, 2) as usize);
    let mut run =
        Run { trace: Vec::new(), findings: Vec::new(), age: Duration::ZERO, revision: Revision::default() };
    let mut world = match World::new(nodes, managers, &mut random, bug).await {
        Ok(world) => world,
        Err(error) => {
            run.findings.push(error);
            return run;
        }
    };
    run.trace.push(format!("{nodes} nodes, {managers} managers"));
    let mut watcher = Watcher::default();
    let mut count = 0;
    let steps = random.between(100, 900);
    let (wishing, failing) = (random.between(10, 60), random.between(10, 120));
    for _ in 0..steps {
        tokio::time::sleep(STEP).await;
        if random.one_in(wishing) {
            let said = wishes::wish(&world, &mut random, &mut count).await;
            note(&mut run, &world, said);
        }
        if random.one_in(failing) {
            let said = fault(&mut world, &mut random);
            note(&mut run, &world, said);
        }
        look(&mut watcher, &world, &mut run).await;
        if !run.findings.is_empty() {
            return ended(run, &world).await;
        }
    }
    world.mend();
    wishes::activate_all(&world).await;
    note(&mut run, &world, "everything is whole".into());
    settle(&mut watcher, &world, &mut run).await;
    ended(run, &world).await
}

/// Waits until all is right, and then for nothing to happen.
async fn settle(watcher: &mut Watcher, world: &World, run: &mut Run) {
    let began = world.age();
    let mut still: Option<(Duration, Revision)> = None;
    loop {
        tokio::time::sleep(STEP).await;
        look(watcher, world, run).await;
        if !run.findings.is_empty() {
            return;
        }
        let (revision, wrong) = checks::quiet(world).await;
        let now = world.age();
        still = match still {
            Some((since, at)) if wrong.is_empty() && at == revision => Some((since, at)),
            _ if wrong.is_empty() => Some((now, revision)),
            _ => None,
        };
        if still.is_some_and(|(since, _)| now - since >= STILL) {
            return;
        }
        if now - began > SETTLE {
            run.findings.extend(wrong);
            if still.is_some() {
                run.findings.push("all is right, but it never comes to rest".into());
            }
            return;
        }
    }
}

async fn look(watcher: &mut Watcher, world: &World, run: &mut Run) {
    run.findings.extend(watcher.look(world).await);
}

fn note(run: &mut Run, world: &World, said: String) {
    run.trace.push(format!("{:8.3}s {said}", world.age().as_secs_f64()));
}

async fn ended(mut run: Run, world: &World) -> Run {
    if !run.findings.is_empty() {
        run.trace.extend(checks::tasks(world).await);
    }
    run.age = world.age();
    run.revision = match world.store.read("cluster/").await {
        Ok(snapshot) => snapshot.revision(),
        Err(_) => Revision::default(),
    };
    run
}
