//! The allocator's own settings. Only for a program whose global allocator is mimalloc.

/// `mi_option_purge_delay` (mimalloc 2 and 3, `include/mimalloc.h`); libmimalloc-sys has no name for it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Has freed pages go back to the kernel at once. By default they wait a second, and after that for the next
/// allocation: a daemon that rests after a busy moment would keep them for as long as it rests.
pub fn give_back_at_once() {
    // SAFETY: sets one number of the allocator's own options, which it reads at each use (`mi_option_set`).
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads one number.
        let get = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(get(), 1000, "mimalloc's default in milliseconds: has the list of options changed?");
        give_back_at_once();
        assert_eq!(get(), 0);
    }
}
