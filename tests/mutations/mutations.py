"""What can become of a file: by a bad disk, by a mistake, and by somebody who means harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

Mutation = Callable[[Path, "Surroundings", Random], None]

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        -100_000,
        0,
        10**12,
        2**63 - 1,
        10**30,
        1e300,
        -0.5,
        float("nan"),
        "NaN",
        "Infinity",
        "-1",
        "1e400",
        "",
        "x" * 5_000,
    ),
    *("../victim", "../../victim", "a/../../victim.txt", "..", ".", "/", "a\0b", "a\nb", "part-00001", "\ud83d\ude00"),
    *([], {}, [None], {"a": 1}, [[[]]], ["../victim.txt"]),
)


class Surroundings:
    """What a mutation may point at.

    Args:
        root: The destination.
        outside: A folder beside the folder that an entry point may write.
        others: Files of the same destination.
    """

    def __init__(self, root: Path, outside: Path, others: list[Path]) -> None:
        self.root = root
        self.outside = outside
        self.others = others


def flip_bits(path: Path, _: Surroundings, chance: Random) -> None:
    """Flip a few bits."""
    data = bytearray(path.read_bytes())
    for _number in range(chance.choice((1, 1, 2, 8))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, _: Surroundings, chance: Random) -> None:
    """Cut a file, also to nothing."""
    data = path.read_bytes()
    path.write_bytes(data[: chance.choice((0, len(data) // 2, max(0, len(data) - 1), chance.randrange(len(data) + 1)))])


def zero(path: Path, _: Surroundings, chance: Random) -> None:
    """Make a range of bytes zero, as a disk does that lost a sector."""
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 16, 512, 4_096)))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)


def insert(path: Path, _: Surroundings, chance: Random) -> None:
    """Put bytes in between, or behind."""
    data = path.read_bytes()
    at = chance.choice((0, len(data), chance.randrange(len(data) + 1)))
    path.write_bytes(data[:at] + chance.randbytes(chance.choice((1, 7, 300))) + data[at:])


def swap(path: Path, around: Surroundings, chance: Random) -> None:
    """Have another file's contents, of the same kind if there is one."""
    others = [other for other in around.others if other != path]
    same = [other for other in others if other.suffix == path.suffix]
    path.write_bytes(chance.choice(same or others).read_bytes())


def link_to_file(path: Path, around: Surroundings, chance: Random) -> None:
    """Be a link to a file outside, or to none."""
    path.unlink()
    path.symlink_to(around.outside / chance.choice(("victim.txt", "nothing.txt", "copy")))


def link_to_folder(path: Path, around: Surroundings, _: Random) -> None:
    """Be a link to a folder outside."""
    path.unlink()
    path.symlink_to(around.outside / "victim")


def link_folder(path: Path, around: Surroundings, chance: Random) -> None:
    """Stand in a folder that is a link to one outside, which holds the same; the destination itself may be a link."""
    if path.parent == around.root:
        link_to_folder(path, around, chance)
        return
    moved = around.outside / "moved"
    path.parent.rename(moved)
    path.parent.symlink_to(moved)


def become_folder(path: Path, _: Surroundings, chance: Random) -> None:
    """Be a folder, with something in it or not."""
    path.unlink()
    path.mkdir()
    if chance.random() < 0.5:
        (path / "part-00000.json").write_text("{}")


def rename(path: Path, _: Surroundings, chance: Random) -> None:
    """Have another name."""
    number = chance.choice(
        ("part-99999", "part--1", "part-x", "part-00001", "part-", "PART-00000", "x", "part-1-2-3-4")
    )
    path.rename(path.with_name(chance.choice((path.name.replace("part-00000", number), f"{path.name}x", number))))


def add_name(path: Path, _: Surroundings, chance: Random) -> None:
    """Stand there under a second name, too."""
    names = ("part-99999", "part--1", "part-x", "part-", "part-00001-", "x", "part-00000-zzz-000000000000000", "\udcff")
    shutil.copyfile(path, path.with_name(chance.choice(names) + chance.choice((path.suffix, ""))))


def change_json(path: Path, around: Surroundings, chance: Random) -> None:
    """Say something else at one place, be it true or not."""
    values = orjson.loads(path.read_bytes())
    places = list(_places(values))
    if not places or chance.random() < 0.05:
        path.write_bytes(orjson.dumps(chance.choice((None, [], {}, 3, "x", [{}]))))
        return
    owner, key = chance.choice(places)
    if chance.random() < 0.15 and isinstance(owner, dict):
        del owner[key]
    else:
        owner[key] = chance.choice((*VALUES, str(around.outside / "victim.txt"), str(around.outside / "victim")))
    path.write_text(json.dumps(values), errors="surrogatepass")


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    for key in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        yield values, key
        yield from _places(values[key])


def change_table(path: Path, around: Surroundings, chance: Random) -> None:
    """Have a column that is gone, null, of another type, or with a value that cannot be true."""
    table = pq.read_table(path)
    place = chance.randrange(table.num_columns)
    name, values = table.column_names[place], table.column(place)
    how = chance.choice(("gone", "null", "text", "hostile", "hostile", "hostile", "less", "fewer", "twice"))
    if how == "gone":
        table = table.drop_columns([name])
    elif how == "null":
        table = table.set_column(place, name, pa.nulls(len(values), values.type))
    elif how == "text":
        table = table.set_column(place, name, pa.array([str(around.outside / "victim.txt")] * len(values)))
    elif how == "fewer":
        table = table.slice(0, len(values) // 2)
    elif how == "twice":
        table = pa.concat_tables([table, table])
    else:
        table = table.set_column(place, name, _hostile(values, how, around, chance))
    pq.write_table(table, path)


def _hostile(values: pa.ChunkedArray, how: str, around: Surroundings, chance: Random) -> pa.Array:
    kind, old = values.type, values.to_pylist()
    if pa.types.is_integer(kind):
        new: Any = 1 if how == "less" else chance.choice((-1, -(2**15), 2**15 - 1, 0))
    elif pa.types.is_decimal(kind):
        new = pa.scalar("-1.5" if how != "less" else "0.000000001").cast(kind).as_py()
    elif pa.types.is_string(kind):
        new = chance.choice(("../victim.txt", str(around.outside / "victim.txt"), "", "x\0y", "../../victim", "wav/.."))
    elif pa.types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"}:
        new = {"bytes": chance.choice((b"", b"junk", b"RIFF\0\0\0\0WAVE", None)), "path": "../victim.txt"}
    else:
        new = None
    at = chance.randrange(len(old)) if old else 0
    return pa.array([new if number == at or how == "less" else value for number, value in enumerate(old)], kind)


ANY: tuple[Mutation, ...] = (
    *(flip_bits, flip_bits, truncate, zero, insert, swap, link_to_file, link_to_folder, link_folder, become_folder),
    *(rename, add_name),
)
_BY_SUFFIX: Mapping[str, Mutation] = {".json": change_json, ".parquet": change_table}


def mutations_for(path: Path) -> tuple[Mutation, ...]:
    """Return what can become of a file; what is made for its kind is as likely as half of all else."""
    own = _BY_SUFFIX.get(path.suffix) if path.name != "manifest.json" else None
    return ANY if own is None else (*ANY, *(own,) * (len(ANY) // 2))
