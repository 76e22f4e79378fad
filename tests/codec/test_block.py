"""Blocks come back bit for bit, or an error says why not."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pvc.codec import (
    BaseBlock,
    base_place,
    can_be_base,
    decode,
    encode,
)
from pvc.codec.elements import elements_of
from pvc_store.block import BLOCK_BYTES, BlockForm, Codec, EncodedBlock
from pvc_store.errors import DamageError, FormatError
from pvc_store.ids import NO_KEY, block_key
from pvc_store.kinds import BYTES, KIND_BY_CODE, KIND_BY_NAME, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

BF16, F32, F64, I8, I32 = (KIND_BY_NAME[name] for name in ("BF16", "F32", "F64", "I8", "I32"))
KINDS = list(KIND_BY_CODE.values())
MIB = BLOCK_BYTES


def width(kind: Kind) -> int:
    return 8 if kind.name == "C64" else elements_of(kind).word.itemsize


def array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def base_block(raw: NDArray[np.uint8], kind: Kind, part: int = 0) -> BaseBlock:
    return BaseBlock(raw, block_key(raw.data), kind, part)


def round_trip(raw: NDArray[np.uint8], kind: Kind, base: BaseBlock | None = None) -> EncodedBlock:
    encoded = encode(raw, kind, base)
    out = np.full(raw.size, 0xA5, np.uint8)
    decode(encoded, None if base is None else base.raw, out)
    assert np.array_equal(out, raw)
    assert encoded.form.key == block_key(raw.data)
    assert encoded.form.kind == kind
    return encoded


def weights(seed: int, elements: int = MIB // 2, step: float = 1e-4) -> list[NDArray[np.uint8]]:
    """The bytes of a bf16 tensor, and of the same after a small step."""
    generator = np.random.default_rng(seed)
    old = generator.normal(0, 0.03, elements).astype(np.float32)
    new = old + generator.normal(0, step, elements).astype(np.float32)
    return [(w.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8) for w in (old, new)]


@given(st.data())
def test_every_block_comes_back(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS), "kind")
    base_kind = data.draw(st.sampled_from(KINDS), "base kind")
    elements = data.draw(st.integers(1, 60), "elements")
    repeat = data.draw(st.sampled_from([1, 40]), "repeat")  # repeated patterns compress
    raw = data.draw(st.binary(min_size=elements * width(kind), max_size=elements * width(kind)))
    base = array(data.draw(st.binary(max_size=elements * width(base_kind))) * repeat)
    round_trip(array(raw * repeat), kind, base_block(base, base_kind))
    round_trip(array(raw * repeat), kind)


@given(st.data())
def test_every_part_of_a_wider_block_comes_back(data: st.DataObject) -> None:
    pairs = [(b, k) for b in KINDS for k in KINDS if b != k and can_be_base(b, k)]
    base_kind, kind = data.draw(st.sampled_from(pairs), "base kind, kind")
    ratio = kind.bits // base_kind.bits
    part = data.draw(st.integers(0, ratio - 1), "part")
    pattern = data.draw(st.binary(min_size=width(kind), max_size=20 * width(kind)), "raw")
    raw = array((pattern * 50)[: len(pattern) * 50 // width(kind) * width(kind)])
    base = np.zeros(part * (MIB // ratio) + raw.size // ratio, np.uint8)
    base[-raw.size // ratio :] = 0x3C
    encoded = round_trip(raw, kind, base_block(base, base_kind, part))
    if encoded.form.codec is Codec.DELTA:
        assert (encoded.form.base_kind, encoded.form.part) == (base_kind, part)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_full_blocks_come_back(kind: Kind) -> None:
    generator = np.random.default_rng(kind.code)
    base = generator.integers(0, 256, MIB, np.uint8)
    raw = base.copy()
    raw[:: 8 * width(kind)] ^= 1
    encoded = round_trip(raw, kind, base_block(base, kind))
    assert encoded.form.codec is Codec.DELTA
    assert len(memoryview(encoded.payload)) < MIB // 4


def test_a_wider_block_is_coded_against_the_widened_part() -> None:
    old, new = weights(1)
    half = MIB // 4  # elements of an F32 block
    master = (new.view(np.uint16)[half:].astype(np.uint32) << 16) + np.uint32(0x1234)
    raw = master.view(np.uint8)
    encoded = round_trip(raw, F32, base_block(old, BF16, part=1))
    assert encoded.form == BlockForm(
        block_key(raw.data), raw.size, Codec.DELTA, F32, block_key(old.data), BF16, 1
    )
    assert len(memoryview(encoded.payload)) < 0.35 * raw.size
    wrong_part = encode(raw, F32, base_block(old, BF16, part=0))
    assert len(memoryview(wrong_part.payload)) > 0.45 * raw.size


def test_place_in_the_base() -> None:
    assert [base_place(i, BF16, BF16) for i in range(3)] == [(0, 0), (1, 0), (2, 0)]
    assert [base_place(i, F32, BF16) for i in range(3)] == [(0, 0), (0, 1), (1, 0)]
    assert base_place(13, F64, KIND_BY_NAME["F8_E5M2"]) == (1, 5)


class TestChoiceOfForm:
    def test_small_steps_are_a_delta(self) -> None:
        old, new = weights(2)
        form = round_trip(new, BF16, base_block(old, BF16)).form
        assert (form.codec, form.base_key) == (Codec.DELTA, block_key(old.data))

    def test_unchanged_blocks_are_a_tiny_delta(self) -> None:
        old, _ = weights(3)
        encoded = round_trip(old, BF16, base_block(old, BF16))
        assert encoded.form.codec is Codec.DELTA
        assert len(memoryview(encoded.payload)) < 100

    def test_no_base_gives_planes(self) -> None:
        old, _ = weights(4)
        encoded = round_trip(old, BF16)
        assert encoded.form == BlockForm(block_key(old.data), old.size, Codec.PLANES, BF16)
        assert len(memoryview(encoded.payload)) < 0.8 * old.size

    def test_another_tensor_is_no_use_as_base(self) -> None:
        old, new = weights(5)[0], weights(6)[0]
        assert round_trip(new, BF16, base_block(old, BF16)).form.codec is Codec.PLANES

    def test_noise_is_stored_as_it_is(self) -> None:
        raw = np.random.default_rng(7).integers(0, 256, 4096, np.uint8)
        for base in (None, base_block(raw[::-1].copy(), BF16)):
            encoded = round_trip(raw, BF16, base)
            assert encoded.form == BlockForm(block_key(raw.data), 4096, Codec.RAW, BF16)
            assert bytes(encoded.payload) == raw.tobytes()

    @pytest.mark.parametrize(
        ("kind", "base_kind"),
        [(BF16, F32), (BF16, KIND_BY_NAME["F16"]), (I32, I8), (F32, I32), (I32, F32), (BYTES, I8)],
        ids=lambda kind: kind.name,
    )
    def test_unsuitable_kinds_leave_the_base_aside(self, kind: Kind, base_kind: Kind) -> None:
        raw = np.zeros(4096, np.uint8)
        form = round_trip(raw, kind, base_block(np.zeros(1 << 15, np.uint8), base_kind)).form
        assert (form.codec, form.base_key, form.base_kind) == (Codec.PLANES, NO_KEY, BYTES)

    @pytest.mark.parametrize(("size", "part"), [(4094, 0), (0, 0), (4096, 1), (MIB, 1)])
    def test_too_short_a_base_is_left_aside(self, size: int, part: int) -> None:
        base = base_block(np.zeros(size, np.uint8), BF16, part)
        assert round_trip(np.zeros(4096, np.uint8), BF16, base).form.codec is Codec.PLANES

    def test_a_longer_base_serves(self) -> None:
        old, new = weights(8, elements=3000)
        assert round_trip(new[:4000], BF16, base_block(old, BF16)).form.codec is Codec.DELTA


def test_read_only_and_unaligned_arrays_serve() -> None:
    old, new = weights(9, elements=5000)
    odd_old, odd_new = (array(b"x" + w.tobytes())[1:] for w in (old, new))
    assert not odd_new.view(np.uint16).flags.aligned
    encoded = encode(odd_new, BF16, base_block(odd_old, BF16))
    room = np.zeros(new.size + 1, np.uint8)
    decode(encoded, odd_old, room[1:])
    assert np.array_equal(room[1:], new)
    assert bytes(encoded.payload) == bytes(encode(new, BF16, base_block(old, BF16)).payload)


class TestDamage:
    old, new = weights(10, elements=4000)
    base = base_block(old, BF16)

    def delta(self) -> EncodedBlock:
        encoded = encode(self.new, BF16, self.base)
        assert encoded.form.codec is Codec.DELTA
        return encoded

    def decode(self, encoded: EncodedBlock, base: NDArray[np.uint8] | None = None) -> bytes:
        out = np.zeros(encoded.form.raw_length, np.uint8)
        decode(encoded, base, out)
        return out.tobytes()

    def test_another_base_is_noticed(self) -> None:
        encoded = self.delta()
        other = self.old.copy()
        other[5] ^= 0x40
        for _ in range(2):
            with pytest.raises(DamageError, match="its bytes have the key"):
                self.decode(encoded, other)
            assert self.decode(encoded, self.old) == self.new.tobytes()

    def test_nothing_is_encoded_against_another_base(self) -> None:
        self.delta()  # also where the thread knows the base of this key
        other = self.old.copy()
        other[-1] ^= 1
        with pytest.raises(DamageError, match=self.base.key.hex()):
            encode(self.new, BF16, replace(self.base, raw=other))

    def test_a_payload_of_another_block_is_noticed(self) -> None:
        encoded = self.delta()
        other = encode(self.old, BF16, self.base)
        with pytest.raises(DamageError, match="it was decoded to bytes with the key"):
            self.decode(EncodedBlock(encoded.form, other.payload), self.old)

    @pytest.mark.parametrize("cut", [None, 0, 7998])
    def test_missing_and_short_bases_are_refused(self, cut: int | None) -> None:
        reason = "is not at hand" if cut is None else "cannot be the base of 8000 bytes of BF16"
        with pytest.raises(DamageError, match=reason):
            self.decode(self.delta(), None if cut is None else self.old[:cut])

    def test_impossible_bases_are_refused(self) -> None:
        encoded = self.delta()
        for form in (
            replace(encoded.form, base_kind=F32),
            replace(encoded.form, kind=F32, base_kind=I32),
            replace(encoded.form, part=1),
            replace(encoded.form, kind=F32, base_kind=BF16, part=2),
        ):
            with pytest.raises(DamageError, match="cannot be the base of"):
                self.decode(replace(encoded, form=form), np.zeros(MIB, np.uint8))

    @given(st.data())
    def test_flipped_bits_never_give_other_bytes(self, data: st.DataObject) -> None:
        for encoded in (self.delta(), encode(self.new, BF16), encode(self.new[:3], I8)):
            payload = bytearray(memoryview(encoded.payload))
            position = data.draw(st.integers(0, len(payload) - 1))
            payload[position] ^= 1 << data.draw(st.integers(0, 7))
            raw = self.new[: encoded.form.raw_length].tobytes()
            with suppress(DamageError):
                assert self.decode(EncodedBlock(encoded.form, bytes(payload)), self.old) == raw

    @given(st.binary(max_size=60), st.sampled_from(Codec))
    def test_arbitrary_payloads_are_refused(self, payload: bytes, codec: Codec) -> None:
        form = replace(self.delta().form, codec=codec)
        with pytest.raises(DamageError):
            self.decode(EncodedBlock(form, payload), self.old)

    @pytest.mark.parametrize("codec", [Codec.PLANES, Codec.DELTA])
    def test_frames_of_another_size_are_refused(self, codec: Codec) -> None:
        form = replace(self.delta().form, codec=codec)
        good = bytes(self.delta().payload)
        compress = zstandard.ZstdCompressor().compress
        unsized = zstandard.ZstdCompressor(write_content_size=False).compress
        skippable = b"\x50\x2a\x4d\x18\x01\0\0\0x"
        forged = bytearray(compress(bytes(10_000)))
        assert zstandard.frame_content_size(bytes(forged)) == 10_000
        forged[5:7] = (8000 - 256).to_bytes(2, "little")
        assert zstandard.frame_content_size(bytes(forged)) == 8000
        for payload in (
            compress(bytes(1 << 24)),
            compress(bytes(7999)),
            compress(b""),
            unsized(bytes(8000)),
            bytes(forged),
            good[:-1],
            good + b"\0",
            good + compress(b""),
            good + skippable,
            skippable + good,
        ):
            with pytest.raises(FormatError, match=r"its payload (is not a zstd frame|claims)"):
                self.decode(EncodedBlock(form, payload), self.old)

    def test_a_bomb_allocates_nothing(self) -> None:
        bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
        tracemalloc.start()
        with pytest.raises(FormatError, match="claims 268435456 bytes, and 8000 are expected"):
            self.decode(EncodedBlock(self.delta().form, bomb), self.old)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20

    def test_raw_payloads_have_the_length_of_the_block(self) -> None:
        form = BlockForm(block_key(b"abc"), 3, Codec.RAW, I8)
        for payload in (b"", b"ab", b"abcd"):
            with pytest.raises(FormatError, match="bytes are stored for 3 raw ones"):
                self.decode(EncodedBlock(form, payload))
        with pytest.raises(DamageError, match="it was decoded to bytes with the key"):
            self.decode(EncodedBlock(form, b"abd"))


@pytest.mark.parametrize(("size", "kind"), [(0, I8), (3, BF16), (6, F32), (MIB + 2, BF16)])
def test_what_is_no_block_is_refused(size: int, kind: Kind) -> None:
    raw = np.zeros(size, np.uint8)
    with pytest.raises(ValueError, match="are no block of"):
        encode(raw, kind)
    with pytest.raises(FormatError, match="are no block of"):
        decode(EncodedBlock(BlockForm(NO_KEY, size, Codec.RAW, kind), b"x"), None, raw)


def test_decode_needs_room_of_the_right_size() -> None:
    encoded = encode(np.zeros(100, np.uint8), I8)
    with pytest.raises(ValueError, match="99 bytes cannot receive a block of 100"):
        decode(encoded, None, np.zeros(99, np.uint8))


def test_threads_do_not_disturb_each_other() -> None:
    pairs = [weights(seed, elements=100_000 + seed) for seed in range(20, 24)]

    def work(pair: list[NDArray[np.uint8]]) -> bool:
        old, new = pair
        for _ in range(5):
            round_trip(new, BF16, base_block(old, BF16))
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, pairs))


def test_memory_is_bounded() -> None:
    pairs = [weights(seed) for seed in (30, 31)]
    master = np.tile(np.arange(MIB // 4, dtype=np.float32), 1).view(np.uint8)

    def work() -> None:
        for old, new in pairs:
            round_trip(new, BF16, base_block(old, BF16))
            round_trip(new, BF16)
            round_trip(master, F32, base_block(old, BF16))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for _ in range(3):
        work()
    before = resident()
    tracemalloc.start()
    for _ in range(10):
        work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MIB  # the test's own output, a payload and the planes of one block
    assert resident() - before < 4 * MIB
