"""Any arrays into PSFs, images and the camera: an answer, or an error of the package. `make fuzz` tries more cases.

Never a panic, an abort, a hang or another exception.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simtiff
from fuzzing import bounded, fuzz, memory_limited, scalars
from simtiff import Renderer, Scene, _core
from simtiff.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def limited() -> Iterator[None]:
    with memory_limited():
        yield


DTYPES = ["f4", "f8", "f2", ">f4", ">f8", "g", "i1", "i2", "i4", "i8", ">i8", "u1", "u2", "u4", "u8", "?", "c8", "c16",
          "O", "S2", "U2", "M8[s]", "m8[s]", "V5", [("a", "f4"), ("b", "i2")]]  # fmt: skip
SHAPES = [(0,), (1,), (2,), (3,), (7,), (0, 3), (1, 3), (2, 3), (3, 2), (2, 0), (2, 4), (5, 5), (2, 5, 5), (0, 5, 5),
          (2, 0, 5), (2, 15, 15), (1, 7, 7), (1, 1, 1, 3), ()]  # fmt: skip


@st.composite
def arrays(draw: st.DrawFn, usual: tuple[str, tuple[int, ...]] | None = None) -> Any:
    """Return an array, mostly of the usual dtype and shape, of any layout; or no array at all."""
    if draw(st.integers(0, 15)) == 0:
        return draw(scalars)
    dtype, shape = usual or ("f4", (2, 3))
    if draw(st.integers(0, 4)) == 0:
        dtype = draw(st.sampled_from(DTYPES))
    if draw(st.integers(0, 4)) == 0:
        shape = draw(st.sampled_from(SHAPES))
    random_numbers = np.random.default_rng(draw(seeds))
    values = random_numbers.uniform(0, draw(st.sampled_from([0.3, 1.0, 3.0, 1e3])), shape)
    if values.size and draw(st.integers(0, 5)) == 0:
        wild = [np.nan, np.inf, -np.inf, -1.0, 1e30, 1e300, -1e9, 2.0**31, 2.0**63]
        values.flat[random_numbers.integers(values.size)] = draw(st.sampled_from(wild))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = np.zeros(shape, dtype) if np.dtype(dtype).kind in "MmVOSU" else values.astype(dtype)
    match draw(st.integers(0, 12)):
        case 0:
            array = np.asfortranarray(array)
        case 1 if array.ndim:
            array = array[::-1]
        case 2 if array.ndim:
            array = np.repeat(array, 2, axis=0)[::2]
        case 3 if array.ndim and len(array):
            array = np.broadcast_to(array[:1], array.shape)
        case 4:
            array.flags.writeable = False
        case 5 if array.dtype.kind in "iuf" and array.itemsize > 1:
            buffer = np.zeros(array.nbytes + 1, "u1")
            array = np.frombuffer(buffer.data, array.dtype, offset=1, count=array.size).reshape(array.shape)
        case 6:
            array = array.tolist()
        case 7:
            array = np.ma.masked_array(array)
        case _:
            pass
    return array


OPTICS = simtiff.Optics()
ORIGIN = Scene.from_arrays([[0, 0, 0]])


def answered(call: Any, *arguments: Any, out: Any = None, **options: Any) -> None:
    """Check that a call fills and returns an array of numbers, or raises an error of the package."""
    with bounded():
        try:
            made = call(*arguments, out=out, **options)
        except simtiff.SimtiffError:
            return
    assert isinstance(made, np.ndarray)
    assert out is None or made is out
    assert not np.isnan(made).any()


maybe = st.none() | arrays(("f4", (2, 4)))
shapes = st.sampled_from(
    [(5, 5), (0, 5), (5,), 5, None, (2**40, 2**40), (2**63, 2), (-1, 5), (5.0, 5), ("a", "b"), (10**30, 1)]
)


@fuzz
@given(
    arrays(("f8", (2, 3))),
    maybe,
    maybe,
    st.sampled_from([7, 15]) | scalars,
    st.none() | arrays(("f4", (2, 7, 7))),
    scalars,
)
def test_psf_takes_or_refuses_anything(xyz: Any, phase: Any, magnitude: Any, size: Any, out: Any, other: Any) -> None:
    answered(simtiff.psf, OPTICS, xyz, phase, magnitude, size, out=out)
    answered(simtiff.psf, OPTICS, xyz, defocus=other, pixel_integration=False)
    answered(lambda out: Renderer(OPTICS, size=7, samples_per_pixel=other).stamps(ORIGIN, out=out))
    with contextlib.suppress(ConfigError):
        answered(simtiff.psf, simtiff.Optics(pixel_size_nm_x=other), [[0.0, 0.0, 0.0]], size=3)


@fuzz
@given(arrays(("f8", (2, 3))), arrays(("f4", (2,))), shapes, maybe, maybe, st.none() | arrays(("u4", (2,))),
       st.none() | arrays(("i8", (2,))), st.none() | st.just(4) | scalars,
       st.none() | arrays(("f4", (2, 5, 5))))  # fmt: skip
def test_render_takes_or_refuses_anything(
    xyz: Any, photons: Any, shape: Any, phase: Any, magnitude: Any, frame_ix: Any, ids: Any, n_frames: Any, out: Any
) -> None:
    answered(simtiff.render, OPTICS, xyz, photons, shape, phase, magnitude, frame_ix, ids, n_frames, size=7, out=out)


@fuzz
@given(arrays(("f8", (2, 3))), st.none() | arrays(("f4", (3,))), maybe, maybe, st.none() | arrays(("u4", (3,))),
       st.none() | arrays(("u4", (3,))), st.none() | arrays(("i8", (2,))), shapes,
       st.none() | arrays(("f4", (2, 5, 5))), st.none() | arrays(("u2", (2, 5, 5))))  # fmt: skip
def test_scenes_are_rendered_or_refused(
    xyz: Any, photons: Any, phase: Any, magnitude: Any, emitter_ix: Any, frame_ix: Any, ids: Any, shape: Any,
    image: Any, counts: Any,
) -> None:  # fmt: skip
    try:
        scene = Scene.from_arrays(xyz, photons, phase, magnitude, emitter_ix=emitter_ix, frame_ix=frame_ix, id=ids)
    except simtiff.SimtiffError:
        return
    renderer, shape = Renderer(OPTICS, size=7), (2, *shape) if isinstance(shape, tuple) else shape
    answered(renderer.stamps, scene)
    answered(renderer.render, scene, shape, out=image)
    answered(renderer.expose, scene, shape, simtiff.Camera(), out=counts)


@fuzz
@given(
    arrays(("f4", (2, 5, 5))),
    st.just(1) | scalars,
    st.just(0) | scalars,
    st.none() | arrays(("u2", (2, 5, 5))),
    scalars,
)
def test_expose_takes_or_refuses_anything(image: Any, seed: Any, first: Any, out: Any, other: Any) -> None:
    answered(simtiff.Camera().expose, image, seed, first, out=out)
    with contextlib.suppress(ConfigError):
        simtiff.Camera(background=other)
    with contextlib.suppress(ConfigError):
        simtiff.Camera(dtype=other)
    if isinstance(image, np.ndarray):
        answered(simtiff.Camera(dtype="float32").expose, image, out=image)  # in and out overlap
        if image.ndim:
            answered(simtiff.Camera(dtype="float32").expose, image[1:], out=image[:-1])


SPEC = _core.Spec(OPTICS, 7, "scalar", "exact", "integrated")
PSF = _core.Psf(SPEC, 4)
COST = _core.Cost(SPEC, 4)
CAMERA = _core.Camera(10.0, 1.0, True)
whole = st.integers(-2, 6) | st.sampled_from([2**31, 2**32, 2**63, 2**64 - 1, 2**64, -(2**63), 10**30])
samplings = st.sampled_from(["integrated", "point", 3]) | whole | scalars
origins = st.just((0.0, 0.0)) | st.tuples(st.floats(), st.floats()) | scalars


@fuzz
@given(arrays(("f8", (2, 3))), maybe, maybe, arrays(("f4", (2, 7, 7))), arrays(("u4", (2,))), arrays(("u4", (2,))),
       arrays(("f4", (2,))), origins, arrays(("f4", (2, 5, 5))), arrays(("u2", (2, 5, 5))), whole, whole,
       samplings)  # fmt: skip
def test_the_extension_never_panics(
    xyz: Any, phase: Any, magnitude: Any, stamps: Any, emitter_ix: Any, frame_ix: Any, photons: Any,
    origin: Any, image: Any, counts: Any, key: int, number: int, sampling: Any,
) -> None:  # fmt: skip
    scene = Scene(xyz, phase, magnitude, emitter_ix, frame_ix, photons, origin)
    overlapping = Scene(xyz, phase, image, emitter_ix, frame_ix, photons)
    calls = [
        lambda: PSF.stamps(scene, stamps),
        lambda: PSF.render(scene, image),
        lambda: PSF.render(overlapping, image),
        lambda: CAMERA.expose(image, key, number, counts),
        lambda: CAMERA.expose(image, key, number, image),
        lambda: PSF.expose(scene, CAMERA, key, number, image, counts, None),
        lambda: PSF.expose(scene, CAMERA, key, number, image, image, None),
        lambda: _core.Psf(_core.Spec(OPTICS, number, "vectorial", "exact", sampling), key),
        lambda: _core.Cost(_core.Spec(OPTICS, number, "scalar", "exact", sampling), key).transform_bytes(
            number, key, number
        ),
        lambda: _core.Spec(OPTICS, 7, sampling, origin, sampling, origin, origin, number, number),
        lambda: COST.rows(number, key, 0.5, phase),
        lambda: COST.expose_bytes(number, key),
        lambda: _core.Camera(float(number), 1.0, True),
    ]
    for call in calls:
        # A panic is not an `Exception`, so it is not caught.
        with bounded(), contextlib.suppress(TypeError, ValueError, OverflowError):
            call()
