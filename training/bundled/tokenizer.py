"""The tokenizer: words, numbers up to 199 and frequent phrases of the task are one token, all else bytes."""

import json
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from mull.training.bundled import problems
from mull.training.bundled.checker import END
from mull.training.bundled.pieces import PATTERN, PHRASES, split

PAD, BOS, EOS = "<pad>", "<bos>", END
MAX_NUMBER = 199
CONTEXT = 1024

SIGNS = ("\n", ". ", ":", "\\boxed{", "}.", " +", " -", " *", " /", " =", ".", ",", "?", "}")
OTHER_WORDS = (
    "You are a helpful assistant", "Solve the problem step by step", "Think step by step",
    "You are a careful math tutor", "Put the final answer in", "Answer the question",
)  # fmt: skip
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Solve the problem step by step.",
    "Think step by step. Put the final answer in \\boxed{}.",
    "You are a careful math tutor.",
    "Answer the question.",
)

# One user turn is the question and a newline. Turns are joined; only the assistant's end with
# the end-of-sequence token, left out of a last unfinished one (continue_final_message). Tools, of which the
# models have learnt nothing, are a line each before all turns, and calls are written as others write them.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for tool in tools or [] %}{{ tool | tojson }}{{ '\\n' }}{% endfor %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] or '' }}"
    "{% for call in message['tool_calls'] or [] %}"
    "<tool_call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}</tool_call>"
    "{% endfor %}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ (message['content'] or '') | trim }}{{ '\\n' }}{% endif %}"
    "{% endfor %}"
)


def _bytes_as_text() -> dict[int, str]:
    """The printable stand-in of each byte in byte-level vocabularies, as introduced with GPT-2."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in shown}
    hidden = (b for b in range(256) if b not in table)
    return table | {b: chr(256 + n) for n, b in enumerate(hidden)}


def vocabulary() -> list[str]:
    """Every token as plain text (single bytes aside), in the order of its id after specials and bytes."""
    texts = [w for group in problems.WORDING.values() for w in group]
    texts += [
        *problems.FACTOR_WORDING.values(),
        *problems.TARGET_WORDING,
        *problems.TOTAL_WORDING,
        problems.TOTAL_LINE,
        *OTHER_WORDS,
    ]
    words: dict[str, None] = dict.fromkeys((*SIGNS, *PHRASES))
    words |= dict.fromkeys(str(n) for n in range(MAX_NUMBER + 1))
    words |= dict.fromkeys(f" {n}" for n in range(MAX_NUMBER + 1))
    for name in problems.NAMES:
        words |= {name: None, f" {name}": None}
    words |= dict.fromkeys(f" {item}" for item in problems.ITEMS)
    words[problems.TOTAL] = None
    for text in texts:
        words |= dict.fromkeys(split(text.replace("{", "").replace("}", "")))
    return [w for w in words if len(w.encode()) > 1 or w.isdigit()]


@cache
def build() -> Tokenizer:
    """The tokenizer, the same at every call."""
    table = _bytes_as_text()
    pieces = [PAD, BOS, EOS, *table.values()]
    pieces += ["".join(table[b] for b in word.encode()) for word in vocabulary()]
    vocab: dict[str, int] = {}
    for piece in pieces:
        vocab.setdefault(piece, len(vocab))
    # With ignore_merges a pre-token in the vocabulary is one token; anything else falls apart into bytes.
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[], ignore_merges=True))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (PAD, BOS, EOS)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, vocab[BOS])]
    )
    return tokenizer


def encode(text: str) -> list[int]:
    """Token ids of `text` alone, without the beginning-of-sequence token."""
    ids: list[int] = build().encode(text, add_special_tokens=False).ids
    return ids


def decode(ids: list[int]) -> str:
    """Text of `ids`, special tokens left out."""
    text: str = build().decode(ids, skip_special_tokens=True)
    return text


@cache
def piece_ids() -> dict[str, int]:
    """Id of every single token by its text; the pieces of solutions are among them."""
    known = {word: encode(word)[0] for word in vocabulary()}
    known |= {sign: encode(sign)[0] for sign in SIGNS}
    return known | {special: token_id(special) for special in (PAD, BOS, EOS)}


@cache
def id_pieces() -> dict[int, str]:
    """Text of every id of `piece_ids`."""
    return {i: p for p, i in piece_ids().items()}


@cache
def token_id(token: str) -> int:
    """Id of a special token."""
    found = build().token_to_id(token)
    if found is None:
        raise KeyError(token)
    return found


def prompt_ids(question: str) -> list[int]:
    """Ids of the prompt of one user turn, as the chat template gives them."""
    return [token_id(BOS), *encode(question.strip()), *encode("\n")]


def save(folder: Path) -> None:
    """Write tokenizer.json, its configuration and the chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    build().save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
