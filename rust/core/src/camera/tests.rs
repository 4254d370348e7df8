#![allow(clippy::float_cmp, reason = "the same random words must give the same bits")]

use proptest::prelude::*;

use super::{Background, Camera, Exposure, Maps, Pixel, Register, Settings};
use crate::Stop;
use crate::error::Error;
use crate::simd::Level;

const FRAMES: usize = 7;
const HEIGHT: usize = 37;
const WIDTH: usize = 53;
const FRAME: usize = HEIGHT * WIDTH;

const EXPOSURE: Exposure = Exposure { seed: 0x5eed, first_frame: 3, height: HEIGHT, width: WIDTH };

/// All kinds of pixels: dark, faint, bright, too bright for the tables.
fn image() -> Vec<f32> {
    (0..FRAMES * FRAME)
        .map(|i| match i * i % 251 {
            0..100 => 0.0,
            k @ 100..240 => (k - 100) as f32 * 0.37,
            k => (k - 239) as f32 * 300.0,
        })
        .collect()
}

fn cameras() -> Vec<Camera> {
    let plain = [(0.0, 0.0, true), (0.0, 1.5, true), (100.0, 10.0, true), (2e5, 3.0, true), (12.3, 4.0, false)]
        .map(|(background, noise, shot)| Settings::plain(background, noise, shot));
    let counting = |background, read_noise_e| Settings {
        quantum_efficiency: 0.8,
        dark_e: 0.1,
        e_per_adu: 0.5,
        offset_adu: 100.25,
        bit_depth: 12,
        ..Settings::plain(background, read_noise_e, true)
    };
    let register = Some(Register { gain: 200.0, full_well_e: Some(3e5) });
    let multiplying = Settings { register, full_well_e: Some(1e4), e_per_adu: 12.0, ..counting(3.0, 50.0) };
    let map = |low: f32, step: f32| (0..FRAME).map(|i| low + step * (i % 37) as f32).collect();
    let maps = Maps {
        quantum_efficiency: map(0.3, 0.01),
        read_noise_e: map(1.0, 0.1),
        adu_per_e: map(2.0, 0.02),
        offset_adu: map(90.0, 0.7),
    };
    let some = Maps { offset_adu: map(90.0, 0.7), ..Maps::default() };
    let others = [
        counting(20.0, 2.0),
        multiplying,
        Settings { maps, ..counting(7.0, 1.0) },
        Settings { maps: some, ..counting(0.0, 0.0) },
    ];
    plain.into_iter().chain(others).map(|settings| Camera::of(settings).unwrap()).collect()
}

fn expose(camera: &Camera, image: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; image.len()];
    camera.expose(image, EXPOSURE, &mut out, &Stop::default()).unwrap();
    out
}

#[test]
fn cuts_do_not_change_pixels() {
    let image = image();
    for camera in cameras() {
        let whole = expose(&camera, &image);
        for frames in [1, 2, 3, 5] {
            let mut out = vec![0.0; image.len()];
            let calls = image.chunks(frames * FRAME).zip(out.chunks_mut(frames * FRAME));
            for (call, (image, out)) in calls.enumerate() {
                let first_frame = EXPOSURE.first_frame + (call * frames) as u64;
                let exposure = Exposure { first_frame, ..EXPOSURE };
                camera.expose(image, exposure, out, &Stop::default()).unwrap();
            }
            assert!(out == whole, "{camera:?} in calls of {frames}");
        }
    }
}

#[test]
fn threads_do_not_change_pixels() {
    let image = image().repeat(20);
    for camera in cameras() {
        let results = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| expose(&camera, &image))
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{camera:?}");
    }
}

