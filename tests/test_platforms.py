"""Nothing needs a POSIX system: without what only such systems have, all imports and a movie has the same bytes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from batch_helpers import TINY_JOB
from simtiff.config.loading import load_job_config
from simtiff.movie.job import run_job

if TYPE_CHECKING:
    from pathlib import Path

# Takes away what Windows does not have from the modules of the system, once other packages have been imported, which
# have ways of their own there. `os.name` and `os.statvfs` stay, for pathlib and shutil.
WITHOUT_POSIX = '''
import importlib, importlib.abc, json, os, pkgutil, signal, socket, subprocess, sys

import h5py, matplotlib.pyplot, numpy, pandas, pyarrow.parquet, pydantic, rich.progress, scipy.spatial, tifffile

ABSENT = {"fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty"}

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ABSENT:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocker())
OS = """
    O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC POSIX_FADV_DONTNEED WNOHANG chown fchmod fork forkpty
    getegid geteuid getgid getpgid getsid getuid initgroups killpg lchown mkfifo mknod nice pipe2
    posix_fadvise posix_fallocate posix_spawn pread preadv pwrite pwritev register_at_fork sched_getaffinity
    sched_setaffinity sendfile setsid sync sysconf uname wait wait4 waitid
""".split()
SIGNAL = """
    SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGSTOP SIGUSR1 SIGUSR2 alarm pthread_kill pthread_sigmask setitimer
    sigwait
""".split()
for module, names in ((os, OS), (signal, SIGNAL)):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

import simtiff

for found in pkgutil.walk_packages(simtiff.__path__, "simtiff."):
    if found.name != "simtiff.training.torch":  # needs PyTorch
        importlib.import_module(found.name)

from simtiff.cli.process import main

sys.exit(main(sys.argv[1:]))
'''


def test_a_movie_without_posix(tmp_path: Path, job_file: Path) -> None:
    words = ["run", f"--config={job_file}", f"--output-dir={tmp_path / 'without'}"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_POSIX, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run_job(load_job_config(TINY_JOB), tmp_path / "with")
    movies = [(tmp_path / name / "simulation.ome.tiff").read_bytes() for name in ("without", "with")]
    assert movies[0] == movies[1]
