"""What quota(1) of the Linux quota tools prints, with `-v -w -p -f MOUNT` in the C locale.

    Disk quotas for user alice (uid 1001):
         Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
          /dev/sdb1    1204*   1000    2000 1767323045      17       0       0       0

One line for the filesystem; blocks of 1 KiB; a star behind a number that is over its quota; 0 for no limit. Nothing of
that where there are no quotas. (Format from quota.c of quota-tools 4.06.)
"""

from passerelle.storage.values import Room

_BLOCK = 1024
_COLUMNS = 8  # numbers behind the filesystem's name


def user_room(said: str) -> Room | None:
    """The user's room in what quota(1) said; None where it tells of none."""
    for line in said.splitlines():
        _, *columns = line.rsplit(maxsplit=_COLUMNS)
        numbers = [column.rstrip("*") for column in columns]
        if len(numbers) == _COLUMNS and all(number.isdecimal() for number in numbers):
            used, soft, hard, _, files, _, most, _ = map(int, numbers)
            return Room(used * _BLOCK, hard * _BLOCK, soft * _BLOCK, files, most)
    return None
