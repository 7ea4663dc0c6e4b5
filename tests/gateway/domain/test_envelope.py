import orjson
import pytest

from contracts.envelope import BadEnvelope
from gateway.domain.envelope import (
    READ_BYTES_MAX,
    Envelope,
    model_in,
    open_envelope,
    read_envelope,
)

ROW = {"carrier": "UA", "distance": 1400}
LONG = {"model": "delay", "instances": [ROW] * 200}


def test_a_short_body_is_read() -> None:
    body = orjson.dumps({"model": "delay", "instances": [ROW, ROW]})
    assert open_envelope(body) == Envelope("delay", 2, body) == read_envelope(body)
    with pytest.raises(BadEnvelope):
        open_envelope(body[:-1])


def test_a_long_body_is_glanced_at() -> None:
    body = orjson.dumps(LONG)
    assert len(body) > READ_BYTES_MAX
    assert open_envelope(body) == Envelope("delay", 200, body, read=False)
    assert open_envelope(body[:-1]).read is False  # whoever reads it finds out


@pytest.mark.parametrize(
    "document",
    [dict(reversed(LONG.items())), {"model": "delay", "instances": [{"x": "{" * 10_001}]}],
)
def test_a_long_body_that_a_glance_does_not_tell_of_is_read(document: object) -> None:
    body = orjson.dumps(document)
    assert open_envelope(body) == read_envelope(body)
    with pytest.raises(BadEnvelope):
        open_envelope(body[:-1])


def test_the_model_is_guessed_without_reading_the_body() -> None:
    rows = b'"instances":[%s]' % b",".join([b'{"model":"no"}'] * 50)
    assert model_in(b'{"model":"delay",' + rows + b"}") == "delay"
    assert model_in(b' {\n "model" : "delay" ,' + rows + b"}") == "delay"
    assert model_in(b"{" + rows + b', "model": "delay"}\n') == "delay"
    for strange in (b"", b"{", b"{" + rows + b"}", b'{"model":"A"}', b'[{"model":"delay"}]'):
        assert model_in(strange) == ""
