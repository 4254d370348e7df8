"""The block ``camera`` of a config: the camera as its data sheet and its calibration describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from simtiff.config.blocks import REPLACED_BY, MapOffset, TiffConfig, Whole
from simtiff.config.inputs import InputPath
from simtiff.config.messages import show
from simtiff.config.presets import CAMERA_PRESETS
from simtiff.config.section import Relation, Section
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

_PathOrNull = InputPath | None


def _em_gain(value: float | None) -> float | None:
    if value is not None and 0 < value < 1:
        text = Text("{value} is not allowed; allowed: null, 0 or 1 (no register), or a gain up to 10,000", value=value)
        raise PydanticCustomError("em_gain", "{message}", {"message": text})
    return value


def _preset(value: str | None) -> str | None:
    if value is not None and value not in CAMERA_PRESETS:
        text = Text("{name} is no preset; allowed: {names}", name=show(value), names=", ".join(CAMERA_PRESETS))
        raise PydanticCustomError("preset", "{message}", {"message": text})
    return value


class CameraConfig(Section):
    """The camera, from photons to ADU.

    With a preset, all settings that are not given are those of that camera; they are in a full dump, but do not count
    as set.
    """

    preset: Annotated[str | None, AfterValidator(_preset)] = Field(
        None,
        description="Name of a camera whose numbers are the defaults of this block; simtiff camera lists them.",
        json_schema_extra={
            "enum": [*CAMERA_PRESETS, None],
            "x-allowed": Text("null or one of {names}", names=", ".join(CAMERA_PRESETS)),
        },
    )
    quantum_efficiency: float = Field(1.0, gt=0, le=1, description="Photo-electrons of a photon, on average.")
    em_gain: Annotated[float | None, AfterValidator(_em_gain)] = Field(
        None,
        ge=0,
        le=10_000,
        description="Mean gain of the electron-multiplying register; null, 0 and 1: there is none.",
        json_schema_extra={
            "not": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "x-allowed": Text("null, 0, or a number from 1 to 10,000"),
        },
    )
    read_noise_e: float = Field(1.6, ge=0, le=1e6, description="Gaussian read noise, in electrons rms at the output.")
    e_per_adu: float = Field(1.0, ge=1e-6, le=1e6, description="Electrons of one ADU.")
    offset_adu: float = Field(100.0, ge=0, le=65535, description="What a pixel without an electron reads, in ADU.")
    bit_depth: Whole = Field(16, ge=8, le=16, description="Bits of the converter: a uint16 movie ends at 2^bits - 1.")
    full_well_e: float | None = Field(
        None, ge=1, le=1e9, description="Electrons that a pixel holds at most; null: it has no limit."
    )
    register_full_well_e: float | None = Field(
        None, ge=1, le=1e9, description="Electrons that the register holds at most; null: it has no limit."
    )
    dark_e: float = Field(
        0.0, ge=0, le=1e6, description="Mean dark and spurious electrons of a pixel and frame, before the register."
    )
    shot_noise: bool = Field(default=True, description="Poisson noise of photo-electrons and dark electrons.")
    exposure_ms: float | None = Field(
        None, gt=0, le=1e9, description="Exposure time of a frame, for the movie's OME-XML alone, in milliseconds."
    )
    maps_path: _PathOrNull = Field(
        None,
        description="HDF5 file of maps with values for each pixel, in place of the numbers: any of offset_adu, "
        "e_per_adu or gain_adu_per_e, read_noise_e or variance_adu2, quantum_efficiency.",
    )
    maps_offset: tuple[MapOffset, MapOffset] = Field(
        (0, 0), strict=False, description="Pixel [x0, y0] of these maps that field pixel (0, 0) lies on."
    )

    @model_validator(mode="after")
    def _take_preset(self) -> CameraConfig:
        if self.preset is not None:
            of_preset = CAMERA_PRESETS[self.preset].settings
            self.__dict__.update({key: of_preset[key] for key in of_preset.keys() - self.model_fields_set})
        return self

    @property
    def has_register(self) -> bool:
        """Whether electrons are multiplied before they are read."""
        return self.em_gain not in {None, 0, 1}


def camera_relations(camera: CameraConfig, tiff: TiffConfig) -> Iterator[Relation]:
    """Yield what does not go together with a camera."""
    for key in REPLACED_BY["camera"]:
        if key in tiff.noise_params.model_fields_set:
            new = {"readout_noise": "camera.read_noise_e"}.get(key, f"camera.{key}")
            message = Text("is given, and a camera too; allowed: either of them ({key} in place of it)", key=new)
            yield Relation((f"tiff.noise_params.{key}", "camera"), message)
    if camera.register_full_well_e is not None and not camera.has_register:
        message = Text("is for a register, and camera.em_gain is {gain}", gain=show(camera.em_gain))
        yield Relation(("camera.register_full_well_e", "camera.em_gain"), message)
    most = 2**camera.bit_depth - 1
    if camera.offset_adu >= most and camera.maps_path is None and tiff.add_noise and tiff.dtype == "uint16":
        message = Text(
            "{offset} leaves no count to light: {bits} bits end at {most}; allowed: less, or more camera.bit_depth",
            offset=show(camera.offset_adu),
            bits=camera.bit_depth,
            most=most,
        )
        yield Relation(("camera.offset_adu", "camera.bit_depth"), message)
    if camera.maps_path is None and camera.maps_offset != (0, 0):
        message = Text("{offset} is for maps; allowed: with a camera.maps_path", offset=show(camera.maps_offset))
        yield Relation(("camera.maps_offset", "camera.maps_path"), message)
