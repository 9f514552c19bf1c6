"""Content in replies is what the class of their message would have made of it."""

import pytest
from google.api.httpbody_pb2 import HttpBody

from passerelle.storage.reply_content import serialized_body


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 1 << 21])
def test_a_body_is_that_message(size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    kind = "application/octet-stream"
    assert HttpBody.FromString(serialized_body(kind, content)) == HttpBody(
        content_type=kind, data=content
    )
