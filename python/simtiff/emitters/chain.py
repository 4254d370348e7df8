"""The states of blinking molecules: transition rates, steady state, and occupation over time.

All sums are plain arithmetic in a fixed order. The number of molecules that a density gives, and their initial states,
therefore depend neither on a library nor on the processor.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simtiff.config.blinking import BlinkingConfig

Matrix = list[list[float]]

_STEP = 1 / 16  # transitions in the first step of a matrix exponential
_TERMS = 12


@dataclass(frozen=True)
class Chain:
    """States and the transition rates between them.

    Attributes
    ----------
    names : tuple of str
        The states; `Blinks.state` counts them from 0.
    rates : list of lists
        Transitions per frame from one state (row) to another (column).
    brightness : list
        Fraction of a molecule's photons emitted in each state.
    start : list
        Probability of each state at time 0.
    """

    names: tuple[str, ...]
    rates: Matrix
    brightness: list[float]
    start: list[float]

    def occupation(self, frames: float) -> list[float]:
        """Return the probability of each state, averaged over the first `frames` frames."""
        _, integral = _exponential(self.rates, frames)
        return [_dot(self.start, [row[state] for row in integral]) / frames for state in range(len(self.names))]

    def at_frames(self, count: int) -> list[float]:
        """Return the probability of each state at the start of a frame, averaged over the first `count` frames."""
        after, _ = _exponential(self.rates, 1.0)
        each = _sum_of_powers(after, count)
        return [_dot(self.start, [row[state] for row in each]) / count for state in range(len(self.names))]

    def mean_bright(self, frames: float) -> float:
        """Return the probability of being bright, averaged over the first `frames` frames."""
        return _total(p for p, light in zip(self.occupation(frames), self.brightness, strict=True) if light > 0)

    def mean_in_frame(self, frames: float) -> float:
        """Return the probability of being bright at some time in a frame, averaged over the first `frames` frames."""
        stopped = [
            [0.0] * len(row) if light > 0 else row for row, light in zip(self.rates, self.brightness, strict=True)
        ]
        after, _ = _exponential(stopped, 1.0)
        hit = [_total(p for p, light in zip(row, self.brightness, strict=True) if light > 0) for row in after]
        return _dot(self.occupation(frames), hit)

    def blinks(self, frames: float) -> float:
        """Return the mean number of blinks (sojourns in bright states) in the first `frames` frames."""
        bright = [light > 0 for light in self.brightness]
        into = [_total(r for r, lit in zip(row, bright, strict=True) if lit) for row in self.rates]
        begun = _total(p for p, lit in zip(self.start, bright, strict=True) if lit)
        return begun + frames * _dot(self.occupation(frames), into)


def state_names(blinking: BlinkingConfig) -> tuple[str, ...]:
    """Return the names of the states that `Blinks.state` counts from 0."""
    return chain_of(blinking).names


def chain_of(blinking: BlinkingConfig) -> Chain:
    """Return the chain of states for ``blinking.kind`` ``kinetics`` or ``paint``."""
    if blinking.kind == "paint":
        on_frames, off_frames = blinking.on_frames, blinking.off_frames
        if on_frames is None or off_frames is None:
            raise ValueError(blinking)
        share = on_frames / (on_frames + off_frames)
        return Chain(("bound", "free"), [[0.0, 1 / on_frames], [1 / off_frames, 0.0]], [1.0, 0.0], [share, 1 - share])
    names = blinking.names
    rates = [[blinking.states.get(name, {}).get(other, 0.0) for other in names] for name in names]
    brightness = [blinking.brightness.get(name, 0.0) for name in names]
    if blinking.start is None:
        return Chain(names, rates, brightness, _start_in_equilibrium(blinking, rates))
    begins = {blinking.start: 1.0} if isinstance(blinking.start, str) else blinking.start
    return Chain(names, rates, brightness, [begins.get(name, 0.0) for name in names])


def shares(blinking: BlinkingConfig, frames: int) -> tuple[float, float, float]:
    """Return three means over the first `frames` frames for molecules that blink.

    They are the probability of being bright at a given time, the probability of being bright at some time in a
    frame, and the number of blinks.
    """
    return _shares(type(blinking), blinking.model_dump_json(), frames)


@functools.lru_cache(maxsize=4096)  # a sweep calls it with the same config many times
def _shares(model: type[BlinkingConfig], text: str, frames: int) -> tuple[float, float, float]:
    chain = chain_of(model.model_validate_json(text))
    return min(1.0, chain.mean_bright(frames)), min(1.0, chain.mean_in_frame(frames)), chain.blinks(frames)


def shares_of_window(blinking: BlinkingConfig, frames: int, window: int) -> tuple[tuple[float, ...], float]:
    """Return the state probabilities at the start of a window of frames, and the movie's mean bright probability."""
    return _shares_of_window(type(blinking), blinking.model_dump_json(), frames, window)


