//! The daemon's loops plan from what changed; whatever happens, they come to the same as from scratch.
//!
//! Random wishes and faults under a printed seed (`SEED=` plays one again). After each, the loops turn until they have
//! nothing left to write; then no loop may find anything to do in a view of scratch.

#![allow(clippy::unwrap_used)] // Tests may fail here.

#[allow(dead_code)]
mod world;

use minke_cluster::{Loops, View, loops::Kind};
use minke_model::task::TaskState;
use minke_store::{Clock, Simulated};
use std::{sync::Arc, time::Duration};
use world::{World, now_or_never};

/// Seeds that a run plays.
const SEEDS: u64 = 12;
/// What happens under each.
const STEPS: usize = 120;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }

    fn of<'a>(&mut self, some: &[&'a str]) -> &'a str {
        some[self.below(some.len())]
    }
}

#[test]
fn planning_from_what_changed_comes_to_the_same_as_from_scratch() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => {
            let start = minke_model::Timestamp::now().as_nanos() as u64;
            (0..SEEDS).map(|n| start.wrapping_add(n)).collect()
        }
    };
    for seed in seeds {
        println!("SEED={seed}");
        play(seed);
    }
}

fn play(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new();
    let clock = Simulated::new(world.now);
    let mut loops = Loops::new(world.store.clone(), Arc::new(clock.clone()) as Arc<dyn Clock>);
    for line in
        ["node a b zone=1 gpu=2", "node c zone=2", "node d", "network ingress ingress", "network back"]
    {
        act(&mut world, line);
    }
    act(&mut world, "broken bad");
    let nodes = ["a", "b", "c", "d"];
    let mut services: Vec<String> = Vec::new();
    for step in 0..STEPS {
        let node = random.of(&nodes);
        let line = match random.below(16) {
            0 | 1 if services.len() < 8 => {
                let name = format!("s{step}");
                let wish = random.of(&[
                    "replicas=3",
                    "replicas=4 order=start-first parallelism=2",
                    "replicas=2 network=back port=0:80",
                    "global",
                    "job=4/2 restart=on-failure",
                    "global-job restart=none",
                    "replicas=2 volume=data",
                    "replicas=1 single",
                    "replicas=3 max=1 constraint=node.labels.zone==1",
                    "replicas=4 spread=node.labels.zone",
                    "replicas=3 gpu=1",
                    "replicas=2 host-port=80:80",
                    "replicas=2 attempts=2 window=60s delay=1s",
                    "replicas=3 on-failure=rollback monitor=2s",
                ]);
                services.push(name.clone());
                format!("service {name} {wish}")
            }
            2 => format!("kill {node}"),
            3 => format!("silence {node}"),
            4 | 5 => format!("return {node}"),
            6 => format!("drain {node}"),
            7 => format!("activate {node}"),
            8 => format!("label {node} zone={}", random.below(3)),
            9 | 10 if !services.is_empty() => {
                let image = random.of(&["v1", "v2", "v3", "bad"]);
                format!("update {} image={image}", services[random.below(services.len())])
            }
            11 if !services.is_empty() && random.below(3) == 0 => {
                format!("rm {}", services.remove(random.below(services.len())))
            }
            12 | 13 => {
                let seconds = [1, 5, 30, 61, 400][random.below(5)];
                clock.advance_to(clock.truth() + Duration::from_secs(seconds));
                world.now = clock.wall();
                format!("# {seconds}s pass")
            }
            _ => {
                end_one(&mut world, &mut random);
                "# a task ends".to_owned()
            }
        };
        act(&mut world, &line);
        for _ in 0..random.below(6) {
            world.nodes_step();
            turn(&mut loops);
            world.learn_names();
        }
        settle(&mut loops, &line);
        compare(&world, &format!("SEED={seed} step {step}: {line}"));
    }
}

fn act(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let Some((verb, rest)) = words.split_first().filter(|(verb, _)| **verb != "#") {
        world.act(verb, rest);
    }
}

fn end_one(world: &mut World, random: &mut Random) {
    world.learn_names();
    let view = world.view();
    let mut running: Vec<_> = view
        .tasks()
        .filter(|task| task.state() == TaskState::Running)
        .map(|task| world.name_of(&task.task.id))
        .collect();
    running.sort();
    if !running.is_empty() {
        let state = if random.below(3) == 0 { TaskState::Complete } else { TaskState::Failed };
        let name = running[random.below(running.len())].clone();
        world.end(&name, state);
    }
}

fn turn<S: minke_store::Store + Clone>(loops: &mut Loops<S>) -> usize {
    let turned = now_or_never(loops.turn());
    turned.written + usize::from(turned.missed)
}

fn settle<S: minke_store::Store + Clone>(loops: &mut Loops<S>, line: &str) {
    for _ in 0..100 {
        if turn(loops) == 0 {
            return;
        }
    }
    panic!("the loops never come to rest after {line}");
}

/// Nothing is left to do, whoever looks at it anew.
fn compare(world: &World, what: &str) {
    let view: View = world.view();
    for kind in Kind::ALL {
        let planned = kind.plan(&view, world.now);
        assert!(planned.deeds.is_empty(), "{what}: {} has left {:#?}", kind.as_str(), planned.deeds);
    }
}
