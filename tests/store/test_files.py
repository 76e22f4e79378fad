"""The store in a directory, within one process; `test_processes` has several."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from pvc_store import pack
from pvc_store.backend import local
from pvc_store.errors import MissingError
from pvc_store.files import FileStore, FormatVersionError
from pvc_store.frame import MAX_FILE_BYTES, OversizeError, TruncatedFrameError
from pvc_store.ids import object_id
from pvc_store.index import BlockIndex, IndexFormatError
from pvc_store.pack import MAX_PACK_BYTES, ReadInto, read_footer
from tests.store.contract import StoreContract
from tests.store.samples import entry, layout, pack_file, raw_block, tree

if TYPE_CHECKING:
    from tests.store.contract import AnyStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore.create(tmp_path / "store")


def put(store: FileStore, *seeds: int, length: int = 1000) -> None:
    with store.writing() as change:
        for seed in seeds:
            change.put(raw_block(seed, length))


def fail_to_put(store: FileStore) -> None:
    with contextlib.suppress(ZeroDivisionError), store.writing() as change:
        change.put(raw_block(99))
        change.put_tree(tree("failed"))
        raise ZeroDivisionError


def holds(store: FileStore, seed: int, length: int = 1000) -> bool:
    block = raw_block(seed, length)
    return bytes(store.get(block.form.key).payload) == block.payload


def pack_paths(store: FileStore) -> list[Path]:
    return sorted((store.root / "packs").glob("*/*"))


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    rewrite(path, bytes(data))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestFileStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> AnyStore:
        return FileStore.create(tmp_path / "store")

    def seen_elsewhere(self, store: AnyStore) -> AnyStore:
        return FileStore(cast("FileStore", store).root)


# The directory


def test_a_store_is_opened_only_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(FormatVersionError) as caught:
            FileStore(path)
        assert (caught.value.path, caught.value.found) == (path, "")


def test_a_store_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "format").write_bytes(b"pvc store 2\n")
    for attempt in (FileStore, FileStore.create):
        with pytest.raises(FormatVersionError, match="pvc store 2"):
            attempt(tmp_path)
    assert files_below(tmp_path) == {"format"}
    assert [path.name for path in tmp_path.iterdir()] == ["format"]


def test_creating_twice_keeps_what_is_there(store: FileStore) -> None:
    put(store, 1)
    assert holds(FileStore.create(store.root), 1)


def test_objects_lie_where_they_should_and_cannot_be_written(store: FileStore) -> None:
    with store.writing() as change:
        change.put(raw_block(1))
        tree_id = change.put_tree(tree("a")).hex()
        layout_id = change.put_layout(layout()).hex()
    (pack_id,) = (name.hex() for name in store.packs.ids())
    objects = {
        f"packs/{pack_id[:2]}/{pack_id}.pack",
        f"trees/{tree_id[:2]}/{tree_id}.tree",
        f"layouts/{layout_id[:2]}/{layout_id}.layout",
    }
    assert files_below(store.root) == objects | {"format", "index", "lock"}
    for name in objects:
        assert stat.S_IMODE((store.root / name).stat().st_mode) == 0o444


def test_a_store_without_its_empty_folders_can_be_used(store: FileStore) -> None:
    for name in ("packs", "trees", "layouts", "tmp"):
        (store.root / name).rmdir()
    assert list(store.forms()) == []
    assert store.tree_ids() == store.layout_ids() == []
    assert list(store.verify()) == []
    with store.writing() as change:
        change.put(raw_block(1))
        change.put_tree(tree("a"))
    assert list(FileStore(store.root).verify()) == []


def test_what_is_no_object_is_passed_over(store: FileStore) -> None:
    put(store, 1)
    (path,) = pack_paths(store)
    name = path.stem
    other = "00" if name[:2] != "00" else "01"
    (store.root / "packs" / other).mkdir()
    (store.root / "packs" / "zz").touch()
    for stray in (
        path.with_name(f".{path.name}.tmp"),
        path.with_name(f"{name.upper()}.pack"),
        path.with_name(f"{name[:-1]} .pack"),
        path.with_name(name),
        path.with_name("readme.pack"),
        store.root / "packs" / other / path.name,
        store.root / "packs" / path.name,
    ):
        stray.write_bytes(b"stray")
    assert [each.hex() for each in store.packs.ids()] == [name]
    assert holds(FileStore(store.root), 1)


def test_a_failed_change_leaves_no_file(store: FileStore) -> None:
    before = files_below(store.root)
    fail_to_put(store)
    assert files_below(store.root) - {"lock"} == before


# The index


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "flipped", "version", "folder"])
def test_an_unusable_index_is_rebuilt(store: FileStore, harm: str) -> None:
    put(store, 1, 2)
    put(store, 3)
    index = store.root / "index"
    good = index.read_bytes()
    index.unlink()
    match harm:
        case "empty":
            index.touch()
        case "cut":
            index.write_bytes(good[:-1])
        case "flipped":
            index.write_bytes(good[:50] + bytes([good[50] ^ 4]) + good[51:])
        case "version":
            index.write_bytes(good.replace(b"PVCINDX1", b"PVCINDX2"))
        case "folder":
            index.mkdir()
    if index.is_file():
        with pytest.raises(IndexFormatError):
            BlockIndex.from_bytes(index.read_bytes())
    reopened = FileStore(store.root)
    assert all(holds(reopened, seed) for seed in (1, 2, 3))
    if harm != "folder":
        assert index.read_bytes() == good
    assert list((store.root / "tmp").iterdir()) == []


def test_a_stale_index_is_brought_up_to_date(store: FileStore) -> None:
    put(store, 1)
    stale = (store.root / "index").read_bytes()
    put(store, 2)
    fresh = (store.root / "index").read_bytes()
    (store.root / "index").write_bytes(stale)
    assert holds(FileStore(store.root), 2)
    assert (store.root / "index").read_bytes() == fresh


def test_only_packs_that_are_new_are_read(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, 1)
    put(store, 2)
    read: list[str] = []

    def counting(pack: ReadInto, size: int, where: str) -> object:
        read.append(where)
        return read_footer(pack, size, where)

    monkeypatch.setattr("pvc_store.packed.read_footer", counting)
    put(store, 3)
    assert len(read) == 1
    assert holds(FileStore(store.root), 3)
    store.refresh()
    assert len(read) == 1


def test_packs_may_come_and_go_behind_our_back(store: FileStore, tmp_path: Path) -> None:
    other = FileStore.create(tmp_path / "other")
    put(other, 2)
    put(store, 1)
    assert holds(store, 1)
    with pytest.raises(MissingError):
        holds(store, 2)
    shutil.copytree(other.root / "packs", store.root / "packs", dirs_exist_ok=True)
    assert holds(store, 2)
    assert store.has(raw_block(2).form.key)
    for path in pack_paths(store):
        if path.name in {each.name for each in pack_paths(other)}:
            path.unlink()
    store.refresh()
    assert not store.has(raw_block(2).form.key)
    assert holds(store, 1)


def test_a_change_knows_what_others_wrote_before_it(store: FileStore) -> None:
    other = FileStore(store.root)
    assert not other.has(raw_block(1).form.key)
    put(store, 1)
    with other.writing() as change:
        assert change.put(raw_block(1)) is False
    assert len(pack_paths(store)) == 1


def test_a_block_that_moved_to_another_pack_is_found(store: FileStore) -> None:
    put(store, 1)
    put(store, 2)
    reader = FileStore(store.root)
    assert reader.has(raw_block(1).form.key)
    old = pack_paths(store)
    for path in old:  # as a collector of garbage does: one new pack instead of two
        path.rename(store.root / path.name)
    store.refresh()
    put(store, 1, 2)
    assert len(pack_paths(store)) == 1
    assert holds(reader, 1)
    assert holds(reader, 2)


def test_a_block_in_two_packs_survives_the_loss_of_either(store: FileStore) -> None:
    with store.writing() as one, store.writing() as other:
        one.put(raw_block(1))
        one.put(raw_block(2))
        other.put(raw_block(1))
    assert len(list(store.forms())) == 2
    for path in pack_paths(store):
        kept = path.read_bytes()
        path.unlink()
        assert holds(FileStore(store.root), 1)
        path.write_bytes(kept)


def test_one_malformed_pack_takes_no_other_with_it(store: FileStore) -> None:
    put(store, 1)
    put(store, 2)
    index = store.index()
    found = index.find(raw_block(2).form.key)
    assert found is not None
    bad = store.object_path("pack", found[0])
    (store.root / "index").unlink()
    whole = bad.read_bytes()
    rewrite(bad, whole[:20])
    reopened = FileStore(store.root)
    assert holds(reopened, 1)
    assert not reopened.has(raw_block(2).form.key)
    with pytest.raises(TruncatedFrameError, match=bad.stem):
        holds(reopened, 2)
    assert {(each.what, each.name) for each in reopened.verify()} == {("pack", bad.stem)}
    assert not (store.root / "index").exists()
    rewrite(bad, whole)
    assert holds(FileStore(store.root), 2)


# Packs


def test_a_pack_is_never_larger_than_its_limit(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_PACK_BYTES == 256 << 20
    monkeypatch.setattr(pack, "MAX_PACK_BYTES", 10_000)
    put(store, *range(30))
    sizes = [path.stat().st_size for path in pack_paths(store)]
    assert len(sizes) > 3
    assert max(sizes) <= 10_000
    reopened = FileStore(store.root)
    assert all(holds(reopened, seed) for seed in range(30))
    assert list(reopened.verify()) == []


def test_a_change_reads_its_own_blocks_from_full_packs(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MAX_PACK_BYTES", 4_000)
    with store.writing() as change:
        before = open_files()
        for seed in range(60):
            change.put(raw_block(seed))
        assert open_files() <= before + 1  # the pack that is being written
        for seed in range(60):
            assert bytes(change.get(raw_block(seed).form.key).payload) == raw_block(seed).payload
    assert len(pack_paths(store)) >= 20


def test_a_pack_holds_a_limited_number_of_blocks(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MAX_ENTRIES", 10)
    put(store, *range(25), length=1)
    monkeypatch.undo()
    assert len(pack_paths(store)) == 3


def test_a_payload_that_could_not_be_written_leaves_no_trace(store: FileStore) -> None:
    # An append that stopped half way: its bytes are overwritten, or cut off at the end.
    with store.writing() as change:
        change.put(raw_block(1))
        (written,) = (store.root / "tmp").glob("*/0.pack")
        with written.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(bytes(50_000))
    assert holds(FileStore(store.root), 1)
    assert list(FileStore(store.root).verify()) == []


def test_few_packs_stay_open(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_OPEN", 4)
    for seed in range(10):
        put(store, seed)
    before = open_files()
    reader = FileStore(store.root)
    for seed in (*range(10), *range(10)):
        assert holds(reader, seed)
    assert open_files() <= before + 4
    reader.close()
    assert open_files() == before
    assert holds(reader, 3)
    del reader
    assert open_files() == before


def test_no_descriptor_outlives_a_change(store: FileStore) -> None:
    before = open_files()
    put(store, 1)
    fail_to_put(store)
    store.close()
    assert open_files() == before


def test_threads_read_while_packs_are_closed_and_opened(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MAX_OPEN", 1)
    for seed in range(6):
        put(store, seed)
    results: list[bool] = []

    def work(start: int) -> None:
        results.extend(holds(store, (start + at) % 6) for at in range(60))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 240


# Damage


def test_verify_finds_a_flipped_bit_at_any_place(store: FileStore) -> None:
    put(store, 1, 2, length=20)
    (path,) = pack_paths(store)
    whole = path.read_bytes()
    for at in range(len(whole)):
        flip(path, at)
        found = {(damage.what, damage.name) for damage in FileStore(store.root).verify()}
        assert ("pack", path.stem) in found
        rewrite(path, whole)
    assert list(FileStore(store.root).verify()) == []


def test_verify_finds_a_pack_whose_name_fits_but_whose_footer_does_not(store: FileStore) -> None:
    block = raw_block(1)
    data = pack_file(b"x" + bytes(block.payload), [entry(block)])
    path = store.object_path("pack", object_id(data))
    path.parent.mkdir()
    path.write_bytes(data)
    (damage,) = store.verify()
    assert (damage.what, damage.name) == ("pack", path.stem)


def test_an_endless_tree_file_is_not_read_to_its_end(store: FileStore) -> None:
    path = store.object_path("tree", tree("a").id)
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(OversizeError):
        store.tree(tree("a").id)
