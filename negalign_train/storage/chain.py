"""Append-only tables whose rows are chained: each row's digest covers all its columns and the row
before it, so that no field can be changed, and no row taken out, unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, TableClause, insert, select

CHAIN, SEQUENCE = "chain", "sequence"
_FIRST = ""
"""What stands for the row before the first one."""


@dataclass(frozen=True)
class Head:
    """The newest row of a chained table, or the row that was newest at some moment."""

    sequence: int
    chain: str


def append_rows(
    connection: Connection, table: TableClause, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Inserts rows at the end of a chained table, in a writing transaction: writers go one at a
    time, so that the numbers have no gaps.
    """
    head = newest(connection, table)
    sequence, chain = head.sequence, head.chain
    chained = []
    names = [column.name for column in table.columns if column.name != CHAIN]
    for row in rows:
        sequence += 1
        values = {name: row.get(name) for name in names}
        values[SEQUENCE] = sequence
        values[CHAIN] = chain = row_digest(chain, values)
        chained.append(values)
    if chained:
        connection.execute(insert(table), chained)


def newest(connection: Connection, table: TableClause) -> Head:
    """The end of the chain; sequence 0 where the table is empty."""
    columns = table.c
    query = select(columns[SEQUENCE], columns[CHAIN]).order_by(columns[SEQUENCE].desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return Head(0, _FIRST) if row is None else Head(*row)


# repr: a damaged field may hold bytes, which are no JSON.
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=repr)


def row_digest(previous: str, values: Mapping[str, Any]) -> str:
    """SHA-256 of a row without its own digest, and of the digest before it."""
    content = {name: value for name, value in values.items() if name != CHAIN}
    text = _ENCODER.encode([previous, content])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def broken_rows(connection: Connection, table: TableClause) -> Iterator[tuple[int, str]]:
    """``(sequence, problem)`` of each row that is not what was appended.

    A row is compared with what stands before it, so that one damaged row is named, and at most the
    one after it.
    """
    previous = Head(0, _FIRST)
    query = select(table).order_by(table.c[SEQUENCE]).execution_options(yield_per=1000)
    for row in connection.execute(query):
        values = dict(row._mapping)
        sequence, chain = values[SEQUENCE], values[CHAIN]
        if chain == _FIRST and previous.chain == _FIRST:
            yield sequence, "was written by a release that chained no rows"
        elif sequence != previous.sequence + 1:
            yield sequence, f"follows row {previous.sequence}: rows between are missing"
        elif chain != row_digest(previous.chain, values):
            yield sequence, "was changed, or a row before it was"
        previous = Head(sequence, chain)
