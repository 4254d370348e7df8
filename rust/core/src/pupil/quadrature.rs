//! Quadrature on the unit disk with spectral accuracy.
//!
//! Rows `eta_k = cos(pi k / (rows + 1))` with Chebyshev weights of the second kind, and on each row Gauss-Legendre
//! nodes along the chord. With `xi = sqrt(1 - eta^2) u` the integral over the disk is
//! `int sqrt(1 - eta^2) G(eta) deta`, `G(eta) = int f(sqrt(1 - eta^2) u, eta) du`; G is smooth up to the rim because
//! the inner integral is even in the square root, so Gauss-Chebyshev quadrature meets its weight exactly and
//! converges as fast as the pupil is smooth. Short chords need fewer nodes than long ones.

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
    /// Rows from the rim to the middle.
    pub rows: Vec<Row>,
}

/// Nodes that even the shortest chord has.
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

    /// How many nodes [`quarter`](Self::quarter) makes.
    #[must_use]
    pub fn quarter_len(rows: usize, nodes: usize) -> usize {
        let rows = rows.next_multiple_of(2).max(2);
        (1..=rows / 2).map(|k| half_chord(direction(k, rows).sin_cos().0, nodes)).sum()
    }

    /// All nodes of the whole disk: the slow, obvious form.
    #[must_use]
    pub fn full(rows: usize, nodes: usize) -> Vec<Node> {
        let quarter = Self::quarter(rows, nodes);
        let mut all = Vec::new();
        for node in quarter.rows.iter().flat_map(|row| &row.nodes) {
            for (sx, sy) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)] {
                all.push(Node { xi: sx * node.xi, eta: sy * node.eta, weight: node.weight });
            }
        }
        all
    }
}

/// The angle from the eta axis of row `k` of so many.
fn direction(k: usize, rows: usize) -> f64 {
    PI * k as f64 / (rows + 1) as f64
}

/// Nodes with `xi > 0` on a row of half the length `chord`, if the longest row has `nodes`.
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
