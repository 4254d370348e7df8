//! Exact field-dependent point spread functions, splatting and camera noise for single-molecule localization
//! microscopy. Knows photons, pupils and pixels; knows no file, no config and no Python.
//!
//! For an emitter at (x0, y0, z) with Zernike coefficients c (phase, radians) and m (magnitude), lengths in one unit:
//!
//! ```text
//! P(xi, eta) = max(0, 1 + sum_j m_j Z_j) exp(i sum_j c_j Z_j)                     on xi^2 + eta^2 <= 1
//! U(x, y)    = int P exp(i Phi_z) exp(i 2 pi NA/lambda [xi (x - x0) + eta (y - y0)]) dxi deta
//! PSF        = |U|^2 / ((lambda/NA)^2 int |P|^2)                                  integrates to 1 over the plane
//! vectorial  = the same with five fields P A_k, whose intensities add up (`pupil/vectorial.rs`)
//! gaussian   = a Gaussian of a width that changes with z, over pixels
//! mean       = QE (photons * integral of the PSF over the pixel + background) + dark                electrons of a pixel
//! count      = (register(Poisson(mean)) + read noise) / electrons per count + offset               (`camera/mod.rs`)
//! ```
//!
//! x runs along columns, y along rows, integers are pixel centres; frames are `[t][y][x]`.
//!
//! ```text
//! Psf::stamps, Psf::gradients         psf              coefficients and positions -> stamps, and derivatives of these
//! Psf::bounds                         psf              derivatives -> the best precision that can be reached
//!   |-- models behind one trait       psf: pupil, gaussian
//!   |-- the pupil                     pupil: its terms on nodes, how many of these -> the pupil function, its components
//!   `-- the transform                 transform: matrix (folded products) -> sampling (pixels); gradients
//! Psf::render, Psf::expose            render           stamps -> frames, and the camera in the same pass: splat
//! Psf::record_bounds                  render           the bound of each record of frames
//! Cost                                render           what all that takes, said before: quadrature rows, memory
//! Camera::expose                      camera           expected photons -> counts
//!   |-- addressed random words        noise: random, the only place where a generator is made
//!   `-- distributions                 noise: poisson, normal, gamma
//! spline_filter, interpolate          field            maps of coefficients over the field -> an emitter's
//! beam, bleach                        field            a Gaussian beam -> its light at any place; what bleaching leaves
//! random_field                        noise: randomfield   a smooth random field over pixels
//! exponential, normal, poisson        noise: variates  uniform random numbers -> those that emitters are drawn by
//! photons                             noise: photons   laws of how bright they are
//! Blinking::advance                   blinking         states and rates -> sojourns of molecules, and their light in frames
//! simd                                picks the instruction set at run time
//! stop                                lets another thread end a long call
//! ```
//!
//! Results depend neither on the number of threads nor on what is computed together: sums run in a fixed order, an
//! emitter's stamp has the same bits in any company, and a pixel's random words are addressed by its place in the movie.
//!
//! What is made once and kept is made without locks, so a process that is forked in the middle of it can make it anew.
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
