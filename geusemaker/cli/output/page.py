"""How the page of a history looks: light and dark as the reader's system has it, on screen and on paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1f2328;--dim:#59636e;--paper:#fff;--card:#f6f8fa;--line:#d1d9e0;--good:#1a7f37;
--bad:#cf222e;--open:#9a6700;--way:#0969da;--on:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9198a1;--paper:#0d1117;--card:#151b23;--line:#3d444d;
--good:#3fb950;--bad:#f85149;--open:#d29922;--way:#58a6ff;--on:#0d1117}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{margin:0;font-size:1.7rem}header p{margin:.2rem 0}.dim{color:var(--dim)}
nav{overflow-x:auto;margin:1rem 0 .3rem;border:1px solid var(--line);border-radius:8px;padding:.6rem 0}
svg{display:block;margin:0 auto;overflow:visible}svg text{text-anchor:middle;fill:var(--ink);
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
svg .number{font-weight:600;font-size:14px}svg .kind{font-size:11px;fill:var(--dim)}
.axis{stroke:var(--line);stroke-width:2}.arc{fill:none;stroke-width:2;stroke:var(--way)}
.arc.by-itself{stroke:var(--open);stroke-dasharray:5 4}.tip{fill:var(--dim)}
.healthy circle{fill:var(--good)}.failed circle{fill:var(--bad)}.unknown .body{fill:var(--open)}
.ring{fill:none!important;stroke:var(--good);stroke-width:2.5}.mark{fill:none;stroke:var(--on);stroke-width:2.2}
a:focus{outline:none}a:focus-visible circle,a:focus-visible .body,a:hover circle{stroke:var(--ink);stroke-width:2.5}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;list-style:none;padding:0;margin:0 0 1.5rem;color:var(--dim);
font-size:13px}
.legend i{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.4em;background:var(--good)}
.legend .failed i{background:var(--bad)}.legend .unknown i{background:var(--open);border-radius:0}
.legend .active i{outline:2px solid var(--good);outline-offset:2px}
.legend b{display:inline-block;width:1.8em;border-top:2px solid var(--way);margin:0 .4em .25em 0}
.legend .by-itself b{border-top:2px dashed var(--open)}
article{background:var(--card);border:1px solid var(--line);border-left:5px solid var(--good);border-radius:6px;
margin:0 0 .8rem;padding:.6rem 1rem}
article.failed{border-left-color:var(--bad)}article.unknown{border-left-color:var(--open)}
article:target,article:focus{outline:2px solid var(--way)}
h2{margin:0 0 .3rem;font-size:1.15rem}h2 small{font-weight:400;color:var(--dim);font-size:.9rem}
h3{margin:.6rem 0 .2rem;font-size:.9rem;color:var(--dim)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}dt{color:var(--dim)}
dd{margin:0;overflow-wrap:anywhere}
pre{margin:0;padding:.5rem .7rem;overflow-x:auto;border:1px solid var(--line);border-radius:4px;font-size:12.5px}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .7rem .25rem 0;vertical-align:top;
border-bottom:1px solid var(--line)}
@media(max-width:34rem){dl{grid-template-columns:1fr}dt{margin-top:.3rem}body{padding:.8rem}}
@media print{
:root{--ink:#000;--dim:#444;--paper:#fff;--card:#fff;--line:#999;--good:#1a7f37;--bad:#cf222e;--open:#9a6700;
--way:#0969da;--on:#fff}body{max-width:none;padding:0}nav{overflow:visible;border:0}svg{max-width:100%;height:auto}
article{break-inside:avoid}pre{white-space:pre-wrap}*{print-color-adjust:exact}}
"""
