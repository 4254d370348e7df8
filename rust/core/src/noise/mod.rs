//! Random numbers, and the distributions that are drawn with them.
//!
//! ```text
//! random        words addressed by pixel: the only place where a generator is made
//! poisson       the camera's shot noise, and read noise with it where counts are rounded
//! normal        the camera's read noise
//! gamma         the gain of an EM register
//! variates      uniform numbers -> those that emitters are drawn by
//! photons       laws of how bright emitters are
//! randomfield   a smooth field over pixels: a background with structure
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
