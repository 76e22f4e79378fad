"""What is trusted of what lies about: owners, modes, links, manifests of the dead."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import pvc
from pvc import live
from pvc.live.announced import registry
from pvc.live.announced.folder import EngineFolder, NotPrivateError, default_path
from pvc.live.announced.registry import EngineEndedError, EngineNameTakenError, NoEngineError
from pvc.live.client.connection import UnreachableError
from pvc.live.protocol import wire
from pvc.live.protocol.manifest import LiveTensor, Manifest, ManifestError, Storage
from pvc.live.protocol.process import ProcessIdentity
from pvc.live.protocol.region import Region
from pvc_store.kinds import KIND_BY_NAME
from tests.live.conftest import held, left, update

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live.conftest import EngineProcess

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


def manifest(**more: Any) -> Manifest:
    storage = Storage(0, "cpu", 64, {})
    region = Region(0, 8, (4, 3), (2, 8), 0, (6, 2))
    tensor = LiveTensor("w", KIND_BY_NAME["BF16"], (4, 3), True, (region,))
    tensors = {"w": tensor, "v": replace(tensor, name="v")}
    found = Manifest("chat", "Tiny", ProcessIdentity.current(), (storage,), tensors, (("w", "v"),))
    return replace(found, **more)


@pytest.fixture
def folder(tmp_path: Path) -> EngineFolder:
    found = EngineFolder(tmp_path / "engines")
    found.create()
    return found


def dead() -> ProcessIdentity:
    child = subprocess.Popen(["true"])
    child.wait()
    return replace(ProcessIdentity.current(), pid=child.pid)


def test_modes(engine: EngineProcess) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in engine.folder.iterdir()}
    assert modes["chat.json"] == modes["chat.sock"] == 0o600
    assert stat.S_IMODE(engine.folder.stat().st_mode) == 0o700


def test_the_folder_of_a_user_depends_on_nothing_else() -> None:
    assert default_path() == Path(f"/dev/shm/pvc-{os.geteuid()}")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_reach(folder: EngineFolder, mode: int) -> None:
    folder.path.chmod(mode)
    for use in (folder.create, folder.names, lambda: live.engines(folder.path)):
        with pytest.raises(NotPrivateError, match=f"its mode is 0{mode:o}"):
            use()


def test_a_folder_that_is_a_link_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("private")
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(NotPrivateError, match="it is no folder"):
            EngineFolder(tmp_path / name).create()


@as_root
def test_a_folder_or_manifest_of_another_user(folder: EngineFolder) -> None:
    folder.write("chat", manifest().to_bytes())
    os.chown(folder.path / "chat.json", 65534, 65534)
    with pytest.raises(NotPrivateError, match="it belongs to user 65534, not to 0"):
        registry.load(folder, "chat")
    os.chown(folder.path, 65534, 65534)
    with pytest.raises(NotPrivateError, match=r"engines cannot be trusted: it belongs to user"):
        live.connect("chat", folder.path)


def into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.chmod(0o640), "its mode is 0640"),
        (into_pipe, "it is no plain file"),
        (lambda path: (path.rename(f"{path}.x"), path.symlink_to(f"{path}.x")), "cannot be opened"),
    ],
)
def test_manifests_that_are_not_trusted(
    folder: EngineFolder, spoil: Callable[[Path], object], says: str
) -> None:
    folder.write("chat", manifest().to_bytes())
    spoil(folder.path / "chat.json")
    with pytest.raises(NotPrivateError, match=says):
        live.connect("chat", folder.path)
    (one,) = live.engines(folder.path)
    assert one.manifest is None
    assert one.problem is not None
    assert says in one.problem


def into_file(path: Path) -> None:
    path.unlink()
    path.touch(0o600)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.chmod(0o660), "its mode is 0660"),
        (into_file, "it is no socket"),
        (lambda path: (path.rename(f"{path}.x"), path.symlink_to(f"{path}.x")), "it is no socket"),
        pytest.param(lambda path: os.chown(path, 65534, 65534), "to user 65534", marks=as_root),
    ],
)
def test_sockets_that_are_not_trusted(
    tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    place = tmp_path / "engines"
    with pvc.share(torch.nn.Linear(2, 2), "chat", folder=place):
        live.connect("chat", place).close()
        spoil(place / "chat.sock")
        with pytest.raises(NotPrivateError, match=says):
            live.connect("chat", place)


@as_root
def test_a_peer_of_another_user(tmp_path: Path) -> None:
    """The socket's mode keeps others out; if it did not, the kernel's word on them would."""
    tmp_path.chmod(0o755)
    address = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        Path(address).chmod(0o777)
        listener.listen()
        child = os.fork()
        if not child:
            for path in (tmp_path.parent, *tmp_path.parent.parents):
                if path != Path("/") and path.stat().st_uid == 0 and "pytest" in str(path):
                    path.chmod(0o755)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(address)
                client.recv(1)
            os._exit(0)
        connection, _ = listener.accept()
        with connection, pytest.raises(wire.PeerError, match="of user 65534 cannot talk"):
            wire.check_peer(connection)
        os.waitpid(child, 0)


def test_leftovers_are_removed_and_nothing_else(folder: EngineFolder) -> None:
    mine = ProcessIdentity.current()
    folder.write("alive", manifest(name="alive").to_bytes())
    for name, process in [
        ("ended", dead()),
        ("reused", replace(mine, started=mine.started + 1)),
        ("rebooted", replace(mine, boot="another boot")),
    ]:
        folder.write(name, manifest(name=name, process=process).to_bytes())
        (folder.path / f"{name}.sock").touch()
    elsewhere = replace(dead(), namespace="pid:[1]")
    for name in ("elsewhere", "refused", "unheard"):
        folder.write(name, manifest(name=name, process=elsewhere).to_bytes())
    listeners = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
    for name, listener in zip(("elsewhere", "refused"), listeners, strict=True):
        with folder.socket_address(name) as address:
            listener.bind(address)
    listeners[0].listen()
    folder.write("broken", b"{}")
    (folder.path / "orphan.sock").touch()
    with pytest.raises(EngineEndedError, match=r"The engine reused was process .*has ended"):
        live.connect("reused", folder.path)
    found = live.engines(folder.path)
    assert {one.name: one.problem is None for one in found} == {
        "alive": True,
        "broken": False,
        "elsewhere": True,
    }
    assert left(folder.path) == [
        "alive.json", "broken.json", "elsewhere.json", "elsewhere.sock", "lock",
    ]  # fmt: skip
    for listener in listeners:
        listener.close()
    assert "elsewhere" not in {one.name for one in live.engines(folder.path)}


def test_nobody_answers(folder: EngineFolder) -> None:
    folder.write("chat", manifest().to_bytes())
    with pytest.raises(UnreachableError, match="does not answer: No such file"):
        live.connect("chat", folder.path)
    with pytest.raises(NoEngineError, match="No engine called talk runs; running: chat"):
        live.connect("talk", folder.path)


def test_no_folder(tmp_path: Path) -> None:
    assert live.engines(tmp_path / "none") == ()
    with pytest.raises(NoEngineError, match="No engine runs"):
        live.connect(None, tmp_path / "none")


CONTAINED = """
import sys, torch, pvc
from pathlib import Path
with pvc.share(torch.nn.Linear(8, 8), "chat", folder=Path(sys.argv[1])) as engine:
    print("ready", engine.manifest.process.pid, flush=True)
    sys.stdin.read()
