"""Long computations, such as parsing the list of 50 000 jobs, while the event loop goes on answering other calls."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

# One thread: each more that computes would make the event loop wait for another turn of the interpreter (5 ms).
_FEW = 500  # items; with Slurm's jobs some 10 ms
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="computation")


async def computed(work: Callable[[], T], items: int) -> T:
    """The result of `work` on so many items; raises what it raises.

    Work on many is done in a thread, after that of other calls; on few at once, which costs less. In both it sees the
    caller and the log fields of its call. When the caller is cancelled, work that has begun goes on, and its result is
    dropped.
    """
    if items <= _FEW:
        return work()
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREAD, lambda: context.run(work))
