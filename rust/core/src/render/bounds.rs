//! The Cramér-Rao bound of every record, from the pixels of its frame.

use std::ops::Range;

use rayon::prelude::*;

use super::scene::{Placed, Scene};
use super::splat::Spot;
use crate::camera::Background;
use crate::psf::{
    Chosen, DEPENDENT_DOUBLE, Detector, NOTHING, PARAMETERS, PLANES, Pixels, Psf, bound, check_photons,
    standard_deviations,
};
use crate::{Error, Result, Stop};

/// The maximum number of emitters with a joint bound.
pub const MOST_TOGETHER: usize = 250;

/// Bytes of stamps and derivatives that are held at a time.
const PLANES_BYTES: usize = 8 << 20;

/// Parameters per emitter if several share a background.
const OWN: usize = PARAMETERS - 1;

impl Psf {
    /// Fills `out`, `[record][5]`, with the bounds of a scene's records from the pixels of their frames that the emitters' stamps
    /// cover: sigma of x and y in px, z in um, photons, and background photons per pixel; infinity if the pixels do not determine a
    /// parameter.
    ///
    /// `background` is per frame, in photons per pixel, in addition to that of the scene. Bounds are single-emitter bounds or, if
    /// `joint`, joint bounds with all emitters of the frame whose stamps overlap, directly or through others, with one common
    /// background.
    ///
    /// # Errors
    /// Those of [`Psf::render`] and [`Psf::bounds`]; if more than [`MOST_TOGETHER`] emitters overlap.
    #[allow(clippy::too_many_arguments, reason = "what frames are rendered from, and what they are counted by")]
    pub fn record_bounds(
        &self,
        scene: &Scene<'_>,
        background: &[f64],
        [height, width]: [usize; 2],
        detector: &Detector,
        joint: bool,
        out: &mut [f64],
        stop: &Stop,
    ) -> Result<()> {
        detector.check()?;
        check_photons("background", background)?;
        let records = scene.records.emitter.len();
        if out.len() != PARAMETERS * records {
            return Err(Error::Length { name: "out", got: out.len(), expected: PARAMETERS * records });
        }
        let area = height.checked_mul(width).unwrap_or(0);
        let placed = self.placed(scene, [height, width], background.len().checked_mul(area).unwrap_or(0), stop)?;
        detector.check_pixels(area, background.len())?;
        if let Some(own) = scene.background {
            own.check(area, background.len())?;
        }
        out.fill(f64::INFINITY);
        let frame = Frame { psf: self, placed: &placed, scene, background, shape: [height, width], detector, stop };
        if joint { frame.together(out) } else { frame.alone(out) }
    }
}

/// What all records have in common.
struct Frame<'a> {
    psf: &'a Psf,
    placed: &'a Placed,
    scene: &'a Scene<'a>,
    background: &'a [f64],
    shape: [usize; 2],
    detector: &'a Detector,
    stop: &'a Stop,
}

/// A record whose emitter reaches its frame: its number, its emitter's index among those placed, and its frame.
#[derive(Debug, Clone, Copy)]
struct Lit {
    record: usize,
    rank: usize,
    frame: usize,
}

