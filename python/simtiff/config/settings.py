"""The config of a batch and of a job: keys, defaults, units and allowed ranges.

All models are frozen: a config does not change after it has been checked. Unknown keys are errors, except
``description``, ``version``, ``$schema`` and keys that end in ``_note``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from simtiff._core import MOST_ROWS, Cost, Spec
from simtiff.config.blocks import (
    BUILTIN_ZMAPS,
    OF_GAUSSIAN,
    REPLACED_BY,
    EmitterConfig,
    MemoryConfig,
    OpticalConfig,
    PsfConfig,
    TiffConfig,
    TruthConfig,
    Whole,
    WholeOrNull,
    ZernikeConfig,
)
from simtiff.config.camera import CameraConfig, camera_relations
from simtiff.config.drift import DriftConfig  # noqa: TC001 - pydantic evaluates it
from simtiff.config.exports import EXPORT_NAMES, ExportName
from simtiff.config.inputs import path_text, stored_path_text
from simtiff.config.light import BackgroundConfig, IlluminationConfig, background_relations
from simtiff.config.messages import show
from simtiff.config.names import (
    DEFAULT_SAMPLE_NAMING,
    folder_problem,
    name_problem,
    sample_name,
    sample_naming_problem,
)
from simtiff.config.pixelsize import BOTH, EACH
from simtiff.config.section import Relation, Section, allow_free_keys, checked_relations, checked_text
from simtiff.errors import ConfigError
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Model = TypeVar("_Model", bound=BaseModel)

MAX_JOBS = 100_000
_OPTICS = tuple(f"optical.{key}" for key in ("NA", "wavelength_nm", BOTH, *EACH))
_SAMPLING = ("psf.pixel_integration", "tiff.use_direct_rendering", "tiff.hr_size")


def _folder_text(value: str) -> str:
    return checked_text(folder_problem(path_text(value)), value)


def _zmap_text(value: str) -> str:
    if value.startswith("builtin:") and value not in BUILTIN_ZMAPS:
        text = Text("is not a built-in map; allowed: a path to an HDF5 file or {name}", name=BUILTIN_ZMAPS[0])
        return checked_text(text, value)
    return stored_path_text(value)


def _sample_naming(value: str) -> str:
    return checked_text(sample_naming_problem(value), value)


def _needs_a_map_or_a_gaussian(schema: dict[str, Any]) -> None:
    allow_free_keys(schema)
    gaussian = {"properties": {"psf": {"properties": {"model": {"const": "gaussian"}}, "required": ["model"]}}}
    schema["required"].remove("zmap_path")
    schema["anyOf"] = [{"required": ["zmap_path"]}, {"required": ["psf"], **gaussian}]


class JobConfig(Section):
    """Everything that determines one movie."""

    model_config = ConfigDict(json_schema_extra=_needs_a_map_or_a_gaussian)

    zmap_path: Annotated[str, AfterValidator(_zmap_text)] = Field(
        description='Aberration map: an HDF5 file, relative to the config file, or "builtin:oil" (synthetic). Not '
        "needed for a Gaussian."
    )
    emitters: EmitterConfig = Field(default_factory=EmitterConfig)
    zernike: ZernikeConfig = Field(default_factory=ZernikeConfig)
    optical: OpticalConfig = Field(default_factory=OpticalConfig)
    psf: PsfConfig = Field(default_factory=PsfConfig)
    tiff: TiffConfig = Field(default_factory=TiffConfig)
    drift: DriftConfig | None = Field(None, description="Motion of the sample relative to the camera; null: none.")
    camera: CameraConfig | None = Field(
        None, description="The camera; null: the simple model of tiff.noise_params, with 1 electron per ADU."
    )
    background: BackgroundConfig | None = Field(None, description="The background; null: tiff.noise_params.background.")
    illumination: IlluminationConfig | None = Field(None, description="The illumination; null: flat.")
    truth: TruthConfig = Field(default_factory=TruthConfig)
    export: tuple[ExportName, ...] = Field(
        (),
        strict=False,
        description="Formats of other software in which the truth is also written, in addition to emitters.h5.",
        json_schema_extra={"x-allowed": Text("a list of any of {names}", names=", ".join(EXPORT_NAMES))},
    )
    memory_optimization: MemoryConfig = Field(default_factory=MemoryConfig)
    noise_seed: WholeOrNull = Field(
        None,
        ge=0,
        le=2**63 - 1,
        description="Seed of the camera noise; null: emitters.seed, or in a sweep a separate one for each combination.",
    )

    @property
    def has_zmap(self) -> bool:
        """Whether a map is used. A Gaussian needs none, and a movie with known coefficients may have none."""
        return "zmap_path" in self.model_fields_set and self.psf.model != "gaussian"

    @property
    def sampling(self) -> str | int:
        """Pixel sampling, as the core expects it: "integrated", "point", or the number of samples to average."""
        return self.tiff.samples_per_pixel or ("integrated" if self.psf.pixel_integration else "point")

    def cost(self, size_px: int, modes: int = 0) -> Cost:
        """Return the cost of this job's PSFs on stamps of the given size; `ConfigError` if they cannot be computed.

        For a Gaussian, `modes` is ignored.
        """
        psf = self.psf
        shape = psf.options
        for key in ("blur_nm", "sigma_nm"):
            if isinstance(shape.get(key), float):
                shape[key] = (shape[key], shape[key])
        spec = Spec(self.optical, size_px, psf.model, psf.defocus, self.sampling, **shape)
        return Cost(spec, 0 if psf.model == "gaussian" else modes)

    def computes(self, size_px: int, z_um: float) -> bool:
        """Return whether emitters without aberrations can be computed at this height, anywhere in a pixel."""
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
    def _says_nothing_that_it_has_not(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = dump(self)
        if self.psf.model == "gaussian" and "zmap_path" not in self.model_fields_set:
            content.pop("zmap_path", None)  # else it would count as set if the model is changed
        noise = content.get("tiff", {}).get("noise_params", {})
        for key in (key for block, keys in REPLACED_BY.items() if getattr(self, block) is not None for key in keys):
            noise.pop(key, None)
        return content

    @model_validator(mode="after")
    def _values_go_together(self) -> JobConfig:
        return checked_relations(self, _job_relations(self))


class SampleConfigs(Section):
    """Samples: repeats of the same settings, each with its own seed."""

    num_samples: Whole = Field(ge=1, le=MAX_JOBS, description="Number of samples (repeats).")
    frames_per_sample: WholeOrNull = Field(
        None, ge=1, le=10**7, description="Frames of each sample; null: emitters.frames."
    )
    sample_naming: Annotated[str, AfterValidator(_sample_naming)] = Field(
        DEFAULT_SAMPLE_NAMING, description="Name of a sample's folder; {sample_id} counts from 1."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> SampleConfigs:
        return checked_relations(self, _sample_relations(self))


class SeedsConfig(Section):
    """What the combinations of a sweep share."""

    emitters: Literal["shared", "independent"] = Field(
        "shared", description="Whether all combinations have the same emitters, as far as their settings allow."
    )
    noise: Literal["shared", "independent"] = Field(
        "independent", description="Whether all combinations without a noise_seed have the same camera noise."
    )


class BatchConfig(Section):
    """A batch: a base config, and the variables and samples that expand it into jobs."""

    description: JsonValue = Field(None, description="Free text.")
    version: JsonValue = Field(None, description="Free text.")
    base_output_dir: Annotated[str, AfterValidator(_folder_text)] = Field(
        "batch_output", description="Folder of the results, relative to the current directory."
    )
    max_workers: WholeOrNull = Field(
        None,
        ge=1,
        le=1024,
        description="Worker processes; null: one per available core. Each uses cores / workers threads.",
    )
    base_config: JobConfig = Field(description="Settings of all jobs.")
    variables: dict[str, Annotated[tuple[JsonValue, ...], Field(strict=False)]] = Field(
        default_factory=dict,
        description="Dotted key -> list of values; there is a job for each combination, the last key varies fastest.",
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
        """The prefix of a job's keys in that file, for messages."""
        return self._prefix


