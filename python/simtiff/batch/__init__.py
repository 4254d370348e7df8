"""Many jobs: run in worker processes, planned, locked, told of, verified.

- `run`: run all jobs of a config, and go on where an earlier run stopped
- `pipeline`: the guide's single pipeline, one job in a folder of its own
- `progress`: what a user sees of a running batch, and what came of it
- `status`, `overview`: what a batch has done, and how far it is
- `verify`: check the finished jobs
- `inputs`, `room`: what must be in order before a batch starts: its maps, disk and memory
- `folder`: the output folder, locked to one batch at a time
- `signals`: signals and streams that a process is started with
- `worker`: a worker process
"""

__all__ = [
    "folder",
    "inputs",
    "overview",
    "pipeline",
    "progress",
    "room",
    "run",
    "signals",
    "status",
    "verify",
    "worker",
]
