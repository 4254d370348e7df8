//! The PSF from its formula: a converged sum over the whole pupil in f64, row by row, without symmetries.

use std::f64::consts::PI;

use simtiff_core::{Defocus, DiskQuadrature, Model, Optics, Spec, Zernike, gauss_legendre};

/// Rows, and nodes on the longest row, far more than any case needs.
const CONVERGED: [usize; 2] = [200, 200];

/// Refractive indices of sample and coverslip, and the nominal focal depth in the sample.
pub type Media = [f64; 3];

/// A complex number.
#[derive(Debug, Clone, Copy)]
struct Complex(f64, f64);

impl Complex {
    fn unit(angle: f64) -> Self {
        let (s, c) = angle.sin_cos();
        Self(c, s)
    }

    fn exp(self) -> Self {
        Self::unit(self.1).by(self.0.exp())
    }

    fn by(self, factor: f64) -> Self {
        Self(self.0 * factor, self.1 * factor)
    }

    fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0, self.1 + other.1)
    }

    fn times(self, other: Self) -> Self {
        Self(self.0 * other.0 - self.1 * other.1, self.0 * other.1 + self.1 * other.0)
    }

    fn over(self, other: Self) -> Self {
        self.times(Self(other.0, -other.1)).by(1.0 / other.power())
    }

    fn power(self) -> f64 {
        self.0 * self.0 + self.1 * self.1
    }
}

/// An emitter, its microscope and its stamp.
#[derive(Debug, Clone)]
pub struct Case {
    pub wavelength_nm: f64,
    pub na: f64,
    pub n_immersion: f64,
    pub pixel_nm: [f64; 2],
    pub defocus: Defocus,
    /// Vectorial parameters, if the model is vectorial.
    pub media: Option<Media>,
    pub size: usize,
    pub xyz: [f64; 3],
    pub phase: Vec<f64>,
    pub magnitude: Vec<f64>,
}

impl Case {
    pub fn optics(&self) -> Optics {
        let optics = Optics::new(self.wavelength_nm, self.na, self.n_immersion, self.pixel_nm).unwrap();
        let Some([sample, coverslip, depth]) = self.media else { return optics };
        optics.with_sample(sample, coverslip, depth).unwrap()
    }

    pub fn spec(&self) -> Spec {
        let model = if self.media.is_some() { Model::Vectorial } else { Model::Scalar };
        let plain = Spec::new(self.optics(), self.size).with_modes(self.phase.len());
        Spec { model, defocus: self.defocus, ..plain }
    }

    /// Rows of nodes of the whole disk, with eta and for each node xi and its weight; or, if there is evanescent light, rings on either
    /// side of the critical angle, in which each node is a row.
    fn rows(&self, [rows, nodes]: [usize; 2]) -> Vec<(f64, Vec<[f64; 2]>)> {
        let critical = self.media.map_or(2.0, |[sample, ..]| sample / self.na);
        if critical >= 1.0 {
            let quarter = DiskQuadrature::quarter(rows, nodes).rows;
            let both = quarter.iter().flat_map(|row| [(row.eta, row), (-row.eta, row)]);
            return both
                .map(|(eta, row)| (eta, row.nodes.iter().flat_map(|p| [[p.xi, p.weight], [-p.xi, p.weight]]).collect()))
                .collect();
        }
        // rho^2 = critical^2 -+ t^2, for which the square-root singularity is smooth
        let angles = 2 * nodes;
        let ring = |end: f64, sign: f64| {
            gauss_legendre(rows / 2).into_iter().flat_map(move |(u, w)| {
                let t = end * (u + 1.0) / 2.0;
                let rho = (critical * critical + sign * t * t).sqrt();
                let weight = w * end / 2.0 * t * 2.0 * PI / angles as f64;
                (0..angles).map(move |k| {
                    let (sin, cos) = (2.0 * PI * (k as f64 + 0.3) / angles as f64).sin_cos();
                    (rho * sin, vec![[rho * cos, weight]])
                })
            })
        };
        ring(critical, -1.0).chain(ring((1.0 - critical * critical).sqrt(), 1.0)).collect()
    }

    /// The six fields of a freely rotating dipole at a point of the pupil, with the phase and the decay due to its height.
    fn fields(&self, [sample, coverslip, depth]: Media, xi: f64, eta: f64) -> [Complex; 6] {
        let immersion = self.n_immersion;
        let (sine, azimuth) = (self.na * xi.hypot(eta), eta.atan2(xi));
        let cosine = |index: f64| {
            let square = 1.0 - (sine / index).powi(2);
            if square >= 0.0 { Complex(square.sqrt(), 0.0) } else { Complex(0.0, -(-square).sqrt()) }
        };
        let [below, cover, outer] = [sample, coverslip, immersion].map(cosine);
        let fresnel = |from: f64, cos_from: Complex, to: f64, cos_to: Complex| {
            let s = cos_from.by(2.0 * from).over(cos_from.by(from).plus(cos_to.by(to)));
            let p = cos_from.by(2.0 * from).over(cos_from.by(to).plus(cos_to.by(from)));
            [p, s]
        };
        let first = fresnel(sample, below, coverslip, cover);
        let second = fresnel(coverslip, cover, immersion, outer);
        let [t_p, t_s] = [first[0].times(second[0]), first[1].times(second[1])];
        let a = Complex(outer.0.sqrt(), 0.0).over(below.by(sample));
        let (sin, cos) = azimuth.sin_cos();
        let p = [below.by(cos), below.by(sin), Complex(-sine / sample, 0.0)];
        let s = [-sin, cos, 0.0];
        let k = 2000.0 * PI / self.wavelength_nm;
        // exp(i Phi_z), which a complex cosine turns into a decay
        let height = below.times(Complex(0.0, -k * sample * self.xyz[2])).exp();
        let focus = outer.times(Complex(0.0, k * immersion * depth)).exp();
        let all = a.times(height).times(focus);
        std::array::from_fn(|i| {
            let j = i % 3;
            let [along, across] = if i < 3 { [cos, -sin] } else { [sin, cos] };
            t_p.times(p[j]).by(along).plus(t_s.by(s[j] * across)).times(all)
        })
    }

