//! How fast many tasks find their nodes: `cargo test -p minke-cluster --test scale -- --ignored --nocapture`.
//!
//! `NODES`, `SERVICES` and `REPLICAS` say how many; the figures of `script/bench cluster` are of an optimized build.

#![allow(clippy::unwrap_used)] // Tests may fail here.

#[allow(dead_code)]
mod world;

use minke_cluster::Loops;
use minke_model::{node::NodeState, task::TaskState};
use minke_store::{Clock, Simulated};
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use world::{World, now_or_never};

fn many(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[ignore = "a measurement"]
fn placements_a_second_and_a_nodes_death() {
    let (nodes, services, replicas) = (many("NODES", 1000), many("SERVICES", 50), many("REPLICAS", 200));
    let mut world = World::new();
    let clock = Simulated::new(world.now);
    let names: Vec<String> = (0..nodes).map(|n| format!("n{n}")).collect();
    world.act("node", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut loops = Loops::new(world.store.clone(), Arc::new(clock) as Arc<dyn Clock>);
    now_or_never(loops.turn());
    for n in 0..services {
        world.act("service", &[&format!("s{n}"), &format!("replicas={replicas}")]);
    }
    let tasks = services * replicas;
    let start = Instant::now();
    let mut turns = 0;
    while now_or_never(loops.turn()).written > 0 {
        turns += 1;
    }
    let took = start.elapsed();
    println!(
        "{tasks} tasks on {nodes} nodes: made and placed in {took:.2?}, {:.0} a second, {turns} turns",
        tasks as f64 / took.as_secs_f64()
    );
    let view = world.view();
    let mut per_node: BTreeMap<String, usize> = BTreeMap::new();
    for task in view.tasks() {
        assert_eq!(task.state(), TaskState::Assigned);
        *per_node.entry(task.task.node.as_ref().unwrap().to_string()).or_default() += 1;
    }
    let (least, most) = (per_node.values().min().unwrap(), per_node.values().max().unwrap());
    println!("{} nodes used, {least} to {most} tasks on each", per_node.len());
    assert!(most - least <= 1 || per_node.len() == tasks);
    drop(view);

    world.turn(&["n1"], NodeState::Down);
    let start = Instant::now();
    let mut written = 0;
    loop {
        let turned = now_or_never(loops.turn());
        written += turned.written;
        if turned.written == 0 {
            break;
        }
    }
    println!("a node's death: planned anew in {:.2?}, {written} commits", start.elapsed());
    let start = Instant::now();
    now_or_never(loops.turn());
    println!("a turn with nothing to do: {:.2?}", start.elapsed());
}
