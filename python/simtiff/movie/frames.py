"""From truth to camera frames, chunk by chunk; the next chunk is rendered while the last one is used."""

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
    """Nobody waits any more for a chunk that is rendered ahead."""


class Truth(Protocol):
    """Where a movie's records come from: memory or a file."""

    @property
    def path(self) -> str | None:
        """The file; None for memory."""

    @property
    def background(self) -> Background | None:
        """The movie's background; None where it is one number of its camera."""

    def scene(self, start: int, stop: int) -> Scene:
        """Return the emitters and records of frames ``start..stop - 1``."""


def camera_seed(seed: int) -> int:
    """Return the 64-bit seed of a job's camera noise, unrelated to the streams its emitters come from."""
    return int(np.random.SeedSequence([seed, _CAMERA_PURPOSE]).generate_state(1, np.uint64)[0])


def optics_of(config: JobConfig) -> Optics:
    """Return the microscope of a job."""
    return Optics(**config.optical.model_dump())


def renderer_of(config: JobConfig) -> Renderer:
    """Return what renders a job's scenes; the phases that are added to all emitters are in the truth."""
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
    """Memory for a chunk of frames, kept from one movie for the next of the same shape: new memory costs time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], list[NDArray[Any]]] = {}

    @contextmanager
    def lent(self, shape: tuple[int, ...], *dtypes: str) -> Iterator[list[NDArray[Any]]]:
        """Lend an array of this shape for each dtype; what is in it means nothing."""
        key = (shape, *dtypes)
        arrays = self._kept.pop(key, None)
        self._kept.clear()
        if arrays is None:
            arrays = [np.empty(shape, dtype) for dtype in dtypes]
        yield arrays
        self._kept = {key: arrays}


class Movie:
    """The frames of one job: any range of them, the same bytes for any chunk size and number of threads.

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
        else:  # the emitters' expected photons alone, rounded and clipped where the pixels are integers
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

        `space` is work space of at least that many frames, for callers that render many chunks. `finished` is called
        with the index in `out` and the CRC-32 of each frame as soon as it is whole, from any thread.
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
        except ConfigError as error:  # of an emitter that is too far out of focus, for example
            if self._truth.path is None:
                raise
            raise DataError(f"{self._truth.path}: frames {start} to {start + len(out) - 1}: {error}") from error

    def _scene(self, start: int, stop: int) -> Scene:
        """Return the scene of these frames with their background, seen from where they were cut from the field."""
        scene = replace(self._truth.scene(start, stop), origin=self.config.tiff.crop_offset)
        return scene if self._background is None else self._background.under(scene, start, stop)

    def stream(
        self, chunk_size: int | None = None, buffers: Buffers | None = None
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (index of the first frame, frames) of the whole movie.

        Two buffers take turns: what is yielded stays valid until the next chunk is asked for, and that one is
        rendered meanwhile on a thread of its own. Memory is set by `chunk_size` alone.

        Parameters
        ----------
        chunk_size : int, optional
            Frames at a time; default: the config's ``memory_optimization.chunk_size``.
        buffers : Buffers, optional
            Where the memory for frames comes from and goes to; nothing that was yielded may be used afterwards.
        """
        yield from self._chunks(0, chunk_size, buffers, 2)

    def hand_over(
        self, to: HandOver, first: int = 0, chunk_size: int | None = None, buffers: Buffers | None = None
    ) -> Iterator[int]:
        """Render frame `first` and all after it, hand them over, and yield after each chunk how many frames are done.

        Large frames are handed over each as soon as it is whole, on the thread that finished it, so that all threads
        share what is done with it; small ones chunk by chunk, while the next chunk is rendered.

        Parameters
        ----------
        to : callable
            Called with the index of the first frame, frames (k, y, x), and the CRC-32 of their bytes, or None. Frames
            are valid until all of their chunk have been handed over and these calls are back.
        first : int
            Frame to begin with.
        chunk_size : int, optional
            Frames at a time; default: the config's ``memory_optimization.chunk_size``.
        buffers : Buffers, optional
            Where the memory for frames comes from and goes to.
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
        """Yield the first frame and the frames of each chunk while the next is rendered, in one of so many buffers."""
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
            end.callback(ended.set)  # what is rendered then, nobody waits for
            ahead = pool.submit(render, 0, scene(0))
            for index, start in enumerate(starts):
                if os.getpid() != process:  # forked meanwhile: what renders ahead is not here
                    yield from self._chunks(start, chunk_size, None, turns, to)
                    return
                following = scene(index + 1) if index + 1 < len(starts) else None  # while this one is rendered
                chunk = ahead.result()
                if following is not None:
                    ahead = pool.submit(render, index + 1, following)
                yield start, chunk
                if memory.enable_gc and (index + 1) % memory.gc_frequency == 0 and index + 1 < len(starts):
                    gc.collect(0)  # what the last chunks left; a program's own heap may be large and is not ours


def frames_are_large(shape: tuple[int, ...], dtype: str) -> bool:
    """Say whether frames of this shape (y, x) are worth a call each when they are handed over."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize >= _LARGE_FRAME_BYTES
