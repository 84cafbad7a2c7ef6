//! Writes gzip (RFC 1951, RFC 1952) fast enough for layers of gigabytes: several times as fast as zlib's usual level, some
//! percent larger. The same input gives the same bytes, always: a layer's blob keeps its digest.
//!
//! Matches are found by a hash of four bytes with the two newest places for each, and taken at once; each block of input
//! gets Huffman codes of its own. What does not compress is passed over ever faster, and stored.
//!
//! Where a processor would have to guess, there is arithmetic instead of a branch: in text, what comes next is what
//! cannot be guessed.
//!
//! Never: reads gzip (decompress.rs does).

mod huffman;

use flate2::Crc;
use huffman::{Code, lengths};
use std::io::{self, Write};

/// How far back a match may reach.
const WINDOW: usize = 32 << 10;
/// Input of one block.
const BLOCK: usize = 128 << 10;
/// Shortest and longest match.
const MIN_MATCH: usize = 4;
const MAX_MATCH: usize = 258;
/// Bits of a hash.
const HASH_BITS: u32 = 15;
/// A match this long is good enough: no second place is looked at.
const GOOD: usize = 32;
/// So long each place is looked at though nothing is found.
const PATIENT: usize = 32;
/// So many bytes are passed over at once at most.
const MAX_STEP: usize = 32;
/// What is compared at once.
const WORD: usize = size_of::<u64>();

/// Literals, the end of a block, and lengths of matches.
const LITERALS: usize = 286;
/// Distances of matches.
const DISTANCES: usize = 30;
/// The end of a block.
const END: usize = 256;
/// Longest codes (RFC 1951 section 3.2.7).
const MAX_CODE: u8 = 15;
const MAX_META_CODE: u8 = 7;
/// In this order the lengths of the codes of lengths are sent.
const META_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The longest stored piece.
const MAX_STORED: usize = 65535;

/// What the tokens of a block come from: a token's lowest 9 bits are a literal or, from here on, a match's length less 3;
/// then 5 bits are the code of its distance, and the rest that code's extra bits.
const MATCH: usize = 256;
const SYMBOLS: usize = 512;
const DISTANCE_AT: u32 = 9;
const EXTRA_AT: u32 = 14;
/// A literal's code of a distance, which is written in no bits.
const NO_DISTANCE: usize = DISTANCES;

/// Room for what a block becomes at most, and for a word that is written where the last bits are.
const ROOM: usize = BLOCK + 256;

