"""As root: the server's own user gets through to its data, and nobody else does (decision 0105)."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
import struct
from pathlib import Path

_NAME = "system.posix_acl_access"
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id: linux/posix_acl_xattr.h
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_SEARCH = 1

Entry = tuple[int, int, int]


def let_through(path: Path, user: pwd.struct_passwd) -> None:
    """Let `user` pass through `path` and its parents, no more: search, not list.

    By an entry for this user alone; where the file system keeps no such lists, by `o+x`.
    """
    for folder in (path, *path.parents):
        status = folder.stat()
        if status.st_uid == user.pw_uid or status.st_mode & stat.S_IXOTH:
            continue
        try:
            _admit(folder, status.st_mode, user.pw_uid)
        except OSError as exc:
            if exc.errno not in {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}:
                raise
            folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)


def _admit(folder: Path, mode: int, uid: int) -> None:
    """Add the entry to those that are there. The mask is what any entry but the owner's may grant at most."""
    before = _entries(folder, mode)
    kept = [entry for entry in before if entry[0] != _MASK and entry[::2] != (_USER, uid)]
    granted = _SEARCH | next((may for tag, may, owner in before if (tag, owner) == (_USER, uid)), 0)
    group = [may for tag, may, _ in before if tag == _MASK] or [may for tag, may, _ in before if tag == _GROUP_OBJ]
    wanted = sorted([*kept, (_USER, granted, uid), (_MASK, group[0] | _SEARCH, _NO_ID)], key=lambda one: one[::2])
    if wanted != before:
        os.setxattr(folder, _NAME, _VERSION.pack(2) + b"".join(_ENTRY.pack(*entry) for entry in wanted))


def _entries(folder: Path, mode: int) -> list[Entry]:
    """The access list as it is; without one, the three entries that the mode stands for."""
    with contextlib.suppress(OSError):
        return list(_ENTRY.iter_unpack(os.getxattr(folder, _NAME)[_VERSION.size :]))
    return [
        (_USER_OBJ, mode >> 6 & 7, _NO_ID),
        (_GROUP_OBJ, mode >> 3 & 7, _NO_ID),
        (_OTHER, mode & 7, _NO_ID),
    ]
