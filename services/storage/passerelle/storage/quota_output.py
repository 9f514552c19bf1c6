"""The output of quota(1) of the Linux quota tools, with `-v -w -p -f MOUNT` in the C locale.

    Disk quotas for user alice (uid 1001):
         Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
          /dev/sdb1    1204*   1000    2000 1767323045      17       0       0       0

There is one line for the filesystem. Blocks are of 1 KiB; a star marks a number over its quota; 0 means no limit. Where
there are no quotas, nothing of that is printed. (Format from quota.c of quota-tools 4.06.)
"""

from passerelle.storage.values import Room

_BLOCK = 1024
_COLUMNS = 8  # numbers after the filesystem's name


def user_room(output: str) -> Room | None:
    """The user's quota in the output of quota(1); None when it has none."""
    for line in output.splitlines():
        _, *columns = line.rsplit(maxsplit=_COLUMNS)
        numbers = [column.rstrip("*") for column in columns]
        if len(numbers) == _COLUMNS and all(number.isdecimal() for number in numbers):
            used, soft, hard, _, files, _, files_limit, _ = map(int, numbers)
            return Room(used * _BLOCK, hard * _BLOCK, soft * _BLOCK, files, files_limit)
    return None
