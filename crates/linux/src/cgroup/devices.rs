//! Which devices may be opened and made: rules, and v2's filter program (kernel: include/uapi/linux/bpf.h,
//! `BPF_PROG_TYPE_CGROUP_DEVICE`). v1 writes the same rules to files.
//!
//! Never decides which devices a container gets.

#![allow(unsafe_code)] // bpf(2) has no safe wrapper.

use super::CgroupError;
use std::{
    ffi::{c_int, c_long},
    fmt, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

/// What kind of device a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// May read.
pub const READ: u8 = 2;
/// May write.
pub const WRITE: u8 = 4;
/// May make a node.
pub const MKNOD: u8 = 1;
/// All three. The bits are bpf.h's `BPF_DEVCG_ACC_*`.
pub const ALL: u8 = READ | WRITE | MKNOD;

/// One rule. As in v1, a list starts with nothing allowed and each rule changes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Or denied.
    pub allow: bool,
    /// Of which kind.
    pub kind: DeviceKind,
    /// Of which driver; `None` is any.
    pub major: Option<u32>,
    /// Which of the driver's; `None` is any.
    pub minor: Option<u32>,
    /// [`READ`], [`WRITE`], [`MKNOD`].
    pub access: u8,
}

impl DeviceRule {
    /// Every device, for a privileged container.
    pub const fn everything() -> Self {
        DeviceRule { allow: true, kind: DeviceKind::All, major: None, minor: None, access: ALL }
    }

    /// Reads `c 1:3 rwm` as `--device-cgroup-rule` has it: kind `a`, `b` or `c`, `*` for any number.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || access.is_empty() || access.len() > 3 {
            return None;
        }
        let kind = match kind {
            "a" => DeviceKind::All,
            "b" => DeviceKind::Block,
            "c" => DeviceKind::Char,
            _ => return None,
        };
        let number = |text: &str| match text {
            "*" => Some(None),
            _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok().map(Some),
            _ => None,
        };
        let (major, minor) = numbers.split_once(':')?;
        Some(DeviceRule {
            allow: true,
            kind,
            major: number(major)?,
            minor: number(minor)?,
            access: access_of(access)?,
        })
    }
}

/// Bits of `rwm`; `None` for other letters.
pub fn access_of(letters: &str) -> Option<u8> {
    letters.bytes().try_fold(0, |bits, letter| {
        Some(
            bits | match letter {
                b'r' => READ,
                b'w' => WRITE,
                b'm' => MKNOD,
                _ => return None,
            },
        )
    })
}

/// Letters of bits, `rwm`.
pub fn letters_of(access: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| access & bit != 0)
        .map(|(_, c)| c)
        .collect()
}

impl fmt::Display for DeviceRule {
    /// v1's form, `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => 'a',
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), letters_of(self.access))
    }
}

/// Rules as v1's controller keeps them (kernel: security/device_cgroup.c): a default, and exceptions from it.
#[derive(Debug, Default)]
struct Table {
    allow: bool,
    exceptions: Vec<DeviceRule>,
}

impl Table {
    fn of(rules: &[DeviceRule]) -> Self {
        let mut table = Table::default();
        for rule in rules {
            if rule.kind == DeviceKind::All {
                table = Table { allow: rule.allow, exceptions: Vec::new() };
                continue;
            }
            let same = |e: &DeviceRule| (e.kind, e.major, e.minor) == (rule.kind, rule.major, rule.minor);
            let found = table.exceptions.iter_mut().find(|e| same(e));
            match (found, rule.allow != table.allow) {
                (Some(exception), true) => exception.access |= rule.access,
                (Some(exception), false) => exception.access &= !rule.access,
                (None, true) => table.exceptions.push(*rule),
                (None, false) => {}
            }
        }
        table.exceptions.retain(|e| e.access != 0);
        table
    }
}

/// One eBPF instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// dst and src registers in one byte; the low nibble is dst on little-endian machines, the high one on others.
const fn registers(dst: u8, src: u8) -> u8 {
    if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src }
}

// Opcodes (kernel: Documentation/bpf/standardization/instruction-set.rst): class, size or operation, source.
const LOAD_W: u8 = 0x61;
const MOV_IMM: u8 = 0xb7;
const MOV32_REG: u8 = 0xbc;
const AND32_IMM: u8 = 0x54;
const RSH32_IMM: u8 = 0x74;
const JNE32_IMM: u8 = 0x56;
const JEQ32_IMM: u8 = 0x16;
const EXIT: u8 = 0x95;

