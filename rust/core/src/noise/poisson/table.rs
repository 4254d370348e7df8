//! Alias tables: one random word, one table entry, one Poisson number.
//!
//! Walker's method with Vose's construction (IEEE Trans. Softw. Eng. 17, 972, 1991). A table has `2^k` columns, each
//! shared by at most two outcomes. The word's low `k` bits choose the column, its high 48 bits are compared with the
//! column's threshold, so a probability is resolved to `2^-(48 + k)`. An entry is one `u64`: the threshold in the high
//! 48 bits, the second outcome in the low 16. Words and entries are compared as signed numbers, because AVX2 has no
//! unsigned comparison; the thresholds are shifted by half their range to make up for it.
/// Outcomes rarer than this, relative to the most likely one, are omitted: below the resolution of the thresholds.
const TAIL: f64 = 1e-20;

/// Bits of an entry that hold the second outcome.
const ALIAS: u64 = 0xffff;

/// The probabilities of `first`, `first + 1`, ... and `first` itself for a Poisson distribution with the
/// given mean, by recurrence from the mode.
pub(super) fn probabilities(mean: f64) -> (usize, Vec<f64>) {
    let mode = mean.floor();
    let mut below = vec![];
    let (mut k, mut p) = (mode, 1.0);
    // A tail decays at least geometrically, so cutting at a small term removes a small sum.
    while k > 0.0 && p > TAIL {
        p *= k / mean;
        k -= 1.0;
        below.push(p);
    }
    let first = mode as usize - below.len();
    below.reverse();
    let mut all = below;
    (k, p) = (mode, 1.0);
    while p > TAIL {
        all.push(p);
        k += 1.0;
        p *= mean / k;
    }
    let total: f64 = all.iter().sum();
    for p in &mut all {
        *p /= total;
    }
    (first, all)
}

/// The probabilities of `first`, `first + 1`, ... and `first` itself for `scale (n + r) + offset`, rounded, where
/// n is a Poisson variate with the given mean and r a normal one with the standard deviation `sigma`, above 0.
///
/// With a whole `scale`, rounding the sum is the same as rounding `scale r + offset`, so the two distributions are convolved.
pub(super) fn rounded_probabilities(mean: f64, sigma: f64, scale: u32, offset: f64) -> (i64, Vec<f64>) {
    let (first, poisson) = probabilities(mean);
    let sigma = f64::from(scale) * sigma;
    let whole = offset.round_ties_even();
    let part = offset - whole;
    // Outside 9.7 sigma the probability is below 1e-21.
    let reach = (9.7 * sigma).ceil() as usize + 1;
    let beyond = |x: f64| 0.5 * libm::erfc(x / (sigma * std::f64::consts::SQRT_2));
    // For a step d, from d - 1/2 to d + 1/2; there is no cancellation on the side where both ends are positive.
    let of_step = |step: f64| match [step - 0.5, step + 0.5] {
        [low, high] if low < 0.0 && high > 0.0 => 1.0 - (beyond(-low) + beyond(high)),
        [low, high] if high <= 0.0 => beyond(-high) - beyond(-low),
        [low, high] => beyond(low) - beyond(high),
    };
    let steps: Vec<f64> = (0..=2 * reach).map(|i| of_step(i as f64 - reach as f64 - part)).collect();
    let scale = scale as usize;
    let mut sum = vec![0.0; scale * (poisson.len() - 1) + 1 + 2 * reach];
    for (i, p) in poisson.iter().enumerate() {
        sum[scale * i..].iter_mut().zip(&steps).for_each(|(sum, step)| *sum += p * step);
    }
    let least = TAIL * sum.iter().copied().fold(0.0, f64::max);
    let skipped = sum.iter().take_while(|&&p| p < least).count();
    sum.drain(..skipped);
    while sum.last().is_some_and(|&p| p < least) {
        sum.pop();
    }
    let total: f64 = sum.iter().sum();
    for p in &mut sum {
        *p /= total;
    }
    (whole as i64 + (scale * first) as i64 - reach as i64 + skipped as i64, sum)
}

