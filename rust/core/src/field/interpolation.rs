//! Interpolation of maps between their pixels.

use rayon::prelude::*;

use crate::{Error, Result, Stop};

/// Interpolation method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// Value of the nearest pixel.
    Nearest,
    /// Linear along both axes.
    Linear,
    /// A cubic spline along both axes; planes have to be filtered by [`spline_filter`](crate::spline_filter).
    Cubic,
}

/// Positions per task.
const PLACES: usize = 256;

/// Fills `out`, `[place][plane]`, with the planes' values at positions (x, y) in pixels; integers are pixel centres.
///
/// A plane may interleave several values per pixel, `[y][x][value]`. The values of a position are then contiguous, which is
/// faster for maps larger than the caches. The results are the same.
///
/// The values at a position do not depend on the other positions. In parallel on rayon's current pool.
///
/// # Errors
/// [`Error::Length`] if lengths disagree, [`Error::Value`] if a position is outside the outermost pixel centres; [`Error::Stopped`].
pub fn interpolate(
    planes: &[&[f32]],
    [height, width]: [usize; 2],
    interpolation: Interpolation,
    places: &[[f64; 2]],
    out: &mut [f32],
    stop: &Stop,
) -> Result<()> {
    let area = height.checked_mul(width).unwrap_or(0);
    if let Some(plane) = planes.iter().find(|plane| area == 0 || plane.is_empty() || plane.len() % area != 0) {
        return Err(Error::Length { name: "a plane", got: plane.len(), expected: area });
    }
    let values = planes.iter().map(|plane| plane.len() / area).sum::<usize>();
    let expected = places.len() * values;
    if out.len() != expected {
        return Err(Error::Length { name: "out", got: out.len(), expected });
    }
    if planes.is_empty() {
        return Ok(());
    }
    let (right, bottom) = ((width - 1) as f64, (height - 1) as f64);
    if let Some([x, y]) = places.iter().find(|[x, y]| !((0.0..=right).contains(x) && (0.0..=bottom).contains(y))) {
        return Err(Error::value("a place", format!("({x}, {y})"), "x and y within the plane's outer pixel centres"));
    }
    let chunks = places.par_chunks(PLACES).zip(out.par_chunks_mut(PLACES * values));
    chunks.try_for_each(|(places, out)| {
        stop.check()?;
        let mut part = vec![0.0; values];
        for (&[x, y], out) in places.iter().zip(out.chunks_exact_mut(values)) {
            let shape = [height, width];
            match interpolation {
                Interpolation::Nearest => weigh(planes, shape, nearest(x, width), nearest(y, height), &mut part, out),
                Interpolation::Linear => weigh(planes, shape, linear(x, width), linear(y, height), &mut part, out),
                Interpolation::Cubic => weigh(planes, shape, cubic(x, width), cubic(y, height), &mut part, out),
            }
        }
        Ok(())
    })
}

/// Pixels along an axis, and their weights.
type Taps<const N: usize> = [(usize, f32); N];

fn nearest(x: f64, length: usize) -> Taps<1> {
    [(((x + 0.5) as usize).min(length - 1), 1.0)]
}

fn linear(x: f64, length: usize) -> Taps<2> {
    let t = x - x.floor();
    let first = x as usize;
    [(first, (1.0 - t) as f32), ((first + 1).min(length - 1), t as f32)]
}

