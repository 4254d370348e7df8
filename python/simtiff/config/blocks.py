"""The sections of a job's config: keys, defaults, units and allowed ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    TypeAdapter,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from simtiff._core import MOST_MODES, MOST_SAMPLES_PER_PIXEL
from simtiff.config.blinking import BlinkingConfig
from simtiff.config.inputs import InputPath  # noqa: TC001 - pydantic evaluates it
from simtiff.config.messages import show
from simtiff.config.names import (
    name_problem,
)
from simtiff.config.pixelsize import BOTH, EACH
from simtiff.config.section import Relation, Section, checked_relations, checked_text
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILTIN_ZMAPS = ("builtin:oil",)
MOST_EMITTERS = 10**9
OF_NUMBER = ("num_emitters", "density_per_um2", "positions_path")
"""Keys of ``emitters`` that set their number; only one of them may be given."""


def drop_other_numbers(emitters: dict[str, Any], by: Mapping[str, Any]) -> None:
    """Remove the number of emitters from raw values of ``emitters``, in place, if new values replace it."""
    if any(by.get(key) is not None for key in OF_NUMBER):
        for key in OF_NUMBER:
            if key not in by:
                emitters.pop(key, None)


OF_GAUSSIAN = ("sigma_nm", "depth_nm", "astigmatism_nm")


def _tiff_name(value: str) -> str:
    message = name_problem(value)
    if message is None and not value.lower().endswith((".tif", ".tiff")):
        message = Text("must end in .tif or .tiff")
    return checked_text(message, value)


def _odd(value: int) -> int:
    if value % 2 == 0:
        text = Text("{value} is even; allowed: an odd number from 3 to 511", value=value)
        raise PydanticCustomError("odd", "{message}", {"message": text})
    return value


def _whole(value: Any) -> Any:
    """Return a whole number as an integer: JSON has only one number type, so 3.0 is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def one_or_two(number: Any, *, null: bool = False) -> WrapValidator:
    """Validate one number or a list of two, so that errors refer to the form that was used; `null`: allow None."""
    one: TypeAdapter[float] = TypeAdapter(number, config=_STRICT)
    two: TypeAdapter[tuple[float, float]] = TypeAdapter(Annotated[tuple[number, number], Strict(False)], config=_STRICT)

    def check(value: Any, _: object) -> Any:
        if value is None and null:
            return None
        return (two if isinstance(value, list | tuple) else one).validate_python(value)

    return WrapValidator(check)


def _bounds(value: Any) -> Any:
    if isinstance(value, bool) or value == "joint":
        return value
    text = Text('{value} is not allowed; allowed: true, false or "joint"', value=show(value))
    raise PydanticCustomError("crlb", "{message}", {"message": text})


_WHOLE = BeforeValidator(_whole)
Whole = Annotated[int, _WHOLE]
WholeOrNull = Annotated[int | None, _WHOLE]
_FrameOffset = Annotated[int, Field(ge=-1_000_000, le=1_000_000), _WHOLE]
MapOffset = Annotated[int, Field(ge=0, le=1_000_000), _WHOLE]


def _one_for_equals(value: Any) -> Any:
    """Return one number for two equal ones, so that both ways of writing them give the same job."""
    return value[0] if isinstance(value, tuple) and value[0] == value[1] else value


ONE_FOR_EQUALS = AfterValidator(_one_for_equals)
_Side = Annotated[float, Field(ge=1, le=65536)]
_Pixels = Annotated[int, Field(ge=1, le=65536), _WHOLE]
_Height = Annotated[float, Field(ge=-1000, le=1000)]
_PixelSize = Annotated[float, Field(ge=1, le=100_000)]
_PixelSizes = Annotated[_PixelSize | tuple[_PixelSize, _PixelSize] | None, one_or_two(_PixelSize, null=True)]
_Sigma = Annotated[float, Field(ge=1, le=100_000)]
_Blur = Annotated[float, Field(ge=0, le=100_000)]
_Radians = Annotated[float, Field(ge=-1000, le=1000)]


class FiducialsConfig(Section):
    """Fiducial markers, always on, at random positions."""

    count: Whole = Field(ge=1, le=10**6, description="Number of fiducial markers.")
    photons: float = Field(ge=0, le=1e9, description="Photons of a marker in each frame.")


