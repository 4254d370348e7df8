//! The PSF as the formula says it: a converged sum over the whole pupil in f64, row by row, nothing folded.

use std::f64::consts::PI;

use simtiff_core::{Defocus, DiskQuadrature, Optics, Zernike, gauss_legendre};

/// Rows, and nodes on the longest row, far beyond what any case needs.
const CONVERGED: [usize; 2] = [200, 200];

/// An emitter, its microscope and its stamp.
#[derive(Debug, Clone)]
pub struct Case {
    pub wavelength_nm: f64,
    pub na: f64,
    pub n_immersion: f64,
    pub pixel_nm: [f64; 2],
    pub defocus: Defocus,
    pub size: usize,
    pub xyz: [f64; 3],
    pub phase: Vec<f64>,
    pub magnitude: Vec<f64>,
}

impl Case {
    pub fn optics(&self) -> Optics {
        Optics::new(self.wavelength_nm, self.na, self.n_immersion, self.pixel_nm).unwrap()
    }

    /// Point samples times the pixel area, on the grid of all given positions along x and y.
    fn samples(&self, xs: &[f64], ys: &[f64], [rows, nodes]: [usize; 2]) -> Vec<f64> {
        let k = 2.0 * PI * self.na / self.wavelength_nm;
        let mut energy = 0.0;
        let mut image = vec![(0.0, 0.0); xs.len() * ys.len()];
        for row in DiskQuadrature::quarter(rows, nodes).rows {
            for sign in [1.0, -1.0] {
                let eta = sign * row.eta;
                let mut line = vec![(0.0, 0.0); xs.len()];
                for (xi, weight) in row.nodes.iter().flat_map(|p| [(p.xi, p.weight), (-p.xi, p.weight)]) {
                    let rho2 = xi * xi + eta * eta;
                    let sum = |c: &[f64]| -> f64 {
                        (1..).zip(c).map(|(noll, c)| c * Zernike::from_noll(noll).at(xi, eta)).sum()
                    };
                    let z_nm = self.xyz[2] * 1000.0;
                    let defocus = match self.defocus {
                        Defocus::Exact => {
                            2.0 * PI / self.wavelength_nm
                                * (self.n_immersion - (self.n_immersion.powi(2) - self.na.powi(2) * rho2).sqrt())
                        }
                        Defocus::Paraxial => PI * self.na.powi(2) * rho2 / self.wavelength_nm,
                    };
                    let amplitude = (1.0 + sum(&self.magnitude)).max(0.0);
                    let phase = sum(&self.phase) + defocus * z_nm;
                    energy += weight * amplitude * amplitude;
                    for (value, x) in line.iter_mut().zip(xs) {
                        let (s, c) = (phase + k * self.pixel_nm[0] * xi * (x - self.xyz[0])).sin_cos();
                        *value = (value.0 + weight * amplitude * c, value.1 + weight * amplitude * s);
                    }
                }
                for (y, out) in ys.iter().zip(image.chunks_exact_mut(xs.len())) {
                    let (s, c) = (k * self.pixel_nm[1] * eta * (y - self.xyz[1])).sin_cos();
                    for (out, line) in out.iter_mut().zip(&line) {
                        *out = (out.0 + line.0 * c - line.1 * s, out.1 + line.0 * s + line.1 * c);
                    }
                }
            }
        }
        let unit = (self.wavelength_nm / self.na).powi(2) * energy / (self.pixel_nm[0] * self.pixel_nm[1]);
        image.into_iter().map(|(re, im)| (re * re + im * im) / unit).collect()
    }

    pub fn point(&self) -> Vec<f64> {
        self.point_by(CONVERGED)
    }

    /// The same by so many rows, and nodes on the longest row, for emitters far out of focus.
    pub fn point_by(&self, rows_and_nodes: [usize; 2]) -> Vec<f64> {
        let half = (self.size / 2) as f64;
        let at: Vec<f64> = (0..self.size).map(|i| i as f64 - half).collect();
        self.samples(&at, &at, rows_and_nodes)
    }

    /// Each pixel integrated by 5 x 5 Gauss-Legendre points.
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
