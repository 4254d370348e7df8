"""The PSF models as tests ask for them: by name, at optics that suit them, and at optics that are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

import simtiff
from simtiff import Optics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

OIL = Optics(wavelength_nm=660, NA=1.4, n_immersion=1.518, pixel_size_nm_x=100, pixel_size_nm_y=100)
DEEP = replace(OIL, NA=1.3, n_sample=1.33, n_coverslip=1.523, focal_depth_um=1.0)
TIRF = replace(OIL, NA=1.46, n_sample=1.33, n_coverslip=1.518, focal_depth_um=0.3)
PHASE = np.array([0, 0, 0, 0.1, 0.3, 0.5, -0.1, 0.3, 0.1, 0, -0.2])
VECTORIAL = {"model": "vectorial"}
GAUSSIAN = {"model": "gaussian", "sigma_nm": (120, 150), "depth_nm": 400, "astigmatism_nm": 200}


@dataclass(frozen=True)
class Model:
    """A model with its optics, the height at which emitters are nearly in focus, and what it is held to."""

    optics: Optics = OIL
    options: dict[str, Any] = field(default_factory=dict)
    focus_um: float = 0.0
    error: float = 5e-4

    @property
    def has_pupil(self) -> bool:
        return self.options.get("model") != "gaussian"

    def coefficients(self, phase: ArrayLike | None = PHASE) -> dict[str, ArrayLike | None]:
        """Return coefficients as arguments; none, where there is no pupil."""
        return {"phase": phase} if self.has_pupil else {}

    def at(self, x: float, y: float, dz: float) -> list[float]:
        """Return the place of an emitter so far from the middle pixel, and above focus, in um."""
        return [x, y, self.focus_um + dz]

    def with_optics(self, **changes: Any) -> Model:
        return replace(self, optics=replace(self.optics, **changes))

    def psf(self, xyz: ArrayLike, phase: ArrayLike | None = PHASE, size: int = 21, **more: Any) -> NDArray[np.float64]:
        """Return stamps in float64."""
        return simtiff.psf(self.optics, xyz, size=size, **self.coefficients(phase), **self.options, **more).astype(
            float
        )

    def planes(self, xyz: ArrayLike, phase: ArrayLike | None = PHASE, **more: Any) -> NDArray[np.float64]:
        """Return stamps and derivatives in float64."""
        found = simtiff.psf_gradient(self.optics, xyz, **self.coefficients(phase), **self.options, **more)
        return found.astype(float)

    def crlb(self, xyz: ArrayLike, photons: ArrayLike, background: ArrayLike, **more: Any) -> NDArray[np.float64]:
        given = self.coefficients() | self.options | more
        return simtiff.crlb(self.optics, xyz, photons, background, **given)


MODELS = {
    "scalar": Model(),
    "paraxial": Model(options={"defocus": "paraxial"}),
    "vectorial": Model(options=VECTORIAL),
    "mismatch": Model(DEEP, VECTORIAL, focus_um=0.8, error=1e-3),
    "supercritical": Model(TIRF, VECTORIAL, focus_um=0.2, error=2e-3),
    "gaussian": Model(options=GAUSSIAN, error=1e-6),
}


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Model, NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Draw a model with other optics and options, an emitter's place, its coefficients, and modes to derive by."""
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]
    low, high = (1.36, 1.49) if model is MODELS["supercritical"] else (0.7, 1.3)
    changes: dict[str, Any] = {
        "wavelength_nm": draw(st.floats(500, 700)),
        "NA": draw(st.floats(low, high)),
        "pixel_size_nm_x": draw(st.floats(60, 130)),
        "pixel_size_nm_y": draw(st.floats(60, 130)),
    }
    options = model.options | {
        "blur_nm": draw(st.sampled_from([0, 60, (0, 90), (120, 30)])),
        "pixel_integration": draw(st.booleans()),
    }
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    depth = rng.uniform(-0.7, 0.7) if model.focus_um != 0.2 else rng.uniform(-0.15, 0.7)
    xyz = np.r_[rng.uniform(-0.5, 0.5, 2), model.focus_um + depth]
    phase = np.r_[0, 0, 0, rng.normal(0, draw(st.sampled_from([0, 0.1, 0.25])), 12)]
    modes = sorted(set(rng.integers(1, 16, 3).tolist())) if model.has_pupil else []
    return replace(model.with_optics(**changes), options=options), xyz, phase, modes
