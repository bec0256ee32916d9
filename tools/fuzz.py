"""Damage small valid files in thousands of ways and read each: nothing but the project's own error may come out.

    python tools/fuzz.py --count 20000
    python tools/fuzz.py --only nrrd --count 500 --keep /tmp/found

Every kind of file that lmk3d reads is damaged by flipped, lost, doubled and foreign bytes; texts also by exchanged,
lost and extreme words; packed files also within. Each is read in a process that is watched. Reported are, by kind:

read      it was read, or refused in a list of problems
refused   ``InputError``: one line that names the file
foreign   another exception
dead      the process ended
slow      more than ``--seconds``
large     the process grew by more than ``--megabytes``

The exit code is 1 if any of the last four is not 0; ``--keep`` copies what caused them.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specimens import Specimen, make_specimens

from lmk3d.errors import InputError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

FAULTS = ("foreign", "dead", "slow", "large")
OUTCOMES = ("read", "refused", *FAULTS)
# One process reads so many files before the next one takes over: growth is then that of few files.
_BATCH = 100
_TEXT = (".json", ".fcsv", ".csv", ".tfm", ".mhd", ".nhdr")
# Numbers at the edges of what programs hold, and words that mean something to one reader or another.
_WORDS = (
    *("0", "-1", "1e999", "nan", "inf", "-inf", "1.5", "2147483648", "99999999999999999999", "1e-320", "65537"),
    *(
        "null",
        "true",
        "[]",
        "{}",
        '""',
        '"$1+1"',
        '"@names"',
        '"\\ud800"',
        "none",
        "LPS",
        "\x00",
        "\x1b[31m",
        "é",
        "=1",
    ),
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1.5,
        10**20,
        float("nan"),
        float("inf"),
        "",
        "@names",
        "$1 + 1",
        "\ud800",
        "a\x00b",
        "\x1b[2J",
    ),
    *([], {}, [[]], ["a"], {"a": 1}, "x" * 5000, [1, 2, 3], "1", {"_target_": "os.system"}),
)
_BYTES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f")


def damage(content: bytes, name: str, rng: random.Random) -> bytes:
    """The content with one to four faults."""
    if name.endswith(".gz") and rng.random() < 0.7:
        return gzip.compress(damage(gzip.decompress(content), name[:-3], rng), 1)
    if name.endswith(".zip") and rng.random() < 0.7:
        return _damage_member(content, rng)
    if name.endswith(".json") and rng.random() < 0.5:
        return _damage_json(content, rng)
    if name.endswith(".dcm") and rng.random() < 0.5:
        return _damage_dicom(content, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        words = name.endswith(_TEXT) or content[:4] == b"NRRD" or content[:10] == b"ObjectType"
        content = (_damage_words if words and rng.random() < 0.7 else _damage_bytes)(content, rng)
    return content


def _damage_member(content: bytes, rng: random.Random) -> bytes:
    """A whole archive with one member damaged."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            new.writestr(name, damage(old.read(name), name, rng) if name == chosen else old.read(name))
    return out.getvalue()


def _damage_bytes(content: bytes, rng: random.Random) -> bytes:
    # Headers decide the most, so half of the faults lie at the front.
    reach = len(content) if rng.random() < 0.5 else min(len(content), 400)
    at = rng.randrange(reach + 1)
    length = rng.choice((1, 2, 4, 16, 64))
    kind = rng.randrange(6)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + content[at + length :]
    if kind == 2:
        return content[:at] + content[at : at + length] + content[at:]
    if kind == 3:
        return content[:at] + rng.randbytes(length) + content[at + length :]
    if kind == 4:
        found = rng.choice(_BYTES)
        return content[:at] + found + content[at + len(found) :]
    flipped = bytearray(content)
    if at < len(flipped):
        flipped[at] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _damage_json(content: bytes, rng: random.Random) -> bytes:
    """Valid JSON with one value exchanged, lost, doubled, or wrapped."""
    tree = json.loads(content)
    places: list[tuple[Any, Any]] = []
    open_nodes = [tree]
    while open_nodes:
        node = open_nodes.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        places += [(node, key) for key in keys]
        open_nodes += [node[key] for key in keys if isinstance(node[key], dict | list)]
    node, key = rng.choice(places)
    other, other_key = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        del node[key]
    elif kind == 1:
        node[key] = copy.deepcopy(other[other_key])
    elif kind == 2:
        node[key] = [node[key], node[key]]
    else:
        node[key] = rng.choice(_VALUES)
    return json.dumps(tree, indent=1).encode()


def _damage_dicom(content: bytes, rng: random.Random) -> bytes:
    """A DICOM file with one element lost, emptied, exchanged, shortened or doubled, at any depth."""
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    open_sets, places = [dataset, dataset.file_meta], []
    while open_sets:
        own = open_sets.pop()
        places += [(own, element) for element in own]
        open_sets += [item for element in own if element.VR == "SQ" for item in element.value]
    own, element = rng.choice(places)
    value = [element.value] if isinstance(element.value, str | bytes) or element.VM < 2 else list(element.value)
    other = rng.choice(places)[1]
    changed = rng.choice(([], value[:-1], [*value, *value], [*value[1:], value[0]], other.value, rng.choice(_VALUES)))
    out = io.BytesIO()
    try:
        if rng.random() < 0.3:
            del own[element.tag]
        else:
            own[element.tag] = pydicom.DataElement(element.tag, other.VR if rng.random() < 0.2 else element.VR, changed)
        dataset.save_as(out)
    except Exception:  # of whatever kind pydicom refuses such a value with
        return _damage_bytes(content, rng)
    return out.getvalue()