"""


def contained(folder: Path) -> subprocess.Popen[str]:
    """An engine in a PID namespace of its own, as containers have it."""
    program = ["unshare", "-p", "-f", "--mount-proc", "--kill-child", sys.executable]
    process = subprocess.Popen(
        [*program, "-c", CONTAINED, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    if process.stdout.readline() != "ready 1\n":
        assert process.stderr is not None
        found = process.stderr.read()
        process.wait()
        assert found.startswith("unshare: "), found
        pytest.skip("PID namespaces cannot be made here")
    return process


@as_root
def test_an_engine_in_another_pid_namespace(tmp_path: Path) -> None:
    """Seen from outside it is used like any other; once it is gone, its name can be had again."""
    folder = tmp_path / "engines"
    first = contained(folder)
    with live.connect("chat", folder) as connection:
        assert connection.manifest.process.pid == 1
        base = held(connection)
        update(connection, base, base.changed(step=7))
    with pytest.raises(EngineNameTakenError, match="process 1 has it"):
        pvc.share(torch.nn.Linear(2, 2), "chat", folder=folder)
    namespace = os.open(f"/proc/{first.pid}/ns/pid_for_children", os.O_RDONLY)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text()
    os.kill(int(children), signal.SIGKILL)
    first.communicate()
    with pytest.raises(EngineEndedError):
        live.connect("chat", folder)
    second = contained(folder)
    with live.connect("chat", folder) as connection:
        assert connection.state().generation == 0
    second.communicate()
    os.close(namespace)  # until now, its number could not come again
    assert left(folder) == ["lock"]


@as_root
def test_a_full_file_system(tmp_path: Path) -> None:
    """A /dev/shm without room, as containers have it."""
    full = tmp_path / "full"
    full.mkdir()
    program = f"""
