"""The steps of a vLLM: paused for an update, and resumed once its caches are reset.

Requests stay where they are while it pauses.  Caches that depend on the old weights are dropped:
the prefix cache, with requests that run (they are computed anew, their text stays), and the cache
of encoded images and sounds.  The cache of inputs that are prepared for encoders does not depend on
weights, and stays.
"""

from __future__ import annotations

import abc
import asyncio
import functools
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from pvc.errors import PvcError
from pvc.live.engine.step_gate import StepGate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ANSWER_SECONDS = 120.0
MAX_REASON = 500


class SilentError(PvcError):
    """vLLM did not answer a request in time.

    Attributes:
        request: the request, in the infinitive.
    """

    def __init__(self, request: str) -> None:
        self.request = request
        super().__init__(f"vLLM was asked to {request}, and has not done so in time.")


class VllmError(PvcError):
    """vLLM failed at a request.

    Attributes:
        request: the request, in the infinitive.
        reason: its error.
    """

    def __init__(self, request: str, reason: str) -> None:
        self.request = request
        self.reason = reason[:MAX_REASON]
        super().__init__(f"vLLM was asked to {request}, and failed: {self.reason}")


class VllmSteps(abc.ABC):
    """The steps of a vLLM; see pvc.live.engine.keeper.Steps."""

    def __init__(self) -> None:
        self._shut = False
        self._paused_by_others = False

    def shut(self, wait: float) -> bool:
        """Pause, and wait until nothing runs; whether that was in time."""
        if not self._shut:
            self._paused_by_others = self._is_paused()
        before, self._shut = self._shut, True
        try:
            self._pause(wait)
        except SilentError:
            if not before:
                self.open()
            return False
        except BaseException:
            if not before:
                self.open()
            raise
        return True

    def open(self) -> None:
        """Go on, unless it was paused already before `shut`."""
        if self._shut and not self._paused_by_others:
            self._resume()
        self._shut = False

    def renew(self, version: str) -> None:
        """Drop what depends on old weights, and name the new ones.

        Raises:
            SilentError, VllmError: that has failed.
        """
        if not self._reset_prefix_cache():
            raise VllmError("reset its prefix cache", "it says that it has not.")
        self._reset_encoder_cache()
        self._set_version(version)

    def close(self) -> None:  # noqa: B027  # not all have to
        """Leave vLLM as it was."""

    @abc.abstractmethod
    def _is_paused(self) -> bool: ...

    @abc.abstractmethod
    def _pause(self, wait: float) -> None: ...

    @abc.abstractmethod
    def _resume(self) -> None: ...

    @abc.abstractmethod
    def _reset_prefix_cache(self) -> bool: ...

    @abc.abstractmethod
    def _reset_encoder_cache(self) -> None: ...

    @abc.abstractmethod
    def _set_version(self, version: str) -> None: ...


class ServedSteps(VllmSteps):
    """Those of a server.

    Args:
        client: vLLM's `EngineClient`.
        loop: the event loop that it lives in; its thread may not be the one that calls.
    """

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._client = client
        self._loop = loop

    def _is_paused(self) -> bool:
        return bool(self._do(self._client.is_paused(), "say whether it pauses"))

    def _pause(self, wait: float) -> None:
        pausing = self._client.pause_generation(mode="keep", clear_cache=False)
        self._do(pausing, "pause", wait)

    def _resume(self) -> None:
        self._do(self._client.resume_generation(), "go on")

    def _reset_prefix_cache(self) -> bool:
        resetting = self._client.reset_prefix_cache(reset_running_requests=True)
        return bool(self._do(resetting, "reset its prefix cache"))

    def _reset_encoder_cache(self) -> None:
        if self._client.model_config.is_multimodal_model:
            self._do(self._client.reset_encoder_cache(), "reset its encoder cache")

    def _set_version(self, version: str) -> None:
        self._do(self._client.update_weight_version(version), "note the version of its weights")

    def _do(
        self, what: Coroutine[Any, Any, Any], request: str, wait: float = ANSWER_SECONDS
    ) -> Any:
        if not self._loop.is_running():  # the server is ending
            what.close()
            raise SilentError(request)
        return _result(asyncio.run_coroutine_threadsafe(what, self._loop), request, wait)


class OfflineSteps(VllmSteps):
    """Those of an `LLM`, whose engine is in this process or in one of its own.

    Its methods are replaced by such that wait while it is paused; `close` brings them back.

    Args:
        engine: vLLM's `LLMEngine`.
    """

    _METHODS = ("step", "add_request", "abort_request")

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self._engine = engine
        self._client = engine.engine_core
        self._own = getattr(self._client, "engine_core", None)  # the engine, if it is in here
        self._gate = StepGate()
        for name in self._METHODS:
            setattr(engine, name, self._gated(getattr(engine, name)))
        if self._own is None:
            self._client._send_input = _one_by_one(self._client._send_input)  # noqa: SLF001

    @classmethod
    def has(cls, engine: Any) -> bool:
        """Whether an engine's methods are replaced already."""
        return cls._METHODS[0] in vars(engine)

    def close(self) -> None:
        """See `VllmSteps.close`."""
        for name in self._METHODS:
            delattr(self._engine, name)
        if self._own is None:
            del self._client._send_input  # noqa: SLF001

    def _gated(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def gated(*args: Any, **kwargs: Any) -> Any:
            with self._gate.step():
                return method(*args, **kwargs)

        return gated

    def _is_paused(self) -> bool:
        return bool(self._ask("is_scheduler_paused"))

    def _pause(self, wait: float) -> None:
        if not self._gate.shut(wait):
            raise SilentError("pause")
        self._ask("pause_scheduler", "keep", False, wait=wait)

    def _resume(self) -> None:
        try:
            self._ask("resume_scheduler")
        finally:  # who waits for a vLLM that has ended is to hear of it
            self._gate.open()

    def _reset_prefix_cache(self) -> bool:
        return bool(self._ask("reset_prefix_cache", True, False))

    def _reset_encoder_cache(self) -> None:
        if self._engine.model_config.is_multimodal_model:
            self._ask("reset_encoder_cache")

    def _set_version(self, version: str) -> None:
        self._ask("set_weight_version", version)

    def _ask(self, method: str, *args: object, wait: float = ANSWER_SECONDS) -> Any:
        """Call a method of the engine, wherever it is."""
        if self._own is not None:
            return getattr(self._own, method)(*args)
        answer: Future[Any] = Future()

        def call() -> None:
            try:
                answer.set_result(self._client.call_utility(method, *args))
            except Exception as error:  # noqa: BLE001  # raised where it is waited for
                answer.set_exception(error)

        threading.Thread(target=call, name="pvc asks", daemon=True).start()
        return _result(answer, f"do {method}", wait)


def _result(future: Future[Any], request: str, wait: float) -> Any:
    """What vLLM answers.

    Raises:
        SilentError: nothing in time.
        VllmError: it failed; its errors are of many classes.
    """
    try:
        return future.result(wait)
    except TimeoutError:
        future.cancel()
        raise SilentError(request) from None
    except Exception as error:
        raise VllmError(request, str(error) or type(error).__name__) from error


def _one_by_one(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same for several threads: its socket is made for one."""
    lock = threading.Lock()

    @functools.wraps(method)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return method(*args, **kwargs)

    return locked
