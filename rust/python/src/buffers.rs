//! Arrays as slices: of the exact type and C-contiguous, else an error.

use numpy::{Element, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use numpy::{PyUntypedArrayMethods, dtype};
use pyo3::prelude::*;

use crate::errors::{shape, shown};

/// An array of this type, borrowed for reading.
pub fn borrow<'py, T: Element>(name: &str, array: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    let Ok(typed) = array.cast::<PyArrayDyn<T>>() else {
        let expected = dtype::<T>(array.py());
        return Err(shape(format!("{name} is {}; expected an array of {expected}", shown(array))));
    };
    let taken = |_| shape(format!("{name} overlaps out, or is in use by another thread"));
    typed.try_readonly().map_err(taken)
}

/// An attribute that is an array of this type, borrowed for reading, or None.
pub fn borrow_if_any<'py, T: Element>(
    of: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<Option<PyReadonlyArrayDyn<'py, T>>> {
    let array = of.getattr(name)?;
    if array.is_none() { Ok(None) } else { borrow(name, &array).map(Some) }
}

/// An array for reading.
pub fn read<'a, T: Element>(name: &str, array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<&'a [T]> {
    // NumPy also gives a slice of an array in Fortran order
    let slice = if array.is_c_contiguous() { array.as_slice().ok() } else { None };
    slice.ok_or_else(|| shape(format!("{name} is not aligned and C-contiguous")))
}

/// An array for writing.
pub fn write<'a, T: Element>(name: &str, array: &'a mut PyReadwriteArrayDyn<'_, T>) -> PyResult<&'a mut [T]> {
    let slice = if array.is_c_contiguous() { array.as_slice_mut().ok() } else { None };
    slice.ok_or_else(|| shape(format!("{name} is not aligned and C-contiguous")))
}

/// Rows of `N` numbers.
pub fn rows<'a, const N: usize>(name: &str, array: &'a PyReadonlyArrayDyn<'_, f64>) -> PyResult<&'a [[f64; N]]> {
    let (rows, rest) = read(name, array)?.as_chunks::<N>();
    if rest.is_empty() { Ok(rows) } else { Err(shape(format!("{name} does not have {N} columns"))) }
}

/// Height and width of the frames in an array, (..., y, x).
pub fn frame_shape<T: Element>(array: &PyReadwriteArrayDyn<'_, T>) -> PyResult<[usize; 2]> {
    let found = array.shape();
    let frame = found.last_chunk::<2>().copied();
    frame.ok_or_else(|| shape(format!("out has shape {found:?}; expected (t, y, x)")))
}
