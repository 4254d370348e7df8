//! Poisson variates with a different mean for each pixel.
use once_cell::race::OnceBox;
use pulp::Simd;

use super::table::{alias_entries, outcome, probabilities};
use crate::noise::random::{BLOCK, Purpose, Stream, unit_interval};
use crate::simd::mul_add;

/// Signals from this value on are drawn by rejection.
pub(crate) const TABLE_LIMIT: f32 = 1024.0;

/// Fine tables have the means 0..STEP, coarse ones the multiples of STEP.
const STEP: u32 = 32;

/// Columns of every fine table: enough for the mean 31.
const FINE_COLUMNS: usize = 128;

/// Maximum number of columns of all coarse tables.
const COARSE_COLUMNS: usize = 32768;

/// Terms of the distribution with mean f < 1 that are computed for every pixel; one draw in 10^4 is beyond.
const TERMS: usize = 6;

/// The alias tables of whole-number means, the same for every camera and built on first use.
struct Tables {
    /// Table m starts at m * `FINE_COLUMNS`.
    fine: Box<[u64; STEP as usize * FINE_COLUMNS]>,
    /// Table a is described by `coarse_layout[a]`.
    coarse: Box<[u64; COARSE_COLUMNS]>,
    /// First outcome, columns - 1 and first column, in 16, 16 and 32 bits from the top.
    coarse_layout: [u64; STEP as usize],
}

impl Tables {
    fn new() -> Self {
        let mut fine: Box<[u64; STEP as usize * FINE_COLUMNS]> = zeros();
        for (mean, table) in fine.chunks_exact_mut(FINE_COLUMNS).enumerate() {
            let (first, mut p) = probabilities(mean as f64);
            p.splice(0..0, std::iter::repeat_n(0.0, first));
            p.resize(FINE_COLUMNS, 0.0);
            table.copy_from_slice(&alias_entries(&p));
        }
        let mut coarse: Box<[u64; COARSE_COLUMNS]> = zeros();
        let mut coarse_layout = [0; STEP as usize];
        let mut start = 0;
        for (a, layout) in coarse_layout.iter_mut().enumerate() {
            let (first, p) = probabilities((a * STEP as usize) as f64);
            let entries = alias_entries(&p);
            coarse[start..start + entries.len()].copy_from_slice(&entries);
            *layout = (first as u64) << 48 | (entries.len() as u64 - 1) << 32 | start as u64;
            start += entries.len();
        }
        Self { fine, coarse, coarse_layout }
    }

    fn shared() -> &'static Self {
        static TABLES: OnceBox<Tables> = OnceBox::new();
        TABLES.get_or_init(|| Box::new(Self::new()))
    }
}

/// An empty table on the heap.
#[allow(clippy::unnecessary_box_returns, reason = "the table is too large for the stack")]
fn zeros<const N: usize>() -> Box<[u64; N]> {
    Box::new([0; N])
}

/// Draws Poisson variates for signals from 0 to [`TABLE_LIMIT`].
#[derive(Clone, Copy)]
pub(crate) struct Signal {
    tables: &'static Tables,
    coarse: Stream,
    fine: Stream,
    fraction: Stream,
}

