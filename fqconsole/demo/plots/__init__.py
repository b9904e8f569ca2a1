"""The plots of the stories: counting things, getting out of trouble, being good to each other."""

from fqconsole.demo.grammar import Plot
from fqconsole.demo.plots.counting import COUNTING_PLOTS
from fqconsole.demo.plots.kindness import KINDNESS_PLOTS
from fqconsole.demo.plots.skill import SKILL_PLOTS
from fqconsole.demo.plots.trouble import TROUBLE_PLOTS

PLOTS: tuple[Plot, ...] = (*COUNTING_PLOTS, *TROUBLE_PLOTS, *KINDNESS_PLOTS, *SKILL_PLOTS)

__all__ = ["PLOTS"]
