"""A busy port moves a service to the next free one."""

from leadline.local.ports import listen, port_of


def test_a_busy_port_gives_way_to_the_next_free_one() -> None:
    first = listen("127.0.0.1", 0)
    wanted = port_of(first)
    second = listen("127.0.0.1", wanted)
    try:
        assert port_of(second) > wanted
    finally:
        first.close()
        second.close()
