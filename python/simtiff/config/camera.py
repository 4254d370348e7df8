"""The config section ``camera``: the parameters of its data sheet and calibration."""

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
        text = Text(
            "{value} is not allowed; allowed: null, 0 or 1 (no EM register), or a gain up to 10,000", value=value
        )
        raise PydanticCustomError("em_gain", "{message}", {"message": text})
    return value


def _preset(value: str | None) -> str | None:
    if value is not None and value not in CAMERA_PRESETS:
        text = Text("{name} is not a preset; allowed: {names}", name=show(value), names=", ".join(CAMERA_PRESETS))
        raise PydanticCustomError("preset", "{message}", {"message": text})
    return value


class CameraConfig(Section):
    """The camera, from photons to ADU.

    A preset supplies the settings that are not given. They appear in a full dump, but do not count as set.
    """

    preset: Annotated[str | None, AfterValidator(_preset)] = Field(
        None,
        description="Name of a camera whose parameters are the defaults of this section; simtiff camera lists them.",
        json_schema_extra={
            "enum": [*CAMERA_PRESETS, None],
            "x-allowed": Text("null or one of {names}", names=", ".join(CAMERA_PRESETS)),
        },
    )
    quantum_efficiency: float = Field(1.0, gt=0, le=1, description="Mean photo-electrons per photon.")
    em_gain: Annotated[float | None, AfterValidator(_em_gain)] = Field(
        None,
        ge=0,
        le=10_000,
        description="Mean gain of the electron-multiplying (EM) register; null, 0 or 1: no register.",
        json_schema_extra={
            "not": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "x-allowed": Text("null, 0, or a number from 1 to 10,000"),
        },
    )
    read_noise_e: float = Field(1.6, ge=0, le=1e6, description="Gaussian read noise, in electrons rms at the output.")
    e_per_adu: float = Field(1.0, ge=1e-6, le=1e6, description="Conversion factor, in electrons per ADU.")
    offset_adu: float = Field(100.0, ge=0, le=65535, description="Offset (baseline), in ADU.")
    bit_depth: Whole = Field(16, ge=8, le=16, description="Bit depth; a uint16 movie saturates at 2^bits - 1.")
    full_well_e: float | None = Field(
        None, ge=1, le=1e9, description="Full-well capacity of a pixel, in electrons; null: no limit."
    )
    register_full_well_e: float | None = Field(
        None, ge=1, le=1e9, description="Full-well capacity of the EM register, in electrons; null: no limit."
    )
    dark_e: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Mean dark current and clock-induced charge, in electrons per pixel and frame, before the "
        "EM register.",
    )
    shot_noise: bool = Field(default=True, description="Poisson noise of photo-electrons and dark electrons.")
    exposure_ms: float | None = Field(
        None, gt=0, le=1e9, description="Exposure time of a frame in milliseconds; only written to the OME-XML."
    )
    maps_path: _PathOrNull = Field(
        None,
        description="HDF5 file of per-pixel calibration maps, which replace the numbers: any of offset_adu, "
        "e_per_adu or gain_adu_per_e, read_noise_e or variance_adu2, quantum_efficiency.",
    )
    maps_offset: tuple[MapOffset, MapOffset] = Field(
        (0, 0), strict=False, description="Pixel [x0, y0] of these maps at field pixel (0, 0)."
    )

    @model_validator(mode="after")
    def _take_preset(self) -> CameraConfig:
        if self.preset is not None:
            of_preset = CAMERA_PRESETS[self.preset].settings
            self.__dict__.update({key: of_preset[key] for key in of_preset.keys() - self.model_fields_set})
        return self

    @property
    def has_register(self) -> bool:
        """Whether the camera has an EM register."""
        return self.em_gain not in {None, 0, 1}


def camera_relations(camera: CameraConfig, tiff: TiffConfig) -> Iterator[Relation]:
    """Yield settings that cannot be combined with a camera, or within it."""
    for key in REPLACED_BY["camera"]:
        if key in tiff.noise_params.model_fields_set:
            new = {"readout_noise": "camera.read_noise_e"}.get(key, f"camera.{key}")
            message = Text("cannot be combined with a camera; use {key} instead", key=new)
            yield Relation((f"tiff.noise_params.{key}", "camera"), message)
    if camera.register_full_well_e is not None and not camera.has_register:
        message = Text("needs an EM register, but camera.em_gain is {gain}", gain=show(camera.em_gain))
        yield Relation(("camera.register_full_well_e", "camera.em_gain"), message)
    most = 2**camera.bit_depth - 1
    if camera.offset_adu >= most and camera.maps_path is None and tiff.add_noise and tiff.dtype == "uint16":
        message = Text(
            "{offset} leaves no range for the signal: {bits} bits end at {most}; allowed: a smaller offset, or a "
            "larger camera.bit_depth",
            offset=show(camera.offset_adu),
            bits=camera.bit_depth,
            most=most,
        )
        yield Relation(("camera.offset_adu", "camera.bit_depth"), message)
    if camera.maps_path is None and camera.maps_offset != (0, 0):
        message = Text("{offset} needs camera.maps_path", offset=show(camera.maps_offset))
        yield Relation(("camera.maps_offset", "camera.maps_path"), message)
