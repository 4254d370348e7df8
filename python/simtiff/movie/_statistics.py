"""Panels of the timeline: on-times, off-times, photons and drift, with the distributions from the config."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simtiff.emitters.chain import Chain, chain_of
from simtiff.movie._drawing import add_axes

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from simtiff.config.blocks import EmitterConfig
    from simtiff.config.settings import JobConfig
    from simtiff.emitters.tables import Blinks
    from simtiff.movie.truthfile import TruthFile

MAX_ROWS = 500_000
"""Largest number of emitters or blinks that are drawn."""

_BINS = 40
_MOST_POINTS = 2000
_FILL, _LAW = "#9ecae1", "#08519c"
_COLOURS = ("#08519c", "#c8580a", "#2a9d5c")
PANEL_PX = 350
"""Height of the row of panels in pixels."""


@dataclass(frozen=True)
class _Histogram:
    """Values, the config's cumulative distribution function or None, and the fraction seen if values are censored."""

    title: str
    label: str
    values: NDArray[np.float64]
    law: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    thinned: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    expected: float | None = None


@dataclass(frozen=True)
class Statistics:
    """Contents of the panels.

    Attributes
    ----------
    histograms : list
        On-times, off-times and photons, those that exist.
    drift_nm : (frames, 3) float64 or None
        Drift of each frame.
    """

    histograms: list[_Histogram]
    drift_nm: NDArray[np.float64] | None

    @property
    def count(self) -> int:
        """The number of panels."""
        return len(self.histograms) + (self.drift_nm is not None)


def statistics_of(config: JobConfig, truth: TruthFile, light: NDArray[np.float32]) -> Statistics:
    """Return the contents of the panels for the first emitters and blinks of a truth file.

    `light` has the photons of its first records, shown for a list of records.
    """
    drift = truth.drift()
    optical = config.optical
    drift_nm = None if drift is None else drift * (optical.pixel_size_nm_x, optical.pixel_size_nm_y, 1000.0)
    emitters, blinks = truth.emitter_columns(MAX_ROWS), truth.blinks(MAX_ROWS)
    histograms: list[_Histogram] = []
    section = config.emitters
    if blinks is not None and section.blinking.blinks:
        histograms += _of_blinks(section, blinks)
    elif "on_time" in emitters and section.blinking.kind == "once":
        on_times = emitters["on_time"]
        law = _exponential(section.lifetime_avg)
        histograms.append(_Histogram("on-times", "frames", on_times, law))
    photons = blinks.intensity if blinks is not None and section.blinking.kind == "paint" else emitters.get("intensity")
    if photons is not None and len(photons):
        # Molecules of a list may have listed photons.
        is_drawn = section.positions_path is None or section.blinking.kind == "paint"
        values = photons.astype(np.float64)
        histograms.append(
            _Histogram("photons", "photons per frame", values, _photon_law(section) if is_drawn else None)
        )
    elif not emitters and section.positions_path is not None:
        histograms.append(_Histogram("photons", "photons per record", light[:MAX_ROWS].astype(np.float64)))
    return Statistics([each for each in histograms if len(each.values)], drift_nm)


def _of_blinks(config: EmitterConfig, blinks: Blinks) -> list[_Histogram]:
    """Return the on-times of blinks that begin in the movie, and the off-times between blinks of an emitter."""
    chain = chain_of(config.blinking)
    begun = blinks.t0 >= 0
    found = []
    for state in np.unique(blinks.state[begun]).tolist():
        leaving = sum(rate for other, rate in enumerate(chain.rates[state]) if other != state)
        name = f"on-times ({chain.names[state]})" if sum(light > 0 for light in chain.brightness) > 1 else "on-times"
        law = _exponential(1 / leaving) if leaving > 0 else None
        found.append(_Histogram(name, "frames", blinks.on_time[begun & (blinks.state == state)], law))
    order = np.lexsort((blinks.t0, blinks.emitter))
    emitter, t0, end = blinks.emitter[order], blinks.t0[order], (blinks.t0 + blinks.on_time)[order]
    gaps = (t0[1:] - end[:-1])[emitter[1:] == emitter[:-1]]
    gaps = gaps[gaps > 1e-9]  # not transitions between bright states
    last = float(config.frames) if len(blinks) < MAX_ROWS else float(blinks.t0.max(initial=0))
    ended = float(np.count_nonzero(end < last))
    law = _dark_law(chain)
    # Only off-times that end within the movie are seen: half of those that are half as long as the movie.
    found.append(_Histogram("off-times", "frames", gaps, law, lambda t: np.clip(1 - t / last, 0, 1), ended))
    return found