class EmitterConfig(Section):
    """Emitters: how many, where, how bright and for how long."""

    num_emitters: Whole = Field(
        1000, ge=0, le=MOST_EMITTERS, description="Number of emitters in the field, whole movie."
    )
    density_per_um2: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description="Instead of num_emitters: emitters that are on per square micrometre, mean over the movie.",
    )
    margin_px: float = Field(
        0.0,
        ge=0,
        le=65536,
        description="Emitters are also placed within this distance outside the field, at the same density.",
    )
    frames: Whole = Field(10, ge=1, le=10**7, description="Number of frames of the movie.")
    area_px: Annotated[_Side | tuple[_Side, _Side], one_or_two(_Side), ONE_FOR_EQUALS] = Field(
        1200.0,
        description="Side of the square field of view that holds emitters, in camera pixels, or [width, height].",
        json_schema_extra={"x-allowed": Text("a number from 1 to 65,536, or a list [width, height] of two")},
    )
    intensity_mu: float = Field(
        2000.0, ge=0, le=1e9, description="Mean photons per frame of an emitter that is on for the full frame."
    )
    intensity_sigma: float = Field(400.0, ge=0, le=1e9, description="Standard deviation of that number, in photons.")
    photon_distribution: Literal["normal", "gamma", "lognormal", "exponential"] = Field(
        "normal",
        description="Distribution of that number: normal is clipped at 0, exponential uses only the mean.",
    )
    lifetime_avg: float = Field(2.5, gt=0, le=1e7, description="Mean time an emitter is on (exponential), in frames.")
    z_range_um: float = Field(
        1.0, ge=0, le=1000, description="z is uniform in [-z_range_um, z_range_um], in micrometres."
    )
    z_um: tuple[_Height, _Height] | None = Field(
        None, strict=False, description="[low, high]: z is uniform between them; null: z_range_um holds."
    )
    positions_path: InputPath | None = Field(
        None,
        description="File of molecules, which blink, or of localizations with frame and photons, which are used "
        "unchanged; instead of num_emitters. null: random positions.",
    )
    blinking: BlinkingConfig = Field(default_factory=BlinkingConfig, description="When emitters are on.")
    fiducials: FiducialsConfig | None = Field(None, description="Fiducial markers, always on; null: none.")
    seed: Whole = Field(
        42, ge=0, le=2**63 - 1, description="Seed of the emitters, and of everything without a separate seed."
    )
    no_plot: bool = Field(default=True, description="false: save plots of positions and blinking (needs matplotlib).")

    @model_serializer(mode="wrap")
    def _says_one_number(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = dump(self)
        others = (self.density_per_um2, self.positions_path)
        if others != (None, None) and "num_emitters" not in self.model_fields_set:
            content.pop("num_emitters", None)
        return content

    @model_validator(mode="after")
    def _one_number(self) -> EmitterConfig:
        given = [key for key in ("positions_path", "density_per_um2") if getattr(self, key) is not None]
        given += ["num_emitters"] * ("num_emitters" in self.model_fields_set)
        if len(given) < 2 or given == ["num_emitters"]:
            return self
        keys = ", ".join(f"emitters.{key}" for key in given[1:])
        message = Text("cannot be combined with {keys}; allowed: one of them", keys=keys)
        return checked_relations(self, [Relation(tuple(given), message)])

    @property
    def photon_law(self) -> tuple[str, float, float]:
        """The distribution of photons per frame, as the core expects it: name, mean and standard deviation."""
        return self.photon_distribution, self.intensity_mu, self.intensity_sigma

    @property
    def area(self) -> tuple[float, float]:
        """Width and height of the field of view, in camera pixels."""
        return self.area_px if isinstance(self.area_px, tuple) else (self.area_px, self.area_px)

    @property
    def z_limits(self) -> tuple[float, float]:
        """The lowest and the highest z, in micrometres."""
        return (-self.z_range_um, self.z_range_um) if self.z_um is None else self.z_um

    @property
    def z_key(self) -> str:
        """The key that sets the z limits."""
        return "z_range_um" if self.z_um is None else "z_um"


class ZernikeConfig(Section):
    """How Zernike coefficients are taken from the aberration map."""

    interpolation_method: Literal["cubic", "linear", "nearest"] = Field(
        "cubic", description="Interpolation of the map between its pixels."
    )
    crop_size: WholeOrNull = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Side of the square of the map that is used, in map pixels; null: all.",
    )
    crop_offset: tuple[MapOffset, MapOffset] = Field(
        (0, 0), strict=False, description="Map pixel [x0, y0] of field pixel (0, 0)."
    )
    extrapolate: Literal["nearest"] | None = Field(
        None, description='"nearest": use edge values where the field is larger than the map; null: raise an error.'
    )
    num_plot: Whole = Field(10, ge=0, le=10_000, description="Number of emitters in the coefficient plot.")
    no_plot: bool = Field(default=True, description="false: save a plot of coefficients (needs matplotlib).")


