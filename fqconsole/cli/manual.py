"""What `--help` says below the options of each command: what it writes, its exit codes, and examples."""

from dataclasses import dataclass

NOTHING = "nothing"
LOOK = "0 done, 1 it failed, 2 usage"
JOB = (
    "0 done, 1 the job failed, 2 usage, 3 predicted not to fit, 4 out of memory or device lost, "
    "129/130/143 ended by a signal"
)
RUN = "a run in the record"


@dataclass(frozen=True)
class Page:
    """`writes` are files and rows that stay; what is printed is no part of it."""

    writes: str
    exits: str
    examples: tuple[str, ...]


PAGES: dict[str, Page] = {
    "models list": Page(NOTHING, LOOK, ("fqconsole models", "fqconsole models list --folder /srv/models")),
    "models show": Page(NOTHING, LOOK, ("fqconsole models show demo", "fqconsole models show Qwen/Qwen3-8B")),
    "models download": Page(
        f"the model in the Hugging Face cache, and {RUN}", JOB, ("fqconsole models download Qwen/Qwen3-8B",)
    ),
    "fit": Page(
        "nothing; --probe keeps what it measured of this machine",
        "0 computed, 2 usage, 3 does not fit (only where one option was asked for)",
        (
            "fqconsole fit demo",
            "fqconsole fit Qwen/Qwen3-8B --bits 4 --gpus 1 --gpu h100-80gb",
            "fqconsole fit --probe",
        ),
    ),
    "plan": Page(
        "what it measured, in the cache folder; --save a plan file",
        JOB,
        ("fqconsole plan demo --target-bits 3.6", "fqconsole plan demo --max-loss 1% --save plan.toml"),
    ),
    "quantize": Page(
        f"the checkpoint in a new folder, and {RUN}",
        JOB,
        (
            "fqconsole quantize demo --bits 4",
            "fqconsole quantize demo --target-bits 3.6 --out demo-small",
            "fqconsole quantize --resume r0012",
        ),
    ),
    "verify": Page(
        NOTHING, "0 sound, 1 not sound, 2 usage", ("fqconsole verify r0012", "fqconsole verify r0012 --all")
    ),
    "evaluate": Page(RUN, JOB, ("fqconsole evaluate r0012", "fqconsole evaluate demo-int4 --reference demo")),
    "export": Page("the exported model", JOB, ("fqconsole export r0012 --help",)),
    "generate": Page(
        RUN,
        JOB,
        (
            'fqconsole generate r0012 --prompt "Once"',
            "fqconsole generate r0012 --compare demo --greedy",
            "echo Once | fqconsole generate demo --prompt - > story.txt",
        ),
    ),
    "api": Page(f"{RUN} for each answer", JOB, ("fqconsole api r0012",)),
    "serve-command": Page(NOTHING, LOOK, ("fqconsole serve-command r0012",)),
    "runs list": Page(
        NOTHING, LOOK, ("fqconsole runs", 'fqconsole runs list "bits<=4 model:qwen status:done"')
    ),
    "runs show": Page(NOTHING, LOOK, ("fqconsole runs show r0012",)),
    "runs compare": Page(NOTHING, LOOK, ("fqconsole runs compare r0012 r0015",)),
    "runs export": Page(
        "--out FILE", LOOK, ("fqconsole runs export r0012 r0015 --format html --out report.html",)
    ),
    "runs note": Page(
        "the note in the record", LOOK, ('fqconsole runs note r0012 "the good one" --tag demo',)
    ),
    "runs delete": Page(
        "the record loses these runs; checkpoints stay", LOOK, ("fqconsole runs delete r0012 --yes",)
    ),
    "runs backup": Page("FILE", LOOK, ("fqconsole runs backup runs-copy.db",)),
    "runs path": Page(NOTHING, LOOK, ("fqconsole runs path r0012",)),
    "runs prune": Page("the record loses what is old", LOOK, ("fqconsole runs prune --help",)),
    "gpus": Page(NOTHING, LOOK, ("fqconsole gpus", "fqconsole gpus --watch", "fqconsole gpus --json")),
    "demo": Page("a checkpoint and three runs", JOB, ("fqconsole demo",)),
    "doctor": Page(NOTHING, "0 all is well, 1 something needed is missing", ("fqconsole doctor --deep",)),
    "config show": Page(NOTHING, LOOK, ("fqconsole config show", "fqconsole --ascii config show --json")),
    "config validate": Page(NOTHING, "0 sound, 2 something is wrong", ("fqconsole config validate",)),
    "config path": Page(NOTHING, LOOK, ("fqconsole config path",)),
    "config schema": Page(NOTHING, LOOK, ("fqconsole config schema > config.schema.json",)),
    "config init": Page("config.toml, where there is none yet", LOOK, ("fqconsole config init",)),
    "paths": Page(NOTHING, LOOK, ("fqconsole paths --json",)),
    "replay": Page(
        NOTHING,
        "0 you quit, 2 usage or no terminal, 129/130/143 ended by a signal",
        ("fqconsole replay", "fqconsole replay evening.jsonl --speed 4"),
    ),
    "serve": Page(
        "what the consoles in its windows write",
        "1 the port is used, 2 usage, 129/130/143 ended by a signal",
        ("fqconsole serve --port 0", "fqconsole serve --replay"),
    ),
    "shot": Page("the SVG file", LOOK, ("fqconsole shot fit --press enter --out fit.svg",)),
    "help": Page(NOTHING, LOOK, ("fqconsole help quantize", "fqconsole help runs export")),
}


def below_options(words: str) -> str | None:
    """The end of a command's help, the examples not wrapped anew; None for a command without a page."""
    page = PAGES.get(words)
    if page is None:
        return None
    examples = "\n".join(f"  {line}" for line in page.examples)
    return f"Writes: {page.writes}.\n\nExit codes: {page.exits}.\n\n\b\nExamples:\n{examples}"
