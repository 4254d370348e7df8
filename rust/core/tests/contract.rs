//! The contract of all PSF models.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use simtiff_core::{
    Detector, Emitters, Error, Gaussian, Maps, Model, Optics, Psf, Records, Sampling, Scene, Spec, Stop,
};

const SIZE: usize = 21;
const AREA: usize = SIZE * SIZE;

/// A model, an emitter, and coefficients if it has a pupil.
#[derive(Debug, Clone)]
struct Case {
    spec: Spec,
    xyz: [f64; 3],
    phase: Vec<f32>,
    magnitude: Vec<f32>,
}

impl Case {
    fn stamp(&self) -> Vec<f32> {
        let mut out = vec![0.0; AREA];
        Psf::new(self.spec).unwrap().stamps(&self.emitters(), &mut out, &Stop::default()).unwrap();
        out
    }

    fn gradients(&self, modes: &[usize]) -> Vec<f32> {
        let mut out = vec![0.0; (4 + modes.len()) * AREA];
        Psf::new(self.spec).unwrap().gradients(&self.emitters(), modes, &mut out, &Stop::default()).unwrap();
        out
    }

    fn emitters(&self) -> Emitters<'_> {
        Emitters { xyz: std::slice::from_ref(&self.xyz), phase: &self.phase, magnitude: Some(&self.magnitude) }
    }

    /// The emitter with its x, y, z or a coefficient changed.
    fn moved(&self, parameter: usize, by: f64) -> Self {
        let mut moved = self.clone();
        match parameter {
            0..3 => moved.xyz[parameter] += by,
            mode => moved.phase[mode - 3] += by as f32,
        }
        moved
    }
}

