//! Stamps and their derivatives with respect to position and Zernike coefficients.

use pulp::Simd;

use super::{Geometry, Intensity, Light, Plan, Scratch, image, image_len};
use crate::pupil::{component, derivative, fill_pupil};

/// A batch of emitters, one per lane, for stamps with derivatives.
pub(crate) struct GradientBatch<'a, 'b> {
    pub plan: &'a Plan,
    pub geometry: &'a Geometry,
    /// `[term][lane]`; unused lanes are zero.
    pub phase: &'a [f32],
    /// `[mode][lane]`, if any emitter has amplitude coefficients.
    pub magnitude: Option<&'a [f32]>,
    /// Zernike modes, counted from 0, for which derivatives are computed.
    pub modes: &'a [usize],
    /// For each used lane the stamp, its derivatives with respect to x, y and z, and to the modes, `size * size` each.
    pub out: &'a mut [&'b mut [f32]],
    pub scratch: &'a mut Scratch,
}

impl pulp::WithSimd for GradientBatch<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, geometry: g, phase, magnitude, modes, out, scratch } = self;
        let basis = &plan.basis;
        let (nodes, components) = (plan.nodes(), basis.components());
        let (nx, ny) = (g.x.half.len(), g.y.half.len());
        let length = 8 * nx * plan.rows.len();
        let sizes =
            [8 * nodes, 8 * nodes, 8 * nodes, components * length, components * length, components * 8 * nx * ny];
        let whole = sizes.iter().sum::<usize>() + image_len(g.size, [nx, ny]);
        let (mut memory, _) = S::as_mut_simd_f32s(scratch.aligned(S::F32_LANES * whole));
        let [pupil, derived, weighted, along, derived_along, fields] = sizes.map(|size| {
            let (part, rest) = std::mem::take(&mut memory).split_at_mut(size);
            memory = rest;
            part
        });
        let [pupil, derived, weighted] = [pupil, derived, weighted].map(|parts| parts.as_chunks_mut::<8>().0);
        // the field of the stamp at the four mirror images of each sample
        let fields = fields.as_chunks_mut::<2>().0.as_chunks_mut::<4>().0;
        let energy = fill_pupil(simd, basis, phase, magnitude, pupil);
        let scale = simd.mul_f32s(simd.splat_f32s(g.pixel_area), energy.inverse);

        for (c, along) in along.chunks_exact_mut(length).enumerate() {
            plan.along_xi(simd, component(simd, basis, c, pupil, weighted), along);
        }
        // as for a stamp without derivatives: errors of the weights can be negative
        image(simd, plan, g, along, memory, &mut Kept { fields }, out, 0, |sum| {
            simd.mul_f32s(scale, simd.max_f32s(sum, simd.splat_f32s(0.0)))
        });

        let twice = simd.add_f32s(scale, scale);
        // half of the relative loss of light with z, as the following is doubled
        let lost = simd.mul_f32s(energy.slope, simd.splat_f32s(-0.5));
        let [x, y, z] = basis.position();
        for (place, term) in [x, y, z].into_iter().chain(modes.iter().copied()).enumerate() {
            if term != y {
                derivative(simd, basis, term, pupil, derived);
            }
            for (c, out) in derived_along.chunks_exact_mut(length).enumerate() {
                if term == y {
                    plan.tilted(simd, &along[c * length..][..length], out);
                } else {
                    plan.along_xi(simd, component(simd, basis, c, derived, weighted), out);
                }
            }
            let lost = (term == z && basis.decays()).then_some(lost);
            let start = (1 + place) * g.size * g.size;
            image(simd, plan, g, derived_along, memory, &mut Slope { fields, lost }, out, start, |sum| {
                simd.mul_f32s(twice, sum)
            });
        }
    }
}

/// A field at the four mirror images of a sample.
type Mirrored<V> = [[V; 2]; 4];

/// The intensity for a stored field, `[component][sample]`.
struct Kept<'a, V> {
    fields: &'a mut [Mirrored<V>],
}

impl<S: Simd> Light<S> for Kept<'_, S::f32s> {
    #[inline(always)]
    fn of(&mut self, simd: S, place: usize, field: Mirrored<S::f32s>) -> [S::f32s; 4] {
        self.fields[place] = field;
        Intensity.of(simd, place, field)
    }
}

/// Half the derivative of an intensity, from that of the field.
struct Slope<'a, V> {
    fields: &'a [Mirrored<V>],
    /// Additional part of the field's derivative, as a fraction of the field.
    lost: Option<V>,
}

impl<S: Simd> Light<S> for Slope<'_, S::f32s> {
    #[inline(always)]
    fn of(&mut self, simd: S, place: usize, slopes: Mirrored<S::f32s>) -> [S::f32s; 4] {
        let mut sums = [simd.splat_f32s(0.0); 4];
        for ((sum, [mut by_re, mut by_im]), [re, im]) in sums.iter_mut().zip(slopes).zip(self.fields[place]) {
            if let Some(lost) = self.lost {
                by_re = simd.mul_add_e_f32s(lost, re, by_re);
                by_im = simd.mul_add_e_f32s(lost, im, by_im);
            }
            *sum = simd.mul_add_e_f32s(re, by_re, simd.mul_f32s(im, by_im));
        }
        sums
    }
}