impl Signal {
    /// The draws of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            tables: Tables::shared(),
            coarse: Stream::new(seed, Purpose::SignalCoarse),
            fine: Stream::new(seed, Purpose::SignalFine),
            fraction: Stream::new(seed, Purpose::SignalFraction),
        }
    }

    /// Adds draws for the pixels `index..index + BLOCK` to `counts`. Signals of [`TABLE_LIMIT`] or more are skipped.
    #[inline(always)]
    pub(crate) fn add<S: Simd>(self, index: u64, signal: &[f32; BLOCK], counts: &mut [u32; BLOCK]) {
        let mut whole = [0u32; BLOCK];
        let mut fraction = [0f32; BLOCK];
        let mut largest = 0u32;
        for l in 0..BLOCK {
            let s = if signal[l] < TABLE_LIMIT { signal[l] } else { 0.0 };
            let (n, f) = split(s);
            whole[l] = n;
            fraction[l] = f;
            largest = largest.max(n);
        }
        if largest > 0 {
            self.add_fine(index, &whole, counts);
        }
        if largest >= STEP {
            self.add_coarse(index, &whole, counts);
        }
        self.add_fraction::<S>(index, &fraction, counts);
    }

    #[inline(always)]
    fn add_fine(self, index: u64, whole: &[u32; BLOCK], counts: &mut [u32; BLOCK]) {
        let mut words = [0; BLOCK];
        self.fine.fill(index, &mut words);
        for l in 0..BLOCK {
            let column = words[l] % FINE_COLUMNS as u64;
            let mean = u64::from(whole[l] % STEP);
            let entry = self.tables.fine[mean as usize * FINE_COLUMNS + column as usize];
            counts[l] = counts[l].wrapping_add(outcome(entry, column, words[l]) as u32);
        }
    }

    #[inline(always)]
    fn add_coarse(self, index: u64, whole: &[u32; BLOCK], counts: &mut [u32; BLOCK]) {
        let mut words = [0; BLOCK];
        self.coarse.fill(index, &mut words);
        for l in 0..BLOCK {
            let layout = self.tables.coarse_layout[(whole[l] / STEP % STEP) as usize];
            let column = words[l] & (layout >> 32 & 0xffff);
            let at = (layout & 0xffff_ffff) + column;
            let entry = self.tables.coarse[at as usize % COARSE_COLUMNS];
            counts[l] = counts[l].wrapping_add(((layout >> 48) + outcome(entry, column, words[l])) as u32);
        }
    }

    /// Inversion: the number of terms of the cumulative distribution below a uniform number, counted
    /// in single precision. If this could differ from the exact count, the exact one replaces it.
    #[inline(always)]
    fn add_fraction<S: Simd>(self, index: u64, fraction: &[f32; BLOCK], counts: &mut [u32; BLOCK]) {
        let mut words = [0; BLOCK];
        self.fraction.fill(index, &mut words);
        let mut extra = [0u32; BLOCK];
        let mut gaps = [0f32; BLOCK];
        let mut unsure = 0;
        for l in 0..BLOCK {
            (extra[l], gaps[l]) = quick_inversion::<S>(fraction[l], words[l]);
            unsure |= u32::from(gaps[l] < UNSURE);
        }
        if unsure != 0 {
            correct(&words, fraction, &gaps, &mut extra);
        }
        for l in 0..BLOCK {
            counts[l] = counts[l].wrapping_add(extra[l]);
        }
    }
}

/// 1/1, 1/2, ... for the recurrence of the terms.
const INVERSE: [f32; TERMS - 1] = [1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0, 1.0 / 5.0];

/// The error of single precision is less than half of this.
const UNSURE: f32 = 2e-6;

/// How many of the first [`TERMS`] cumulative probabilities are below a word's uniform number, and the distance
/// to the nearest one; 0 if all are below.
#[inline(always)]
fn quick_inversion<S: Simd>(mean: f32, word: u64) -> (u32, f32) {
    let uniform = f32::from_bits(0x3f80_0000 | (word >> 41) as u32) - 1.0;
    let mut term = quick_exp_minus::<S>(mean);
    let mut above = uniform - term;
    let mut count = u32::from(above >= 0.0);
    let mut gap = above.abs();
    for inverse in INVERSE {
        term *= mean * inverse;
        above -= term;
        count += u32::from(above >= 0.0);
        gap = if above.abs() < gap { above.abs() } else { gap };
    }
    (count, if above < 0.0 { gap } else { 0.0 })
}

/// Replaces the counts that are uncertain in single precision.
#[cold]
fn correct(words: &[u64; BLOCK], fraction: &[f32; BLOCK], gaps: &[f32; BLOCK], counts: &mut [u32; BLOCK]) {
    for l in 0..BLOCK {
        if gaps[l] < UNSURE {
            counts[l] = inversion(f64::from(fraction[l]), unit_interval(words[l]));
        }
    }
}

/// How many cumulative probabilities of a mean in [0, 1) are below a uniform number.
fn inversion(mean: f64, uniform: f64) -> u32 {
    let mut term = exp_minus(mean);
    let mut cumulative = term;
    let mut count = 0;
    // At the 20th term the sum is 1 to the last bit; the limit prevents an endless loop due to rounding.
    while uniform >= cumulative && count < 20 {
        count += 1;
        term *= mean / f64::from(count);
        cumulative += term;
    }
    count
}

