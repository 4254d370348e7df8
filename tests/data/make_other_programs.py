"""Make other_programs.npz: stamps of other programs, for the test of how their parameters map to ours.

    pip install psf-generator==0.1.0 psfmodels==0.3.3
    python make_other_programs.py LITELOC

LITELOC is a checkout of github.com/Li-Lab-SUSTech/LiteLoc (made with commit aa4d262). All are run as they are, with
grids over their pupils that are fine enough for 1e-3 of the peak.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psfmodels
import torch
from psf_generator import ScalarCartesianPropagator, VectorialCartesianPropagator

SIZE, WAVELENGTH_NM, PIXEL_NM = 21, 660.0, 100.0
# in the order of LiteLoc and FD-DeepLoc
ORDERS = (
    *((2, -2), (2, 2), (3, -1), (3, 1), (4, 0), (3, -3), (3, 3), (4, -2), (4, 2), (5, -1), (5, 1), (6, 0), (4, -4)),
    *((4, 4), (5, -3), (5, 3), (6, -2), (6, 2), (7, 1), (7, -1), (8, 0)),
)


def of_liteloc(checkout: Path) -> dict[str, np.ndarray]:
    """Return NA, indices of sample, coverslip and immersion, objstage0; positions and coefficients in nm; stamps."""
    helpers = types.ModuleType("utils.help_utils")
    helpers.gpu_cpu_torch = lambda x, _=None, data_type=torch.float32: torch.as_tensor(x, dtype=data_type)
    decorators = types.ModuleType("deprecated")
    decorators.deprecated = lambda *_, **__: lambda function: function
    sys.modules |= {"utils": types.ModuleType("utils"), "utils.help_utils": helpers, "deprecated": decorators}
    spec = importlib.util.spec_from_file_location("vectorpsf", checkout / "vector_psf" / "vectorpsf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    random = np.random.default_rng(3)
    optics = [(1.4, 1.518, 1.518, 1.518, 0.0), (1.5, 1.35, 1.524, 1.518, -600.0), (1.4, 1.406, 1.524, 1.518, -1000.0)]
    xyz = [(23.0, -31.0, 300.0), (-40.0, 12.0, 150.0), (5.0, 20.0, -250.0)]
    shape = (len(optics), len(ORDERS))
    coefficients = random.uniform(8, 20, shape) * random.choice([-1, 1], shape)  # all of them matter
    stamps = []
    for (na, sample, coverslip, immersion, stage), place, row in zip(optics, xyz, coefficients, strict=True):
        parameters = SimpleNamespace(
            NA=na,
            wavelength=WAVELENGTH_NM,
            refmed=sample,
            refcov=coverslip,
            refimm=immersion,
            pixelSizeX=PIXEL_NM,
            pixelSizeY=PIXEL_NM,
            psfrescale=0.0,
            Npupil=512,
            psfSizeX=SIZE,
        )
        aberrations = np.c_[np.array(ORDERS, float), row]
        psf = module.VectorPSFTorch(parameters, aberrations, stage, device="cpu")
        x, y, z, photons = (torch.tensor([value], dtype=torch.float64) for value in (*place, 1.0))
        stamps.append(psf.simulate(x, y, z, photons).numpy()[0])
    return {"optics": np.array(optics), "xyz": np.array(xyz), "coefficients": coefficients, "stamps": np.array(stamps)}


def of_psf_generator() -> dict[str, np.ndarray]:
    """Return coefficients in OSA's order; z of its planes in nm; stamps scalar and vectorial, each at these z."""
    coefficients = np.r_[0.0, np.random.default_rng(5).normal(0, 0.3, 14)]
    shared = {
        "n_pix_pupil": 1024,
        "n_pix_psf": SIZE,
        "pix_size": PIXEL_NM * (SIZE - 1) / SIZE,
        "wavelength": WAVELENGTH_NM,
        "na": 1.4,
        "n_i": 1.518,
        "n_i0": 1.518,
        "n_defocus": 2,
        "defocus_step": 600,
        "zernike_coefficients": torch.tensor(coefficients),
    }
    scalar = [ScalarCartesianPropagator(sz_correction=False, **shared)]
    both = ((1.0, 0.0), (0.0, 1.0))
    vectorial = [VectorialCartesianPropagator(apod_factor=True, e0x=x, e0y=y, **shared) for x, y in both]
    stamps = [
        sum((one.compute_focus_field().abs() ** 2).sum(1).numpy() for one in made) for made in (scalar, vectorial)
    ]
    limits = np.array([scalar[0].defocus_min, scalar[0].defocus_max])
    return {"coefficients": coefficients, "z": limits, "stamps": np.array(stamps)}


def of_psfmodels() -> dict[str, np.ndarray]:
    """Return NA, indices of sample, coverslip and immersion, height and focus in um; stamps."""
    cases = [
        (1.4, 1.518, 1.518, 1.518, 0.0, 0.4),
        (1.2, 1.33, 1.523, 1.518, 1.5, 1.8),
        (1.3, 1.38, 1.46, 1.518, 0.7, 0.4),
    ]
    stamps = [
        psfmodels.make_psf(
            [focus],
            SIZE,
            dxy=PIXEL_NM / 1000,
            pz=height,
            NA=na,
            wvl=WAVELENGTH_NM / 1000,
            ns=sample,
            ng=coverslip,
            ng0=coverslip,
            ni=immersion,
            ni0=immersion,
            oversample_factor=15,
            normalize=False,
        )[0]
        for na, sample, coverslip, immersion, height, focus in cases
    ]
    return {"cases": np.array(cases), "stamps": np.array(stamps)}


def main() -> None:
    made = {"liteloc": of_liteloc(Path(sys.argv[1])), "psf_generator": of_psf_generator(), "psfmodels": of_psfmodels()}
    arrays = {f"{program}_{name}": array for program, parts in made.items() for name, array in parts.items()}
    small = {name: array.astype(np.float32) if name.endswith("stamps") else array for name, array in arrays.items()}
    np.savez_compressed(Path(__file__).with_name("other_programs.npz"), **small)


if __name__ == "__main__":
    main()
