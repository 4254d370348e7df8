//! `simtiff_core::Blinking`.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::prelude::*;
use simtiff_core::{Brightness, Chain, RecordColumns, SojournColumns};

use crate::errors::to_python;
use crate::variates::photon_law;
use crate::{buffers, pool};

/// Molecules that change between states independently, advanced from frame to frame.
#[pyclass(module = "simtiff._core")]
pub struct Blinking(simtiff_core::Blinking);

#[pymethods]
impl Blinking {
    /// `rates` (n, n) per frame, from row to column; `brightness` and `start` (n,). `photons` per molecule, float32; or,
    /// with a distribution, the number of molecules, whose photons are drawn for each sojourn.
    #[new]
    #[pyo3(signature = (rates, brightness, start, frames, key, photons, law=None))]
    #[allow(clippy::needless_pass_by_value, clippy::too_many_arguments, reason = "called from one place in Python")]
    fn new(
        py: Python<'_>,
        rates: PyReadonlyArrayDyn<'_, f64>,
        brightness: Vec<f64>,
        start: Vec<f64>,
        frames: u32,
        key: u64,
        photons: &Bound<'_, PyAny>,
        law: Option<(String, f64, f64)>,
    ) -> PyResult<Self> {
        let chain = Chain::new(buffers::read("rates", &rates)?, &brightness, &start).map_err(to_python)?;
        let light = match law {
            Some(law) => Brightness::PerSojourn(photons.extract()?, photon_law(&law)?),
            None => Brightness::PerMolecule(buffers::read("photons", &buffers::borrow("photons", photons)?)?.to_vec()),
        };
        py.detach(|| simtiff_core::Blinking::new(chain, light, frames, key)).map(Self).map_err(to_python)
    }

    /// Advance all molecules to a frame; return the numbers of records and bright sojourns in the frames up to it.
    fn advance(&mut self, py: Python<'_>, frame: u32) -> PyResult<(usize, usize)> {
        let own = &mut self.0;
        let [records, sojourns] = pool::run(py, None, |stop| own.advance(frame, stop))?.map_err(to_python)?;
        Ok((records, sojourns))
    }

    /// Fill columns with the records of these frames, by frame, then by molecule; `places` (n, 3) of all molecules.
    #[allow(clippy::needless_pass_by_value, reason = "arrays come from Python by value")]
    fn records_into(
        &self,
        py: Python<'_>,
        places: PyReadonlyArrayDyn<'_, f32>,
        mut frame: PyReadwriteArrayDyn<'_, i32>,
        mut molecule: PyReadwriteArrayDyn<'_, i64>,
        mut photons: PyReadwriteArrayDyn<'_, f32>,
        mut xyz: PyReadwriteArrayDyn<'_, f32>,
    ) -> PyResult<()> {
        let (places, _) = buffers::read("places", &places)?.as_chunks();
        let mut out = RecordColumns {
            frame: buffers::write("frame", &mut frame)?,
            molecule: buffers::write("molecule", &mut molecule)?,
            photons: buffers::write("photons", &mut photons)?,
            xyz: buffers::write("xyz", &mut xyz)?.as_chunks_mut().0,
        };
        py.detach(|| self.0.records_into(places, &mut out)).map_err(to_python)
    }

    /// Fill columns with the bright sojourns that start in these frames, by frame, then by molecule, then by time.
    fn sojourns_into(
        &self,
        py: Python<'_>,
        mut molecule: PyReadwriteArrayDyn<'_, i64>,
        mut t0: PyReadwriteArrayDyn<'_, f64>,
        mut on_time: PyReadwriteArrayDyn<'_, f64>,
        mut state: PyReadwriteArrayDyn<'_, u8>,
        mut photons: PyReadwriteArrayDyn<'_, f32>,
    ) -> PyResult<()> {
        let mut out = SojournColumns {
            molecule: buffers::write("molecule", &mut molecule)?,
            t0: buffers::write("t0", &mut t0)?,
            on_time: buffers::write("on_time", &mut on_time)?,
            state: buffers::write("state", &mut state)?,
            photons: buffers::write("photons", &mut photons)?,
        };
        py.detach(|| self.0.sojourns_into(&mut out)).map_err(to_python)
    }
}
