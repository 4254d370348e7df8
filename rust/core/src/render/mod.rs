//! From the positions and coefficients of emitters to frames.
//!
//! ```text
//! stamps        the PSF of each emitter on a small square of pixels
//! frames        stamps added where and when emitters shine; the same, and the camera, in one pass
//! splat         the adding of stamps to rows of pixels
//! ```

mod frames;
mod splat;
mod stamps;

pub use frames::Records;
pub use stamps::{Emitters, LARGEST_STAMP, MOST_MODES, Psf};