class OpticalConfig(Section):
    """The microscope."""

    wavelength_nm: float = Field(660.0, ge=100, le=5000, description="Emission wavelength in vacuum, in nanometres.")
    NA: float = Field(1.4, gt=0, le=5, description="Numerical aperture, at most n_immersion.")
    n_immersion: float = Field(1.518, ge=1, le=5, description="Refractive index of the immersion medium.")
    pixel_size_nm: _PixelSizes = Field(
        None,
        exclude=True,
        description="Both pixel sizes at once: a number, or [x, y]; instead of pixel_size_nm_x and pixel_size_nm_y.",
        json_schema_extra={"x-allowed": Text("a number from 1 to 100,000, a list [x, y] of two, or null")},
    )
    pixel_size_nm_x: float = Field(
        101.11, ge=1, le=100_000, description="Camera pixel size in the sample, along x, in nanometres."
    )
    pixel_size_nm_y: float = Field(
        98.83, ge=1, le=100_000, description="Camera pixel size in the sample, along y, in nanometres."
    )

    n_sample: float | None = Field(
        None,
        ge=1,
        le=5,
        description="Refractive index of the sample; null: n_immersion. For the vectorial model; where it differs from "
        "n_immersion, z is the height above the coverslip.",
    )
    n_coverslip: float | None = Field(
        None, ge=1, le=5, description="Refractive index of the coverslip; null: n_immersion. For the vectorial model."
    )
    focal_depth_um: float = Field(
        0.0,
        ge=-1000,
        le=1000,
        description="Nominal focal depth in the sample (stage displacement), in micrometres. For the vectorial model.",
    )

    @property
    def has_mismatch(self) -> bool:
        """Whether there is a refractive-index mismatch, so that z is the height above the coverslip."""
        return self.n_sample is not None and self.n_sample != self.n_immersion

    @model_validator(mode="after")
    def _each_pixel_size_has_its_key(self) -> OpticalConfig:
        if self.pixel_size_nm is None:
            return self
        size = self.pixel_size_nm
        if given := [key for key in EACH if key in self.model_fields_set]:
            others = ", ".join(f"optical.{key}" for key in given)
            message = Text("cannot be combined with {keys}; allowed: either it, or the keys for x and y", keys=others)
            return checked_relations(self, [Relation((BOTH, *given), message)])
        sizes = size if isinstance(size, tuple) else (size, size)
        return self.model_copy(update={BOTH: None, **dict(zip(EACH, sizes, strict=True))})


def _noll_index(key: str) -> str:
    if not (key.isdecimal() and 1 <= int(key) <= MOST_MODES) or key != str(int(key)):
        text = Text("{key} is not a Noll index; allowed: 1 to {most}", key=show(key), most=MOST_MODES)
        raise PydanticCustomError("noll", "{message}", {"message": text})
    return key


