"""`mull data rollouts`: samples of problems in a file, from which several recipes can learn."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mull.training.told import AsJson, tell, told

app = typer.Typer()


@app.command()
def rollouts(
    model: Annotated[str, typer.Option(help="Folder or Hugging Face name; with --url, its name there.")],
    out: Annotated[Path, typer.Option(help="File of the samples, one problem a line.")],
    problems: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Problems as JSON Lines.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Stream of the bundled task, instead of --problems.", show_default="1")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="How many problems.", show_default="all of a file, 100 of a stream"),
    ] = None,
    n: Annotated[int, typer.Option(min=1, help="Samples of each problem.")] = 16,
    temperature: Annotated[float, typer.Option(min=0)] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a sample.")] = 512,
    logprobs: Annotated[bool, typer.Option("--logprobs", help="Keep each sample's log-probability.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Ask this OpenAI-compatible server, as in http://127.0.0.1:8000/v1.")
    ] = None,
    ttc: Annotated[
        str | None,
        typer.Option(help="Strategy of a mull server as JSON: its searches are the samples.", metavar="JSON"),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable with the server's key.")
    ] = None,
    sampling_seed: Annotated[int, typer.Option(help="Of the samples.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Sample problems and judge the answers; called again after a kill, it goes on."""
    from mull.training.data.problems import Generated, ProblemSource, load
    from mull.training.rollouts import roll_out

    if problems is not None and seed is not None:
        raise typer.BadParameter("--problems and --seed exclude each other")
    how = _how(
        n=n,
        temperature=temperature,
        max_tokens=max_tokens,
        logprobs=logprobs,
        url=url,
        served_as=None if url is None else model,
        ttc=None if ttc is None else _strategy(ttc),
        api_key_env=api_key_env,
    )
    if problems is not None:
        source = ProblemSource(file=problems, limit=count)
    else:
        source = ProblemSource(generate=Generated(seed=1 if seed is None else seed, count=count or 100))
    with told():
        rows = roll_out(load(source), out, model=model, rollouts=how, seed=sampling_seed)
    verdicts = [sample.right for row in rows for sample in row.samples]
    judged = [right for right in verdicts if right is not None]
    right = sum(judged) / len(judged) if judged else None
    share = "" if right is None else f", {right:.1%} right"
    line = f"{out}: {len(verdicts)} samples of {len(rows)} problems{share}"
    tell(line, as_json, file=str(out), samples=len(verdicts), problems=len(rows), right=right)


def _strategy(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--ttc is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise typer.BadParameter('--ttc is an object, as in {"strategy": "beam_search"}')
    return found


def _how(**fields: Any) -> Any:
    """The section `rollouts` of a recipe; what it refuses is told of the option."""
    from pydantic import ValidationError

    from mull.training.rollouts import Rollouts

    try:
        return Rollouts(**fields)
    except ValidationError as error:
        fault = error.errors()[0]
        name = "--" + str(fault["loc"][0]).replace("_", "-") + ": " if fault["loc"] else ""
        raise typer.BadParameter(name + fault["msg"].removeprefix("Value error, ")) from None
