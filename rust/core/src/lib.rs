//! Exact field-dependent point spread functions, splatting and camera noise for single-molecule localization
//! microscopy. Independent of files, configs and Python.
//!
//! For an emitter at (x0, y0, z) with Zernike coefficients c (phase, radians) and m (amplitude), lengths in the same unit:
//!
//! ```text
//! P(xi, eta) = max(0, 1 + sum_j m_j Z_j) exp(i sum_j c_j Z_j)                     on xi^2 + eta^2 <= 1
//! U(x, y)    = int P exp(i Phi_z) exp(i 2 pi NA/lambda [xi (x - x0) + eta (y - y0)]) dxi deta
//! PSF        = |U|^2 / ((lambda/NA)^2 int |P|^2)                                  integrates to 1 over the plane
//! vectorial  = the same with five field components P A_k, whose intensities add up (`pupil/vectorial.rs`)
//! gaussian   = a Gaussian with a z-dependent width, integrated over pixels
//! mean       = QE (photons * integral of the PSF over the pixel + background) + dark                electrons of a pixel
//! count      = (register(Poisson(mean)) + read noise) / electrons per count + offset               (`camera/mod.rs`)
//! ```
//!
//! x runs along columns, y along rows, integers are pixel centres; frames are `[t][y][x]`.
//!
//! ```text
//! Psf::stamps, Psf::gradients         psf              coefficients and positions -> stamps and their derivatives
//! Psf::bounds                         psf              derivatives -> Cramér-Rao bounds
//!   |-- models that share a trait     psf: pupil, gaussian
//!   |-- the pupil                     pupil: its terms on nodes, the number of nodes -> the pupil function and its components
//!   `-- the transform                 transform: matrix (folded products) -> sampling (pixels); gradients
//! Psf::render, Psf::expose            render           stamps -> frames, optionally with the camera in the same pass: splat
//! Psf::record_bounds                  render           the bound of each record of the frames
//! Cost                                render           quadrature rows and memory, estimated in advance
//! Camera::expose                      camera           expected photons -> counts
//!   |-- addressed random words        noise: random, the only module that creates random generators
//!   `-- distributions                 noise: poisson, normal, gamma
//! spline_filter, interpolate          field            maps of coefficients over the field -> coefficients of an emitter
//! beam, bleach                        field            Gaussian illumination at any position; bleaching of the background
//! random_field                        noise: randomfield   a smooth random field over pixels
//! exponential, normal, poisson        noise: variates  uniform random numbers -> variates for emitters
//! photons                             noise: photons   distributions of photons per frame
//! Blinking::advance                   blinking         states and rates -> sojourns of molecules, and their photons in frames
//! simd                                selects the instruction set at run time
//! stop                                lets another thread stop a long call
//! ```
//!
//! Results do not depend on the number of threads or on what is computed together: sums have a fixed order, an emitter's stamp is
//! bit-identical whichever emitters are rendered with it, and a pixel's random words are addressed by its position in the movie.
//!
//! Cached data are created without locks, so a process that is forked during their creation can create them again.
#![forbid(unsafe_code)]

mod blinking;
mod camera;
mod error;
mod field;
mod noise;
mod psf;
mod pupil;
mod render;
mod simd;
mod stop;
mod transform;

pub use blinking::{Blinking, Brightness, Chain, MOST_STATES, RecordColumns, SojournColumns};
pub use camera::{Background, Camera, Exposure, Maps, Pixel, Register, Settings};
pub use error::{Error, Result};
pub use field::{Interpolation, beam, bleach, interpolate, spline_filter};
pub use noise::{PhotonLaw, exponential, normal, photons, poisson, random_field};
pub use psf::{Detector, Emitters, LARGEST_BLUR, LARGEST_STAMP, MOST_MODES, PARAMETERS, Psf, Spec};
pub use pupil::{
    Defocus, DiskQuadrature, Gaussian, MOST_ROWS, Model, Node, Optics, Parity, Row, Zernike, gauss_legendre,
};
pub use render::{Cost, MOST_TOGETHER, Records, Scene};
pub use simd::{Level, level};
pub use stop::Stop;
pub use transform::{MOST_SAMPLES_PER_PIXEL, Sampling};
