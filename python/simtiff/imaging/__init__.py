"""From emitters to frames: optics, PSFs, rendering, the camera. Thin over the core, usable without any config.

- `optics`: the microscope
- `options`: what is seldom asked for of a PSF
- `renderer`: from scenes to stamps, frames, derivatives and bounds
- `rendering`: PSFs and images, by one call
- `bounds`: derivatives of PSFs, and the best precision that can be reached
- `background`: smooth random fields, images, a Gaussian beam
- `camera`: from expected photons to counts
- `cameramaps`: what differs from pixel to pixel of a camera
- `scene`: what is rendered: emitters and their records
- `plans`: matrices of the transform, kept between calls
- `arrays`: checks of the arrays that users pass
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
