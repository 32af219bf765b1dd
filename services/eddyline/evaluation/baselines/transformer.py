"""The network of SASRec: what comes next in a sequence of items, by causal self-attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

DIMENSION, BLOCKS, HEADS = 64, 2, 2
LENGTH = 100
"""Newest items of a sequence that are looked at."""
DROPOUT = 0.2
PADDING = 0
"""What a sequence that is shorter ends with; the item at place i is i + 1."""


class SequenceModel(nn.Module):
    """From sequences of items to a vector after each, to be multiplied with the items' embeddings."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(items + 1, DIMENSION, padding_idx=PADDING)
        self.positions = nn.Embedding(LENGTH, DIMENSION)
        self.blocks = nn.ModuleList(_Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(DIMENSION)
        self.dropout = nn.Dropout(DROPOUT)
        for embedding in (self.items, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the vector after each item, (n, length, dimension), of sequences (n, length) of items + 1.

        They begin at the first position; what follows the padding means nothing.
        """
        positions = torch.arange(sequences.shape[1], device=sequences.device)
        hidden = self.dropout(self.items(sequences) * DIMENSION**0.5 + self.positions(positions))
        for block in self.blocks:
            hidden = block(hidden)
        result: Tensor = self.norm(hidden)
        return result

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every item: (n, items) of vectors (n, dimension)."""
        return hidden @ self.items.weight[1:].T


class _Block(nn.Module):
    """Attention to what came before, then a layer at each position; both are added to what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_layer = nn.LayerNorm(DIMENSION), nn.LayerNorm(DIMENSION)
        self.projections = nn.Linear(DIMENSION, 3 * DIMENSION)
        self.joined = nn.Linear(DIMENSION, DIMENSION)
        self.layer = nn.Sequential(
            nn.Linear(DIMENSION, DIMENSION), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(DIMENSION, DIMENSION)
        )
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, hidden: Tensor) -> Tensor:
        count, length, _ = hidden.shape
        projected = self.projections(self.before_attention(hidden)).view(count, length, 3, HEADS, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=DROPOUT if self.training else 0.0, is_causal=True
        )
        hidden = hidden + self.dropout(self.joined(attended.transpose(1, 2).reshape(count, length, DIMENSION)))
        result: Tensor = hidden + self.dropout(self.layer(self.before_layer(hidden)))
        return result
