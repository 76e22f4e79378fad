"""What every backend promises.  A backend's test derives from `BackendContract` and makes one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from pvc_store.backend import StoreBackend

NAMES = ("packs/ab/one.pack", "packs/ab/two.pack", "packs/cd/one.pack", "trees/ab/one.tree")
ONE, TWO, _, TREE = NAMES


def read(backend: StoreBackend, name: str, offset: int, length: int) -> bytes:
    buffer = bytearray(b"?" * length)
    count = backend.get_into(name, memoryview(buffer), offset)
    assert buffer[count:] == b"?" * (length - count)
    return bytes(buffer[:count])


class BackendContract:
    """Tests of any backend.

    A subclass overrides the fixture `backend`, which gives an empty one.
    """

    @pytest.fixture
    def backend(self) -> StoreBackend:
        raise NotImplementedError

    def test_a_new_backend_is_empty(self, backend: StoreBackend) -> None:
        assert list(backend.list("packs")) == []

    def test_an_object_comes_back_as_it_was_put(self, backend: StoreBackend) -> None:
        for data in (b"", b"x", bytes(range(256)) * 1000):
            backend.put(ONE, data)
            assert backend.get(ONE) == data
            assert backend.stat(ONE) == len(data)
            assert read(backend, ONE, 0, len(data)) == data

    def test_any_buffer_may_be_put_and_is_copied(self, backend: StoreBackend) -> None:
        data = bytearray(b"0123456789")
        backend.put(ONE, memoryview(data)[2:5])
        backend.put(TWO, data)
        data[:] = bytes(10)
        assert (backend.get(ONE), backend.get(TWO)) == (b"234", b"0123456789")

    def test_a_file_may_be_put_and_is_copied(self, backend: StoreBackend, tmp_path: Path) -> None:
        path, data = tmp_path / "file", bytes(range(250)) * 40_000  # more than one read
        path.write_bytes(data)
        backend.put(ONE, path)
        path.write_bytes(b"changed")
        assert backend.get(ONE) == data
        path.unlink()
        assert backend.stat(ONE) == len(data)
        with pytest.raises(FileNotFoundError):
            backend.put(TWO, path)
        assert list(backend.list("packs")) == [ONE]

    def test_a_range_is_read_into_the_buffer_of_the_caller(self, backend: StoreBackend) -> None:
        backend.put(ONE, b"0123456789")
        assert read(backend, ONE, 0, 4) == b"0123"
        assert read(backend, ONE, 4, 6) == b"456789"
        assert read(backend, ONE, 4, 0) == b""

    def test_a_range_ends_where_the_object_ends(self, backend: StoreBackend) -> None:
        backend.put(ONE, b"0123456789")
        assert read(backend, ONE, 8, 5) == b"89"
        assert read(backend, ONE, 10, 5) == b""
        assert read(backend, ONE, 1 << 40, 5) == b""

    def test_what_is_missing_is_a_file_not_found(self, backend: StoreBackend) -> None:
        backend.put(ONE, b"1")
        for name in (TWO, TREE):
            with pytest.raises(FileNotFoundError):
                backend.get(name)
            with pytest.raises(FileNotFoundError):
                backend.stat(name)
            with pytest.raises(FileNotFoundError):
                read(backend, name, 0, 1)

    def test_names_are_listed_by_folder(self, backend: StoreBackend) -> None:
        for name in NAMES:
            backend.put(name, b"")
        assert sorted(backend.list("packs")) == sorted(NAMES[:3])
        assert sorted(backend.list("packs/ab")) == [ONE, TWO]
        assert list(backend.list("trees")) == [TREE]
        assert list(backend.list("pack")) == list(backend.list("layouts")) == []

    def test_an_object_that_is_put_again_is_replaced(self, backend: StoreBackend) -> None:
        backend.put(ONE, b"old")
        assert read(backend, ONE, 0, 3) == b"old"
        backend.put(ONE, b"newer")
        assert read(backend, ONE, 0, 9) == backend.get(ONE) == b"newer"
        assert list(backend.list("packs")) == [ONE]

    def test_what_is_deleted_is_gone(self, backend: StoreBackend) -> None:
        for name in NAMES:
            backend.put(name, name.encode())
            read(backend, name, 0, 1)
        backend.delete([ONE, TREE, "layouts/ab/none.layout"])
        backend.delete([])
        backend.delete([ONE])
        for name in (ONE, TREE):
            with pytest.raises(FileNotFoundError):
                read(backend, name, 0, 1)
            with pytest.raises(FileNotFoundError):
                backend.stat(name)
        assert sorted(backend.list("packs")) == sorted(NAMES[1:3])
        assert list(backend.list("trees")) == []
        assert backend.get(TWO) == TWO.encode()

    def test_objects_may_be_deleted_while_they_are_listed(self, backend: StoreBackend) -> None:
        for name in NAMES:
            backend.put(name, b"")
        for name in backend.list("packs"):
            backend.delete([name])
        assert list(backend.list("packs")) == []

    def test_a_closed_backend_can_be_used(self, backend: StoreBackend) -> None:
        backend.put(ONE, b"0123")
        for _ in range(2):
            assert read(backend, ONE, 1, 2) == b"12"
            backend.close()

    def test_threads_put_read_and_delete_at_once(self, backend: StoreBackend) -> None:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            data = bytes([number]) * 1000
            name = f"packs/ab/{number}.pack"
            try:
                for _ in range(10):
                    backend.put(ONE, b"1" * 1000)
                    backend.put(name, data)
                    assert read(backend, name, 0, 2000) == backend.get(name) == data
                    assert read(backend, ONE, 500, 1000) == b"1" * 500
                    assert ONE in backend.list("packs")
                    backend.delete([name])
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert list(backend.list("packs")) == [ONE]
