//! Filters run call by call in an interpreter, and once in the kernel.

use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;

fn rule(names: &[&str], action: Action, conditions: &[Condition]) -> Rule {
    Rule { names: names.iter().map(|n| (*n).to_owned()).collect(), action, conditions: conditions.to_vec() }
}

fn when(argument: u8, compare: Compare, value: u64) -> Condition {
    Condition { argument, compare, value, second: 0 }
}

fn profile(rules: Vec<Rule>) -> Profile {
    Profile { default: Action::Errno(1), arches: vec![Arch::X86_64, Arch::X86, Arch::X32], rules }
}

/// What becomes of a call by name.
fn fate(program: &Program, arch: Arch, name: &str, first: u64) -> u32 {
    interpret::run(program, arch, number(name, arch).unwrap(), [first, 0, 0, 0, 0, 0])
}

#[test]
fn each_call_of_each_machine_fares_as_its_rule_says() {
    let program = compile(&profile(vec![
        rule(&["read", "write", "socketcall", "mseal"], Action::Allow, &[]),
        rule(&["clone3"], Action::Errno(38), &[]),
    ]))
    .unwrap();
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        assert_eq!(fate(&program, arch, "read", 0), ALLOW, "{arch:?}");
        assert_eq!(fate(&program, arch, "clone3", 0), ENOSYS, "{arch:?}");
        assert_eq!(fate(&program, arch, "open", 0), EPERM, "{arch:?}");
    }
    assert_eq!(fate(&program, Arch::X86, "socketcall", 0), ALLOW);
    assert_eq!(interpret::run(&program, Arch::Aarch64, 63, [0; 6]), KILL, "a machine that is not named");
}

#[test]
fn calls_newer_than_the_profile_look_unknown_and_old_ones_forbidden() {
    let strict = compile(&profile(vec![rule(&["read", "openat2"], Action::Allow, &[])])).unwrap();
    let newest = number("openat2", Arch::X86_64).unwrap();
    assert_eq!(interpret::run(&strict, Arch::X86_64, newest - 1, [0; 6]), EPERM);
    for above in [newest + 1, 4095, 0x3fff_ffff, 0xffff_ffff] {
        assert_eq!(interpret::run(&strict, Arch::X86_64, above, [0; 6]), ENOSYS, "{above:#x}");
    }
    let lax = Profile { default: Action::Allow, ..profile(vec![rule(&["mkdir"], Action::Errno(1), &[])]) };
    assert_eq!(interpret::run(&compile(&lax).unwrap(), Arch::X86_64, 4095, [0; 6]), ALLOW);
}

#[test]
fn x32_calls_are_refused_where_only_x86_64_is_named() {
    let only = Profile { arches: vec![Arch::X86_64], ..profile(vec![rule(&["read"], Action::Allow, &[])]) };
    let program = compile(&only).unwrap();
    assert_eq!(interpret::run(&program, Arch::X86_64, 0, [0; 6]), ALLOW);
    assert_eq!(interpret::run(&program, Arch::X86_64, 0x4000_0000, [0; 6]), KILL);
}

#[test]
fn arguments_are_compared_in_all_64_bits() {
    let edge = 0x1_0000_0005u64;
    let around = [0, 4, 5, 6, edge - 1, edge, edge + 1, 0x2_0000_0000, 0x1_ffff_ffff, 0xffff_ffff, u64::MAX];
    type Test = fn(u64, u64) -> bool;
    let cases: [(Compare, Test); 6] = [
        (Compare::Equal, |a, b| a == b),
        (Compare::NotEqual, |a, b| a != b),
        (Compare::Less, |a, b| a < b),
        (Compare::LessOrEqual, |a, b| a <= b),
        (Compare::Greater, |a, b| a > b),
        (Compare::GreaterOrEqual, |a, b| a >= b),
    ];
    for (compare, holds) in cases {
        for bound in [5, edge] {
            let program =
                compile(&profile(vec![rule(&["read"], Action::Allow, &[when(0, compare, bound)])])).unwrap();
            for value in around {
                let expected = if holds(value, bound) { ALLOW } else { EPERM };
                assert_eq!(
                    fate(&program, Arch::X86_64, "read", value),
                    expected,
                    "{value:#x} {compare:?} {bound:#x}"
                );
            }
        }
    }
}

#[test]
fn masks_look_at_their_bits_alone() {
    let mask =
        Condition { argument: 0, compare: Compare::Masked, value: 0x1_0000_00f0, second: 0x1_0000_0010 };
    let program = compile(&profile(vec![rule(&["clone"], Action::Allow, &[mask])])).unwrap();
    for (value, expected) in
        [(0x1_0000_0010, ALLOW), (0xffff_0001_0000_0f1f, ALLOW), (0x10, EPERM), (0x1_0000_0030, EPERM)]
    {
        assert_eq!(fate(&program, Arch::X86_64, "clone", value), expected, "{value:#x}");
    }
}

