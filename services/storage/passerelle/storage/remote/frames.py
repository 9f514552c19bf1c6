"""The frames between the storage service and its helper on a system.

A request is `id, length, size` (32-bit numbers, big-endian), followed by `length` bytes of JSON (`[operation,
arguments, streamed]`) and, unless `size` is 0, `size` bytes that become the argument `content`.

An answer is MARK, `id, status, length` (32, 8 and 32 bits), `length` bytes, and END. Its status is one of:

- 0: the bytes are the last piece of the result.
- 2: the bytes are a piece of the result, and more pieces follow.
- 1: the operation failed. The bytes describe the failure in JSON, and earlier pieces are void.

MARK and END separate answers from what other programs print on the same channel. Answers come in any order. The helper
ends when its input ends.

Three requests have no answer:

- `acknowledge`: a piece of the streamed answer with this id was received. At most `outcome.WINDOW` pieces are sent
  without being acknowledged.
- `cancel`: the service no longer needs the answer with this id.
- `confine`: from now on paths must lie in the directories `roots`.
"""

import struct

GREETING = b"\0passerelle-helper-3\n"
"""The first bytes that the helper sends. What comes before them was printed by login scripts."""

REQUEST = struct.Struct(">III")
ANSWER = struct.Struct(">4sIBI")
MARK, END = b"\0\xffP{", b"}P\xff\0"
LAST, FAILED, MORE = 0, 1, 2
