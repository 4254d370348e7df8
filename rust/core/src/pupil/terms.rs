//! The terms of the phase, and their values on the nodes of a quadrature.

use std::f64::consts::PI;

use super::optics::{Defocus, Optics};
use super::quadrature::DiskQuadrature;
use super::zernike::{Parity, Zernike};

/// The terms of the phase beside the Zernike modes: defocus in um of z, tilts in px of x and y.
pub(crate) const EXTRA_TERMS: usize = 3;

/// A basis function of the phase, in half-turns per unit of its coefficient.
#[derive(Debug, Clone, Copy)]
pub(super) enum Term {
    Mode(Zernike),
    Defocus(Defocus),
    ShiftX,
    ShiftY,
}

impl Term {
    /// All terms in the order of an emitter's coefficients.
    pub fn all(modes: usize, defocus: Defocus) -> Vec<Self> {
        let modes = (1..=modes as u32).map(|noll| Self::Mode(Zernike::from_noll(noll)));
        modes.chain([Self::Defocus(defocus), Self::ShiftX, Self::ShiftY]).collect()
    }

    fn parity(self) -> Parity {
        match self {
            Self::Mode(z) => z.parity(),
            Self::Defocus(_) => Parity::EvenEven,
            Self::ShiftX => Parity::OddEven,
            Self::ShiftY => Parity::EvenOdd,
        }
    }

    /// Value and gradient at a point of the pupil.
    pub fn at(self, optics: &Optics, xi: f64, eta: f64) -> [f64; 3] {
        let [x, y] = optics.rim_half_turns_per_pixel();
        match self {
            Self::Mode(z) => z.value_and_gradient(xi, eta).map(|v| v / PI),
            Self::Defocus(model) => {
                let (value, slope) = optics.defocus(model, xi * xi + eta * eta);
                [value, 2.0 * xi * slope, 2.0 * eta * slope]
            }
            Self::ShiftX => [-x * xi, -x, 0.0],
            Self::ShiftY => [-y * eta, 0.0, -y],
        }
    }
}

/// The terms that share a parity, on the nodes of a quarter of the disk.
#[derive(Debug, Clone, Default)]
pub(super) struct ParityClass {
    /// Indices of the terms among an emitter's coefficients.
    pub terms: Vec<usize>,
    /// Blocks of [`NODE_BLOCK`] nodes, in each block the terms' values: `[block][term][node]`.
    pub values: Vec<f32>,
}

/// Nodes whose phases are summed at a time.
pub(crate) const NODE_BLOCK: usize = 8;

/// Values of all terms on the nodes of a quarter of the disk, by parity.
#[derive(Debug, Clone)]
pub(crate) struct PupilBasis {
    /// In the order of [`Parity::ALL`].
    pub(super) phase: [ParityClass; 4],
    /// The same for the magnitude: Zernike modes alone, not divided by pi.
    pub(super) magnitude: [ParityClass; 4],
    /// Quadrature weights, padded with zeros to whole blocks.
    pub weights: Vec<f32>,
}

impl PupilBasis {
    /// How many values it holds for a quadrature of so many nodes.
    pub fn len(modes: usize, nodes: usize) -> usize {
        nodes.next_multiple_of(NODE_BLOCK) * (modes + EXTRA_TERMS + modes + 1)
    }

    pub fn new(optics: &Optics, modes: usize, defocus: Defocus, quadrature: &DiskQuadrature) -> Self {
        let terms = Term::all(modes, defocus);
        let nodes: Vec<_> = quadrature.rows.iter().flat_map(|row| &row.nodes).collect();
        let padded = nodes.len().next_multiple_of(NODE_BLOCK);
        let class = |parity: Parity, count: usize, scale: f64| {
            let terms: Vec<_> = terms[..count].iter().enumerate().filter(|(_, t)| t.parity() == parity).collect();
            let mut values = Vec::with_capacity(padded * terms.len());
            for block in nodes.chunks(NODE_BLOCK) {
                for (_, term) in &terms {
                    let at = |i: usize| block.get(i).map_or(0.0, |p| term.at(optics, p.xi, p.eta)[0] * scale);
                    values.extend((0..NODE_BLOCK).map(|i| at(i) as f32));
                }
            }
            ParityClass { terms: terms.iter().map(|(i, _)| *i).collect(), values }
        };
        let mut weights: Vec<f32> = nodes.iter().map(|p| p.weight as f32).collect();
        weights.resize(padded, 0.0);
        Self {
            phase: Parity::ALL.map(|p| class(p, modes + EXTRA_TERMS, 1.0)),
            magnitude: Parity::ALL.map(|p| class(p, modes, PI)),
            weights,
        }
    }
    /// How many values this one holds.
    #[cfg(test)]
    pub fn values(&self) -> usize {
        self.phase.iter().chain(&self.magnitude).map(|class| class.values.len()).sum::<usize>() + self.weights.len()
    }
}
