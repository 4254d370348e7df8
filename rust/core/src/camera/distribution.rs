//! The distributions of the camera's output, against exact probabilities. Seeds are fixed, so results are reproducible; the
//! thresholds correspond to a probability of 1e-8 per check.

use super::{Camera, Exposure, Settings};
use crate::Stop;
use crate::noise::{Generator, Purpose, Stream, log_probability, poisson_by_rejection};

/// Deviation of a normal variate with a probability of 1e-8.
const LIMIT: f64 = 5.6;

const SIDE: usize = 1024;

const DRAWS: usize = SIDE * SIDE;

fn expose(background: f64, read_noise: f64, shot_noise: bool, seed: u64, image: &[f32]) -> Vec<f32> {
    let camera = Camera::new(background, read_noise, shot_noise).unwrap();
    let exposure = Exposure { seed, first_frame: 5, height: SIDE, width: SIDE };
    let mut out = vec![0.0; image.len()];
    camera.expose(image, exposure, &mut out, &Stop::default()).unwrap();
    out
}

fn electrons(background: f64, signal: f32, seed: u64) -> Vec<f32> {
    expose(background, 0.0, true, seed, &vec![signal; DRAWS])
}

/// Deviation of chi-square from its mean in standard deviations (Wilson & Hilferty), for bins of expected and observed counts.
/// Neighbouring bins are merged until at least 20 counts are expected.
fn deviation(bins: impl Iterator<Item = (f64, f64)>) -> f64 {
    let mut joined: Vec<(f64, f64)> = vec![];
    let mut open = (0.0, 0.0);
    for (expected, found) in bins {
        open = (open.0 + expected, open.1 + found);
        if open.0 >= 20.0 {
            joined.push(std::mem::take(&mut open));
        }
    }
    if let Some(last) = joined.last_mut() {
        *last = (last.0 + open.0, last.1 + open.1);
    }
    let freedom = joined.len() as f64 - 1.0;
    if freedom < 1.0 {
        return 0.0;
    }
    let sum: f64 = joined.iter().map(|(e, f)| (e - f).powi(2) / e).sum();
    let step = 2.0 / (9.0 * freedom);
    ((sum / freedom).cbrt() - (1.0 - step)) / step.sqrt()
}

/// Chi-square of draws against the probabilities of a Poisson distribution.
fn poisson_deviation(draws: &[f32], mean: f64) -> f64 {
    let reach = 12.0 * mean.sqrt() + 30.0;
    let first = (mean - reach).max(0.0) as usize;
    let mut found = vec![0.0; 2 * reach as usize + 2];
    for &draw in draws {
        assert!(draw >= 0.0 && draw.fract() == 0.0, "{draw} is no count");
        found[draw as usize - first] += 1.0;
    }
    deviation(found.iter().enumerate().map(|(i, &found)| {
        let p = log_probability((first + i) as f64, mean).exp();
        (p * draws.len() as f64, found)
    }))
}

#[test]
fn shot_noise_is_poisson() {
    let flat = [1e-3, 0.3, 1.0, 7.5, 50.2, 100.0, 300.7, 1023.6, 1500.0, 1e5, 123_456.7];
    let signal = [1e-3, 0.3, 0.999, 1.0, 7.5, 31.97, 32.0, 50.2, 100.0, 300.7, 1023.6, 1500.0, 1e5, 1.2e6];
    let both = [(1e-3, 1e-3), (100.0, 0.01), (0.3, 0.4), (100.25, 25.6), (40.0, 999.9), (1e5, 2000.0), (2e5, 5.5)];
    let cases = flat.map(|b| (b, 0.0)).into_iter().chain(signal.map(|s| (0.0, s))).chain(both);
    for (i, (background, signal)) in cases.enumerate() {
        let mean = background + f64::from(signal);
        let draws = electrons(background, signal, i as u64);
        let deviation = poisson_deviation(&draws, mean);
        assert!(deviation.abs() < LIMIT, "{background} + {signal}: {deviation} sigma");
        let average = draws.iter().copied().map(f64::from).sum::<f64>() / DRAWS as f64;
        let error = (average - mean) / (mean / DRAWS as f64).sqrt();
        assert!(error.abs() < LIMIT, "{background} + {signal}: mean {average}");
    }
}