/// The program that decides as `rules` say. Its context is `struct bpf_cgroup_dev_ctx`: access and type, major,
/// minor, each 32 bits.
fn assemble(rules: &[DeviceRule]) -> Vec<Insn> {
    let table = Table::of(rules);
    let insn =
        |code, dst, src, offset, immediate| Insn { code, registers: registers(dst, src), offset, immediate };
    // r2 type, r3 access, r4 major, r5 minor.
    let mut program = vec![
        insn(LOAD_W, 2, 1, 0, 0),
        insn(MOV32_REG, 3, 2, 0, 0),
        insn(AND32_IMM, 2, 0, 0, 0xffff),
        insn(RSH32_IMM, 3, 0, 0, 16),
        insn(LOAD_W, 4, 1, 4, 0),
        insn(LOAD_W, 5, 1, 8, 0),
    ];
    for exception in &table.exceptions {
        let mut block = Vec::with_capacity(7);
        // Jumps to the next exception; how far is known at the end.
        match exception.kind {
            DeviceKind::All => {}
            DeviceKind::Block => block.push(insn(JNE32_IMM, 2, 0, 0, 1)),
            DeviceKind::Char => block.push(insn(JNE32_IMM, 2, 0, 0, 2)),
        }
        if exception.allow {
            if exception.access != ALL {
                // All that is asked for must be allowed.
                block.push(insn(MOV32_REG, 1, 3, 0, 0));
                block.push(insn(AND32_IMM, 1, 0, 0, i32::from(!exception.access & ALL)));
                block.push(insn(JNE32_IMM, 1, 0, 0, 0));
            }
        } else {
            // Any of it denied is denied.
            block.push(insn(MOV32_REG, 1, 3, 0, 0));
            block.push(insn(AND32_IMM, 1, 0, 0, i32::from(exception.access)));
            block.push(insn(JEQ32_IMM, 1, 0, 0, 0));
        }
        for (register, number) in [(4, exception.major), (5, exception.minor)] {
            if let Some(number) = number {
                block.push(insn(JNE32_IMM, register, 0, 0, number as i32));
            }
        }
        block.push(insn(MOV_IMM, 0, 0, 0, i32::from(exception.allow)));
        block.push(insn(EXIT, 0, 0, 0, 0));
        let length = block.len();
        for (at, step) in block.iter_mut().enumerate() {
            if matches!(step.code, JNE32_IMM | JEQ32_IMM) {
                step.offset = (length - at - 1) as i16;
            }
        }
        program.extend(block);
    }
    program.push(insn(MOV_IMM, 0, 0, 0, i32::from(table.allow)));
    program.push(insn(EXIT, 0, 0, 0, 0));
    program
}

const PROG_LOAD: c_int = 5;
const PROG_ATTACH: c_int = 8;
const PROG_DETACH: c_int = 9;
const PROG_GET_FD_BY_ID: c_int = 13;
const PROG_QUERY: c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
/// More filters than this on one cgroup are not ours to sort out.
const MOST_FILTERS: usize = 64;

/// bpf(2) with an attribute struct whose unused rest is zero.
fn bpf<T>(command: c_int, attributes: &mut T) -> io::Result<c_long> {
    // SAFETY: `attributes` is a live `repr(C)` struct laid out as the kernel's `union bpf_attr` for `command`, its
    // size is given, and pointers inside it (as u64) come from slices that outlive this call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttributes {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttributes {
    id: u32,
    next: u32,
    flags: u32,
}

/// Loads a program.
fn load(program: &[Insn]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attributes = LoadAttributes {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        program: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Default::default()
    };
    let fd = match bpf(PROG_LOAD, &mut attributes) {
        // Before 5.11 programs count as locked memory.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            use rustix::process::{Resource, Rlimit, setrlimit};
            setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })?;
            bpf(PROG_LOAD, &mut attributes)?
        }
        other => other?,
    };
    // SAFETY: the kernel just made this descriptor for us (close-on-exec, as BPF descriptors are).
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Ids of the device filters of a cgroup itself.
fn attached(cgroup: RawFd) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; MOST_FILTERS];
    let mut attributes = QueryAttributes {
        target: cgroup as u32,
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: MOST_FILTERS as u32,
        ..Default::default()
    };
    bpf(PROG_QUERY, &mut attributes)?;
    Ok(ids[..(attributes.count as usize).min(MOST_FILTERS)].to_vec())
}

