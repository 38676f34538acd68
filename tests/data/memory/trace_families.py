"""Traces one training step of small models of many families and writes the peak
of live tensors, phase by phase (`traced_families.tsv`).

Tensors are fake (they have shapes and types, no memory), so no GPU is needed.
Dropout and attention are replaced by the operators that a GPU would run: the
fused dropout with a mask of one byte per element, and the memory-efficient (32
bit) or flash (16 bit) attention kernel.

Made with torch 2.15.0, transformers 5.23.0 on 2026-11-21; run: python trace_families.py
"""

import json
import sys
import weakref

import torch
import torch.nn.functional as F
import transformers as tf
import transformers.masking_utils as masking
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Counts the bytes of storages that are alive."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.seen = 0, 0, set()

    def track(self, tensor):
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)

        def gone():
            self.seen.discard(key)
            self.live -= size

        weakref.finalize(storage, gone)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.track(leaf)
        return out

    def restart(self):
        self.peak = self.live


def dropout(x, p=0.5, training=True, inplace=False):
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    if enable_gqa and k.shape[1] != q.shape[1]:
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        v = v.repeat_interleave(q.shape[1] // v.shape[1], 1)
    half = q.dtype in (torch.bfloat16, torch.float16)
    if half and attn_mask is None and q.shape[-1] == v.shape[-1]:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, scale=scale)[0]
    bias = None
    if attn_mask is not None:
        bias = attn_mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    needs = torch.is_grad_enabled() and q.requires_grad
    return torch.ops.aten._scaled_dot_product_efficient_attention(
        q, k, v, bias, needs, dropout_p, is_causal, scale=scale
    )[0]


F.dropout, F.scaled_dot_product_attention = dropout, attention

LLAMA = dict(hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=8000)
PLAIN = dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4, vocab_size=8000)
LM, CLS, S2S = tf.AutoModelForCausalLM, tf.AutoModelForSequenceClassification, tf.AutoModelForSeq2SeqLM
FAMILIES = [
    ("llama_bias", tf.LlamaConfig, LM, dict(LLAMA, attention_bias=True, mlp_bias=True)),
    ("qwen2", tf.Qwen2Config, LM, dict(LLAMA, tie_word_embeddings=True)),
    ("qwen3", tf.Qwen3Config, LM, dict(LLAMA, head_dim=64, tie_word_embeddings=False)),
    ("gemma", tf.GemmaConfig, LM, dict(LLAMA, intermediate_size=1024, num_key_value_heads=1, head_dim=64)),
    ("phi3", tf.Phi3Config, LM, dict(LLAMA, num_key_value_heads=4, pad_token_id=0)),
    ("phi", tf.PhiConfig, LM, dict(PLAIN, num_key_value_heads=4, hidden_act="gelu_new")),
    ("falcon", tf.FalconConfig, LM, dict(hidden_size=256, num_hidden_layers=4, num_attention_heads=4, vocab_size=8000,
                                         multi_query=True, new_decoder_architecture=False, parallel_attn=True,
                                         bias=False, alibi=False)),
    ("gpt_neox", tf.GPTNeoXConfig, LM, dict(PLAIN, tie_word_embeddings=False)),
    ("opt", tf.OPTConfig, LM, dict(hidden_size=256, ffn_dim=1024, num_hidden_layers=4, num_attention_heads=4,
                                   vocab_size=8000, max_position_embeddings=2048, word_embed_proj_dim=256)),
    ("gpt_bigcode", tf.GPTBigCodeConfig, LM, dict(n_embd=256, n_inner=1024, n_layer=4, n_head=4, n_positions=2048,
                                                  vocab_size=8000, multi_query=True)),
    ("mixtral", tf.MixtralConfig, LM, dict(LLAMA, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)),
    ("deepseek_v2", tf.DeepseekV2Config, LM, dict(LLAMA, num_key_value_heads=4, moe_intermediate_size=128,
                                                  n_shared_experts=2, n_routed_experts=8, num_experts_per_tok=2,
                                                  first_k_dense_replace=4, kv_lora_rank=64, q_lora_rank=None,
                                                  qk_rope_head_dim=32, qk_nope_head_dim=64, v_head_dim=64,
                                                  tie_word_embeddings=False)),
    ("roberta", tf.RobertaConfig, CLS, dict(PLAIN, max_position_embeddings=1030, type_vocab_size=1)),
    ("distilbert", tf.DistilBertConfig, CLS, dict(dim=256, hidden_dim=1024, n_layers=4, n_heads=4, vocab_size=8000,
                                                  max_position_embeddings=1024)),
    ("t5", tf.T5Config, S2S, dict(d_model=256, d_ff=1024, d_kv=64, num_layers=4, num_heads=4, vocab_size=8000,
                                  feed_forward_proj="relu", decoder_start_token_id=0, pad_token_id=0)),
]
CASES = [("fp32", "sdpa", False, 2, 512), ("bf16", "sdpa", True, 4, 512), ("fp32", "eager", False, 2, 512)]


def trace(config_class, auto, settings, case):
    regime, kind, checkpointing, batch, sequence = case
    dtype = torch.bfloat16 if regime == "bf16" else torch.float32
    with FakeTensorMode():
        config = config_class(**settings, attn_implementation=kind)
        config.use_cache = False
        model = auto.from_config(config, attn_implementation=kind, dtype=dtype)
        module = sys.modules[type(model).__module__]
        for name in ("create_causal_mask", "create_bidirectional_mask"):
            if hasattr(module, name):
                # A fused kernel needs no mask for full sequences.
                skip = (lambda *a, **k: None) if kind == "sdpa" else getattr(masking, name)
                setattr(module, name, skip)
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        parameters = sum(p.numel() for p in model.parameters())
        with Meter() as meter:
            for tensor in [*model.parameters(), *model.buffers()]:
                meter.track(tensor)
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
            for step in range(2):
                ids = torch.zeros(batch, sequence, dtype=torch.long)
                labels = torch.zeros(batch, dtype=torch.long) if auto is CLS else ids.clone()
                meter.restart()
                loss = model(input_ids=ids, labels=labels).loss
                forward = meter.peak
                meter.restart()
                loss.backward()
                backward = meter.peak
                meter.restart()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                del loss, ids, labels
        return config.model_type, parameters, forward, backward, max(forward, backward, meter.peak)


def main():
    print("family", "config", "regime", "attention", "checkpointing", "batch", "sequence",
          "parameters", "forward", "backward", "peak", sep="\t")
    for name, config_class, auto, settings in FAMILIES:
        for case in CASES:
            kind, parameters, *peaks = trace(config_class, auto, settings, case)
            config = json.dumps(dict(model_type=kind, **settings))
            print(name, config, case[0], case[1], "yes" if case[2] else "no", case[3], case[4],
                  parameters, *peaks, sep="\t")


if __name__ == "__main__":
    main()
