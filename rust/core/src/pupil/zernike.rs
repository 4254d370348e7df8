//! Zernike polynomials in Noll's order (Noll, J. Opt. Soc. Am. 66, 207, 1976), RMS-normalised on the unit disk.
//!
//! `xi` runs along +x and `eta` along +y; m > 0 is the cosine mode, m < 0 the sine mode.

/// How a function on the pupil changes sign when `xi` or `eta` is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parity {
    /// Even in `xi`, even in `eta`.
    EvenEven,
    /// Odd in `xi`, even in `eta`.
    OddEven,
    /// Even in `xi`, odd in `eta`.
    EvenOdd,
    /// Odd in both.
    OddOdd,
}

impl Parity {
    /// All four, in the order used by the pupil's code.
    pub const ALL: [Self; 4] = [Self::EvenEven, Self::OddEven, Self::EvenOdd, Self::OddOdd];

    /// 2 if odd in `xi`, plus 1 if odd in `eta`: the parity of a product is the exclusive or of the parities.
    pub(crate) fn bits(self) -> usize {
        match self {
            Self::EvenEven => 0,
            Self::EvenOdd => 1,
            Self::OddEven => 2,
            Self::OddOdd => 3,
        }
    }
}

/// A Zernike mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zernike {
    n: u32,
    m: i32,
}

impl Zernike {
    /// The mode with a Noll index; the first is 1 (piston).
    ///
    /// # Panics
    /// If `noll` is 0, which is not a mode.
    #[must_use]
    pub fn from_noll(noll: u32) -> Self {
        assert!(noll > 0, "Noll indices start at 1");
        let mut n = 0;
        while (n + 1) * (n + 2) / 2 < noll {
            n += 1;
        }
        let place = noll - n * (n + 1) / 2; // 1..=n+1 within the radial order
        // Within an order |m| ascends: n even 0, 2, 2, 4, 4, ...; n odd 1, 1, 3, 3, ...
        let abs_m = if n % 2 == 0 { place / 2 * 2 } else { (place - 1) / 2 * 2 + 1 };
        let m = if noll.is_multiple_of(2) { abs_m as i32 } else { -(abs_m as i32) };
        Self { n, m }
    }

    /// Radial order n and signed azimuthal order m.
    #[must_use]
    pub fn order(self) -> (u32, i32) {
        (self.n, self.m)
    }

    /// The mode's symmetry.
    #[must_use]
    pub fn parity(self) -> Parity {
        match (self.m % 2 == 0, self.m >= 0) {
            (true, true) => Parity::EvenEven,
            (false, true) => Parity::OddEven,
            (false, false) => Parity::EvenOdd,
            (true, false) => Parity::OddOdd,
        }
    }

    /// The polynomial at a point of the unit disk; its mean square over the disk is 1.
    #[must_use]
    pub fn at(self, xi: f64, eta: f64) -> f64 {
        self.value_and_gradient(xi, eta)[0]
    }

    /// Value, d/dxi and d/deta.
    ///
    /// Z = norm * Q(rho^2) * Re or Im (xi + i eta)^|m| with Q a Jacobi polynomial P^(0, |m|), evaluated by its
    /// three-term recurrence: stable to any order, and smooth at the centre.
    #[must_use]
    pub fn value_and_gradient(self, xi: f64, eta: f64) -> [f64; 3] {
        let m = self.m.unsigned_abs();
        let norm = if m == 0 { f64::from(self.n + 1) } else { f64::from(2 * self.n + 2) }.sqrt();
        let (q, dq) = jacobi((self.n - m) / 2, f64::from(m), 2.0 * (xi * xi + eta * eta) - 1.0);
        // (xi + i eta)^(m-1) and ^m
        let (mut re1, mut im1, mut re, mut im) = (0.0, 0.0, 1.0, 0.0);
        for _ in 0..m {
            (re1, im1) = (re, im);
            (re, im) = (re * xi - im * eta, re * eta + im * xi);
        }
        let mf = f64::from(m);
        let (angular, by_xi, by_eta) = if self.m >= 0 { (re, mf * re1, -mf * im1) } else { (im, mf * im1, mf * re1) };
        // d Q / d xi = Q'(t) * 4 xi with t = 2 rho^2 - 1
        [
            norm * q * angular,
            norm * (4.0 * xi * dq * angular + q * by_xi),
            norm * (4.0 * eta * dq * angular + q * by_eta),
        ]
    }
}