impl Frame<'_> {
    /// Records whose emitters are placed, ordered by `key` and then by their original order.
    fn lit<K: Ord>(&self, key: impl Fn(&Lit) -> K) -> Vec<Lit> {
        let mut ranks = vec![None; self.scene.emitters.xyz.len()];
        self.placed.chosen.iter().enumerate().for_each(|(rank, &(emitter, _))| ranks[emitter] = Some(rank));
        let records = self.scene.records.emitter.iter().zip(self.scene.records.frame).enumerate();
        let mut lit: Vec<_> = records
            .filter_map(|(record, (&emitter, &frame))| {
                ranks[emitter as usize].map(|rank| Lit { record, rank, frame: frame as usize })
            })
            .collect();
        lit.sort_by_key(key);
        lit
    }

    fn photons(&self, lit: &Lit) -> f64 {
        f64::from(self.scene.records.photons[lit.record])
    }

    /// Stamps and derivatives of emitters.
    fn planes(&self, chosen: &[Chosen]) -> Result<Vec<f32>> {
        let mut planes = vec![0.0; chosen.len() * self.plane_len()];
        self.psf.gradients_of(&self.scene.emitters, chosen, &[], &mut planes, self.stop)?;
        Ok(planes)
    }

    fn plane_len(&self) -> usize {
        PLANES * self.psf.size() * self.psf.size()
    }

    /// The columns and rows of the frame that a stamp covers; may be empty.
    fn window(&self, spot: &Spot) -> Window {
        let half = (self.psf.size() / 2) as i64;
        let [height, width] = self.shape.map(|n| n as i64);
        let range = |middle: i64, n: i64| {
            let (low, high) = ((middle - half).clamp(0, n), (middle + half + 1).clamp(0, n));
            low..high
        };
        [range(spot.x, width), range(spot.y, height)]
    }

    /// The pixels of a stamp and its derivatives that are inside the frame.
    fn cut<'a>(&self, planes: &'a [f32], spot: &Spot, space: &'a mut Vec<f32>) -> &'a [f32] {
        let size = self.psf.size();
        let half = (size / 2) as i64;
        let [columns, rows] = self.window(spot);
        if (columns.end - columns.start) as usize == size && (rows.end - rows.start) as usize == size {
            return planes;
        }
        space.clear();
        let first = (columns.start - spot.x + half) as usize;
        let length = (columns.end - columns.start) as usize;
        for plane in planes.chunks_exact(size * size) {
            for row in rows.clone() {
                let start = (row - spot.y + half) as usize * size + first;
                space.extend_from_slice(&plane[start..start + length]);
            }
        }
        space
    }

    /// Whether pixels differ in more than their signal.
    fn pixels_differ(&self) -> bool {
        self.detector.maps.pixels() != 0 || self.scene.background.is_some()
    }

    /// QE of a pixel, and its variance without emitters.
    fn of_pixel(&self, frame: usize, x: i64, y: i64) -> [f64; 2] {
        let pixel = y as usize * self.shape[1] + x as usize;
        let area = self.shape[0] * self.shape[1];
        let own = |own: Background<'_>| f64::from(own.of_pixel(frame, pixel, area) * own.of_frame(frame));
        let background = self.background[frame] + self.scene.background.map_or(0.0, own);
        self.detector.of_pixel(frame * area + pixel, background)
    }

    /// The single-emitter bound of a record, from the pixels that its stamp covers.
    fn bound(&self, lit: &Lit, planes: &[f32]) -> [f64; PARAMETERS] {
        if !self.pixels_differ() {
            let background = self.background[lit.frame];
            return bound(planes, self.photons(lit), Pixels::Alike { background }, self.detector);
        }
        let window = self.window(&self.placed.spots[lit.rank]);
        let each = pixels(&window).map(|(x, y)| self.of_pixel(lit.frame, x, y).map(|value| value as f32).into());
        let (efficiency, variance): (Vec<_>, Vec<_>) = each.unzip();
        let each = Pixels::Each { efficiency: &efficiency, variance: &variance };
        bound(planes, self.photons(lit), each, self.detector)
    }

    fn alone(&self, out: &mut [f64]) -> Result<()> {
        let lit = self.lit(|lit| lit.rank);
        // the records of each emitter, and space for their bounds in that order
        let start: Vec<_> =
            (0..=self.placed.chosen.len()).map(|rank| lit.partition_point(|lit| lit.rank < rank)).collect();
        let mut bounds = vec![0.0; PARAMETERS * lit.len()];
        let mut parts = Vec::with_capacity(self.placed.chosen.len());
        let mut left = &mut bounds[..];
        for pair in start.windows(2) {
            let (part, others) = left.split_at_mut(PARAMETERS * (pair[1] - pair[0]));
            parts.push(part);
            left = others;
        }
        let each = |rank: usize, planes: &[f32], out: &mut [f64]| {
            let mut space = vec![];
            let cut = self.cut(planes, &self.placed.spots[rank], &mut space);
            for (lit, out) in lit[start[rank]..start[rank + 1]].iter().zip(out.chunks_exact_mut(PARAMETERS)) {
                out.copy_from_slice(&self.bound(lit, cut));
            }
        };
        self.psf.with_gradients(&self.scene.emitters, &self.placed.chosen, parts, &each, self.stop)?;
        for (lit, bound) in lit.iter().zip(bounds.chunks_exact(PARAMETERS)) {
            out[lit.record * PARAMETERS..][..PARAMETERS].copy_from_slice(bound);
        }
        Ok(())
    }

    fn together(&self, out: &mut [f64]) -> Result<()> {
        // by rows within a frame, in the order of emitters
        let lit = self.lit(|lit| (lit.frame, lit.rank));
        let mut clusters = vec![];
        for frame in lit.chunk_by(|a, b| a.frame == b.frame) {
            clusters.extend(self.clusters(frame));
        }
        if let Some(largest) = clusters.iter().find(|cluster| cluster.len() > MOST_TOGETHER) {
            return Err(Error::Value {
                name: "a joint bound",
                got: format!("of {} emitters whose stamps touch (frame {})", largest.len(), largest[0].frame),
                expected: "at most 250 emitters; smaller stamps, or bounds of emitters alone",
            });
        }
        let together = (PLANES_BYTES / (4 * self.plane_len())).max(MOST_TOGETHER);
        let mut rest = &clusters[..];
        while !rest.is_empty() {
            let mut emitters = 0;
            let enough = |cluster: &Vec<Lit>| {
                emitters += cluster.len();
                emitters > together
            };
            let (now, later) = rest.split_at(rest.iter().position(enough).unwrap_or(rest.len()));
            rest = later;
            let chosen: Vec<_> = now.iter().flatten().map(|lit| self.placed.chosen[lit.rank]).collect();
            let planes = self.planes(&chosen)?;
            let mut start = 0;
            let parts: Vec<_> = now
                .iter()
                .map(|cluster| {
                    let part = &planes[start * self.plane_len()..][..cluster.len() * self.plane_len()];
                    start += cluster.len();
                    (cluster, part)
                })
                .collect();
            let bounds: Vec<_> = parts.par_iter().map(|(cluster, planes)| self.joint(cluster, planes)).collect();
            for (lit, bound) in now.iter().flatten().zip(bounds.into_iter().flatten()) {
                out[lit.record * PARAMETERS..][..PARAMETERS].copy_from_slice(&bound);
            }
        }
        Ok(())
    }

    /// Groups the records of a frame whose stamps overlap inside it.
    fn clusters(&self, lit: &[Lit]) -> Vec<Vec<Lit>> {
        let size = self.psf.size() as i64;
        let mut group: Vec<usize> = (0..lit.len()).collect();
        for (i, a) in lit.iter().enumerate() {
            let spot = self.placed.spots[a.rank];
            for (j, b) in lit[..i].iter().enumerate().rev() {
                let other = self.placed.spots[b.rank];
                if spot.y - other.y >= size {
                    break; // earlier ones are even higher in the frame
                }
                if (spot.x - other.x).abs() < size {
                    let (a, b) = (root(&mut group, i), root(&mut group, j));
                    group[a.max(b)] = a.min(b);
                }
            }
        }
        let mut clusters: Vec<Vec<Lit>> = vec![vec![]; lit.len()];
        for (i, lit) in lit.iter().enumerate() {
            clusters[root(&mut group, i)].push(*lit);
        }
        clusters.retain(|cluster| !cluster.is_empty());
        clusters
    }

    /// The joint bounds of records.
    fn joint(&self, cluster: &[Lit], planes: &[f32]) -> Vec<[f64; PARAMETERS]> {
        if let [alone] = cluster {
            let mut space = vec![];
            let cut = self.cut(planes, &self.placed.spots[alone.rank], &mut space);
            return vec![self.bound(alone, cut)];
        }
        let frame = cluster[0].frame;
        let stamps: Vec<_> = cluster
            .iter()
            .zip(planes.chunks_exact(self.plane_len()))
            .map(|(lit, planes)| {
                let spot = self.placed.spots[lit.rank];
                let photons = self.photons(lit);
                Stamp { spot, window: self.window(&spot), photons, size: self.psf.size() as i64, planes }
            })
            .collect();
        let n = OWN * cluster.len() + 1;
        let mut matrix = information(&stamps, &self.weights(&stamps, frame));
        let sigma = standard_deviations(&mut matrix, n, DEPENDENT_DOUBLE);
        (0..cluster.len())
            .map(|a| std::array::from_fn(|i| if i < OWN { sigma[OWN * a + i] } else { sigma[n - 1] }))
            .collect()
    }

    /// QE^2 / variance of each pixel that any stamp covers.
    fn weights(&self, stamps: &[Stamp<'_>], frame: usize) -> Weights {
        let window = [0, 1].map(|axis| {
            let ranges = stamps.iter().map(|stamp| stamp.window[axis].clone());
            ranges.reduce(|p, q| p.start.min(q.start)..p.end.max(q.end)).unwrap_or(0..0)
        });
        let area = window.iter().map(|range| (range.end - range.start) as usize).product();
        let mut weights = Weights { window, values: vec![f64::NAN; area] };
        for stamp in stamps {
            for (x, y) in pixels(&stamp.window) {
                let place = weights.place(x, y);
                let light = &mut weights.values[place];
                *light = if light.is_nan() { 0.0 } else { *light } + stamp.photons * stamp.at(0, x, y);
            }
        }
        for (x, y) in pixels(&weights.window.clone()) {
            let place = weights.place(x, y);
            let light = weights.values[place];
            if !light.is_nan() {
                let [efficiency, rest] = self.of_pixel(frame, x, y);
                let variance = self.detector.excess_noise * efficiency * light + rest;
                weights.values[place] = efficiency * efficiency / variance.max(1e-12);
            }
        }
        weights
    }
}

