//! Stamps against the formula, summed in f64.

mod naive;

use naive::Case;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use simtiff_core::{Defocus, Emitters, Psf, Sampling, Spec, Stop};

fn stamp(case: &Case, sampling: Sampling) -> Vec<f32> {
    let psf = Psf::new(Spec { sampling, ..case.spec() }).unwrap();
    let phase: Vec<f32> = case.phase.iter().map(|&c| c as f32).collect();
    let magnitude: Vec<f32> = case.magnitude.iter().map(|&c| c as f32).collect();
    let emitters = Emitters { xyz: &[case.xyz], phase: &phase, magnitude: Some(&magnitude) };
    let mut out = vec![0.0; case.size * case.size];
    psf.stamps(&emitters, &mut out, &Stop::default()).unwrap();
    out
}

/// Largest error as a fraction of the peak.
fn error(stamp: &[f32], exact: &[f64]) -> f64 {
    let peak = exact.iter().copied().fold(0.0, f64::max);
    let worst = stamp.iter().zip(exact).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
    worst / peak
}

/// Realistic microscopes and emitters, up to two micrometres of defocus and a radian of aberration.
fn cases() -> impl Strategy<Value = Case> {
    let optics = (500.0..720.0f64, 0.6..1.47f64, 60.0..170.0f64, 0.8..1.2f64);
    let emitter = (-0.5..0.5f64, -0.5..0.5f64, -1.5..1.5f64, any::<bool>());
    let modes = prop_oneof![Just(0usize), Just(4), Just(21), Just(36)];
    let sizes = prop_oneof![Just(7usize), Just(15), Just(31), Just(51)];
    let coefficients = (prop::collection::vec(-1.0..1.0f64, 72), 0.0..0.45f64, 0.0..0.06f64);
    (optics, emitter, modes, sizes, coefficients).prop_map(
        |((wavelength_nm, na, px, ratio), (x, y, z, paraxial), modes, size, (c, phase, magnitude))| Case {
            wavelength_nm,
            na,
            n_immersion: 1.518,
            pixel_nm: [px, px * ratio],
            defocus: if paraxial { Defocus::Paraxial } else { Defocus::Exact },
            media: None,
            size,
            xyz: [x, y, z],
            phase: (0..modes).map(|j| c[j] * phase).collect(),
            magnitude: (0..modes).map(|j| c[36 + j] * magnitude).collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pixels_are_integrals_of_the_formula(case in cases()) {
        let error = error(&stamp(&case, Sampling::Integrated), &case.integrated());
        prop_assert!(error < 5e-4, "{error:.1e} of the peak");
    }

    /// Some pixels have almost no light: in the dark rings of an emitter in focus.
    #[test]
    fn no_pixel_is_negative(case in cases(), z in -0.2..0.2f64) {
        let case = Case { xyz: [case.xyz[0], case.xyz[1], z], phase: vec![], magnitude: vec![], ..case };
        prop_assert!(stamp(&case, Sampling::Integrated).iter().all(|&v| v >= 0.0));
    }

    #[test]
    fn point_samples_are_the_formula(case in cases()) {
        let error = error(&stamp(&case, Sampling::Point), &case.point());
        prop_assert!(error < 3e-4, "{error:.1e} of the peak");
    }
}

/// The maximum defocus of a config, plus aberrations, which need more rows.
#[test]
fn far_out_of_focus_and_aberrated() {
    let mut phase = vec![0.0; 11];
    (phase[5], phase[7], phase[10]) = (6.0, -4.0, 8.0);
    let case = Case {
        wavelength_nm: 660.0,
        na: 1.4,
        n_immersion: 1.518,
        pixel_nm: [101.0, 98.0],
        defocus: Defocus::Exact,
        media: None,
        size: 5,
        xyz: [0.3, -0.2, 42.0],
        phase,
        magnitude: vec![0.0; 11],
    };
    let error = error(&stamp(&case, Sampling::Point), &case.point_by([1100, 1100]));
    assert!(error < 5e-4, "{error:.1e} of the peak");
}

/// The same emitters with the vectorial model: in immersion, water or gel, up to ten micrometres deep, in or near focus.
fn vectorial_cases() -> impl Strategy<Value = Case> {
    let media = prop_oneof![
        2 => Just([1.518, 1.518]),
        3 => (1.33..1.41f64, 1.50..1.53f64).prop_map(|(sample, coverslip)| [sample, coverslip]),
    ];
    let depth = prop_oneof![0.0..1.0f64, 1.0..10.0f64];
    (cases(), media, depth, -0.7..0.7f64).prop_map(|(case, [sample, coverslip], depth, from_focus)| {
        let matched = sample > 1.5;
        let z = if matched { from_focus } else { (depth + from_focus).max(0.0) };
        // approximate position of best focus
        let focus = if matched { 0.0 } else { depth * case.n_immersion / sample };
        Case {
            defocus: Defocus::Exact,
            media: Some([sample, coverslip, focus]),
            xyz: [case.xyz[0], case.xyz[1], z],
            size: case.size.min(15),
            ..case
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    /// 5e-4 of the peak, 1e-3 with a mismatch, 2e-3 with evanescent light.
    #[test]
    fn vectorial_samples_are_the_formula(case in vectorial_cases()) {
        let [sample, ..] = case.media.unwrap();
        let allowed = if sample < case.na { 2e-3 } else if sample < case.n_immersion { 1e-3 } else { 5e-4 };
        let error = error(&stamp(&case, Sampling::Point), &case.point_by([140, 140]));
        prop_assert!(error < allowed, "{error:.1e} of the peak");
    }
}

/// Five pupils far from focus, in oil and deep in water, against a much finer quadrature.
#[test]
fn far_from_focus_and_deep_in_water() {
    let plain = Case {
        wavelength_nm: 660.0,
        na: 1.4,
        n_immersion: 1.518,
        pixel_nm: [101.0, 98.0],
        defocus: Defocus::Exact,
        media: None,
        size: 7,
        xyz: [0.3, -0.2, 0.0],
        phase: vec![0.0; 11],
        magnitude: vec![0.0; 11],
    };
    for (na, sample, z, depth) in [
        (1.4, 1.518, 6.0, 0.0),
        (1.4, 1.518, 0.0, 8.0),
        (1.3, 1.33, 10.0, 10.5),
        (1.3, 1.33, 10.0, 0.0),
        (1.49, 1.33, 10.0, 12.0),
        (1.49, 1.33, 0.0, 3.0),
        (1.45, 1.38, 2.0, 0.0),
    ] {
        let case = Case { na, media: Some([sample, 1.52, depth]), xyz: [0.3, -0.2, z], ..plain.clone() };
        let error = error(&stamp(&case, Sampling::Point), &case.point_by([300, 200]));
        assert!(error < 2e-3, "NA {na}, n {sample}, z {z}, focus {depth}: {error:.1e} of the peak");
    }
}
