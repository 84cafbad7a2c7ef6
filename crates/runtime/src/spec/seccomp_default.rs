//! The filter of containers that ask for none: which system calls Docker's default profile allows (facts of moby
//! `profiles/seccomp/default_linux.go` as of Docker 28.5), in our own words, for the machines that Minke runs on.
//!
//! All else fails with EPERM, and with ENOSYS when it is newer than this list.

use super::seccomp::{Source, SourceRule};
use minke_linux::seccomp::{Action, Arch, Compare, Condition};

/// Always allowed.
#[rustfmt::skip]
const ALWAYS: &str = "\
     accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 \
     clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
     clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
     epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
     epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 \
     fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl \
     fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 \
     fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait \
     futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid \
     geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid \
     getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list \
     getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr \
     getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy \
     io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill \
     landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link \
     linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat \
     lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod \
     mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
     mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv \
     msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat \
     openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll \
     ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 \
     pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg \
     recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 \
     restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
     rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo \
     sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min \
     sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity \
     sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop \
     semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 \
     setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid \
     setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list \
     setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl \
     shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair \
     splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs \
     sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 \
     timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
     timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe \
     utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

/// Allowed to who has a capability.
#[rustfmt::skip]
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
     lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
     quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Allowed on 64-bit and 32-bit ARM.
const ON_ARM: &str = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";

/// Allowed since Linux 4.8, where ptrace(2) can no longer go around a filter.
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// personality(2) may be asked for, be plain Linux, or change what uname(2) and address spaces look like.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x20000, 0x20008, 0xffff_ffff];

/// clone(2) may make none of these: mount, cgroup, UTS, IPC, user, pid, network namespaces.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Kernel crypto (CVE history) and the hypervisor's sockets, which containers need not reach.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

/// The default profile.
pub(super) fn source() -> Source {
    let names = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect();
    let allow = |text: &str| SourceRule { names: names(text), ..SourceRule::default() };
    let only = |name: &str, compare, value| SourceRule {
        conditions: vec![Condition { argument: 0, compare, value, second: 0 }],
        ..allow(name)
    };
    let mut rules = vec![allow(ALWAYS)];
    rules.push(SourceRule { min_kernel: Some((4, 8)), ..allow(TRACING) });
    rules.push(only("socket", Compare::Less, AF_ALG));
    rules.push(only("socket", Compare::Equal, AF_ALG + 1));
    rules.push(only("socket", Compare::Greater, AF_VSOCK));
    rules.extend(PERSONALITIES.map(|value| only("personality", Compare::Equal, value)));
    rules.push(SourceRule { arches: vec!["arm", "arm64"], ..allow(ON_ARM) });
    rules.push(SourceRule { arches: vec!["amd64", "x32"], ..allow("arch_prctl") });
    rules.push(SourceRule { arches: vec!["amd64", "x32", "x86"], ..allow("modify_ldt") });
    for (capability, text) in BY_CAPABILITY {
        rules.push(SourceRule { with: super::defaults::capability(capability).unwrap_or(0), ..allow(text) });
    }
    let admin = super::defaults::capability("SYS_ADMIN").unwrap_or(0);
    rules.push(SourceRule { without: admin, ..only("clone", Compare::Masked, NAMESPACE_FLAGS) });
    // A C library falls back to clone(2), whose flags can be looked at; those of clone3 lie in memory.
    rules.push(SourceRule { without: admin, action: Some(Action::Errno(38)), ..allow("clone3") });
    Source {
        default: Action::Errno(1),
        arches: match Arch::NATIVE {
            Arch::Aarch64 => vec![Arch::Aarch64, Arch::Arm],
            _ => vec![Arch::X86_64, Arch::X86, Arch::X32],
        },
        rules,
    }
}
