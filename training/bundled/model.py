"""A Llama in plain torch, small enough to read, saved under the weights' names that transformers uses."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mull.training.bundled import tokenizer

Head = Literal["lm", "token", "sequence"]
ARCHITECTURE: dict[Head, str] = {
    "lm": "LlamaForCausalLM",
    "token": "LlamaForTokenClassification",
    "sequence": "LlamaForSequenceClassification",
}
THETA = 10000.0
EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of the network."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocab: int


class Cache:
    """Keys and values of growing sequences, each `[layers, B, H, S, D]`, of which `length` are filled."""

    def __init__(self, model: "Llama", batch: int, room: int) -> None:
        size = model.size
        shape = (size.layers, batch, size.heads, room, size.width // size.heads)
        self.keys = model.embed_tokens.weight.new_zeros(shape)
        self.values = model.embed_tokens.weight.new_zeros(shape)
        self.length = 0

    def put(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store new entries of a layer, and return all of that layer."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def pick(self, rows: Tensor) -> None:
        """Keep, repeat or reorder rows of the batch."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.q_proj = nn.Linear(size.width, size.width, bias=False)
        self.k_proj = nn.Linear(size.width, size.width, bias=False)
        self.v_proj = nn.Linear(size.width, size.width, bias=False)
        self.o_proj = nn.Linear(size.width, size.width, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: Cache | None, layer: int
    ) -> Tensor:
        b, t, d = x.shape
        q, k, v = (
            project(x).view(b, t, self.heads, d // self.heads).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.put(layer, k, v)
        if mask is None:
            mask = torch.ones(t, k.shape[2], dtype=torch.bool, device=x.device).tril(k.shape[2] - t)
        # On CPUs plain products are three times faster in bfloat16 than the fused kernel at these lengths.
        scores = (q @ k.transpose(-1, -2)) * (d // self.heads) ** -0.5
        y = scores.masked_fill(~mask, float("-inf")).softmax(-1).to(v.dtype) @ v
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(b, t, d))
        return out


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(size.width, size.feed_forward, bias=False)
        self.up_proj = nn.Linear(size.width, size.feed_forward, bias=False)
        self.down_proj = nn.Linear(size.feed_forward, size.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(size.width, eps=EPS)
        self.self_attn = Attention(size)
        self.post_attention_layernorm = nn.RMSNorm(size.width, eps=EPS)
        self.mlp = FeedForward(size)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: Cache | None, layer: int
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache, layer)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out

    def silence(self) -> None:
        """Make the layer the identity: its outputs start at zero."""
        nn.init.zeros_(self.self_attn.o_proj.weight)
        nn.init.zeros_(self.mlp.down_proj.weight)


class Llama(nn.Module):
    """The network, with a tied language-model head and, for verifiers, a score head beside it."""

    def __init__(self, size: Size, labels: int = 0) -> None:
        super().__init__()
        self.size = size
        self.embed_tokens = nn.Embedding(size.vocab, size.width)
        self.layers = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.width, eps=EPS)
        self.score = nn.Linear(size.width, labels, bias=False) if labels else None
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                scale = (
                    0.5 / (size.width * 2 * size.layers) ** 0.5
                    if "o_proj" in name or "down" in name
                    else 0.02
                )
                nn.init.normal_(weight, std=scale)

    def blocks(self) -> list[Block]:
        """The layers, from the first."""
        return [layer for layer in self.layers if isinstance(layer, Block)]

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Last hidden states of `ids`.

        Args:
            ids: Token ids, shape `[B, T]`.
            positions: Position of each token, shape `[B, T]`; counted from 0 by default.
            mask: True where a query may attend, shape `[B, 1, T, S]`; causal by default.
            cache: Keys and values of earlier tokens, extended by those of `ids`.

        Returns:
            Normed states, shape `[B, T, D]`.
        """
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)[None]
        cos, sin = _angles(positions, self.size.width // self.size.heads)
        x = self.embed_tokens(ids)
        for n, layer in enumerate(self.layers):
            x = layer(x, cos, sin, mask, cache, n)
        if cache is not None:
            cache.length += ids.shape[1]
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits of hidden states, shape `[..., V]`."""
        return F.linear(hidden, self.embed_tokens.weight)

    def scores(self, hidden: Tensor) -> Tensor:
        """Outputs of the score head, shape `[..., labels]`."""
        if self.score is None:
            raise ValueError("this model has no score head")
        out: Tensor = self.score(hidden)
        return out


def _angles(positions: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    frequency = THETA ** (-torch.arange(0, dim, 2, device=positions.device) / dim)
    angle = positions[:, None, :, None] * frequency
    angle = torch.cat((angle, angle), -1)
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos.to(x.dtype) + torch.cat((-b, a), -1) * sin.to(x.dtype)


def deepen(model: Llama, extra: int, labels: int) -> Llama:
    """The same function with `extra` silent layers on top and a score head of zeros."""
    size = model.size
    grown = Llama(Size(size.width, size.layers + extra, size.heads, size.feed_forward, size.vocab), labels)
    grown.load_state_dict(model.state_dict(), strict=False)
    for layer in grown.blocks()[size.layers :]:
        layer.silence()
    if grown.score is not None:
        nn.init.zeros_(grown.score.weight)
    return grown


def _config(model: Llama, head: Head) -> dict[str, Any]:
    size = model.size
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURE[head]],
        "model_type": "llama",
        "hidden_size": size.width,
        "intermediate_size": size.feed_forward,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "head_dim": size.width // size.heads,
        "vocab_size": size.vocab,
        "max_position_embeddings": tokenizer.CONTEXT,
        "rms_norm_eps": EPS,
        "rope_theta": THETA,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": head == "lm",
        "bos_token_id": tokenizer.token_id(tokenizer.BOS),
        "eos_token_id": tokenizer.token_id(tokenizer.EOS),
        "pad_token_id": tokenizer.token_id(tokenizer.PAD),
        "torch_dtype": "bfloat16",
    }
    if head == "token":
        config |= {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}, "num_labels": 2}
    if head == "sequence":
        config |= {"id2label": {"0": "right"}, "label2id": {"right": 0}, "num_labels": 1}
    return config