/// Jacobi polynomial `P_k^(0, b)` and its derivative at t.
fn jacobi(k: u32, b: f64, t: f64) -> (f64, f64) {
    let (mut before, mut d_before) = (0.0, 0.0);
    let (mut now, mut d_now) = (1.0, 0.0);
    for i in 1..=k {
        let j = f64::from(i);
        let s = 2.0 * j + b;
        // 2 j (j+b) (s-2) P_j = (s-1) (s (s-2) t - b^2) P_{j-1} - 2 (j-1) (j-1+b) s P_{j-2}
        let (next, d_next) = if i == 1 {
            (t + 0.5 * b * (t - 1.0), 1.0 + 0.5 * b)
        } else {
            let lead = 2.0 * j * (j + b) * (s - 2.0);
            let slope = (s - 1.0) * s * (s - 2.0);
            let here = slope * t - (s - 1.0) * b * b;
            let back = 2.0 * (j - 1.0) * (j - 1.0 + b) * s;
            ((here * now - back * before) / lead, (here * d_now + slope * now - back * d_before) / lead)
        };
        (before, d_before, now, d_now) = (now, d_now, next, d_next);
    }
    (now, d_now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pupil::DiskQuadrature;

    #[test]
    fn first_modes_are_nolls_table() {
        let orders: Vec<_> = (1..=15).map(|j| Zernike::from_noll(j).order()).collect();
        let table = [
            (0, 0),
            (1, 1),
            (1, -1),
            (2, 0),
            (2, -2),
            (2, 2),
            (3, -1),
            (3, 1),
            (3, -3),
            (3, 3),
            (4, 0),
            (4, 2),
            (4, -2),
            (4, 4),
            (4, -4),
        ];
        assert_eq!(orders, table);
        let (x, y) = (0.3, -0.5);
        let r2: f64 = x * x + y * y;
        let close = |j: u32, expected: f64| {
            assert!((Zernike::from_noll(j).at(x, y) - expected).abs() < 1e-13, "Noll {j}");
        };
        close(2, 2.0 * x);
        close(3, 2.0 * y);
        close(4, 3f64.sqrt() * (2.0 * r2 - 1.0));
        close(5, 6f64.sqrt() * 2.0 * x * y);
        close(6, 6f64.sqrt() * (x * x - y * y));
        close(7, 8f64.sqrt() * (3.0 * r2 - 2.0) * y);
        close(8, 8f64.sqrt() * (3.0 * r2 - 2.0) * x);
        close(11, 5f64.sqrt() * (6.0 * r2 * r2 - 6.0 * r2 + 1.0));
    }

    #[test]
    fn modes_are_orthonormal_and_have_their_parity() {
        let nodes = DiskQuadrature::full(48, 48);
        let modes: Vec<_> = (1..=120).map(Zernike::from_noll).collect();
        let values: Vec<Vec<f64>> = modes.iter().map(|z| nodes.iter().map(|p| z.at(p.xi, p.eta)).collect()).collect();
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate().skip(i) {
                let dot: f64 = nodes.iter().zip(a).zip(b).map(|((p, a), b)| p.weight * a * b).sum();
                let expected = f64::from(u8::from(i == j));
                assert!((dot / std::f64::consts::PI - expected).abs() < 1e-10, "{i} {j} {dot}");
            }
        }
        for z in modes {
            let (sx, sy) = match z.parity() {
                Parity::EvenEven => (1.0, 1.0),
                Parity::OddEven => (-1.0, 1.0),
                Parity::EvenOdd => (1.0, -1.0),
                Parity::OddOdd => (-1.0, -1.0),
            };
            let v = z.at(0.31, 0.57);
            assert!((z.at(-0.31, 0.57) - sx * v).abs() < 1e-12);
            assert!((z.at(0.31, -0.57) - sy * v).abs() < 1e-12);
        }
    }

    #[test]
    fn gradients_are_the_slopes_of_the_values() {
        let h = 1e-6;
        for j in 1..=66 {
            let z = Zernike::from_noll(j);
            for (x, y) in [(0.0, 0.0), (0.4, -0.2), (-0.7, 0.6), (0.0, 1.0)] {
                let [_, dx, dy] = z.value_and_gradient(x, y);
                assert!(((z.at(x + h, y) - z.at(x - h, y)) / (2.0 * h) - dx).abs() < 1e-5, "{j}");
                assert!(((z.at(x, y + h) - z.at(x, y - h)) / (2.0 * h) - dy).abs() < 1e-5, "{j}");
            }
        }
    }
}
