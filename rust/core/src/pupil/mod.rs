//! The pupil of an emitter: the light collected by the objective, as a function on the unit disk.
//!
//! ```text
//! optics        the microscope: pixels, wavelength and aperture -> the phases of shift and defocus
//! zernike       the modes of aberrations
//! quadrature    nodes on the disk, and their weights
//! vectorial     the field components of a freely rotating dipole
//! terms         modes, defocus and shift on the nodes of a quadrature
//! nodes         how many nodes an emitter needs
//! nodes         the number of nodes that an emitter needs
//! ```

mod function;
mod nodes;
mod optics;
mod quadrature;
mod terms;
mod vectorial;
mod zernike;

pub(crate) use function::{component, derivative, fill_pupil};
pub use nodes::MOST_ROWS;
pub(crate) use nodes::{NodeRule, ROWS};
pub use optics::{Defocus, Gaussian, Model, Optics};
pub use quadrature::{DiskQuadrature, Node, Row, gauss_legendre};
pub(crate) use terms::{Field, NODE_BLOCK, PupilBasis};
pub use zernike::{Parity, Zernike};
