"""A job in memory and on disk: its truth, its frames, its files.

- `simulation`: one movie from Python
- `job`: one job from config to files
- `truth`: the truth of a movie: made, in memory, written to ``emitters.h5``
- `opentruth`: the truth for users, as arrays and tables
- `truthfile`: ``emitters.h5`` read, any range of frames
- `events`: what happens meanwhile, for whoever watches
- `camera`: the camera of a job
- `light`: a movie's background and illumination
- `bounds`: the Cramér-Rao bound of every record
- `export`, `calibration`: the truth as other tools have it, and what they must know of the camera
- `frames`: from truth to camera frames, chunk by chunk
- `estimate`: how much disk and memory a job takes
- `plots`, `mapplot`, `preview`: pictures of truth, maps and frames
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
