"""Connect to a running dask cluster."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from simtiff.errors import BatchError, ConfigError
from simtiff.language import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

_CONNECT_SECONDS = 20


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to the scheduler of a dask cluster, for use in a ``with`` block.

    Parameters
    ----------
    address : str
        Address of the scheduler, such as ``tcp://10.0.0.1:8786``.

    Raises
    ------
    ConfigError
        dask is not installed, or the address is invalid.
    BatchError
        No scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        text = Text("--scheduler needs dask, which is not installed: pip install distributed")
        raise ConfigError(text) from error
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        text = Text(
            "--scheduler: no dask scheduler answers at {address} ({reason}); start one, or correct the address",
            address=address,
            reason=str(error) or type(error).__name__,
        )
        raise BatchError(text) from error
    except ValueError as error:
        text = Text(
            '--scheduler: "{address}" is not allowed ({reason}); allowed: an address such as tcp://10.0.0.1:8786',
            address=address,
            reason=error,
        )
        raise ConfigError(text) from error
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            client.close()
