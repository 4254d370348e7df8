"""Batches: plan, run, monitor and verify many jobs.

- `run`: run all jobs of a config, resuming an earlier run
- `pipeline`: a single job in its own folder (``simtiff run``)
- `events`: events of a batch and its workers
- `display`, `summary`: progress on stderr, and the summary at the end
- `status`, `overview`: the status file, and the report of ``simtiff status``
- `table`: all jobs as one table
- `verify`: check finished jobs
- `inputs`, `room`: checks before a batch starts: input files, disk and memory
- `jobfile`, `found`: ``job.json`` of a finished job, and the contents of an output folder
- `plan`, `moves`, `clean`: what a run does with each job, renaming finished jobs, removing jobs of earlier configs
- `folder`, `lock`, `shards`: the output folder, its locks, and the shards of a batch on several machines
- `fence`: what stops jobs on other machines when their run has ended
- `cluster`: connect to a dask cluster
- `signals`: signals to stop, and closed standard streams
- `worker`: the main function of a worker process
- `text`: durations, numbers and tables as text
"""

__all__ = [
    "clean",
    "cluster",
    "display",
    "events",
    "fence",
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
