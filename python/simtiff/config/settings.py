"""The settings of a batch and of a job: keys, defaults, units and allowed ranges.

All models are frozen: a job's config never changes after it was checked. Unknown keys are errors, except
``description``, ``version``, ``$schema`` and keys that end in ``_note``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Strict,
    TypeAdapter,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from simtiff._core import MOST_MODES, MOST_ROWS, MOST_SAMPLES_PER_PIXEL, Cost, Spec
from simtiff.config.messages import show
from simtiff.config.names import (
    DEFAULT_SAMPLE_NAMING,
    folder_problem,
    home_problem,
    name_problem,
    sample_name,
    sample_naming_problem,
)
from simtiff.config.pixelsize import BOTH, EACH
from simtiff.errors import ConfigError
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    _Model = TypeVar("_Model", bound=BaseModel)

BUILTIN_ZMAPS = ("builtin:oil",)
MAX_JOBS = 100_000
NOTES: dict[str, Any] = {r"^(description|version|\$schema)$|_note$": {}}
_OPTICS = tuple(f"optical.{key}" for key in ("NA", "wavelength_nm", BOTH, *EACH))
_SAMPLING = ("psf.pixel_integration", "tiff.use_direct_rendering", "tiff.hr_size")
OF_GAUSSIAN = ("sigma_nm", "depth_nm", "astigmatism_nm")
_FREE_KEYS = frozenset({"description", "version", "$schema"})


def is_note(key: object) -> bool:
    """Return whether a key is free text for the reader, not a setting."""
    return isinstance(key, str) and (key in _FREE_KEYS or key.endswith("_note"))


def _allow_free_keys(schema: dict[str, Any]) -> None:
    schema["patternProperties"] = NOTES


class Section(BaseModel):
    """Base of all parts of a config: frozen, strict types, no unknown keys, no NaN."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_allow_free_keys
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_notes(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if key in cls.model_fields or not is_note(key)}
        return data


def _checked_text(message: str | None, value: str) -> str:
    if message is not None:
        raise PydanticCustomError(
            "text", "{message}", {"message": Text("{value} {problem}", value=show(value), problem=message)}
        )
    return value


def _path_text(value: str) -> str:
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return _checked_text(Text("has characters that no path can have"), value)
    return _checked_text(Text("is not a path") if not value.strip() or "\0" in value else home_problem(value), value)


def _folder_text(value: str) -> str:
    return _checked_text(folder_problem(_path_text(value)), value)


def _zmap_text(value: str) -> str:
    if value.startswith("builtin:") and value not in BUILTIN_ZMAPS:
        text = Text("is no built-in map; allowed: a path to an HDF5 file or {name}", name=BUILTIN_ZMAPS[0])
        return _checked_text(text, value)
    try:
        value.encode()  # it is stored as JSON
    except UnicodeEncodeError:
        text = Text("is not UTF-8, as the path of a map must be; rename what it leads through")
        return _checked_text(text, value)
    return _path_text(value)


def _tiff_name(value: str) -> str:
    message = name_problem(value)
    if message is None and not value.lower().endswith((".tif", ".tiff")):
        message = Text("must end in .tif or .tiff")
    return _checked_text(message, value)


def _odd(value: int) -> int:
    if value % 2 == 0:
        text = Text("{value} is even; allowed: an odd number from 3 to 511", value=value)
        raise PydanticCustomError("odd", "{message}", {"message": text})
    return value


def _sample_naming(value: str) -> str:
    return _checked_text(sample_naming_problem(value), value)


