"""Become a plain user, as PostgreSQL wants it: its programs refuse to run as root.

A local cloud that root runs keeps its folders where no plain user may enter. So the plain user keeps one of root's
capabilities, that of passing file permissions (``CAP_DAC_OVERRIDE``); the programs see that they are not root.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import struct

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE = 1
_VERSION_3 = 0x20080522  # linux/capability.h: of the two functions' header

_libc = ctypes.CDLL(None, use_errno=True)  # loaded now: not between fork and exec


def known(uid: int) -> int:
    """The user id itself if it has a name here, which ``initdb`` asks for; else that of some plain user with one."""
    names = {entry.pw_uid for entry in pwd.getpwall()}
    return uid if uid in names else min(names - {0}, default=uid)


def become(uid: int | None) -> None:
    """Called between fork and exec: die with the parent, and become the user; None keeps the present one.

    Raises:
        OSError: the kernel refuses.
    """
    if uid is not None:
        _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        bit = 1 << _CAP_DAC_OVERRIDE
        header = struct.pack("Ii", _VERSION_3, 0)
        # A root that lacks it (some containers') has nothing to hand on: then the folders' permissions decide.
        if _libc.capset(header, struct.pack("6I", bit, bit, bit, 0, 0, 0)) == 0:
            _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))
    # Last: a change of user undoes it.
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