/// At small means, where an error in its constants is most visible; the camera itself uses it from 1024 on.
#[test]
fn rejection_is_poisson_down_to_its_smallest_mean() {
    let mut generator = Stream::new(12, Purpose::Rejection).generator(0);
    for mean in [10.0, 12.7, 30.0, 101.3] {
        let draws: Vec<f32> = (0..2 * DRAWS).map(|_| poisson_by_rejection(mean, &mut generator) as f32).collect();
        let deviation = poisson_deviation(&draws, mean);
        assert!(deviation.abs() < LIMIT, "{mean}: {deviation} sigma");
    }
}

#[test]
fn no_light_gives_no_electrons() {
    assert!(electrons(0.0, 0.0, 1).iter().all(|&e| e == 0.0));
    assert!(electrons(0.0, -0.0, 1).iter().all(|&e| e == 0.0));
    assert!(electrons(0.0, f32::MIN_POSITIVE / 8.0, 1).iter().all(|&e| e == 0.0));
}

#[test]
fn huge_means_keep_mean_and_variance() {
    for (background, signal) in
        [(1e9, 0.0), (0.0, 1e9), (1e9, 1e9), (1e5, 1e8), (3e7, 1.0), (0.0, 5e9), (100.0, 1e12), (1e9, 3e10)]
    {
        let mean = background + f64::from(signal);
        let draws = electrons(background, signal, 9);
        let (mut m, mut v) = (0.0, 0.0);
        for &draw in &draws {
            m += (f64::from(draw) - mean) / DRAWS as f64;
            v += (f64::from(draw) - mean).powi(2) / DRAWS as f64;
        }
        // Above 2^24 single precision rounds evenly, which adds a twelfth of a squared step.
        let step = (mean.log2() - 23.0).floor().exp2().max(1.0);
        let expected = mean + if step > 1.0 { step * step / 12.0 } else { 0.0 };
        assert!(m.abs() < LIMIT * (expected / DRAWS as f64).sqrt(), "{mean}: off by {m}");
        let slack = LIMIT * (2.0 / DRAWS as f64).sqrt();
        assert!((v / expected - 1.0).abs() < slack, "{mean}: variance {v}");
    }
}

/// The simple sampler: subtract probabilities from a uniform number.
fn poisson_by_inversion(mean: f64, generator: &mut Generator) -> f32 {
    let mut rest = generator.uniform();
    let mut p = (-mean).exp();
    let mut k = 0.0;
    while rest >= p && k < 1000.0 {
        rest -= p;
        k += 1.0;
        p *= mean / k;
    }
    k as f32
}

#[test]
fn mixed_signals_match_slow_inversion() {
    let image: Vec<f32> = (0..DRAWS)
        .map(|i| match i % 7 {
            0 => 0.0,
            1 => (i % 1000) as f32 * 1e-3,
            _ => (i % 4999) as f32 * 0.02,
        })
        .collect();
    let fast = expose(3.3, 0.0, true, 4, &image);
    let mut generator = Stream::new(11, Purpose::Rejection).generator(0);
    let mut counts = vec![(0.0, 0.0); 300];
    for (&fast, &signal) in fast.iter().zip(&image) {
        counts[fast as usize].0 += 1.0;
        counts[poisson_by_inversion(3.3 + f64::from(signal), &mut generator) as usize].1 += 1.0;
    }
    // The difference of two samples has twice the variance; half of their sum serves as the expectation.
    let scale = 0.5f64.sqrt();
    let bins = counts.iter().map(|(a, b)| {
        let expected = 0.5 * (a + b);
        (expected, expected + (a - b) * scale)
    });
    let deviation = deviation(bins);
    assert!(deviation < LIMIT, "{deviation} sigma");
}

