"""Writes a tiny language model with random weights, in the format of llama.cpp: it answers with any letters, but it is a real one."""

from __future__ import annotations

from pathlib import Path

WINDOW_TOKENS = 512
_SPECIAL = ["<unk>", "<s>", "</s>"]
_LETTERS = [*map(chr, range(97, 123)), "\u2581"]


def write_tiny_model(path: Path, *, width: int = 32, layers: int = 2, window: int = WINDOW_TOKENS) -> None:
    """Write the model.

    Args:
        width: of its vectors; a larger one is slower.
    """
    import gguf
    import numpy as np

    words = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *_LETTERS]
    count, inner, heads = len(words), 2 * width, 4
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(window)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(count)
    writer.add_file_type(0)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * count)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(_LETTERS))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.2).astype(np.float32)

    ones = np.ones(width, np.float32)
    writer.add_tensor("token_embd.weight", weights(count, width))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", weights(count, width))
    for layer in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(width, width))
        writer.add_tensor(f"blk.{layer}.ffn_gate.weight", weights(inner, width))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", weights(inner, width))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", weights(width, inner))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
