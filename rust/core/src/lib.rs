//! Exact field-dependent point spread functions, splatting and camera noise for
//! single-molecule localization microscopy.
#![forbid(unsafe_code)]

mod camera;
mod error;
mod matrix;
mod normal;
mod optics;
mod poisson;
mod psf;
mod pupil;
mod quadrature;
mod random;
mod render;
mod sampling;
mod simd;
mod splat;
mod transform;
mod wave;
mod zernike;

pub use camera::{Camera, Exposure};
pub use error::{Error, Result};
pub use optics::{Defocus, Optics};
pub use psf::{Emitters, LARGEST_STAMP, MOST_MODES, Psf};
pub use quadrature::{DiskQuadrature, Node, Row, gauss_legendre};
pub use render::Records;
pub use sampling::{MOST_SAMPLES_PER_PIXEL, Sampling};
pub use simd::{Level, level};
pub use zernike::{Parity, Zernike};
