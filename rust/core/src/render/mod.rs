//! From the positions and coefficients of emitters to frames.
//!
//! ```text
//! scene         emitters and their records, checked, placed and sorted
//! blocks        emitters a block at a time: their stamps, added to the rows that they reach
//! splat         the adding of stamps to rows of pixels
//! frames        frames of expected photons; the same, and the camera, in one pass
//! bounds        the Cramér-Rao bound of every record, alone or with the others of its frame
//! cost          what stamps take, said before they are made: quadrature rows, memory
//! ```

mod blocks;
mod bounds;
mod cost;
mod frames;
mod scene;
mod splat;

pub use bounds::MOST_TOGETHER;
pub use cost::Cost;
pub use scene::{Records, Scene};
