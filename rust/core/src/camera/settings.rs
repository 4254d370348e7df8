//! The settings of a camera: parameters of its stages, uniform or per pixel, and their limits.

use crate::{Error, Result};

/// The largest background, and the largest signal whose Poisson number is drawn exactly, in photons.
pub(super) const MAX_PHOTONS: f64 = 1e9;

/// The stages of a camera in the order of the signal; see the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Expected background photons per pixel.
    pub background: f64,
    /// Whether electrons are drawn from a Poisson distribution; otherwise the mean is used.
    pub shot_noise: bool,
    /// Electrons per photon.
    pub quantum_efficiency: f64,
    /// Mean electrons per pixel and frame without light: dark current and clock-induced charge.
    pub dark_e: f64,
    /// Full-well capacity of a pixel, in electrons.
    pub full_well_e: Option<f64>,
    /// The electron-multiplying register.
    pub register: Option<Register>,
    /// Standard deviation of the read noise, in electrons at the output amplifier.
    pub read_noise_e: f64,
    /// Electrons per count.
    pub e_per_adu: f64,
    /// Offset in counts.
    pub offset_adu: f64,
    /// Bit depth: counts are clipped at 2^bits - 1.
    pub bit_depth: u32,
    /// Per-pixel calibration maps.
    pub maps: Maps,
}

/// An electron-multiplying (EM) register.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Register {
    /// Mean gain.
    pub gain: f64,
    /// Full-well capacity of the register, in electrons.
    pub full_well_e: Option<f64>,
}

/// One value per pixel of a frame, `[y][x]`, or of all exposed frames, `[t][y][x]`, which replaces that of [`Settings`]; an empty
/// map is not used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Maps {
    /// Electrons per photon.
    pub quantum_efficiency: Vec<f32>,
    /// Standard deviation of the read noise, in electrons.
    pub read_noise_e: Vec<f32>,
    /// Counts per electron.
    pub adu_per_e: Vec<f32>,
    /// Offset in counts.
    pub offset_adu: Vec<f32>,
}

impl Settings {
    /// A camera that counts electrons, one per photon: 16 bits, no offset.
    #[must_use]
    pub fn plain(background: f64, read_noise_e: f64, shot_noise: bool) -> Self {
        Self {
            background,
            shot_noise,
            quantum_efficiency: 1.0,
            dark_e: 0.0,
            full_well_e: None,
            register: None,
            read_noise_e,
            e_per_adu: 1.0,
            offset_adu: 0.0,
            bit_depth: 16,
            maps: Maps::default(),
        }
    }

    /// # Errors
    /// [`Error::Value`] if a number is out of range; [`Error::Length`] if maps have different numbers of pixels.
    pub(super) fn check(&self) -> Result<()> {
        within("background", self.background, 0.0..=MAX_PHOTONS, "a number from 0 to 1e9")?;
        within("read_noise_e", self.read_noise_e, READ_NOISE_E, "a number from 0 to 1e6")?;
        within("dark_e", self.dark_e, 0.0..=1e6, "a number from 0 to 1e6")?;
        within("e_per_adu", self.e_per_adu, 1e-6..=1e6, "a number from 1e-6 to 1e6")?;
        within("offset_adu", self.offset_adu, OFFSET_ADU, "a number from -1e6 to 1e6")?;
        let efficiency = self.quantum_efficiency;
        above_zero("quantum_efficiency", efficiency, 1.0, "a number above 0, at most 1")?;
        let register_full = self.register.and_then(|register| register.full_well_e);
        for (name, full) in [("full_well_e", self.full_well_e), ("register_full_well_e", register_full)] {
            if let Some(full) = full {
                within(name, full, 1.0..=1e12, "a number from 1 to 1e12")?;
            }
        }
        if let Some(register) = self.register {
            within("em_gain", register.gain, 1.0..=1e5, "a number from 1 to 1e5")?;
        }
        if !(8..=16).contains(&self.bit_depth) {
            return Err(Error::value("bit_depth", self.bit_depth, "a number from 8 to 16"));
        }
        self.maps.check()
    }
}

const READ_NOISE_E: std::ops::RangeInclusive<f64> = 0.0..=1e6;
const OFFSET_ADU: std::ops::RangeInclusive<f64> = -1e6..=1e6;

fn within(name: &'static str, got: f64, range: std::ops::RangeInclusive<f64>, expected: &'static str) -> Result<()> {
    if range.contains(&got) { Ok(()) } else { Err(Error::value(name, got, expected)) }
}

fn above_zero(name: &'static str, got: f64, most: f64, expected: &'static str) -> Result<()> {
    if got > 0.0 && got <= most { Ok(()) } else { Err(Error::value(name, got, expected)) }
}

impl Maps {
    /// Number of pixels of the maps, 0 if there are none.
    pub(crate) fn pixels(&self) -> usize {
        self.all().into_iter().map(<[f32]>::len).max().unwrap_or(0)
    }

    fn all(&self) -> [&[f32]; 4] {
        [&self.quantum_efficiency, &self.read_noise_e, &self.adu_per_e, &self.offset_adu]
    }

    pub(crate) fn check(&self) -> Result<()> {
        let expected = self.pixels();
        if let Some(other) = self.all().into_iter().find(|map| !map.is_empty() && map.len() != expected) {
            return Err(Error::Length { name: "a map of the camera", got: other.len(), expected });
        }
        for &value in &self.quantum_efficiency {
            // A dead pixel may have a QE of 0.
            within("quantum_efficiency of a pixel", value.into(), 0.0..=1.0, "a number from 0 to 1")?;
        }
        for &value in &self.read_noise_e {
            within("read noise of a pixel", value.into(), READ_NOISE_E, "a number from 0 to 1e6")?;
        }
        for &value in &self.adu_per_e {
            above_zero("gain of a pixel", value.into(), 1e6, "a number of ADU per electron above 0, at most 1e6")?;
        }
        for &value in &self.offset_adu {
            within("offset of a pixel", value.into(), OFFSET_ADU, "a number from -1e6 to 1e6")?;
        }
        Ok(())
    }
}
