"""An Arrow IPC stream from a stranger, made into a table that keeps its promises.

Arrow believes what a stream says of itself: offsets that point beyond their buffer read the memory
of this process, or end it; and a batch of that kind in the log ends it again at every start. A few
kilobytes may also stand for terabytes: compressed buffers, columns of nulls, dictionaries.
"""

import struct
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CELL_BYTES = 8
_V5 = 4
"""``MetadataVersion.V5`` (Arrow 1.0)."""
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
"""``MessageHeader`` in Message.fbs."""
_TEXTS = (pa.string(), pa.binary(), pa.large_string(), pa.large_binary())
_VIEWS = (pa.string_view(), pa.binary_view())


class UnfitStream(ValueError):
    """The bytes are no stream that can be taken; the text says why, for the caller."""


def read_stream(body: bytes, bytes_max: int) -> pa.Table:
    """The table, every value of which is where the stream says. Raises ``UnfitStream``.

    It is refused where it would take more than ``bytes_max``, decompressed and written out.
    """
    try:
        if sum(_told_bytes(body)) > bytes_max:
            raise UnfitStream(f"At most {bytes_max} bytes, decompressed.")
        table = pa.ipc.open_stream(body).read_all()
        table.validate(full=True)
        names = table.column_names
        if sum(map(_plain_bytes, table.columns)) > bytes_max:
            raise UnfitStream(
                f"At most {bytes_max} bytes, with dictionaries and nulls written out."
            )
    except (pa.ArrowException, OSError, struct.error, UnicodeDecodeError, MemoryError) as broken:
        raise UnfitStream("The body is no Arrow IPC stream.") from broken
    if len(set(names)) != len(names):
        raise UnfitStream("Two columns have the same name.")
    return table


def _told_bytes(body: bytes) -> Iterator[int]:
    """What the buffers of each batch say they hold; of compressed ones Arrow makes as much room."""
    for message in pa.ipc.MessageReader.open_stream(body):
        head = memoryview(message.metadata)
        (root,) = struct.unpack_from("<I", head)
        kind = _scalar(head, root, 1, "<B")
        if kind not in (_RECORD_BATCH, _DICTIONARY_BATCH):
            continue
        if _scalar(head, root, 0, "<h") < _V5 and _field(head, root, 4):
            raise UnfitStream("Arrow streams are written as by Arrow 1.0 or later.")
        batch = _table(head, root, 2)
        if kind == _DICTIONARY_BATCH:
            batch = _table(head, batch, 1)
        if _field(head, batch, 3):
            yield sum(_told_lengths(head, batch, memoryview(message.body)))


def _told_lengths(head: memoryview, batch: int, content: memoryview) -> Iterator[int]:
    vector = _table(head, batch, 2)
    (count,) = struct.unpack_from("<I", head, vector)
    for place in range(vector + 4, vector + 4 + 16 * count, 16):
        offset, length = struct.unpack_from("<qq", head, place)
        if length == 0:
            continue
        if offset < 0:
            raise struct.error("a buffer before its message")
        (told,) = struct.unpack_from("<q", content, offset)  # -1: it is not compressed
        if told < -1:
            raise struct.error("a buffer of negative length")
        yield length if told == -1 else told


def _field(head: memoryview, table: int, number: int) -> int:
    """Where a field of a flatbuffers table stands; 0: it is not there. Arrow has verified them."""
    (back,) = struct.unpack_from("<i", head, table)
    places = table - back
    (size,) = struct.unpack_from("<H", head, places)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", head, places + 4 + 2 * number)
    return table + int(offset) if offset else 0


def _scalar(head: memoryview, table: int, number: int, kind: str) -> int:
    place = _field(head, table, number)
    return int(struct.unpack_from(kind, head, place)[0]) if place else 0


def _table(head: memoryview, table: int, number: int) -> int:
    place = _field(head, table, number)
    if not place:
        raise struct.error("a message without its parts")
    return place + int(struct.unpack_from("<I", head, place)[0])


def _plain_bytes(column: pa.ChunkedArray) -> int:
    """What the column takes with every value written out; never less than a number a row."""
    kind = column.type
    if kind in _TEXTS:
        told = pc.sum(pc.binary_length(column), min_count=0).as_py()
    elif kind in _VIEWS:
        told = sum(map(_viewed, column.chunks))
    elif pa.types.is_dictionary(kind) and kind.value_type in _TEXTS:
        told = sum(map(_pointed_at, column.chunks))
    elif pa.types.is_dictionary(kind) and not pa.types.is_primitive(kind.value_type):
        raise UnfitStream("A dictionary holds numbers or texts.")
    else:
        told = column.nbytes
    return max(int(told), CELL_BYTES * len(column))


def _pointed_at(chunk: pa.DictionaryArray) -> int:
    sizes = pc.binary_length(chunk.dictionary).cast(pa.int64())
    return int(pc.sum(sizes.take(chunk.indices), min_count=0).as_py())


def _viewed(chunk: pa.Array) -> int:
    """Views of one text may be many. Each is 16 bytes, its length first."""
    if not len(chunk):
        return 0
    views = np.frombuffer(chunk.buffers()[1], "<i4", 4 * (chunk.offset + len(chunk)))
    lengths = views[::4][chunk.offset :]
    return int(lengths[chunk.is_valid().to_numpy(zero_copy_only=False)].sum(dtype=np.int64))
