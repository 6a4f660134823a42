"""How a page looks: light, dark, on a telephone, and printed."""

STYLE = """
:root {
  --text: #1b1f24; --soft: #57606a; --ground: #ffffff; --line: #d0d7de; --panel: #f6f8fa;
  --delivered: #0072b2; --waiting: #b87500; --rejected: #b2182b; --read: #7d8590; --good: #1a7f37;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e6edf3; --soft: #9da7b1; --ground: #0d1117; --line: #30363d; --panel: #161b22;
    --delivered: #56b4e9; --waiting: #e69f00; --rejected: #ff7b72; --read: #8b949e;
    --good: #3fb950;
  }
}
@media print {
  :root {
    --text: #000; --soft: #333; --ground: #fff; --line: #999; --panel: #fff;
    --delivered: #0072b2; --waiting: #b87500; --rejected: #b2182b; --read: #7d8590; --good: #1a7f37;
  }
  svg, .answer { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
* { box-sizing: border-box; }
body {
  font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground);
  max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; overflow-wrap: break-word;
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 0; }
section { margin: 0 0 2rem; }
.axes, .bars li { break-inside: avoid; }
p { margin: .15rem 0 .4rem; color: var(--soft); }
.answer {
  background: var(--panel); border-left: .3rem solid var(--soft); margin: 0 0 .75rem;
  padding: .6rem .9rem;
}
.answer + section:not(.answer) { margin-top: 2rem; }
.answer h2 { font-size: .9rem; font-weight: 500; color: var(--soft); }
.answer .short { font-size: 1.1rem; font-weight: 600; color: var(--text); margin: 0; }
.good { border-left-color: var(--good); } .good .sign { color: var(--good); }
.bad { border-left-color: var(--rejected); } .bad .sign { color: var(--rejected); }
.open { border-left-color: var(--waiting); } .open .sign { color: var(--waiting); }
pre {
  font: .85rem/1.5 ui-monospace, monospace; margin: .4rem 0 0; padding: .4rem .6rem;
  background: var(--ground); border: 1px solid var(--line); white-space: pre-wrap;
  overflow-wrap: anywhere;
}
code, .cid { font-family: ui-monospace, monospace; }
.cid { font-size: .75rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .85rem; margin: .4rem 0 0; }
th { text-align: left; font-weight: 500; color: var(--soft); }
th, td { padding: .2rem 1.2rem .2rem 0; vertical-align: top; border-top: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; }
td.word { white-space: nowrap; }
rect.delivered { fill: var(--delivered); } rect.waiting { fill: var(--waiting); }
rect.rejected { fill: var(--rejected); } rect.read { fill: var(--read); }
polyline {
  fill: none; stroke: var(--delivered); stroke-width: 2; vector-effect: non-scaling-stroke;
}
polyline.read { stroke: var(--read); }
.across { stroke: var(--line); vector-effect: non-scaling-stroke; }
ul { list-style: none; margin: .5rem 0 0; padding: 0; }
.bars li {
  display: grid; grid-template-columns: minmax(9rem, 15rem) 1fr minmax(4rem, auto); gap: 0 .75rem;
  align-items: center; padding: .15rem 0; font-size: .9rem;
}
.bars svg { width: 100%; height: 1rem; display: block; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.25rem; font-size: .85rem; }
.legend svg { width: .8rem; height: .8rem; margin-right: .4rem; }
.axes {
  display: grid; grid-template: "title title" auto "y picture" 14rem "none x" 1.4rem "none below"
  auto / auto 1fr; column-gap: .5rem; margin-top: .4rem; font-size: .8rem; color: var(--soft);
}
.axes p { margin: 0 0 .5rem; }
.axes > svg { grid-area: picture; width: 100%; height: 100%; overflow: visible; }
.y-title { grid-area: title; }
.y { grid-area: y; position: relative; min-width: 4.5rem; }
.y span { position: absolute; right: 0; transform: translateY(50%); line-height: 1; }
.x { grid-area: x; position: relative; margin-top: .2rem; }
.x span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.x span:first-child { transform: none; } .x span:last-child { transform: translateX(-100%); }
.x-title { grid-area: below; text-align: center; }
@media (max-width: 34rem) {
  .bars li { grid-template-columns: 1fr minmax(4rem, auto); }
  .bars .label { grid-column: 1 / -1; }
  .axes { grid-template-rows: auto 11rem 1.4rem auto; }
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tr { border-top: 1px solid var(--line); padding: .3rem 0; }
  td { border: 0; padding: 0; } td.number { text-align: left; }
  td[data-heading]:not([data-heading=""])::before {
    content: attr(data-heading) ": "; color: var(--soft); font: .75rem system-ui, sans-serif;
  }
  td:only-child::before { display: none; }
}
"""
"""CSS; the colours of a shape are those of what it stands for."""