/// First lengths of the length codes, less 3, and their extra bits.
const LENGTH_BASE: [u8; 29] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192,
    224, 255,
];
const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
/// First distances of the distance codes, less 1, and their extra bits.
const DISTANCE_BASE: [u16; 30] = [
    0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072,
    4096, 6144, 8192, 12288, 16384, 24576,
];
const DISTANCE_EXTRA: [u8; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

/// The code of each length less 3.
const LENGTH_CODE: [u8; 256] = {
    let mut codes = [0; 256];
    let mut code = 0;
    while code < 29 {
        let mut length = LENGTH_BASE[code] as usize;
        let end = if code == 28 { 256 } else { LENGTH_BASE[code + 1] as usize };
        while length < end {
            codes[length] = code as u8;
            length += 1;
        }
        code += 1;
    }
    codes
};

/// The code of a distance less 1.
fn distance_code(distance: u16) -> usize {
    if distance < 4 {
        return usize::from(distance);
    }
    // Two codes for each power of two, told apart by the bit after the first.
    let top = 15 - distance.leading_zeros();
    (2 * top + u32::from(distance >> (top - 1) & 1)) as usize
}

/// A writer of one gzip member.
pub(crate) struct Gzip<W: Write> {
    out: W,
    /// What comes out, until it is handed on.
    bits: Bits,
    /// A window of what was, and what comes next.
    buffer: Vec<u8>,
    /// Where what comes next begins.
    start: usize,
    /// The two newest places for each hash, as places in the buffer; its begin when they have left it.
    table: Vec<[u32; 2]>,
    /// One for each byte of a block at most.
    tokens: Vec<u32>,
    counts: Counts,
    crc: Crc,
}

impl<W: Write> Gzip<W> {
    /// Writes to `out`, which gets large pieces.
    pub(crate) fn new(out: W) -> Self {
        let mut bits = Bits { bytes: vec![0; ROOM], end: 0, held: 0, count: 0 };
        // Deflate, no flags, no time, nothing about the machine.
        bits.bytes(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        Self {
            out,
            bits,
            buffer: Vec::with_capacity(WINDOW + BLOCK),
            start: 0,
            table: vec![[0; 2]; 1 << HASH_BITS],
            tokens: vec![0; BLOCK],
            counts: Counts::default(),
            crc: Crc::new(),
        }
    }

    /// Writes the end.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.block(true)?;
        self.bits.align();
        self.bits.bytes(&self.crc.sum().to_le_bytes());
        self.bits.bytes(&self.crc.amount().to_le_bytes());
        self.bits.hand_on(&mut self.out)?;
        Ok(self.out)
    }

    /// Compresses what has come as one block.
    fn block(&mut self, last: bool) -> io::Result<()> {
        self.counts = Counts::default();
        let count = find_matches(&self.buffer, self.start, &mut self.table, &mut self.tokens);
        self.counts.count(&self.tokens[..count]);
        let stored = &self.buffer[self.start..];
        self.bits.block(&self.tokens[..count], &self.counts, stored, last);
        self.bits.hand_on(&mut self.out)?;
        // Only a window of it is of further use.
        let gone = self.buffer.len().saturating_sub(WINDOW);
        self.buffer.drain(..gone);
        self.start = self.buffer.len();
        if gone > 0 {
            let gone = gone as u32;
            self.table.iter_mut().flatten().for_each(|place| *place = place.saturating_sub(gone));
        }
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() - self.start == BLOCK {
            self.block(false)?;
        }
        let count = bytes.len().min(BLOCK - (self.buffer.len() - self.start));
        self.crc.update(&bytes[..count]);
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Nothing is handed on before its block is full: a flush would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How often each code comes in a block.
struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Default for Counts {
    fn default() -> Self {
        Self { literals: [0; LITERALS], distances: [0; DISTANCES] }
    }
}

impl Counts {
    fn count(&mut self, tokens: &[u32]) {
        // Two of each, by turns: what comes twice in a row need not wait for its own count.
        let (mut symbols, mut distances) = ([[0u32; SYMBOLS]; 2], [[0u32; 32]; 2]);
        for (n, &token) in tokens.iter().enumerate() {
            symbols[n & 1][symbol(token)] += 1;
            distances[n & 1][distance(token)] += 1;
        }
        for symbols in &symbols {
            self.literals.iter_mut().zip(&symbols[..MATCH]).for_each(|(count, more)| *count += more);
            for (code, more) in LENGTH_CODE.iter().zip(&symbols[MATCH..]) {
                self.literals[END + 1 + usize::from(*code)] += more;
            }
        }
        for distances in &distances {
            self.distances.iter_mut().zip(distances).for_each(|(count, more)| *count += more);
        }
        self.literals[END] = 1;
    }
}

fn symbol(token: u32) -> usize {
    token as usize % SYMBOLS
}

fn distance(token: u32) -> usize {
    (token >> DISTANCE_AT) as usize % 32
}

fn literal(byte: u8) -> u32 {
    u32::from(byte) | (NO_DISTANCE as u32) << DISTANCE_AT
}

/// Finds what comes from `start` on in what was before it, as tokens; how many there are.
fn find_matches(data: &[u8], start: usize, table: &mut [[u32; 2]], tokens: &mut [u32]) -> usize {
    let mut at = start;
    let mut misses = 0;
    let mut n = 0;
    while at + WORD <= data.len() {
        let word = word_at(data, at);
        let slot = &mut table[hash(word)];
        let places = *slot;
        *slot = [at as u32, places[0]];
        let [newer, older] = places.map(|place| begin(data, place as usize, at, word));
        let (mut length, mut place) = if older > newer { (older, places[1]) } else { (newer, places[0]) };
        if length < MIN_MATCH {
            if misses < PATIENT {
                tokens[n] = literal(word as u8);
                (n, at, misses) = (n + 1, at + 1, misses + 1);
                continue;
            }
            // The longer nothing is found, the less it is looked for.
            let step = (misses / PATIENT + 1).min(MAX_STEP).min(data.len() - at);
            misses += step;
            n = literals(&data[at..at + step], tokens, n);
            at += step;
            continue;
        }
        misses = 0;
        if length == WORD {
            length = common(data, place as usize, at);
            if older == newer && length < GOOD {
                let further = common(data, places[1] as usize, at);
                if further > length {
                    (length, place) = (further, places[1]);
                }
            }
        }
        let back = (at - place as usize - 1) as u16;
        let code = distance_code(back);
        let extra = u32::from(back - DISTANCE_BASE[code]);
        tokens[n] = (MATCH + length - 3) as u32 | (code as u32) << DISTANCE_AT | extra << EXTRA_AT;
        n += 1;
        // Later matches may begin inside of this one, mostly where what follows it begins.
        let end = (at + length).min(data.len() - WORD);
        for inside in [at + 1, at + length - 1] {
            if inside < end {
                let slot = &mut table[hash(word_at(data, inside))];
                *slot = [inside as u32, slot[0]];
            }
        }
        at += length;
    }
    literals(&data[at..], tokens, n)
}

/// Bytes as tokens from the `n`th on; how many there are then.
fn literals(bytes: &[u8], tokens: &mut [u32], n: usize) -> usize {
    for (token, &byte) in tokens[n..].iter_mut().zip(bytes) {
        *token = literal(byte);
    }
    n + bytes.len()
}

/// Eight bytes at `at`; what is not there is zero.
fn word_at(data: &[u8], at: usize) -> u64 {
    data.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Of the first four bytes.
fn hash(word: u64) -> usize {
    ((word as u32).wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize
}

/// How many of the eight bytes in `word`, which are at `at`, are the same at `place`; none where that is too far away.
fn begin(data: &[u8], place: usize, at: usize, word: u64) -> usize {
    let same = (word_at(data, place) ^ word).trailing_zeros() as usize / 8;
    if at.wrapping_sub(place).wrapping_sub(1) < WINDOW { same } else { 0 }
}

/// How many bytes at `old` and at `new`, which is later, are the same.
fn common(data: &[u8], old: usize, new: usize) -> usize {
    let limit = MAX_MATCH.min(data.len() - new);
    let (before, after) = (&data[old..old + limit], &data[new..new + limit]);
    let mut length = 0;
    while let (Some(a), Some(b)) = (before[length..].first_chunk::<8>(), after[length..].first_chunk::<8>()) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return length + differ.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + before[length..].iter().zip(&after[length..]).take_while(|(a, b)| a == b).count()
}

/// Bits on their way into bytes, the lowest first.
struct Bits {
    /// Of one length always; those before `end` count.
    bytes: Vec<u8>,
    end: usize,
    held: u64,
    /// How many of `held` count; below 8 between calls.
    count: u32,
}

impl Bits {
    /// Takes up to 56 bits.
    fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        self.bytes[self.end..self.end + WORD].copy_from_slice(&self.held.to_le_bytes());
        let whole = self.count / 8;
        self.end += whole as usize;
        self.held >>= 8 * whole;
        self.count %= 8;
    }

    fn code(&mut self, code: Code) {
        self.put(u64::from(code.bits), u32::from(code.length));
    }

    /// Takes whole bytes, where no bits are held.
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Goes on with a whole byte.
    fn align(&mut self) {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
    }

    /// Writes out all whole bytes.
    fn hand_on(&mut self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.bytes[..self.end])?;
        self.end = 0;
        Ok(())
    }

    /// Writes a block in the shorter way: by codes of its own, or as it is.
    fn block(&mut self, tokens: &[u32], counts: &Counts, stored: &[u8], last: bool) {
        let codes = Codes::new(&counts.literals, &counts.distances);
        if codes.cost(&counts.literals, &counts.distances) / 8 >= stored.len() as u64 + 5 {
            return self.store(stored, last);
        }
        self.put(u64::from(last) | 2 << 1, 3);
        codes.write_head(self);
        let (symbols, distances) = (codes.symbols(), codes.of_distances());
        for &token in tokens {
            let (symbol, distance) = (symbols[symbol(token)], distances[distance(token)]);
            let (bits, count) = (u64::from(symbol.bits), u32::from(symbol.count));
            let bits = bits | u64::from(distance.bits) << count;
            let count = count + u32::from(distance.count);
            let bits = bits | u64::from(token >> EXTRA_AT) << count;
            self.put(bits, count + u32::from(distance.extra));
        }
        self.code(codes.literals[END]);
    }

    fn store(&mut self, bytes: &[u8], last: bool) {
        let count = bytes.len().div_ceil(MAX_STORED).max(1);
        for number in 0..count {
            let piece = &bytes[number * MAX_STORED..bytes.len().min((number + 1) * MAX_STORED)];
            self.put(u64::from(last && number + 1 == count), 3);
            self.align();
            let length = piece.len() as u16;
            self.bytes(&length.to_le_bytes());
            self.bytes(&(!length).to_le_bytes());
            self.bytes(piece);
        }
    }
}

/// What a token's half is written as: bits, how many, and how many more come from the token.
#[derive(Clone, Copy, Default)]
struct Written {
    bits: u32,
    count: u8,
    extra: u8,
}

/// The codes of a block.
struct Codes {
    literals: [Code; LITERALS],
    distances: [Code; DISTANCES],
    /// Lengths of both, run-length coded: symbol, and the value of its extra bits.
    runs: Vec<(u8, u8)>,
    meta: [Code; 19],
    literal_count: usize,
    distance_count: usize,
}

impl Codes {
    fn new(literals: &[u32; LITERALS], distances: &[u32; DISTANCES]) -> Self {
        let of_literals = lengths(literals, MAX_CODE);
        let mut of_distances = lengths(distances, MAX_CODE);
        if of_distances.iter().all(|&length| length == 0) {
            // One code of one bit says that there are none.
            of_distances[0] = 1;
        }
        let used = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|&l| l > 0).map_or(least, |last| (last + 1).max(least))
        };
        let (literal_count, distance_count) = (used(&of_literals, 257), used(&of_distances, 1));
        let all: Vec<u8> =
            of_literals[..literal_count].iter().chain(&of_distances[..distance_count]).copied().collect();
        let runs = run_lengths(&all);
        let mut counts = [0; 19];
        runs.iter().for_each(|(symbol, _)| counts[usize::from(*symbol)] += 1);
        let of_meta = lengths(&counts, MAX_META_CODE);
        Self {
            literals: huffman::codes(&of_literals),
            distances: huffman::codes(&of_distances),
            runs,
            meta: huffman::codes(&of_meta),
            literal_count,
            distance_count,
        }
    }

    /// Literals, and lengths of matches with their extra bits.
    fn symbols(&self) -> [Written; SYMBOLS] {
        let mut symbols = [Written::default(); SYMBOLS];
        for (symbol, code) in symbols[..MATCH].iter_mut().zip(&self.literals) {
            *symbol = Written { bits: code.bits.into(), count: code.length, extra: 0 };
        }
        for (length, symbol) in symbols[MATCH..].iter_mut().enumerate() {
            let class = usize::from(LENGTH_CODE[length]);
            let code = self.literals[END + 1 + class];
            let extra = length as u32 - u32::from(LENGTH_BASE[class]);
            let bits = u32::from(code.bits) | extra << code.length;
            *symbol = Written { bits, count: code.length + LENGTH_EXTRA[class], extra: 0 };
        }
        symbols
    }

    /// Distances of matches; the rest is written in no bits.
    fn of_distances(&self) -> [Written; 32] {
        let mut distances = [Written::default(); 32];
        for ((distance, code), &extra) in distances.iter_mut().zip(&self.distances).zip(&DISTANCE_EXTRA) {
            *distance = Written { bits: code.bits.into(), count: code.length, extra };
        }
        distances
    }

    fn meta_count(&self) -> usize {
        META_ORDER
            .iter()
            .rposition(|&symbol| self.meta[symbol].length > 0)
            .map_or(4, |last| (last + 1).max(4))
    }

    /// Bits of a block with these codes.
    fn cost(&self, literals: &[u32; LITERALS], distances: &[u32; DISTANCES]) -> u64 {
        let times = |count: &u32, length: u8| u64::from(*count) * u64::from(length);
        let head = 3 + 14 + 3 * self.meta_count() as u64;
        let runs = self
            .runs
            .iter()
            .map(|(symbol, _)| u64::from(self.meta[usize::from(*symbol)].length + run_bits(*symbol)));
        let literal = literals.iter().enumerate().map(|(symbol, count)| {
            let extra = symbol.checked_sub(END + 1).map_or(0, |code| LENGTH_EXTRA[code]);
            times(count, self.literals[symbol].length + extra)
        });
        let distance = distances.iter().enumerate();
        let distance =
            distance.map(|(code, count)| times(count, self.distances[code].length + DISTANCE_EXTRA[code]));
        head + runs.sum::<u64>() + literal.sum::<u64>() + distance.sum::<u64>()
    }

    fn write_head(&self, bits: &mut Bits) {
        let meta_count = self.meta_count();
        bits.put((self.literal_count - 257) as u64, 5);
        bits.put((self.distance_count - 1) as u64, 5);
        bits.put((meta_count - 4) as u64, 4);
        for &symbol in &META_ORDER[..meta_count] {
            bits.put(u64::from(self.meta[symbol].length), 3);
        }
        for &(symbol, value) in &self.runs {
            bits.code(self.meta[usize::from(symbol)]);
            bits.put(u64::from(value), u32::from(run_bits(symbol)));
        }
    }
}

/// Extra bits of a symbol of run lengths.
fn run_bits(symbol: u8) -> u8 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// Lengths of codes as runs: 16 repeats the last 3 to 6 times, 17 and 18 are 3 to 10 and 11 to 138 zeros.
fn run_lengths(lengths: &[u8]) -> Vec<(u8, u8)> {
    let mut runs = Vec::new();
    let mut rest = lengths;
    while let Some(&first) = rest.first() {
        let mut same = rest.iter().take_while(|&&length| length == first).count();
        rest = &rest[same..];
        if first != 0 {
            runs.push((first, 0));
            same -= 1;
        }
        while same > 0 {
            let (symbol, count) = match (first, same) {
                (0, 11..) => (18, same.min(138)),
                (0, 3..) => (17, same),
                (_, 3..) if first != 0 => (16, same.min(6)),
                _ => (first, 1),
            };
            let value = match symbol {
                16 | 17 => count - 3,
                18 => count - 11,
                _ => 0,
            };
            runs.push((symbol, value as u8));
            same -= count;
        }
    }
    runs
}

#[cfg(test)]
mod tests;
