"""The hub of `ms://`: through its own client, which reads MODELSCOPE_ENDPOINT and MODELSCOPE_API_TOKEN."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.hub.names import KINDS, File, Name


def listed(name: Name) -> list[File]:
    """Return the files of a data set or a model."""
    with _in_words(name):
        found = _api().list_repo_files(name.repo, name.kind, revision=name.revision)
        return [_file(entry) for entry in found if _is_file(entry)]


def fetch(name: Name, file: File, folder: Path) -> None:
    """Write one file below a folder."""
    with _in_words(name):
        _api().download_file(name.repo, name.kind, file.path, revision=name.revision, local_dir=folder)


def _client(module: str = "modelscope_hub") -> Any:
    """Return a module of the light client that `modelscope` brings, which knows no torch."""
    try:
        return importlib.import_module(module)
    except ImportError:
        hint = "bash run_all.sh setup --extra data"
        raise UserError("ms:// needs the package modelscope", hint) from None


def _api() -> Any:
    logging.getLogger("modelscope_hub").setLevel(logging.ERROR)
    # Handed over because the client remembers what it read from the environment at its first call.
    return _client().HubApi(endpoint=os.environ.get("MODELSCOPE_ENDPOINT") or None)


def _file(entry: Any) -> File:
    return File(entry.path, int(entry.size or 0), str(getattr(entry, "sha256", "") or ""))


def _is_file(entry: Any) -> bool:
    return str(getattr(entry, "type", "") or "blob") != "tree"


@contextlib.contextmanager
def _in_words(name: Name) -> Iterator[None]:
    """Turn what the client raises into two lines."""
    errors = _client("modelscope_hub.errors")
    try:
        yield
    except errors.NotExistError:
        hint = "check the name and the revision; if it is private, set MODELSCOPE_API_TOKEN"
        raise UserError(f"{name}: there is no such {KINDS[name.kind]}, or it is private", hint) from None
    except (errors.AuthenticationError, errors.PermissionDeniedError):
        raise UserError(f"{name}: this account may not read it", "set MODELSCOPE_API_TOKEN") from None
    except errors.FileIntegrityError:
        raise UserError(f"{name}: a file came with other bytes than the hub has", "try again") from None
    except errors.APIError as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"{name}: the hub answers with an error: {reason}", "try again in a while") from None
    except (errors.HubError, ConnectionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(
            f"{name}: the hub cannot be reached: {reason}",
            "check the network, or set MODELSCOPE_ENDPOINT; fetching goes on where it stopped",
        ) from None
