//! What is written is read by others as what it was.

use super::*;
use std::io::Read;

fn packed(input: &[u8], piece: usize) -> Vec<u8> {
    let mut gzip = Gzip::new(Vec::new());
    for piece in input.chunks(piece) {
        gzip.write_all(piece).unwrap();
    }
    gzip.finish().unwrap()
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Of one member, with its checksum and its length verified.
    flate2::read::GzDecoder::new(packed).read_to_end(&mut out).unwrap();
    out
}

/// Bytes from a seed (xorshift64*), of so many different values.
fn noise(seed: u64, values: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % values
    };
    (0..length).map(next).map(|value| value as u8).collect()
}

/// Words in any order, as source code has them.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let words: Vec<Vec<u8>> = (0..500).map(|n| noise(n + 7, 26, 2 + n as usize % 9)).collect();
    let mut out = Vec::with_capacity(length + 16);
    for pick in noise(seed, 250, length) {
        out.extend(words[usize::from(pick)].iter().map(|letter| letter + b'a'));
        out.push(b' ');
        if out.len() >= length {
            break;
        }
    }
    out
}

#[test]
fn everything_comes_back() {
    let zeros = vec![0; 3 * BLOCK + 17];
    let far =
        [noise(1, 256, 1000), vec![7; WINDOW - 1000], noise(1, 256, 1000), noise(2, 256, 40_000)].concat();
    for (name, input) in [
        ("nothing", Vec::new()),
        ("a byte", b"x".to_vec()),
        ("three bytes", b"abc".to_vec()),
        ("four of a kind", b"aaaa".to_vec()),
        ("zeros", zeros),
        ("noise", noise(3, 256, 2 * BLOCK + 5)),
        ("two values", noise(4, 2, 300_000)),
        ("one value and one other", [vec![1; 70_000], vec![2]].concat()),
        ("text", text(5, 700_000)),
        ("a block", text(6, BLOCK)),
        ("text, noise and text", [text(7, 100_000), noise(8, 256, 300_000), text(9, 100_000)].concat()),
        ("matches as far as they reach", far),
    ] {
        let out = packed(&input, 1 << 20);
        assert!(unpacked(&out) == input, "{name}");
        assert_eq!(packed(&input, 777), out, "{name}: whatever pieces it comes in, the bytes are the same");
        assert!(out.len() <= input.len() + input.len() / 10_000 * 5 + 64, "{name}: {}", out.len());
    }
}

#[test]
fn text_gets_about_as_small_as_zlib_makes_it() {
    let input = text(1, 2_000_000);
    let mut zlib = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    zlib.write_all(&input).unwrap();
    let zlib = zlib.finish().unwrap().len();
    let ours = packed(&input, 1 << 16).len();
    assert!(ours < zlib * 5 / 4, "{ours} to {zlib}");
}

#[test]
fn random_mixtures_come_back() {
    for round in crate::tests::rounds(60) {
        let mut input = Vec::new();
        for part in 0..round % 7 {
            let seed = round * 10 + part;
            input.extend(noise(seed, 1 + seed % 256, (seed * 7919 % 50_000) as usize));
            input.extend(text(seed, (seed * 104_729 % 40_000) as usize));
            let again = input.len() / 3;
            input.extend_from_within(again..(again + 5000).min(input.len()));
        }
        assert!(unpacked(&packed(&input, 4096)) == input, "round {round}");
    }
}

#[test]
fn codes_are_never_longer_than_they_may_be() {
    // Fibonacci's numbers make the deepest trees.
    let mut counts = [0u32; 40];
    let (mut a, mut b) = (1, 1);
    for count in &mut counts {
        *count = a;
        (a, b) = (b, a + b);
    }
    for most in [7, 15] {
        let lengths = huffman::lengths(&counts, most);
        assert!(lengths.iter().all(|&l| l > 0 && l <= most));
        let room: u64 = lengths.iter().map(|&l| 1 << (most - l)).sum();
        assert!(room <= 1 << most, "no code is another's beginning");
    }
}
