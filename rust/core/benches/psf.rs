//! Stamps per second on one thread.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use simtiff_core::{Emitters, Optics, Psf, Sampling, Spec, Stop};

const EMITTERS: usize = 2048;

/// Uniform numbers in [-1, 1], the same in every run.
fn numbers(count: usize) -> Vec<f64> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn psf(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let optics = Optics::new(660.0, 1.4, 1.518, [100.0, 100.0]).unwrap();
    let mut group = c.benchmark_group("psf");
    group.throughput(Throughput::Elements(EMITTERS as u64));
    let run = |group: &mut criterion::BenchmarkGroup<_>, name, size, modes, sampling, magnitude: bool| {
        let psf = Psf::new(Spec { sampling, ..Spec::new(optics, size).with_modes(modes) }).unwrap();
        let random = numbers(EMITTERS * (3 + modes));
        let (xyz, phase) = random.split_at(3 * EMITTERS);
        // anywhere in a pixel, within a micrometre of focus, about 60 milliwaves rms or less per mode above tilt
        let xyz: Vec<_> = xyz.as_chunks::<3>().0.iter().map(|p| [0.5 * p[0], 0.5 * p[1], p[2]]).collect();
        let phase: Vec<_> =
            phase.iter().enumerate().map(|(i, c)| if i % modes < 3 { 0.0 } else { (0.25 * c) as f32 }).collect();
        let small: Vec<_> = phase.iter().map(|c| 0.1 * c).collect();
        let emitters = Emitters { xyz: &xyz, phase: &phase, magnitude: magnitude.then_some(&small) };
        let mut out = vec![0.0; EMITTERS * size * size];
        group.bench_function(BenchmarkId::new(name, format!("{size}px-{modes}modes")), |b| {
            let stop = Stop::default();
            b.iter(|| pool.install(|| psf.stamps(black_box(&emitters), &mut out, &stop).unwrap()));
        });
    };
    for size in [15, 31, 51] {
        for modes in [0, 21, 66] {
            run(&mut group, "integrated", size, modes, Sampling::Integrated, false);
        }
    }
    run(&mut group, "point", 31, 21, Sampling::Point, false);
    run(&mut group, "magnitude", 31, 21, Sampling::Integrated, true);
    group.finish();
}

criterion_group!(benches, psf);
criterion_main!(benches);