def save(model: Llama, folder: Path, head: Head, temperature: float | None = None) -> None:
    """Write weights in bfloat16, configuration and tokenizer as transformers and vLLM load them."""
    folder.mkdir(parents=True, exist_ok=True)
    weights: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not name.startswith("score."):
            weights[f"model.{name}"] = value.to(torch.bfloat16).contiguous()
        elif head != "lm":
            weights[name] = value.to(torch.bfloat16).contiguous()
    if head == "token":
        # transformers gives this head a bias; without one in the file it would warn.
        weights["score.bias"] = torch.zeros(2, dtype=torch.bfloat16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_config(model, head), indent=2) + "\n")
    if temperature is not None:
        generation = {
            "do_sample": True,
            "temperature": temperature,
            "bos_token_id": tokenizer.token_id(tokenizer.BOS),
            "eos_token_id": tokenizer.token_id(tokenizer.EOS),
            "pad_token_id": tokenizer.token_id(tokenizer.PAD),
        }
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    tokenizer.save(folder)


def load(folder: Path) -> Llama:
    """Read what `save` wrote, in float32."""
    config = json.loads((folder / "config.json").read_text())
    size = Size(
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["intermediate_size"],
        config["vocab_size"],
    )
    weights = {
        n.removeprefix("model."): w.float() for n, w in load_file(folder / "model.safetensors").items()
    }
    weights.pop("score.bias", None)
    labels = weights["score.weight"].shape[0] if "score.weight" in weights else 0
    model = Llama(size, labels)
    model.load_state_dict(weights)
    return model.eval()


def state(model: Llama) -> dict[str, Any]:
    """Shape and weights, for checkpoints."""
    return {"size": asdict(model.size), "weights": model.state_dict()}


def from_state(saved: Mapping[str, Any]) -> Llama:
    """The model of `state`."""
    labels = saved["weights"]["score.weight"].shape[0] if "score.weight" in saved["weights"] else 0
    model = Llama(Size(**saved["size"]), labels)
    model.load_state_dict(saved["weights"])
    return model
