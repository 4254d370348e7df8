//! Poisson variates with large means.
//!
//! Transformed rejection with squeeze (`PTRS`): W. Hörmann, "The transformed rejection method for generating Poisson
//! random variables", Insurance: Mathematics and Economics 12, 39 (1993). The logarithm of a probability is computed
//! as by C. Loader, "Fast and accurate computation of binomial probabilities" (2000): the direct
//! formula subtracts numbers of 1e10 at a mean of 1e9 and keeps only six digits of the difference.

use crate::noise::random::Generator;

/// A Poisson variate with a mean from 10 to 2e9.
pub(crate) fn poisson_by_rejection(mean: f64, generator: &mut Generator) -> u32 {
    let b = 0.931 + 2.53 * mean.sqrt();
    let a = -0.059 + 0.024_83 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let squeeze = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let u = generator.uniform() - 0.5;
        let v = generator.uniform();
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
        if us >= 0.07 && v <= squeeze {
            return k as u32;
        }
        if !(0.0..=f64::from(u32::MAX)).contains(&k) || (us < 0.013 && v > us) {
            continue;
        }
        if (v * inverse_alpha / (a / (us * us) + b)).ln() <= log_probability(k, mean) {
            return k as u32;
        }
    }
}

/// The logarithm of the probability of `k` (a whole number) for a given mean.
pub(crate) fn log_probability(k: f64, mean: f64) -> f64 {
    if k < 16.0 {
        let log_factorial: f64 = (2..=k as u32).map(|i| f64::from(i).ln()).sum();
        return k * mean.ln() - mean - log_factorial;
    }
    -stirling_error(k) - deviance(k, mean) - 0.5 * (std::f64::consts::TAU * k).ln()
}

/// ln k! - ln(sqrt(2 pi k) (k/e)^k) for k >= 16.
fn stirling_error(k: f64) -> f64 {
    let square = k * k;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square)
        / k
}

/// k ln(k / mean) + mean - k without cancellation if the two are close.
fn deviance(k: f64, mean: f64) -> f64 {
    let difference = k - mean;
    if difference.abs() >= 0.1 * (k + mean) {
        return k * (k / mean).ln() - difference;
    }
    // With v = (k - mean) / (k + mean): (k - mean) v + 2 k sum_j v^(2j+1) / (2j+1), j = 1, 2, ...
    let v = difference / (k + mean);
    let mut sum = difference * v;
    let mut power = 2.0 * k * v;
    for j in 1..1000 {
        power *= v * v;
        let step = power / f64::from(2 * j + 1);
        sum += step;
        if step.abs() <= 1e-17 * sum.abs() {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::poisson::table::probabilities;

    #[test]
    fn log_probability_matches_the_recurrence() {
        for mean in [10.0, 16.5, 100.0, 1024.3, 1e5] {
            let (first, p) = probabilities(mean);
            for (i, p) in p.iter().enumerate() {
                let got = log_probability((first + i) as f64, mean).exp();
                assert!((got / p - 1.0).abs() < 1e-10, "mean {mean}, k {}: {got} {p}", first + i);
            }
        }
    }

    /// k, mean, and k ln(mean) - mean - ln k! computed with 60 digits.
    const REFERENCE: [(f64, f64, f64); 6] = [
        (1_000_000_000.0, 1e9, -11.280_571_451_761_212),
        (1_000_100_000.0, 1e9, -16.280_454_790_927_537),
        (999_800_000.0, 1e9, -31.281_804_908_442_564),
        (2_000_000_001.0, 2e9, -11.627_145_042_499_518),
        (1_000_007.0, 1_000_000.5, -7.826_718_520_450_977),
        (3000.0, 1024.0, -1_253.609_436_247_188_4),
    ];

    #[test]
    fn log_probability_is_accurate_at_large_means() {
        for (k, mean, expected) in REFERENCE {
            let got = log_probability(k, mean);
            assert!((got - expected).abs() < 1e-12 * expected.abs(), "{k}, {mean}: {got}");
        }
    }
}
