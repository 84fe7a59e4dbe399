"""Repositories of the Hugging Face hub: `hf://OWNER/NAME[@REVISION][/PATH]`, from the local cache where possible."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from mesascope.models.errors import MesascopeError

_ADDRESS = re.compile(
    r"(?P<repo>[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)(@(?P<revision>[A-Za-z0-9_.-]+))?(/(?P<path>[^@*?\[\\]+?))?/*"
)
_FILES = ("config.json", "config.yaml", "*.safetensors", "state.pt", "model_*.pt", "*.npz")


@contextmanager
def snapshot(address: str) -> Iterator[Path]:
    """A folder or file of a repository, downloaded into huggingface_hub's own cache; only what a loader reads.

    Raises:
        MesascopeError: The address is malformed, there is no such repository, revision or path, or the hub cannot be
            reached and the cache does not hold it.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None or not {".", ".."}.isdisjoint(address.split("/")):
        raise MesascopeError(f"hf://{address} is no address on the hub; expected hf://OWNER/NAME[@REVISION][/PATH]")
    inside = parts["path"] or ""
    path = _download(parts["repo"], parts["revision"], _patterns(inside)) / inside
    if not path.exists():
        raise MesascopeError(
            f"hf://{address} holds nothing to load: expected a run folder (config.json or config.yaml, with weights) "
            "or an .npz file; name the path inside the repository, as in hf://OWNER/NAME/PATH"
        )
    yield path


def _patterns(inside: str) -> list[str]:
    """What to download: of a folder its config and weights; with a file the configs of the folders around it."""
    path = PurePosixPath(inside)
    if path.suffix in {".npz", ".pt", ".safetensors"}:
        return [str(path), *(str(parent / "config.*") for parent in path.parents)]
    return [str(path / name) for name in _FILES]  # as shell patterns, whose * also matches /


def _download(repo: str, revision: str | None, patterns: list[str]) -> Path:
    # Imported here: it takes a second, and few commands need it.
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def get(local_files_only: bool) -> Path:
        return Path(
            snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=local_files_only)
        )

    name = f"hf://{repo}" + (f"@{revision}" if revision else "")
    try:
        return get(constants.HF_HUB_OFFLINE)
    except HFValidationError as error:
        raise MesascopeError(f"{name} is no address on the hub ({_first_line(error)}); check the name") from error
    except GatedRepoError as error:
        raise MesascopeError(
            f"{name} is gated; ask for access on its page, then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise MesascopeError(
            f"the hub has no {name}, or it is private; check the name, or log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise MesascopeError(f"{name}: there is no such revision; name a branch, a tag or a commit") from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(name, error) from error
    except Exception as error:  # a proxy, a broken download, a full disk: each HTTP library has its own
        try:
            return get(True)
        except LocalEntryNotFoundError:
            raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> MesascopeError:
    return MesascopeError(
        f"{name} is not in the local cache and the hub cannot be reached ({_first_line(error)}); go online once, or "
        "copy the folder here and give its path"
    )


def _first_line(error: Exception) -> str:
    """The first sentence of what a library says, without its advice."""
    line = next(iter(str(error).splitlines()), "").removeprefix("Got: ").split(". ")[0]
    return line[:160] or type(error).__name__