mount -t tmpfs -o size=8k,nr_inodes=50 tmpfs {full} || exit 77
dd if=/dev/zero of={full}/x bs=4k count=9
exec {sys.executable} -c "
import torch, pvc
from pvc.errors import PvcError
model = torch.nn.Linear(100, 100)
place = model.weight.data_ptr()
from pathlib import Path
try:
    pvc.share(model, 'chat', folder=Path('{full}/engines'))
except PvcError as error:
    print(type(error).__name__, error)
print(sorted(p.name for p in Path('{full}/engines').iterdir()))
print([one.name for one in pvc.live.engines(Path('{full}/engines'))])
"
"""
    found = subprocess.run(
        ["unshare", "-m", "sh", "-c", program], capture_output=True, text=True, check=False
    )
    if found.returncode == 77 or found.stderr.startswith("unshare: unshare failed"):
        pytest.skip("file systems cannot be mounted here")
    assert found.returncode == 0, found.stderr
    says, rest, engines = found.stdout.splitlines()
    assert says.startswith("FolderError The engine cannot be announced in ")
    assert says.endswith("No space left on device.")
    assert (rest, engines) == ("['lock']", "[]")


def test_a_manifest_comes_back() -> None:
    one = manifest()
    assert Manifest.parse(one.to_bytes(), "m") == one
    assert one.tied_to == {"v": "w"}


def test_the_example_of_the_format_page() -> None:
    page = Path(__file__).parents[3] / "docs" / "format" / "engine-manifest.md"
    found = re.search(r"```json engine-manifest\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None
    example = Manifest.parse(found[1].encode(), "The example")
    assert Manifest.parse(example.to_bytes(), "The same") == example
    assert list(example.tensors) == ["model.norm.weight"]


def spoiled(path: str, value: object) -> bytes:
    document = json.loads(manifest().to_bytes())
    *before, last = path.split(".")
    place: Any = document
    for step in before:
        place = place[int(step) if step.isdecimal() else step]
    place[int(last) if last.isdecimal() else last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("format", "pvc engine 3", "speaks .pvc engine 3.; this one speaks .pvc engine 2."),
        ("more", 1, "unknown field 'more'"),
        ("pid", "7", "its pid is '7', not a whole number"),
        ("pid", True, "its pid is True, not a whole number"),
        ("pid", -1, "its pid is -1, no number from 0"),
        ("name", "x" * 5000, "its name has 5000 characters"),
        ("tensors", {}, r"its tensors is \{\}, not a list"),
        ("tensors.0.kind", "F4", "has the kind F4, which cannot be shared"),
        ("tensors.0.kind", "BYTES", "which cannot be shared"),
        ("tensors.0.name", "v", "two of its tensors have one name"),
        ("tensors.0.shape", [4, 2.5], "its shape is 2.5, no number"),
        ("tensors.0.shape", [2, 3], "reaches beyond the tensor"),
        ("tensors.0.regions.0.offset", 1 << 40, "reaches beyond its storage"),
        ("tensors.0.regions.0.offset", -8, "its offset is -8"),
        ("tensors.0.regions.0.storage", 1, "a storage that is not listed"),
        ("tensors.0.regions.0.stride", [2], "too few strides or too many"),
        ("tensors.0.regions.0.stride", [2, 0], "elements of the tensor w overlap"),
        ("tensors.0.regions.0.source_stride", [6, 1], "elements of the tensor w overlap"),
        ("storages.0.nbytes", 31, "reaches beyond its storage"),
        ("ties", [["w", "u"]], "it ties a tensor that it does not list"),
        ("ties", [[1]], "its ties holds something else than text"),
    ],
)
def test_manifests_that_are_malformed(path: str, value: object, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        Manifest.parse(spoiled(path, value), "The manifest")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"format":1,"format":2}', b"\xff", b'{"format": NaN}', b"[" * 9999]
)
def test_manifests_that_are_no_json_objects(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.parse(data, "The manifest")
