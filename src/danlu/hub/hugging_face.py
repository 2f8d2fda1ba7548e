"""The hub of `hf://`: through its own client, which reads HF_ENDPOINT, HF_TOKEN and proxies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from danlu.base.errors import UserError
from danlu.hub.names import KINDS, File, Name

LOGIN = "accept its terms on the hub, then set HF_TOKEN"


def listed(name: Name) -> list[File]:
    """Return the files of a data set or a model."""
    from huggingface_hub import HfApi

    with _in_words(name):
        api = HfApi(endpoint=_endpoint())
        ask = api.dataset_info if name.kind == "dataset" else api.model_info
        found = ask(name.repo, revision=name.revision, files_metadata=True)
        return [
            File(
                file.rfilename,
                int(file.size or 0),
                str(file.lfs.sha256) if file.lfs else "",
                "" if file.lfs else str(file.blob_id or ""),
            )
            for file in found.siblings or []
        ]


def fetch(name: Name, file: File, folder: Path) -> None:
    """Write one file below a folder."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    with _in_words(name):
        hf_hub_download(
            name.repo,
            file.path,
            repo_type=name.kind,
            revision=name.revision,
            local_dir=folder,
            endpoint=_endpoint(),
        )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextlib.contextmanager
def _in_words(name: Name) -> Iterator[None]:
    """Turn what the client raises into two lines."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise UserError(f"{name}: is gated; this account may not read it", LOGIN) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{name}: there is no revision '{name.revision}'", "check the word after @") from None
    except errors.RepositoryNotFoundError:
        hint = "check the name; if it is private, set HF_TOKEN"
        raise UserError(f"{name}: there is no such {KINDS[name.kind]}, or it is private", hint) from None
    except errors.HFValidationError as error:
        raise UserError(f"{name}: {str(error).splitlines()[0]}", "check the name") from None
    except errors.HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else None
        if code in (401, 403):
            raise UserError(f"{name}: the hub refuses it ({code})", LOGIN) from None
        raise UserError(f"{name}: the hub answers {code or 'nothing'}", "try again in a while") from None
    except (errors.LocalEntryNotFoundError, ConnectionError) as error:
        raise _no_network(name, error) from None
    except Exception as error:
        if not type(error).__module__.startswith(("http", "requests", "urllib3")):
            raise
        raise _no_network(name, error) from None


def _no_network(name: Name, error: BaseException) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return UserError(
        f"{name}: the hub cannot be reached: {reason}",
        "check the network, or set HF_ENDPOINT to a mirror; fetching goes on where it stopped",
    )
