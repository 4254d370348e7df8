//! Quantities that vary over the field of view: maps of coefficients, interpolated between the pixels of a plane; Gaussian
//! illumination, and bleaching.
//!
//! Cubic interpolation as in Unser, Aldroubi & Eden (IEEE Trans. Signal Process. 41, 821, 1993): a plane is filtered
//! once into B-spline coefficients; the sum of B-splines then reproduces every pixel value and has continuous second derivatives.
//! Planes are mirrored at their outermost pixel centres. No operation is fused, so all instruction sets are bit-identical.

mod interpolation;
mod light;
mod spline;

pub use interpolation::{Interpolation, interpolate};
pub use light::{beam, bleach};
pub use spline::spline_filter;
