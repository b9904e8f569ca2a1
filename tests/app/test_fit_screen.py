"""The Fit screen by keys: choices, goals, simulated GPUs, and where Enter leads."""

from dataclasses import replace

import msgspec
from textual.widgets import Static

from fqconsole.app import fit_view
from fqconsole.app.console import FqConsole
from fqconsole.app.messages import FitChanged
from fqconsole.app.model_parts import ModelParts
from fqconsole.app.screens.dialogs import Explanation, PickOne, Question
from fqconsole.app.widgets.choice_list import ChoiceList
from fqconsole.app.widgets.frontier_plot import FrontierPlot
from fqconsole.app.widgets.memory_breakdown import MemoryBreakdown
from fqconsole.app.widgets.option_table import OptionTable
from fqconsole.device_probe import Probe
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import CandidatesMeasured, JobDone, JobFailed, ProbeDone, Progress, StartPlan
from store import Store
from tests.app import fake_fit
from tests.app.conftest import settled
from tests.app.fake_plan import FakePlanner, quantize_events
from tests.app.fakes import DEMO, NOW, QWEN, FakeJob, JobScripts, entry, fake_services
from tests.app.run_seeds import seed
from tests.app.screen_driver import footer, notes, press


async def test_changing_a_choice_computes_everything_again():
    asked = []

    def preview(*arguments, **choice):
        asked.append(choice)
        return fake_fit.preview(*arguments, **choice)

    app = FqConsole(fake_services(preview=preview))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        asked.clear()
        await press(pilot, "right")
        assert app.workspace.choice.bits == 3
        await press(pilot, "down", "down", "down", "down", "left")
        assert app.workspace.choice.context == 256
        assert asked[-1]["context"] == 256
        assert asked[-1]["kv_bits"] == 16
        await press(pilot, "down", "right")
        assert (asked[-1]["batch"], app.workspace.preview.batch) == (2, 2)
        await press(pilot, "down", "right")
        assert asked[-1]["kv_bits"] == 8


async def test_another_model_starts_with_the_usual_choices():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "down", "down", "down", "down", "left", "escape", "j", "enter")
        assert app.workspace.description.id == QWEN.id
        assert app.workspace.choice.context is None
        assert app.workspace.preview.model == QWEN.id


async def test_the_fit_of_another_gpu_is_simulated_and_can_be_taken_back():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "j", "enter", "s")
        assert isinstance(app.screen, PickOne)
        await press(pilot, "down", "enter")
        assert app.workspace.preview.capacity.name == "a100-40gb"
        assert "not here" in str(app.screen.query_one("#fit-memory").border_title)
        await press(pilot, "s", "enter")
        assert app.workspace.preview.capacity.kind == "host"


async def test_every_term_is_explained():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "e")
        assert isinstance(app.screen, Explanation)
        text = "\n".join(str(widget.render()) for widget in app.screen.query(Static))
        assert "embed, lm_head" in text


async def test_sixteen_bits_that_fit_open_a_session_and_those_that_do_not_ask_first():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "j", "j", "enter", "t")
        assert isinstance(app.screen, Question)
        await press(pilot, "enter")
        assert app.current_mode == "fit"
        await press(pilot, "t", "tab", "enter")
        assert app.current_mode == "session"
        assert app.workspace.session.bits == 16
        await press(pilot, "ctrl+o", "1", "g", "enter", "t")
        assert app.workspace.session.path == DEMO.path


async def test_enter_at_sixteen_bits_talks_instead_of_quantizing():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "left", "left")
        assert "⏎ talk" in footer(app)
        await press(pilot, "enter")
        assert app.current_mode == "session"


async def test_a_preview_that_fails_is_a_sentence_in_its_panel():
    def preview(*_arguments, **_choice):
        raise OperatorError("The attention of this model is unknown.", "Update fqconsole.")

    app = FqConsole(fake_services(entries=[entry(DEMO)]))
    async with app.run_test() as pilot:
        await settled(pilot)
        object.__setattr__(app.services, "preview", preview)
        await press(pilot, "enter")
        assert "attention of this model" in str(app.screen.query_one(MemoryBreakdown).render())