    /// The pupil of each field at a point.
    fn pupils(&self, xi: f64, eta: f64) -> Vec<Complex> {
        let sum = |c: &[f64]| -> f64 { (1..).zip(c).map(|(noll, c)| c * Zernike::from_noll(noll).at(xi, eta)).sum() };
        let amplitude = (1.0 + sum(&self.magnitude)).max(0.0);
        let own = Complex::unit(sum(&self.phase)).by(amplitude);
        if let Some(media) = self.media {
            return self.fields(media, xi, eta).map(|field| own.times(field)).to_vec();
        }
        let rho2 = xi * xi + eta * eta;
        let defocus = match self.defocus {
            Defocus::Exact => {
                2.0 * PI / self.wavelength_nm
                    * (self.n_immersion - (self.n_immersion.powi(2) - self.na.powi(2) * rho2).sqrt())
            }
            Defocus::Paraxial => PI * self.na.powi(2) * rho2 / self.wavelength_nm,
        };
        vec![own.times(Complex::unit(defocus * self.xyz[2] * 1000.0))]
    }

    /// Point samples times the pixel area, on the grid of all given positions along x and y.
    fn samples(&self, xs: &[f64], ys: &[f64], rows_and_nodes: [usize; 2]) -> Vec<f64> {
        let k = 2.0 * PI * self.na / self.wavelength_nm;
        let mut energy = 0.0;
        let fields = if self.media.is_some() { 6 } else { 1 };
        let mut images = vec![vec![Complex(0.0, 0.0); xs.len() * ys.len()]; fields];
        for (eta, row) in self.rows(rows_and_nodes) {
            let mut lines = vec![vec![Complex(0.0, 0.0); xs.len()]; fields];
            for [xi, weight] in row {
                let pupils = self.pupils(xi, eta);
                energy += weight * pupils.iter().map(|pupil| pupil.power()).sum::<f64>();
                for (i, x) in xs.iter().enumerate() {
                    let across = Complex::unit(k * self.pixel_nm[0] * xi * (x - self.xyz[0])).by(weight);
                    for (line, pupil) in lines.iter_mut().zip(&pupils) {
                        line[i] = line[i].plus(pupil.times(across));
                    }
                }
            }
            for (y, image_row) in ys.iter().enumerate() {
                let down = Complex::unit(k * self.pixel_nm[1] * eta * (image_row - self.xyz[1]));
                for (line, image) in lines.iter().zip(&mut images) {
                    for (value, line) in image[y * xs.len()..][..xs.len()].iter_mut().zip(line) {
                        *value = value.plus(line.times(down));
                    }
                }
            }
        }
        let unit = (self.wavelength_nm / self.na).powi(2) * energy / (self.pixel_nm[0] * self.pixel_nm[1]);
        (0..xs.len() * ys.len()).map(|i| images.iter().map(|image| image[i].power()).sum::<f64>() / unit).collect()
    }

    pub fn point(&self) -> Vec<f64> {
        self.point_by(CONVERGED)
    }

    /// The same with a given number of rows, and nodes on the longest row, for emitters far out of focus.
    pub fn point_by(&self, rows_and_nodes: [usize; 2]) -> Vec<f64> {
        let half = (self.size / 2) as f64;
        let at: Vec<f64> = (0..self.size).map(|i| i as f64 - half).collect();
        self.samples(&at, &at, rows_and_nodes)
    }

    /// Each pixel integrated with 5 x 5 Gauss-Legendre points.
    pub fn integrated(&self) -> Vec<f64> {
        let half = (self.size / 2) as f64;
        let points = gauss_legendre(5);
        let fine: Vec<f64> =
            (0..self.size).flat_map(|i| points.iter().map(move |(u, _)| i as f64 - half + u / 2.0)).collect();
        let samples = self.samples(&fine, &fine, CONVERGED);
        let mut out = vec![0.0; self.size * self.size];
        for (j, row) in samples.chunks_exact(fine.len()).enumerate() {
            for (i, value) in row.iter().enumerate() {
                let weight = points[i % 5].1 * points[j % 5].1 / 4.0;
                out[(j / 5) * self.size + i / 5] += weight * value;
            }
        }
        out
    }
}