def _damage_words(content: bytes, rng: random.Random) -> bytes:
    words = list(re.finditer(rb'"[^"\n]*"|-?[\w.]+|[^\w\s]', content[:20_000]))
    if not words:
        return content + rng.choice(_WORDS).encode()
    one, other = rng.choice(words), rng.choice(words)
    kind = rng.randrange(5)
    if kind == 0:
        return content[: one.start()] + content[one.end() :]
    if kind == 1:
        return content[: one.start()] + other.group() + content[one.end() :]
    if kind == 2:
        lines = content.split(b"\n")
        row = rng.randrange(len(lines))
        return b"\n".join(lines[:row] + lines[row + 1 :] + (lines[row : row + 1] if rng.random() < 0.5 else []))
    if kind == 3:
        return content[: one.end()] + b" " + other.group() + content[one.end() :]
    return content[: one.start()] + rng.choice(_WORDS).encode() + content[one.end() :]


def spoil(specimen: Specimen, seed: int, folder: Path) -> Path:
    """A copy of the specimen in ``folder``, with one of its files damaged; the same for the same seed."""
    rng = random.Random(f"{specimen.kind} {seed}")
    copied = folder / specimen.kind
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(specimen.folder, copied)
    path = copied / rng.choice(specimen.damaged)
    path.write_bytes(damage(path.read_bytes(), path.name, rng))
    return copied


def attempt(specimen: Specimen, folder: Path) -> tuple[str, str]:
    """What becomes of one reading: "read", "refused" or "foreign", and the text that says more."""
    try:
        specimen.read(folder)
    except InputError as error:
        text = str(error)
        return ("refused", text) if "\n" not in text and text.strip() else ("foreign", f"not one line: {text!r}")
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "foreign", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}"[:300]
    return "read", ""


def _peak_mb() -> float:
    used = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def _work(connection: Connection, specimen: Specimen, seeds: list[int], scratch: Path) -> None:
    """Read the damaged files of these seeds, and send the outcome, its text and the memory it took for each."""
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    specimen.read(specimen.folder)  # what is imported for it is no growth
    for seed in seeds:
        before = _peak_mb()
        outcome, text = attempt(specimen, spoil(specimen, seed, scratch))
        connection.send((outcome, text, _peak_mb() - before))
    connection.close()


def watch(specimen: Specimen, seeds: list[int], scratch: Path, *, seconds: float, megabytes: float) -> list[Any]:
    """(outcome, text) for each seed; behind a file on which the process dies or hangs, a new one goes on."""
    found: list[Any] = []
    context = multiprocessing.get_context("fork")
    while len(found) < len(seeds):
        ours, theirs = context.Pipe(duplex=False)
        left = seeds[len(found) : len(found) + _BATCH]
        worker = context.Process(target=_work, args=(theirs, specimen, left, scratch))
        worker.start()
        theirs.close()
        for _ in left:
            if not ours.poll(seconds):
                found.append(("slow", f"more than {seconds:g} s"))
                break
            try:
                outcome, text, grown = ours.recv()
            except EOFError:
                worker.join()
                found.append(("dead", f"exit code {worker.exitcode}"))
                break
            found.append(("large", f"{grown:.0f} MB") if grown > megabytes else (outcome, text))
        worker.kill()
        worker.join()
        ours.close()
    return found


def fuzz(specimens: list[Specimen], given: argparse.Namespace, scratch: Path) -> dict[str, Counter[str]]:
    """Damage and read ``--count`` files, evenly over the specimens; prints each fault once and its kind's row."""
    each = -(-given.count // len(specimens))
    table: dict[str, Counter[str]] = {}
    print(f"{'kind':<22}" + "".join(f"{outcome:>9}" for outcome in OUTCOMES), flush=True)
    for specimen in specimens:
        seeds = list(range(given.seed, given.seed + each))
        found = watch(specimen, seeds, scratch, seconds=given.seconds, megabytes=given.megabytes)
        table[specimen.kind] = Counter(outcome for outcome, _ in found)
        print(f"{specimen.kind:<22}" + "".join(f"{table[specimen.kind][outcome]:>9}" for outcome in OUTCOMES))
        told = set()
        for seed, (outcome, text) in zip(seeds, found, strict=True):
            place = text.split(": ")[0]
            if outcome in FAULTS and place not in told:
                told.add(place)
                print(f"    seed {seed}: {outcome}: {text}", flush=True)
                if given.keep:
                    target = given.keep / f"{specimen.kind} {seed}".replace(" ", "_")
                    shutil.copytree(spoil(specimen, seed, scratch), target, dirs_exist_ok=True)
    return table


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when nothing but the project's own error came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, metavar="N", help="files in all (default: 20,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first file of each kind (default: 0)")
    parser.add_argument("--only", default="", metavar="WORD", help="the kinds whose name holds this word")
    parser.add_argument("--seconds", type=float, default=20, help="that one file may take (default: 20)")
    parser.add_argument("--megabytes", type=float, default=1024, help="that one file may need (default: 1024)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy what caused a fault to this folder")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        specimens = make_specimens(Path(scratch) / "whole")
        specimens = [specimen for specimen in specimens if given.only in specimen.kind]
        if not specimens:
            parser.error(f"no kind is called {given.only!r}")
        table = fuzz(specimens, given, Path(scratch))
    total = sum(table.values(), Counter[str]())
    print(f"{'all':<22}" + "".join(f"{total[outcome]:>9}" for outcome in OUTCOMES), flush=True)
    return int(any(total[outcome] for outcome in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
