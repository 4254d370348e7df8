//! Python bindings of `simtiff-core`. Each function is one call into the core; only file operations (see `files`) are
//! implemented here, since the core is independent of files.
//!
//! Every call that computes releases the GIL, runs on the process's own thread pool and ends if a signal handler raises (see
//! `pool`). Input arrays must be
//! C-contiguous and have the exact dtype; the Python package converts what users pass. Output is
//! written to arrays owned by the caller.
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

/// Imports everything that calls need. During a later import, a fork could happen, and the child would wait for
/// a thread that only its parent has.
fn import_all(py: Python<'_>) -> PyResult<()> {
    pool::system(py)?;
    drop((py.get_type::<errors::ConfigError>(), py.get_type::<errors::ShapeError>()));
    py.import("numpy")?; // if this fails, for example for lack of memory, the following would panic
    let array = numpy::PyArrayDyn::<f32>::zeros(py, [1].as_slice(), false); // initializes NumPy's tables, and its borrow checking
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
    /// The maximum number of quadrature rows of an emitter.
    #[pymodule_export]
    const MOST_ROWS: usize = simtiff_core::MOST_ROWS;
    /// The maximum number of Zernike modes.
    #[pymodule_export]
    const MOST_MODES: usize = simtiff_core::MOST_MODES;
    /// The maximum number of samples per pixel and axis.
    #[pymodule_export]
    const MOST_SAMPLES_PER_PIXEL: u32 = simtiff_core::MOST_SAMPLES_PER_PIXEL;
    #[pymodule_export]
    const MOST_THREADS: usize = crate::pool::MOST_THREADS;
    /// The maximum number of states of a molecule.
    #[pymodule_export]
    const MOST_STATES: usize = simtiff_core::MOST_STATES;
    #[pymodule_export]
    use crate::variates::{exponential, normal, photons, poisson};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::import_all(module.py())
    }
}
