//! The terms of the phase and the components of the field, and their values on the nodes of a quadrature.

use std::f64::consts::PI;

use super::optics::{Defocus, Optics};
use super::quadrature::DiskQuadrature;
use super::vectorial;
use super::zernike::{Parity, Zernike};

/// The model that determines a pupil's terms and components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// One scalar field.
    Scalar(Defocus),
    /// The five fields of a freely rotating dipole.
    Vectorial,
}

impl Field {
    /// The terms of the phase: Zernike modes, then [`fixed`](Self::fixed) ones, then z in um, and x and y in px.
    pub fn terms(self, modes: usize) -> usize {
        modes + self.fixed().len() + 3
    }

    /// The terms whose coefficients are fixed by the microscope, not the emitter.
    fn fixed(self) -> &'static [Term] {
        match self {
            Self::Scalar(_) => &[],
            Self::Vectorial => &[Term::FocalDepth],
        }
    }

    /// The coefficients of an emitter in the order of its terms.
    pub fn coefficients<'a>(
        self,
        optics: &Optics,
        modes: &'a [f32],
        [x, y, z]: [f64; 3],
    ) -> impl Iterator<Item = f32> + 'a {
        let fixed = self.fixed().iter().map({
            let depth = optics.focal_depth_um() as f32;
            move |_| depth
        });
        modes.iter().copied().chain(fixed).chain([z as f32, x as f32, y as f32])
    }

    /// The quadrature with this number of rows, split if there is evanescent light.
    pub fn quadrature(self, optics: &Optics, rows: usize) -> DiskQuadrature {
        match self.critical_radius(optics) {
            None => DiskQuadrature::quarter(rows, rows - NODES_FEWER),
            Some(critical) => DiskQuadrature::split(rows, critical),
        }
    }

    /// The rows and nodes of that quadrature on a quarter of the disk.
    pub fn quadrature_len(self, optics: &Optics, rows: usize) -> [usize; 2] {
        match self.critical_radius(optics) {
            None => [rows / 2, DiskQuadrature::quarter_len(rows, rows - NODES_FEWER)],
            Some(critical) => DiskQuadrature::split_len(rows, critical),
        }
    }

    /// Radius beyond which light is evanescent, if there is any.
    pub fn critical_radius(self, optics: &Optics) -> Option<f64> {
        match self {
            Self::Scalar(_) => None,
            Self::Vectorial => optics.critical_radius(),
        }
    }

    /// Number of components of the field.
    pub fn components(self) -> usize {
        match self {
            Self::Scalar(_) => 1,
            Self::Vectorial => vectorial::PARITIES.len(),
        }
    }
}

/// The longest row has this many nodes fewer than there are rows.
pub(crate) const NODES_FEWER: usize = 4;

/// A basis function of the phase, in half-turns per unit of its coefficient.
#[derive(Debug, Clone, Copy)]
pub(super) enum Term {
    Mode(Zernike),
    FocalDepth,
    Height,
    Defocus(Defocus),
    ShiftX,
    ShiftY,
}

/// Minimum cosine of the angle to the axis for slopes in the estimate of the number of nodes: for quadratures whose
/// nodes are dense near that circle, and for those that are split there.
const LEAST_COSINE: [f64; 2] = [0.02, 0.25];

impl Term {
    /// All terms in the order of an emitter's coefficients.
    pub fn all(modes: usize, field: Field) -> Vec<Self> {
        let modes = (1..=modes as u32).map(|noll| Self::Mode(Zernike::from_noll(noll)));
        let axial = match field {
            Field::Scalar(defocus) => Self::Defocus(defocus),
            Field::Vectorial => Self::Height,
        };
        modes.chain(field.fixed().iter().copied()).chain([axial, Self::ShiftX, Self::ShiftY]).collect()
    }

    fn parity(self) -> Parity {
        match self {
            Self::Mode(z) => z.parity(),
            Self::Defocus(_) | Self::Height | Self::FocalDepth => Parity::EvenEven,
            Self::ShiftX => Parity::OddEven,
            Self::ShiftY => Parity::EvenOdd,
        }
    }

