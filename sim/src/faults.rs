//! What goes wrong, at random: wires, daemons, machines, managers and their ways to the store.

use crate::{machine::Habits, random::Random, wire::Cut, world::World};
use minke_store::Faults;

/// One fault, or the end of one; what it was, for the trace.
pub(crate) fn fault(world: &mut World, random: &mut Random) -> String {
    let node = random.below(world.nodes.len() as u64) as usize;
    let manager = random.below(world.managers.len() as u64) as usize;
    match random.below(13) {
        0 => {
            let cut = match random.below(3) {
                0 => Cut { up: true, down: false },
                1 => Cut { up: false, down: true },
                _ => Cut::BOTH,
            };
            world.nodes[node].wire.set(cut);
            format!("wire of node-{node}: {cut:?}")
        }
        1 | 2 => {
            world.nodes[node].wire.set(Cut::NONE);
            format!("wire of node-{node} is whole")
        }
        3 => {
            world.kill_daemon(node);
            format!("daemon of node-{node} is killed")
        }
        4 => {
            world.start_daemon(node);
            format!("daemon of node-{node} starts")
        }
        5 => {
            world.power_off(node);
            format!("node-{node} loses power")
        }
        6 | 7 => {
            world.power_on(node);
            format!("node-{node} has power")
        }
        8 => {
            world.kill_manager(manager);
            format!("manager-{manager} is killed")
        }
        9 => {
            world.start_manager(manager);
            format!("manager-{manager} starts")
        }
        11 => {
            let seconds = random.between(0, 20) as i64 - 10;
            world.step_manager(manager, seconds);
            world.nodes[node].clock.step_wall(-seconds);
            format!("clocks of manager-{manager} and node-{node} step by {seconds} s")
        }
        10 => {
            let faults = if random.one_in(2) { Faults::SOME } else { Faults::default() };
            world.managers[manager].set_faults(faults);
            format!("store of manager-{manager}: {faults:?}")
        }
        _ => {
            let habits = Habits {
                rejects: random.below(2) * 10,
                fails: random.below(2) * 10,
                crashes: random.below(2) * 4,
                slow_prepare: random.between(5, 3000),
                slow_stop: random.between(5, 3000),
            };
            world.nodes[node].machine.set_habits(habits);
            format!("node-{node}: {habits:?}")
        }
    }
}