fn models() -> impl Strategy<Value = Case> {
    let optics = (520.0..700.0f64, 1.0..1.3f64, 80.0..130.0f64, 0.8..1.2f64);
    let emitter = [-0.5..0.5f64, -0.5..0.5f64, 0.1..0.6f64];
    let blur = prop_oneof![Just(0.0), 20.0..80.0f64];
    let sampling = prop_oneof![Just(Sampling::Integrated), Just(Sampling::Point), Just(Sampling::Binned(3))];
    let coefficients = prop::collection::vec(-0.4..0.4f32, 11);
    (0usize..4, optics, emitter, blur, sampling, coefficients).prop_map(
        |(model, (wavelength, na, px, ratio), xyz, blur, sampling, phase)| {
            let na = if model == 2 { na + 0.18 } else { na }; // above the refractive index of water: evanescent light
            let optics = Optics::new(wavelength, na, 1.518, [px, px * ratio]).unwrap();
            let optics = if model == 2 { optics.with_sample(1.33, 1.52, 0.4).unwrap() } else { optics };
            let shape = Gaussian { sigma_nm: [130.0, 150.0], depth_nm: Some(400.0), astigmatism_nm: 150.0 };
            let plain = Spec::new(optics, SIZE);
            let (model, modes) = match model {
                0 => (Model::Scalar, 11),
                1 | 2 => (Model::Vectorial, 11),
                _ => (Model::Gaussian(shape), 0),
            };
            let phase = phase[..modes].to_vec();
            let magnitude = phase.iter().map(|c| 0.1 * c).collect();
            let spec = Spec { model, sampling, blur_nm: [blur, 1.3 * blur], ..plain.with_modes(modes) };
            Case { spec, xyz, phase, magnitude }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    /// A stamp has at most one photon, and no negative pixels.
    #[test]
    fn a_stamp_is_a_part_of_the_light(case in models()) {
        let stamp = case.stamp();
        let sum: f32 = stamp.iter().sum();
        prop_assert!((0.5..1.01).contains(&sum), "{sum}");
        prop_assert!(stamp.iter().all(|v| *v >= 0.0));
    }

    /// The derivatives agree with differences of stamps, and the stamp with one computed without derivatives.
    #[test]
    fn gradients_are_differences_of_stamps(case in models()) {
        let modes: &[usize] = if case.spec.modes > 0 { &[4, 7, 10] } else { &[] };
        let planes = case.gradients(modes);
        prop_assert!(planes[..AREA] == case.stamp()[..] || matches!(case.spec.model, Model::Vectorial));
        let parameters = (0..3).chain(modes.iter().map(|mode| 3 + mode));
        for (plane, parameter) in planes[AREA..].chunks_exact(AREA).zip(parameters) {
            // Richardson extrapolation of central differences, with f32 errors of about 1e-4
            let step = if parameter == 2 { 0.02 } else { 0.04 };
            let ahead = |by: f64| (case.moved(parameter, by).stamp(), case.moved(parameter, -by).stamp());
            let ((a, b), (c, d)) = (ahead(step), ahead(2.0 * step));
            let exact: Vec<f64> = (0..AREA)
                .map(|i| {
                    let near = f64::from(a[i] - b[i]) / (2.0 * step);
                    let far = f64::from(c[i] - d[i]) / (4.0 * step);
                    (4.0 * near - far) / 3.0
                })
                .collect();
            let peak = exact.iter().fold(0f64, |peak, v| peak.max(v.abs()));
            let worst = plane.iter().zip(&exact).map(|(&p, e)| (f64::from(p) - e).abs()).fold(0.0, f64::max);
            prop_assert!(worst < 2e-3 * peak + 2e-5, "parameter {parameter}: {worst:.1e} of {peak:.1e}");
        }
    }

    /// More photons, less background and a better camera never make a bound worse.
    #[test]
    fn bounds_are_ordered(case in models(), photons in 300.0..3000.0f64, background in 1.0..50.0f64) {
        let psf = Psf::new(case.spec).unwrap();
        let bound = |photons: f64, background: f64, read_noise_e: f64| {
            let detector = Detector { quantum_efficiency: 0.9, dark_e: 0.1, read_noise_e, excess_noise: 1.0, maps: Maps::default() };
            let mut out = [0.0; 5];
            psf.bounds(&case.emitters(), &[photons], &[background], &detector, &mut out, &Stop::default()).unwrap();
            out
        };
        let usual = bound(photons, background, 2.0);
        for (better, count) in [
            (bound(2.0 * photons, background, 2.0), 3),
            (bound(photons, 0.5 * background, 2.0), 5),
            (bound(photons, background, 0.0), 5),
        ] {
            prop_assert!(usual.iter().zip(better).take(count).all(|(u, b)| b <= u * 1.0001), "{usual:?} {better:?}");
        }
    }

    /// A frame with a single emitter is its stamp, shifted; and its record has the bound of the stamp.
    #[test]
    fn frames_and_records_have_the_stamp(case in models()) {
        let psf = Psf::new(case.spec).unwrap();
        let place = [15.0, 14.0];
        let xyz = [[case.xyz[0] + place[0], case.xyz[1] + place[1], case.xyz[2]]];
        let emitters = Emitters { xyz: &xyz, ..case.emitters() };
        let records = Records { emitter: &[0], frame: &[0], photons: &[700.0] };
        let scene = Scene { emitters, records, origin: [0.0; 2], background: None };
        let mut frame = vec![0.0; 30 * 31];
        psf.render(&scene, [30, 31], &mut frame, &Stop::default()).unwrap();
        // the stamp of an emitter at half a pixel is centred on the next one
        let [cx, cy] = [0, 1].map(|i| (xyz[0][i] + 0.5).floor());
        let own = Case { xyz: [xyz[0][0] - cx, xyz[0][1] - cy, case.xyz[2]], ..case.clone() };
        for (i, value) in own.stamp().into_iter().enumerate() {
            let (row, column) = (cy as usize + i / SIZE - SIZE / 2, cx as usize + i % SIZE - SIZE / 2);
            prop_assert_eq!(frame[row * 31 + column].to_bits(), (700.0 * value).to_bits());
        }
        let detector = Detector { quantum_efficiency: 1.0, dark_e: 0.0, read_noise_e: 1.0, excess_noise: 1.0, maps: Maps::default() };
        let (mut alone, mut within) = ([0.0; 5], [0.0; 5]);
        psf.bounds(&own.emitters(), &[700.0], &[9.0], &detector, &mut alone, &Stop::default()).unwrap();
        for joint in [false, true] {
            psf.record_bounds(&scene, &[9.0], [30, 31], &detector, joint, &mut within, &Stop::default()).unwrap();
            prop_assert_eq!(alone.map(f64::to_bits), within.map(f64::to_bits));
        }
    }
}

#[test]
fn settings_of_another_model_are_refused() {
    let optics = Optics::new(660.0, 1.4, 1.518, [100.0; 2]).unwrap();
    let shape = Gaussian { sigma_nm: [130.0; 2], depth_nm: None, astigmatism_nm: 100.0 };
    for (spec, name) in [
        (
            Spec { defocus: simtiff_core::Defocus::Paraxial, model: Model::Vectorial, ..Spec::new(optics, 21) },
            "defocus",
        ),
        (Spec { model: Model::Gaussian(shape), ..Spec::new(optics, 21) }, "depth_nm"),
        (Spec { blur_nm: [600.0, 0.0], ..Spec::new(optics, 21) }, "blur_nm"),
    ] {
        let error = Psf::new(spec).unwrap_err();
        assert!(matches!(&error, Error::Value { name: found, .. } if *found == name), "{error}");
    }
    for (sample, coverslip, name) in [(1.33, 1.39, "NA"), (f64::NAN, 1.52, "n_sample"), (1.33, 0.0, "n_coverslip")] {
        let error = optics.with_sample(sample, coverslip, 0.0).unwrap_err();
        assert!(matches!(&error, Error::Value { name: found, .. } if *found == name), "{error}");
    }
    // inside the coverslip
    let mismatch = Spec { model: Model::Vectorial, ..Spec::new(optics.with_sample(1.33, 1.52, 0.5).unwrap(), 21) };
    let emitters = Emitters { xyz: &[[0.0, 0.0, -0.1]], phase: &[], magnitude: None };
    let error = Psf::new(mismatch).unwrap().stamps(&emitters, &mut [0.0; AREA], &Stop::default()).unwrap_err();
    assert!(matches!(error, Error::Value { name: "z", .. }), "{error}");
    // a mode that has no coefficient
    let plain = Psf::new(Spec::new(optics, 21)).unwrap();
    let emitters = Emitters { xyz: &[[0.0; 3]], phase: &[], magnitude: None };
    assert!(plain.gradients(&emitters, &[0], &mut [0.0; 5 * AREA], &Stop::default()).is_err());
}
