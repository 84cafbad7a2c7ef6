//! From a profile to instructions: a binary search by number for each machine, conditions at its leaves.

use super::{Action, Arch, Compare, Condition, Profile, SeccompError, number, syscalls::X32_BIT};
use std::collections::BTreeMap;

/// `BPF_MAXINSNS`.
const MOST: usize = 4096;
/// The farthest that a conditional jump goes.
const FAR: usize = 255;

/// Offsets in `struct seccomp_data` (include/uapi/linux/seccomp.h), little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Numbers from here on are arm's private ones, which tell nothing of a kernel's age.
const ARM_PRIVATE: u32 = 0x000f_0000;

/// One instruction, `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Insn {
    pub(super) code: u16,
    pub(super) yes: u8,
    pub(super) no: u8,
    pub(super) k: u32,
}

// Opcodes (include/uapi/linux/{bpf_common,filter}.h): class, size or operation, source.
pub(super) const LOAD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const AND: u16 = 0x54;
pub(super) const RETURN: u16 = 0x06;

fn plain(code: u16, k: u32) -> Insn {
    Insn { code, yes: 0, no: 0, k }
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(super) instructions: Vec<Insn>,
}

impl Program {
    /// As the kernel takes it: 8-byte `struct sock_filter`s.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * 8);
        for insn in &self.instructions {
            bytes.extend_from_slice(&insn.code.to_ne_bytes());
            bytes.extend_from_slice(&[insn.yes, insn.no]);
            bytes.extend_from_slice(&insn.k.to_ne_bytes());
        }
        bytes
    }

    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }
}

/// What becomes of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leaf {
    /// Always.
    Action(Action),
    /// The first whose conditions all hold, else the default.
    Rules(Vec<(Vec<Condition>, Action)>),
}

/// Compiles `profile`.
///
/// # Errors
/// When a condition is about a seventh argument, or the program would be longer than the kernel takes.
pub fn compile(profile: &Profile) -> Result<Program, SeccompError> {
    let conditions = profile.rules.iter().flat_map(|rule| &rule.conditions);
    if let Some(bad) = conditions.map(|c| c.argument).find(|n| *n > 5) {
        return Err(SeccompError::Argument(bad));
    }
    let has = |arch| profile.arches.contains(&arch);
    let mut program = vec![plain(LOAD, ARCH)];
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::X86, Arch::Arm] {
        // x32 calls come under x86-64's name, with a bit in their numbers.
        let x32 = arch == Arch::X86_64 && has(Arch::X32);
        if !has(arch) && !x32 {
            continue;
        }
        let mut block = vec![plain(LOAD, NUMBER)];
        if arch == Arch::X86_64 {
            let other = if x32 {
                search(profile, Arch::X32)
            } else {
                vec![plain(RETURN, Action::KillProcess.value())]
            };
            let own = if has(arch) {
                search(profile, arch)
            } else {
                vec![plain(RETURN, Action::KillProcess.value())]
            };
            block.extend(branch(JUMP_AT_LEAST, X32_BIT, own, other));
        } else {
            block.extend(search(profile, arch));
        }
        // Equal: into the block. Else over it, to the next machine.
        if block.len() <= FAR {
            program.push(Insn { code: JUMP_EQUAL, yes: 0, no: block.len() as u8, k: arch.audit() });
        } else {
            program.push(Insn { code: JUMP_EQUAL, yes: 1, no: 0, k: arch.audit() });
            program.push(plain(JUMP, block.len() as u32));
        }
        program.extend(block);
    }
    program.push(plain(RETURN, Action::KillProcess.value()));
    if program.len() > MOST {
        return Err(SeccompError::TooLong(program.len()));
    }
    Ok(Program { instructions: program })
}

/// A test whose `no` follows at once and whose `yes` comes after.
fn branch(code: u16, k: u32, no: Vec<Insn>, yes: Vec<Insn>) -> Vec<Insn> {
    let mut out = Vec::with_capacity(2 + no.len() + yes.len());
    if no.len() <= FAR {
        out.push(Insn { code, yes: no.len() as u8, no: 0, k });
    } else {
        out.push(Insn { code, yes: 0, no: 1, k });
        out.push(plain(JUMP, no.len() as u32));
    }
    out.extend(no);
    out.extend(yes);
    out
}

/// The program that decides by the number, which is loaded.
fn search(profile: &Profile, arch: Arch) -> Vec<Insn> {
    let leaves = leaves(profile, arch);
    let default = Leaf::Action(profile.default);
    // Where numbers begin to fare differently. A later call overwrites the "and then the default" of the one before.
    let mut bounds = BTreeMap::from([(0, default.clone())]);
    for (number, leaf) in &leaves {
        bounds.insert(*number, leaf.clone());
        bounds.insert(number + 1, default.clone());
    }
    if hides_new_calls(profile.default) {
        let unknown = Leaf::Action(Action::Errno(libc::ENOSYS as u16));
        let newest = leaves.keys().filter(|n| arch != Arch::Arm || **n < ARM_PRIVATE).max();
        for last in newest.into_iter().chain(leaves.keys().last()) {
            bounds.insert(last + 1, unknown.clone());
        }
    }
    let mut ranges: Vec<(u32, Leaf)> = Vec::with_capacity(bounds.len());
    for (first, leaf) in bounds {
        if ranges.last().is_none_or(|(_, last)| *last != leaf) {
            ranges.push((first, leaf));
        }
    }
    tree(&ranges, profile.default)
}

