//! Blinking molecules: their blinks (sojourns in bright states), and their photons in each frame.
//!
//! ```text
//! chain         the states, and the rates between them
//! Blinking      many molecules, each with an independent random stream, advanced from frame to frame
//! ```
//!
//! All molecules are advanced through a slab of frames together, but each draws from its own stream, one sojourn after another. So
//! results do not depend on how the frames are divided into slabs. Between slabs, a molecule keeps its state, the end of its
//! sojourn and its position in the stream. Its photons in a frame are the sum over its sojourns, weighted by their exact overlap.

mod chain;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

pub use chain::{Chain, MOST_STATES};

use crate::noise::{Generator, PhotonLaw, Purpose, Stream};
use crate::{Error, Result, Stop};

/// Molecules per task of a thread.
const TOGETHER: usize = 4096;

/// Photons per frame of molecules in a state of brightness 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Brightness {
    /// One number per molecule, constant over the movie.
    PerMolecule(Vec<f32>),
    /// Drawn for each bright sojourn of this number of molecules.
    PerSojourn(usize, PhotonLaw),
}

/// A sojourn of a molecule in a bright state.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sojourn {
    molecule: u32,
    state: u8,
    photons: f32,
    t0: f64,
    on_time: f64,
}

/// Photons of a molecule in a frame; frames are counted from the start of the slab.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Record {
    frame: u32,
    molecule: u32,
    photons: f32,
}

/// State of a molecule between two slabs.
#[derive(Debug, Clone)]
struct Molecule {
    random: Generator,
    /// End of its sojourn, in frames; infinite for an absorbing state.
    end: f64,
    /// Photons per frame during the sojourn; 0 in dark states.
    photons: f32,
    state: u8,
}

impl Molecule {
    fn wake(&self) -> f64 {
        if self.photons > 0.0 { 0.0 } else { self.end }
    }
}

/// Results of a task for a slab: ordered by molecule, then by time.
#[derive(Debug, Default)]
struct Found {
    records: Vec<Record>,
    sojourns: Vec<Sojourn>,
}

/// Output columns for records, all of the same length.
#[derive(Debug)]
pub struct RecordColumns<'a> {
    /// Frame in the movie.
    pub frame: &'a mut [i32],
    /// Molecule, from 0.
    pub molecule: &'a mut [i64],
    /// Photons, above 0.
    pub photons: &'a mut [f32],
    /// Positions of the molecules.
    pub xyz: &'a mut [[f32; 3]],
}

/// Output columns for bright sojourns, all of the same length.
#[derive(Debug)]
pub struct SojournColumns<'a> {
    /// Molecule, from 0.
    pub molecule: &'a mut [i64],
    /// Start in frames; below 0 for sojourns that are under way when the movie starts.
    pub t0: &'a mut [f64],
    /// Duration in frames.
    pub on_time: &'a mut [f64],
    /// State.
    pub state: &'a mut [u8],
    /// Photons per frame.
    pub photons: &'a mut [f32],
}

/// Many independent blinking molecules, from frame 0 on.
#[derive(Debug)]
pub struct Blinking {
    chain: Chain,
    brightness: Brightness,
    frames: u32,
    molecules: Vec<Molecule>,
    /// Next time at which each molecule emits or changes its state; for most molecules, a slab reads only this.
    wake: Vec<f64>,
    /// Sojourns that are under way when the movie starts.
    before: Vec<Sojourn>,
    slab: [u32; 2],
    found: Vec<Found>,
}

impl Blinking {
    /// Molecules at the start of a movie with `frames` frames, with the random streams of a key.
    ///
    /// The age of a sojourn that is under way at time 0 has the same distribution as its remaining time, since exponential times
    /// have no memory. An absorbing bright state counts from frame 0 to the end of the movie.
    ///
    /// # Errors
    /// [`Error::Value`] if there are 2^32 molecules or more, or photons are not finite or below 0.
    pub fn new(chain: Chain, brightness: Brightness, frames: u32, key: u64) -> Result<Self> {
        let count = match &brightness {
            Brightness::PerMolecule(photons) => photons.len(),
            Brightness::PerSojourn(count, _) => *count,
        };
        if u32::try_from(count).is_err() {
            return Err(Error::value("number of molecules", count, "less than 2^32"));
        }
        if let Brightness::PerMolecule(photons) = &brightness
            && let Some(wrong) = photons.iter().find(|photons| !(photons.is_finite() && **photons >= 0.0))
        {
            return Err(Error::value("photons", wrong, "numbers from 0"));
        }
        let stream = Stream::new(key, Purpose::Blinking);
        let (molecules, wake, before, found) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut blinking = Self { chain, brightness, frames, molecules, wake, before, slab: [0, 0], found };
        let mut before = Vec::new();
        let made = (0..count).map(|index| blinking.begin(index, stream.generator(index as u64), &mut before));
        blinking.molecules = made.collect();
        blinking.wake = blinking.molecules.iter().map(Molecule::wake).collect();
        blinking.before = before;
        Ok(blinking)
    }

