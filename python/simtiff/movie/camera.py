"""The camera of a job: as its block says, or the short form of ``tiff.noise_params``."""

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
    """Return the camera that a job's frames are taken with.

    Its background is that of ``tiff.noise_params``; a job with a block ``background`` or ``illumination`` has it in its
    scenes. It is the same with ``tiff.add_noise`` false, which frames are then rendered without.

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
    """Return what differs from pixel to pixel of a job's frames, None if nothing does; `DataError` as `camera_of`."""
    camera, crop = config.camera, config.tiff.crop_offset
    if camera is None or camera.maps_path is None:
        return None
    (x, y) = (offset + cropped for offset, cropped in zip(camera.maps_offset, crop, strict=True))
    return CameraMaps.open(camera.maps_path, offset=(x, y), shape=config.tiff.frame_shape)


def camera_notes(configs: Iterable[JobConfig]) -> list[str]:
    """Return what a user should know of the cameras of jobs, each once."""
    return list(dict.fromkeys(note for config in configs for note in _notes(config)))


def _notes(config: JobConfig) -> Iterable[str]:
    camera = config.camera
    if camera is None:
        return
    if not config.tiff.add_noise:
        yield Text("tiff.add_noise is false: frames are expected photons, whatever the camera")
        return
    if camera.has_register and (camera.em_gain or 0) < _POOR_EM_GAIN:
        yield Text(
            "camera.em_gain is {gain:g}: below {least:g} the gamma law of the register is a poor one",
            gain=camera.em_gain,
            least=_POOR_EM_GAIN,
        )
    if camera.offset_adu == 0 and camera.read_noise_e > 0 and config.tiff.dtype == "uint16" and not camera.maps_path:
        yield Text(
            "camera.offset_adu is 0: uint16 frames end at 0, so half of the read noise of dark pixels is cut off"
        )