    /// Value and gradient at a point of the pupil.
    pub fn at(self, optics: &Optics, xi: f64, eta: f64) -> [f64; 3] {
        let [x, y] = optics.rim_half_turns_per_pixel();
        let rho2 = xi * xi + eta * eta;
        let radial = |(value, slope): (f64, f64)| [value, 2.0 * xi * slope, 2.0 * eta * slope];
        let least = LEAST_COSINE[usize::from(optics.critical_radius().is_some())];
        let [sample, _, immersion] = optics.indices();
        match self {
            Self::Mode(z) => z.value_and_gradient(xi, eta).map(|v| v / PI),
            Self::Defocus(model) => radial(optics.defocus(model, rho2)),
            Self::Height => radial(optics.path_in(sample, rho2, least)),
            Self::FocalDepth => radial(optics.path_in(immersion, rho2, least)).map(|v| -v),
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

/// Nodes for which phases are summed at a time.
pub(crate) const NODE_BLOCK: usize = 8;

/// A component of a field with several components: a complex amplitude on each node.
#[derive(Debug, Clone)]
pub(super) struct Component {
    /// Its parity, as [`Parity::bits`].
    pub parity: usize,
    pub amplitude: Vec<[f32; 2]>,
}

/// Values of all terms on the nodes of a quarter of the disk, by parity.
#[derive(Debug, Clone)]
pub(crate) struct PupilBasis {
    /// In the order of [`Parity::ALL`].
    pub(super) phase: [ParityClass; 4],
    /// The same for the amplitude: only Zernike modes, not divided by pi.
    pub(super) magnitude: [ParityClass; 4],
    /// Quadrature weights times the summed intensity of the components, padded with zeros to whole blocks.
    pub weights: Vec<f32>,
    /// 1 / integral of the pupil's intensity, without amplitude coefficients.
    pub(super) flat: f32,
    /// The components of the field, if there are several.
    pub(super) components: Vec<Component>,
    /// Decay of each node's amplitude with the height above the coverslip, per um, for evanescent light.
    pub(super) decay: Vec<f32>,
    /// Index of z among the terms.
    pub(super) height: usize,
}

impl PupilBasis {
    /// Maximum number of values for a quadrature with this number of nodes.
    pub fn len(modes: usize, field: Field, nodes: usize) -> usize {
        let more = match field {
            Field::Scalar(_) => 0,
            Field::Vectorial => 2 * field.components() + 1,
        };
        nodes.next_multiple_of(NODE_BLOCK) * (field.terms(modes) + modes + 1 + more)
    }

    pub fn new(optics: &Optics, modes: usize, field: Field, quadrature: &DiskQuadrature) -> Self {
        let terms = Term::all(modes, field);
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
        let amplitudes: Vec<_> = match field {
            Field::Scalar(_) => vec![],
            Field::Vectorial => nodes.iter().map(|p| vectorial::amplitudes(optics, p.xi, p.eta)).collect(),
        };
        let intensity = |k: usize| amplitudes[k].iter().flatten().map(|part| part * part).sum::<f64>();
        let mut weights: Vec<_> = nodes.iter().map(|p| p.weight).collect();
        let flat = match field {
            Field::Scalar(_) => std::f32::consts::FRAC_1_PI,
            Field::Vectorial => {
                weights.iter_mut().enumerate().for_each(|(k, weight)| *weight *= intensity(k));
                (0.25 / weights.iter().sum::<f64>()) as f32
            }
        };
        let component = |(c, parity): (usize, Parity)| {
            let mut amplitude: Vec<_> = amplitudes.iter().map(|a| a[c].map(|part| part as f32)).collect();
            amplitude.resize(padded, [0.0; 2]);
            Component { parity: parity.bits(), amplitude }
        };
        let mut decay = vec![];
        if field.critical_radius(optics).is_some() {
            decay.extend(nodes.iter().map(|p| optics.decay(p.xi * p.xi + p.eta * p.eta) as f32));
            decay.resize(padded, 0.0);
        }
        let mut weights: Vec<f32> = weights.into_iter().map(|weight| weight as f32).collect();
        weights.resize(padded, 0.0);
        Self {
            phase: Parity::ALL.map(|p| class(p, terms.len(), 1.0)),
            magnitude: Parity::ALL.map(|p| class(p, modes, PI)),
            weights,
            flat,
            components: match field {
                Field::Scalar(_) => vec![],
                Field::Vectorial => vectorial::PARITIES.into_iter().enumerate().map(component).collect(),
            },
            decay,
            height: terms.len() - 3,
        }
    }

    /// The number of values.
    #[cfg(test)]
    pub fn values(&self) -> usize {
        self.phase.iter().chain(&self.magnitude).map(|class| class.values.len()).sum::<usize>()
            + self.components.iter().map(|component| 2 * component.amplitude.len()).sum::<usize>()
            + self.decay.len()
            + self.weights.len()
    }

    /// Number of components of the field.
    pub fn components(&self) -> usize {
        self.components.len().max(1)
    }

    /// Whether any of the light is evanescent.
    pub fn decays(&self) -> bool {
        !self.decay.is_empty()
    }

    /// The indices of x, y and z among the terms.
    pub fn position(&self) -> [usize; 3] {
        [self.height + 1, self.height + 2, self.height]
    }

    /// The parity of a term, and its value at a node in half-turns per unit.
    pub(super) fn term(&self, term: usize) -> (usize, impl Fn(usize) -> f32) {
        let found = Parity::ALL.into_iter().zip(&self.phase).find_map(|(parity, class)| {
            class.terms.iter().position(|&t| t == term).map(|place| (parity.bits(), class, place))
        });
        let (parity, class, place) = found.expect("a term has a parity");
        (parity, move |node: usize| {
            class.values[(node / NODE_BLOCK * class.terms.len() + place) * NODE_BLOCK + node % NODE_BLOCK]
        })
    }
}
