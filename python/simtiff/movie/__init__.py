"""A single movie (job) in memory and on disk: truth, frames and files.

- `simulation`: a movie from Python
- `job`: a job from config to files
- `truth`: making the truth of a movie, in memory or written to ``emitters.h5``
- `opentruth`: reading the truth as arrays and tables, for users
- `truthfile`: reading ``emitters.h5``, any range of frames
- `events`: progress events and messages for displays, logs and callbacks
- `camera`: the camera of a job
- `light`: background and illumination
- `bounds`: Cramér-Rao bounds of records
- `export`, `calibration`: the truth in other software's formats, and the camera parameters it needs
- `frames`: from truth to camera frames, chunk by chunk
- `estimate`: disk space and memory that a job needs
- `plots`, `mapplot`, `preview`: pictures of truth, aberration maps and frames
"""

__all__ = [
    "bounds",
    "calibration",
    "camera",
    "estimate",
    "events",
    "export",
    "frames",
    "job",
    "light",
    "mapplot",
    "opentruth",
    "plots",
    "preview",
    "simulation",
    "truth",
    "truthfile",
]
