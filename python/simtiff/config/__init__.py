"""What a user may ask for: settings, loading, messages, sweeps, and a job's identity.

- `blocks`: the settings of a job block by block: keys, defaults, units, allowed ranges
- `camera`, `light`: the blocks of the camera, and of background and illumination
- `blinking`, `drift`: the blocks of blinking and of drift
- `section`: what all blocks are made of
- `presets`: common cameras
- `inputs`: the files that a config names, and what their paths are relative to
- `settings`: a job and a batch of them, and which values go together
- `loading`: the config of a batch or of a job, from a file or a dict; its JSON schema
- `text`: JSON and JSON5
- `messages`: what is wrong with a config, in words
- `sweeps`: the jobs of a batch: combinations of variables, and samples
- `identity`: a job, its files, and the hash of what determines them
- `names`: names of files and folders that are safe on every system
- `pixelsize`: the two ways to give the size of a pixel
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
