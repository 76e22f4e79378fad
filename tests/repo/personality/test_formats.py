"""The text files: canonical, edited without loss, and refused with an error of their own."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc.merge.methods import rule
from pvc.repo.build.build_cache import BuiltTree
from pvc.repo.commands.rename import rename
from pvc.repo.commands.status import status
from pvc.repo.history.journal import DirectoryWrite, Journal, JournalError, JournalFile
from pvc.repo.history.notes import read_note
from pvc.repo.personality import personality_file, vector_file
from pvc.repo.personality.config import Config, ConfigError
from pvc.repo.personality.formula import Built, Formula, FormulaPart, Link
from pvc.repo.personality.personality_file import (
    EMPTY,
    MAX_TERMS,
    Personality,
    PersonalityError,
    Term,
)
from pvc.repo.personality.vector import Amount, CapturedVector, DerivedVector, Recipe, Statistics
from pvc.repo.personality.vector_file import MAX_VECTOR_BYTES, VectorError
from pvc.repo.personality.vector_names import VectorNameError, check_name, is_name
from pvc.repo.targets.directory_record import DirectoryRecord, DirectoryRecords
from pvc.repo.targets.engine_record import EngineRecord
from pvc.repo.targets.home import Home, Identity
from pvc.repo.targets.records import RecordError
from pvc.repo.trees.checked_file import checked_text
from pvc.repo.upkeep.findings import Findings
from pvc.repo.upkeep.roots import read_roots
from pvc.weights.fingerprint import Stamp
from tests.store.strategies import damaged
from tests.support import models
from tests.support.merging import rules, trimmed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.errors import MalformedError
    from pvc.repo.repository import Repository

GOLDEN = Path(__file__).with_name("golden")
PAGES = Path(__file__).parents[3] / "docs" / "format"
ONE, TWO, THREE, FOUR = (bytes([byte]) * 32 for byte in (0x11, 0x22, 0x33, 0x44))

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}(\.[a-z0-9_]{1,4})?", fullmatch=True).filter(
    is_name
)
scales = st.floats(allow_nan=False, allow_infinity=False)
terms = st.builds(Term, names, st.one_of(st.just(1.0), scales))
personalities = st.lists(terms, max_size=6).map(lambda found: Personality(tuple(found)))


# personality.toml


@given(old=personalities, new=personalities)
def test_edit_says_what_it_should(old: Personality, new: Personality) -> None:
    text = personality_file.edit(EMPTY, old)
    assert Personality.parse(text) == old
    edited = personality_file.edit(text, new)
    assert Personality.parse(edited) == new
    assert edited.startswith(EMPTY)
    assert personality_file.edit(edited, new) == edited


PIECES = st.sampled_from(
    [
        "# a comment\n",
        "\n",
        '[[term]]\nvector = "a"\n',
        '[[term]] # why\nvector = "b" # what\nscale = 2 # how much\n# behind\n',
        '[[term]]\nscale = -0.5\n\n# between\nvector = "c"\n',
        "[[ 'term' ]]\n\"vector\" = 'd'\n\n\n\n",
        '[[term]]\r\nvector = """e"""\r\n# windows\r\n',
    ]
)
WRITTEN = st.one_of(
    st.lists(PIECES, max_size=6).map("".join),
    st.sampled_from(
        [
            "term = []\n",
            '# inline\nterm = [{vector = "a"}, {vector = "b", scale = 2.0}] # end\n',
            'term = [\n  {vector = "a"}, # why\n  # more\n]\n# last',
        ]
    ),
)


@given(text=WRITTEN, new=personalities, change=st.sampled_from(["more", "fewer", "scale", "new"]))
def test_edit_keeps_what_people_wrote(text: str, new: Personality, change: str) -> None:
    old = Personality.parse(text)
    kept = old.terms
    if change == "more":
        kept = (*kept, *new.terms)
    elif change == "fewer":
        kept = kept[1:]
    elif change == "scale":
        kept = tuple(replace(term, scale=term.scale * 2) for term in kept)
    else:
        kept = new.terms
    edited = personality_file.edit(text, Personality(kept))
    assert Personality.parse(edited).terms == kept
    if kept == old.terms:
        assert edited == text
    elif change in {"more", "scale"} and "term =" not in text:
        assert re.findall("#.*", edited) == re.findall("#.*", text)


MALFORMED = {
    "not TOML": "[[term]\n",
    "not TOML at all": "\0",
    "a number too long": "a = " + "1" * 5000,
    "nested too deeply": "a = " + "[" * 100_000,
    "no date": "a = 2021-13-45",
    "another table": "[other]\n",
    "another key": "x = 1\n",
    "no array": '[term]\nvector = "a"\n',
    "no tables": "term = [1, 2]\n",
    "a text": 'term = "a"\n',
    "no vector": "[[term]]\nscale = 1.0\n",
    "a number for a vector": "[[term]]\nvector = 1\n",
    "no name": '[[term]]\nvector = "a b"\n',
    "a dash": '[[term]]\nvector = "a-b"\n',
    "the base": '[[term]]\nvector = "base"\n',
    "another field": '[[term]]\nvector = "a"\nlayers = [1]\n',
    "a text for a scale": '[[term]]\nvector = "a"\nscale = "1"\n',
    "a boolean for a scale": '[[term]]\nvector = "a"\nscale = true\n',
    "no number": '[[term]]\nvector = "a"\nscale = nan\n',
    "infinite": '[[term]]\nvector = "a"\nscale = -inf\n',
    "too large a number": '[[term]]\nvector = "a"\nscale = ' + "9" * 400 + "\n",
    "twice the same key": '[[term]]\nvector = "a"\nvector = "b"\n',
    "too many terms": '[[term]]\nvector = "a"\n' * (MAX_TERMS + 1),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_personalities(text: str) -> None:
    with pytest.raises(PersonalityError) as caught:
        Personality.parse(text, "personality.toml at abc")
    assert caught.value.where == "personality.toml at abc"
    assert str(caught.value).startswith("personality.toml at abc is malformed: ")
    with pytest.raises(PersonalityError):
        personality_file.edit(text, Personality())


def test_whole_numbers_are_scales() -> None:
    assert Personality.parse('[[term]]\nvector = "a"\nscale = 2\n').terms == (Term("a", 2.0),)
    assert str(Personality((Term("a"), Term("b", -0.5), Term("c", -1), Term("d", 1e6)))) == (
        "base + a - 0.5*b - c + 1e+06*d"
    )


# vectors/<name>.json

VECTOR = CapturedVector(
    base=ONE,
    from_tree=TWO,
    to_tree=THREE,
    layout=FOUR,
    statistics=Statistics(
        amount=Amount(1200, 34, "0.001", "12.5"),
        roles=(("embed", Amount(1000, 30, "0.0009", "12")), ("q", Amount(200, 4, "0", "0"))),
        tensors=2,
        changed_tensors=1,
        blocks=3,
        changed_blocks=1,
        total_bytes=2400,
        stored_bytes=56,
    ),
    provenance=(("message", 'ö "quoted"\nsecond line'), ("origin", "/models/out")),
)


def test_vectors_are_canonical() -> None:
    golden = (GOLDEN / "vector.json").read_text(encoding="utf-8")
    assert vector_file.to_text(VECTOR) == golden
    assert vector_file.parse(golden, "golden") == VECTOR


counts = st.integers(0, (1 << 63) - 1)
norms = st.one_of(
    st.floats(min_value=0, allow_nan=False).map(lambda value: f"{value:.9g}"), st.just("inf")
)
amounts = st.builds(Amount, counts, counts, norms, norms)
ids = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
vectors = st.builds(
    CapturedVector,
    ids,
    ids,
    ids,
    ids,
    st.builds(
        Statistics,
        amounts,
        st.dictionaries(texts, amounts, max_size=3).map(lambda found: tuple(sorted(found.items()))),
        *[counts] * 6,
    ),
    st.dictionaries(texts, texts, max_size=3).map(lambda found: tuple(sorted(found.items()))),
)


@given(vector=vectors)
def test_vectors_come_back(vector: CapturedVector) -> None:
    text = vector_file.to_text(vector)
    assert vector_file.parse(text, "x") == vector
    assert vector_file.to_text(vector_file.parse(text, "x")) == text
    assert "." not in text.replace('"', "") or json.loads(text)  # and it is JSON


def changed(path: str, value: object) -> str:
    """The golden vector with another value at a path; `...` removes it."""
    document = json.loads(vector_file.to_text(VECTOR))
    inner = document
    *above, last = path.split("/")
    for key in above:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(document)


FIELDS = ["format", "base", "from", "to", "layout", "statistics", "provenance"]
COUNTS = ["tensors", "changed_tensors", "blocks", "changed_blocks", "total_bytes", "stored_bytes"]
AMOUNTS = ["elements", "changed_elements", "tau_norm", "from_norm"]
BAD_VECTORS = {
    "empty": "",
    "no JSON": "{",
    "no object": "[]",
    "a number": "1",
    "NaN": changed("statistics/blocks", float("nan")),
    "twice the same key": vector_file.to_text(VECTOR).replace('"to":', '"from":'),
    "nested too deeply": '{"a":' * 100_000,
    "too large": vector_file.to_text(VECTOR) + " " * MAX_VECTOR_BYTES,
    "a number too long": '{"format": ' + "1" * 5000 + "}",
    "newer": changed("format", "pvc vector 2"),
    "another format": changed("format", "pvc target 2"),
    "half a character": changed("provenance/message", "\ud800").replace("\\ud800", "\ud800"),
    **{f"no {name}": changed(name, ...) for name in FIELDS},
    **{f"no {name}": changed(f"statistics/{name}", ...) for name in [*COUNTS, *AMOUNTS, "roles"]},
    **{f"a number for {name}": changed(name, 1) for name in FIELDS},
    **{f"a text for {name}": changed(f"statistics/{name}", "1") for name in COUNTS},
    **{f"less than none: {name}": changed(f"statistics/{name}", -1) for name in COUNTS},
    "a boolean": changed("statistics/blocks", True),
    "a fraction": changed("statistics/blocks", 1.5),
    "beyond counting": changed("statistics/elements", 1 << 63),
    "a short id": changed("to", "22" * 31),
    "upper case": changed("to", "AB" * 32),
    "an unknown field": changed("more", 1),
    "an unknown count": changed("statistics/more", 1),
    "an unknown field of a role": changed("statistics/roles/q/more", 1),
    "no field of a role": changed("statistics/roles/q/elements", ...),
    "a role that is none": changed("statistics/roles/q", 1),
    "provenance that is no text": changed("provenance/message", 1),
    **{
        f"the norm {text!r}": changed("statistics/tau_norm", text)
        for text in ("", "-1", "nan", "1_0", " 1", "1e", "\u0661", "0x1", "Inf", "1.", ".5", 1.5)
    },
}


@pytest.mark.parametrize("text", BAD_VECTORS.values(), ids=BAD_VECTORS.keys())
def test_malformed_vectors(text: str) -> None:
    with pytest.raises(VectorError) as caught:
        vector_file.parse(text, "vectors/a.json")
    assert caught.value.where.startswith("vectors/a.json")


# pvc.toml

CONFIG = Config(ONE, TWO, "../models/base", by_value=True)


@given(origin=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), by_value=st.booleans())
def test_configurations_come_back(origin: str, by_value: bool) -> None:
    written = Config(ONE, TWO, origin.replace("\0", "0"), by_value)
    assert Config.parse(written.to_text()) == written


def test_configurations_are_golden() -> None:
    assert CONFIG.to_text() == (GOLDEN / "pvc.toml").read_text(encoding="utf-8")
    assert Config.parse("# mine\n" + CONFIG.to_text() + "# more\n") == CONFIG


BAD_CONFIGS = {
    "empty": "",
    "no TOML": "[base",
    "nested too deeply": "a = " + "[" * 100_000,
    "a number too long": "a = " + "1" * 5000,
    "newer": CONFIG.to_text().replace("format = 1", "format = 2"),
    "a format that is no number": CONFIG.to_text().replace("format = 1", "format = true"),
    "no base": CONFIG.to_text().split("[base]")[0],
    "no tree": CONFIG.to_text().replace("tree =", "# tree ="),
    "no id": CONFIG.to_text().replace("11" * 32, "11" * 31),
    "unknown table": CONFIG.to_text() + "[more]\n",
    "unknown key": CONFIG.to_text() + "more = 1\n",
    "another way to store": CONFIG.to_text().replace('"value"', '"elsewhere"'),
    "an origin that is no text": CONFIG.to_text().replace('"../models/base"', "1"),
    "no origin": CONFIG.to_text().replace("../models/base", ""),
    "an origin that is no path": CONFIG.to_text().replace("models", "\\u0000"),
}


@pytest.mark.parametrize("text", BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys())
def test_malformed_configurations(text: str) -> None:
    with pytest.raises(ConfigError):
        Config.parse(text)


def test_the_fault_of_a_configuration_is_said_in_plain_words() -> None:
    with pytest.raises(ConfigError, match="malformed: repository is missing"):
        Config.parse("")
    text = CONFIG.to_text()
    with pytest.raises(ConfigError, match="repository is 1, not a table"):
        Config.parse("repository = 1\nbase = 2\n")
    with pytest.raises(ConfigError, match="format is '1', not a whole number"):
        Config.parse(text.replace("format = 1", "format = '1'"))


# Targets and journal

HOME = Home(Path("/work/.git"), Identity(64768, 99))
TARGET = DirectoryRecord(
    HOME,
    Path("/models/é served"),
    Identity(64768, (1 << 64) - 1),
    ONE,
    TWO,
    "HEAD~1",
    (Term("listening"), Term("quiet", 0.1)),
    {"a/b.json": Stamp(1, 2, 3, 4), "model.safetensors": Stamp(1 << 40, 2, 3, 4)},
)
ENGINE = EngineRecord(
    HOME, "chat.2", "boot pid:[1] 7 8", 3, 1 << 40, ONE, TWO, "HEAD~1", (Term("listening"),)
)
JOURNAL = Journal(
    HOME,
    Path("/work"),
    ("main", "a" * 40),
    ("b" * 40, "b" * 40),
    DirectoryWrite(
        TARGET, replace(TARGET, terms=None), ONE, Path("/base"), Path("/models/.x.pvc-tmp")
    ),
    (TARGET, replace(TARGET, path=Path("/other")), ENGINE),
)


def test_targets_and_journals_come_back() -> None:
    unlike = replace(TARGET, terms=None, stamps={}, identity=None, path=Path("/work/a/served"))
    for target in (TARGET, unlike, replace(TARGET, terms=())):
        assert DirectoryRecord.parse(target.to_text(), "x", HOME) == target
    for engine in (ENGINE, replace(ENGINE, terms=None)):
        assert EngineRecord.parse(engine.to_text(), "x") == engine
    bare = Journal(HOME, Path("/work"), ("main", ""), None)
    for journal in (
        JOURNAL,
        bare,
        replace(bare, writing=DirectoryWrite(TARGET, None, ONE, Path("/b"))),
    ):
        assert Journal.parse(journal.to_text(), "x", HOME) == journal


def test_targets_whose_paths_are_no_text(tmp_path: Path) -> None:
    target = replace(TARGET, path=Path("/models/caf\udce9"))
    targets = DirectoryRecords(tmp_path, HOME)
    targets.save(target)
    assert targets.all() == [target]
    assert targets.find(target.path) == target
    targets.forget(target.path)
    assert targets.find(target.path) is None


def test_records_of_engines(made: Repository) -> None:
    """They are roots; renaming a vector renames it there, too."""
    head = made.head()
    built = models.built(head)
    held = replace(ENGINE, home=made.home, tree=built.tree, layout=built.layout)
    made.engines.save(held)
    made.engines.save(replace(held, engine="other", terms=None))
    rename(made, "listening", "hearing")
    first, second = made.engines.all()
    assert (first.terms, second.terms) == ((Term("hearing"),), None)
    assert made.engines.find("other") == second
    assert "the engine other" in read_roots(made, Findings()).trees[built.tree]
    made.engines.forget("other")
    assert not made.engines.knows("other")
    (file,) = (made.folder / "targets" / "engines").iterdir()
    file.write_text("{}")
    with pytest.raises(RecordError):
        made.engines.find("chat.2")
    assert made.engines.all() == []
    assert [error.where for error in status(made).malformed] == [str(file)]


def altered(
    record: DirectoryRecord | EngineRecord | Journal, change: Callable[[dict[str, object]], object]
) -> str:
    """The text of a record with a change to its fields, and the check value that belongs to it."""
    document = json.loads(record.to_text())
    del document["check"]
    found = change(document)
    return checked_text(found) if isinstance(found, dict) else json.dumps(found)


@pytest.mark.parametrize("record", [TARGET, ENGINE, JOURNAL])
def test_a_changed_field_is_noticed(record: DirectoryRecord | EngineRecord | Journal) -> None:
    document = json.loads(record.to_text())
    for name, value in document.items():
        text = json.dumps({**document, name: [value, value]})
        with pytest.raises((RecordError, JournalError)):
            READERS_OF_RECORDS[type(record)](text)
    one_bit = record.to_text().replace("2222222222222222", "2222222222222232", 1)
    assert one_bit != record.to_text()
    with pytest.raises((RecordError, JournalError), match="check value"):
        READERS_OF_RECORDS[type(record)](one_bit)


READERS_OF_RECORDS: dict[type, Callable[[str], object]] = {
    DirectoryRecord: lambda text: DirectoryRecord.parse(text, "x", HOME),
    EngineRecord: lambda text: EngineRecord.parse(text, "x"),
    Journal: lambda text: Journal.parse(text, "x", HOME),
}


def test_paths_in_the_repository_move_with_it() -> None:
    inside = replace(TARGET, path=Path("/work/runs/served"))
    assert DirectoryRecord.parse(inside.to_text(), "x", HOME) == inside
    moved = replace(HOME, path=Path("/other/place/.git"))
    found = DirectoryRecord.parse(inside.to_text(), "x", moved)
    assert found.path == Path("/other/place/runs/served")
    assert DirectoryRecord.parse(TARGET.to_text(), "x", moved).path == TARGET.path
    submodule = Home(Path("/work/.git/modules/a"), HOME.identity)
    assert submodule.stored(Path("/work/a/served")) == "../../../a/served"
    assert Home(Path("/bare.git"), HOME.identity).stored(Path("/bare.git/x")) == "/bare.git/x"


def test_a_record_that_is_saved_again_has_the_home_of_now(tmp_path: Path) -> None:
    inside = replace(TARGET, path=Path("/work/served"))
    DirectoryRecords(tmp_path, HOME).save(inside)
    moved = DirectoryRecords(tmp_path, replace(HOME, path=Path("/moved/.git")))
    (found,) = moved.all()
    moved.save(replace(found, revision="v2"))
    again = DirectoryRecords(tmp_path, HOME)
    assert [(one.path, one.revision) for one in again.all()] == [(inside.path, "v2")]


def test_a_copy_has_another_home() -> None:
    copy = Home(Path("/copy/.git"), Identity(64768, 100))
    assert not HOME.is_same(copy)
    assert not HOME.is_same(replace(HOME, identity=Identity(64768, 100)))
    assert HOME.is_same(replace(HOME, path=Path("/moved/.git")))
    assert HOME.is_same(replace(HOME, identity=Identity(1, 99)))  # after a reboot
    assert not HOME.is_same(Home(Path("/snapshot/.git"), Identity(1, 99)))


def test_records_of_a_copy_are_found_by_nobody(tmp_path: Path) -> None:
    DirectoryRecords(tmp_path, HOME).save(TARGET)
    copy = Home(Path("/copy/.git"), Identity(64768, 100))
    targets = DirectoryRecords(tmp_path, copy)
    assert (targets.all(), targets.of_others()) == ([], [TARGET])
    assert targets.find(TARGET.path) is None
    assert targets.knows(TARGET.path)


BAD_TARGETS: dict[str, Callable[[dict[str, object]], object]] = {
    "no object": lambda _: [],
    "a number": lambda _: 1,
    "newer": lambda found: {**found, "format": "pvc target 3"},
    "no path": lambda found: {**found, "path": None},
    "an empty path": lambda found: {**found, "path": ""},
    "no home": lambda found: {**found, "home": None},
    "a relative home": lambda found: {**found, "home": {"path": "x", "identity": [1, 2]}},
    "an identity that is none": lambda found: {**found, "identity": [1]},
    "a path that is none": lambda found: {**found, "path": "/a\0"},
    "no id": lambda found: {**found, "tree": "xyz"},
    "a number for an id": lambda found: {**found, "layout": 1},
    "terms that are none": lambda found: {**found, "terms": 1},
    "a term that is none": lambda found: {**found, "terms": [["a"]]},
    "a scale that is none": lambda found: {**found, "terms": [["a", "x"]]},
    "a scale too large": lambda found: {**found, "terms": [["a", "0x1p99999"]]},
    "stamps that are none": lambda found: {**found, "stamps": []},
    "a stamp that is none": lambda found: {**found, "stamps": {"a": [1, 2, 3]}},
    "an infinite stamp": lambda found: {**found, "stamps": {"a": [1, 2, 3, float("inf")]}},
}


@pytest.mark.parametrize("change", BAD_TARGETS.values(), ids=BAD_TARGETS.keys())
def test_malformed_targets(change: Callable[[dict[str, object]], object]) -> None:
    with pytest.raises(RecordError):
        DirectoryRecord.parse(altered(TARGET, change), "x", HOME)


BAD_ENGINES: dict[str, Callable[[dict[str, object]], object]] = {
    "no object": lambda _: [],
    "a directory's": lambda found: {**found, "format": "pvc target 2"},
    "no id": lambda found: {**found, "layout": "xyz"},
    "no generation": lambda found: {**found, "generation": None},
    "an infinite stamp": lambda found: {**found, "stamp": float("inf")},
    "a term that is none": lambda found: {**found, "terms": [["a"]]},
    "no process": lambda found: {key: found[key] for key in found.keys() - {"process"}},
}


@pytest.mark.parametrize("change", BAD_ENGINES.values(), ids=BAD_ENGINES.keys())
def test_malformed_records_of_engines(change: Callable[[dict[str, object]], object]) -> None:
    with pytest.raises(RecordError):
        EngineRecord.parse(altered(ENGINE, change), "x")


BAD_JOURNALS: dict[str, Callable[[dict[str, object]], object]] = {
    "no object": lambda _: [],
    "newer": lambda found: {**found, "format": "pvc journal 3"},
    "no root": lambda found: {**found, "root": None},
    "half a place": lambda found: {**found, "head_before": ["main"]},
    "no target": lambda found: {**found, "adopted": [1]},
    "a target that is malformed": lambda found: {**found, "adopted": ["{}"]},
    "writing that is none": lambda found: {**found, "writing": 1},
    "nothing written": lambda found: {**found, "writing": {}},
}


@pytest.mark.parametrize("change", BAD_JOURNALS.values(), ids=BAD_JOURNALS.keys())
def test_malformed_journals(change: Callable[[dict[str, object]], object]) -> None:
    with pytest.raises(JournalError):
        Journal.parse(altered(JOURNAL, change), "x", HOME)


# Derived vectors

DERIVED = DerivedVector(
    Recipe(rule("ties", trimmed(0.2, 1.5)), (Term("a"), Term("b.2", -0.5))),
    (("elements", 100), ("kept a", 20), ("kept b.2", 21), ("outvoted a", 1), ("outvoted b.2", 2)),
    (("message", "calm"),),
)
MERGEKIT = replace(
    DERIVED, recipe=replace(DERIVED.recipe, rule=rule("ties", trimmed(0.2, 1.5, "mergekit")))
)
scales = st.floats(allow_nan=False, allow_infinity=False)
terms_of_recipes = st.lists(
    st.builds(Term, st.sampled_from(["a", "b_2", "c.d"]), scales), min_size=1
).map(tuple)


@given(recipe=st.builds(Recipe, rules(), terms_of_recipes))
def test_derived_vectors_come_back(recipe: Recipe) -> None:
    text = vector_file.to_text(DerivedVector(recipe))
    assert vector_file.parse(text, "x") == DerivedVector(recipe)
    assert vector_file.to_text(vector_file.parse(text, "x")) == text


def test_a_derived_vector_as_text() -> None:
    text = vector_file.to_text(DERIVED)
    assert vector_file.parse(text, "x") == DERIVED
    document = json.loads(text)
    assert document["recipe"] == {
        "method": "ties",
        "terms": [["a", "1.0"], ["b.2", "-0.5"]],
        "density": "0.2",
        "lambda": "1.5",
    }
    assert str(DERIVED.recipe) == "ties(a - 0.5*b.2, density 0.2, lambda 1.5)"


def test_a_recipe_says_whose_rule_it_follows() -> None:
    document = json.loads(vector_file.to_text(MERGEKIT))
    assert document["recipe"].pop("compat") == "mergekit"
    assert document == json.loads(vector_file.to_text(DERIVED))
    assert vector_file.parse(vector_file.to_text(MERGEKIT), "x") == MERGEKIT
    assert str(MERGEKIT.recipe) == "ties(a - 0.5*b.2, density 0.2, lambda 1.5, compat mergekit)"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"compat": "nobody"}, "its compat is 'nobody', not mergekit or peft"),
        ({"compat": ""}, "its compat is '', not mergekit or peft"),
        ({"compat": None}, "its compat is null, not text"),
        ({"compat": ["peft"]}, "not text"),
        ({"compat": "mergekit", "method": "sum"}, "it has the unknown field 'compat'"),
        ({"compat": "peft"}, "peft has no lambda, which is 1.5 here and not 1"),
    ],
)
def test_rules_that_are_none(fields: dict[str, object], words: str) -> None:
    document = json.loads(vector_file.to_text(DERIVED))
    document["recipe"] |= fields
    with pytest.raises(VectorError, match=words):
        vector_file.parse(json.dumps(document), "x")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "slerp"),
        ("method", 1),
        ("terms", []),
        ("terms", [["a"]]),
        ("terms", [["a", 1.0]]),
        ("terms", [["a-b", "1.0"]]),
        ("terms", [["a", "1"]]),
        ("terms", [["a", "nan"]]),
        ("terms", {"a": "1.0"}),
        ("density", "0.0"),
        ("density", "1.5"),
        ("density", 1),
        ("lambda", "inf"),
        ("lambda", "01.0"),
        ("more", "1.0"),
    ],
)
def test_malformed_recipes(field: str, value: object) -> None:
    document = json.loads(vector_file.to_text(DERIVED))
    document["recipe"][field] = value
    with pytest.raises(VectorError):
        vector_file.parse(json.dumps(document), "x")
    del document["recipe"][field]
    with pytest.raises(VectorError):
        vector_file.parse(json.dumps(document | {"base": "11" * 32}), "x")


# Damage of any sort

READERS: dict[str, tuple[str, Callable[[bytes], object], type[MalformedError]]] = {
    "personality": (
        personality_file.edit(EMPTY, Personality((Term("a"), Term("b", 0.5)))),
        lambda data: Personality.parse(data.decode(errors="replace")),
        PersonalityError,
    ),
    "vector": (
        vector_file.to_text(VECTOR),
        lambda data: vector_file.parse(data.decode(errors="replace"), "x"),
        VectorError,
    ),
    "derived vector": (
        vector_file.to_text(DERIVED),
        lambda data: vector_file.parse(data.decode(errors="replace"), "x"),
        VectorError,
    ),
    "vector by mergekit's rule": (
        vector_file.to_text(MERGEKIT),
        lambda data: vector_file.parse(data.decode(errors="replace"), "x"),
        VectorError,
    ),
    "config": (
        CONFIG.to_text(),
        lambda data: Config.parse(data.decode(errors="replace")),
        ConfigError,
    ),
    "target": (TARGET.to_text(), lambda data: DirectoryRecord.parse(data, "x", HOME), RecordError),
    "engine": (ENGINE.to_text(), lambda data: EngineRecord.parse(data, "x"), RecordError),
    "journal": (JOURNAL.to_text(), lambda data: Journal.parse(data, "x", HOME), JournalError),
}


@pytest.mark.parametrize("which", READERS)
@given(data=st.data())
def test_damage_is_an_error_of_its_own(which: str, data: st.DataObject) -> None:
    text, read, error = READERS[which]
    with contextlib.suppress(error):  # what can still be read is no matter: no other error comes
        read(data.draw(damaged(text.encode())))


def test_damaged_files_of_a_repository(made: Repository) -> None:
    JournalFile(made).path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JournalError):
        JournalFile(made).read()
    made.targets.save(replace(TARGET, home=made.home))
    (file,) = (made.folder / "targets").iterdir()
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError) as caught:
        made.targets.find(TARGET.path)
    assert caught.value.where == str(file)
    assert [error.where for error in made.targets.malformed()] == [str(file)]
    assert made.targets.all() == []


# Notes


@pytest.mark.parametrize(
    "text", ["", "words", "[]", "{}", "null", '{"tree": 1, "layout": 2}', '{"tree": "x"}']
)
def test_notes_of_others_are_none(made: Repository, text: str) -> None:
    commit = made.head().commit
    assert read_note(made, commit) == models.built(made.head())
    made.git.run("notes", "--ref", "pvc", "add", "-f", "--allow-empty", "-m", text, commit)
    assert read_note(made, commit) is None


def test_notes_may_hold_more(made: Repository) -> None:
    commit = made.head().commit
    note = {"tree": ONE.hex(), "layout": TWO.hex(), "evaluations": {"a": 1}}
    made.git.add_note(commit, json.dumps(note))
    assert read_note(made, commit) == Built(ONE, TWO)


# Names


@given(text=st.one_of(st.text(max_size=20), names))
def test_names_never_hold_what_expressions_are_made_of(text: str) -> None:
    if is_name(text):
        assert check_name(text) == text
        assert not set(text) & set(" -+*/()@~^:?[\\{}\n\t\"'$")
        assert text.isascii()
    else:
        with pytest.raises(VectorNameError) as caught:
            check_name(text)
        assert caught.value.name == text


# Format pages


BUILT_TREE = BuiltTree(
    Formula(ONE, Built(ONE, TWO), (FormulaPart(-0.5, Link(ONE, ONE, THREE, TWO), "quiet"),)),
    FOUR,
    (),
)


def read_note_text(text: str) -> Built:
    note = json.loads(text)
    return Built(bytes.fromhex(note["tree"]), bytes.fromhex(note["layout"]))


@pytest.mark.parametrize(
    ("page", "read", "expected"),
    [
        ("personality", Personality.parse, Personality((Term("listening"), Term("suggesting")))),
        ("vector", lambda text: vector_file.parse(text, "x"), VECTOR),
        ("config", Config.parse, CONFIG),
        ("target", lambda text: DirectoryRecord.parse(text, "x", HOME).terms, (Term("listening"),)),
        ("engine-target", lambda text: EngineRecord.parse(text, "x").engine, "chat"),
        ("journal", lambda text: Journal.parse(text, "x", HOME).head_after, None),
        ("note", read_note_text, Built(ONE, TWO)),
        ("built", BuiltTree.parse, BUILT_TREE),
    ],
)
def test_examples_of_the_pages(page: str, read: Callable[[str], object], expected: object) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    (example,) = re.findall(rf"```\w+ {page}\n(.*?)```", text, flags=re.DOTALL)
    assert read(example) == expected
    if page in {"vector", "config"}:
        golden = {"vector": "vector.json", "config": "pvc.toml"}[page]
        assert example == (GOLDEN / golden).read_text(encoding="utf-8")
    if page == "target":
        assert DirectoryRecord.parse(example, "x", HOME).to_text() == example
    if page == "built":
        assert BUILT_TREE.to_text() == example
    if page == "engine-target":
        assert EngineRecord.parse(example, "x").to_text() == example
