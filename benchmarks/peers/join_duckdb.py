"""DuckDB's plain ASOF join, timed whenever a line comes in; run in the peers' environment.

Arguments: directory with ``spine.arrow`` and ``table.arrow``, to which the last answer is written.
"""

import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc

QUERY = """
    SELECT spine.*, rows.* EXCLUDE (k, event_time)
    FROM spine ASOF LEFT JOIN rows ON spine.k = rows.k AND spine.event_time >= rows.event_time
"""


def main(folder: Path) -> None:
    """Answer every line on standard input with the seconds of one join, Arrow in memory in and out."""
    connection = duckdb.connect()
    connection.execute("SET timezone = 'UTC'")
    for name, file in (("spine", "spine.arrow"), ("rows", "table.arrow")):
        connection.register(name, pa.ipc.open_file(pa.OSFile(str(folder / file))).read_all())
    answer = None
    for _ in sys.stdin:
        started = time.perf_counter()
        answer = connection.sql(QUERY).to_arrow_table()
        print(time.perf_counter() - started, flush=True)
    with pa.ipc.new_file(str(folder / "duckdb.arrow"), answer.schema) as writer:
        writer.write_table(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