def _whole(value: Any) -> Any:
    """Return a whole number as an integer, as JSON has only one kind of numbers: 3.0 is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def _one_or_two(number: Any, *, null: bool = False) -> WrapValidator:
    """Check a number, or a list of two, by itself: an error then tells of what was meant alone. `null`: may be None."""
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
_MapOffset = Annotated[int, Field(ge=0, le=1_000_000), _WHOLE]


_Height = Annotated[float, Field(ge=-1000, le=1000)]
_PixelSize = Annotated[float, Field(ge=1, le=100_000)]
_PixelSizes = Annotated[_PixelSize | tuple[_PixelSize, _PixelSize] | None, _one_or_two(_PixelSize, null=True)]
_Sigma = Annotated[float, Field(ge=1, le=100_000)]
_Blur = Annotated[float, Field(ge=0, le=100_000)]
_Radians = Annotated[float, Field(ge=-1000, le=1000)]


class EmitterConfig(Section):
    """Emitters: how many, where, how bright and for how long."""

    num_emitters: Whole = Field(1000, ge=0, le=10**9, description="Number of emitters in the whole movie.")
    frames: Whole = Field(10, ge=1, le=10**7, description="Number of frames of the movie.")
    area_px: float = Field(
        1200.0,
        ge=1,
        le=65536,
        description="Side of the square field of view that holds emitters, in camera pixels.",
    )
    intensity_mu: float = Field(
        2000.0, ge=0, le=1e9, description="Mean photons of an emitter in a frame it is on for the whole of."
    )
    intensity_sigma: float = Field(
        400.0, ge=0, le=1e9, description="Standard deviation of that number (normal, cut at 0), in photons."
    )
    lifetime_avg: float = Field(2.5, gt=0, le=1e7, description="Mean time an emitter is on (exponential), in frames.")
    z_range_um: float = Field(
        1.0, ge=0, le=1000, description="z is uniform in [-z_range_um, z_range_um], in micrometres."
    )
    z_um: tuple[_Height, _Height] | None = Field(
        None, strict=False, description="[low, high]: z is uniform between them; null: z_range_um holds."
    )
    seed: Whole = Field(
        42, ge=0, le=2**63 - 1, description="Seed of the emitters, and of all else that has no seed of its own."
    )
    no_plot: bool = Field(default=True, description="false: save plots of positions and blinking (needs matplotlib).")

    @property
    def z_limits(self) -> tuple[float, float]:
        """The lowest and the highest z, in micrometres."""
        return (-self.z_range_um, self.z_range_um) if self.z_um is None else self.z_um

    @property
    def z_key(self) -> str:
        """The key that gives them."""
        return "z_range_um" if self.z_um is None else "z_um"


class ZernikeConfig(Section):
    """How the aberration map gives each emitter its Zernike coefficients."""

    interpolation_method: Literal["cubic", "linear", "nearest"] = Field(
        "cubic", description="Interpolation of the map between its pixels."
    )
    crop_size: WholeOrNull = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Side of the square of the map that is used, in map pixels; null: all.",
    )
    crop_offset: tuple[_MapOffset, _MapOffset] = Field(
        (0, 0), strict=False, description="Map pixel [x0, y0] that field pixel (0, 0) lies on."
    )
    extrapolate: Literal["nearest"] | None = Field(
        None, description='"nearest": a field larger than the map uses the map\'s rim; null: it is an error.'
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
        description="Both pixel sizes at once: a number, or [x, y]; in place of pixel_size_nm_x and pixel_size_nm_y.",
        json_schema_extra={"x-allowed": Text("a number from 1 to 100,000, a list [x, y] of two, or null")},
    )
    pixel_size_nm_x: float = Field(
        101.11, ge=1, le=100_000, description="Camera pixel in the sample, along x, in nanometres."
    )
    pixel_size_nm_y: float = Field(
        98.83, ge=1, le=100_000, description="Camera pixel in the sample, along y, in nanometres."
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
        description="How far the focus was moved into the sample, in micrometres. For the vectorial model.",
    )

    @property
    def has_mismatch(self) -> bool:
        """Whether z is the height above a coverslip."""
        return self.n_sample is not None and self.n_sample != self.n_immersion

    @model_validator(mode="after")
    def _each_pixel_size_has_its_key(self) -> OpticalConfig:
        if self.pixel_size_nm is None:
            return self
        size = self.pixel_size_nm
        if given := [key for key in EACH if key in self.model_fields_set]:
            others = ", ".join(f"optical.{key}" for key in given)
            message = Text("is given, and {keys} too; allowed: either it, or the keys for x and y", keys=others)
            return _checked_relations(self, [Relation((BOTH, *given), message)])
        sizes = size if isinstance(size, tuple) else (size, size)
        return self.model_copy(update={BOTH: None, **dict(zip(EACH, sizes, strict=True))})


def _noll_index(key: str) -> str:
    if not (key.isdecimal() and 1 <= int(key) <= MOST_MODES) or key != str(int(key)):
        text = Text("{key} is no Noll index; allowed: 1 to {most}", key=show(key), most=MOST_MODES)
        raise PydanticCustomError("noll", "{message}", {"message": text})
    return key


class PsfConfig(Section):
    """How the point spread function is computed."""

    model: Literal["scalar", "vectorial", "gaussian"] = Field(
        "scalar",
        description="One scalar field; the fields of a freely rotating dipole; or a Gaussian, which needs no map.",
    )
    size_px: Annotated[Whole, AfterValidator(_odd)] = Field(
        41,
        ge=3,
        le=511,
        description="Side of the square stamp of an emitter, in camera pixels, odd.",
        json_schema_extra={"not": {"multipleOf": 2}, "x-allowed": Text("an odd integer from 3 to 511")},
    )
    defocus: Literal["exact", "paraxial"] = Field("exact", description="Formula of the scalar model's defocus phase.")
    pixel_integration: bool = Field(
        default=True, description="true: light integrated over each pixel; false: sampled at its centre."
    )
    phase_noll: dict[Annotated[str, AfterValidator(_noll_index)], _Radians] = Field(
        default_factory=dict,
        description='Noll index to radians rms that are added to each emitter\'s coefficients, as {"6": 0.8}.',
    )
    blur_nm: Annotated[_Blur | tuple[_Blur, _Blur], _one_or_two(_Blur)] = Field(
        0.0,
        description="Standard deviation of a Gaussian blur in nanometres, at most 5 pixels, or [x, y].",
        json_schema_extra={"x-allowed": Text("a number from 0 to 100,000, or a list [x, y] of two")},
    )
    sigma_nm: Annotated[_Sigma | tuple[_Sigma, _Sigma], _one_or_two(_Sigma)] = Field(
        130.0,
        description="Of a Gaussian: standard deviation in focus in nanometres, or [x, y].",
        json_schema_extra={"x-allowed": Text("a number from 1 to 100,000, or a list [x, y] of two")},
    )
    depth_nm: float | None = Field(
        None,
        ge=1,
        le=1e9,
        description="Of a Gaussian: d of sigma_x(z) = sigma_x sqrt(1 + ((z - a)/d)^2), in nanometres; null: it does "
        "not widen.",
    )
    astigmatism_nm: float = Field(
        0.0, ge=-1e6, le=1e6, description="Of a Gaussian: a, for sigma_y(z) with its sign changed, in nanometres."
    )

    @property
    def options(self) -> dict[str, Any]:
        """What `Renderer` takes as options, but for ``phase_noll``, which the truth has."""
        options: dict[str, Any] = {"blur_nm": self.blur_nm} if self.blur_nm != 0 else {}
        if self.model == "gaussian":
            options |= {key: getattr(self, key) for key in OF_GAUSSIAN}
        return options


class NoiseParams(Section):
    """The camera in short form."""

    background: float = Field(100.0, ge=0, le=1e9, description="Mean background photons per pixel and frame.")
    readout_noise: float = Field(10.0, ge=0, le=1e6, description="Gaussian read noise, in electrons rms.")
    shot_noise: bool = Field(default=True, description="Poisson noise of signal and background.")


class TiffConfig(Section):
    """The movie file."""

    filename: Annotated[str, AfterValidator(_tiff_name)] = Field(
        "simulation.ome.tiff",
        description="Name of the movie in the job's folder; ends in .tif or .tiff.",
        json_schema_extra={"pattern": r"^[^/\\]+\.[tT][iI][fF][fF]?$"},
    )
    roi_size: Whole = Field(1200, ge=1, le=65536, description="Side of the square frames, in camera pixels.")
    crop_offset: tuple[_FrameOffset, _FrameOffset] = Field(
        (0, 0),
        strict=False,
        description="Field pixel [x0, y0] that frame pixel (0, 0) lies on; may be negative.",
    )
    use_direct_rendering: bool = Field(
        default=True, description="false: render at a higher resolution (hr_size) and bin."
    )
    hr_size: Whole = Field(
        6144,
        ge=1,
        le=2**22,
        description="Side of the high-resolution frame; round(hr_size / roi_size) samples a pixel, at most 64.",
    )
    add_noise: bool = Field(default=True, description="false: expected photons of the emitters alone.")
    noise_params: NoiseParams = Field(default_factory=NoiseParams, description="Background and noise.")
    dtype: Literal["uint16", "float32"] = Field("uint16", description="Pixel type of the movie.")
    compression: Literal["none", "zlib"] = Field("none", description="Lossless compression of the movie.")

    @property
    def samples_per_pixel(self) -> int | None:
        """Samples per pixel and axis that are rendered and binned, or None where pixels are rendered directly."""
        return None if self.use_direct_rendering else min(round(self.hr_size / self.roi_size), MOST_SAMPLES_PER_PIXEL)


class TruthConfig(Section):
    """What the truth has beside emitters, records and coefficients."""

    crlb: Annotated[Literal["joint"] | bool, BeforeValidator(_bounds)] = Field(
        default=False,
        description='true: the Cramér-Rao bound of each record as if it were alone; "joint": together with all whose '
        "stamps touch its own.",
        json_schema_extra={"x-allowed": Text('true, false or "joint"')},
    )


class MemoryConfig(Section):
    """How much is held in memory at a time; changes no pixel."""

    chunk_size: Whole = Field(10, ge=1, le=10**7, description="Frames rendered and written at a time.")
    enable_gc: bool = Field(default=True, description="Collect garbage between chunks.")
    gc_frequency: Whole = Field(5, ge=1, le=10**7, description="Chunks from one collection to the next.")


def _needs_a_map_or_a_gaussian(schema: dict[str, Any]) -> None:
    _allow_free_keys(schema)
    gaussian = {"properties": {"psf": {"properties": {"model": {"const": "gaussian"}}, "required": ["model"]}}}
    schema["required"].remove("zmap_path")
    schema["anyOf"] = [{"required": ["zmap_path"]}, {"required": ["psf"], **gaussian}]


class JobConfig(Section):
    """Everything that determines one movie."""

    model_config = ConfigDict(json_schema_extra=_needs_a_map_or_a_gaussian)

    zmap_path: Annotated[str, AfterValidator(_zmap_text)] = Field(
        description='Aberration map: an HDF5 file, relative to the config file, or "builtin:oil" (synthetic). A '
        "Gaussian needs none."
    )
    emitters: EmitterConfig = Field(default_factory=EmitterConfig)
    zernike: ZernikeConfig = Field(default_factory=ZernikeConfig)
    optical: OpticalConfig = Field(default_factory=OpticalConfig)
    psf: PsfConfig = Field(default_factory=PsfConfig)
    tiff: TiffConfig = Field(default_factory=TiffConfig)
    truth: TruthConfig = Field(default_factory=TruthConfig)
    memory_optimization: MemoryConfig = Field(default_factory=MemoryConfig)
    noise_seed: WholeOrNull = Field(
        None,
        ge=0,
        le=2**63 - 1,
        description="Seed of the camera's noise; null: emitters.seed, but in a sweep one for each combination.",
    )

    @property
    def has_zmap(self) -> bool:
        """Whether a map is used; a Gaussian uses none, and a movie whose coefficients are known may do without."""
        return "zmap_path" in self.model_fields_set and self.psf.model != "gaussian"

    @property
    def sampling(self) -> str | int:
        """What a pixel's value is, as the core takes it: "integrated", "point", or the mean of so many samples."""
        return self.tiff.samples_per_pixel or ("integrated" if self.psf.pixel_integration else "point")

    def cost(self, size_px: int, modes: int = 0) -> Cost:
        """Return what PSFs of this job take on stamps of so many pixels; `ConfigError` where there can be none.

        A Gaussian has no modes, whatever number there is.
        """
        psf = self.psf
        shape = psf.options
        for key in ("blur_nm", "sigma_nm"):
            if isinstance(shape.get(key), float):
                shape[key] = (shape[key], shape[key])
        spec = Spec(self.optical, size_px, psf.model, psf.defocus, self.sampling, **shape)
        return Cost(spec, 0 if psf.model == "gaussian" else modes)

    def computes(self, size_px: int, z_um: float) -> bool:
        """Say whether emitters without aberrations are computed at such a height, anywhere in a pixel."""
        try:
            return self.cost(size_px).rows(0.5, 0.5, z_um) <= MOST_ROWS
        except ConfigError:
            return False

    @model_validator(mode="wrap")
    @classmethod
    def _gaussian_needs_no_map(cls, data: Any, check: ModelWrapValidatorHandler[JobConfig]) -> JobConfig:
        psf = data.get("psf") if isinstance(data, dict) else None
        model = psf.get("model") if isinstance(psf, dict) else getattr(psf, "model", None)
        if model != "gaussian" or "zmap_path" in data:
            return check(data)
        job = check({"zmap_path": BUILTIN_ZMAPS[0], **data})
        job.model_fields_set.discard("zmap_path")
        return job

    @model_serializer(mode="wrap")
    def _says_no_map_that_it_has_not(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = dump(self)
        if self.psf.model == "gaussian" and "zmap_path" not in self.model_fields_set:
            content.pop("zmap_path", None)  # else another model would take it for given
        return content

    @model_validator(mode="after")
    def _values_go_together(self) -> JobConfig:
        return _checked_relations(self, _job_relations(self))


class SampleConfigs(Section):
    """Samples: the same settings several times, each with its own randomness."""

    num_samples: Whole = Field(ge=1, le=MAX_JOBS, description="Number of samples.")
    frames_per_sample: WholeOrNull = Field(
        None, ge=1, le=10**7, description="Frames of each sample; null: emitters.frames."
    )
    sample_naming: Annotated[str, AfterValidator(_sample_naming)] = Field(
        DEFAULT_SAMPLE_NAMING, description="Name of a sample's folder; {sample_id} counts from 1."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> SampleConfigs:
        return _checked_relations(self, _sample_relations(self))


class SeedsConfig(Section):
    """What the combinations of a sweep share."""

    emitters: Literal["shared", "independent"] = Field(
        "shared", description="Do all combinations have the same emitters, as far as their settings allow it?"
    )
    noise: Literal["shared", "independent"] = Field(
        "independent", description="Do all combinations without a noise_seed have the same camera noise?"
    )


class BatchConfig(Section):
    """A batch: a base config, and the variables and samples that make jobs of it."""

    description: JsonValue = Field(None, description="Free text.")
    version: JsonValue = Field(None, description="Free text.")
    base_output_dir: Annotated[str, AfterValidator(_folder_text)] = Field(
        "batch_output", description="Folder of the results, relative to the current directory."
    )
    max_workers: WholeOrNull = Field(
        None,
        ge=1,
        le=1024,
        description="Worker processes; null: one for each core it may use. Each gets cores / workers threads.",
    )
    base_config: JobConfig = Field(description="Settings of all jobs.")
    variables: dict[str, Annotated[tuple[JsonValue, ...], Field(strict=False)]] = Field(
        default_factory=dict,
        description="Dotted key -> list of values; jobs are all combinations, last key fastest.",
    )
    sample_configs: SampleConfigs | None = Field(None, description="Samples of each combination.")
    seeds: SeedsConfig = Field(default_factory=SeedsConfig, description="What the combinations of a sweep share.")

    _source: str = PrivateAttr(default="config")
    _prefix: str = PrivateAttr(default="base_config.")

    @property
    def source(self) -> str:
        """The file the config came from, for messages."""
        return self._source

    @property
    def prefix(self) -> str:
        """What the keys of a job begin with in that file, for messages."""
        return self._prefix


@dataclass(frozen=True)
class Relation:
    """Values that do not go together.

    Attributes
    ----------
    keys : tuple of str
        Dotted keys of these values; the first is the one to look at.
    message : str
        What is wrong with its value.
    """

    keys: tuple[str, ...]
    message: str


def _checked_relations(model: _Model, relations: Iterable[Relation]) -> _Model:
    """Return the model, or raise the error, for a validator of pydantic, that carries all relations."""
    if found := tuple(relations):
        text = "; ".join(relation.message for relation in found)
        raise PydanticCustomError("relations", "{text}", {"text": text, "relations": found})
    return model


def _job_relations(job: JobConfig) -> Iterator[Relation]:
    """Yield what does not go together in a job."""
    optical, tiff = job.optical, job.tiff
    if optical.NA > optical.n_immersion:
        yield Relation(
            ("optical.NA", "optical.n_immersion"),
            f"{optical.NA:g} is larger than the index n_immersion {optical.n_immersion:g}",
        )
    elif not (foreign := list(_foreign_keys(job))):
        yield from _integration(job)
    else:
        yield from foreign
    if tiff.samples_per_pixel == 0:
        yield Relation(
            ("tiff.hr_size", "tiff.roi_size", "tiff.use_direct_rendering"),
            f"{tiff.hr_size} is less than one sample for each of roi_size {tiff.roi_size} pixels; "
            f"allowed with use_direct_rendering false: from {tiff.roi_size // 2 + 1}",
        )
    area, size = job.emitters.area_px, tiff.roi_size
    if any(offset >= area or offset + size <= 0 for offset in tiff.crop_offset):
        yield Relation(
            ("tiff.crop_offset", "tiff.roi_size", "emitters.area_px"),
            f"{show(tiff.crop_offset)} puts the frame of {size} px outside the field of view of "
            f"{area:g} px (emitters.area_px); allowed: a frame that overlaps the field",
        )


def _foreign_keys(job: JobConfig) -> Iterator[Relation]:
    """Yield the settings that the PSF model does not have, and heights that it does not have."""
    optical, psf, emitters = job.optical, job.psf, job.emitters
    if psf.model != "scalar" and psf.defocus == "paraxial":
        message = f'"paraxial" is of psf.model "scalar"; allowed with {show(psf.model)}: "exact"'
        yield Relation(("psf.defocus", "psf.model"), message)
    if psf.model == "vectorial":
        if optical.n_coverslip is not None and optical.NA > optical.n_coverslip:
            message = f"{optical.NA:g} is larger than the index n_coverslip {optical.n_coverslip:g}"
            yield Relation(("optical.NA", "optical.n_coverslip"), message)
        if optical.has_mismatch and emitters.z_limits[0] < 0:
            message = (
                f"puts emitters at z = {emitters.z_limits[0]:g} um, within the coverslip: n_sample is not n_immersion, "
                "so z is the height above it; allowed: emitters.z_um, [low, high] from 0 on"
            )
            yield Relation((f"emitters.{emitters.z_key}", "emitters.z_um", "optical.n_sample"), message)
    else:
        for key in ("n_sample", "n_coverslip", "focal_depth_um"):
            if getattr(optical, key) not in (None, 0):
                yield Relation(
                    (f"optical.{key}", "psf.model"), f'is for psf.model "vectorial", and it is "{psf.model}"'
                )
    if psf.model == "gaussian":
        if psf.phase_noll:
            message = 'is for a model with a pupil, and psf.model is "gaussian"'
            yield Relation(("psf.phase_noll", "psf.model"), message)
        if psf.astigmatism_nm != 0 and psf.depth_nm is None:
            message = f"is {psf.astigmatism_nm:g}, which needs a psf.depth_nm"
            yield Relation(("psf.astigmatism_nm", "psf.depth_nm"), message)
    else:
        for key in OF_GAUSSIAN:
            if getattr(psf, key) != PsfConfig.model_fields[key].default:
                yield Relation((f"psf.{key}", "psf.model"), f'is for psf.model "gaussian", and it is "{psf.model}"')
    if emitters.z_um is not None and emitters.z_um[0] > emitters.z_um[1]:
        message = f"{show(emitters.z_um)} has its higher end first; allowed: [low, high]"
        yield Relation(("emitters.z_um",), message)
    blur = psf.blur_nm if isinstance(psf.blur_nm, tuple) else (psf.blur_nm, psf.blur_nm)
    largest = 5 * optical.pixel_size_nm_x, 5 * optical.pixel_size_nm_y
    if blur[0] > largest[0] or blur[1] > largest[1]:
        message = f"{show(psf.blur_nm)} nm is more than 5 pixels; allowed: up to {min(largest):g}"
        yield Relation(("psf.blur_nm", "optical.pixel_size_nm_x", "optical.pixel_size_nm_y"), message)


def _integration(job: JobConfig) -> Iterator[Relation]:
    # The core refuses an emitter that needs too many quadrature rows. Aberrations add to these, but a
    # stamp or a defocus that is too much alone, most likely by a mistake of units, is found here.
    optical, size_px = job.optical, job.psf.size_px
    sharp = optical.focal_depth_um if optical.has_mismatch else 0.0  # about where an emitter needs the fewest rows
    in_focus = job.model_copy(update={"optical": optical.model_copy(update={"focal_depth_um": 0.0})})
    if not job.computes(size_px, sharp) and in_focus.computes(size_px, 0.0):
        message = f"{optical.focal_depth_um:g} um is too deep to be computed; allowed: a smaller depth"
        yield Relation(("optical.focal_depth_um", "psf.size_px", *_SAMPLING, *_OPTICS), message)
    elif not job.computes(size_px, sharp):
        pixel_nm = max(optical.pixel_size_nm_x, optical.pixel_size_nm_y)
        largest = 2 * int(_largest(lambda half: job.computes(2 * int(half) + 1, sharp), size_px // 2, 0.5)) + 1
        yield Relation(
            ("psf.size_px", *_SAMPLING, *_OPTICS),
            f"{size_px} px of {pixel_nm:g} nm are too large a stamp for NA {optical.NA:g} and "
            f"{optical.wavelength_nm:g} nm; allowed: " + (f"up to {largest} px" if largest >= 3 else "smaller pixels"),
        )
    elif refused := [z for z in job.emitters.z_limits if not job.computes(size_px, z)]:
        z_um = max(refused)
        deepest = _largest(lambda part: job.computes(size_px, part * z_um), 1.0, 1e-6) * z_um
        yield Relation(
            (
                f"emitters.{job.emitters.z_key}",
                "psf.size_px",
                "psf.defocus",
                "optical.n_immersion",
                *_SAMPLING,
                *_OPTICS,
            ),
            f"{z_um:g} um is too far out of focus to be computed; allowed with these optics: up to about "
            f"{deepest:.3g} um",
        )


def _largest(allowed: Callable[[float], bool], refused: float, step: float) -> float:
    """Return the largest value from 0 on that is allowed, to within a step, by halving."""
    low, high = 0.0, refused
    while high - low > step:
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _sample_relations(samples: SampleConfigs) -> Iterator[Relation]:
    """Yield what is wrong with the samples' names."""
    naming, keys = samples.sample_naming, ("sample_naming", "num_samples")
    last = sample_name(naming, samples.num_samples)
    if samples.num_samples > 1 and last == sample_name(naming, 1):
        message = f"gives all {samples.num_samples} samples the same name; allowed: a name with {{sample_id}}"
        yield Relation(keys, f"{show(naming)} {message}")
    elif (problem := name_problem(last)) is not None:
        yield Relation(keys, f"{show(last)} {problem}")
