"""What the cards of the bundled models say whatever was measured."""

from dataclasses import dataclass

from mull.training.bundled.wording import CHECK, CRITIQUE, REVISE

TASK = (
    "The task is synthetic: grade-school word problems of 2 to 10 steps about who has how many, with numbers "
    "up to 99 (`mull data problems`). Outside of it the model knows nothing."
)
SOLVER = "Llama, 6 layers of width 192 with 6 heads, tied embeddings, 2.8 M parameters, its own tokenizer"
VERIFIER = "Llama, 6 layers of width 192 with 6 heads, 2.8 M parameters, the policy's tokenizer"


@dataclass(frozen=True, slots=True)
class Text:
    """Fixed parts of one card."""

    title: str
    summary: str
    architecture: str
    commands: tuple[str, ...]
    notes: tuple[str, ...]


POLICY = Text(
    title="mull-tiny: the bundled policy",
    summary=(
        "A language model of under three million parameters, trained from scratch on a CPU, that solves word "
        "problems step by step: one line a step, then `The answer is \\boxed{...}.` Asked in a second turn, "
        "it says whether its answer is right, which line is wrong first, and writes a corrected answer. It "
        "is bundled so that test-time compute can be tried and measured without a download. Imperfect on "
        "purpose: training stops while it still errs often enough for search to have something to find. "
        f"{TASK}"
    ),
    architecture=SOLVER,
    commands=("mull train policy", "mull train evaluate --cards"),
    notes=(
        "One user turn is the question and a newline; the answer follows. System prompts and earlier turns "
        "are rendered, but were rare in training.",
        f"Second turns are three sentences learned by heart: `{CHECK}`, `{CRITIQUE}` and, after a critique, "
        f"`{REVISE}` Other wordings were never seen.",
        "Verdicts were learned with the help of exact labels at every token of the answer, through a score "
        "head that is not part of the model.",
        "Text outside of the task's vocabulary is encoded byte by byte, and answered with nonsense.",
    ),
)
PRM = Text(
    title="The bundled process reward model",
    summary=(
        "Scores each step of a solution: the probability of label 1 (`good`) at the newline that ends a step "
        "is that of the step and all before it being correct. The last step, which has no newline, is scored "
        f"at the last token. {TASK}"
    ),
    architecture=f"{VERIFIER}; LlamaForTokenClassification with the labels bad and good",
    commands=("mull train solver", "mull train prm", "mull train evaluate --cards"),
    notes=(
        "A step is correct when it computes, from values already known, a quantity not computed before, and "
        "is right. True steps that the answer does not need count as correct, repeated ones do not.",
        "Labels are exact, by a checker that knows the graph behind the problem, and given at every token.",
        "It was trained on solutions of the policy and on corrupted ones, of no other policy.",
    ),
)
ORM = Text(
    title="The bundled outcome reward model",
    summary=(
        "Scores a finished solution: the sigmoid of its one output, read at the end-of-sequence token or, "
        "where that is left out, at the last token of the answer, is the probability that the answer is "
        f"right. {TASK}"
    ),
    architecture=f"{VERIFIER}; LlamaForSequenceClassification with one label",
    commands=("mull train orm", "mull train evaluate --cards"),
    notes=("It judges whether the path is correct; a wrong path to the right answer is rare.",),
)
SOLVER_CARD = Text(
    title="The bundled likelihood verifier",
    summary=(
        "A language model that solves the same problems as the policy, trained longer and more often right. "
        "It is no trained verifier: a step is scored by the probability that this model gives to its tokens, "
        f"a solution by its least likely step. {TASK}"
    ),
    architecture=f"{VERIFIER}; LlamaForCausalLM with tied embeddings",
    commands=("mull train solver", "mull train prm", "mull train likelihood", "mull train evaluate --cards"),
    notes=(
        "A correct but unusual wording counts as unlikely: it fits policies that write as the bundled one.",
        "The first-error threshold (likelihood of a step below 0.05) was chosen on 60 other problems.",
    ),
)
TEXTS = {"policy": POLICY, "solver": SOLVER_CARD, "prm": PRM, "orm": ORM}
