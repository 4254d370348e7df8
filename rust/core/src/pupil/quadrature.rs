//! Quadrature on the unit disk with spectral accuracy.
//!
//! Rows `eta_k = cos(pi k / (rows + 1))` with Chebyshev weights of the second kind, and on each row Gauss-Legendre
//! nodes along the chord. With `xi = sqrt(1 - eta^2) u` the integral over the disk is
//! `int sqrt(1 - eta^2) G(eta) deta`, `G(eta) = int f(sqrt(1 - eta^2) u, eta) du`; G is smooth up to the edge because
//! the inner integral is even in the square root, so Gauss-Chebyshev quadrature treats its weight exactly and
//! converges as fast as the pupil is smooth. Short chords need fewer nodes than long ones.
//!
//! Supercritical light gives the pupil a square-root singularity on a circle, where these rows converge poorly. Rows
//! and chords are then split there: inside, `xi = xi_c sin(pi s / 2)` on chords of half-length `xi_c`, and likewise for `eta`;
//! outside, `xi^2 = xi_c^2 + t^2` on rows that cross the circle, and `eta^2 = rho_c^2 + T^2 sin^2(theta)`, `T^2 = 1 - rho_c^2` for
//! those outside of it. All of s, t and theta have Gauss-Legendre nodes, for which the singularity is smooth.

use std::f64::consts::PI;

/// A node of the disk and its weight.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// Pupil coordinate along x.
    pub xi: f64,
    /// Pupil coordinate along y.
    pub eta: f64,
    /// The weights over the whole disk add up to pi.
    pub weight: f64,
}

/// One row of the quarter disk `xi > 0, eta > 0`; its three mirror images have the same nodes.
#[derive(Debug, Clone)]
pub struct Row {
    /// Pupil coordinate along y of the row.
    pub eta: f64,
    /// The nodes with `xi > 0`.
    pub nodes: Vec<Node>,
}

/// The quarter disk's rows.
#[derive(Debug, Clone)]
pub struct DiskQuadrature {
    /// Rows from the edge to the middle.
    pub rows: Vec<Row>,
}

/// Minimum number of nodes, for the shortest chord.
const SHORTEST_CHORD: f64 = 8.0;

impl DiskQuadrature {
    /// `rows` rows over the whole disk and up to `nodes` nodes on a row, both rounded up to even numbers so that the
    /// four quadrants are mirror images.
    #[must_use]
    pub fn quarter(rows: usize, nodes: usize) -> Self {
        let rows = rows.next_multiple_of(2).max(2);
        let rows = (1..=rows / 2)
            .map(|k| {
                let (chord, eta) = direction(k, rows).sin_cos();
                let count = 2 * half_chord(chord, nodes);
                let row_weight = PI / (rows + 1) as f64 * chord * chord;
                let nodes = gauss_legendre(count)
                    .into_iter()
                    .filter(|(u, _)| *u > 0.0)
                    .map(|(u, w)| Node { xi: chord * u, eta, weight: row_weight * w })
                    .collect();
                Row { eta, nodes }
            })
            .collect();
        Self { rows }
    }

    /// The number of nodes of [`quarter`](Self::quarter).
    #[must_use]
    pub fn quarter_len(rows: usize, nodes: usize) -> usize {
        let rows = rows.next_multiple_of(2).max(2);
        (1..=rows / 2).map(|k| half_chord(direction(k, rows).sin_cos().0, nodes)).sum()
    }

    /// The same, split at the circle of radius `critical`, below 1, with `rows` rows through the inner disk.
    #[must_use]
    pub fn split(rows: usize, critical: f64) -> Self {
        let ring = (1.0 - critical * critical).sqrt();
        let counts = Split::new(rows, ring);
        let crossing = half_sine(counts.rows, critical).map(|(eta, row_weight)| {
            let inner = (critical * critical - eta * eta).max(0.0).sqrt();
            let within = half_sine(counts.inside(inner / critical), inner);
            let beyond = half_gauss(counts.outside(inner), ring).map(|(t, weight)| {
                let xi = inner.hypot(t);
                (xi, weight * t / xi)
            });
            (eta, row_weight, within.chain(beyond).collect::<Vec<_>>())
        });
        let above = half_gauss(counts.rows_above, PI / 2.0).map(|(theta, weight)| {
            let (sin, cos) = theta.sin_cos();
            let eta = critical.hypot(ring * sin);
            let count = counts.above(cos);
            let nodes = gauss_legendre(2 * count).into_iter().filter(|(u, _)| *u > 0.0);
            (
                eta,
                weight * ring * ring * sin * cos / eta,
                nodes.map(|(u, w)| (ring * cos * u, ring * cos * w)).collect(),
            )
        });
        let rows = crossing.chain(above).map(|(eta, row_weight, nodes)| Row {
            eta,
            nodes: nodes.into_iter().map(|(xi, weight)| Node { xi, eta, weight: row_weight * weight }).collect(),
        });
        Self { rows: rows.collect() }
    }

