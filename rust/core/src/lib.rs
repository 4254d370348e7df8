//! Exact field-dependent point spread functions, splatting and camera noise for
//! single-molecule localization microscopy.
#![forbid(unsafe_code)]

mod camera;
mod error;
mod normal;
mod poisson;
mod random;
mod simd;

pub use camera::{Camera, Exposure};
pub use error::{Error, Result};
pub use simd::{Level, level};
