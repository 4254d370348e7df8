//! `simtiff_core::beam`, `simtiff_core::bleach`, `simtiff_core::random_field`.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;

use crate::errors::to_python;
use crate::{buffers, pool};

/// Fill `out` (n,) with the relative intensity of a Gaussian beam of peak 1 at positions (n, 2). Positions, centre and widths: x and
/// y in pixels.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn beam(
    py: Python<'_>,
    places: PyReadonlyArrayDyn<'_, f64>,
    centre: (f64, f64),
    fwhm: (f64, f64),
    mut out: PyReadwriteArrayDyn<'_, f64>,
) -> PyResult<()> {
    let (places, out) = (buffers::rows("places", &places)?, buffers::write("out", &mut out)?);
    py.detach(|| simtiff_core::beam(places, centre.into(), fwhm.into(), out)).map_err(to_python)
}

/// Multiply the background factor of frame k by exp(-k / frames), in place.
#[pyfunction]
pub fn bleach(py: Python<'_>, frames: f64, mut factor: PyReadwriteArrayDyn<'_, f64>) -> PyResult<()> {
    let factor = buffers::write("factor", &mut factor)?;
    py.detach(|| simtiff_core::bleach(frames, factor)).map_err(to_python)
}

/// Fill `out` (y, x) with a random field of mean 0 and variance 1; pixel (0, 0) is at `origin`, x and y.
#[pyfunction]
pub fn random_field(
    py: Python<'_>,
    key: u64,
    length: f64,
    origin: (i64, i64),
    mut out: PyReadwriteArrayDyn<'_, f32>,
) -> PyResult<()> {
    let shape = buffers::frame_shape(&out)?;
    let out = buffers::write("out", &mut out)?;
    pool::run(py, None, |stop| simtiff_core::random_field(key, length, origin.into(), shape, out, stop))?
        .map_err(to_python)
}
