"""From emitters to frames: optics, PSFs, rendering, the camera. A thin layer over the core; needs no config.

- `optics`: the microscope
- `options`: less common options of PSFs
- `renderer`: render stamps, frames, derivatives and bounds of scenes
- `rendering`: PSFs and images in a single call
- `bounds`: derivatives of PSFs, and the Cramér-Rao bound
- `background`: smooth random fields, background images, Gaussian illumination
- `camera`: from expected photons to counts
- `cameramaps`: per-pixel calibration maps of a camera
- `scene`: the input of rendering: emitters and their records
- `plans`: cached transform matrices
- `arrays`: checks of array arguments
"""

__all__ = [
    "arrays",
    "background",
    "bounds",
    "camera",
    "cameramaps",
    "optics",
    "options",
    "plans",
    "renderer",
    "rendering",
    "scene",
]