/// Makes `rules` the ones of the cgroup at `dir`: attaches the new filter, then takes the old ones away, so that at
/// no moment more is allowed than by either.
///
/// # Errors
/// When the kernel refuses the program (without CAP_BPF or CAP_SYS_ADMIN) or its attachment.
pub(super) fn attach(dir: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let failed = |action| move |source| CgroupError::DeviceFilter { action, path: dir.to_owned(), source };
    let cgroup = std::fs::File::open(dir).map_err(failed("open for"))?;
    let old = attached(cgroup.as_raw_fd()).map_err(failed("query"))?;
    // A filter that lets all through is no filter.
    if Table::of(rules).allow && Table::of(rules).exceptions.is_empty() {
        return detach(cgroup.as_raw_fd(), &old).map_err(failed("detach"));
    }
    let program = load(&assemble(rules)).map_err(failed("load"))?;
    let mut attributes = AttachAttributes {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &mut attributes).map_err(failed("attach"))?;
    detach(cgroup.as_raw_fd(), &old).map_err(failed("detach"))
}

/// Takes filters away.
fn detach(cgroup: RawFd, ids: &[u32]) -> io::Result<()> {
    for id in ids {
        let fd = bpf(PROG_GET_FD_BY_ID, &mut IdAttributes { id: *id, ..Default::default() })?;
        // SAFETY: the kernel just made this descriptor for us.
        let program = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let mut attributes = AttachAttributes {
            target: cgroup as u32,
            program: program.as_raw_fd() as u32,
            kind: ATTACH_CGROUP_DEVICE,
            flags: 0,
        };
        bpf(PROG_DETACH, &mut attributes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel would: only the instructions that `assemble` writes.
    fn run(program: &[Insn], kind: u32, access: u8, major: u32, minor: u32) -> bool {
        let context = [u32::from(access) << 16 | kind, major, minor];
        let mut r = [0u32; 11];
        let mut at = 0;
        loop {
            let step = program[at];
            let (dst, src) = ((step.registers & 15) as usize, (step.registers >> 4) as usize);
            at += 1;
            let mut jump = |yes: bool| {
                if yes {
                    at += step.offset as usize
                }
            };
            match step.code {
                LOAD_W => r[dst] = context[step.offset as usize / 4],
                MOV_IMM => r[dst] = step.immediate as u32,
                MOV32_REG => r[dst] = r[src],
                AND32_IMM => r[dst] &= step.immediate as u32,
                RSH32_IMM => r[dst] >>= step.immediate,
                JNE32_IMM => jump(r[dst] != step.immediate as u32),
                JEQ32_IMM => jump(r[dst] == step.immediate as u32),
                EXIT => return r[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn rules(lines: &[&str]) -> Vec<DeviceRule> {
        let rule = |line: &&str| {
            let (verb, rest) = line.split_once(' ').unwrap();
            DeviceRule { allow: verb == "allow", ..DeviceRule::parse(rest).unwrap() }
        };
        lines.iter().map(rule).collect()
    }

    #[test]
    fn rules_are_read_as_docker_s_flag_has_them() {
        let rule = DeviceRule::parse("c 1:3 mr").unwrap();
        assert_eq!(
            rule,
            DeviceRule {
                allow: true,
                kind: DeviceKind::Char,
                major: Some(1),
                minor: Some(3),
                access: READ | MKNOD
            }
        );
        assert_eq!(rule.to_string(), "c 1:3 rm");
        assert_eq!(DeviceRule::parse("a *:* rwm"), Some(DeviceRule::everything()));
        for bad in [
            "bogus",
            "c 1:3",
            "c 1 rwm",
            "c 1:3 rwx",
            "d 1:3 r",
            "c 1:3 rwmr",
            "c +1:3 r",
            "c 1:3 r ",
            "c 1:3 ",
        ] {
            assert_eq!(DeviceRule::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_what_is_allowed_is_allowed() {
        let program =
            assemble(&rules(&["allow c 1:3 rw", "allow c 1:3 m", "allow b 8:* r", "allow c *:* m"]));
        assert!(run(&program, 2, ALL, 1, 3), "merged rules count together");
        assert!(run(&program, 2, MKNOD, 77, 9));
        assert!(!run(&program, 2, READ, 77, 9));
        assert!(run(&program, 1, READ, 8, 5));
        assert!(!run(&program, 1, READ | WRITE, 8, 5), "half allowed is denied");
        assert!(!run(&program, 2, READ, 8, 5), "a block rule says nothing of characters");
    }

    #[test]
    fn later_rules_take_back_earlier_ones() {
        let program = assemble(&rules(&["allow a *:* rwm", "deny c 5:1 w"]));
        assert!(run(&program, 2, READ, 5, 1));
        assert!(!run(&program, 2, READ | WRITE, 5, 1));
        assert!(run(&program, 2, WRITE, 5, 2));
        let program = assemble(&rules(&["allow c 5:1 rw", "deny c 5:1 w"]));
        assert!(run(&program, 2, READ, 5, 1));
        assert!(!run(&program, 2, WRITE, 5, 1));
        assert!(!run(&assemble(&[]), 2, READ, 1, 3), "nothing is allowed by nothing");
    }
}
