//! The states of a molecule, and the transition rates between them.

use crate::{Error, Result};

/// The maximum number of states.
pub const MOST_STATES: usize = 64;

/// A continuous-time Markov process with a few states, and the brightness of each state.
///
/// A state lasts for an exponential time with the total transition rate; the next state is drawn in proportion to the rates. A state
/// without transition rates is absorbing.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    pub(super) states: Vec<State>,
    /// Cumulative probabilities of the first state.
    pub(super) start: Vec<f64>,
}

/// A state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// Total transition rate per frame; 0 for an absorbing state.
    pub exit: f64,
    /// Cumulative rates to each of the states.
    next: Vec<f64>,
    /// Fraction of the molecule's photon rate in this state.
    pub brightness: f64,
}

impl State {
    /// The next state, from a uniform number.
    pub(super) fn next(&self, uniform: f64) -> usize {
        pick(&self.next, uniform * self.exit)
    }
}

impl Chain {
    /// A chain of states: brightness and initial probability of each state, and the rates from each state (row) to each (column).
    ///
    /// # Errors
    /// If lengths disagree, a number is not finite or below 0, or all initial probabilities are 0.
    pub fn new(rates: &[f64], brightness: &[f64], start: &[f64]) -> Result<Self> {
        let count = brightness.len();
        if count == 0 || count > MOST_STATES {
            return Err(Error::value("number of states", count, "1 to 64"));
        }
        for (name, values, expected) in [("rates", rates, count * count), ("start", start, count)] {
            if values.len() != expected {
                return Err(Error::Length { name, got: values.len(), expected });
            }
        }
        for (name, values) in [("rates", rates), ("brightness", brightness), ("start", start)] {
            if let Some(wrong) = values.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
                return Err(Error::value(name, wrong, "numbers from 0"));
            }
        }
        let start = summed(start);
        if start[count - 1] <= 0.0 {
            return Err(Error::value("start", start[count - 1], "probabilities, one of them above 0"));
        }
        let states = rates
            .chunks_exact(count)
            .zip(brightness)
            .enumerate()
            .map(|(own, (row, &brightness))| {
                let others: Vec<f64> =
                    row.iter().enumerate().map(|(j, &rate)| if j == own { 0.0 } else { rate }).collect();
                let next = summed(&others);
                State { exit: next[count - 1], next, brightness }
            })
            .collect();
        Ok(Self { states, start })
    }

    /// The first state, from a uniform number.
    pub(super) fn first(&self, uniform: f64) -> usize {
        pick(&self.start, uniform * self.start[self.start.len() - 1])
    }
}

fn summed(values: &[f64]) -> Vec<f64> {
    let running = values.iter().scan(0.0, |sum, value| {
        *sum += value;
        Some(*sum)
    });
    running.collect()
}

/// The first index whose cumulative sum exceeds a number, which is below the last sum except for rounding.
fn pick(sums: &[f64], value: f64) -> usize {
    let last = sums[sums.len() - 1];
    sums.iter().position(|&sum| sum > value).unwrap_or_else(|| sums.iter().position(|&sum| sum >= last).unwrap_or(0))
}