/// The lower triangle of the information on x, y, z and photons of each stamp, and the background.
fn information(stamps: &[Stamp<'_>], weights: &Weights) -> Vec<f64> {
    let n = OWN * stamps.len() + 1;
    let mut matrix = vec![0.0; n * n];
    for (a, stamp) in stamps.iter().enumerate() {
        for (x, y) in pixels(&stamp.window) {
            let weight = weights.at(x, y);
            for (i, value) in stamp.derivatives(x, y).into_iter().enumerate() {
                matrix[(n - 1) * n + OWN * a + i] += weight * value;
            }
        }
        for (b, other) in stamps[..=a].iter().enumerate() {
            let meet = [0, 1].map(|axis| {
                let (p, q) = (&stamp.window[axis], &other.window[axis]);
                p.start.max(q.start)..p.end.min(q.end)
            });
            for (x, y) in pixels(&meet) {
                let weight = weights.at(x, y);
                let others = other.derivatives(x, y);
                for (i, own) in stamp.derivatives(x, y).into_iter().enumerate() {
                    for (j, other) in others.into_iter().enumerate() {
                        matrix[(OWN * a + i) * n + OWN * b + j] += weight * own * other;
                    }
                }
            }
        }
        let light = matrix[(OWN * a + 3) * (n + 1)] * stamp.photons.powi(2);
        for i in 0..3 {
            let own = &mut matrix[(OWN * a + i) * (n + 1)];
            if *own <= NOTHING * light {
                *own = 0.0;
            }
        }
    }
    matrix[n * n - 1] = weights.sum();
    matrix
}

/// The representative of a group, with path halving.
fn root(group: &mut [usize], mut i: usize) -> usize {
    while group[i] != i {
        group[i] = group[group[i]];
        i = group[i];
    }
    i
}

/// Columns and rows of a frame.
type Window = [Range<i64>; 2];

/// The pixels of a window, x and y.
fn pixels([columns, rows]: &Window) -> impl Iterator<Item = (i64, i64)> {
    rows.clone().flat_map(move |y| columns.clone().map(move |x| (x, y)))
}

/// A stamp and its derivatives, placed in a frame.
struct Stamp<'a> {
    spot: Spot,
    window: Window,
    photons: f64,
    size: i64,
    planes: &'a [f32],
}