def _job_relations(job: JobConfig) -> Iterator[Relation]:
    """Yield conflicts between the settings of a job."""
    optical, tiff = job.optical, job.tiff
    if optical.NA > optical.n_immersion:
        yield Relation(
            ("optical.NA", "optical.n_immersion"),
            f"{optical.NA:g} is larger than the refractive index n_immersion {optical.n_immersion:g}",
        )
    elif not (foreign := list(_foreign_keys(job))):
        yield from _integration(job)
    else:
        yield from foreign
    if tiff.samples_per_pixel == 0:
        yield Relation(
            ("tiff.hr_size", "tiff.roi_size", "tiff.use_direct_rendering"),
            f"{tiff.hr_size} is less than one sample per pixel for roi_size {tiff.frame_shape[1]}; "
            f"allowed with use_direct_rendering false: from {tiff.frame_shape[1] // 2 + 1}",
        )
    if any(
        offset >= area or offset + size <= 0
        for offset, size, area in zip(tiff.crop_offset, tiff.frame_shape[::-1], job.emitters.area, strict=True)
    ):
        yield Relation(
            ("tiff.crop_offset", "tiff.roi_size", "emitters.area_px"),
            f"{show(tiff.crop_offset)} puts the frame of {_sides(tiff.roi_size)} px outside the field of view of "
            f"{_sides(job.emitters.area_px)} px (emitters.area_px); allowed: a frame that overlaps the field",
        )
    if job.camera is not None:
        yield from camera_relations(job.camera, tiff)
    if job.background is not None:
        yield from background_relations(job.background, tiff.noise_params)


def _sides(size: float | tuple[float, float]) -> str:
    """Return the side of a square, or width and height of a rectangle, as text."""
    return " x ".join(f"{side:g}" for side in size) if isinstance(size, tuple) else f"{size:g}"


