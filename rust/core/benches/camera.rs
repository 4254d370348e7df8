//! Throughput of the camera on one core: flat backgrounds, without and with signal in every pixel.
//! `SIMTIFF_SIMD=avx2 cargo bench --bench camera` measures another instruction set.
#![allow(missing_docs, reason = "the functions that criterion's macros make have no documentation")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use simtiff_core::{Camera, Exposure, Stop};

const SIDE: usize = 1200;

/// A smooth positive image with the given mean, from almost nothing to twice the mean.
fn emitters(mean: f32) -> Vec<f32> {
    (0..SIDE * SIDE)
        .map(|i| {
            let (y, x) = ((i / SIDE) as f32, (i % SIDE) as f32);
            let wave = (0.31 * x).sin() * (0.27 * y).sin() + 0.5 * (0.043 * x + 0.061 * y).sin();
            mean * (1.0 + wave * 0.66)
        })
        .collect()
}

fn camera(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let Ok(pool) = pool else { return };
    let mut group = criterion.benchmark_group("camera");
    group.throughput(Throughput::Elements((SIDE * SIDE) as u64));
    let mut out = vec![0; SIDE * SIDE];
    let exposure = Exposure { seed: 1, first_frame: 0, height: SIDE, width: SIDE };
    for (name, image) in [("flat", vec![0.0; SIDE * SIDE]), ("emitters", emitters(25.0))] {
        for background in [0.0, 1.0, 100.0, 10_000.0] {
            let Ok(camera) = Camera::new(background, 10.0, true) else {
                return;
            };
            group.bench_function(format!("{name}/{background}"), |bencher| {
                pool.install(|| {
                    let stop = Stop::default();
                    bencher.iter(|| camera.expose(black_box(&image), exposure, &mut out, &stop));
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, camera);
criterion_main!(benches);
