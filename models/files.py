"""Files that are whole or not there: what a killed program leaves is never half-written."""

import os
import tempfile
from pathlib import Path

from mesascope.models.errors import MesascopeError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that it is either the old or the new one, whatever happens.

    Args:
        path: Where; folders are made.
        content: Bytes, or text to write as UTF-8; what UTF-8 cannot hold is escaped, for names of files hold anything.

    Raises:
        MesascopeError: The file cannot be written.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # the temporary file is private; the finished one is not
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> MesascopeError:
    """What to tell a user whose file cannot be written."""
    return MesascopeError(
        f"cannot write {path}: {error.strerror or error}; free space or choose another folder. What was written before "
        "is whole"
    )
