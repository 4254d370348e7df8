"""The OME-XML of a movie (schema 2016-06): axes, scale and acquisition settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from simtiff.io.files import software

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

CONFIG_NAMESPACE = "simtiff/config"
"""Namespace of the annotation that stores a job's config."""

MOST_PLANES = 10_000
"""Only this many frames get a Plane element with their exposure time; each takes 90 bytes."""

_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_TYPES = {"uint16": "uint16", "float32": "float"}


@dataclass(frozen=True)
class Acquisition:
    """The acquisition settings of a movie, as far as they are known.

    Attributes
    ----------
    wavelength_nm : float
        Emission wavelength in vacuum, in nanometres.
    numerical_aperture, n_immersion : float
        Numerical aperture of the objective, and refractive index of its immersion medium.
    gain_adu_per_e, offset_adu : float or None
        Camera gain and offset; None if they differ from pixel to pixel.
    config : str
        All settings that determine the movie, as JSON.
    em_gain : float, optional
        Mean gain of the camera's electron-multiplying register.
    bit_depth : int, optional
        Bit depth of the camera.
    exposure_ms : float, optional
        Exposure time of each frame, in milliseconds.
    """

    wavelength_nm: float
    numerical_aperture: float
    n_immersion: float
    gain_adu_per_e: float | None
    offset_adu: float | None
    config: str
    em_gain: float | None = None
    bit_depth: int | None = None
    exposure_ms: float | None = None


def ome_xml(
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    pixel_size_um: tuple[float, float],
    file_uuid: str,
    acquisition: Acquisition | None = None,
) -> bytes:
    """Return the OME-XML of a movie, axes TYX, as UTF-8; it depends only on the arguments and simtiff's version.

    Parameters
    ----------
    shape : tuple of int
        (T, Y, X).
    dtype : dtype
        uint16 or float32.
    pixel_size_um : tuple of float
        Pixel size along x and y in micrometres.
    file_uuid : str
        UUID of the file.
    acquisition : Acquisition, optional
        Instrument, channel and config; left out if not given.
    """
    frames, height, width = shape
    size_x, size_y = (f"{size:.12g}" for size in pixel_size_um)
    root = ElementTree.Element(
        "OME",
        {
            "xmlns": _SCHEMA,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{_SCHEMA} {_SCHEMA}/ome.xsd",
            "UUID": f"urn:uuid:{file_uuid}",
            "Creator": software(),
        },
    )
    # The schema requires this order of elements.
    if acquisition is not None:
        instrument = _add(root, "Instrument", ID="Instrument:0")
        register = {} if acquisition.em_gain is None else {"Type": "EMCCD", "AmplificationGain": acquisition.em_gain}
        _add(instrument, "Detector", ID="Detector:0:0", **register)
        _add(instrument, "Objective", ID="Objective:0:0", LensNA=acquisition.numerical_aperture)
    image = _add(root, "Image", ID="Image:0", Name="simulation")
    if acquisition is not None:
        _add(image, "InstrumentRef", ID="Instrument:0")
        _add(image, "ObjectiveSettings", ID="Objective:0:0", RefractiveIndex=acquisition.n_immersion)
    pixels = _add(
        image,
        "Pixels",
        ID="Pixels:0",
        DimensionOrder="XYCZT",
        Type=_TYPES[np.dtype(dtype).name],
        SizeX=width,
        SizeY=height,
        SizeC=1,
        SizeZ=1,
        SizeT=frames,
        PhysicalSizeX=size_x,
        PhysicalSizeXUnit="µm",
        PhysicalSizeY=size_y,
        PhysicalSizeYUnit="µm",
    )
    if acquisition is not None and acquisition.bit_depth is not None:
        pixels.set("SignificantBits", str(acquisition.bit_depth))
    channel = _add(pixels, "Channel", ID="Channel:0:0", SamplesPerPixel=1)
    if acquisition is not None:
        channel.set("EmissionWavelength", f"{acquisition.wavelength_nm:.12g}")
        channel.set("EmissionWavelengthUnit", "nm")
        numbers = {"Gain": acquisition.gain_adu_per_e, "Offset": acquisition.offset_adu}
        known = {name: number for name, number in numbers.items() if number is not None}
        _add(channel, "DetectorSettings", ID="Detector:0:0", **known)
    _add(channel, "LightPath")
    _add(pixels, "TiffData", IFD=0, PlaneCount=frames)
    if acquisition is not None and acquisition.exposure_ms is not None:
        exposure = {"ExposureTime": acquisition.exposure_ms, "ExposureTimeUnit": "ms"}
        for frame in range(min(frames, MOST_PLANES)):
            _add(pixels, "Plane", TheZ=0, TheC=0, TheT=frame, **exposure)
    if acquisition is not None:
        _add(image, "AnnotationRef", ID="Annotation:0")
        annotations = _add(root, "StructuredAnnotations")
        comment = _add(annotations, "CommentAnnotation", ID="Annotation:0", Namespace=CONFIG_NAMESPACE)
        _add(comment, "Value").text = acquisition.config
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


def _add(parent: ElementTree.Element, name: str, **attributes: Any) -> ElementTree.Element:
    texts = {key: f"{value:.12g}" if isinstance(value, float) else str(value) for key, value in attributes.items()}
    return ElementTree.SubElement(parent, name, texts)
