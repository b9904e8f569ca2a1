"""How the page looks: light and dark as the reader's system has it, and on paper."""

STYLE = """
:root { color-scheme: light dark;
        --ink: #1c2430; --quiet: #5b6472; --line: #d5dae1; --paper: #fff; --card: #f5f7fa;
        --bar: #2f6fb0; --good: #1c7a3f; --bad: #b3261e; --mark: #fff0b8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dde3ea; --quiet: #9aa4b2; --line: #3a4350; --paper: #14181d; --card: #1c222a;
          --bar: #6aa5e0; --good: #6fcf8f; --bad: #ff8a80; --mark: #57480f; }
}
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.4rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; color: var(--quiet) }
td.number, th.number { text-align: right; white-space: nowrap }
.quiet { color: var(--quiet) } .better { color: var(--good) } .worse { color: var(--bad) }
.wide { overflow-x: auto }
.grid { display: grid; gap: 1rem 2rem;
        grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem }
.card h3 { margin-top: 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 14px/1.5 ui-monospace, monospace; margin: .4rem 0;
      border-left: 3px solid var(--line); padding-left: .8rem }
mark { background: var(--mark); color: inherit; text-decoration: underline; text-decoration-style: dotted }
ul.short li { margin: .3rem 0 }
svg { width: 100%; max-width: 640px; font: 12px system-ui, sans-serif; fill: var(--ink); display: block }
svg .label { text-anchor: end } svg .middle { text-anchor: middle } svg .faint { fill: var(--quiet) }
svg .bar, svg .best { fill: var(--bar); stroke: var(--bar) } svg .hollow { fill-opacity: .15 }
svg .whisker, svg .front { stroke: var(--ink); fill: none } svg .front { stroke-dasharray: 3 4; opacity: .5 }
svg .grid-line { stroke: var(--line) }
svg .other { fill: var(--paper); stroke: var(--quiet); stroke-width: 1.5 }
svg .base { fill: var(--ink) } svg .strong { font-weight: 600 }
svg .cell { fill: var(--bar) } svg .on { fill: #fff } svg .dot { fill: var(--bar); fill-opacity: .55 }
svg .finer { fill: var(--bad) }
details summary { cursor: pointer; margin: .6rem 0 }
@media print {
  :root { color-scheme: light; --ink: #000; --quiet: #444; --line: #bbb; --paper: #fff; --card: #fff;
          --bar: #2f6fb0; --good: #14602f; --bad: #8f1d17; --mark: #fff0b8; }
  body { font-size: 11px; max-width: none; margin: 0; padding: 0 }
  h2, h3 { break-after: avoid } svg, .card, tr { break-inside: avoid }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
"""
