//! Arrays as slices: C-contiguous, or an error that says so.

use numpy::{Element, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::PyResult;

use crate::errors::shape;

/// An array that is read.
pub fn read<'a, T: Element>(name: &str, array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<&'a [T]> {
    // a slice alone would be had of an array in Fortran order, too
    let slice = if array.is_c_contiguous() { array.as_slice().ok() } else { None };
    slice.ok_or_else(|| shape(format!("{name} is not aligned and C-contiguous")))
}

/// An array that is written.
pub fn write<'a, T: Element>(name: &str, array: &'a mut PyReadwriteArrayDyn<'_, T>) -> PyResult<&'a mut [T]> {
    let slice = if array.is_c_contiguous() { array.as_slice_mut().ok() } else { None };
    slice.ok_or_else(|| shape(format!("{name} is not aligned and C-contiguous")))
}

/// Positions, three numbers each.
pub fn positions<'a>(array: &'a PyReadonlyArrayDyn<'_, f64>) -> PyResult<&'a [[f64; 3]]> {
    let (rows, rest) = read("xyz", array)?.as_chunks::<3>();
    if rest.is_empty() { Ok(rows) } else { Err(shape("xyz does not have three columns".into())) }
}
