//! Any numbers and lengths give a result or an error: no panic, no abort, no endless loop, and no
//! NaN in results. `PROPTEST_CASES` sets the number of cases (`make fuzz` runs many).

use proptest::prelude::*;
use simtiff_core::{
    Camera, Defocus, Detector, Emitters, Exposure, Gaussian, MOST_MODES, Maps, Model, Optics, Psf, Records, Result,
    Sampling, Scene, Spec, Stop,
};

/// A number near `usual`, or any float.
fn wild(usual: std::ops::Range<f64>) -> impl Strategy<Value = f64> {
    let special = prop::sample::select(vec![
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        f64::MIN,
        1e-30,
        1e15,
        1e30,
        1e38,
        4e38,
        -1.0,
    ]);
    prop_oneof![40 => usual, 2 => special, 1 => any::<f64>(), 1 => -1e6..1e6f64]
}

fn wild32(usual: std::ops::Range<f64>) -> impl Strategy<Value = f32> {
    wild(usual).prop_map(|v| v as f32)
}

/// Usually a length that fits.
fn length(fitting: usize) -> impl Strategy<Value = usize> {
    prop_oneof![20 => Just(fitting), 1 => 0..2 * fitting + 3]
}

#[derive(Debug, Clone)]
struct Case {
    optics: [f64; 5],
    size: usize,
    modes: usize,
    /// Scalar with either defocus, vectorial in one medium and in several, Gaussian.
    model: usize,
    media: [f64; 3],
    blur_nm: f64,
    sampling: Sampling,
    xyz: Vec<[f64; 3]>,
    phase: Vec<f32>,
    magnitude: Option<Vec<f32>>,
}

impl Case {
    fn psf(&self) -> Result<Psf> {
        let [wavelength_nm, na, n, px, py] = self.optics;
        let mut optics = Optics::new(wavelength_nm, na, n, [px, py])?;
        let [sample, coverslip, depth] = self.media;
        let shape = Gaussian {
            sigma_nm: [sample * 100.0, coverslip * 100.0],
            depth_nm: (depth > 0.0).then_some(100.0 * depth),
            astigmatism_nm: self.blur_nm,
        };
        let (model, defocus) = match self.model {
            0 => (Model::Scalar, Defocus::Exact),
            1 => (Model::Scalar, Defocus::Paraxial),
            2 | 3 => (Model::Vectorial, Defocus::Exact),
            _ => (Model::Gaussian(shape), Defocus::Exact),
        };
        if self.model == 3 {
            optics = optics.with_sample(sample, coverslip, depth)?;
        }
        let blur_nm = [self.blur_nm, 0.5 * self.blur_nm];
        Psf::new(Spec {
            model,
            defocus,
            sampling: self.sampling,
            blur_nm,
            ..Spec::new(optics, self.size).with_modes(self.modes)
        })
    }

    fn emitters(&self) -> Emitters<'_> {
        Emitters { xyz: &self.xyz, phase: &self.phase, magnitude: self.magnitude.as_deref() }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let optics = [wild(400.0..800.0), wild(0.3..1.5), wild(1.3..1.6), wild(50.0..200.0), wild(50.0..200.0)];
    let media = [wild(1.3..1.45), wild(1.45..1.6), wild(0.0..3.0)];
    let blur = prop_oneof![Just(0.0), wild(0.0..300.0)];
    let optics = (optics, 0usize..5, media, blur);
    let size = prop_oneof![30 => (0usize..12).prop_map(|h| 2 * h + 1), 1 => 0usize..600, 1 => Just(usize::MAX)];
    let modes = prop_oneof![30 => 0usize..8, 1 => Just(36), 1 => Just(MOST_MODES), 1 => MOST_MODES..usize::MAX];
    let sampling = prop_oneof![
        4 => Just(Sampling::Integrated),
        1 => Just(Sampling::Point),
        1 => (0u32..5).prop_map(Sampling::Binned),
        1 => any::<u32>().prop_map(Sampling::Binned),
    ];
    (optics, size, modes, sampling, 0usize..4).prop_flat_map(
        |((optics, model, media, blur_nm), size, modes, sampling, count)| {
            let modes = if model == 4 && modes < MOST_MODES { 0 } else { modes };
            let fitting = count * modes.min(MOST_MODES);
            let low = if model == 3 { 0.0 } else { -1.0 };
            let position = (wild(-20.0..20.0), wild(-20.0..20.0), wild(low..1.0)).prop_map(<[f64; 3]>::from);
            let coefficients =
                |usual: f64| length(fitting).prop_flat_map(move |n| prop::collection::vec(wild32(-usual..usual), n));
            let numbers = (
                Just(optics),
                prop::collection::vec(position, count),
                coefficients(0.5),
                prop::option::of(coefficients(0.1)),
            );
            numbers.prop_map(move |(optics, xyz, phase, magnitude)| Case {
                optics,
                size,
                modes,
                model,
                media,
                blur_nm,
                sampling,
                xyz,
                phase,
                magnitude,
            })
        },
    )
}

