//! Variates for the emitters of a movie: uniform random numbers converted to other distributions, in double
//! precision.
//!
//! Logarithm and cosine come from the crate `libm`, in plain arithmetic: unlike other libraries, they are
//! bit-identical on every CPU.

use std::f64::consts::TAU;

use super::poisson::poisson_by_rejection;
use super::random::Generator;
use crate::{Error, Result};

/// Converts uniform numbers in [0, 1) to exponential variates with mean 1, in place (by inversion).
pub fn exponential(uniform: &mut [f64]) {
    for u in uniform {
        *u = -libm::log1p(-*u);
    }
}

/// Converts pairs of uniform numbers in [0, 1) to standard normal variates (Box & Muller, Ann. Math. Stat. 29, 610, 1958);
/// overwrites the first of each pair.
///
/// # Errors
/// [`Error::Length`] if the two slices differ in length.
pub fn normal(uniform: &mut [f64], second: &[f64]) -> Result<()> {
    if second.len() != uniform.len() {
        return Err(Error::Length { name: "second", got: second.len(), expected: uniform.len() });
    }
    for (u, &second) in uniform.iter_mut().zip(second) {
        *u = (-2.0 * libm::log1p(-*u)).sqrt() * libm::cos(TAU * second);
    }
    Ok(())
}

/// Converts pairs of uniform numbers in [0, 1) to Poisson variates with given means, at most 1e9; overwrites the first of each pair.
///
/// Small ones are found by inversion; for large ones the pair seeds a random generator.
///
/// # Errors
/// [`Error::Length`] if lengths differ; [`Error::Value`] for a mean out of range.
pub fn poisson(uniform: &mut [f64], second: &[f64], mean: &[f64]) -> Result<()> {
    for (name, got) in [("second", second.len()), ("mean", mean.len())] {
        if got != uniform.len() {
            return Err(Error::Length { name, got, expected: uniform.len() });
        }
    }
    for ((u, &second), &mean) in uniform.iter_mut().zip(second).zip(mean) {
        if !(0.0..=1e9).contains(&mean) {
            return Err(Error::value("mean", mean, "a number from 0 to 1e9"));
        }
        *u = if mean < 10.0 {
            inverted(*u, mean)
        } else {
            f64::from(poisson_by_rejection(mean, &mut Generator::of_pair(*u, second)))
        };
    }
    Ok(())
}

/// How many terms of the cumulative Poisson distribution are below a number in [0, 1).
fn inverted(uniform: f64, mean: f64) -> f64 {
    let mut term = libm::exp(-mean);
    let (mut below, mut count) = (term, 0.0);
    while uniform >= below && term > 0.0 {
        count += 1.0;
        term *= mean / count;
        below += term;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::random::{Purpose, Stream};

    /// Kolmogorov-Smirnov: the largest difference of two distribution functions, times the root of the number of draws.
    fn distance(mut draws: Vec<f64>, cumulative: impl Fn(f64) -> f64) -> f64 {
        draws.sort_by(f64::total_cmp);
        let n = draws.len() as f64;
        let apart = |(i, &x): (usize, &f64)| {
            let c = cumulative(x);
            (c - i as f64 / n).abs().max((c - (i + 1) as f64 / n).abs())
        };
        draws.iter().enumerate().map(apart).fold(0.0, f64::max) * n.sqrt()
    }

    fn uniform(purpose: Purpose) -> Vec<f64> {
        let mut generator = Stream::new(3, purpose).generator(0);
        (0..200_000).map(|_| generator.uniform()).collect()
    }

    #[test]
    fn draws_follow_their_laws() {
        let mut draws = uniform(Purpose::Rejection);
        exponential(&mut draws);
        assert!(distance(draws, |x| 1.0 - (-x).exp()) < 1.95); // 0.1 %
        let mut draws = uniform(Purpose::Background);
        normal(&mut draws, &uniform(Purpose::ReadNoise)).unwrap();
        assert!(distance(draws, |x| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)) < 1.95);
    }

    #[test]
    fn counts_have_mean_and_variance() {
        let (mut draws, second) = (uniform(Purpose::Rejection), uniform(Purpose::Background));
        let n = draws.len() as f64;
        for mean in [0.0, 0.3, 4.0, 9.99, 10.0, 80.0, 4e3] {
            poisson(&mut draws, &second, &vec![mean; second.len()]).unwrap();
            let found = draws.iter().sum::<f64>() / n;
            let variance = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            assert!((found - mean).abs() <= 5.0 * (mean / n).sqrt(), "{mean}: {found}");
            assert!((variance - mean).abs() <= 5.0 * ((2.0 * mean * mean + mean) / n).sqrt(), "{mean}: {variance}");
            draws.copy_from_slice(&uniform(Purpose::Rejection));
        }
        assert!(poisson(&mut [0.5], &[0.5], &[-1.0]).is_err() && poisson(&mut [0.5], &[], &[1.0]).is_err());
    }

    #[test]
    fn ends_of_the_interval_give_numbers() {
        let last = 1.0 - f64::EPSILON / 2.0;
        let mut draws = [0.0, last];
        exponential(&mut draws);
        assert_eq!(draws.map(f64::to_bits), [0.0, 53.0 * std::f64::consts::LN_2].map(f64::to_bits));
        let mut draws = [0.0, last];
        normal(&mut draws, &[last, 0.0]).unwrap();
        assert!(draws[0] == 0.0 && (8.0..9.0).contains(&draws[1]));
        assert!(normal(&mut [0.5], &[]).is_err());
    }
}
