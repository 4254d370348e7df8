//! What differs over the field of view: maps of coefficients, with values anywhere between the pixels of a plane, and the
//! light of a beam and of what bleaches.
//!
//! Cubic interpolation is that of Unser, Aldroubi & Eden (IEEE Trans. Signal Process. 41, 821, 1993): the plane is filtered
//! once into coefficients of B-splines, whose sum then goes through every pixel's value and is smooth to the second derivative.
//! Planes are mirrored at their outer pixel centres. No operation is fused, so all instruction sets give the same bits.

mod interpolation;
mod light;
mod spline;

pub use interpolation::{Interpolation, interpolate};
pub use light::{beam, bleach};
pub use spline::spline_filter;
