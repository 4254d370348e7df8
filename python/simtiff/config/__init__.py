"""Configuration: settings, loading, error messages, parameter sweeps, and a job's identity.

- `blocks`: the sections of a job's config: keys, defaults, units, allowed ranges
- `camera`, `light`: the sections for the camera, and for background and illumination
- `blinking`, `drift`: the sections for blinking and drift
- `section`: base class of all sections
- `presets`: common cameras
- `inputs`: the input files that a config names, and how their paths are resolved
- `settings`: the config of a job and of a batch, and relations between values
- `loading`: load a config from a file or a dict; its JSON schema
- `text`: JSON and JSON5
- `messages`: error messages for configs
- `sweeps`: the jobs of a batch: combinations of variables, and samples
- `identity`: a job, its files, and the hash of everything that determines them
- `names`: file and folder names that are valid on every system
- `pixelsize`: the two ways to specify the pixel size
"""

__all__ = [
    "blinking",
    "blocks",
    "camera",
    "drift",
    "identity",
    "inputs",
    "light",
    "loading",
    "messages",
    "names",
    "pixelsize",
    "presets",
    "section",
    "settings",
    "sweeps",
    "text",
]