/// Whether a filter that does this by default must not tell programs that new calls are forbidden: they would not
/// fall back to older ones.
fn hides_new_calls(default: Action) -> bool {
    !matches!(default, Action::Allow | Action::Log) && default != Action::Errno(libc::ENOSYS as u16)
}

/// What becomes of each call that the profile names on `arch`.
fn leaves(profile: &Profile, arch: Arch) -> BTreeMap<u32, Leaf> {
    let mut leaves: BTreeMap<u32, Leaf> = BTreeMap::new();
    for rule in &profile.rules {
        for number in rule.names.iter().filter_map(|name| number(name, arch)) {
            if rule.action == profile.default {
                // It says nothing, but that the profile knows the call.
                leaves.entry(number).or_insert_with(|| Leaf::Action(profile.default));
                continue;
            }
            let unsaid = Leaf::Action(profile.default);
            let leaf = leaves.entry(number).or_insert_with(|| unsaid.clone());
            if rule.conditions.is_empty() {
                if *leaf == unsaid || matches!(leaf, Leaf::Rules(_)) {
                    *leaf = Leaf::Action(rule.action);
                }
                continue;
            }
            if *leaf == unsaid {
                *leaf = Leaf::Rules(Vec::new());
            }
            if let Leaf::Rules(rules) = leaf {
                rules.extend(alternatives(&rule.conditions).into_iter().map(|all| (all, rule.action)));
            }
        }
    }
    leaves
}

/// Sets of conditions of which one must hold: one set, unless an argument appears twice.
fn alternatives(conditions: &[Condition]) -> Vec<Vec<Condition>> {
    let twice = conditions
        .iter()
        .enumerate()
        .any(|(at, c)| conditions[..at].iter().any(|d| d.argument == c.argument));
    if twice { conditions.iter().map(|c| vec![*c]).collect() } else { vec![conditions.to_vec()] }
}

/// A balanced search among ranges.
fn tree(ranges: &[(u32, Leaf)], default: Action) -> Vec<Insn> {
    match ranges {
        [] => vec![plain(RETURN, default.value())],
        [(_, leaf)] => leaf_code(leaf, default),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            branch(JUMP_AT_LEAST, high[0].0, tree(low, default), tree(high, default))
        }
    }
}

/// The end of a search.
fn leaf_code(leaf: &Leaf, default: Action) -> Vec<Insn> {
    match leaf {
        Leaf::Action(action) => vec![plain(RETURN, action.value())],
        Leaf::Rules(rules) => {
            let mut code = Vec::new();
            for (conditions, action) in rules {
                code.extend(conditions_code(conditions, *action));
            }
            code.push(plain(RETURN, default.value()));
            code
        }
    }
}

/// Where a test goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// To the next instruction.
    Next,
    /// This condition holds: to the next condition.
    Holds,
    /// It does not: past the whole rule.
    Fails,
}

/// All conditions of one rule and its action; when one fails, what follows.
fn conditions_code(conditions: &[Condition], action: Action) -> Vec<Insn> {
    let steps: Vec<Vec<(u16, u32, To, To)>> = conditions.iter().map(condition_steps).collect();
    let total: usize = steps.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(total);
    for block in steps {
        let end = code.len() + block.len();
        for (opcode, k, yes, no) in block {
            // Six conditions of at most six instructions each: every jump is near.
            let here = code.len() + 1;
            let offset = |to: To| match to {
                To::Next => 0,
                To::Holds => (end - here) as u8,
                To::Fails => (total - here) as u8,
            };
            code.push(Insn { code: opcode, yes: offset(yes), no: offset(no), k });
        }
    }
    code.push(plain(RETURN, action.value()));
    code
}

/// A comparison of 64 bits in two halves, the high one first.
fn condition_steps(condition: &Condition) -> Vec<(u16, u32, To, To)> {
    use To::*;
    let low_at = ARGUMENTS + 8 * u32::from(condition.argument);
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let load = |at: u32| (LOAD, at, Next, Next);
    let (load_high, load_low) = (load(low_at + 4), load(low_at));
    match condition.compare {
        Compare::Equal => {
            vec![load_high, (JUMP_EQUAL, high, Next, Fails), load_low, (JUMP_EQUAL, low, Next, Fails)]
        }
        Compare::NotEqual => {
            vec![load_high, (JUMP_EQUAL, high, Next, Holds), load_low, (JUMP_EQUAL, low, Fails, Next)]
        }
        Compare::Greater | Compare::GreaterOrEqual => {
            let last = if condition.compare == Compare::Greater { JUMP_GREATER } else { JUMP_AT_LEAST };
            let (above, same) = ((JUMP_GREATER, high, Holds, Next), (JUMP_EQUAL, high, Next, Fails));
            vec![load_high, above, same, load_low, (last, low, Next, Fails)]
        }
        Compare::Less | Compare::LessOrEqual => {
            let last = if condition.compare == Compare::Less { JUMP_AT_LEAST } else { JUMP_GREATER };
            let (above, same) = ((JUMP_GREATER, high, Fails, Next), (JUMP_EQUAL, high, Next, Holds));
            vec![load_high, above, same, load_low, (last, low, Fails, Next)]
        }
        Compare::Masked => {
            let (want_high, want_low) = ((condition.second >> 32) as u32, condition.second as u32);
            vec![
                load_high,
                (AND, high, Next, Next),
                (JUMP_EQUAL, want_high, Next, Fails),
                load_low,
                (AND, low, Next, Next),
                (JUMP_EQUAL, want_low, Next, Fails),
            ]
        }
    }
}