#[test]
fn conditions_on_several_arguments_must_all_hold_on_one_any() {
    let both = [when(0, Compare::Equal, 1), when(1, Compare::Greater, 2)];
    let program = compile(&profile(vec![rule(&["read"], Action::Allow, &both)])).unwrap();
    let run = |a, b| interpret::run(&program, Arch::X86_64, 0, [a, b, 0, 0, 0, 0]);
    assert_eq!([run(1, 3), run(1, 2), run(2, 3)], [ALLOW, EPERM, EPERM]);

    let either = [when(0, Compare::Equal, 1), when(0, Compare::Equal, 7)];
    let program = compile(&profile(vec![rule(&["read"], Action::Allow, &either)])).unwrap();
    assert_eq!([1, 7, 5].map(|v| fate(&program, Arch::X86_64, "read", v)), [ALLOW, ALLOW, EPERM]);
}

#[test]
fn a_rule_without_conditions_beats_those_with() {
    let conditional = rule(&["read"], Action::Errno(13), &[when(0, Compare::Equal, 1)]);
    for rules in [
        vec![conditional.clone(), rule(&["read"], Action::Allow, &[])],
        vec![rule(&["read"], Action::Allow, &[]), conditional],
    ] {
        let program = compile(&profile(rules)).unwrap();
        assert_eq!(fate(&program, Arch::X86_64, "read", 1), ALLOW);
    }
}

#[test]
fn arm_s_private_calls_do_not_make_all_calls_old() {
    let arm = Profile {
        arches: vec![Arch::Aarch64, Arch::Arm],
        ..profile(vec![rule(&["read", "clone3", "set_tls"], Action::Allow, &[])])
    };
    let program = compile(&arm).unwrap();
    assert_eq!(fate(&program, Arch::Arm, "set_tls", 0), ALLOW);
    assert_eq!(fate(&program, Arch::Arm, "cacheflush", 0), ENOSYS);
    assert_eq!(fate(&program, Arch::Arm, "close_range", 0), ENOSYS);
    assert_eq!(fate(&program, Arch::Arm, "pidfd_open", 0), EPERM);
    assert_eq!(interpret::run(&program, Arch::Arm, 0x000f_0006, [0; 6]), ENOSYS);
    assert_eq!(fate(&program, Arch::Aarch64, "read", 0), ALLOW);
}

#[test]
fn a_seventh_argument_is_refused() {
    let bad = profile(vec![rule(&["read"], Action::Allow, &[when(6, Compare::Equal, 0)])]);
    assert_eq!(compile(&bad), Err(SeccompError::Argument(6)));
}

/// Children of this test binary run only this, under the filter: `getppid` forbidden, `openat` only without O_CREAT.
const UNDER_FILTER: &str = "MINKE_TEST_UNDER_SECCOMP";

#[test]
fn the_kernel_takes_the_program_and_does_as_it_says() {
    if std::env::var_os(UNDER_FILTER).is_some() {
        return under_filter();
    }
    let me = std::env::current_exe().unwrap();
    let name = "seccomp::tests::the_kernel_takes_the_program_and_does_as_it_says";
    let out = std::process::Command::new(me)
        .args(["--exact", name, "--nocapture"])
        .env(UNDER_FILTER, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.contains("getppid -38, O_CREAT refused, reading works"), "{out:?}");
}

fn under_filter() {
    let creating = Condition {
        argument: 2,
        compare: Compare::Masked,
        value: libc::O_CREAT as u64,
        second: libc::O_CREAT as u64,
    };
    let filter = Profile {
        default: Action::Allow,
        arches: vec![Arch::NATIVE],
        rules: vec![
            rule(&["getppid"], Action::Errno(38), &[]),
            rule(&["openat"], Action::Errno(13), &[creating]),
        ],
    };
    let bytes = compile(&filter).unwrap().to_bytes();
    #[repr(C)]
    struct SockFprog {
        len: u16,
        filter: *const u8,
    }
    let program = SockFprog { len: (bytes.len() / 8) as u16, filter: bytes.as_ptr() };
    // SAFETY: plain numbers, and a pointer to a live program of the length given; only this thread is filtered.
    let (installed, parent) = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let installed = libc::syscall(libc::SYS_seccomp, 1, 0, &raw const program);
        let parent = libc::syscall(libc::SYS_getppid);
        (installed, if parent == -1 { -std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 })
    };
    assert_eq!(installed, 0, "{}", std::io::Error::last_os_error());
    let created = std::fs::File::create("/tmp/minke-never-made").unwrap_err();
    assert_eq!(created.raw_os_error(), Some(13));
    std::fs::read("/proc/self/stat").unwrap();
    println!("getppid {parent}, O_CREAT refused, reading works");
}