/// The whole part and the rest in [0, 1) of a number in [0, 2^22), without a float-to-integer conversion, whose
/// treatment of out-of-range numbers costs more than the rest of the loop.
#[inline(always)]
fn split(s: f32) -> (u32, f32) {
    const MAGIC: f32 = 8_388_608.0;
    let shifted = s + MAGIC;
    let nearest = shifted.to_bits() & 0x007f_ffff;
    let rest = s - (shifted - MAGIC);
    if rest < 0.0 { (nearest.wrapping_sub(1), rest + 1.0) } else { (nearest, rest) }
}

/// exp(-x) for x in [0, 1], exactly 1 at 0; relative error below 1e-15. The Chebyshev interpolation of
/// (exp(-x) - 1) / x: unlike the system's exponential it gives the same bits everywhere.
fn exp_minus(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 12] = [
        1.322_148_081_132_693_1e-9,
        -2.320_097_587_120_273_7e-8,
        2.728_940_322_703_654_7e-7,
        -2.753_231_109_497_008e-6,
        2.480_003_228_994_600_6e-5,
        -0.000_198_412_050_231_795_9,
        0.001_388_888_710_482_400_1,
        -0.008_333_333_302_138_762,
        0.041_666_666_663_443_576,
        -0.166_666_666_666_494_4,
        0.499_999_999_999_996_4,
        -1.0,
    ];
    COEFFICIENTS.iter().fold(0.0, |q, c| q * x + c) * x + 1.0
}

/// exp(-x) for x in [0, 1] to single precision, exactly 1 at 0.
#[inline(always)]
fn quick_exp_minus<S: Simd>(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 5] = [-0.007_837_364, 0.041_418_763, -0.166_609_67, 0.499_995_17, -0.999_999_94];
    let mut q = 0.000_912_545_4;
    for c in COEFFICIENTS {
        q = mul_add::<S>(q, x, c);
    }
    mul_add::<S>(q, x, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_is_floor_and_rest() {
        let numbers = [0.0, 1e-30, 0.3, 0.5, 0.999_999_94, 1.0, 1.5, 2.5, 31.999_998, 1_023.999_94];
        for s in numbers {
            let (n, f) = split(s);
            assert_eq!((n as f32, f), (s.floor(), s - s.floor()), "{s}");
        }
    }

    #[test]
    fn exponential_is_accurate() {
        assert_eq!(exp_minus(0.0).to_bits(), 1f64.to_bits());
        for i in 0..=1000 {
            let x = f64::from(i) / 1000.0;
            assert!((exp_minus(x) * x.exp() - 1.0).abs() < 1e-15, "{x}");
        }
    }

    #[test]
    fn inversion_follows_the_cumulative_distribution() {
        for mean in [1e-6, 0.3, 0.9, 1.0 - 1e-7] {
            let (_, p) = probabilities(mean);
            let mut cumulative = 0.0;
            for (k, p) in p.iter().enumerate().take_while(|(_, p)| **p > 1e-13) {
                assert_eq!(inversion(mean, cumulative + p / 2.0) as usize, k);
                cumulative += p;
            }
        }
        assert_eq!(inversion(0.0, 1.0 - f64::EPSILON), 0);
        assert!(inversion(0.9, 1.0) <= 20);
    }

    #[test]
    fn quick_inversion_differs_only_where_it_says_so() {
        let stream = Stream::new(8, Purpose::SignalFraction);
        for i in 0..3_000_000 {
            let mean = (i % 4093) as f32 / 4093.0;
            let word = stream.word(i);
            let (count, gap) = quick_inversion::<pulp::Scalar>(mean, word);
            let uniform = unit_interval(word);
            let exact = inversion(f64::from(mean), uniform);
            assert!(count == exact || gap < UNSURE / 2.0, "{mean}, {word:x}: {count} {exact}");
            // The distance itself, against double precision.
            let mut cumulative = 0.0;
            let mut term = exp_minus(f64::from(mean));
            let nearest = (1..=TERMS as u32).fold(f64::INFINITY, |nearest, k| {
                cumulative += term;
                term *= f64::from(mean) / f64::from(k);
                nearest.min((uniform - cumulative).abs())
            });
            assert!(gap == 0.0 || (f64::from(gap) - nearest).abs() < f64::from(UNSURE) / 2.0);
        }
    }
}
