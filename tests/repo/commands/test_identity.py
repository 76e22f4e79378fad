"""A tree has one id, however it is stored, saved, moved or made."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import zstandard

from pvc.parallel import Crew
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.init import initialise
from pvc.repo.history.recording import NothingChangedError
from pvc.repo.repository import Repository
from pvc_store.block import Codec, EncodedBlock
from pvc_store.files import FileStore
from pvc_store.pack import PackWriter
from tests.repo.conftest import CREW
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo.conftest import Commit
    from tests.support.models import Model


def test_files_shards_and_order_do_not_matter(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    after = models.tuned(base_model, 1)
    first = do_commit("plain", after)
    layouts = {first.vector.layout}
    for name, options in {
        "shards": {"shards": 3},
        "order": {"order": sorted(after, reverse=True)},
        "padding": {"padding": 5},
        "files": {"files": {"other.json": b"{}"}},
    }.items():
        source = models.save(tmp_path / name, after, **options)  # type: ignore[arg-type]
        done = do_commit(name, source, aside=True, onto="base")
        assert done.vector.to_tree == first.vector.to_tree
        assert done.vector.statistics.amount == first.vector.statistics.amount
        layouts.add(done.vector.layout)
        checkout(
            repository, name, DirectoryTarget(tmp_path / f"{name}-out"), keep_head=True, crew=CREW
        )
        assert models.contents(tmp_path / f"{name}-out") == models.contents(source)
    assert len(layouts) == 5


def test_a_checkout_is_its_own_source(
    repository: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    done = do_commit("listening", models.tuned(base_model, 1))
    out, copy = tmp_path / "out", tmp_path / "copy"
    checkout(repository, "HEAD", DirectoryTarget(out), keep_head=True, crew=CREW)
    shutil.copytree(out, copy)
    for source, options in ((out, {}), (copy, {"onto": "HEAD"})):
        with pytest.raises(NothingChangedError):
            do_commit("listening", source, **options)
    assert repository.head().vector("listening") == done.vector


def test_places_and_threads_do_not_matter(base_model: Model, tmp_path: Path) -> None:
    after = models.tuned(base_model, 1)
    vectors = []
    for number, threads in enumerate((1, 2, 7)):
        here = tmp_path / f"place {number}"
        (here / "work").mkdir(parents=True)
        base = models.save(here / f"base{number}", base_model)
        source = models.save(here / "new", after)
        crew = Crew(threads)
        made = initialise(here / "work", base, by_value=True, crew=crew)
        with Repository.open(here / "work") as repository:
            vector = commit(repository, Wish("listening"), CheckpointSource(source), crew).vector
        vectors.append((made.config.base_tree, made.config.base_layout, made.stored_bytes, vector))
    first = vectors[0]
    for other in vectors[1:]:
        assert other[:3] == first[:3]
        assert (other[3].link, other[3].statistics) == (first[3].link, first[3].statistics)


@pytest.mark.parametrize(("level", "per_pack"), [(19, 1), (1, 1000), (3, 3)])
def test_packs_can_be_written_anew(
    repository: Repository,
    base_model: Model,
    do_commit: Commit,
    tmp_path: Path,
    level: int,
    per_pack: int,
) -> None:
    source = models.save(tmp_path / "new", models.tuned(base_model, 1))
    vector = do_commit("listening", source).vector
    commit_id = repository.head().commit
    repository.close()
    repack(repository.folder, level, per_pack)
    with Repository.open(repository.root) as again:
        report = fsck(again, CREW)
        assert report.findings == ()
        assert report.blocks > 5
        assert again.head().commit == commit_id
        assert again.store.tree(vector.to_tree).id == vector.to_tree
        checkout(again, "HEAD", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
        assert models.contents(tmp_path / "out") == models.contents(source)
        again_done = commit(
            again, Wish("same", onto="base", aside=True), CheckpointSource(source), CREW
        )
        assert again_done.vector.to_tree == vector.to_tree
        assert again_done.vector.statistics.stored_bytes == 0


def repack(folder: Path, level: int, per_pack: int) -> None:
    """Put all blocks into other packs, compressed with other parameters; forget the index."""
    store = FileStore(folder)
    compressor, decompressor = zstandard.ZstdCompressor(level), zstandard.ZstdDecompressor()
    old = [store.object_path("pack", pack) for pack in store.packs.ids()]
    blocks = []
    for form in store.forms():
        payload = bytes(store.get(form.key).payload)
        if form.codec is not Codec.RAW:
            payload = compressor.compress(decompressor.decompress(payload))
        blocks.append(EncodedBlock(form, payload))
    for start in range(0, len(blocks), per_pack):
        writer = PackWriter(folder / "new.pack")
        for block in reversed(blocks[start : start + per_pack]):
            writer.append(block)
        final = store.object_path("pack", writer.finish())
        final.parent.mkdir(exist_ok=True)
        writer.path.rename(final)
    store.close()
    for path in old:
        path.unlink()
    (folder / "index").unlink()