#[test]
fn instruction_sets_with_fused_multiply_add_give_the_same_bits() {
    let image = image();
    let levels = [Level::Avx512, Level::Avx2, Level::Neon];
    let available: Vec<Level> = levels.into_iter().filter(|l| l.is_available()).collect();
    for camera in cameras() {
        let at = |level| {
            let mut out = vec![0f32; image.len()];
            camera.expose_at(level, &image, EXPOSURE, &mut out, &Stop::default()).unwrap();
            out
        };
        for pair in available.windows(2) {
            assert!(at(pair[0]) == at(pair[1]), "{camera:?}: {pair:?}");
        }
        // The baseline rounds differently: the electrons are the same, the read noise is equal to single precision.
        if let Some(&fused) = available.first() {
            for (a, b) in at(fused).into_iter().zip(at(Level::Scalar)) {
                assert!((a - b).abs() <= 2e-6 * (a.abs() + 10.0), "{camera:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn neighbours_do_not_change_a_pixel() {
    let image = image();
    for camera in cameras() {
        let before = expose(&camera, &image);
        let mut changed = image.clone();
        for (i, s) in changed.iter_mut().enumerate() {
            if i % 64 != 17 {
                *s = (i % 5) as f32 * 700.0;
            }
        }
        let after = expose(&camera, &changed);
        for i in (17..image.len()).step_by(64) {
            assert!(before[i] == after[i], "{camera:?}, pixel {i}");
        }
    }
}

/// Per pixel and frame, also where a block of pixels continues in the next frame.
#[test]
fn a_background_of_its_own_is_light_of_each_pixel() {
    let image = image();
    let own: Vec<f32> = (0..FRAME).map(|i| (i % 41) as f32 * 0.25).collect();
    let factor: Vec<f64> = (0..FRAMES).map(|t| t as f64 * 0.5).collect();
    let sum: Vec<f32> = image.iter().enumerate().map(|(i, s)| s + own[i % FRAME] * factor[i / FRAME] as f32).collect();
    let background = Background { image: &own, factor: &factor };
    for camera in cameras() {
        let mut out = vec![0f32; image.len()];
        let exposing = camera.exposing(EXPOSURE, Some(background), image.len()).unwrap();
        let first = EXPOSURE.first_pixel(image.len()).unwrap();
        for (part, cut) in [0..100, 100..2 * FRAME + 7, 2 * FRAME + 7..image.len()].into_iter().enumerate() {
            assert!(exposing.expose(first + cut.start as u64, &image[cut.clone()], &mut out[cut]), "part {part}");
        }
        assert!(out == expose(&camera, &sum), "{camera:?}");
    }
    // of all frames together
    let all: Vec<f32> = (0..FRAMES * FRAME).map(|i| own[i % FRAME] * factor[i / FRAME] as f32).collect();
    for camera in cameras() {
        let mut out = vec![0f32; image.len()];
        let background = Background { image: &all, factor: &[] };
        let exposing = camera.exposing(EXPOSURE, Some(background), image.len()).unwrap();
        assert!(exposing.expose(EXPOSURE.first_pixel(image.len()).unwrap(), &image, &mut out));
        assert!(out == expose(&camera, &sum), "{camera:?}");
    }
    let camera = Camera::new(1.0, 1.0, true).unwrap();
    let refused = |image: &[f32], factor: &[f64]| {
        camera
            .exposing(EXPOSURE, Some(Background { image, factor }), FRAMES * FRAME)
            .err()
            .map(|error| error.to_string())
    };
    assert!(refused(&own[1..], &factor).unwrap().starts_with("background has"));
    assert!(refused(&own, &factor[1..]).unwrap().starts_with("background_factor has"));
    for bad in [-1.0, 2e9, f32::NAN] {
        let mut own = own.clone();
        own[5] = bad;
        assert!(refused(&own, &[]).unwrap().starts_with("background is"));
    }
    assert!(refused(&own, &[-1.0; FRAMES]).is_some() && refused(&own, &[]).is_none());
}

#[test]
fn maps_may_be_of_each_frame() {
    let image = image();
    for camera in cameras() {
        let of_each = |map: &[f32]| map.repeat(FRAMES);
        let maps = &camera.settings().maps;
        let maps = Maps {
            quantum_efficiency: of_each(&maps.quantum_efficiency),
            read_noise_e: of_each(&maps.read_noise_e),
            adu_per_e: of_each(&maps.adu_per_e),
            offset_adu: of_each(&maps.offset_adu),
        };
        let other = Camera::of(Settings { maps, ..camera.settings().clone() }).unwrap();
        assert!(expose(&other, &image) == expose(&camera, &image), "{camera:?}");
    }
}

#[test]
fn maps_are_of_frames() {
    let maps = Maps { offset_adu: vec![1.0; FRAME + 1], ..Maps::default() };
    let camera = Camera::of(Settings { maps: maps.clone(), ..Settings::plain(1.0, 1.0, true) }).unwrap();
    let mut out = vec![0u16; FRAMES * FRAME];
    let error = camera.expose(&image(), EXPOSURE, &mut out, &Stop::default()).unwrap_err();
    assert!(matches!(error, Error::Length { name: "a map of the camera", .. }), "{error}");
    let maps = Maps { read_noise_e: vec![1.0; FRAME], ..maps };
    assert!(Camera::of(Settings { maps, ..Settings::plain(1.0, 1.0, true) }).is_err());
}

#[test]
fn counts_are_rounded_and_clipped() {
    let camera = Camera::new(0.0, 0.0, false).unwrap();
    let image = [0.0, 0.49, 0.5, 0.51, 1.5, 2.5, 65_534.4, 65_534.6, 65_535.4, 1e15];
    let exposure = Exposure { seed: 0, first_frame: 0, height: 1, width: 10 };
    let mut out = [7u16; 10];
    camera.expose(&image, exposure, &mut out, &Stop::default()).unwrap();
    assert_eq!(out, [0, 0, 0, 1, 2, 2, 65_534, 65_535, 65_535, 65_535]);
    assert_eq!(u16::from_adu(-3.0, 65535.0), 0);

    let noisy = Camera::new(100.0, 40.0, false).unwrap();
    let image = self::image();
    let mut counts = vec![0u16; image.len()];
    noisy.expose(&image, EXPOSURE, &mut counts, &Stop::default()).unwrap();
    for (count, electrons) in counts.into_iter().zip(expose(&noisy, &image)) {
        assert!(f32::from(count) == electrons.round_ties_even().clamp(0.0, 65_535.0));
    }
}

#[test]
fn bad_arguments_are_named() {
    for bad in [-1.0, 2e9, f64::NAN, f64::INFINITY] {
        assert!(matches!(Camera::new(bad, 1.0, true), Err(Error::Value { name: "background", .. })));
        assert!(matches!(Camera::new(1.0, bad, true), Err(Error::Value { name: "read_noise_e", .. })));
    }
    let plain = Settings::plain(1.0, 1.0, true);
    let register = |gain, full_well_e| Some(Register { gain, full_well_e });
    let wrong = [
        ("quantum_efficiency", Settings { quantum_efficiency: 0.0, ..plain.clone() }),
        ("dark_e", Settings { dark_e: -1.0, ..plain.clone() }),
        ("e_per_adu", Settings { e_per_adu: 0.0, ..plain.clone() }),
        ("offset_adu", Settings { offset_adu: f64::NAN, ..plain.clone() }),
        ("bit_depth", Settings { bit_depth: 17, ..plain.clone() }),
        ("full_well_e", Settings { full_well_e: Some(0.0), ..plain.clone() }),
        ("em_gain", Settings { register: register(0.5, None), ..plain.clone() }),
        ("register_full_well_e", Settings { register: register(2.0, Some(-1.0)), ..plain.clone() }),
    ];
    for (key, settings) in wrong {
        let error = Camera::of(settings).unwrap_err();
        assert!(matches!(error, Error::Value { name, .. } if name == key), "{error}");
    }
    let camera = Camera::new(1.0, 1.0, true).unwrap();
    let mut out = vec![0.0; FRAMES * FRAME];
    for bad in [-1e-3, 2e15, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut image = image();
        image[2 * FRAME + 5 * WIDTH + 7] = bad;
        image[6 * FRAME] = f32::NAN;
        let error = camera.expose(&image, EXPOSURE, &mut out, &Stop::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{bad} at frame 2, row 5, column 7")), "{text}");
    }
    let short = camera.expose(&image()[1..], EXPOSURE, &mut out, &Stop::default()).unwrap_err();
    assert!(matches!(short, Error::Length { name: "image", .. }));
    let short = camera.expose(&image(), EXPOSURE, &mut out[1..], &Stop::default()).unwrap_err();
    assert!(matches!(short, Error::Length { name: "out", .. }));
    let far = Exposure { first_frame: u64::MAX / 2, ..EXPOSURE };
    let far = camera.expose(&image(), far, &mut out, &Stop::default()).unwrap_err();
    assert!(matches!(far, Error::Value { name: "first_frame", .. }));
    let none = Exposure { width: 0, ..EXPOSURE };
    assert!(camera.expose::<f32>(&[], none, &mut [], &Stop::default()).is_ok());
}

/// Released pixel values: a change here alters every movie, and needs a new data version.
#[test]
fn pixels_stay_as_they_were() {
    let exposure = Exposure { seed: 2024, first_frame: 1_000_000, height: 2, width: 8 };
    let image = [0.0, 0.0, 0.0, 0.0, 0.2, 0.7, 1.5, 9.9, 31.0, 32.0, 63.5, 100.0, 500.0, 1023.0, 1024.0, 3e4];
    let frozen = |background, read_noise| {
        let camera = Camera::new(background, read_noise, true).unwrap();
        let mut out = [0; 16];
        camera.expose(&image, exposure, &mut out, &Stop::default()).unwrap();
        out
    };
    assert_eq!(frozen(0.0, 0.0), [0, 0, 0, 0, 0, 0, 2, 6, 30, 39, 76, 126, 502, 1049, 1012, 30165]);
    assert_eq!(frozen(100.0, 0.0), [98, 124, 99, 111, 119, 98, 99, 115, 138, 143, 166, 239, 614, 1156, 1132, 30274]);
    assert_eq!(frozen(100.0, 10.0), [116, 116, 95, 116, 87, 95, 75, 90, 125, 157, 161, 205, 618, 1152, 1119, 30267]);
    assert_eq!(
        frozen(1e4, 2.5),
        [9954, 10148, 9885, 9955, 9972, 9912, 9964, 9856, 9828, 10101, 9930, 10103, 10535, 10954, 10900, 40175]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_input_is_answered(
        background in prop_oneof![0.0..1e6, any::<f64>()],
        read_noise in prop_oneof![0.0..1e3, any::<f64>()],
        shot_noise: bool,
        seed: u64,
        first_frame in prop_oneof![0..1000u64, any::<u64>()],
        (height, width) in (0..9usize, 0..40usize),
        image in prop::collection::vec(
            prop_oneof![4 => 0.0..40f32, 2 => Just(0.0), 1 => 0.0..1e9f32, 1 => 0.0..1e15f32, 1 => any::<f32>()],
            0..900,
        ),
        whole: bool,
    ) {
        let frame = height * width;
        let len = if whole && frame > 0 { image.len() / frame * frame } else { image.len() };
        let image = &image[..len];
        let Ok(camera) = Camera::new(background, read_noise, shot_noise) else {
            let ok = (0.0..=1e9).contains(&background) && (0.0..=1e6).contains(&read_noise);
            prop_assert!(!ok);
            return Ok(());
        };
        let exposure = Exposure { seed, first_frame, height, width };
        let mut counts = vec![0u16; len];
        let mut electrons = vec![0f32; len];
        let result = camera.expose(image, exposure, &mut counts, &Stop::default());
        prop_assert_eq!(&camera.expose(image, exposure, &mut electrons, &Stop::default()), &result);
        let valid = image.iter().all(|s| (0.0..=1e15).contains(s));
        let fits = len == 0 || frame > 0 && len % frame == 0;
        if result.is_ok() {
            prop_assert!(valid && fits);
            prop_assert!(electrons.iter().all(|e| e.is_finite()));
        } else {
            prop_assert!(!(valid && fits) || first_frame > 1 << 50);
        }
    }
}
