"""The config sections ``background`` and ``illumination``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from simtiff.config.blocks import ONE_FOR_EQUALS, NoiseParams, one_or_two
from simtiff.config.inputs import InputPath
from simtiff.config.messages import show
from simtiff.config.section import Relation, Section
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

_PathOrNull = InputPath | None
MOST_PHOTONS = 1e9
"""Maximum background photons in any pixel and frame."""

_Photons = Annotated[float, Field(ge=0, le=MOST_PHOTONS)]
_Place = Annotated[float, Field(ge=-1_000_000, le=1_000_000)]


class StructureConfig(Section):
    """Structured background: a smooth Gaussian random field, clipped at 0."""

    amplitude: float = Field(ge=0, le=10, description="Rms relative to the mean background (before clipping at 0).")
    length_px: float = Field(
        ge=0.5, le=10_000, description="Correlation length L in pixels: the autocorrelation is exp(-r^2 / (2 L^2))."
    )


class BackgroundConfig(Section):
    """The background; replaces ``tiff.noise_params.background``."""

    photons: Annotated[_Photons | tuple[_Photons, _Photons], one_or_two(_Photons), ONE_FOR_EQUALS] = Field(
        100.0,
        description="Mean photons per pixel and frame, or [low, high]: uniformly distributed, drawn for each frame.",
        json_schema_extra={"x-allowed": Text("a number from 0 to 1,000,000,000, or a list [low, high] of two")},
    )
    structure: StructureConfig | None = Field(None, description="A smooth random field; null: flat background.")
    image_path: _PathOrNull = Field(
        None, description="Image of the background in field pixels, scaled to the mean `photons`; null: none."
    )
    decay_frames: float | None = Field(
        None, gt=0, le=1e9, description="Bleaching time to 1/e, in frames; null: no bleaching."
    )

    @property
    def photon_limits(self) -> tuple[float, float]:
        """The lowest and the highest mean photons of a frame."""
        return self.photons if isinstance(self.photons, tuple) else (self.photons, self.photons)


class IlluminationConfig(Section):
    """A Gaussian illumination profile with peak 1, which scales emitters and background."""

    fwhm_um: float = Field(gt=0, le=1e6, description="Full width at half maximum of the profile, in micrometres.")
    centre_px: tuple[_Place, _Place] | None = Field(
        None, strict=False, description="Field pixel [x, y] of the peak; null: the middle of the field."
    )


def background_relations(background: BackgroundConfig, noise: NoiseParams) -> Iterator[Relation]:
    """Yield settings that cannot be combined with a background, or within it."""
    if "background" in noise.model_fields_set:
        message = Text("cannot be combined with a background section; use background.photons instead")
        yield Relation(("tiff.noise_params.background", "background"), message)
    low, high = background.photon_limits
    if low > high:
        message = Text("{photons} has the higher value first; allowed: [low, high]", photons=show(background.photons))
        yield Relation(("background.photons",), message)
