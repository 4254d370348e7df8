//! The only module that creates random generators.
//!
//! Every random word is `SplitMix64`: a Weyl sequence with the golden-ratio increment, whose terms are
//! scrambled by a bijective 64-bit mix (Steele, Lea & Flood, "Fast splittable pseudorandom number
//! generators", OOPSLA 2014; the mix is Stafford's variant 13; it passes `BigCrush` and `PractRand`).
//! Because term `i` of the sequence is computed from `i` alone, a [`Stream`] is used as a table of random
//! words addressed by the pixel's linear index in the whole movie: no state is carried from pixel to
//! pixel, and the words do not depend on how frames are divided into calls or threads.
//!
//! Within a stream the states of different indices differ, so no two pixels share a word. Streams
//! of different seeds and purposes start at unrelated points of the one cycle of length 2^64; two of them
//! with `n` words each overlap with probability about `n / 2^63`.
/// Pixels that are drawn together: enough to fill vectors, few enough to stay in the first-level cache.
pub(crate) const BLOCK: usize = 64;

/// The Weyl increment: the odd integer nearest to 2^64 / golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The bijective scrambling of a state into an output word.
#[inline(always)]
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The purpose of a stream's words. Each purpose has its own stream, so switching off one effect
/// of the camera does not change the draws of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Shot noise of the flat background.
    Background = 1,
    /// Shot noise of the signal's whole photons, in steps of the coarse tables.
    SignalCoarse = 2,
    /// Shot noise of the signal's whole photons, below a step of the coarse tables.
    SignalFine = 3,
    /// Shot noise of the signal's fraction of a photon.
    SignalFraction = 4,
    /// Gaussian read noise.
    ReadNoise = 5,
    /// Draws that need an unknown number of words, each from a separate generator.
    Rejection = 6,
    /// Background and read noise in one draw.
    Rounded = 7,
    /// Normal variates for the gain of the EM register.
    GammaNormal = 8,
    /// Uniform numbers for accepting these.
    GammaUniform = 9,
    /// The gain of pixels where they are rejected, each from a separate generator.
    GammaRejection = 10,
    /// Sojourns of blinking molecules, each molecule with a separate generator.
    Blinking = 16,
    /// The nodes of a smooth random field.
    Field = 32,
}

/// A sequence of random words, addressed by index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    start: u64,
}

impl Stream {
    /// The stream of a seed for one purpose.
    pub(crate) const fn new(seed: u64, purpose: Purpose) -> Self {
        // Mix the seed before adding the purpose: seeds that differ by a multiple of GAMMA must not coincide.
        let key = mix(seed.wrapping_add(GAMMA));
        Self { start: mix(key.wrapping_add((purpose as u64).wrapping_mul(GAMMA))) }
    }

    /// Word `index`.
    #[inline(always)]
    pub(crate) const fn word(self, index: u64) -> u64 {
        mix(self.start.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA)))
    }

    /// Fills `words` with the words from `first` on. Writes to the caller's array, which saves a copy.
    #[inline(always)]
    pub(crate) fn fill<const N: usize>(self, first: u64, words: &mut [u64; N]) {
        let base = self.start.wrapping_add(first.wrapping_add(1).wrapping_mul(GAMMA));
        for (i, word) in words.iter_mut().enumerate() {
            *word = mix(base.wrapping_add((i as u64).wrapping_mul(GAMMA)));
        }
    }

    /// A separate stream for `index`, such as a row of nodes.
    pub(crate) const fn part(self, index: u64) -> Self {
        Self { start: self.word(index) }
    }

    /// A separate sequential generator for `index`.
    pub(crate) const fn generator(self, index: u64) -> Generator {
        Generator { state: self.word(index) }
    }
}

/// Sequential `SplitMix64`.
#[derive(Debug, Clone)]
pub(crate) struct Generator {
    state: u64,
}

impl Generator {
    /// A separate generator for each pair of numbers.
    pub(crate) const fn of_pair(first: f64, second: f64) -> Self {
        Self { state: mix(mix(first.to_bits().wrapping_add(GAMMA)).wrapping_add(second.to_bits())) }
    }

    /// The next word.
    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number in [0, 1), a multiple of 2^-53.
    pub(crate) const fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

/// A number in [0, 1), a multiple of 2^-52, from the high bits of a word: no conversion of a 64-bit
/// integer, which AVX2 does not have.
#[inline(always)]
pub(super) const fn unit_interval(word: u64) -> f64 {
    f64::from_bits(0x3ff0_0000_0000_0000 | (word >> 12)) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_matches_the_published_sequence() {
        // The first outputs of SplitMix64 with seed 1234567 (the reference C code of Vigna).
        let mut generator = Generator { state: 1_234_567 };
        let words: Vec<u64> = (0..3).map(|_| generator.next_u64()).collect();
        assert_eq!(words, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn words_are_addressed_by_index() {
        let stream = Stream::new(7, Purpose::Background);
        let mut block = [0; 5];
        stream.fill(u64::MAX - 1, &mut block);
        for (i, word) in block.into_iter().enumerate() {
            assert_eq!(word, stream.word((u64::MAX - 1).wrapping_add(i as u64)));
        }
    }

    #[test]
    fn seeds_and_purposes_share_no_words() {
        use std::collections::HashSet;
        let purposes = [
            Purpose::Background,
            Purpose::SignalCoarse,
            Purpose::SignalFine,
            Purpose::SignalFraction,
            Purpose::ReadNoise,
            Purpose::Rejection,
            Purpose::Rounded,
            Purpose::GammaNormal,
            Purpose::GammaUniform,
            Purpose::GammaRejection,
            Purpose::Field,
            Purpose::Blinking,
        ];
        let mut seen = HashSet::new();
        for seed in [0, 1, 2, GAMMA, GAMMA.wrapping_neg(), u64::MAX] {
            for purpose in purposes {
                let mut words = [0; 64];
                Stream::new(seed, purpose).fill(0, &mut words);
                for word in words {
                    assert!(seen.insert(word), "seed {seed}, {purpose:?}");
                }
            }
        }
    }
}
