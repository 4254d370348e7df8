//! Frames on one thread: adding precomputed stamps, and complete frames of emitters.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use simtiff_core::{Emitters, Optics, Psf, Records, Scene, Spec, Stop};

const SIDE: usize = 1200;
const MODES: usize = 21;

/// Uniform numbers in [0, 1), the same in every run.
fn numbers(count: usize) -> Vec<f64> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count).map(|_| next()).collect()
}

struct Crowd {
    psf: Psf,
    xyz: Vec<[f64; 3]>,
    phase: Vec<f32>,
}

impl Crowd {
    fn new(emitters: usize) -> Self {
        let optics = Optics::new(660.0, 1.4, 1.518, [100.0, 100.0]).unwrap();
        let psf = Psf::new(Spec::new(optics, 31).with_modes(MODES)).unwrap();
        let random = numbers(3 * emitters);
        let side = SIDE as f64;
        let xyz = random.as_chunks::<3>().0.iter().map(|p| [side * p[0], side * p[1], 2.0 * p[2] - 1.0]).collect();
        let coefficients = numbers(MODES * emitters);
        let phase = (0..).zip(coefficients).map(|(i, c)| if i % MODES < 3 { 0.0 } else { 0.5 * (c as f32 - 0.5) });
        Self { psf, xyz, phase: phase.collect() }
    }

    fn render(&self, records: Records<'_>, out: &mut [f32]) {
        let emitters = Emitters { xyz: &self.xyz, phase: &self.phase, magnitude: None };
        let scene = Scene { emitters, records, origin: [0.0; 2], background: None };
        self.psf.render(black_box(&scene), [SIDE, SIDE], out, &Stop::default()).unwrap();
    }
}

/// Records per second if each emitter has a record in every frame, so that the cost of its stamp is negligible.
fn splat(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (emitters, frames) = (2000u32, 20u32);
    let crowd = Crowd::new(emitters as usize);
    let frame: Vec<u32> = (0..frames).flat_map(|t| (0..emitters).map(move |_| t)).collect();
    let emitter: Vec<u32> = (0..frames).flat_map(|_| 0..emitters).collect();
    let photons = vec![1000.0; emitter.len()];
    let records = Records { emitter: &emitter, frame: &frame, photons: &photons };
    let mut out = vec![0.0; frames as usize * SIDE * SIDE];
    let mut group = c.benchmark_group("splat");
    group.throughput(Throughput::Elements(emitter.len() as u64));
    group.bench_function("2000 emitters in each of 20 frames", |b| {
        b.iter(|| pool.install(|| crowd.render(records, &mut out)));
    });
    group.finish();
}

/// Emitters per second in one frame.
fn render(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut group = c.benchmark_group("render");
    group.sample_size(20);
    for emitters in [1000u32, 20_000] {
        let crowd = Crowd::new(emitters as usize);
        let emitter: Vec<u32> = (0..emitters).collect();
        let (frame, photons) = (vec![0; emitter.len()], vec![1000.0; emitter.len()]);
        let records = Records { emitter: &emitter, frame: &frame, photons: &photons };
        let mut out = vec![0.0; SIDE * SIDE];
        group.throughput(Throughput::Elements(u64::from(emitters)));
        group.bench_function(format!("{emitters} emitters in one frame"), |b| {
            b.iter(|| pool.install(|| crowd.render(records, &mut out)));
        });
    }
    group.finish();
}

criterion_group!(benches, splat, render);
criterion_main!(benches);
