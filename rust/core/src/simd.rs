//! Selects the instruction set at run time.
//!
//! The hot loops of this crate are plain loops over fixed-size arrays. [`dispatch`] compiles such a loop
//! once per instruction set and runs the version for the current CPU, so that one binary built for generic
//! x86-64 uses AVX-512 if available. AVX-512, AVX2 and NEON all have fused multiply-add and
//! are bit-identical if a loop uses [`mul_add`] and fixed-order sums; [`Level::Scalar`] (the build's baseline)
//! rounds twice instead, because software fused multiply-add is a hundred times slower.
use once_cell::race::OnceBox;

/// An instruction set for which the hot loops are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// x86-64 with AVX-512 F, BW, CD, DQ and VL.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// 64-bit ARM with NEON.
    Neon,
    /// The instruction set that the crate was built for.
    Scalar,
}

impl Level {
    /// The best level of this CPU.
    fn detect() -> Self {
        [Self::Avx512, Self::Avx2, Self::Neon].into_iter().find(|level| level.is_available()).unwrap_or(Self::Scalar)
    }

    /// Whether this CPU supports the level.
    pub(crate) fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::try_new().is_some(),
            Self::Scalar => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
}

/// The level of the hot loops: the best one of this CPU, or the one set in the environment variable
/// `SIMTIFF_SIMD` (`avx512`, `avx2`, `neon` or `scalar`), if the CPU supports it. Read once per process.
#[must_use]
pub fn level() -> Level {
    static LEVEL: OnceBox<Level> = OnceBox::new();
    *LEVEL.get_or_init(|| {
        let asked = match std::env::var("SIMTIFF_SIMD").as_deref() {
            Ok("avx512") => Some(Level::Avx512),
            Ok("avx2") => Some(Level::Avx2),
            Ok("neon") => Some(Level::Neon),
            Ok("scalar") => Some(Level::Scalar),
            _ => None,
        };
        Box::new(asked.filter(|level| level.is_available()).unwrap_or_else(Level::detect))
    })
}

/// Runs `op` compiled for the process's [`level`].
#[inline]
pub(crate) fn dispatch<Op: pulp::WithSimd>(op: Op) -> Op::Output {
    dispatch_at(level(), op)
}

/// Runs `op` compiled for `level`, or for the baseline if the CPU does not support it.
#[inline]
pub(crate) fn dispatch_at<Op: pulp::WithSimd>(level: Level, op: Op) -> Op::Output {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            if let Some(simd) = pulp::x86::V4::try_new() {
                return pulp::Simd::vectorize(simd, op);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            if let Some(simd) = pulp::x86::V3::try_new() {
                return pulp::Simd::vectorize(simd, op);
            }
        }
        #[cfg(target_arch = "aarch64")]
        Level::Neon => {
            if let Some(simd) = pulp::aarch64::Neon::try_new() {
                return pulp::Simd::vectorize(simd, op);
            }
        }
        _ => {}
    }
    op.with_simd(pulp::Scalar)
}

/// `a * b + c`, fused if the instruction set of `S` supports it.
#[inline(always)]
pub(crate) fn mul_add<S: pulp::Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::IS_SCALAR { a * b + c } else { a.mul_add(b, c) }
}
