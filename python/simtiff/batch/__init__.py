"""Many jobs: run in worker processes, planned, locked, told of, verified.

- `run`: run all jobs of a config, and go on where an earlier run stopped
- `pipeline`: the guide's single pipeline, one job in a folder of its own
- `events`: what happens in a batch, for whoever watches
- `display`, `summary`: what a user sees of a running batch, and what came of it
- `status`, `overview`: what a batch has done, and how far it is
- `table`: all jobs as one table
- `verify`: check the finished jobs
- `inputs`, `room`: what must be in order before a batch starts: its maps, disk and memory
- `jobfile`, `found`: what a finished job says of itself, and what an output folder holds
- `plan`, `moves`, `clean`: what a run does with each job, finished jobs that get other names, jobs of earlier configs
- `folder`, `lock`, `shards`: the output folder, its locks, and the parts of a batch that run on several machines
- `cluster`: connect to a dask cluster
- `signals`: signals and streams that a process is started with
- `worker`: a worker process
- `text`: words, numbers and tables for people
"""

__all__ = [
    "clean",
    "cluster",
    "display",
    "events",
    "folder",
    "found",
    "inputs",
    "jobfile",
    "lock",
    "moves",
    "overview",
    "pipeline",
    "plan",
    "room",
    "run",
    "shards",
    "signals",
    "status",
    "summary",
    "table",
    "text",
    "verify",
    "worker",
]
