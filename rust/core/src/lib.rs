//! Exact field-dependent point spread functions, splatting and camera noise for
//! single-molecule localization microscopy.
#![forbid(unsafe_code)]

mod camera;
mod error;
mod random;

pub use camera::{Camera, Exposure};
pub use error::{Error, Result};