@functools.lru_cache(maxsize=256)  # every training batch calls it with the same config
def _shares_of_window(
    model: type[BlinkingConfig], text: str, frames: int, window: int
) -> tuple[tuple[float, ...], float]:
    chain = chain_of(model.model_validate_json(text))
    return tuple(chain.at_frames(max(frames - window + 1, 1))), chain.mean_bright(frames)


def _start_in_equilibrium(blinking: BlinkingConfig, rates: Matrix) -> list[float]:
    """Return the steady state without the absorbing states and the transitions into them."""
    names = blinking.names
    kept = [i for i, name in enumerate(names) if name not in blinking.absorbing]
    # Only a closed set of states that can all reach each other is occupied in the steady state.
    after = {i: _after(i, kept, rates) for i in kept}
    closed = [i for i in kept if all(i in after[j] for j in after[i])]
    parts = equilibrium([[rates[i][j] if i != j else 0.0 for j in closed] for i in closed])
    start = [0.0] * len(names)
    for i, part in zip(closed, parts, strict=True):
        start[i] = part
    return start


def _after(state: int, kept: list[int], rates: Matrix) -> set[int]:
    found, ahead = set(), [state]
    while ahead:
        i = ahead.pop()
        if i not in found:
            found.add(i)
            ahead += [j for j in kept if rates[i][j] > 0]
    return found


def equilibrium(rates: Matrix) -> list[float]:
    """Return the steady state of states that can all reach each other.

    Elimination without subtractions (Grassmann, Taksar & Heyman, Oper. Res. 33, 1107, 1985) keeps full precision even
    where rates differ by many orders of magnitude.
    """
    left = [row[:] for row in rates]
    count = len(left)
    for k in range(count - 1, 0, -1):
        total = _total(left[k][:k])
        for i in range(k):
            left[i][k] /= total
            for j in range(k):
                if i != j:
                    left[i][j] += left[i][k] * left[k][j]
    parts = [1.0]
    for k in range(1, count):
        parts.append(_total(parts[i] * left[i][k] for i in range(k)))
    whole = _total(parts)
    return [part / whole for part in parts]


def _exponential(rates: Matrix, time: float) -> tuple[Matrix, Matrix]:
    """Return the transition probabilities from a state (row) to another (column) over a time, and their integral.

    A power series over a short step, then repeated doubling. Each row of probabilities is normalised to 1, and each row
    of the integral to the elapsed time.
    """
    count = len(rates)
    flow = [[rate if i != j else 0.0 for j, rate in enumerate(row)] for i, row in enumerate(rates)]
    for i, row in enumerate(flow):
        row[i] = -_total(row)
    fastest = max(-flow[i][i] for i in range(count))
    step, doublings = time, 0
    while step * fastest > _STEP:
        step /= 2
        doublings += 1
    term = [[1.0 if i == j else 0.0 for j in range(count)] for i in range(count)]
    after = [row[:] for row in term]
    integral = [[step * value for value in row] for row in term]
    for k in range(1, _TERMS):
        term = [[value * step / k for value in row] for row in _product(term, flow)]
        for i in range(count):
            for j in range(count):
                after[i][j] += term[i][j]
                integral[i][j] += term[i][j] * step / (k + 1)
    for _ in range(doublings):
        later = _product(after, integral)
        integral = _sum(integral, later)
        after = _rows_of_sum(_product(after, after), 1.0)
        step *= 2
        integral = _rows_of_sum(integral, step)
    return after, integral


def _sum_of_powers(matrix: Matrix, count: int) -> Matrix:
    """Return the sum of the powers 0 to ``count - 1`` of a transition matrix, by doubling the number of terms."""
    one = [[1.0 if i == j else 0.0 for j in range(len(matrix))] for i in range(len(matrix))]
    terms, total, power = 1, one, matrix  # `power` is matrix**terms
    for digit in bin(count)[3:]:
        total, power, terms = _sum(total, _product(power, total)), _product(power, power), 2 * terms
        if digit == "1":
            total, power, terms = _sum(one, _product(matrix, total)), _product(power, matrix), terms + 1
        total, power = _rows_of_sum(total, terms), _rows_of_sum(power, 1.0)
    return total


def _sum(one: Matrix, other: Matrix) -> Matrix:
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(one, other, strict=True)]


def _product(one: Matrix, other: Matrix) -> Matrix:
    columns = list(zip(*other, strict=True))
    return [[_dot(row, column) for column in columns] for row in one]


def _dot(one: list[float], other: list[float] | tuple[float, ...]) -> float:
    return _total(a * b for a, b in zip(one, other, strict=True))


def _total(values: Iterable[float]) -> float:
    """Add numbers one after another; `sum` compensates rounding in newer versions of Python."""
    total = 0.0
    for value in values:
        total += value
    return total


def _rows_of_sum(matrix: Matrix, wanted: float) -> Matrix:
    return [[value * wanted / total for value in row] for row, total in ((row, _total(row)) for row in matrix)]
