"""A busy port moves a service to the next free one."""

from leadline.local.ports import listen, port_of


def test_a_port_that_is_anothers_by_default_is_left_to_it() -> None:
    first = listen("127.0.0.1", 0)
    wanted = port_of(first)
    second = listen("127.0.0.1", wanted, leave=[wanted, wanted + 1, wanted + 2])
    try:
        assert port_of(second) > wanted + 2
    finally:
        first.close()
        second.close()


def test_a_busy_port_gives_way_to_the_next_free_one() -> None:
    first = listen("127.0.0.1", 0)
    wanted = port_of(first)
    second = listen("127.0.0.1", wanted)
    try:
        assert port_of(second) > wanted
    finally:
        first.close()
        second.close()
