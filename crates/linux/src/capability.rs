//! Capabilities of this thread as bit sets: bit n is capability n.

use std::io;

/// CAP_SYS_ADMIN.
pub const SYS_ADMIN: u32 = 21;

/// The sets of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept over exec with file capabilities.
    pub inheritable: u64,
}

/// _LINUX_CAPABILITY_VERSION_3.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// The sets as they are.
pub fn get() -> io::Result<Sets> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [[0u32; 3]; 2];
    // SAFETY: header and two data records are what version 3 wants.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut data) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let join = |i: usize| u64::from(data[0][i]) | u64::from(data[1][i]) << 32;
    Ok(Sets { effective: join(0), permitted: join(1), inheritable: join(2) })
}

/// Sets them; none can grow past what is permitted.
pub fn set(sets: Sets) -> io::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    let part = |shift: u32| [sets.effective, sets.permitted, sets.inheritable].map(|s| (s >> shift) as u32);
    let data = [part(0), part(32)];
    // SAFETY: header and two data records are what version 3 wants.
    match unsafe { libc::syscall(libc::SYS_capset, &raw mut header, &raw const data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The highest capability that the kernel knows.
pub fn last() -> u32 {
    // Asked by bounding set: an unknown number is EINVAL.
    // SAFETY: PR_CAPBSET_READ only reads.
    (0..64)
        .take_while(|n| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *n as libc::c_ulong, 0, 0, 0) } >= 0)
        .last()
        .unwrap_or(0)
}

/// Takes all but `keep` out of the bounding set.
pub fn bound(keep: u64) -> io::Result<()> {
    for n in 0..64u32 {
        // SAFETY: PR_CAPBSET_READ only reads.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(n), 0, 0, 0) } {
            ..0 => break,
            0 => continue,
            _ if keep >> n & 1 == 1 => continue,
            // SAFETY: drops one capability of this thread.
            _ => match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(n), 0, 0, 0) } {
                0 => {}
                _ => return Err(io::Error::last_os_error()),
            },
        }
    }
    Ok(())
}

/// Makes the ambient set exactly `wanted` (permitted and inheritable must hold it).
pub fn set_ambient(wanted: u64) -> io::Result<()> {
    // SAFETY: changes this thread's ambient set only.
    let ask = |op: libc::c_int, n: u32| match unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, op as libc::c_ulong, libc::c_ulong::from(n), 0, 0)
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    ask(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    (0..64).filter(|n| wanted >> n & 1 == 1).try_for_each(|n| ask(libc::PR_CAP_AMBIENT_RAISE, n))
}

/// Permitted capabilities stay over a change of user.
pub fn keep_over_setuid(keep: bool) -> io::Result<()> {
    // SAFETY: a flag of this thread.
    match unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_knows_at_least_the_capabilities_of_5_9() {
        assert!((40..64).contains(&super::last()));
    }

    #[test]
    fn setting_what_one_has_changes_nothing() {
        let sets = super::get().unwrap();
        super::set(sets).unwrap();
        assert_eq!(super::get().unwrap(), sets);
    }
}
