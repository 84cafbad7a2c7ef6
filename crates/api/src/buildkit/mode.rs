//! Go's file modes and stat(2)'s: entries of directories travel with the first, the rest of the house has the second.

/// Go's `io/fs.FileMode` bits beside the permissions, and stat(2)'s for the same.
const TYPES: [(u32, u32); 6] = [
    (1 << 31, 0o040_000),
    (1 << 27, 0o120_000),
    (1 << 25, 0o010_000),
    (1 << 24, 0o140_000),
    // A character device has both of its bits.
    (1 << 26 | 1 << 21, 0o020_000),
    (1 << 26, 0o060_000),
];
const SPECIAL: [(u32, u32); 3] = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];
const TYPE_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
/// All of Go's bits that say that something is no regular file, `ModeIrregular` too.
const GO_TYPES: u32 = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;

/// From Go's; `None` for what this machine has no files of.
pub(crate) fn from_go(mode: u32) -> Option<u32> {
    let kind = match mode & GO_TYPES {
        0 => REGULAR,
        go => TYPES.iter().find(|(bits, _)| *bits == go)?.1,
    };
    let special = SPECIAL.iter().filter(|(go, _)| mode & go != 0).fold(0, |bits, (_, ours)| bits | ours);
    Some(kind | special | mode & 0o777)
}

/// To Go's.
pub(crate) fn to_go(mode: u32) -> u32 {
    let kind = TYPES.iter().find(|(_, ours)| mode & TYPE_MASK == *ours).map_or(0, |(go, _)| *go);
    let special = SPECIAL.iter().filter(|(_, ours)| mode & ours != 0).fold(0, |bits, (go, _)| bits | go);
    kind | special | mode & 0o777
}

/// Whether an entry of that mode (stat(2)'s) can have bytes.
pub(crate) fn is_regular(mode: u32) -> bool {
    mode & TYPE_MASK == REGULAR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_survive_the_way_there_and_back() {
        for mode in [
            0o100_644, 0o104_755, 0o102_755, 0o041_777, 0o040_755, 0o120_777, 0o020_666, 0o060_660,
            0o010_600, 0o140_755,
        ] {
            assert_eq!(from_go(to_go(mode)), Some(mode), "{mode:o}");
        }
    }

    #[test]
    fn go_writes_them_otherwise() {
        assert_eq!(to_go(0o040_755), 1 << 31 | 0o755);
        assert_eq!(to_go(0o104_755), 1 << 23 | 0o755);
        assert_eq!(from_go(1 << 19), None);
        assert_eq!(from_go(1 << 31 | 1 << 27), None);
    }
}