def _dark_law(chain: Chain) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the probability that a molecule is bright again within a time after it went dark."""
    bright = np.array(chain.brightness) > 0
    flow = np.array(chain.rates)
    begin = np.array(chain.occupation(1.0))[bright] @ flow[bright]
    begin[bright] = 0.0
    begin /= begin.sum() or 1.0
    flow[bright] = 0.0
    np.fill_diagonal(flow, 0.0)
    np.fill_diagonal(flow, -flow.sum(axis=1))
    return lambda times: np.array([float((begin @ _after(flow, time))[bright].sum()) for time in times])


def _after(flow: NDArray[np.float64], time: float) -> NDArray[np.float64]:
    """Return the matrix exponential of rates times a time: a power series over a short step, then repeated doubling."""
    doublings = max(0, math.ceil(math.log2(max(float(np.abs(flow).max()) * time, 1e-9))) + 4)
    step = flow * (time / 2**doublings)
    term: NDArray[np.float64] = np.eye(len(flow))
    result = term
    for k in range(1, 12):
        term = term @ step / k
        result = result + term
    for _ in range(doublings):
        result = result @ result
    return result


def _exponential(mean: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda times: -np.expm1(-np.maximum(times, 0) / mean)


def _photon_law(config: EmitterConfig) -> Callable[[NDArray[np.float64]], NDArray[np.float64]] | None:
    from scipy.special import gammainc, ndtr  # scipy.stats would take much more memory

    name, mean, sigma = config.photon_law
    if name == "exponential" and mean > 0:
        return _exponential(mean)
    if mean <= 0 or sigma <= 0:
        return None
    width = np.sqrt(np.log1p((sigma / mean) ** 2))
    laws: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
        "normal": lambda photons: ndtr((photons - mean) / sigma),
        "gamma": lambda photons: np.asarray(gammainc((mean / sigma) ** 2, photons * mean / sigma**2), np.float64),
        "lognormal": lambda photons: ndtr(np.log(np.maximum(photons, 1e-300) / mean) / width + width / 2),
    }
    return lambda photons: laws[name](np.maximum(photons, 0)) * (photons >= 0)


def draw_panels(figure: Figure, statistics: Statistics, left: float, top: float, width: float) -> None:
    """Draw all panels side by side in a row of a figure, at a position in pixels from its upper left corner."""
    gap = 70.0
    each = min((width - gap * (statistics.count - 1)) / statistics.count, 260.0)
    places = [add_axes(figure, left + i * (each + gap), top, each, PANEL_PX - 130) for i in range(statistics.count)]
    for axis, histogram in zip(places, statistics.histograms, strict=False):
        _draw_histogram(axis, histogram)
    if statistics.drift_nm is not None:
        _draw_drift(places[-1], statistics.drift_nm)
    for axis in places:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)


def _draw_histogram(axis: Axes, histogram: _Histogram) -> None:
    values = histogram.values
    low, high = (0.0, float(np.quantile(values, 0.995))) if values.min() >= 0 else (values.min(), values.max())
    if high <= low:
        high = low + 1
    counts, edges = np.histogram(values, _BINS, (low, high))
    axis.stairs(counts, edges, fill=True, color=_FILL)
    if histogram.law is not None:
        expected = np.diff(histogram.law(edges))
        if histogram.thinned is not None:
            expected = expected * histogram.thinned((edges[1:] + edges[:-1]) / 2)
        middle = (edges[1:] + edges[:-1]) / 2
        axis.plot(middle, (histogram.expected or len(values)) * expected, color=_LAW, lw=1, label="law")
        axis.legend(loc="upper right")
    axis.set(title=histogram.title, xlabel=histogram.label, xlim=(low, high))
    axis.set_ylim(bottom=0)
    axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 4))
    axis.locator_params(nbins=4)


def _draw_drift(axis: Axes, drift_nm: NDArray[np.float64]) -> None:
    frame = np.unique(np.linspace(0, len(drift_nm) - 1, min(len(drift_nm), _MOST_POINTS)).astype(int))
    for name, colour, values in zip("xyz", _COLOURS, drift_nm.T, strict=True):
        axis.plot(frame, values[frame], color=colour, lw=1, label=name)
    axis.set(title="drift", xlabel="frame", ylabel="nm")
    axis.legend(ncols=3, loc="best", handlelength=1)
    axis.locator_params(nbins=4)
