"""Writes down what is about to be answered, before it is answered."""

from contracts.served import encode_served
from inference.domain.served import RawServed, Served, batch_of, raw_batch_of
from inference.ports import Spool


class Record:
    """Appends served events to the spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __call__(self, served: Served) -> None:
        """Encode one group and write it."""
        self._spool.append(encode_served(batch_of(served)), len(served.group.rows))

    def raw(self, served: RawServed) -> None:
        """Encode calls that brought their own tensors and shared a run, and write them."""
        self._spool.append(encode_served(raw_batch_of(served)), len(served.units))