async def test_fit_without_a_model_leads_back_to_the_list():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "2")
        assert app.screen.query_one("#fit-empty").display
        await press(pilot, "e", "t", "right", "enter")
        assert app.current_mode == "models"


# Goals


def planner_of(plans):
    return lambda about, mode: plans.setdefault((about.id, mode), FakePlanner(about))


async def test_a_goal_is_measured_once_by_enter_and_then_answered_at_once():
    plans = {}
    measured = CandidatesMeasured(NOW, "/cache/plans/demo.json", 1.0)
    jobs = JobScripts(
        plan=FakeJob((Progress(NOW, "plan", 1.0, 4.0), measured, JobDone(NOW, "", "done")), hold=1)
    )
    services = fake_services(jobs=jobs, planner=lambda about, _mode: plans.get(about.id))
    app = FqConsole(services)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "up", "right")
        plot = app.screen.query_one(FrontierPlot)
        assert "⏎ measures that once" in str(plot.render())
        assert "⏎ measure" in footer(app)
        await press(pilot, "enter")
        request, job = jobs.started[0]
        assert request == StartPlan(model_id="demo", model_path=DEMO.path, mode="best")
        assert "Measuring what each matrix would lose: 25%" in str(plot.render())
        await press(pilot, "enter")
        assert len(jobs.started) == 1
        plans["demo"] = FakePlanner(DEMO)
        job.released.set()
        await app.jobs.settle()
        await settled(pilot)
        assert "predicted loss" in str(app.screen.query_one("#fit-frontier-panel").border_title)
        assert app.workspace.planned.plan.bits == 3
        await press(pilot, "down", *("right",) * 2, "enter")
        assert app.workspace.choice.target_bits == 4.5
        assert app.current_mode == "quantize"


async def test_a_measurement_that_fails_says_so_and_can_be_started_again():
    failed = JobFailed(NOW, "", "failed", "The disk is full.", "Free some space.", 1)
    jobs = JobScripts(plan=FakeJob((failed,)))
    app = FqConsole(fake_services(jobs=jobs))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "up", "right", "enter")
        await app.jobs.settle()
        await settled(pilot)
        assert "The disk is full." in str(app.screen.query_one(FrontierPlot).render())
        await press(pilot, "enter")
        assert len(jobs.started) == 2


async def test_every_goal_makes_its_plan_and_its_memory_is_shown():
    app = FqConsole(fake_services(planner=planner_of({})))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "up")
        for goal, target, bits in (
            ("size", "4 bits per weight", 3),
            ("room", "fits this machine's memory", 8),
            ("loss", "loss up to 1 %", 4),
        ):
            await press(pilot, "right")
            assert app.workspace.choice.goal == goal
            assert (app.workspace.planned.plan.target, app.workspace.planned.plan.bits) == (target, bits)
            assert "planned matrices" in str(app.screen.query_one(MemoryBreakdown).render())
        await press(pilot, "left", "left", "left")
        assert app.workspace.planned is None
        assert not app.screen.query_one("#fit-frontier-panel").display


async def test_a_goal_that_quantizes_nothing_leads_to_talking_in_sixteen_bits():
    app = FqConsole(fake_services(planner=planner_of({})))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "up", "right", "right", "right", "down", *("left",) * 6)
        app.post_message(FitChanged(replace(app.workspace.choice, max_loss=1e-9)))
        await settled(pilot)
        assert "⏎ talk" in footer(app)
        await press(pilot, "enter")
        assert app.current_mode == "session"
        assert app.workspace.session.bits == 16


async def test_a_goal_without_weights_says_where_to_get_them():
    hub = msgspec.structs.replace(QWEN, source="hub", path=None)
    app = FqConsole(fake_services(entries=[entry(QWEN)], describe=lambda _item: hub))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "up", "right")
        assert "d to download it" in str(app.screen.query_one(FrontierPlot).render())


async def test_going_back_to_a_model_finds_the_choices_it_had():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "right", *("down",) * 4, "left")
        mine = app.workspace.choice
        assert (mine.bits, mine.context) == (3, 256)
        await press(pilot, "escape", "j", "enter")
        assert app.workspace.description.id == QWEN.id
        await press(pilot, "escape", "k", "enter")
        assert app.workspace.choice == mine


