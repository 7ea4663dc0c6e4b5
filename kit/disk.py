"""Whether it was the disk: full, over its quota, or read-only."""

import errno
import sqlite3

_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_REFUSED_BY_SQLITE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}


def disk_refuses(error: BaseException | None) -> bool:
    """Whether this error, or one that it came from, says that the disk takes nothing more."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REFUSED:
            return True
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _REFUSED_BY_SQLITE:  # its upper bits say more
            return True
        error = error.__cause__ or error.__context__
    return False