impl Stamp<'_> {
    fn at(&self, plane: usize, x: i64, y: i64) -> f64 {
        let (row, column) = (y - self.spot.y + self.size / 2, x - self.spot.x + self.size / 2);
        f64::from(self.planes[((plane as i64 * self.size + row) * self.size + column) as usize])
    }

    /// The derivatives of a pixel's signal with respect to x, y, z and photons.
    fn derivatives(&self, x: i64, y: i64) -> [f64; OWN] {
        let [by_x, by_y, by_z] = [1, 2, 3].map(|plane| self.photons * self.at(plane, x, y));
        [by_x, by_y, by_z, self.at(0, x, y)]
    }
}

/// QE^2 / variance of each pixel that any stamp covers; NaN for the others.
struct Weights {
    window: Window,
    values: Vec<f64>,
}

impl Weights {
    fn place(&self, x: i64, y: i64) -> usize {
        let [columns, rows] = &self.window;
        ((y - rows.start) * (columns.end - columns.start) + x - columns.start) as usize
    }

    fn at(&self, x: i64, y: i64) -> f64 {
        self.values[self.place(x, y)]
    }

    /// Number of covered pixels.
    fn sum(&self) -> f64 {
        self.values.iter().filter(|value| !value.is_nan()).sum()
    }
}
