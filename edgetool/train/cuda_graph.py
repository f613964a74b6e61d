"""One token for every slot: a decoding step, and on a GPU its CUDA graph.

A step of a small model is many hundred kernels of a few microseconds each, and launching them from
Python takes longer than running them. Recorded once as a graph they are launched together. A graph
holds for one set of shapes and addresses, so it is recorded anew when finished completions leave
or the cache has grown. What cannot be recorded is run as it is.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from edgetool.train.attention import GroupCache, StaticCache
from edgetool.train.policy import Network, Policy

LOG = logging.getLogger(__name__)
# How far two runs of the same kernels may be apart, as a share of the largest logit. They sum in
# the same order, but cuBLAS may choose other kernels while a graph is recorded.
SAME = 1e-2


def cache_type(device: torch.device) -> type[GroupCache]:
    """The kind of cache that decodes fastest there."""
    return StaticCache if device.type == "cuda" else GroupCache


def recordable(cache: GroupCache) -> bool:
    """Is there a GPU, and do addresses stay?"""
    return isinstance(cache, StaticCache) and cache.place.is_cuda


class DecodeStep:
    """Feeds S slots their last tokens; made anew for a cache with other slots."""

    def __init__(self, policy: Policy, network: Network, cache: GroupCache) -> None:
        self.policy, self.network, self.cache = policy, network, cache
        self._graph: _Graph | None = None

    @property
    def recorded(self) -> bool:
        """Every step is the same launch, so a change of shape costs two more steps."""
        return self.policy.recordable and recordable(self.cache)

    def __call__(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Token ids and their positions, int64 [S, 1] -> the next tokens' logits [S, V].

        Recorded, they are a view that holds until the next call.
        """
        if self.cache.make_room():
            self._graph = None
        logits = self._replay(ids, positions) if self.recorded else self.run(ids, positions)
        self.cache.advance()
        return logits

    def run(self, ids: Tensor, positions: Tensor) -> Tensor:
        """The step itself; run twice, it writes the same into the same place."""
        out = self.network.hidden(
            ids,
            position_ids=positions,
            # Taken as it is by transformers and never looked at: every slot sees all its tokens.
            attention_mask=ids.new_zeros(1, 1, 1, 1, dtype=torch.bool),
            cache=self.cache,
            group_cache=self.cache,
        )
        return self.network.logits(out.last_hidden_state[:, 0])

    def _replay(self, ids: Tensor, positions: Tensor) -> Tensor:
        if self._graph is None:
            try:
                self._graph = _Graph(self, ids, positions)
            except RuntimeError as error:
                LOG.warning("decoding without CUDA graphs: %s", str(error).partition("\n")[0])
                self.policy.recordable = False
                return self.run(ids, positions)
        return self._graph.replay(ids, positions)


class _Graph:
    """A recorded step. Raises RuntimeError where it cannot be recorded or gives something else."""

    def __init__(self, step: DecodeStep, ids: Tensor, positions: Tensor) -> None:
        self._ids, self._positions = ids.clone(), positions.clone()
        # Once beside the recording, because libraries set themselves up in their first call.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            expected = step.run(self._ids, self._positions)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = step.run(self._ids, self._positions)
        apart = (self.replay(ids, positions) - expected).abs().max()
        if not float(apart) <= SAME * float(expected.abs().max()):
            raise RuntimeError(f"a recorded step gives other logits, by {float(apart):.3g}")

    def replay(self, ids: Tensor, positions: Tensor) -> Tensor:
        self._ids.copy_(ids)
        self._positions.copy_(positions)
        self._graph.replay()
        return self._logits