    /// A molecule at time 0.
    fn begin(&self, index: usize, mut random: Generator, before: &mut Vec<Sojourn>) -> Molecule {
        let state = self.chain.first(random.uniform());
        let mut molecule = Molecule { random, end: 0.0, photons: 0.0, state: state as u8 };
        self.enter(&mut molecule, index, 0.0);
        if self.is_bright(state) {
            let exit = self.chain.states[state].exit;
            let t0 = if exit > 0.0 { libm::log1p(-molecule.random.uniform()) / exit } else { 0.0 };
            before.push(self.sojourn(&molecule, index, t0));
        }
        molecule
    }

    fn is_bright(&self, state: usize) -> bool {
        self.chain.states[state].brightness > 0.0
    }

    /// Draws the sojourn in the state that a molecule enters at a time: its duration and its photon rate.
    #[inline]
    fn enter(&self, molecule: &mut Molecule, index: usize, time: f64) {
        let state = &self.chain.states[usize::from(molecule.state)];
        molecule.end =
            if state.exit > 0.0 { time - libm::log1p(-molecule.random.uniform()) / state.exit } else { f64::INFINITY };
        molecule.photons = if state.brightness > 0.0 {
            let own = match &self.brightness {
                Brightness::PerMolecule(photons) => f64::from(photons[index]),
                Brightness::PerSojourn(_, law) => law.photons(molecule.random.uniform(), molecule.random.uniform()),
            };
            (state.brightness * own) as f32
        } else {
            0.0
        };
    }

    fn sojourn(&self, molecule: &Molecule, index: usize, t0: f64) -> Sojourn {
        let end = if molecule.end.is_finite() { molecule.end } else { f64::from(self.frames) };
        let Molecule { photons, state, .. } = *molecule;
        Sojourn { molecule: index as u32, state, photons, t0, on_time: end - t0 }
    }

    /// Advances all molecules to a frame, and returns the number of records in the frames up to it, and the number of bright
    /// sojourns that start in them. Those under way when the movie starts belong to the first slab.
    ///
    /// # Errors
    /// [`Error::Value`] for an earlier frame or one after the end of the movie; [`Error::Stopped`], after which it cannot continue.
    pub fn advance(&mut self, frame: u32, stop: &Stop) -> Result<[usize; 2]> {
        let [_, done] = self.slab;
        if frame < done || frame > self.frames {
            return Err(Error::value("frame", frame, "a frame of the movie that was not passed yet"));
        }
        let (mut molecules, mut wake) = (std::mem::take(&mut self.molecules), std::mem::take(&mut self.wake));
        let last = f64::from(frame);
        let first = Found { sojourns: std::mem::take(&mut self.before), ..Found::default() };
        let found: Result<Vec<Found>> = molecules
            .par_chunks_mut(TOGETHER)
            .zip(wake.par_chunks_mut(TOGETHER))
            .enumerate()
            .map(|(chunk, (together, wake))| {
                let mut found = Found::default();
                for (at, wake) in wake.iter_mut().enumerate().filter(|(_, wake)| **wake < last) {
                    self.walk(&mut together[at], chunk * TOGETHER + at, [done, frame], &mut found, stop)?;
                    *wake = together[at].wake();
                }
                Ok(found)
            })
            .collect();
        (self.molecules, self.wake) = (molecules, wake);
        self.found = found?;
        self.found.insert(0, first);
        self.slab = [done, frame];
        let count = |of: fn(&Found) -> usize| self.found.iter().map(of).sum();
        Ok([count(|found| found.records.len()), count(|found| found.sojourns.len())])
    }

    /// Advances a molecule through the frames of a slab.
    fn walk(
        &self,
        molecule: &mut Molecule,
        index: usize,
        [start, end]: [u32; 2],
        found: &mut Found,
        stop: &Stop,
    ) -> Result<()> {
        let last = f64::from(end);
        let mut time = f64::from(start);
        let mut light = FrameLight { start, index: index as u32, frame: 0, photons: 0.0 };
        loop {
            if molecule.photons > 0.0 {
                light.add(f64::from(molecule.photons), time, molecule.end.min(last), &mut found.records);
            }
            if molecule.end >= last {
                break;
            }
            stop.check()?; // a fast blinking molecule has very many sojourns
            time = molecule.end;
            let state = self.chain.states[usize::from(molecule.state)].next(molecule.random.uniform());
            molecule.state = state as u8;
            self.enter(molecule, index, time);
            if self.is_bright(state) {
                found.sojourns.push(self.sojourn(molecule, index, time));
            }
        }
        light.end(&mut found.records);
        Ok(())
    }