proptest! {
    #[test]
    fn stamps_are_finite_or_an_error(case in cases(), extra in -1isize..40) {
        let Ok(psf) = case.psf() else { return Ok(()) };
        let fitting = case.xyz.len() * case.size * case.size;
        let len = if extra < 1 { fitting.saturating_add_signed(extra) } else { fitting };
        let mut out = vec![0.0; len];
        if psf.stamps(&case.emitters(), &mut out, &Stop::default()).is_ok() {
            prop_assert!(len == fitting);
            prop_assert!(out.iter().all(|v| v.is_finite() && *v >= 0.0), "{out:?}");
        }
    }

    #[test]
    fn gradients_and_bounds_are_numbers_or_an_error(
        case in cases(), modes in prop::collection::vec(0usize..9, 0..3), extra in -1isize..40,
        light in [wild(0.0..3e3), wild(0.0..100.0)], detector in [wild(0.1..1.0), wild(0.0..5.0), wild(0.0..9.0), wild(1.0..2.0)],
    ) {
        let Ok(psf) = case.psf() else { return Ok(()) };
        let (count, area) = (case.xyz.len(), case.size * case.size);
        let mut out = vec![0.0; (count * (4 + modes.len()) * area).saturating_add_signed(extra.min(0))];
        if psf.gradients(&case.emitters(), &modes, &mut out, &Stop::default()).is_ok() {
            prop_assert!(extra >= 0 || count == 0);
            prop_assert!(out.iter().all(|v| v.is_finite()), "{out:?}");
        }
        let [quantum_efficiency, dark_e, read_noise_e, excess_noise] = detector;
        let detector = Detector { quantum_efficiency, dark_e, read_noise_e, excess_noise, maps: Maps::default() };
        let (photons, background) = (vec![light[0]; count], vec![light[1]; count]);
        let mut bounds = vec![0.0; 5 * count];
        if psf.bounds(&case.emitters(), &photons, &background, &detector, &mut bounds, &Stop::default()).is_ok() {
            prop_assert!(bounds.iter().all(|v| *v >= 0.0), "{bounds:?}");
        }
        let records = Records {
            emitter: &(0..count as u32).collect::<Vec<_>>(),
            frame: &vec![0; count],
            photons: &vec![light[0] as f32; count],
        };
        let scene = Scene { emitters: case.emitters(), records, origin: [-2.0, 0.5], background: None };
        for joint in [false, true] {
            let done =
                psf.record_bounds(&scene, &[light[1]], [9, 14], &detector, joint, &mut bounds, &Stop::default()).is_ok();
            prop_assert!(!done || bounds.iter().all(|v| *v >= 0.0), "{bounds:?}");
        }
    }

    #[test]
    fn frames_are_numbers_or_an_error(
        case in cases(),
        records in prop::collection::vec((0u32..5, 0u32..4, wild32(0.0..1e4)), 0..12),
        lens in (length(0), length(0)),
        shape in prop_oneof![8 => (1usize..30, 1usize..30), 1 => (0usize..3, 0usize..3), 1 => any::<(usize, usize)>(),
            1 => Just((1 << 32, 1 << 32)), 1 => Just(((1 << 32) + 1, 1 << 32))],
        len in prop_oneof![8 => Just(None), 1 => (0usize..3000).prop_map(Some)],
        origin in wild(-3.0..3.0),
    ) {
        let Ok(psf) = case.psf() else { return Ok(()) };
        let emitter: Vec<u32> = records.iter().map(|r| r.0).collect();
        let mut frame: Vec<u32> = records.iter().map(|r| r.1).collect();
        let mut photons: Vec<f32> = records.iter().map(|r| r.2).collect();
        frame.resize(frame.len() + lens.0, 0);
        photons.resize(photons.len() + lens.1, 0.0);
        let area = shape.0.saturating_mul(shape.1);
        let mut out = vec![f32::NAN; len.unwrap_or(if area < 10_000 { 3 * area } else { 3 })];
        let records = Records { emitter: &emitter, frame: &frame, photons: &photons };
        let scene = Scene { emitters: case.emitters(), records, origin: [origin, 0.5], background: None };
        if psf.render(&scene, [shape.0, shape.1], &mut out, &Stop::default()).is_ok() {
            prop_assert!(out.iter().all(|v| *v >= 0.0), "{out:?}");
        }
    }

    #[test]
    fn counts_are_numbers_or_an_error(
        background in wild(0.0..300.0),
        read_noise_e in wild(0.0..20.0),
        shot_noise in any::<bool>(),
        image in prop::collection::vec(wild32(0.0..2000.0), 0..300),
        seed in any::<u64>(),
        first_frame in prop_oneof![4 => 0u64..100, 1 => any::<u64>()],
        shape in prop_oneof![4 => (Just(1usize), 1usize..20), 1 => (0usize..20, 0usize..20), 1 => any::<(usize, usize)>()],
        extra in prop_oneof![9 => Just(0usize), 1 => 0usize..3],
    ) {
        let Ok(camera) = Camera::new(background, read_noise_e, shot_noise) else { return Ok(()) };
        let exposure = Exposure { seed, first_frame, height: shape.0, width: shape.1 };
        let area = shape.0.saturating_mul(shape.1).max(1);
        let image = if image.len() >= area && extra == 0 { &image[..image.len() / area * area] } else { &image[..] };
        let mut counts = vec![0u16; image.len() + extra / 2];
        let done = camera.expose(image, exposure, &mut counts, &Stop::default());
        let mut electrons = vec![0f32; image.len() + extra / 2];
        prop_assert_eq!(done.is_ok(), camera.expose(image, exposure, &mut electrons, &Stop::default()).is_ok());
        if done.is_ok() {
            prop_assert!(electrons.iter().all(|v| v.is_finite()), "{electrons:?}");
        }
    }
}