/// The probability that a standard normal variate is between two bounds, by Simpson's rule.
fn normal_probability(from: f64, to: f64) -> f64 {
    const STEPS: u32 = 200;
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let step = (to - from) / f64::from(STEPS);
    let inner: f64 = (1..STEPS).map(|i| density(from + f64::from(i) * step) * f64::from(2 + 2 * (i % 2))).sum();
    (density(from) + inner + density(to)) * step / 3.0
}

#[test]
fn read_noise_is_normal() {
    const FRAMES: usize = 4;
    let normals = expose(0.0, 1.0, false, 6, &vec![0.0; FRAMES * DRAWS]);
    let n = (FRAMES * DRAWS) as f64;
    let bins = 320;
    let mut found = vec![0.0; bins];
    for &z in &normals {
        found[((f64::from(z) + 8.0) * 20.0) as usize] += 1.0;
    }
    let deviation = deviation(found.iter().enumerate().map(|(i, &found)| {
        let from = i as f64 / 20.0 - 8.0;
        (normal_probability(from, from + 0.05) * n, found)
    }));
    assert!(deviation.abs() < LIMIT, "{deviation} sigma");
    for bound in [4.0, 4.5, 5.0] {
        let expected = 2.0 * normal_probability(bound, 9.0) * n;
        let found = normals.iter().filter(|z| f64::from(z.abs()) > bound).count() as f64;
        assert!((found - expected).abs() < LIMIT * expected.sqrt(), "beyond {bound}: {found}");
    }
    for power in 1..=6 {
        let moment: f64 = normals.iter().map(|&z| f64::from(z).powi(power)).sum::<f64>() / n;
        let expected = [1.0, 3.0, 15.0, 105.0, 945.0, 10_395.0];
        let exact = if power % 2 == 0 { expected[power as usize / 2 - 1] } else { 0.0 };
        let spread = ((expected[power as usize - 1] - exact * exact) / n).sqrt();
        assert!((moment - exact).abs() < LIMIT * spread, "moment {power}: {moment}");
    }
}

/// Background, signal and read noise at 16 bits, with background and read noise in one table, and in separate tables.
#[test]
fn counts_are_rounded_and_clipped_sums() {
    let cases =
        [(0.0, 1.5, 0.0), (0.0, 0.3, 2.2), (3.3, 0.4, 0.0), (20.0, 2.0, 40.5), (100.0, 10.0, 0.0), (9.0, 700.0, 0.0)];
    for (i, (background, read_noise, signal)) in cases.into_iter().enumerate() {
        let camera = Camera::new(background, read_noise, true).unwrap();
        let exposure = Exposure { seed: 70 + i as u64, first_frame: 5, height: SIDE, width: SIDE };
        let mut counts = vec![0u16; DRAWS];
        camera.expose(&vec![signal; DRAWS], exposure, &mut counts, &Stop::default()).unwrap();

        let mean = background + f64::from(signal);
        let photons =
            (0..300).map(|k| log_probability(f64::from(k), mean).exp()).take_while(|&p| p > 1e-14 || mean > 1.0);
        let photons: Vec<f64> = photons.collect();
        let reach = (8.0 * read_noise).ceil();
        let mut expected = vec![0.0; photons.len() + reach as usize + 1];
        for step in -(reach as i64)..=reach as i64 {
            let at = step as f64;
            let p = normal_probability((at - 0.5) / read_noise, (at + 0.5) / read_noise);
            for (k, photons) in photons.iter().enumerate() {
                expected[(k as i64 + step).max(0) as usize] += p * photons * DRAWS as f64;
            }
        }
        let mut found = vec![0.0; expected.len()];
        for &count in &counts {
            found[usize::from(count)] += 1.0;
        }
        let deviation = deviation(expected.into_iter().zip(found));
        assert!(deviation.abs() < LIMIT, "{background} + {signal} +- {read_noise}: {deviation} sigma");
    }
}