/// The entries of a table for the outcomes `0..probabilities.len()`, padded to a power of two.
pub(super) fn alias_entries(probabilities: &[f64]) -> Vec<u64> {
    let columns = probabilities.len().next_power_of_two();
    let mut scaled: Vec<f64> = probabilities.iter().map(|p| p * columns as f64).collect();
    scaled.resize(columns, 0.0);
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..columns).partition(|&i| scaled[i] < 1.0);
    // A column that keeps all of its probability: both outcomes are the same.
    let mut entries: Vec<u64> = (0..columns as u64).collect();
    while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
        small.pop();
        entries[poor] = entry(scaled[poor], rich);
        scaled[rich] -= 1.0 - scaled[poor];
        if scaled[rich] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    entries
}

/// A column whose own outcome has the share `share` in [0, 1) and whose other outcome is `alias`.
fn entry(share: f64, alias: usize) -> u64 {
    const STEPS: f64 = (1u64 << 48) as f64;
    let threshold = ((share.max(0.0) * STEPS).round().min(STEPS - 1.0)) as u64;
    (threshold.wrapping_sub(1 << 47) << 16) | alias as u64
}

/// The outcome in `column` for a word.
#[inline(always)]
pub(super) const fn outcome(entry: u64, column: u64, word: u64) -> u64 {
    if (word as i64) < (entry & !ALIAS) as i64 { column } else { entry & ALIAS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_give_the_probabilities_back() {
        for mean in [0.3, 1.0, 7.5, 50.2, 100.0, 992.0, 1e5] {
            let (_, expected) = probabilities(mean);
            let entries = alias_entries(&expected);
            let mut got = vec![0.0; entries.len()];
            for (column, &entry) in entries.iter().enumerate() {
                let threshold = (entry >> 16).wrapping_add(1 << 47) & ((1 << 48) - 1);
                let share = threshold as f64 / (1u64 << 48) as f64;
                got[column] += share / entries.len() as f64;
                got[(entry & ALIAS) as usize] += (1.0 - share) / entries.len() as f64;
            }
            expected.iter().zip(&got).for_each(|(e, g)| {
                assert!((e - g).abs() < 1e-14, "mean {mean}: {e} {g}");
            });
            let tail: f64 = got[expected.len()..].iter().sum();
            assert!(tail < 1e-14, "mean {mean}: padding has {tail}");
        }
    }

    #[test]
    fn rounded_sums_have_the_moments_and_the_limits() {
        for (mean, sigma) in [(0.0, 1.0), (0.3, 2.5), (100.0, 10.0), (1e4, 3.0), (7.0, 300.0)] {
            let (first, p) = rounded_probabilities(mean, sigma, 1, 0.0);
            let at = |i: usize| (first + i as i64) as f64;
            let m: f64 = p.iter().enumerate().map(|(i, p)| p * at(i)).sum();
            let v: f64 = p.iter().enumerate().map(|(i, p)| p * (at(i) - mean).powi(2)).sum();
            // Rounding adds the variance of a step (Sheppard), exactly if a step is less than sigma.
            let expected = mean + sigma * sigma + 1.0 / 12.0;
            assert!((m - mean).abs() < 1e-8, "{mean}, {sigma}: {m}");
            assert!((v / expected - 1.0).abs() < 1e-6, "{mean}, {sigma}: variance {v}");
        }
        // Almost no noise gives none.
        let ((first, plain), (start, p)) = (probabilities(3.3), rounded_probabilities(3.3, 0.01, 1, 0.0));
        assert_eq!((first as i64, plain.len()), (start, p.len()));
        assert!(plain.iter().zip(&p).all(|(a, b)| (a - b).abs() < 1e-15));
    }

    #[test]
    fn probabilities_have_the_moments() {
        for mean in [0.0, 1e-9, 0.3, 1.0, 31.0, 300.7, 1e5] {
            let (first, p) = probabilities(mean);
            let at = |i: usize| (first + i) as f64;
            let m: f64 = p.iter().enumerate().map(|(i, p)| p * at(i)).sum();
            let v: f64 = p.iter().enumerate().map(|(i, p)| p * (at(i) - mean).powi(2)).sum();
            assert!((m - mean).abs() <= 1e-12 * mean, "mean {mean}: {m}");
            assert!((v - mean).abs() <= 1e-11 * mean, "mean {mean}: variance {v}");
        }
    }
}
