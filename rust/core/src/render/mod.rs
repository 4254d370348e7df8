//! From the positions and coefficients of emitters to frames.
//!
//! ```text
//! scene         emitters and their records: checked, placed and sorted
//! blocks        blocks of emitters: their stamps, added to the rows that they reach
//! splat         adds stamps to rows of pixels
//! frames        frames of expected photons; or exposed by the camera in the same pass
//! bounds        the Cramér-Rao bound of every record, single-emitter or joint
//! cost          quadrature rows and memory, estimated in advance
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
