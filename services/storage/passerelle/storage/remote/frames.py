"""The frames between the storage service and its helper on a system.

A request is `id, length` (two 32-bit numbers, big-endian) and that many bytes of JSON `[operation, arguments]`; an
answer is `id, status, length` (32, 8 and 32 bits) and that many bytes: the last of the result (status 0), a piece of it
with more to come (2), or a JSON description of what failed (1), which makes earlier pieces void. Answers come in any
order. The helper ends when its input ends.
"""

import struct

GREETING = b"\0passerelle-helper-1\n"
"""Sent first, so that whatever a login script printed before can be told from answers."""

REQUEST = struct.Struct(">II")
ANSWER = struct.Struct(">IBI")
LAST, FAILED, MORE = 0, 1, 2
