"""Reads Parquet files with Arrow C++ (pyarrow) and Arrow Rust (DataFusion), and prints what they found as JSON.

Takes, as JSON on standard input, {"files": [{"path", "queries": [condition]}]}. Prints for each file, per column, a hash of all values (bits of doubles,
bytes of texts, null as "-"), and for each condition how many rows DataFusion finds, and what its filters and page indexes left out.
"""

import hashlib
import json
import re
import struct
import sys

import datafusion
import pyarrow as pa
import pyarrow.parquet as pq

METRIC = r"{}=(\d+) total . (\d+) matched"


def text_of(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def plain_column(column):
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64())
    # Texts as bytes: they need not be valid here.
    return column.cast(pa.binary()) if pa.types.is_string(kind) else column


def hash_of(column):
    lines = "\n".join(text_of(value) for value in plain_column(column).to_pylist())
    return hashlib.sha256(lines.encode()).hexdigest()


def asked(context, condition):
    rows = context.sql(f"SELECT count(*) AS n FROM t WHERE {condition}").to_pylist()[0]["n"]
    plan = str(context.sql(f"EXPLAIN ANALYZE SELECT count(*) FROM t WHERE {condition}").to_pylist())

    def left_out(name):
        found = re.findall(METRIC.format(name), plan)
        return sum(int(total) - int(matched) for total, matched in found)

    return {
        "rows": rows,
        "groupsByFilter": left_out("row_groups_pruned_bloom_filter"),
        "pages": left_out("page_index_pages_pruned"),
    }


def read(file):
    table = pq.read_table(file["path"])
    # One part: metrics of several are added up, and small files are not cut anyway.
    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(1))
    context.register_parquet("t", file["path"])
    return {
        "columns": {name: hash_of(table.column(name)) for name in table.column_names},
        "queries": [asked(context, condition) for condition in file["queries"]],
    }


json.dump([read(file) for file in json.load(sys.stdin)["files"]], sys.stdout)