fn cubic(x: f64, length: usize) -> Taps<4> {
    let t = x - x.floor();
    let s = 1.0 - t;
    let middle = |t: f64| (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0;
    let weights = [s * s * s / 6.0, middle(t), middle(s), t * t * t / 6.0];
    // With mirroring at the outermost pixel centres, pixels repeat with this period.
    let period = (2 * (length - 1)).max(1);
    let mut tap = 0;
    weights.map(|weight| {
        let place = (x as usize + tap).abs_diff(1) % period;
        tap += 1;
        (if place < length { place } else { period - place }, weight as f32)
    })
}

/// Sums the pixels under the taps, plane by plane; `part` has space for all values.
fn weigh<const N: usize>(
    planes: &[&[f32]],
    [height, width]: [usize; 2],
    columns: Taps<N>,
    rows: Taps<N>,
    part: &mut [f32],
    mut out: &mut [f32],
) {
    for plane in planes {
        let values = plane.len() / (height * width);
        let (here, rest) = out.split_at_mut(values);
        out = rest;
        if values > 1 {
            weigh_together(plane, width, columns, rows, &mut part[..values], here);
            continue;
        }
        let mut sum = 0.0;
        for (row, along) in rows {
            let line = &plane[row * width..][..width];
            let mut part = 0.0;
            for (column, across) in columns {
                part += across * line[column];
            }
            sum += along * part;
        }
        here[0] = sum;
    }
}

/// Sums the pixels under the taps, all values of a pixel at once, each in the same order as `weigh`.
fn weigh_together<const N: usize>(
    plane: &[f32],
    width: usize,
    columns: Taps<N>,
    rows: Taps<N>,
    part: &mut [f32],
    out: &mut [f32],
) {
    out.fill(0.0);
    for (row, along) in rows {
        part.fill(0.0);
        for (column, across) in columns {
            let pixel = &plane[(row * width + column) * out.len()..][..out.len()];
            for (part, value) in part.iter_mut().zip(pixel) {
                *part += across * value;
            }
        }
        for (out, part) in out.iter_mut().zip(&*part) {
            *out += along * part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spline_filter;
    use proptest::prelude::*;

    fn plane(height: usize, width: usize) -> Vec<f32> {
        (0..height * width).map(|i| ((i * i % 97) as f32 * 0.7).sin()).collect()
    }

    fn at(plane: &[f32], shape: [usize; 2], interpolation: Interpolation, place: [f64; 2]) -> f64 {
        let mut out = [0.0];
        interpolate(&[plane], shape, interpolation, &[place], &mut out, &Stop::default()).unwrap();
        f64::from(out[0])
    }

    proptest! {
        /// The sum of B-splines reproduces the pixel values for any size.
        #[test]
        fn every_way_goes_through_the_pixels(height in 1usize..60, width in 1usize..60) {
            let values = plane(height, width);
            let mut splines = values.clone();
            spline_filter(&mut [&mut splines], width).unwrap();
            for (i, &value) in values.iter().enumerate() {
                let place = [(i % width) as f64, (i / width) as f64];
                let ways = [
                    (&splines, Interpolation::Cubic), (&values, Interpolation::Linear), (&values, Interpolation::Nearest),
                ];
                for (plane, way) in ways {
                    let found = at(plane, [height, width], way, place);
                    prop_assert!((found - f64::from(value)).abs() < 1e-5, "{way:?} at {place:?}: {found}, not {value}");
                }
            }
        }

        /// Away from the edge, a cubic spline reproduces cubics, and linear interpolation straight lines.
        #[test]
        fn polynomials_are_reproduced(x in 15.0f64..24.0, y in 15.0f64..24.0) {
            let shape = [40, 40];
            let line = |x: f64, y: f64| 0.02 * x - 0.03 * y;
            let cubic = |x: f64, y: f64| ((x - 20.0) / 10.0).powi(3) - ((y - 18.0) / 10.0).powi(2) + line(x, y);
            let on_grid = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f32> {
                (0..1600).map(|i| f(f64::from(i % 40), f64::from(i / 40)) as f32).collect()
            };
            let mut splines = on_grid(&cubic);
            spline_filter(&mut [&mut splines], 40).unwrap();
            prop_assert!((at(&splines, shape, Interpolation::Cubic, [x, y]) - cubic(x, y)).abs() < 1e-5);
            prop_assert!((at(&on_grid(&line), shape, Interpolation::Linear, [x, y]) - line(x, y)).abs() < 1e-6);
        }
    }

    proptest! {
        /// Interleaved values are bit-identical to those of separate planes.
        #[test]
        fn values_side_by_side_give_the_same_bits(
            height in 1usize..20, width in 1usize..20, count in 2usize..6, x in 0.0f64..1.0, y in 0.0f64..1.0,
        ) {
            let planes: Vec<Vec<f32>> =
                (0..count).map(|k| plane(height, width).iter().map(|v| v * (k as f32 + 0.3)).collect()).collect();
            let together: Vec<f32> = (0..height * width).flat_map(|i| planes.iter().map(move |p| p[i])).collect();
            let apart: Vec<&[f32]> = planes.iter().map(Vec::as_slice).collect();
            let place = [[x * (width - 1) as f64, y * (height - 1) as f64]];
            for way in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
                let (mut one, mut two) = (vec![0.0; count + 1], vec![0.0; count + 1]);
                let with_last = [&apart[..], &apart[..1]].concat();
                interpolate(&with_last, [height, width], way, &place, &mut one, &Stop::default()).unwrap();
                interpolate(&[&together, apart[0]], [height, width], way, &place, &mut two, &Stop::default()).unwrap();
                prop_assert_eq!(one, two);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(spline_filter(&mut [&mut [0.0; 4], &mut [0.0; 5]], 2).is_err());
        assert!(spline_filter(&mut [&mut [0.0; 5]], 0).is_err());
        let values = plane(3, 4);
        let ask = |place, out: &mut [f32]| {
            interpolate(&[&values], [3, 4], Interpolation::Cubic, &[place], out, &Stop::default())
        };
        assert!(ask([3.0, 2.0], &mut [0.0]).is_ok());
        for place in [[-0.1, 0.0], [0.0, 2.01], [f64::NAN, 0.0], [0.0, f64::INFINITY]] {
            assert!(ask(place, &mut [0.0]).is_err(), "{place:?}");
        }
        assert!(ask([0.0, 0.0], &mut [0.0; 2]).is_err());
        assert!(interpolate(&[&values], [3, 5], Interpolation::Linear, &[], &mut [], &Stop::default()).is_err());
    }
}
