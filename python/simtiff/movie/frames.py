"""From truth to camera frames, chunk by chunk; the next chunk is rendered while the current one is used."""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from simtiff.config.identity import noise_seed
from simtiff.errors import ConfigError, DataError
from simtiff.imaging.camera import Camera
from simtiff.imaging.optics import Optics
from simtiff.imaging.renderer import Renderer
from simtiff.movie.camera import camera_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from simtiff.config.settings import JobConfig
    from simtiff.imaging.scene import Scene
    from simtiff.io.tiff import HandOver
    from simtiff.movie.light import Background

_CAMERA_PURPOSE = 0xCA3E7A
_LARGE_FRAME_BYTES = 1 << 18


class _EndedError(Exception):
    """The chunk being rendered ahead is no longer needed."""


class Truth(Protocol):
    """Source of a movie's records: memory or a file."""

    @property
    def path(self) -> str | None:
        """The file; None for memory."""

    @property
    def background(self) -> Background | None:
        """The movie's background; None if it is a single number of its camera."""

    def scene(self, start: int, stop: int) -> Scene:
        """Return the emitters and records of frames ``start..stop - 1``."""


def camera_seed(seed: int) -> int:
    """Return the 64-bit seed of a job's camera noise, independent of the random streams of its emitters."""
    return int(np.random.SeedSequence([seed, _CAMERA_PURPOSE]).generate_state(1, np.uint64)[0])


def optics_of(config: JobConfig) -> Optics:
    """Return the microscope of a job."""
    return Optics(**config.optical.model_dump())


def renderer_of(config: JobConfig) -> Renderer:
    """Return the renderer of a job's scenes; phases added to all emitters are in the truth already."""
    psf = config.psf
    return Renderer(
        optics_of(config),
        size=psf.size_px,
        model=psf.model,
        defocus=psf.defocus,
        pixel_integration=psf.pixel_integration,
        samples_per_pixel=config.tiff.samples_per_pixel,
        **psf.options,
    )


