"""Running state machines: so many random histories, the same ones every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

if TYPE_CHECKING:
    from hypothesis.stateful import RuleBasedStateMachine


def run(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Let a machine go through `examples` histories of at most `steps` steps."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],  # to shrink a history that fails would take many minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
