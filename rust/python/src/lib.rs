//! Python bindings of `simtiff-core`: one call into the core each, nothing computed here but what files need (see `files`),
//! of which the core knows nothing.
//!
//! Every call that computes releases the GIL, runs on the process's own pool of threads and ends when a signal's handler raises (see
//! `pool`). Arrays come in
//! as they are needed, C-contiguous and of the exact dtype; the package's Python side converts what users pass. Output is
//! written into arrays that the caller owns.
//!
//! | Python | Rust |
//! |---|---|
//! | `Scene`, `Optics` (Python's dataclasses, by their attributes) | `Scene`, `Optics` |
//! | `ndarray[float64] (n, 3)` | `&[[f64; 3]]` |
//! | `ndarray[float32]` | `&[f32]`, `&mut [f32]` |
//! | `ndarray[uint32]`, `ndarray[uint16]` | `&[u32]`, `&mut [u16]` |
//! | `ConfigError`, `ShapeError` | `simtiff_core::Error` |

mod blinking;
mod buffers;
mod camera;
mod errors;
mod field;
mod files;
mod light;
mod optics;
mod pool;
mod render;
mod scene;
mod variates;

use pyo3::prelude::*;

/// Imports all that calls need. Left to the first call, a fork could come in the middle of it, and the child would wait for
/// a thread that only its parent has.
fn import_all(py: Python<'_>) -> PyResult<()> {
    pool::system(py)?;
    drop((py.get_type::<errors::ConfigError>(), py.get_type::<errors::ShapeError>()));
    py.import("numpy")?; // where that fails, as for want of memory, what comes next would panic
    let array = numpy::PyArrayDyn::<f32>::zeros(py, [1].as_slice(), false); // NumPy's tables, and its borrows'
    buffers::borrow::<f32>("", array.as_any()).map(drop)
}

#[pymodule]
#[pyo3(name = "_core")]
mod core_module {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::blinking::Blinking;
    #[pymodule_export]
    use crate::camera::Camera;
    #[pymodule_export]
    use crate::field::{interpolate, spline_filter};
    #[pymodule_export]
    use crate::files::{crc32, crc32_joined, inflate_tiles};
    #[pymodule_export]
    use crate::light::{beam, bleach, random_field};
    #[pymodule_export]
    use crate::optics::Spec;
    #[pymodule_export]
    use crate::pool::{set_threads, simd_level, threads};
    #[pymodule_export]
    use crate::render::{Cost, Psf};
    /// The most quadrature rows that an emitter is computed with.
    #[pymodule_export]
    const MOST_ROWS: usize = simtiff_core::MOST_ROWS;
    /// The most Zernike modes.
    #[pymodule_export]
    const MOST_MODES: usize = simtiff_core::MOST_MODES;
    /// The most samples per pixel and axis.
    #[pymodule_export]
    const MOST_SAMPLES_PER_PIXEL: u32 = simtiff_core::MOST_SAMPLES_PER_PIXEL;
    #[pymodule_export]
    const MOST_THREADS: usize = crate::pool::MOST_THREADS;
    /// The most states of a molecule.
    #[pymodule_export]
    const MOST_STATES: usize = simtiff_core::MOST_STATES;
    #[pymodule_export]
    use crate::variates::{exponential, normal, photons, poisson};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::import_all(module.py())
    }
}
