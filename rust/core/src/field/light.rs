//! Light that varies over field and time: Gaussian illumination and bleaching. Exponentials come from `libm`, in plain
//! arithmetic: bit-identical on every processor.

use std::f64::consts::LN_2;

use crate::{Error, Result};

/// Fills `out` with the relative intensity at positions (x, y) in pixels of a Gaussian beam with peak 1 at `centre`,
/// `exp(-4 ln 2 ((x / fwhm_x)^2 + (y / fwhm_y)^2))`.
///
/// `fwhm` is the full width at half maximum in pixels, along x and y, which differ if pixels are not square.
///
/// # Errors
/// [`Error::Length`] if `out` does not have one element per position, [`Error::Value`] for a width that is not above 0, or a
/// centre that is not finite.
pub fn beam(places: &[[f64; 2]], centre: [f64; 2], fwhm: [f64; 2], out: &mut [f64]) -> Result<()> {
    if out.len() != places.len() {
        return Err(Error::Length { name: "out", got: out.len(), expected: places.len() });
    }
    if let Some(width) = fwhm.iter().find(|width| !(width.is_finite() && **width > 0.0)) {
        return Err(Error::value("the width of a beam", width, "a finite number of pixels, above 0"));
    }
    if let Some(place) = centre.iter().find(|place| !place.is_finite()) {
        return Err(Error::value("the centre of a beam", place, "finite numbers"));
    }
    for (out, &[x, y]) in out.iter_mut().zip(places) {
        let [x, y] = [(x - centre[0]) / fwhm[0], (y - centre[1]) / fwhm[1]];
        *out = libm::exp(-4.0 * LN_2 * (x * x + y * y));
    }
    Ok(())
}

/// Multiplies the background factor of frame k by the remaining fraction after k frames of bleaching, `exp(-k / frames)`.
///
/// # Errors
/// [`Error::Value`] for a number of frames that is not above 0.
pub fn bleach(frames: f64, factor: &mut [f64]) -> Result<()> {
    if !(frames.is_finite() && frames > 0.0) {
        return Err(Error::value("the decay", frames, "a finite number of frames, above 0"));
    }
    for (k, factor) in factor.iter_mut().enumerate() {
        *factor *= libm::exp(-(k as f64) / frames);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_light_is_left_at_half_the_width() {
        let places = [[3.0, -2.0], [8.0, -2.0], [-2.0, -2.0], [3.0, 0.0], [13.0, -2.0], [8.0, 0.0]];
        let mut out = [0.0; 6];
        beam(&places, [3.0, -2.0], [10.0, 4.0], &mut out).unwrap();
        for (found, law) in out.iter().zip([1.0, 0.5, 0.5, 0.5, 0.0625, 0.25]) {
            assert!((found - law).abs() < 1e-14, "{found}, not {law}");
        }
    }

    #[test]
    fn a_background_bleaches_to_its_eth_part() {
        let mut factor = [2.0; 41];
        bleach(20.0, &mut factor).unwrap();
        assert_eq!(factor[0].to_bits(), 2.0_f64.to_bits());
        for (k, law) in [(20, 2.0 / std::f64::consts::E), (40, 2.0 / std::f64::consts::E.powi(2))] {
            assert!((factor[k] - law).abs() < 1e-15, "{k}: {}", factor[k]);
        }
        for frames in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(bleach(frames, &mut [1.0]).is_err(), "{frames}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ask = |centre, fwhm, out: &mut [f64]| beam(&[[0.0; 2]], centre, fwhm, out);
        assert!(ask([0.0; 2], [1.0; 2], &mut [0.0]).is_ok());
        assert!(ask([0.0; 2], [1.0; 2], &mut []).is_err());
        assert!(ask([f64::NAN, 0.0], [1.0; 2], &mut [0.0]).is_err());
        for width in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(ask([0.0; 2], [1.0, width], &mut [0.0]).is_err(), "{width}");
        }
    }
}
