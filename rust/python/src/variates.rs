//! `simtiff_core::exponential`, `simtiff_core::normal`.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;

use crate::buffers;
use crate::errors::to_python;

/// Turn uniform numbers in [0, 1) into exponential ones of mean 1, in place.
#[pyfunction]
pub fn exponential(py: Python<'_>, mut uniform: PyReadwriteArrayDyn<'_, f64>) -> PyResult<()> {
    let uniform = buffers::write("uniform", &mut uniform)?;
    py.detach(|| simtiff_core::exponential(uniform));
    Ok(())
}

/// Turn uniform numbers in [0, 1), with as many second ones, into standard normal ones, in place.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn normal(
    py: Python<'_>,
    mut uniform: PyReadwriteArrayDyn<'_, f64>,
    second: PyReadonlyArrayDyn<'_, f64>,
) -> PyResult<()> {
    let (uniform, second) = (buffers::write("uniform", &mut uniform)?, buffers::read("second", &second)?);
    py.detach(|| simtiff_core::normal(uniform, second)).map_err(to_python)
}
