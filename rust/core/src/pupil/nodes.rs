//! The number of quadrature nodes that an emitter needs.

use std::f64::consts::PI;

use super::optics::Optics;
use super::terms::{Field, NODES_FEWER, Term};
use crate::simd::mul_add;

/// Chooses how many quadrature rows an emitter needs.
///
/// The phase of the integrand varies by at most `S + G`: S to the farthest sample of the stamp, G the steepest slope of
/// the emitter's own phase. A Gaussian quadrature needs slightly more than (S + G) / 2 nodes, fewer if the slope is steep
/// only near the edge, where nodes are dense. The numbers below are the envelope over thousands of random
/// pupils (1 to 71 px, NA 0.6 to 1.47, up to 36 modes and 2 radians rms, |z| up to 3 um) of the fewest rows, and nodes
/// on the longest row, that keep the error below 1.2e-4 of the stamp's peak; `tests/accuracy.rs` checks the choice.
///
/// If a quadrature is split at the critical angle, the nodes of a sine are less dense in the middle; the envelope is over 120
/// pupils (11 to 61 px, z up to 6 um), for 3e-4.
#[derive(Debug, Clone)]
pub(crate) struct NodeRule {
    /// For each term, its slopes along xi and eta at the points of the two rings, in radians.
    slopes: Vec<[f32; 4 * RING]>,
    /// Phase in radians at the farthest sample of the stamp, along x and y.
    reach: [f32; 2],
    /// The same per pixel of the emitter's offset from the central pixel.
    per_pixel: [f32; 2],
    /// Radius at which the quadrature is split, if it is.
    critical: Option<f32>,
}

/// Points on each ring where slopes are evaluated.
const RING: usize = 16;
/// The radii of the rings.
const RADII: [f64; 2] = [0.999, 0.75];

/// Numbers of rows for which plans exist.
pub(crate) const ROWS: [usize; 38] = [
    10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 52, 56, 60, 64, 72, 80, 96, 112,
    128, 160, 192, 256, 320, 384, 512, 640, 768, 1024,
];

/// The maximum number of quadrature rows of an emitter without aberrations; configs are checked against it. Aberrations may
/// need as many again, so every emitter of a valid config can be computed with any realistic map.
pub const MOST_ROWS: usize = ROWS[ROWS.len() - 1] / 2;

impl NodeRule {
    pub fn new(optics: &Optics, modes: usize, field: Field, farthest: [f64; 2]) -> Self {
        let critical = field.critical_radius(optics);
        let terms = Term::all(modes, field);
        let slopes = terms[..terms.len() - 2] // all except the shifts
            .iter()
            .map(|term| {
                let mut row = [0.0; 4 * RING];
                for (ring, radius) in RADII.into_iter().enumerate() {
                    // the height has no phase beyond the critical angle; everything else is steepest at the edge
                    let within = matches!(term, Term::Height) || ring > 0;
                    let radius = if within { radius * critical.unwrap_or(1.0) } else { radius };
                    for k in 0..RING {
                        let (s, c) = (2.0 * PI * (k as f64 + 0.25) / RING as f64).sin_cos();
                        let [_, dx, dy] = term.at(optics, radius * c, radius * s);
                        row[2 * ring * RING + k] = (PI * dx) as f32;
                        row[(2 * ring + 1) * RING + k] = (PI * dy) as f32;
                    }
                }
                row
            })
            .collect();
        let per_pixel = optics.rim_half_turns_per_pixel().map(|t| PI * t);
        Self {
            slopes,
            reach: [0, 1].map(|i| (per_pixel[i] * farthest[i]) as f32),
            per_pixel: per_pixel.map(|p| p as f32),
            critical: critical.map(|c| c as f32),
        }
    }

    /// The number of rows for a stamp that extends to `reach` pixels, for an emitter without aberrations in focus, if
    /// there is no such plan; `cutoff` is in cycles per pixel.
    pub fn too_many(reach: f64, cutoff: f64) -> Option<f64> {
        let needed = 7.0 + NODES_FEWER as f64 + 0.48 * PI * cutoff * reach;
        (needed > MOST_ROWS as f64).then_some(needed)
    }

    /// The index into [`ROWS`] for an emitter's coefficients (modes, z, x, y, as in [`Field::coefficients`]), or the number of rows
    /// that would be needed if there is no such plan; with `more` rows than a stamp needs.
    #[inline(always)]
    pub fn choose<S: pulp::Simd>(&self, coefficients: &[f32], more: f32) -> Result<usize, f32> {
        let needed = self.needed::<S>(coefficients) + more;
        ROWS.iter().position(|&r| r as f32 >= needed).ok_or(needed)
    }

    /// The number of rows for an emitter's coefficients.
    #[inline(always)]
    pub fn needed<S: pulp::Simd>(&self, coefficients: &[f32]) -> f32 {
        let mut sums = [0f32; 4 * RING];
        for (row, &c) in self.slopes.iter().zip(coefficients) {
            for (sum, &slope) in sums.iter_mut().zip(row) {
                *sum = mul_add::<S>(c, slope, *sum);
            }
        }
        let mut steepest = [0f32; 4];
        for (top, ring) in steepest.iter_mut().zip(sums.as_chunks::<RING>().0) {
            // pairwise: in sequence, each maximum would wait for the previous one
            let mut largest = ring.map(f32::abs);
            for half in [RING / 2, RING / 4, RING / 8, RING / 16] {
                for i in 0..half {
                    largest[i] = if largest[i] > largest[i + half] { largest[i] } else { largest[i + half] };
                }
            }
            *top = largest[0];
        }
        let [rim_x, rim_y, inner_x, inner_y] = steepest;
        let n = self.slopes.len();
        let x = self.reach[0] + self.per_pixel[0] * coefficients[n].abs();
        let y = self.reach[1] + self.per_pixel[1] * coefficients[n + 1].abs();
        if let Some(critical) = self.critical {
            let [x, y] = [x, y].map(|reach| critical * reach);
            // slightly more than the slope of pi / 2 of a sine in the middle, plus what small stamps need
            let rows = (5.2 + 0.365 * y).max(3.0 + 0.41 * y) + 0.43 * inner_y + 0.042 * rim_y;
            let nodes = (6.2 + 0.324 * x).max(4.0 + 0.41 * x) + 0.26 * inner_x + 0.048 * rim_x;
            // outside the circle, which has one node per 16 rows
            let beyond = 12.0 * ((1.0 - critical) * rim_x.max(rim_y) / std::f32::consts::PI - 0.5);
            return 2.0 * rows.max(nodes).max(beyond);
        }
        let rim = rim_x.max(rim_y);
        let rows = 9.0 + 0.54 * y + 0.1 * rim_y + 0.25 * inner_y + 0.16 * rim;
        let nodes = 7.0 + 0.48 * x + 0.1 * rim_x + 0.3 * inner_x + 0.1 * rim;
        rows.max(nodes + NODES_FEWER as f32)
    }
}
