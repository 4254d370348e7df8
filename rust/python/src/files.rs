//! File operations at memory speed: checksums, and reading planes from compressed HDF5 tiles, several times as fast as
//! HDF5.

use libdeflater::Decompressor;
use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use rayon::prelude::*;

use crate::{buffers, pool};

/// CRC-32 (IEEE, as in zlib and PNG) of `data`, continued from the checksum `value`.
#[pyfunction]
#[pyo3(signature = (data, value=0))]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn crc32(py: Python<'_>, data: PyReadonlyArrayDyn<'_, u8>, value: u32) -> PyResult<u32> {
    let bytes = buffers::read("data", &data)?;
    Ok(py.detach(|| {
        let mut hasher = crc32fast::Hasher::new_with_initial(value);
        hasher.update(bytes);
        hasher.finalize()
    }))
}

/// CRC-32 of concatenated data, from the checksums `first` and `second` of its parts; the second part has `length` bytes.
#[pyfunction]
pub fn crc32_joined(first: u32, second: u32, length: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(first);
    hasher.combine(&crc32fast::Hasher::new_with_initial_len(second, length));
    hasher.finalize()
}

/// Fill a plane `out` of `shape` (y, x) from its tiles of `tile` (y, x) values, in row-major order: little-endian float32 in
/// zlib format, `shuffled` (all first bytes, then all second ones, ...) or not. `ValueError` if a tile is invalid.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
pub fn inflate_tiles(
    py: Python<'_>,
    tiles: Vec<PyBackedBytes>,
    tile: (usize, usize),
    shuffled: bool,
    shape: (usize, usize),
    mut out: PyReadwriteArrayDyn<'_, f32>,
) -> PyResult<()> {
    let out = buffers::write("out", &mut out)?;
    let ((tile_height, tile_width), (height, width)) = (tile, shape);
    let area = tile_height.checked_mul(tile_width).filter(|&area| 0 < area && area <= usize::MAX / 4);
    let across = width.checked_div(tile_width).map(|n| n + usize::from(!width.is_multiple_of(tile_width)));
    let fits = height.checked_mul(width) == Some(out.len());
    let (Some(area), Some(across), true) = (area, across, fits) else {
        return Err(PyValueError::new_err("shapes disagree"));
    };
    if tiles.len() != height.div_ceil(tile_height) * across {
        return Err(PyValueError::new_err("another number of tiles"));
    }
    if out.is_empty() {
        return Ok(());
    }
    let bands = out.chunks_mut(tile_height.saturating_mul(width)).zip(tiles.chunks(across)).collect::<Vec<_>>();
    let good = pool::run(py, None, |_| {
        bands.into_par_iter().all(|(band, tiles)| {
            let (mut inflater, mut bytes) = (Decompressor::new(), vec![0; 4 * area]);
            tiles.iter().enumerate().all(|(place, tile)| {
                let good = inflater.zlib_decompress(tile, &mut bytes) == Ok(bytes.len());
                let rows = band.chunks_exact_mut(width).map(|row| &mut row[place * tile_width..]);
                copy(&bytes, shuffled, rows, tile_width);
                good
            })
        })
    })?;
    if good { Ok(()) } else { Err(PyValueError::new_err("a tile is damaged")) }
}

/// Copies a tile's values to the part of the plane's rows that it covers.
fn copy<'a>(bytes: &[u8], shuffled: bool, rows: impl Iterator<Item = &'a mut [f32]>, width: usize) {
    if shuffled {
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        let ((a, b), (c, d)) = (half.split_at(half.len() / 2), rest.split_at(rest.len() / 2));
        let lines = a.chunks(width).zip(b.chunks(width)).zip(c.chunks(width)).zip(d.chunks(width));
        for (row, (((a, b), c), d)) in rows.zip(lines) {
            for ((((value, a), b), c), d) in row.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *value = f32::from_le_bytes([*a, *b, *c, *d]);
            }
        }
    } else {
        for (row, line) in rows.zip(bytes.chunks(4 * width)) {
            for (value, bytes) in row.iter_mut().zip(line.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
    }
}