class PsfConfig(Section):
    """How the point spread function is computed."""

    model: Literal["scalar", "vectorial", "gaussian"] = Field(
        "scalar",
        description="Scalar pupil, vectorial (freely rotating dipole), or Gaussian, which needs no aberration map.",
    )
    size_px: Annotated[Whole, AfterValidator(_odd)] = Field(
        41,
        ge=3,
        le=511,
        description="Side of the square PSF stamp, in camera pixels, odd.",
        json_schema_extra={"not": {"multipleOf": 2}, "x-allowed": Text("an odd integer from 3 to 511")},
    )
    defocus: Literal["exact", "paraxial"] = Field("exact", description="Defocus phase of the scalar model.")
    pixel_integration: bool = Field(
        default=True, description="true: integrate the PSF over each pixel; false: sample it at the pixel centre."
    )
    phase_noll: dict[Annotated[str, AfterValidator(_noll_index)], _Radians] = Field(
        default_factory=dict,
        description='Noll index -> radians rms, added to the coefficients of every emitter, for example {"6": 0.8}.',
    )
    blur_nm: Annotated[_Blur | tuple[_Blur, _Blur], one_or_two(_Blur)] = Field(
        0.0,
        description="Standard deviation of a Gaussian blur in nanometres, at most 5 pixels, or [x, y].",
        json_schema_extra={"x-allowed": Text("a number from 0 to 100,000, or a list [x, y] of two")},
    )
    sigma_nm: Annotated[_Sigma | tuple[_Sigma, _Sigma], one_or_two(_Sigma)] = Field(
        130.0,
        description="For the Gaussian: standard deviation in focus in nanometres, or [x, y].",
        json_schema_extra={"x-allowed": Text("a number from 1 to 100,000, or a list [x, y] of two")},
    )
    depth_nm: float | None = Field(
        None,
        ge=1,
        le=1e9,
        description="For the Gaussian: d in sigma_x(z) = sigma_x sqrt(1 + ((z - a)/d)^2), in nanometres; null: the "
        "width does not depend on z.",
    )
    astigmatism_nm: float = Field(
        0.0, ge=-1e6, le=1e6, description="For the Gaussian: a in sigma_x(z), and -a in sigma_y(z), in nanometres."
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options of `Renderer`, except ``phase_noll``, which is part of the truth."""
        options: dict[str, Any] = {"blur_nm": self.blur_nm} if self.blur_nm != 0 else {}
        if self.model == "gaussian":
            options |= {key: getattr(self, key) for key in OF_GAUSSIAN}
        return options


class NoiseParams(Section):
    """Simple noise model for camera and background; `REPLACED_BY` lists the sections that replace it."""

    background: float = Field(100.0, ge=0, le=1e9, description="Mean background photons per pixel and frame.")
    readout_noise: float = Field(10.0, ge=0, le=1e6, description="Gaussian read noise, in electrons rms.")
    shot_noise: bool = Field(default=True, description="Poisson noise of signal and background.")


REPLACED_BY = {"camera": ("readout_noise", "shot_noise"), "background": ("background",)}
"""Keys of ``tiff.noise_params`` that a section replaces; they must not be given together with it."""


class TiffConfig(Section):
    """The movie file."""

    filename: Annotated[str, AfterValidator(_tiff_name)] = Field(
        "simulation.ome.tiff",
        description="Name of the movie in the job's folder; ends in .tif or .tiff.",
        json_schema_extra={"pattern": r"^[^/\\]+\.[tT][iI][fF][fF]?$"},
    )
    roi_size: Annotated[_Pixels | tuple[_Pixels, _Pixels], one_or_two(_Pixels), ONE_FOR_EQUALS] = Field(
        1200,
        description="Side of the square frames in camera pixels, or [width, height].",
        json_schema_extra={"x-allowed": Text("an integer from 1 to 65,536, or a list [width, height] of two")},
    )
    crop_offset: tuple[_FrameOffset, _FrameOffset] = Field(
        (0, 0),
        strict=False,
        description="Field pixel [x0, y0] of frame pixel (0, 0); may be negative.",
    )
    use_direct_rendering: bool = Field(
        default=True, description="false: render at a higher resolution (hr_size) and bin."
    )
    hr_size: Whole = Field(
        6144,
        ge=1,
        le=2**22,
        description="Width of the high-resolution frame; round(hr_size / frame width) samples per pixel, at most 64.",
    )
    add_noise: bool = Field(default=True, description="false: expected photons of the emitters, without background.")
    noise_params: NoiseParams = Field(default_factory=NoiseParams, description="Background and noise.")
    dtype: Literal["uint16", "float32"] = Field("uint16", description="Pixel type of the movie.")
    compression: Literal["none", "zlib"] = Field("none", description="Lossless compression of the movie.")

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Height and width of a frame, in camera pixels."""
        width, height = self.roi_size if isinstance(self.roi_size, tuple) else (self.roi_size, self.roi_size)
        return height, width

    @property
    def samples_per_pixel(self) -> int | None:
        """Samples per pixel and axis that are rendered and binned; None for direct rendering."""
        _, width = self.frame_shape
        return None if self.use_direct_rendering else min(round(self.hr_size / width), MOST_SAMPLES_PER_PIXEL)


class TruthConfig(Section):
    """Optional content of the truth."""

    crlb: Annotated[Literal["joint"] | bool, BeforeValidator(_bounds)] = Field(
        default=False,
        description='true: single-emitter Cramér-Rao bound of each record; "joint": bound with all emitters whose '
        "stamps overlap.",
        json_schema_extra={"x-allowed": Text('true, false or "joint"')},
    )


class MemoryConfig(Section):
    """Memory use; has no effect on the pixels."""

    chunk_size: Whole = Field(10, ge=1, le=10**7, description="Frames rendered and written at a time.")
    enable_gc: bool = Field(default=True, description="Collect garbage between chunks.")
    gc_frequency: Whole = Field(5, ge=1, le=10**7, description="Chunks from one collection to the next.")
