"""The camera of a job: from its section ``camera``, or the simple noise model of ``tiff.noise_params``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simtiff.errors import DataError, in_words
from simtiff.imaging.camera import Camera
from simtiff.imaging.cameramaps import CameraMaps
from simtiff.language import Text, joined
from simtiff.movie.light import has_background

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simtiff.config.settings import JobConfig

_POOR_EM_GAIN = 10.0


def camera_of(config: JobConfig) -> Camera:
    """Return the camera of a job's frames.

    Its background is that of ``tiff.noise_params``; with a section ``background`` or ``illumination``, the background
    is in the scenes instead. With ``tiff.add_noise`` false it is the same camera, but frames are rendered without it.

    Raises
    ------
    DataError
        The file of maps is missing or damaged, or does not cover the frame.
    """
    tiff, camera = config.tiff, config.camera
    noise = tiff.noise_params
    background = 0.0 if has_background(config) else noise.background
    if camera is None:
        return Camera(background, noise.readout_noise, noise.shot_noise, tiff.dtype)
    try:
        maps = camera_maps(config)
    except DataError as error:
        raise DataError(joined([in_words(error), "(camera.maps_path)"], " ")) from error
    return Camera(
        background,
        camera.read_noise_e,
        camera.shot_noise,
        tiff.dtype,
        quantum_efficiency=camera.quantum_efficiency,
        em_gain=camera.em_gain if camera.has_register else None,
        e_per_adu=camera.e_per_adu,
        offset_adu=camera.offset_adu,
        bit_depth=camera.bit_depth,
        full_well_e=camera.full_well_e,
        register_full_well_e=camera.register_full_well_e,
        dark_e=camera.dark_e,
        maps=maps,
    )


def camera_maps(config: JobConfig) -> CameraMaps | None:
    """Return the per-pixel maps of a job's camera, None if it has none; raises `DataError` as `camera_of`."""
    camera, crop = config.camera, config.tiff.crop_offset
    if camera is None or camera.maps_path is None:
        return None
    (x, y) = (offset + cropped for offset, cropped in zip(camera.maps_offset, crop, strict=True))
    return CameraMaps.open(camera.maps_path, offset=(x, y), shape=config.tiff.frame_shape)


def camera_notes(configs: Iterable[JobConfig]) -> list[str]:
    """Return the warnings about the cameras of jobs, each once."""
    return list(dict.fromkeys(note for config in configs for note in _notes(config)))


def _notes(config: JobConfig) -> Iterable[str]:
    camera = config.camera
    if camera is None:
        return
    if not config.tiff.add_noise:
        yield Text("tiff.add_noise is false: frames are expected photons, without camera noise")
        return
    if camera.has_register and (camera.em_gain or 0) < _POOR_EM_GAIN:
        yield Text(
            "camera.em_gain is {gain:g}: below {least:g} the gamma distribution is a poor model of the EM register",
            gain=camera.em_gain,
            least=_POOR_EM_GAIN,
        )
    if camera.offset_adu == 0 and camera.read_noise_e > 0 and config.tiff.dtype == "uint16" and not camera.maps_path:
        yield Text(
            "camera.offset_adu is 0: uint16 frames are clipped at 0, so half of the read noise of dark pixels is lost"
        )
