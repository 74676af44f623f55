"""Histograms per subject, counted where the maps are: pixels put in order by subject and score, and equal ones added up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anomaly_bench.metrics.bins import BIN, FULL, MOST, any_order, keys_of
from anomaly_bench.metrics.formulas import Array
from anomaly_bench.metrics.transfers import together


class Block(NamedTuple):
    """A batch of maps on their device: (B, 1, H, W) each, and the subjects (B,) int64."""

    scores: Tensor
    mask: Tensor
    foreground: Tensor
    weight: Tensor
    subject: Tensor


class Reduced(NamedTuple):
    """Of some batches, by subject, what SubjectHistograms keeps: TOTALS, and bins at that many bits, ascending."""

    totals: dict[int, Array]
    bins: dict[int, Array]
    bits: int


def reduced(
    blocks: Sequence[Block], pivot: float, full_bits: int, threshold: int | None, bits: int, limit: int
) -> Reduced:
    """Count the foreground pixels of some batches on their device, which is waited for a few times in all.

    pivot, full_bits, threshold: of what is called anomalous. bits, limit: the bins' resolution, and from how many on, of these
    batches alone, it is halved until there are no more. A NaN counts nowhere.
    """
    plane = blocks[0].scores[0].numel()
    scores, mask, foreground, weight = (torch.cat([block[part].flatten() for block in blocks]) for part in range(4))
    ids, local = torch.cat([block.subject for block in blocks]).unique(return_inverse=True)
    owner = local[:, None].expand(-1, plane).flatten()
    inside = foreground & ~scores.isnan()
    called = keys_of(scores, pivot, full_bits) >= ((1 << full_bits) if threshold is None else threshold)
    parts = (inside, mask & inside, mask & inside & called, inside & called)
    with any_order():
        images = torch.zeros_like(ids).scatter_add_(0, local, foreground.view(-1, plane).any(1).long())
        counts = [torch.zeros_like(ids).scatter_add_(0, owner, part.long()) for part in parts]
    index = inside.nonzero().flatten()
    patterns = _patterns(scores[index])
    order = patterns.sort(stable=True).indices
    order = order[owner[index][order].sort(stable=True).indices]
    patterns, index = patterns[order], index[order]
    owner, mask, weight = owner[index], mask[index], weight[index]
    names, first = _names(patterns), torch.ones_like(owner[:1], dtype=torch.bool)
    differ, parted = names[1:] ^ names[:-1], owner[1:] != owner[:-1]

    def filled(candidate: int) -> Tensor:
        """Which pixels are the first of a bin at that many bits."""
        return torch.cat([first, parted | (differ >> (FULL - candidate) != 0)])

    if int(filled(bits).sum()) > limit:
        bits = bisect_right(range(1, bits + 1), limit, key=lambda candidate: int(filled(candidate).sum())) or 1
    begins = filled(bits)
    starts, run = begins.nonzero().flatten(), begins.cumsum(0) - 1
    with any_order():
        normal, anomalous = (torch.zeros_like(starts).scatter_add_(0, run, part.long()) for part in (~mask, mask))
        region = torch.zeros_like(starts, dtype=torch.float64)
        region.scatter_add_(0, run, weight.double().masked_fill(~mask, 0.0))
    last = torch.cat([starts[1:], torch.full_like(starts[:1], len(run))]) - 1
    found = (ids, images, *counts, owner[starts], patterns[starts], normal, anomalous, region, patterns[last])
    subjects, *sums, of, key, negatives, hits, regions, highest = (part.numpy() for part in together(found))
    bins = np.zeros(len(of), dtype=BIN)
    bins["key"], bins["mixed"] = key.view(np.uint64) ^ np.uint64(1 << 63), key != highest
    bins["normal"], bins["anomalous"], bins["region"] = negatives, hits, regions
    rows = np.stack(sums, axis=1)
    ends = np.searchsorted(of, np.arange(len(subjects) + 1))
    return Reduced(
        dict(zip(subjects.tolist(), rows, strict=True)),
        {name: bins[ends[row] : ends[row + 1]] for row, name in enumerate(subjects.tolist())},
        bits,
    )


def _patterns(scores: Tensor) -> Tensor:
    """As `bins.score_patterns`, but int64 and in the order of signed numbers."""
    pattern = (scores.double() + 0.0).view(torch.int64)
    return pattern ^ ((pattern >> 63) & MOST)


def _names(patterns: Tensor) -> Tensor:
    """As `bins.bin_names` at all bits, alike; what they differ in is the same."""
    scores = (patterns ^ ((patterns >> 63) & MOST)).view(torch.float64)
    near = torch.where(scores < 1, 0.25 / (1 - scores), scores * 2.0**52)
    return _patterns(torch.where(scores < 0.5, scores, near))
