//! Runs a filter as the kernel would, for tests: only the instructions that the compiler writes.

use super::{Arch, Program, compile};

/// `SECCOMP_RET_*` for one call.
pub(crate) fn run(program: &Program, arch: Arch, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = vec![number, arch.audit()];
    data.extend([0, 0]);
    for argument in arguments {
        data.extend([argument as u32, (argument >> 32) as u32]);
    }
    let mut accumulator = 0u32;
    let mut at = 0usize;
    loop {
        let insn = program.instructions[at];
        at += 1;
        let test = match insn.code {
            compile::LOAD => {
                accumulator = data[insn.k as usize / 4];
                continue;
            }
            compile::AND => {
                accumulator &= insn.k;
                continue;
            }
            compile::JUMP => {
                at += insn.k as usize;
                continue;
            }
            compile::RETURN => return insn.k,
            compile::JUMP_EQUAL => accumulator == insn.k,
            compile::JUMP_GREATER => accumulator > insn.k,
            compile::JUMP_AT_LEAST => accumulator >= insn.k,
            other => panic!("unknown instruction {other:#x}"),
        };
        at += usize::from(if test { insn.yes } else { insn.no });
    }
}