def _foreign_keys(job: JobConfig) -> Iterator[Relation]:
    """Yield settings and heights that the PSF model does not support."""
    optical, psf, emitters = job.optical, job.psf, job.emitters
    if psf.model != "scalar" and psf.defocus == "paraxial":
        message = f'"paraxial" needs psf.model "scalar"; allowed with {show(psf.model)}: "exact"'
        yield Relation(("psf.defocus", "psf.model"), message)
    if psf.model == "vectorial":
        if optical.n_coverslip is not None and optical.NA > optical.n_coverslip:
            message = f"{optical.NA:g} is larger than the refractive index n_coverslip {optical.n_coverslip:g}"
            yield Relation(("optical.NA", "optical.n_coverslip"), message)
        if optical.has_mismatch and emitters.z_limits[0] < 0:
            message = (
                f"puts emitters at z = {emitters.z_limits[0]:g} um, inside the coverslip: n_sample differs from "
                "n_immersion, so z is the height above the coverslip; allowed: emitters.z_um [low, high] with low >= 0"
            )
            yield Relation((f"emitters.{emitters.z_key}", "emitters.z_um", "optical.n_sample"), message)
    else:
        for key in ("n_sample", "n_coverslip", "focal_depth_um"):
            if getattr(optical, key) not in (None, 0):
                yield Relation((f"optical.{key}", "psf.model"), f'needs psf.model "vectorial", but it is "{psf.model}"')
    if psf.model == "gaussian":
        if psf.phase_noll:
            message = 'needs a model with a pupil, but psf.model is "gaussian"'
            yield Relation(("psf.phase_noll", "psf.model"), message)
        if psf.astigmatism_nm != 0 and psf.depth_nm is None:
            message = f"is {psf.astigmatism_nm:g}, which needs psf.depth_nm"
            yield Relation(("psf.astigmatism_nm", "psf.depth_nm"), message)
    else:
        for key in OF_GAUSSIAN:
            if getattr(psf, key) != PsfConfig.model_fields[key].default:
                yield Relation((f"psf.{key}", "psf.model"), f'needs psf.model "gaussian", but it is "{psf.model}"')
    if emitters.z_um is not None and emitters.z_um[0] > emitters.z_um[1]:
        message = f"{show(emitters.z_um)} has the higher value first; allowed: [low, high]"
        yield Relation(("emitters.z_um",), message)
    blur = psf.blur_nm if isinstance(psf.blur_nm, tuple) else (psf.blur_nm, psf.blur_nm)
    largest = 5 * optical.pixel_size_nm_x, 5 * optical.pixel_size_nm_y
    if blur[0] > largest[0] or blur[1] > largest[1]:
        message = f"{show(psf.blur_nm)} nm is more than 5 pixels; allowed: up to {min(largest):g}"
        yield Relation(("psf.blur_nm", "optical.pixel_size_nm_x", "optical.pixel_size_nm_y"), message)


def _integration(job: JobConfig) -> Iterator[Relation]:
    # The core rejects an emitter that needs too many quadrature rows. Aberrations need additional rows, but a stamp
    # or a defocus that is too large by itself, usually from wrong units, is reported here.
    optical, size_px = job.optical, job.psf.size_px
    sharp = optical.focal_depth_um if optical.has_mismatch else 0.0  # z near best focus, which needs the fewest rows
    in_focus = job.model_copy(update={"optical": optical.model_copy(update={"focal_depth_um": 0.0})})
    if not job.computes(size_px, sharp) and in_focus.computes(size_px, 0.0):
        message = f"{optical.focal_depth_um:g} um is too deep to be computed; allowed: a smaller depth"
        yield Relation(("optical.focal_depth_um", "psf.size_px", *_SAMPLING, *_OPTICS), message)
    elif not job.computes(size_px, sharp):
        pixel_nm = max(optical.pixel_size_nm_x, optical.pixel_size_nm_y)
        largest = 2 * int(_largest(lambda half: job.computes(2 * int(half) + 1, sharp), size_px // 2, 0.5)) + 1
        yield Relation(
            ("psf.size_px", *_SAMPLING, *_OPTICS),
            f"a stamp of {size_px} px of {pixel_nm:g} nm is too large for NA {optical.NA:g} and "
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
    """Return the largest allowed value between 0 and `refused`, to within a step, by bisection."""
    low, high = 0.0, refused
    while high - low > step:
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _sample_relations(samples: SampleConfigs) -> Iterator[Relation]:
    """Yield problems with the samples' names."""
    naming, keys = samples.sample_naming, ("sample_naming", "num_samples")
    last = sample_name(naming, samples.num_samples)
    if samples.num_samples > 1 and last == sample_name(naming, 1):
        message = f"gives all {samples.num_samples} samples the same name; allowed: a name with {{sample_id}}"
        yield Relation(keys, f"{show(naming)} {message}")
    elif (problem := name_problem(last)) is not None:
        yield Relation(keys, f"{show(last)} {problem}")
