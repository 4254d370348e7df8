//! The wish to stop, for calls that take long.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Whether a call is to go on. Another thread may ask it to stop; the call looks after every few emitters, records or pixels,
/// and then ends with [`Error::Stopped`]: its output is written in part, and nothing else is left half done.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Asks the calls that have it to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// [`Error::Stopped`] if that was asked for.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }
}