class Buffers:
    """Frame buffers for a chunk, reused for the next movie of the same shape, since allocating memory takes time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], list[NDArray[Any]]] = {}

    @contextmanager
    def lent(self, shape: tuple[int, ...], *dtypes: str) -> Iterator[list[NDArray[Any]]]:
        """Lend an array of this shape for each dtype; contents undefined."""
        key = (shape, *dtypes)
        arrays = self._kept.pop(key, None)
        self._kept.clear()
        if arrays is None:
            arrays = [np.empty(shape, dtype) for dtype in dtypes]
        yield arrays
        self._kept = {key: arrays}


class Movie:
    """The frames of a job, any range of them; bit-identical for any chunk size and number of threads.

    Parameters
    ----------
    config : JobConfig
        Checked config of the job.
    truth : Truth
        Source of emitters and records.

    Attributes
    ----------
    shape : tuple of int
        (t, y, x) of the whole movie.
    dtype : str
        Pixel type of the camera frames, ``uint16`` or ``float32``.

    Raises
    ------
    DataError
        The camera's maps are missing or damaged, or do not cover the frames.
    """

    def __init__(self, config: JobConfig, truth: Truth) -> None:
        tiff = config.tiff
        self.config = config
        self.shape = (config.emitters.frames, *tiff.frame_shape)
        self.dtype: str = tiff.dtype
        self._truth = truth
        self._renderer = renderer_of(config)
        self._background = truth.background if tiff.add_noise else None
        if tiff.add_noise:
            self._camera = camera_of(config)
        else:  # only the emitters' expected photons, rounded and clipped for integer pixels
            self._camera = Camera(background=0.0, read_noise=0.0, shot_noise=False, dtype=tiff.dtype)
        self._seed = camera_seed(noise_seed(config))

    def expected_into(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        """Fill `out`, (stop - start, y, x) float32, with expected photons, without background."""
        if start < stop:
            self._renderer.render(self._scene(start, stop), out.shape, out)

    def frames_into(
        self,
        start: int,
        stop: int,
        out: NDArray[Any],
        space: NDArray[np.float32] | None = None,
        finished: Callable[[int, int], object] | None = None,
    ) -> None:
        """Fill `out`, (stop - start, y, x) of the movie's dtype, with camera frames.

        `space` is a work buffer of at least that many frames, for callers that render many chunks. `finished` is called
        with the index in `out` and the CRC-32 of each frame as soon as it is complete, from any thread.
        """
        if start < stop:
            self._expose(self._scene(start, stop), start, out, space, finished)

    def _expose(
        self,
        scene: Scene,
        start: int,
        out: NDArray[Any],
        space: NDArray[np.float32] | None,
        finished: Callable[[int, int], object] | None,
        check: Callable[[], object] | None = None,
    ) -> None:
        try:
            self._renderer.expose(
                scene,
                out.shape,
                self._camera,
                seed=self._seed,
                first_frame=start,
                space=None if space is None else space[: len(out)],
                out=out,
                finished=finished,
                check=check,
            )
        except ConfigError as error:  # for example, an emitter is too far out of focus
            if self._truth.path is None:
                raise
            raise DataError(f"{self._truth.path}: frames {start} to {start + len(out) - 1}: {error}") from error

    def _scene(self, start: int, stop: int) -> Scene:
        """Return the scene of these frames with their background, with the frame's origin in the field."""
        scene = replace(self._truth.scene(start, stop), origin=self.config.tiff.crop_offset)
        return scene if self._background is None else self._background.under(scene, start, stop)

    def stream(
        self, chunk_size: int | None = None, buffers: Buffers | None = None
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (index of the first frame, frames) of the whole movie.

        Two buffers alternate: a yielded chunk stays valid until the next one is requested, which is rendered meanwhile
        on a separate thread. Memory depends only on `chunk_size`.

        Parameters
        ----------
        chunk_size : int, optional
            Frames at a time; default: the config's ``memory_optimization.chunk_size``.
        buffers : Buffers, optional
            Frame buffers to reuse; do not use yielded frames afterwards.
        """
        yield from self._chunks(0, chunk_size, buffers, 2)

    def hand_over(
        self, to: HandOver, first: int = 0, chunk_size: int | None = None, buffers: Buffers | None = None
    ) -> Iterator[int]:
        """Render frame `first` and all after it, pass them to a callable, and yield the frames done after each chunk.

        Large frames are passed one by one, as soon as each is complete, on the thread that finished it: all threads
        share the work of the callable. Small frames are passed chunk by chunk, while the next chunk is rendered.

        Parameters
        ----------
        to : callable
            Called with the index of the first frame, frames (k, y, x), and the CRC-32 of their bytes, or None. Frames
            are valid until all calls for their chunk have returned.
        first : int
            First frame to render.
        chunk_size : int, optional
            Frames at a time; default: the config's ``memory_optimization.chunk_size``.
        buffers : Buffers, optional
            Frame buffers to reuse.
        """
        one_by_one = frames_are_large(self.shape[1:], self.dtype)
        chunks = (
            self._chunks(first, chunk_size, buffers, 1, to)
            if one_by_one
            else self._chunks(first, chunk_size, buffers, 2)
        )
        for start, chunk in chunks:
            if not one_by_one:
                to(start, chunk, None)
            yield start + len(chunk)

    def _chunks(
        self, first: int, chunk_size: int | None, buffers: Buffers | None, turns: int, to: HandOver | None = None
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the first frame and the frames of each chunk while the next is rendered, in one of `turns` buffers."""
        memory, frames = self.config.memory_optimization, self.shape[0]
        size = min(chunk_size or memory.chunk_size, frames)
        starts = range(first, frames, size)
        if not starts:
            return
        lent = (buffers or Buffers()).lent((size, *self.shape[1:]), "float32", *[self.dtype] * len(starts[:turns]))

        def scene(index: int) -> Scene:
            return self._scene(starts[index], min(starts[index] + size, frames))

        def render(index: int, scene: Scene) -> NDArray[Any]:
            start = starts[index]
            chunk = chunks[index % len(chunks)][: frames - start]
            each = None if to is None else lambda t, crc: to(start + t, chunk[t : t + 1], crc)
            self._expose(scene, start, chunk, space, each, check)
            return chunk

        ended = threading.Event()

        def check() -> None:
            if ended.is_set():
                raise _EndedError

        process = os.getpid()
        with (
            lent as (space, *chunks),
            ThreadPoolExecutor(1, thread_name_prefix="render") as pool,
            ExitStack() as end,
        ):
            end.callback(ended.set)  # stops the chunk being rendered ahead
            ahead = pool.submit(render, 0, scene(0))
            for index, start in enumerate(starts):
                if os.getpid() != process:  # forked meanwhile: the rendering thread does not exist here
                    yield from self._chunks(start, chunk_size, None, turns, to)
                    return
                following = scene(index + 1) if index + 1 < len(starts) else None  # while this one is rendered
                chunk = ahead.result()
                if following is not None:
                    ahead = pool.submit(render, index + 1, following)
                yield start, chunk
                if memory.enable_gc and (index + 1) % memory.gc_frequency == 0 and index + 1 < len(starts):
                    gc.collect(0)  # only garbage of the last chunks; a full collection of the caller's heap may be slow


def frames_are_large(shape: tuple[int, ...], dtype: str) -> bool:
    """Return whether frames of this shape (y, x) are large enough to be passed one by one."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize >= _LARGE_FRAME_BYTES
