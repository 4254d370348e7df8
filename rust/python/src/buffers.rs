//! Arrays as slices: C-contiguous, or an error that says so.

use numpy::{Element, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::PyResult;
use simtiff_core::Records;

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

/// Rows of `N` numbers.
pub fn rows<'a, const N: usize>(name: &str, array: &'a PyReadonlyArrayDyn<'_, f64>) -> PyResult<&'a [[f64; N]]> {
    let (rows, rest) = read(name, array)?.as_chunks::<N>();
    if rest.is_empty() { Ok(rows) } else { Err(shape(format!("{name} does not have {N} columns"))) }
}

/// Light of emitters in frames, an element each.
pub fn records<'a>(
    emitter: &'a PyReadonlyArrayDyn<'_, u32>,
    frame: &'a PyReadonlyArrayDyn<'_, u32>,
    photons: &'a PyReadonlyArrayDyn<'_, f32>,
) -> PyResult<Records<'a>> {
    Ok(Records {
        emitter: read("emitter_ix", emitter)?,
        frame: read("frame_ix", frame)?,
        photons: read("photons", photons)?,
    })
}