    /// The numbers of rows and nodes of [`split`](Self::split).
    #[must_use]
    pub fn split_len(rows: usize, critical: f64) -> [usize; 2] {
        let ring = (1.0 - critical * critical).sqrt();
        let counts = Split::new(rows, ring);
        let crossing = half_sine(counts.rows, critical).map(|(eta, _)| {
            let inner = (critical * critical - eta * eta).max(0.0).sqrt();
            counts.inside(inner / critical) + counts.outside(inner)
        });
        let above = half_gauss(counts.rows_above, PI / 2.0).map(|(theta, _)| counts.above(theta.cos()));
        [counts.rows + counts.rows_above, crossing.chain(above).sum()]
    }

    /// All nodes of the whole disk: the simple form, for tests.
    #[must_use]
    pub fn full(rows: usize, nodes: usize) -> Vec<Node> {
        Self::quarter(rows, nodes).mirrored()
    }

    /// The nodes of the whole disk.
    #[must_use]
    pub fn mirrored(&self) -> Vec<Node> {
        let mut all = Vec::new();
        for node in self.rows.iter().flat_map(|row| &row.nodes) {
            for (sx, sy) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)] {
                all.push(Node { xi: sx * node.xi, eta: sy * node.eta, weight: node.weight });
            }
        }
        all
    }
}

/// Numbers of nodes of a split quadrature on a quarter of the disk.
struct Split {
    /// Rows that cross the circle.
    rows: usize,
    /// Rows that do not cross it.
    rows_above: usize,
    /// Nodes on the longest of these rows.
    most_above: usize,
    /// Half-length of the longest of these rows.
    ring: f64,
    /// Nodes per unit of length outside the circle, for the phase variation that the number of rows supports.
    density: f64,
}

impl Split {
    fn new(rows: usize, ring: f64) -> Self {
        let rows = rows.next_multiple_of(2).max(8);
        let density = 0.36 * (rows as f64 - 10.0).max(0.0);
        let most_above = 3.max((1.5 + density * ring).ceil() as usize);
        Self { rows: rows / 2, rows_above: 3 + rows / 16, most_above, ring, density }
    }

    /// Nodes outside the circle on a row that crosses it at `inner`.
    fn outside(&self, inner: f64) -> usize {
        let length = inner.hypot(self.ring) - inner;
        4 + (self.rows / 8).max((self.density * length).ceil() as usize)
    }

    /// Nodes inside the circle on a row with `part` of the longest row's length.
    fn inside(&self, part: f64) -> usize {
        let most = self.rows - 1;
        (3.0 + (most as f64 - 3.0).max(0.0) * part).ceil() as usize
    }

    /// Nodes on a row that does not cross the circle, with `part` of the longest row's length.
    fn above(&self, part: f64) -> usize {
        (3.0 + (self.most_above as f64 - 3.0) * part).ceil() as usize
    }
}

/// Nodes and weights in (0, length), for even functions with mirrored nodes: `length * sin(pi s / 2)`.
fn half_sine(count: usize, length: f64) -> impl Iterator<Item = (f64, f64)> {
    gauss_legendre(2 * count).into_iter().filter(|(s, _)| *s > 0.0).map(move |(s, weight)| {
        let (sin, cos) = (PI / 2.0 * s).sin_cos();
        (length * sin, length * PI / 2.0 * cos * weight)
    })
}

/// Nodes and weights in (0, length).
fn half_gauss(count: usize, length: f64) -> impl Iterator<Item = (f64, f64)> {
    gauss_legendre(count).into_iter().map(move |(u, weight)| (length * (u + 1.0) / 2.0, length * weight / 2.0))
}

