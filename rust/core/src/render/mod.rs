//! From the positions and coefficients of emitters to frames.
//!
//! ```text
//! stamps        the PSF of each emitter on a small square of pixels
//! scene         emitters and their records, checked, placed and sorted
//! blocks        emitters a block at a time: their stamps, added to the rows that they reach
//! splat         the adding of stamps to rows of pixels
//! frames        frames of expected photons; the same, and the camera, in one pass
//! cost          what stamps take, said before they are made: quadrature rows, memory
//! ```

mod blocks;
mod cost;
mod frames;
mod scene;
mod splat;
mod stamps;

pub use cost::Cost;
pub use scene::{Records, Scene};
pub use stamps::{Emitters, LARGEST_STAMP, MOST_MODES, Psf};