    /// Writes the slab's records, ordered by frame, then by molecule; `places` are the positions of all molecules.
    ///
    /// # Errors
    /// [`Error::Length`] if the length of a column differs from the result of [`Blinking::advance`].
    pub fn records_into(&self, places: &[[f32; 3]], out: &mut RecordColumns<'_>) -> Result<()> {
        check_length("places", places.len(), self.molecules.len())?;
        let count = self.found.iter().map(|found| found.records.len()).sum();
        check_length("frame", out.frame.len(), count)?;
        check_length("molecule", out.molecule.len(), count)?;
        check_length("photons", out.photons.len(), count)?;
        check_length("xyz", out.xyz.len(), count)?;
        let [start, stop] = self.slab;
        let records = || self.found.iter().flat_map(|found| &found.records);
        let mut place = first_places(records().map(|record| record.frame as usize), (stop - start) as usize);
        for record in records() {
            let row = &mut place[record.frame as usize];
            out.frame[*row] = (start + record.frame) as i32;
            out.molecule[*row] = i64::from(record.molecule);
            out.photons[*row] = record.photons;
            out.xyz[*row] = places[record.molecule as usize];
            *row += 1;
        }
        Ok(())
    }

    /// Writes the slab's bright sojourns, ordered by the frame in which they start (those from before the movie first), then by
    /// molecule, then by start.
    ///
    /// # Errors
    /// [`Error::Length`] if the length of a column differs from the result of [`Blinking::advance`].
    pub fn sojourns_into(&self, out: &mut SojournColumns<'_>) -> Result<()> {
        let count = self.found.iter().map(|found| found.sojourns.len()).sum();
        check_length("molecule", out.molecule.len(), count)?;
        check_length("t0", out.t0.len(), count)?;
        check_length("on_time", out.on_time.len(), count)?;
        check_length("state", out.state.len(), count)?;
        check_length("photons", out.photons.len(), count)?;
        let [start, stop] = self.slab;
        let (before, found) = self.found.split_first().map_or((&[][..], &[][..]), |(one, more)| (&one.sojourns, more));
        let began = || found.iter().flat_map(|found| &found.sojourns);
        let frame = |sojourn: &Sojourn| (sojourn.t0 as u32 - start) as usize;
        let mut place = first_places(began().map(frame), (stop - start) as usize);
        let mut write = |row: usize, sojourn: &Sojourn| {
            out.molecule[row] = i64::from(sojourn.molecule);
            out.t0[row] = sojourn.t0;
            out.on_time[row] = sojourn.on_time;
            out.state[row] = sojourn.state;
            out.photons[row] = sojourn.photons;
        };
        for (row, sojourn) in before.iter().enumerate() {
            write(row, sojourn);
        }
        for sojourn in began() {
            let row = &mut place[frame(sojourn)];
            write(before.len() + *row, sojourn);
            *row += 1;
        }
        Ok(())
    }
}

/// Photons of a molecule in its current frame, and records of earlier frames.
struct FrameLight {
    start: u32,
    index: u32,
    frame: u32,
    photons: f64,
}

impl FrameLight {
    /// Adds `photons` per frame between two times of the slab.
    #[inline]
    fn add(&mut self, photons: f64, from: f64, to: f64, records: &mut Vec<Record>) {
        let mut frame = from as u32;
        while f64::from(frame) < to {
            if frame - self.start != self.frame {
                self.end(records);
                self.frame = frame - self.start;
            }
            self.photons += photons * (to.min(f64::from(frame) + 1.0) - from.max(f64::from(frame)));
            frame += 1;
        }
    }

    /// Writes a record for the current frame.
    #[inline]
    fn end(&mut self, records: &mut Vec<Record>) {
        let photons = self.photons as f32;
        if photons > 0.0 {
            records.push(Record { frame: self.frame, molecule: self.index, photons });
        }
        self.photons = 0.0;
    }
}

fn check_length(name: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected { Ok(()) } else { Err(Error::Length { name, got, expected }) }
}

/// First row of each frame when rows are sorted by frame.
fn first_places(frames: impl Iterator<Item = usize>, count: usize) -> Vec<usize> {
    let mut places = vec![0; count + 1];
    for frame in frames {
        places[frame + 1] += 1;
    }
    for frame in 0..count {
        places[frame + 1] += places[frame];
    }
    places
}
