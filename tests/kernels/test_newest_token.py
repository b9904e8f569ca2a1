"""A step's rotation and attention together, in plain torch; on a GPU `test_step_on_gpu.py` asks the same."""

import pytest
import torch

from kernels import rotate_and_attend
from tests.kernels.cases import random_rows
from tests.kernels.step_checks import Heads, check_rotate_and_attend


@pytest.mark.parametrize("options", [{}, {"window": 20, "sinks": True}, {"softcap": 3.0}])
def test_steps(options):
    check_rotate_and_attend(rotate_and_attend, Heads(4, 2, 16, 8), [30, -1, 0], 3, 32, **options)


@pytest.mark.parametrize(
    ("columns", "tokens", "what"), [(63, 2, "is not 4 and two times"), (4 * 16 + 2 * 32, 3, "3 lengths")]
)
def test_what_does_not_belong_together(columns, tokens, what):
    cache = Heads().cache(2, 8, "cpu")
    lengths = torch.ones(tokens, dtype=torch.int32)
    with pytest.raises(ValueError, match=what):
        rotate_and_attend(
            random_rows((2, columns), torch.float32), None, None, torch.zeros(2, dtype=torch.int64), lengths,
            cache, heads=4, scale=1.0,
        )  # fmt: skip