# Head and experts


def rows(app):
    return str(app.screen.query_one(ChoiceList).render())


def option(app):
    return fit_view.chosen(app.workspace.preview, 4, 1)


async def test_head_and_experts_stand_only_where_the_model_has_them_and_go_into_the_preview():
    asked = []

    def preview(*arguments, **choice):
        asked.append(choice)
        return fake_fit.preview(*arguments, **choice)

    def parts(about):
        return ModelParts(head=about.id == "demo")

    app = FqConsole(fake_services(preview=preview, parts=parts))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        assert "Head      ◂ 16-bit ▸" in rows(app) and "Experts" not in rows(app)
        before = option(app).total_bytes_per_gpu
        await press(pilot, "down", "down", "down", "right")
        assert "Head      ◂ int8 ▸ tied: a copy" in rows(app)
        assert asked[-1]["head"] == 8
        copy = DEMO.vocab_size * DEMO.hidden_size
        assert option(app).total_bytes_per_gpu == before + copy
        assert "head int8" in str(app.screen.query_one("#fit-options").border_title)
        await press(pilot, "escape", "j", "enter")  # another model begins as usual
        assert asked[-1]["head"] == 16
        assert "Head" not in rows(app)
        await press(pilot, "escape", "k", "enter")
        assert asked[-1]["head"] == 8


async def test_a_goal_is_planned_with_the_head_and_the_experts_that_were_chosen():
    asked = []

    def planner(about, choice):
        asked.append((choice.goal, choice.widths, choice.head, choice.experts))
        return FakePlanner(about)

    app = FqConsole(fake_services(planner=planner, parts=lambda _about: ModelParts(True, True)))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "up", "right", "down", "down", "right", "down", "down", "right", "right")
        await press(pilot, "down", "right")
        assert asked[-1] == ("size", (4, 8, 16), 4, "layer")
        assert "Experts   ◂ layer ▸ one each" in rows(app)


# What is measured


async def test_a_probe_is_kept_and_changes_the_answer():
    kept, asked = [], []
    probe = Probe("host x", "", "2.13.0", "3.7.1", NOW, 400 << 20)
    jobs = JobScripts(probe=FakeJob((ProbeDone(NOW, probe), JobDone(NOW, "", "done"))))

    def preview(*arguments, **choice):
        asked.append(choice)
        return fake_fit.preview(*arguments, **choice)

    app = FqConsole(fake_services(jobs=jobs, keep_probe=kept.append, preview=preview))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        before = len(asked)
        await press(pilot, "p")
        await app.jobs.settle()
        await settled(pilot)
        assert kept == [probe]
        assert len(asked) > before
        assert any("about ten seconds" in text for text in notes(app))


async def test_a_probe_waits_for_a_quiet_machine():
    job = FakeJob(quantize_events(DEMO), hold=20)
    jobs = JobScripts(quantize=job)
    app = FqConsole(fake_services(jobs=jobs))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "enter", "enter", "2", "p")
        assert len(jobs.started) == 1
        assert any("needs a quiet machine" in text for text in notes(app))
        job.released.set()


async def test_what_was_measured_last_stands_beside_every_width(tmp_path):
    def open_store():
        return Store.open(tmp_path / "runs.db")

    with open_store() as store:
        seed(store, tmp_path)
    app = FqConsole(fake_services(open_store=open_store))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "j", "enter")
        table = str(app.screen.query_one(OptionTable).render())
        assert "last measured" in table
        assert "r0002   7.8 GiB  +1.3 %" in table
        assert "r0003  17.4 GiB  +0.6 %" in table


async def test_a_measurement_can_be_ended_and_begun_again():
    job = FakeJob((Progress(NOW, "plan", 1.0, 4.0), JobDone(NOW, "", "done")), hold=1)
    jobs = JobScripts(plan=job)
    app = FqConsole(fake_services(jobs=jobs))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "up", "right", "enter")
        assert "x cancel" in footer(app) and "⏎" not in footer(app)
        await press(pilot, "x")
        await app.jobs.settle()
        await settled(pilot)
        assert job.cancelled
        assert "⏎ measure" in footer(app) and "x cancel" not in footer(app)
