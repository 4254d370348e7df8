//! Poisson variates, exact for every mean from 0 to 2e9, one block of pixels at a time.
//!
//! The sum of Poisson variates is a Poisson variate whose mean is the sum of the means. So a pixel is the sum of
//! independent draws that are each cheap:
//! - the flat background, from one alias table for its exact mean ([`BackgroundTable`]); if counts are rounded, the same
//!   table includes the read noise, since rounding photons plus noise gives photons plus rounded noise;
//! - the signal `s = 32 a + m + f` with whole `a` and `m < 32`, and `f` in [0, 1): two alias tables out of two
//!   fixed sets, and a short inversion for `f` ([`Signal`]);
//! - if a mean is too large for tables, one draw by rejection ([`rejection`]).
//!
//! The method for a pixel depends only on the camera and on its own signal, so its value does not depend on its
//! neighbours; whole blocks skip steps that none of their pixels needs.
mod rejection;
mod signal;
mod table;

#[cfg(test)]
pub(crate) use rejection::log_probability;
pub(crate) use rejection::poisson_by_rejection;
pub(crate) use signal::{Signal, TABLE_LIMIT};

use crate::noise::random::{BLOCK, Stream};

/// Maximum number of columns of a background's table.
const COLUMNS: usize = 8192;

/// The largest mean whose table fits into [`COLUMNS`].
pub(crate) const BACKGROUND_LIMIT: f64 = 1e5;

/// The alias table of the flat background, or of background plus read noise, rounded.
#[derive(Debug, Clone)]
pub(crate) struct BackgroundTable {
    /// The first `mask + 1` entries are the table; the fixed length avoids a bounds check per draw.
    entries: Box<[u64; COLUMNS]>,
    mask: u64,
    first: i32,
}

impl BackgroundTable {
    /// The table for a mean of at most [`BACKGROUND_LIMIT`].
    pub(crate) fn new(mean: f64) -> Option<Self> {
        let (first, probabilities) = table::probabilities(mean);
        Self::of(first as i64, &probabilities)
    }

    /// The table for `scale (background + normal noise) + offset`, rounded, with a whole `scale`; `None` if it
    /// would be too wide.
    pub(crate) fn with_noise(mean: f64, sigma: f64, scale: u32, offset: f64) -> Option<Self> {
        // The table extends at least 9 standard deviations to both sides, and further if few photons have a long tail.
        if mean > BACKGROUND_LIMIT || 18.0 * f64::from(scale) * (mean + sigma * sigma).sqrt() > COLUMNS as f64 {
            return None;
        }
        let (first, probabilities) = table::rounded_probabilities(mean, sigma, scale, offset);
        Self::of(first, &probabilities)
    }

    fn of(first: i64, probabilities: &[f64]) -> Option<Self> {
        let mut entries = table::alias_entries(probabilities);
        if entries.len() > COLUMNS {
            return None;
        }
        let mask = entries.len() as u64 - 1;
        entries.resize(COLUMNS, 0);
        Some(Self { entries: entries.into_boxed_slice().try_into().ok()?, mask, first: first as i32 })
    }

    /// Sets `counts` to draws for the pixels `index..index + BLOCK`; with noise they can be negative, in two's complement.
    #[inline(always)]
    pub(crate) fn draw(&self, stream: Stream, index: u64, counts: &mut [u32; BLOCK]) {
        let mut words = [0; BLOCK];
        stream.fill(index, &mut words);
        // Copies, so that the compiler knows that they are constant, and vectorises the draws.
        let (entries, mask, first) = (&*self.entries, self.mask, self.first as u32);
        let mut drawn = [0u32; BLOCK];
        for l in 0..BLOCK {
            let column = words[l] & mask;
            let entry = entries[column as usize % COLUMNS];
            drawn[l] = first.wrapping_add(table::outcome(entry, column, words[l]) as u32);
        }
        *counts = drawn;
    }
}
