//! Huffman codes of bounded length (RFC 1951 section 3.2.2). Pure.

/// A code as it is written: its bits in the order of sending, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) bits: u16,
    pub(super) length: u8,
}

/// Lengths of the best codes for symbols that come so often, none longer than `most`; 0 for those that never come.
/// Nearly the best, where the bound matters.
pub(super) fn lengths<const N: usize>(counts: &[u32; N], most: u8) -> [u8; N] {
    let mut used: Vec<(u32, usize)> =
        counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(s, count)| (*count, s)).collect();
    let mut lengths = [0; N];
    match used.len() {
        0 => return lengths,
        1 => {
            lengths[used[0].1] = 1;
            return lengths;
        }
        _ => {}
    }
    used.sort_unstable();
    let depths = depths(&used.iter().map(|(count, _)| u64::from(*count)).collect::<Vec<_>>());
    // How many codes there are of each length, the too long ones cut.
    let mut of_length = vec![0u32; usize::from(most) + 1];
    depths.iter().for_each(|depth| of_length[usize::from((*depth).min(most))] += 1);
    // Room of all codes in units of the shortest that is allowed; cut codes take more than there is.
    let whole = 1u64 << most;
    let mut taken: u64 = (1..=most).map(|l| u64::from(of_length[usize::from(l)]) << (most - l)).sum();
    while taken > whole {
        // A code one shorter than the longest it can be becomes a pair; one of the longest joins it.
        let Some(shorter) = (1..most).rev().find(|l| of_length[usize::from(*l)] > 0) else { break };
        of_length[usize::from(shorter)] -= 1;
        of_length[usize::from(shorter) + 1] += 2;
        of_length[usize::from(most)] -= 1;
        taken = (1..=most).map(|l| u64::from(of_length[usize::from(l)]) << (most - l)).sum();
    }
    // The rarest symbols get the longest codes.
    let mut symbols = used.iter().map(|(_, symbol)| *symbol);
    for length in (1..=most).rev() {
        for symbol in symbols.by_ref().take(of_length[usize::from(length)] as usize) {
            lengths[symbol] = length;
        }
    }
    lengths
}

/// Depths in a Huffman tree of leaves whose weights are given in ascending order; at least two.
fn depths(weights: &[u64]) -> Vec<u8> {
    let count = weights.len();
    // Inner nodes come to be in the order of their weights, so that two queues are enough.
    let mut inner: Vec<u64> = Vec::with_capacity(count - 1);
    let mut parents = vec![0usize; 2 * count - 1];
    let (mut leaf, mut node) = (0, 0);
    for made in 0..count - 1 {
        let mut least = || {
            let take_leaf = node >= inner.len() || leaf < count && weights[leaf] <= inner[node];
            if take_leaf {
                leaf += 1;
                (leaf - 1, weights[leaf - 1])
            } else {
                node += 1;
                (count + node - 1, inner[node - 1])
            }
        };
        let ((one, a), (other, b)) = (least(), least());
        inner.push(a + b);
        (parents[one], parents[other]) = (count + made, count + made);
    }
    // From the root down: a parent is always made after its children.
    let mut depth = vec![0u8; 2 * count - 1];
    for node in (0..2 * count - 2).rev() {
        depth[node] = depth[parents[node]].saturating_add(1);
    }
    depth.truncate(count);
    depth
}

/// The canonical codes of these lengths.
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut next = [0u32; 17];
    for &length in lengths.iter().filter(|l| **l > 0) {
        next[usize::from(length) + 1] += 1;
    }
    let mut first = 0;
    for slot in &mut next[1..] {
        first = (first + *slot) << 1;
        *slot = first;
    }
    let mut codes = [Code::default(); N];
    for (code, &length) in codes.iter_mut().zip(lengths).filter(|(_, length)| **length > 0) {
        let value = &mut next[usize::from(length)];
        *code = Code { bits: (*value as u16).reverse_bits() >> (16 - length), length };
        *value += 1;
    }
    codes
}
