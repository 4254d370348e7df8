//! A smooth random field over the pixels of the field of view: structured background.
//!
//! White normal noise on the nodes of a square lattice with spacing s = length / sqrt(2), each addressed in a stream, convolved with
//! Gaussians of standard deviation s. The autocorrelation of such a sum is again Gaussian, exp(-r^2 / (2 length^2)), except for
//! a ripple of 1e-4 from the lattice. Divided by the root of the sum of its squared weights, each pixel has variance 1
//! exactly. A pixel's value depends only on the key and its position: sums run over the same nodes in the same order for any
//! part of the field, and exponentials and logarithms come from `libm`, in plain arithmetic.

use std::f64::consts::SQRT_2;
use std::ops::Range;

use rayon::prelude::*;

use super::random::{Purpose, Stream, unit_interval};
use super::variates::normal;
use crate::{Error, Result, Stop};

/// Nodes on each side in a pixel's sum; the weight of the next ones is below exp(-18).
const REACH: i64 = 6;
const TAPS: usize = 2 * REACH as usize;

/// Rows of pixels per task.
const BAND: usize = 64;

/// The allowed correlation lengths, in pixels: below, neighbours are uncorrelated and there are too many nodes.
const LENGTHS: std::ops::RangeInclusive<f64> = 0.5..=1e6;
const FARTHEST: i64 = 1 << 40;

/// Fills `out`, `[y][x]`, with a Gaussian random field of mean 0, variance 1 and autocorrelation exp(-r^2 / (2 length^2)).
///
/// `length` is in pixels. `origin` is the position x, y of the first pixel in the field; values depend only on the field and `key`.
/// In parallel on rayon's current pool.
///
/// # Errors
/// [`Error::Value`] for a length or an origin out of range, [`Error::Length`] if `out` does not have this shape;
/// [`Error::Stopped`].
pub fn random_field(
    key: u64,
    length: f64,
    origin: [i64; 2],
    [height, width]: [usize; 2],
    out: &mut [f32],
    stop: &Stop,
) -> Result<()> {
    if !LENGTHS.contains(&length) {
        return Err(Error::value("length", length, "a number of pixels from 0.5 to 1e6"));
    }
    if let Some(place) = origin.iter().find(|place| !(-FARTHEST..=FARTHEST).contains(place)) {
        return Err(Error::value("origin", place, "whole numbers from -2^40 to 2^40"));
    }
    let expected = height.checked_mul(width).unwrap_or(0);
    if out.len() != expected {
        return Err(Error::Length { name: "out", got: out.len(), expected });
    }
    if out.is_empty() {
        return Ok(());
    }
    let stream = Stream::new(key, Purpose::Field);
    let (columns, rows) = (axis(origin[0], width, length), axis(origin[1], height, length));
    out.par_chunks_mut(BAND * width).zip(rows.par_chunks(BAND)).try_for_each(|(out, rows)| {
        // the sums along x of all rows of nodes that these rows of pixels need, then the sums along y
        let nodes = nodes_of(rows);
        let mut sums = Vec::with_capacity((nodes.end - nodes.start) as usize);
        for node in nodes.clone() {
            stop.check()?;
            sums.push(along_x(stream, node, &columns)?);
        }
        let mut line = vec![0.0; width];
        for (out, row) in out.chunks_exact_mut(width).zip(rows) {
            line.fill(0.0);
            let first = (row.first - nodes.start) as usize;
            for (sums, weight) in sums[first..].iter().zip(row.weights) {
                line.iter_mut().zip(sums).for_each(|(value, sum)| *value += weight * sum);
            }
            out.iter_mut().zip(&line).for_each(|(out, &value)| *out = value as f32);
        }
        Ok(())
    })
}

/// The nodes along one axis that contribute to a pixel, and their weights, whose squares sum to 1.
struct Pixel {
    first: i64,
    weights: [f64; TAPS],
}

/// The pixels from `start` on.
fn axis(start: i64, count: usize, length: f64) -> Vec<Pixel> {
    let pixel = |i: usize| {
        let place = (start + i as i64) as f64 * (SQRT_2 / length); // in units of the lattice spacing
        let first = place.floor() as i64 + 1 - REACH;
        let mut weights = [0.0; TAPS];
        for (node, weight) in (first..).zip(&mut weights) {
            let away = place - node as f64;
            *weight = libm::exp(-0.5 * away * away);
        }
        let norm = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        Pixel { first, weights: weights.map(|weight| weight / norm) }
    };
    (0..count).map(pixel).collect()
}

/// The range of nodes that a sequence of pixels needs.
fn nodes_of(pixels: &[Pixel]) -> Range<i64> {
    let ends = pixels.first().zip(pixels.last());
    ends.map_or(0..0, |(first, last)| first.first..last.first + TAPS as i64)
}

