//! The field of a freely rotating dipole behind sample, coverslip and objective: five components whose intensities add up.
//!
//! Sum over the three dipole axes j and the two image polarisations i of the fields with pupil `P a w_ij` (S. Stallinga & B. Rieger,
//! Opt. Express 18, 24461, 2010), with sin t = NA rho / n in each medium and azimuth phi:
//!
//! ```text
//! p = (cos t_s cos phi, cos t_s sin phi, -sin t_s),  s = (-sin phi, cos phi, 0)        t_s: angle in the sample
//! w_xj = cos phi T_p p_j - sin phi T_s s_j,          w_yj = sin phi T_p p_j + cos phi T_s s_j
//! a    = sqrt(cos t_i) / (n_s cos t_s)               T_p, T_s: Fresnel, sample -> coverslip times coverslip -> immersion
//! ```
//!
//! The six fields are combinations of `A = (T_p cos t_s + T_s) / 2`, `B = (T_p cos t_s - T_s) / 2` and `C = -T_p sin t_s`. Their
//! summed intensity equals that of five fields, each of which is even or odd in xi and in eta:
//! `sqrt2 A, sqrt2 B cos 2 phi, sqrt2 B sin 2 phi, C cos phi, C sin phi`.
//!
//! Above the critical angle `cos t_s` is `-i |cos t_s|`, and the amplitudes are complex.

use super::optics::Optics;
use super::zernike::Parity;

/// Components of the field, and their parities.
pub(super) const PARITIES: [Parity; 5] =
    [Parity::EvenEven, Parity::EvenEven, Parity::OddOdd, Parity::OddEven, Parity::EvenOdd];

/// Real and imaginary part.
type Complex = [f64; 2];

/// The amplitudes of the five components at a point of the pupil, without the emitter's own pupil function.
pub(super) fn amplitudes(optics: &Optics, xi: f64, eta: f64) -> [Complex; 5] {
    let rho2 = xi * xi + eta * eta;
    let [sample, coverslip, immersion] = optics.indices();
    // n cos t in each medium; in the sample also above the critical angle
    let axial = |index: f64| index * index - optics.na() * optics.na() * rho2;
    let (below, cover, outer) = (axial(sample), axial(coverslip).max(0.0).sqrt(), axial(immersion).max(0.0).sqrt());
    let inner = if below >= 0.0 { [below.sqrt(), 0.0] } else { [0.0, -(-below).sqrt()] };
    // Fresnel amplitudes times a; n_s cos t_s cancels, so there is no singularity at the critical angle
    let lens = (outer / immersion).sqrt();
    let second_s = 2.0 * cover / (cover + outer);
    let second_p =
        2.0 * cover * coverslip * immersion / (immersion * immersion * cover + coverslip * coverslip * outer);
    let along_s = over(2.0 * lens * second_s, [inner[0] + cover, inner[1]]);
    let along_p = over(
        2.0 * lens * second_p * sample * coverslip,
        [coverslip * coverslip * inner[0] + sample * sample * cover, coverslip * coverslip * inner[1]],
    );
    let cosine = inner.map(|part| part / sample);
    let tilted = [along_p[0] * cosine[0] - along_p[1] * cosine[1], along_p[0] * cosine[1] + along_p[1] * cosine[0]];
    let sine = optics.na() * rho2.sqrt() / sample;
    let half = |sign: f64| [0, 1].map(|i| 0.5 * (tilted[i] + sign * along_s[i]));
    let [a, b, c] = [half(1.0), half(-1.0), along_p.map(|part| -sine * part)];
    let (cos, sin) = if rho2 > 0.0 { (xi / rho2.sqrt(), eta / rho2.sqrt()) } else { (1.0, 0.0) };
    let root = std::f64::consts::SQRT_2;
    let times = |field: Complex, factor: f64| field.map(|part| factor * part);
    [
        times(a, root),
        times(b, root * (cos * cos - sin * sin)),
        times(b, root * 2.0 * sin * cos),
        times(c, cos),
        times(c, sin),
    ]
}

/// A real number divided by a complex one.
fn over(number: f64, [re, im]: Complex) -> Complex {
    let scale = number / (re * re + im * im);
    [scale * re, -scale * im]
}
