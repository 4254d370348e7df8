//! Random numbers and distributions.
//!
//! ```text
//! random        words addressed by pixel: the only module that creates random generators
//! poisson       the camera's shot noise, combined with read noise if counts are rounded
//! normal        the camera's read noise
//! gamma         the gain of an EM register
//! variates      uniform numbers -> variates for emitters
//! photons       distributions of photons per frame
//! randomfield   a smooth random field over pixels: structured background
//! ```

mod gamma;
mod normal;
mod photons;
mod poisson;
mod random;
mod randomfield;
mod variates;

pub(crate) use gamma::Gamma;
pub(crate) use normal::fill_normals;
pub use photons::{PhotonLaw, photons};
#[cfg(test)]
pub(crate) use poisson::log_probability;
pub(crate) use poisson::{BACKGROUND_LIMIT, BackgroundTable, Signal, TABLE_LIMIT, poisson_by_rejection};
pub(crate) use random::{BLOCK, Generator, Purpose, Stream};
pub use randomfield::random_field;
pub use variates::{exponential, normal, poisson};
