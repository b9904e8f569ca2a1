"""How much a recurrent layer (linear attention, state space, convolution) keeps per sequence of any length.

Each reader returns elements, convolution window included, or None where its fields are not set.
"""

from collections.abc import Callable

from fqconsole.models.config import HEADS, HIDDEN, Config


def state_elements(config: Config) -> int:
    """Elements kept per sequence and layer; 0 where config.json describes no recurrent layer."""
    for read in _READERS:
        found = read(config)
        if found is not None:
            return found
    return 0


def _delta_net(config: Config) -> int | None:
    """Qwen3-Next, OLMo hybrid: one key × value matrix per value head, and a convolution over q, k and v."""
    value_heads = config.optional_size("linear_num_value_heads")
    if value_heads is None:
        return None
    key_dim = config.size("linear_key_head_dim")
    value_dim = config.size("linear_value_head_dim")
    key_heads = config.size("linear_num_key_heads", default=value_heads)
    convolved = 2 * key_heads * key_dim + value_heads * value_dim
    return value_heads * key_dim * value_dim + convolved * config.size("linear_conv_kernel_dim", default=4)


def _kimi_delta(config: Config) -> int | None:
    """Kimi Linear: as above, its sizes in linear_attn_config."""
    part = config.part("linear_attn_config")
    if part.optional_size("head_dim") is None:
        return None
    width = part.size("head_dim") * part.size("num_heads")
    return width * part.size("head_dim") + 3 * width * part.size("short_conv_kernel_size", default=4)


def _state_space(config: Config) -> int | None:
    """Mamba 1 and 2, hybrids: inner width × state, a convolution (Mamba 2: over each group's B, C too)."""
    state = config.optional_size("mamba_d_state", "ssm_state_size", "state_size")
    if state is None:
        return None
    heads = config.optional_size("mamba_n_heads", "mamba_num_heads", "n_mamba_heads")
    width = config.get("mamba_d_head", "mamba_head_dim", "mamba_headdim")
    given = config.optional_size("mamba_d_ssm")
    if config.model_type in {"mamba", "falcon_mamba"}:
        given = config.optional_size("intermediate_size")
    if heads is None and config.model_type == "mamba2":
        heads = config.size("num_heads")
        width = config.size("head_dim")
    if given is not None:
        inner = given
    elif heads is not None and isinstance(width, int):
        inner = heads * width
    else:  # "auto", or Mamba 1
        inner = config.size("mamba_expand", "expand", default=2) * config.size(*HIDDEN)
    grouped = heads is not None and config.model_type != "zamba"  # which is Mamba 1 with heads
    groups = config.size("mamba_n_groups", "n_groups", "mamba_ngroups", default=1) if grouped else 0
    kernel = config.size("mamba_d_conv", "conv_kernel", default=4)
    return inner * state + (inner + 2 * groups * state) * kernel


def _recurrent_gemma(config: Config) -> int | None:
    """Griffin's recurrent block: its width, and a convolution of four."""
    if config.get("block_types") is None and config.optional_size("lru_width") is None:
        return None
    width = config.optional_size("lru_width") or config.size(*HIDDEN)
    return width + width * config.size("conv1d_width", default=4)


def _short_convolution(config: Config) -> int | None:
    """LFM2: the last tokens of the hidden width."""
    length = config.optional_size("conv_L_cache")
    return None if length is None else length * config.size(*HIDDEN)


def _lightning(config: Config) -> int | None:
    """MiniMax-01's linear layers: one head_dim × head_dim matrix per head."""
    if not config.model_type.startswith("minimax") or config.model_type.startswith("minimax_m"):
        return None
    heads = config.size(*HEADS)
    width = config.optional_size("head_dim") or config.size(*HIDDEN) // heads
    return heads * width * width


_READERS: tuple[Callable[[Config], int | None], ...] = (
    _delta_net, _kimi_delta, _state_space, _recurrent_gemma, _short_convolution, _lightning,
)  # fmt: skip