/// Read noise and gains close to the limit of a table's width: mean and variance, with and without a table.
#[test]
fn counts_too_wide_for_a_table_keep_mean_and_variance() {
    let cases = [(100.0, 420.0, 1.0), (100.0, 440.0, 1.0), (100.0, 460.0, 1.0), (0.5, 1.3, 200.0), (0.5, 1.3, 255.0)];
    for (i, (background, read_noise_e, scale)) in cases.into_iter().enumerate() {
        let plain = Settings::plain(background, read_noise_e, true);
        let camera = Camera::of(Settings { e_per_adu: 1.0 / scale, offset_adu: 5000.0, ..plain }).unwrap();
        let exposure = Exposure { seed: 90 + i as u64, first_frame: 5, height: SIDE, width: SIDE };
        let mut counts = vec![0u16; DRAWS];
        camera.expose(&vec![0.0; DRAWS], exposure, &mut counts, &Stop::default()).unwrap();
        let mean = scale * background + 5000.0;
        let variance = scale * scale * (background + read_noise_e * read_noise_e) + 1.0 / 12.0;
        let fourth = 3.0 * variance * variance + scale.powi(4) * background;
        let (mut m, mut v) = (0.0, 0.0);
        for count in counts.into_iter().map(f64::from) {
            m += (count - mean) / DRAWS as f64;
            v += (count - mean).powi(2) / DRAWS as f64;
        }
        let draws = DRAWS as f64;
        assert!(m.abs() < LIMIT * (variance / draws).sqrt(), "{background} +- {read_noise_e} x {scale}: off by {m}");
        let slack = LIMIT * ((fourth - variance * variance) / draws).sqrt();
        assert!((v - variance).abs() < slack, "{background} +- {read_noise_e} x {scale}: variance {v}");
    }
}

/// The correlation of two samples of equal length, in standard deviations from zero.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let mean = |x: &[f64]| x[..n].iter().sum::<f64>() / n as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        aa += (a - ma).powi(2);
        bb += (b - mb).powi(2);
        ab += (a - ma) * (b - mb);
    }
    ab / (aa * bb).sqrt() * (n as f64).sqrt()
}

#[test]
fn pixels_frames_seeds_and_effects_are_independent() {
    let image = |signal| vec![signal; 2 * DRAWS];
    let camera = Camera::new(50.0, 5.0, true).unwrap();
    let mut counts = vec![0u16; 2 * DRAWS];
    let exposure = Exposure { seed: 1, first_frame: 5, height: SIDE, width: SIDE };
    camera.expose(&image(0.0), exposure, &mut counts, &Stop::default()).unwrap();
    let samples = [
        ("counts", counts.into_iter().map(f32::from).collect()),
        ("background", expose(100.0, 0.0, true, 1, &image(0.0))),
        ("signal", expose(0.0, 0.0, true, 1, &image(70.0))),
        ("fraction", expose(0.0, 0.0, true, 1, &image(0.7))),
        ("read noise", expose(0.0, 1.0, false, 1, &image(0.0))),
        ("rejection", expose(0.0, 0.0, true, 1, &image(3000.0))),
        ("background of seed 2", expose(100.0, 0.0, true, 2, &image(0.0))),
        ("read noise of seed 2", expose(0.0, 1.0, false, 2, &image(0.0))),
    ];
    // The numbers and their squared deviations: Box-Muller pairs share a radius, which only the squares reveal.
    let samples: Vec<(String, Vec<f64>)> = samples
        .into_iter()
        .flat_map(|(name, draws)| {
            let numbers: Vec<f64> = draws.into_iter().map(f64::from).collect();
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            let squares = numbers.iter().map(|x| (x - mean).powi(2)).collect();
            [(name.to_owned(), numbers), (format!("squared {name}"), squares)]
        })
        .collect();
    for (i, (name, a)) in samples.iter().enumerate() {
        for lag in [1, 2, 31, 32, 33, 64, SIDE, SIDE + 1, DRAWS] {
            let sigma = correlation(a, &a[lag..]);
            assert!(sigma.abs() < LIMIT, "{name} at lag {lag}: {sigma} sigma");
        }
        for (other, b) in &samples[..i] {
            if !name.ends_with(other.as_str()) {
                let sigma = correlation(a, b);
                assert!(sigma.abs() < LIMIT, "{name} and {other}: {sigma} sigma");
            }
        }
    }
}
