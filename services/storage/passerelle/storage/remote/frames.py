"""The frames between the storage service and its helper on a system.

A request is `id, length` (two 32-bit numbers, big-endian) and that many bytes of JSON `[operation, arguments,
streamed]`; an answer is `id, status, length` (32, 8 and 32 bits) and that many bytes: the last of the result (status
0), a piece of it with more to come (2), or a JSON description of what failed (1), which makes earlier pieces void.
MARK goes before it and END behind, so that what others print on the same channel can be told from it. Answers come in
any order. The helper ends when its input ends.

Of a streamed answer at most `outcome.WINDOW` pieces are on their way; the request `taken` with the same id makes room
for one more. `cancel` gives a request up. `confine` says in which directories (`roots`) paths must lie from then on.
These three are not answered.
"""

import struct

GREETING = b"\0passerelle-helper-2\n"
"""Sent first, so that whatever a login script printed before can be told from answers."""

REQUEST = struct.Struct(">II")
ANSWER = struct.Struct(">4sIBI")
MARK, END = b"\0\xffP{", b"}P\xff\0"
LAST, FAILED, MORE = 0, 1, 2
