"""The keys and values of one layer's tokens, preallocated, as `kernels.attend` reads them.

    keys    [B, KVH, C, D]       one plane of C slots for each sequence and head, so that a head's tokens are
    values  [B, KVH, C, DV]      one run of memory, whatever the batch

The token at position p of a sequence lies in slot p mod C. A cache that holds the whole context is the same
thing: its positions end before C. A sliding window needs C ≥ window, and C ≥ window - 1 + chunk where chunks
of a prompt are written before they attend. Nothing is ever cleared: what is not one of the last C positions
before a sequence's length is not read.

With int8 codes a token's head has a scale for its key and one for its value: x = code * scale, |code| ≤ 127.

A latent cache (multi-head latent attention) has one head and no values of its own: the first `latent` columns
of keys `[B, 1, C, latent + R]` are both. With int8 codes the second scale belongs to those columns,
the first to the R others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_CODE = 127


@dataclass(frozen=True, eq=False)
class KeyValueCache:
    """One layer's keys and values; see above for the layout.

    `keys` and `values` in the activations' dtype, or int8 with `scales` (of keys, of values), float32
    `[B, KVH, C]` each. All are contiguous. `arrived`, int32 `[B, KVH]`: how many parts of a head `attend` is
    through with, zero before and after each call; two calls over one cache must not run at once.
    """

    keys: Tensor
    values: Tensor | None
    scales: tuple[Tensor, Tensor] | None = None
    latent: int = 0
    arrived: Tensor | None = None

    def __post_init__(self) -> None:
        stored = self.keys.shape[:3]
        if self.keys.dim() != 4 or (self.values is None) != (0 < self.latent <= self.keys.shape[-1]):
            raise ValueError("a cache has keys [B, KVH, C, D], and values or a latent part of its keys")
        if self.values is not None and (self.values.shape[:3] != stored or self.values.dim() != 4):
            raise ValueError(f"values {list(self.values.shape)} do not fit keys {list(self.keys.shape)}")
        if not all(part.is_contiguous() for part in (self.keys, self.values) if part is not None):
            raise ValueError("a cache's keys and values are whole tensors, not views with gaps")
        if (self.scales is not None) != (self.keys.dtype == torch.int8):
            raise ValueError("int8 codes, and only they, have scales of keys and of values")
        if any(scale.shape != stored or scale.dtype != torch.float32 for scale in self.scales or ()):
            raise ValueError(f"scales must be float32 {list(stored)}")
        if self.arrived is not None and self.arrived.shape != stored[:2]:
            raise ValueError(f"{list(self.arrived.shape)} counters do not fit keys {list(self.keys.shape)}")

    @classmethod
    def empty(
        cls,
        batch: int,
        kv_heads: int,
        capacity: int,
        head_dim: int,
        value_dim: int | None = None,
        *,
        latent: int = 0,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
    ) -> "KeyValueCache":
        """A cache of zeros for `capacity` tokens of each sequence; `dtype` int8 makes scales too."""
        slots = (batch, kv_heads, capacity)
        coded = dtype == torch.int8
        value_width = head_dim if value_dim is None else value_dim
        return cls(
            torch.zeros((*slots, head_dim), dtype=dtype, device=device),
            None if latent else torch.zeros((*slots, value_width), dtype=dtype, device=device),
            (torch.zeros(slots, device=device), torch.zeros(slots, device=device)) if coded else None,
            latent,
            torch.zeros(slots[:2], dtype=torch.int32, device=device),
        )

    @property
    def capacity(self) -> int:
        """C, the tokens of a sequence that it holds."""
        return self.keys.shape[2]

    @property
    def value_dim(self) -> int:
        """Columns of a value."""
        return self.latent if self.values is None else self.values.shape[-1]

    @property
    def bytes(self) -> int:
        """What keys, values and scales take in memory."""
        parts = (self.keys, self.values, *(self.scales or ()))
        return sum(part.nbytes for part in parts if part is not None)

    def write(self, keys: Tensor, values: Tensor | None, positions: Tensor, rows: Tensor | None) -> None:
        """Store keys `[T, KVH, D]` and values `[T, KVH, DV]` (None: latent), of any float dtype.

        `positions` int `[T]`, below 0: not stored; `rows` int `[T]` the sequence of each token, None: token t
        is of sequence t. In plain torch; waits for the device.
        """
        place: tuple[int | Tensor, slice, int | Tensor]
        if len(positions) == 1:  # a decode step of one text: numbers are looked up sooner than tensors
            position = int(positions[0])
            if position < 0:
                return
            place = (0 if rows is None else int(rows[0]), slice(None), position % self.capacity)
            keys, values = keys[0], None if values is None else values[0]
        else:
            rows = torch.arange(len(positions), device=positions.device) if rows is None else rows
            stored = positions >= 0
            if not bool(stored.all()):
                keys, positions, rows = keys[stored], positions[stored], rows[stored]
                values = None if values is None else values[stored]
            place = (rows, slice(None), positions % self.capacity)
        if self.scales is None:
            self.keys[place] = keys.to(self.keys.dtype)
            if self.values is not None and values is not None:
                self.values[place] = values.to(self.values.dtype)
            return
        of_keys, of_values = self.scales
        if self.values is None or values is None:
            shared, of_values[place] = quantize_rows(keys[..., : self.latent])
            others, of_keys[place] = quantize_rows(keys[..., self.latent :])
            self.keys[place] = torch.cat((shared, others), -1)
            return
        self.keys[place], of_keys[place] = quantize_rows(keys)
        self.values[place], of_values[place] = quantize_rows(values)

    def read(self, row: int, first: int, end: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys `[KVH, end - first, D]` and values `[KVH, end - first, DV]` of positions first … end - 1.

        In the order of the positions and in `dtype`; views of the cache where nothing stands in the way.
        Raises ValueError for more positions than the cache holds.
        """
        if not 0 <= end - first <= self.capacity:
            raise ValueError(f"a cache of {self.capacity} tokens can't give positions {first} to {end}")
        begin = first % self.capacity
        if begin + end - first <= self.capacity:
            slots: slice | Tensor = slice(begin, begin + end - first)
        else:
            slots = torch.arange(first, end, device=self.keys.device) % self.capacity
        keys = self.keys[row, :, slots]
        values = None if self.values is None else self.values[row, :, slots]
        if self.scales is not None:
            of_keys, of_values = (scale[row, :, slots, None] for scale in self.scales)
            if values is None:
                shared, others = keys.split((self.latent, keys.shape[-1] - self.latent), -1)
                keys = torch.cat((shared * of_values, others * of_keys), -1)
            else:
                keys, values = keys * of_keys, values * of_values
        keys = keys.to(dtype)
        return keys, keys[..., : self.latent] if values is None else values.to(dtype)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x `[..., D]` → codes int8 `[..., D]`, scales float32 `[...]`: the largest |x| of a row becomes 127."""
    wide = x.float()
    largest = wide.abs().amax(-1) if wide.shape[-1] else wide.new_zeros(wide.shape[:-1])
    scales = torch.where(largest > 0, largest, 1.0) / LARGEST_CODE
    codes = torch.floor(wide / scales[..., None] + 0.5)
    return codes.clamp(-LARGEST_CODE, LARGEST_CODE).to(torch.int8), scales
