import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.clock import write_clock
from leadline.demo.wire import Request, Wires
from tests.leadline.fake_gateway import fake_gateway

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def _request(number: int) -> Request:
    return Request("/predict", {"number": number}, "key")


@contextmanager
def _server(answers: list[bytes]) -> Iterator[str]:
    """Answers one request a connection, then closes it; an empty answer closes without one."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread.join(5)
    listening.close()


def test_replies_are_in_the_order_of_the_requests_however_many_there_are(tmp_path: Path) -> None:
    write_clock(tmp_path / "clock", 0)
    with fake_gateway(tmp_path / "clock") as gateway:
        wires = Wires(gateway.url, connections=3)
        replies = wires.send([_request(number) for number in range(10)])
        wires.close()
    sent = {f"r{place}": one.body["number"] for place, one in enumerate(gateway.seen, 1)}
    assert [sent[str(reply.body["request_id"])] for reply in replies] == list(range(10))


def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    with _server([OK, OK]) as url:
        wires = Wires(url, connections=1)
        assert wires.send([_request(1)])[0].ok
        assert wires.send([_request(2)])[0].ok
        wires.close()


def test_a_gateway_that_hangs_up_twice_is_an_answer_of_its_own() -> None:
    with _server([b"", b""]) as url:
        wires = Wires(url, connections=1)
        (reply,) = wires.send([_request(1)])
        wires.close()
    assert reply.status == 0
    assert not reply.ok
    assert reply.body["detail"]


def test_nobody_there_is_no_exception() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    wires = Wires(f"http://127.0.0.1:{port}")
    assert [reply.status for reply in wires.send([_request(1), _request(2)])] == [0, 0]
    wires.close()


def test_an_answer_that_is_not_json_is_kept_as_text() -> None:
    page = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\n\r\n<hm!>"
    with _server([page]) as url:
        wires = Wires(url, connections=1)
        (reply,) = wires.send([_request(1)])
        wires.close()
    assert (reply.status, reply.body["detail"]) == (502, "<hm!>")