/// The angle from the eta axis of row `k` of a number of rows.
fn direction(k: usize, rows: usize) -> f64 {
    PI * k as f64 / (rows + 1) as f64
}

/// Nodes with `xi > 0` on a row with half-length `chord`, if the longest row has `nodes`.
fn half_chord(chord: f64, nodes: usize) -> usize {
    let longest = nodes as f64;
    let count = SHORTEST_CHORD.min(longest) + (longest - SHORTEST_CHORD).max(0.0) * chord;
    (count / 2.0).ceil().max(1.0) as usize
}

/// Nodes and weights of Gauss-Legendre quadrature on [-1, 1] (Newton's method on the recurrence).
#[must_use]
pub fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    (1..=n)
        .map(|k| {
            let mut x = (PI * (k as f64 - 0.25) / (n as f64 + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..100 {
                let (mut before, mut now) = (0.0, 1.0);
                for i in 1..=n {
                    let i = i as f64;
                    (before, now) = (now, ((2.0 * i - 1.0) * x * now - (i - 1.0) * before) / i);
                }
                slope = n as f64 * (x * now - before) / (x * x - 1.0);
                let step = now / slope;
                x -= step;
                if step.abs() < 1e-15 {
                    break;
                }
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_as_many_as_said() {
        for rows in [1, 2, 10, 33, 128] {
            for nodes in [1, 6, 29, 124] {
                let made = DiskQuadrature::quarter(rows, nodes).rows.iter().map(|row| row.nodes.len()).sum::<usize>();
                assert_eq!(made, DiskQuadrature::quarter_len(rows, nodes));
            }
        }
    }

    #[test]
    fn split_nodes_are_as_many_as_said() {
        for rows in [8, 10, 36, 128] {
            for critical in [0.6, 0.9, 0.9999] {
                let made = DiskQuadrature::split(rows, critical).rows;
                let nodes = made.iter().map(|row| row.nodes.len()).sum::<usize>();
                assert_eq!([made.len(), nodes], DiskQuadrature::split_len(rows, critical));
            }
        }
    }

    /// A square root on either side of the circle, times polynomials: closed form in polar coordinates.
    #[test]
    fn split_rows_meet_the_edge() {
        for critical in [0.7, 0.9, 0.99] {
            let nodes = DiskQuadrature::split(48, critical).mirrored();
            let sum = |f: &dyn Fn(&Node) -> f64| nodes.iter().map(|p| p.weight * f(p)).sum::<f64>();
            let height = |p: &Node| (critical * critical - p.xi * p.xi - p.eta * p.eta).abs().sqrt();
            let within = |p: &Node| p.xi.hypot(p.eta) < critical;
            let inner = sum(&|p| if within(p) { height(p) } else { 0.0 });
            let outer = sum(&|p| if within(p) { 0.0 } else { height(p) });
            let squared = sum(&|p| p.xi * p.xi);
            let ring = (1.0 - critical * critical).sqrt();
            let found = [sum(&|_| 1.0), inner, outer, squared];
            let exact = [PI, 2.0 * PI / 3.0 * critical.powi(3), 2.0 * PI / 3.0 * ring.powi(3), PI / 4.0];
            for (found, exact) in found.iter().zip(exact) {
                assert!((found - exact).abs() < 2e-5, "{critical}: {found} {exact}");
            }
        }
    }

    #[test]
    fn polynomials_on_the_disk_are_exact() {
        // int xi^2a eta^2b over the disk = 2 G(a+1/2) G(b+1/2) / (G(a+b+1) (2a+2b+2)), by double factorials
        let odd = |k: i32| (1..=k).map(|i| f64::from(2 * i - 1)).product::<f64>();
        let nodes = DiskQuadrature::full(20, 20);
        for a in 0..=4 {
            for b in 0..=4 {
                let sum: f64 = nodes.iter().map(|p| p.weight * p.xi.powi(2 * a) * p.eta.powi(2 * b)).sum();
                let factorial: f64 = (1..=a + b + 1).map(f64::from).product();
                let exact = PI * odd(a) * odd(b) / (2f64.powi(a + b) * factorial);
                assert!((sum - exact).abs() < 1e-13, "xi^{} eta^{}: {sum} {exact}", 2 * a, 2 * b);
            }
        }
    }
}
