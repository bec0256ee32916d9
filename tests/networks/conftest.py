"""What every network here keeps, in one place: a new network's test hands itself to ``check_network``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from torch.testing import assert_close

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


def as_tuple(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def script(network: nn.Module) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript has an heir; the model zoo still asks for it
        return torch.jit.script(network)


def check_contract(
    make: Callable[[], nn.Module], inputs: tuple[Tensor, ...], *, idle: tuple[str, ...] = ()
) -> tuple[Tensor, ...]:
    """Check a network on a batch of at least two, and hand back what it says.

    Args:
        make: builds the network.
        inputs: of ``forward``, each with the batch in front.
        idle: weights that cancel and so learn nothing.
    """
    torch.manual_seed(0)
    network = make().eval()
    outputs = as_tuple(network(*inputs))
    assert all(output.dtype == torch.float32 and output.isfinite().all() for output in outputs)

    loop = [as_tuple(network(*(each[[row]] for each in inputs))) for row in range(len(inputs[0]))]
    for output, rows in zip(outputs, zip(*loop, strict=True), strict=True):
        # Sums in another order differ by some 1e-5 behind many norms; a norm over the batch would by 1e-2.
        assert_close(output, torch.cat(rows), rtol=1e-4, atol=1e-4, msg="a batch is no loop over its images")
    for output, again in zip(outputs, as_tuple(network.train()(*inputs)), strict=True):
        assert_close(output, again, msg="training changes what the network says")

    sum((output + 0.5).square().sum() for output in outputs).backward()  # also where an output begins at 0
    silent = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not set(silent) - set(idle), "these weights learn nothing"

    other = make().eval()
    other.load_state_dict(network.state_dict())
    for output, again in zip(outputs, as_tuple(other(*inputs)), strict=True):
        assert_close(output, again, rtol=0, atol=0)

    for output, again in zip(outputs, as_tuple(script(other)(*inputs)), strict=True):
        assert_close(output, again)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(output.isfinite().all() for output in as_tuple(other(*inputs)))
    return outputs


@pytest.fixture
def check_network() -> Callable[..., tuple[Tensor, ...]]:
    return check_contract