/// The sums along x at all columns, of one row of nodes.
fn along_x(stream: Stream, row: i64, columns: &[Pixel]) -> Result<Vec<f64>> {
    let nodes = nodes_of(columns);
    let stream = stream.part(row as u64); // negative rows use the last words
    let word = |node: i64, which: u64| unit_interval(stream.word((node as u64).wrapping_mul(2).wrapping_add(which)));
    let mut numbers: Vec<f64> = nodes.clone().map(|node| word(node, 0)).collect();
    let second: Vec<f64> = nodes.clone().map(|node| word(node, 1)).collect();
    normal(&mut numbers, &second)?;
    let sum = |pixel: &Pixel| {
        let numbers = &numbers[(pixel.first - nodes.start) as usize..];
        pixel.weights.iter().zip(numbers).map(|(weight, number)| weight * number).sum()
    };
    Ok(columns.iter().map(sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(key: u64, length: f64, origin: [i64; 2], shape: [usize; 2]) -> Vec<f32> {
        let mut out = vec![f32::NAN; shape[0] * shape[1]];
        random_field(key, length, origin, shape, &mut out, &Stop::default()).unwrap();
        out
    }

    /// The mean product of values at a distance of `lag` columns and rows.
    fn correlation(values: &[f32], width: usize, [dx, dy]: [usize; 2]) -> f64 {
        let height = values.len() / width;
        let (mut sum, mut count) = (0.0, 0.0);
        for y in 0..height - dy {
            let (line, other) = (&values[y * width..][..width], &values[(y + dy) * width..][..width]);
            sum += line.iter().zip(&other[dx..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            count += (width - dx) as f64;
        }
        sum / count
    }

    #[test]
    fn moments_and_autocorrelation_are_those_of_the_law() {
        // A mean over A px has about A / (4 pi length^2) independent terms (2 pi length^2 for squares of a Gaussian field,
        // with another factor of 2 at most): 4 standard errors.
        for length in [0.7, 3.0, 8.4] {
            let width = 1500;
            let values = field(11, length, [-700, 300], [width, width]);
            let cells = (width * width) as f64 / (4.0 * std::f64::consts::PI * f64::max(length * length, 0.1));
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
            assert!(mean.abs() < 4.0 / cells.sqrt(), "{length}: mean {mean}");
            let steps = [0.0, 0.5, 1.0, 1.7, 2.5].map(|lengths| (lengths * length).round() as usize);
            for lag in steps.into_iter().flat_map(|step| [[step, 0], [0, step], [step, step]]) {
                let found = correlation(&values, width, lag);
                let apart = (lag[0] * lag[0] + lag[1] * lag[1]) as f64;
                let law = (-apart / (2.0 * length * length)).exp();
                assert!((found - law).abs() < 4.0 * (2.0 / cells).sqrt(), "{length}: {found} at {lag:?}, not {law}");
            }
            let fourth = values.iter().map(|&v| f64::from(v).powi(4)).sum::<f64>() / values.len() as f64;
            assert!((fourth - 3.0).abs() < 4.0 * (96.0 / cells).sqrt(), "{length}: fourth moment {fourth}");
        }
    }

    #[test]
    fn each_pixel_has_variance_one_over_many_fields() {
        // Also between the nodes, where the lattice would be visible: a pixel's variance over 4,000 keys.
        let (length, width) = (9.0, 13);
        let mut squares = vec![0.0; width];
        for key in 0..4000 {
            for (sum, value) in squares.iter_mut().zip(field(key, length, [5, -3], [1, width])) {
                *sum += f64::from(value).powi(2) / 4000.0;
            }
        }
        let limit = 4.0 * (2.0 / 4000.0_f64).sqrt();
        assert!(squares.iter().all(|s| (s - 1.0).abs() < limit), "{squares:?}");
    }

    #[test]
    fn a_part_shows_the_same_field_whatever_the_threads() {
        let (whole_at, shape) = ([-90, -40], [170, 230]);
        for length in [0.9, 6.3, 77.0] {
            let whole = field(5, length, whole_at, shape);
            for (origin, [height, width]) in
                [([-90, -40], [3, 5]), ([-1, -1], [70, 2]), ([17, 40], [90, 123]), ([-33, 0], [1, 1])]
            {
                for threads in [1, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let part = pool.install(|| field(5, length, origin, [height, width]));
                    for (i, value) in part.iter().enumerate() {
                        let x = (origin[0] - whole_at[0]) as usize + i % width;
                        let y = (origin[1] - whole_at[1]) as usize + i / width;
                        assert_eq!(value.to_bits(), whole[y * shape[1] + x].to_bits(), "{length} {origin:?} {x} {y}");
                    }
                }
            }
            let other = field(6, length, whole_at, shape);
            assert!(whole.iter().zip(&other).filter(|(a, b)| a.to_bits() == b.to_bits()).count() < 5);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ask = |length, origin, out: &mut [f32]| random_field(1, length, origin, [2, 3], out, &Stop::default());
        assert!(ask(2.0, [0, 0], &mut [0.0; 6]).is_ok());
        assert!(random_field(1, 2.0, [0, 0], [0, 3], &mut [], &Stop::default()).is_ok());
        for length in [0.4, 2e6, f64::NAN, f64::INFINITY, -1.0] {
            assert!(ask(length, [0, 0], &mut [0.0; 6]).is_err(), "{length}");
        }
        assert!(ask(2.0, [0, i64::MAX], &mut [0.0; 6]).is_err());
        assert!(ask(2.0, [0, 0], &mut [0.0; 5]).is_err());
        let stop = Stop::default();
        stop.ask();
        assert_eq!(random_field(1, 2.0, [0, 0], [1, 1], &mut [0.0], &stop), Err(Error::Stopped));
    }
}
