"""Quotas: what quota(1) prints, as its source (quota-tools 4.06, quota.c) says: this kernel keeps none to ask for."""

import pytest

from passerelle.storage.quota_output import user_room
from passerelle.storage.values import Room

HEAD = """\
Disk quotas for user alice (uid 1001):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
"""


@pytest.mark.parametrize(
    ("message", "room"),
    [
        (
            HEAD
            + "      /dev/sdb1    1204*   1000    2000 1767323045      17     100     200       0\n",
            Room(1204 * 1024, 2000 * 1024, 1000 * 1024, 17, 200),
        ),
        (
            HEAD + "nfs.example.org:/vol/home 1024 0 0 0 21* 20 30 1767323045\n",
            Room(1024 * 1024, 0, 0, 21, 30),
        ),
        (HEAD + "/mnt/with some spaces 0 0 0 0 0 0 0 0\n", Room(0, 0, 0, 0, 0)),
        ("", None),
        ("Disk quotas for user alice (uid 1001): none\n", None),
        (HEAD, None),
    ],
)
def test_what_quota_says(message: str, room: Room | None) -> None:
    assert user_room(message) == room
