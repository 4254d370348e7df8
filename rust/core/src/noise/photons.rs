//! Distributions of the photons per frame of an emitter that is on for the full frame.
//!
//! Each draw depends only on two uniform numbers. All distributions except gamma convert these by inversion or by the
//! exact method of Box & Muller; the gamma distribution uses them to seed a separate random generator, since it needs an unknown
//! number of words.

use std::f64::consts::TAU;

use super::random::Generator;
use crate::{Error, Result};

/// Upper limit: larger draws are clipped to this value.
const MOST_PHOTONS: f64 = 1e15;

/// A distribution of photons with mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PhotonLaw {
    /// Normal, clipped at 0.
    Normal {
        /// Mean before clipping.
        mean: f64,
        /// Its standard deviation.
        sigma: f64,
    },
    /// Gamma, with shape (mean / sigma)^2.
    Gamma {
        /// Shape; infinite if all draws equal the mean.
        shape: f64,
        /// Its scale, sigma^2 / mean.
        scale: f64,
        /// Its mean.
        mean: f64,
    },
    /// Lognormal: the exponential of a normal variate.
    LogNormal {
        /// Mean of the logarithm.
        location: f64,
        /// Standard deviation of the logarithm.
        width: f64,
    },
    /// Exponential.
    Exponential {
        /// Its mean.
        mean: f64,
    },
}

impl PhotonLaw {
    /// The distribution "normal", "gamma", "lognormal" or "exponential"; the exponential one ignores `sigma`.
    ///
    /// # Errors
    /// [`Error::Value`] for an unknown name, and for numbers that are not finite or below 0.
    pub fn new(name: &str, mean: f64, sigma: f64) -> Result<Self> {
        for (name, value) in [("mean", mean), ("sigma", sigma)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::value(name, value, "a number from 0"));
            }
        }
        // If the mean is so small, or the spread so large, that squares over- or underflow, almost all draws are 0.
        let spread = if mean > 0.0 { (sigma / mean).min(1e100) } else { 0.0 };
        Ok(match name {
            "normal" => Self::Normal { mean, sigma },
            "gamma" => Self::Gamma { shape: 1.0 / (spread * spread), scale: mean * spread * spread, mean },
            "lognormal" => {
                let variance = libm::log1p(spread * spread);
                Self::LogNormal { location: libm::log(mean) - variance / 2.0, width: variance.sqrt() }
            }
            "exponential" => Self::Exponential { mean },
            other => {
                return Err(Error::value("photon_distribution", other, "normal, gamma, lognormal or exponential"));
            }
        })
    }

    /// The photons for two uniform numbers in [0, 1).
    #[must_use]
    pub fn photons(&self, first: f64, second: f64) -> f64 {
        let drawn = match *self {
            Self::Normal { mean, sigma } => mean + sigma * normal(first, second),
            Self::Gamma { shape, mean, .. } if shape.is_infinite() => mean,
            Self::Gamma { shape, scale, .. } => scale * gamma(shape, &mut Generator::of_pair(first, second)),
            Self::LogNormal { location, width } => libm::exp(location + width * normal(first, second)),
            Self::Exponential { mean } => -libm::log1p(-first) * mean,
        };
        drawn.clamp(0.0, MOST_PHOTONS)
    }
}

/// A standard normal variate (Box & Muller, Ann. Math. Stat. 29, 610, 1958).
fn normal(first: f64, second: f64) -> f64 {
    (-2.0 * libm::log1p(-first)).sqrt() * libm::cos(TAU * second)
}

/// A gamma variate of scale 1 (Marsaglia & Tsang, ACM Trans. Math. Softw. 26, 363, 2000); for shapes below 1, times a power of a
/// uniform number.
fn gamma(shape: f64, random: &mut Generator) -> f64 {
    if shape < 1.0 {
        let power = libm::log1p(-random.uniform()) / shape;
        return gamma(shape + 1.0, random) * libm::exp(power);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(random.uniform(), random.uniform());
        let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
        if v > 0.0 && libm::log1p(-random.uniform()) < 0.5 * x * x + d * (1.0 - v + libm::log(v)) {
            return d * v;
        }
    }
}

/// Converts pairs of uniform numbers in [0, 1) to photons of a distribution; overwrites the first of each pair.
///
/// # Errors
/// [`Error::Length`] if the two slices differ in length.
pub fn photons(law: &PhotonLaw, uniform: &mut [f64], second: &[f64]) -> Result<()> {
    if second.len() != uniform.len() {
        return Err(Error::Length { name: "second", got: second.len(), expected: uniform.len() });
    }
    for (u, &second) in uniform.iter_mut().zip(second) {
        *u = law.photons(*u, second);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::random::{Purpose, Stream};

    #[test]
    fn laws_have_their_mean_and_spread() {
        let mut random = Stream::new(5, Purpose::Blinking).generator(0);
        for (name, mean, sigma) in [
            ("normal", 2000.0, 400.0),
            ("gamma", 2000.0, 400.0),
            ("gamma", 500.0, 900.0), // shape below 1
            ("lognormal", 2000.0, 1500.0),
            ("exponential", 700.0, 700.0),
        ] {
            let law = PhotonLaw::new(name, mean, sigma).unwrap();
            let draws: Vec<f64> = (0..400_000).map(|_| law.photons(random.uniform(), random.uniform())).collect();
            let n = draws.len() as f64;
            let found = draws.iter().sum::<f64>() / n;
            let spread = (draws.iter().map(|x| (x - found) * (x - found)).sum::<f64>() / n).sqrt();
            assert!((found - mean).abs() < 4.0 * sigma / n.sqrt(), "{name}: {found}");
            assert!((spread / sigma - 1.0).abs() < 0.02, "{name}: {spread}");
        }
    }

    #[test]
    fn extremes_give_numbers() {
        let last = 1.0 - f64::EPSILON / 2.0;
        for name in ["normal", "gamma", "lognormal", "exponential"] {
            for (mean, sigma) in [(0.0, 0.0), (0.0, 1e9), (1e9, 0.0), (1e-300, 1e9), (1e9, 1e-300), (1e9, 1e9)] {
                let law = PhotonLaw::new(name, mean, sigma).unwrap();
                for (first, second) in [(0.0, 0.0), (last, 0.0), (0.0, last), (last, 0.5), (0.5, 0.25)] {
                    let found = law.photons(first, second);
                    assert!((0.0..=MOST_PHOTONS).contains(&found), "{name} {mean} {sigma}: {found}");
                }
                if sigma == 0.0 && name != "exponential" {
                    assert!((law.photons(0.3, 0.4) - mean).abs() <= 1e-9 * mean);
                }
            }
        }
        assert!(PhotonLaw::new("uniform", 1.0, 1.0).is_err());
        assert!(PhotonLaw::new("normal", f64::NAN, 1.0).is_err());
    }
}
