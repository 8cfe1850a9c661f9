"use strict";
// The campaign dashboard: filters, linked charts, table.

const RUNS = DATA.runs;
const METRICS = ["ttft", "tpot", "itl", "e2el"];
const state = {
  filters: new Map(), search: "", selected: new Set(), load: "cap", curve: "output_throughput", band: "ttft", bandSeries: "",
  heat: "per_user", dist: "ttft", timeline: null, a: null, b: null, ab: "output_throughput", sort: null, down: false,
};

// Reading runs -------------------------------------------------------------------------------------------

const median = (run, m) => run.m[`median_${m}_ms`] ?? run.m[`p50_${m}_ms`];
function percentiles(run, m) {
  const found = [];
  for (const key of Object.keys(run.m)) {
    const match = key.startsWith("p") && key.endsWith(`_${m}_ms`) ? Number(key.slice(1, -m.length - 4)) : NaN;
    if (match > 50 && match < 100) found.push([match, run.m[key]]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}
/** True when a run has fewer answers than a percentile needs to be estimated with 99 % confidence. */
const fewFor = (run, p) => finite(run.m.completed) && finite(DATA.needs?.[p]) && run.m.completed < DATA.needs[p];
const tail = (run, m) => percentiles(run, m).filter(([p]) => p <= 99).pop()?.[1];
const lensOf = (run) => (run.input === null && run.output === null ? t("mixed") : `${run.input ?? "*"} → ${run.output ?? "*"}`);
/** A run's lengths and load, or its file name where others have the same. */
function brief(run, among) {
  const text = (r) => `${lensOf(r)} @${r.cap ?? (r.rate === null ? "inf" : r.rate + "/s")}`;
  return among.filter((other) => text(other) === text(run)).length > 1 ? run.name : text(run);
}
const levelOf = (run) => run.verdict?.level ?? "none";
const invalid = (run) => levelOf(run) === "INVALID";
// Means, best values and frontiers are of runs that have answers and are not INVALID.
const sound = (run) => !invalid(run) && run.m.completed !== 0;
const bad = (runs) => !runs.some(sound);
const caution = (runs) => runs.some((run) => sound(run) && levelOf(run) === "CAUTION");
/** The runs that a level shows: the sound ones, else all, marked. */
const used = (runs) => (bad(runs) ? runs : runs.filter(sound));
function perUser(run) {
  const tput = run.m.output_throughput;
  if (!finite(tput)) return undefined;
  // Requests in flight: Little's law where the mean latency is known, else the cap of a closed loop.
  const flight = finite(run.m.mean_e2el_ms) && finite(run.m.request_throughput)
    ? (run.m.request_throughput * run.m.mean_e2el_ms) / 1e3 : run.rate === null ? run.cap : undefined;
  return flight > 0 ? tput / flight : undefined;
}

const VALUES = {
  output_throughput: { name: "tok/s", get: (r) => r.m.output_throughput },
  total_token_throughput: { name: "in+out tok/s", get: (r) => r.m.total_token_throughput },
  request_throughput: { name: "req/s", get: (r) => r.m.request_throughput },
  request_goodput: { name: "goodput req/s", get: (r) => r.m.request_goodput },
  per_user: { name: "tok/s/user", get: perUser },
};
for (const m of METRICS) {
  VALUES[`median_${m}`] = { name: `${m.toUpperCase()} p50 ms`, get: (r) => median(r, m) };
  VALUES[`tail_${m}`] = { name: `${m.toUpperCase()} p99 ms`, get: (r) => tail(r, m) };
}
const known = () => Object.keys(VALUES).filter((key) => RUNS.some((run) => finite(VALUES[key].get(run))));

// Filters ------------------------------------------------------------------------------------------------

const FACETS = [
  ["model", (r) => r.model], ["backend", (r) => r.backend], ["lens", lensOf],
  ["cap", (r) => (r.cap === null ? t("unlimited") : String(r.cap))],
  ["rate", (r) => (r.rate === null ? "inf" : String(r.rate))], ["label", (r) => r.label ?? ""], ["verdict", levelOf],
];
const metaKeys = [...new Set(RUNS.flatMap((run) => Object.keys(run.meta)))].sort();
for (const key of metaKeys) FACETS.push(["meta:" + key, (r) => r.meta[key] ?? ""]);

const byNumber = (a, b) => (parseFloat(a) - parseFloat(b) || String(a).localeCompare(String(b), "en", { numeric: true }));
const count = (n) => `${n} ${t(n === 1 ? "one_run" : "runs")}`;

function shownRuns() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  return RUNS.filter((run) => {
    for (const [key, get] of FACETS) {
      const wanted = state.filters.get(key);
      if (wanted?.size && !wanted.has(get(run))) return false;
    }
    const text = `${run.name} ${run.model} ${run.label ?? ""} ${Object.values(run.meta).join(" ")}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

function filterBar(parent) {
  for (const [key, get] of FACETS) {
    const values = [...new Set(RUNS.map(get))].sort(byNumber);
    if (values.length < 2) continue;
    const name = key.startsWith("meta:") ? key.slice(5) : t(key);
    const count = el("span", { className: "n" });
    const chosen = state.filters.get(key) ?? new Set();
    const update = () => (count.textContent = chosen.size ? String(chosen.size) : "");
    update();
    const menu = el("div", { className: "menu" });
    for (const value of values) {
      const box = el("input", { type: "checkbox", checked: chosen.has(value) });
      box.onchange = () => {
        box.checked ? chosen.add(value) : chosen.delete(value);
        state.filters.set(key, chosen);
        update();
        refresh();
      };
      menu.append(el("label", {}, box, value === "" ? "–" : value === "none" ? t("none") : value));
    }
    const details = el("details", { className: "filter" }, el("summary", { className: "chip" }, name, count), menu);
    details.onkeydown = (event) => { if (event.key === "Escape") { details.open = false; details.firstChild.focus(); } };
    parent.append(details);
  }
  const search = el("input", { type: "search", placeholder: t("search"), "@aria-label": t("search"), value: state.search });
  let waiting = 0;
  search.oninput = () => { clearTimeout(waiting); waiting = setTimeout(() => { state.search = search.value; refresh(); }, 120); };
  const reset = el("button", { type: "button", textContent: t("reset") });
  reset.onclick = () => { state.filters.clear(); state.search = ""; state.selected.clear(); build(); };
  parent.append(search, reset);
}
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.filter[open]")) if (!open.contains(event.target)) open.open = false;
});

// Series -------------------------------------------------------------------------------------------------

const T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12];
function fold(values) {
  const v = values.filter(finite);
  if (!v.length) return null;
  const mean = v.reduce((a, b) => a + b, 0) / v.length;
  if (v.length < 2) return { mean, low: mean, high: mean, n: 1 };
  const variance = v.reduce((a, b) => a + (b - mean) ** 2, 0) / (v.length - 1);
  const half = (T95[v.length - 2] ?? 1.96) * Math.sqrt(variance / v.length);
  return { mean, low: mean - half, high: mean + half, n: v.length };
}

/** Mean of a value over the runs of a level that are data. */
const foldRuns = (runs, get) => fold(used(runs).map(get));

const loadOf = (run) => (state.load === "cap" ? run.cap : run.rate);
function identity(run) {
  const other = state.load === "cap" ? (run.rate === null ? "" : `${run.rate} req/s`) : run.cap === null ? "" : `cap ${run.cap}`;
  const meta = metaKeys.map((key) => (run.meta[key] === undefined ? "" : `${key}=${run.meta[key]}`));
  return [lensOf(run), run.model.split("/").pop(), run.backend, run.label ?? "", run.place ?? "", other, ...meta];
}
// Names and colours come from all runs, so that filtering never changes a series' colour.
let seriesNames = new Map();
function nameSeries() {
  const keys = RUNS.filter((run) => loadOf(run) !== null).map(identity);
  const varying = keys.length ? keys[0].map((_, i) => keys.some((key) => key[i] !== keys[0][i])) : [];
  const unique = new Map(keys.map((key) => [key.join("\u0000"), key]));
  const sorted = [...unique.entries()].sort((a, b) => byNumber(a[1][0], b[1][0]) || a[0].localeCompare(b[0]));
  seriesNames = new Map(sorted.map(([id, key], index) => {
    const parts = key.filter((part, i) => varying[i] && part !== "");
    return [id, { id, index, name: parts.length ? parts.join(" · ") : key[0] }];
  }));
}
function seriesOf(runs) {
  const found = new Map();
  for (const run of runs) {
    const load = loadOf(run);
    if (load === null) continue;
    const about = seriesNames.get(identity(run).join("\u0000"));
    if (!found.has(about.id)) found.set(about.id, { ...about, levels: new Map() });
    const levels = found.get(about.id).levels;
    if (!levels.has(load)) levels.set(load, []);
    levels.get(load).push(run);
  }
  const list = [...found.values()].sort((a, b) => a.index - b.index);
  for (const one of list) one.levels = [...one.levels.entries()].sort((a, b) => a[0] - b[0]);
  return list;
}

const dim = (runs) => state.selected.size > 0 && !runs.some((run) => state.selected.has(run.id));
function loadAxis(list) {
  const loads = [...new Set(list.flatMap((one) => one.levels.map(([load]) => load)))];
  const log = spans(loads, 5);
  const powers = log && loads.every((l) => Number.isInteger(Math.log2(l)));
  return axis(t(state.load === "cap" ? "conc_axis" : "rate_axis") + (log ? ` (${t("log")})` : ""), { at: "x", log, ...(powers ? { logBase: 2 } : {}), scale: true,
    ...(log ? {} : { min: 0 }) });
}

// Charts -------------------------------------------------------------------------------------------------

/** How a point of a level looks: hollow for CAUTION, a red ring for what is no data. */
function markOf(runs, c) {
  if (bad(runs)) return { color: css("--card"), borderColor: css("--invalid"), borderWidth: 2 };
  return caution(runs) ? { color: css("--card"), borderColor: c, borderWidth: 2 } : {};
}

function lineSeries(one, get) {
  const data = [];
  const apart = [];
  const bars = [];
  for (const [load, runs] of one.levels) {
    const found = foldRuns(runs, get);
    if (!found) continue;
    const point = { value: [load, found.mean], runs, found, symbol: shape(one.index), symbolSize: 9,
      itemStyle: { opacity: dim(runs) ? 0.2 : 1, ...markOf(runs, color(one.index)) } };
    // The line has a gap where there is no data.
    if (bad(runs)) data.push([load, null]), apart.push(point);
    else data.push(point);
    if (found.high > found.low) bars.push([load, Math.max(found.low, 0), found.high]);
  }
  const c = color(one.index);
  const series = [{ type: "line", name: one.name, data, lineStyle: { width: 2.2, color: c, opacity: dim(one.levels.flatMap(([, r]) => r)) ? 0.2 : 1 }, itemStyle: { color: c } }];
  if (apart.length) series.push({ type: "scatter", name: one.name, data: apart, itemStyle: { color: c } });
  if (bars.length) {
    series.push({ type: "custom", name: one.name, data: bars, silent: true, z: 1, encode: { x: 0, y: [1, 2] },
      renderItem: (params, api) => {
        const low = api.coord([api.value(0), api.value(1)]);
        const high = api.coord([api.value(0), api.value(2)]);
        const stroke = { stroke: c, lineWidth: 1.4, fill: null };
        const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: stroke });
        return { type: "group", children: [line(...low, ...high), line(low[0] - 4, low[1], low[0] + 4, low[1]), line(high[0] - 4, high[1], high[0] + 4, high[1])] };
      } });
  }
  return series;
}

function pointTip(point, rows) {
  const runs = point.runs;
  const worst = ["INVALID", "CAUTION", "VALID"].find((level) => used(runs).some((run) => levelOf(run) === level));
  const mean = (get) => foldRuns(runs, get)?.mean;
  const out = runs.length - used(runs).length;
  return tip(runs.map((run) => run.name).slice(0, 3).join("\n") + (runs.length > 3 ? ` +${runs.length - 3}` : ""), [
    ...rows, ["TTFT p50", ms(mean((r) => median(r, "ttft")))], ["TPOT p50", ms(mean((r) => median(r, "tpot")))],
    [t("requests"), num(used(runs).reduce((sum, run) => sum + (run.m.completed ?? 0), 0), 6)], [t("verdict"), worst ?? t("none")],
    ...(out ? [[t("not_used"), String(out)]] : [])]);
}

/** How many of the shown runs are no data, as a sentence. */
function leftOut(runs) {
  const count = runs.filter((run) => !sound(run)).length;
  return count ? `${t("left_out")}${count} / ${runs.length}` : "";
}

/**
 * The workload of a level: its lengths where they are fixed, else the mean prompt within a tenth. Only
 * settings that were given the same work share a frontier.
 */
function workloads(points) {
  const mean = (run) => (run.m.completed > 0 ? (run.m.total_input_tokens ?? 0) / run.m.completed : 0);
  const open = points.filter((p) => p.runs[0].input === null).map((p) => mean(used(p.runs)[0])).sort((a, b) => a - b);
  const starts = open.filter((value, i) => i === 0 || value > open[i - 1] * 1.1);
  return (p) => {
    const run = used(p.runs)[0];
    return run.input === null ? `${lensOf(run)} #${starts.filter((start) => start <= mean(run)).length}` : lensOf(run);
  };
}

function drawPareto(view, runs) {
  const list = seriesOf(runs);
  const groups = list.map((one) => [one.name, one.index, one.levels.map(([, r]) => r)]);
  const loose = runs.filter((run) => loadOf(run) === null);
  if (loose.length) groups.push([list.length ? t("no_load") : t("runs"), list.length, loose.map((run) => [run])]);
  // One point a setting: the mean of its repeats, so that no lucky run stands for it.
  const point = (members) => ({ runs: members, x: foldRuns(members, perUser)?.mean, y: foldRuns(members, (r) => r.m.output_throughput)?.mean });
  const placed = groups.map(([name, index, levels]) => [name, index, levels.map(point).filter((p) => finite(p.x) && finite(p.y))]);
  const points = placed.flatMap(([, , some]) => some);
  if (!points.length) return void draw(view.box, null);
  const workload = workloads(points);
  const fronts = new Map();
  for (const p of points.filter((p) => !bad(p.runs)).sort((a, b) => b.x - a.x || b.y - a.y)) {
    const front = fronts.get(workload(p)) ?? [];
    fronts.set(workload(p), front);
    if (!front.length || p.y > front.at(-1)[1]) front.push([p.x, p.y]);
  }
  const series = placed.map(([name, index, some]) => ({
    type: "scatter", name, symbol: shape(index), symbolSize: 11, itemStyle: { color: color(index) },
    data: some.map((p) => ({ value: [p.x, p.y], runs: p.runs, itemStyle: { opacity: dim(p.runs) ? 0.15 : 0.95, ...markOf(p.runs, color(index)) } })),
  }));
  for (const front of fronts.values()) {
    series.push({ type: "line", name: t("frontier"), data: front, symbol: "none", itemStyle: { color: css("--soft") }, lineStyle: { color: css("--soft"), width: 1.6, type: "dashed" }, silent: true, z: 1 });
  }
  const chart = draw(view.box, base(t("pareto"), {
    xAxis: axis(t("per_user"), { at: "x" }), yAxis: axis(t("tput") + (spans(points.map((p) => p.y), 50) ? ` (${t("log")})` : ""), { log: spans(points.map((p) => p.y), 50) }), series,
    dataZoom: zoom(["x", "y"]),
    toolbox: { right: 4, top: 22, itemSize: 13, feature: { brush: { type: ["rect", "clear"] } }, iconStyle: { borderColor: css("--soft") } },
    brush: { toolbox: ["rect", "clear"], xAxisIndex: 0, yAxisIndex: 0, throttleType: "debounce", throttleDelay: 200, brushStyle: { color: "rgba(120,150,190,.15)", borderColor: css("--accent") } },
    tooltip: { ...base("").tooltip, formatter: (p) => p.data.runs ? pointTip(p.data, [[t("per_user"), num(p.value[0])], [t("tput"), num(p.value[1], 4)], [t("lens"), lensOf(p.data.runs[0])], [t("cap"), p.data.runs[0].cap ?? t("unlimited")], [t("repeats"), used(p.data.runs).length]]) : "" },
  }));
  chart.off("brushEnd");
  chart.on("brushEnd", (event) => {
    const area = event.areas[0]?.coordRange;
    if (!area) return;
    select(points.filter((p) => p.x >= area[0][0] && p.x <= area[0][1] && p.y >= area[1][0] && p.y <= area[1][1]).flatMap((p) => p.runs.map((run) => run.id)));
  });
  chart.off("click");
  chart.on("click", (event) => event.data?.runs && toggle(event.data.runs.map((run) => run.id)));
}

/** The values of the points of lines. */
const valuesOf = (series) => series.filter((s) => s.type !== "custom").flatMap((s) => s.data.filter((d) => d.runs).map((d) => d.value[1]));

function drawCurve(view, runs) {
  const list = seriesOf(runs);
  const about = VALUES[state.curve];
  const series = list.flatMap((one) => lineSeries(one, about.get));
  const values = valuesOf(series);
  if (!values.length) return void draw(view.box, null);
  const log = spans(values, 50);
  const chart = draw(view.box, base(t("curve"), {
    xAxis: loadAxis(list), yAxis: axis(about.name + (log ? ` (${t("log")})` : ""), { log }), series, dataZoom: zoom(),
    tooltip: { ...base("").tooltip, formatter: (p) => p.data.runs ? pointTip(p.data, [[p.seriesName, num(p.value[1], 4)], [t("load"), num(p.value[0])], [t("repeats"), p.data.found.n]]) : "" },
  }));
  view.note.textContent = [series.some((s) => s.type === "custom") ? t("intervals") : "", leftOut(runs)].join(" ").trim();
  chart.off("click");
  chart.on("click", (event) => event.data?.runs && toggle(event.data.runs.map((run) => run.id)));
}

function drawBands(view, runs, picker) {
  const list = seriesOf(runs);
  if (!list.some((one) => one.id === state.bandSeries)) state.bandSeries = list.slice().sort((a, b) => b.levels.length - a.levels.length)[0]?.id ?? "";
  options(picker, list.map((one) => [one.id, one.name]), state.bandSeries);
  const one = list.find((s) => s.id === state.bandSeries);
  const m = state.band;
  const levels = (one?.levels ?? []).filter(([, r]) => !bad(r)).map(([load, r]) => ({ load, runs: used(r), mid: foldRuns(r, (x) => median(x, m))?.mean, mean: foldRuns(r, (x) => x.m[`mean_${m}_ms`])?.mean,
    tails: new Map(percentiles(used(r)[0], m).map(([p]) => [p, foldRuns(r, (x) => x.m[`p${p}_${m}_ms`])?.mean])) })).filter((l) => finite(l.mid));
  const few = levels.flatMap((l) => [...l.tails.keys()].filter((p) => l.runs.some((run) => fewFor(run, p))).map((p) => `p${p} @${num(l.load)}`));
  if (!levels.length) return void draw(view.box, null);
  const c = color(one.index);
  const ps = [...new Set(levels.flatMap((l) => [...l.tails.keys()]))].sort((a, b) => b - a);
  const values = levels.flatMap((l) => [l.mid, ...l.tails.values()]);
  const log = spans(values, 30);
  const bands = ps.map((p, i) => ({ type: "custom", name: `p${p}`, silent: true, z: 1, itemStyle: { color: c, opacity: 0.3 }, data: [levels.map((l) => [l.load, l.mid, l.tails.get(p)]).filter((d) => finite(d[2])).length],
    renderItem: (params, api) => {
      const good = levels.filter((l) => finite(l.tails.get(p)));
      const points = [...good.map((l) => api.coord([l.load, l.tails.get(p)])), ...good.slice().reverse().map((l) => api.coord([l.load, l.mid]))];
      return { type: "polygon", shape: { points }, style: { fill: c, opacity: 0.13 + 0.05 * i } };
    } }));
  // Invisible lines give the bands their place on the axes.
  const extents = ps.map((p) => ({ type: "line", name: `p${p}`, data: levels.map((l) => [l.load, l.tails.get(p)]), symbol: "none", lineStyle: { width: 1, color: c, opacity: 0.45 }, silent: true, z: 2 }));
  draw(view.box, base(t("bands"), {
    xAxis: loadAxis([one]), yAxis: axis(`${m.toUpperCase()} (ms)` + (log ? ` (${t("log")})` : ""), { log }), dataZoom: zoom(),
    series: [...bands, ...extents,
      { type: "line", name: t("mean"), data: levels.map((l) => [l.load, l.mean]), symbol: "none", lineStyle: { type: "dotted", width: 2, color: c }, itemStyle: { color: c } },
      { type: "line", name: t("median"), data: levels.map((l) => [l.load, l.mid]), symbol: "circle", symbolSize: 8, lineStyle: { width: 2.4, color: c }, itemStyle: { color: c } }],
    tooltip: { ...base("").tooltip, trigger: "axis", formatter: (ps2) => {
      const level = levels.find((l) => l.load === ps2[0]?.axisValue);
      return level ? tip(`${one.name} · ${t("load")} ${num(level.load)}`, [[t("median"), ms(level.mid)], [t("mean"), ms(level.mean)], ...[...level.tails].map(([p, v]) => [`p${p}`, ms(v)]), [t("repeats"), level.runs.length]]) : "";
    } },
  }));
  view.note.textContent = t("band_note") + (few.length ? ` ${t("few")}${few.slice(0, 6).join(", ")}${few.length > 6 ? ", …" : ""}` : "");
}

function drawHeat(view, runs) {
  const list = seriesOf(runs);
  const about = VALUES[state.heat];
  const loads = [...new Set(list.flatMap((one) => one.levels.map(([load]) => load)))].sort((a, b) => a - b);
  const data = [];
  list.forEach((one, row) => one.levels.forEach(([load, r]) => {
    const found = foldRuns(r, about.get);
    if (found) data.push({ value: [loads.indexOf(load), row, found.mean], runs: r, itemStyle: { opacity: dim(r) ? 0.25 : 1 } });
  }));
  const room = (view.box.clientWidth - 150) / Math.max(1, loads.length) > 38;
  if (!data.length) return void draw(view.box, null);
  // What is no data does not set the scale.
  const values = (data.some((d) => !bad(d.runs)) ? data.filter((d) => !bad(d.runs)) : data).map((d) => d.value[2]);
  const low = Math.min(...values), high = Math.max(...values);
  const worse = state.heat.includes("_t") && !state.heat.endsWith("throughput") || state.heat.includes("itl") || state.heat.includes("e2el");
  const ramp = ["#0f2c5c", "#2c4c76", "#5c6b78", "#868979", "#b7ac68", "#f5dc62"];
  for (const cell of data) {
    const share = high > low ? (cell.value[2] - low) / (high - low) : 1;
    cell.label = { color: (worse ? 1 - share : share) > 0.45 ? "#10141b" : "#ffffff" };
  }
  const longest = Math.max(...list.map((one) => one.name.length));
  const chart = draw(view.box, base(t("heat"), {
    grid: { left: Math.min(view.box.clientWidth * 0.32, 170, 24 + longest * 7), right: 16, top: 16, bottom: 92 }, legend: { show: false },
    xAxis: { type: "category", data: loads.map(tick), name: t(state.load === "cap" ? "conc_axis" : "rate_axis"), nameLocation: "middle", nameGap: 26, nameTextStyle: { color: css("--ink"), fontSize: 13 }, axisLabel: { color: css("--soft") }, axisTick: { show: false }, axisLine: { show: false } },
    yAxis: { type: "category", inverse: true, data: list.map((one) => one.name), axisLabel: { color: css("--soft"), width: Math.min(150, view.box.clientWidth * 0.3), overflow: "truncate" }, axisTick: { show: false }, axisLine: { show: false } },
    visualMap: { min: high > low ? low : low - 1, max: high, calculable: true, orient: "horizontal", left: "center", bottom: 2, itemWidth: 12, itemHeight: 130, inRange: { color: worse ? ramp.slice().reverse() : ramp }, textStyle: { color: css("--soft") }, formatter: (v) => num(v) },
    series: [{ type: "heatmap", data, itemStyle: { borderColor: css("--card"), borderWidth: 2, borderRadius: 3 },
      label: { show: room && data.length <= 200, formatter: (p) => (bad(p.data.runs) ? "✕ " : caution(p.data.runs) ? "○ " : "") + num(p.value[2]), fontSize: 12 } }],
    tooltip: { ...base("").tooltip, formatter: (p) => pointTip(p.data, [[about.name, num(p.value[2], 4)], [t("load"), num(loads[p.value[0]])], [t("series"), list[p.value[1]].name]]) },
  }));
  chart.off("click");
  chart.on("click", (event) => event.data?.runs && toggle(event.data.runs.map((run) => run.id)));
}

/** The two series that are most worth comparing: many loads in common, equal lengths. */
function likelyPair(list) {
  let best = [list[0]?.id ?? null, list[1]?.id ?? null, -1];
  const some = list.slice(0, 60).map((one) => [one, new Set(one.levels.map(([load]) => load)), lensOf(one.levels[0][1][0])]);
  some.forEach(([a, loadsA, lensA], i) => some.slice(i + 1).forEach(([b, loadsB, lensB]) => {
    const common = [...loadsA].filter((load) => loadsB.has(load)).length;
    // Of pairs with as many loads in common the one that differs in the fewest settings.
    const [partsA, partsB] = [a.id, b.id].map((id) => id.split("\u0000"));
    const differ = partsA.filter((part, k) => part !== partsB[k]).length;
    const score = common && common + (lensA === lensB ? 100 : 0) - differ / 100;
    if (score > best[2]) best = [a.id, b.id, score];
  }));
  return best.slice(0, 2);
}

function drawAB(view, runs, pickA, pickB) {
  const list = seriesOf(runs);
  const ids = list.map((one) => one.id);
  if (!ids.includes(state.a) || !ids.includes(state.b)) [state.a, state.b] = likelyPair(list);
  options(pickA, list.map((one) => [one.id, "A: " + one.name]), state.a);
  options(pickB, list.map((one) => [one.id, "B: " + one.name]), state.b);
  const a = list.find((one) => one.id === state.a), b = list.find((one) => one.id === state.b);
  view.note.textContent = "";
  if (!a || !b) return void draw(view.box, null);
  const about = VALUES[state.ab];
  const series = [...lineSeries({ ...a, index: 0, name: "A: " + a.name }, about.get), ...lineSeries({ ...b, index: 1, name: "B: " + b.name }, about.get)];
  const rows = a.levels.map(([load, r]) => [load, r, b.levels.find(([l]) => l === load)?.[1] ?? []])
    .filter(([, x, y]) => y.length && !bad(x) && !bad(y)).map(([load, x, y]) => [load, foldRuns(x, about.get)?.mean, foldRuns(y, about.get)?.mean])
    .filter(([, x, y]) => finite(x) && finite(y) && x !== 0).map(([load, x, y]) => [load, y / x - 1]);
  const values = valuesOf(series);
  if (!values.length) return void draw(view.box, null);
  const log = spans(values, 30);
  const names = rows.map(([load]) => tick(load));
  // Room for the numbers at the ends of the bars.
  const low = (v) => Math.min(v.min, 0), high = (v) => Math.max(v.max, 0);
  draw(view.box, base(t("ab"), {
    grid: [{ left: 64, right: 20, top: 44, bottom: 190 }, { left: 64, right: 20, height: 92, bottom: 44 }],
    xAxis: [{ ...loadAxis([a, b]), name: "" }, { type: "category", gridIndex: 1, data: names, name: t(state.load === "cap" ? "conc_axis" : "rate_axis"), nameLocation: "middle", nameGap: 26, nameTextStyle: { color: css("--ink"), fontSize: 13 }, axisLabel: { color: css("--soft") }, axisLine: { lineStyle: { color: css("--soft") } } }],
    yAxis: [axis(about.name + (log ? ` (${t("log")})` : ""), { log }), axis(t("ab_diff"), { gridIndex: 1, splitNumber: 2, min: (v) => low(v) - (low(v) < 0 ? 0.25 : 0.05) * (high(v) - low(v) || 0.01), max: (v) => high(v) + (high(v) > 0 ? 0.25 : 0.05) * (high(v) - low(v) || 0.01), axisLabel: { color: css("--soft"), fontSize: 11, formatter: (v) => +(v * 100).toFixed(1) + " %", showMinLabel: false, showMaxLabel: false } })],
    series: [...series, { type: "bar", name: t("ab_diff"), xAxisIndex: 1, yAxisIndex: 1, data: rows.map(([, d]) => d), barMaxWidth: 34, itemStyle: { color: css("--soft") }, labelLayout: { hideOverlap: true },
      label: { show: rows.length * 54 <= view.box.clientWidth - 84, position: "outside", color: css("--soft"), fontSize: 11, formatter: (p) => (p.value > 0 ? "+" : "") + percent(p.value) } }],
    tooltip: { ...base("").tooltip, formatter: (p) => p.data.runs ? pointTip(p.data, [[p.seriesName, num(p.value[1], 4)], [t("load"), num(p.value[0])], [t("repeats"), p.data.found.n]]) : tip(`${t("load")} ${p.name}`, [[t("ab_diff"), percent(p.value)]]) },
  }));
  view.note.textContent = rows.length ? t("ab_note") : t("no_common");
}

// Selection and table ------------------------------------------------------------------------------------

function select(ids) {
  state.selected = new Set(ids);
  refresh();
}
function toggle(ids) {
  const all = ids.every((id) => state.selected.has(id));
  for (const id of ids) all ? state.selected.delete(id) : state.selected.add(id);
  refresh();
}

function columns() {
  const list = [["name", (r) => r.name, "text"], ["verdict", (r) => levelOf(r), "badge"]];
  if (new Set(RUNS.map((r) => r.model)).size > 1) list.push(["model", (r) => r.model, "text"]);
  list.push(["lens", lensOf, "text"], ["cap", (r) => r.cap ?? undefined, "num"], ["rate", (r) => r.rate ?? undefined, "num"]);
  for (const key of metaKeys) list.push(["meta:" + key, (r) => r.meta[key], "text"]);
  list.push(["good", (r) => r.m.completed, "num"], ["failed", (r) => r.m.failed, "num"]);
  for (const key of known()) list.push([key, VALUES[key].get, "num"]);
  return list;
}
const columnName = (key) => (key.startsWith("meta:") ? key.slice(5) : VALUES[key]?.name ?? t(key));

function sorted(runs, list) {
  const column = list.find(([key]) => key === state.sort);
  if (!column) return runs;
  const sign = state.down ? -1 : 1;
  return runs.slice().sort((x, y) => {
    const [a, b] = [column[1](x), column[1](y)];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : byNumber(a, b));
  });
}

function drawTable(view, runs) {
  const list = columns();
  const head = el("tr", {}, el("th", { "@scope": "col" }, el("span", { className: "sr", textContent: t("select") })));
  for (const [key, , kind] of list) {
    const button = el("button", { type: "button", textContent: columnName(key) });
    button.onclick = () => {
      [state.down, state.sort] = [state.sort === key ? !state.down : kind === "num", key];
      drawTable(view, shownRuns());
    };
    head.append(el("th", { "@scope": "col", className: kind === "num" ? "" : "l", "@aria-sort": state.sort === key ? (state.down ? "descending" : "ascending") : undefined }, button));
  }
  const body = el("tbody");
  for (const run of sorted(runs, list)) {
    const on = state.selected.has(run.id);
    const box = el("input", { type: "checkbox", checked: on, "@aria-label": `${t("select")} ${run.name}` });
    box.onchange = () => toggle([run.id]);
    const row = el("tr", { className: on ? "on" : "" }, el("td", {}, box));
    for (const [, get, kind] of list) {
      const value = get(run);
      row.append(kind === "badge" ? el("td", { className: "l" }, badge(run.verdict))
        : el("td", { className: kind === "num" ? "" : "l", textContent: kind === "num" ? num(value, 4) : value ?? "–" }));
    }
    body.append(row);
  }
  const focus = document.activeElement?.textContent;
  view.table.replaceChildren(el("thead", {}, head), body);
  if (focus) [...view.table.querySelectorAll("th button")].find((b) => b.textContent === focus)?.focus({ preventScroll: true });
  view.note.textContent = `${count(runs.length)}${t("rows_sep")}${t("rows_note")}`;
}

function exportCsv() {
  const keys = [...new Set(RUNS.flatMap((run) => Object.keys(run.m)))];
  const head = ["filename", "verdict", "model_id", "backend", "label", "input_len", "output_len", "max_concurrency", "request_rate", ...metaKeys, ...keys];
  const lines = sorted(shownRuns(), columns()).map((run) => [run.name, run.verdict?.level, run.model, run.backend, run.label, run.input, run.output, run.cap, run.rate ?? "inf",
    ...metaKeys.map((key) => run.meta[key]), ...keys.map((key) => run.m[key])]);
  download("runs.csv", "text/csv", [head, ...lines].map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n");
}

// Page ---------------------------------------------------------------------------------------------------

let views = null;
function chooser(name, entries, get, set) {
  const select = el("select", { "@aria-label": name });
  options(select, entries, get());
  select.onchange = () => { set(select.value); refresh(); };
  return select;
}

function build() {
  for (const chart of charts.values()) chart.dispose();
  charts.clear();
  nameSeries();
  document.title = t("title");
  const top = document.getElementById("top"), main = document.getElementById("main");
  const counts = new Map();
  for (const run of RUNS) counts.set(levelOf(run), (counts.get(levelOf(run)) ?? 0) + 1);
  const badges = ["VALID", "CAUTION", "INVALID", "none"].filter((level) => counts.has(level))
    .map((level) => { const b = badge({ level }); b.textContent = `${counts.get(level)} ${b.textContent}`; return b; });
  top.replaceChildren(el("h1", { textContent: t("title") }), el("span", { className: "sub", textContent: count(RUNS.length) }), ...badges, el("span", { className: "grow" }), ...topButtons(build));
  const bar = el("div", { className: "bar" }), tiles = el("div", { className: "tiles" }), cards = el("div", { className: "cards" });
  filterBar(bar);
  if (RUNS.some((r) => r.cap !== null) && RUNS.some((r) => r.rate !== null)) {
    bar.append(chooser(t("load"), [["cap", t("conc_axis")], ["rate", t("rate_axis")]], () => state.load, (v) => { state.load = v; nameSeries(); }));
  }
  const clear = el("button", { type: "button", textContent: t("clear") });
  clear.onclick = () => select([]);
  bar.append(clear);
  main.replaceChildren(bar, tiles, cards);
  const values = known().map((key) => [key, VALUES[key].name]);
  const metrics = METRICS.map((m) => [m, m.toUpperCase()]);
  const pick = () => el("select", { "@aria-label": t("series") });
  views = { tiles, clear, bandPick: pick(), aPick: pick(), bPick: pick(), timePick: pick() };
  views.bandPick.onchange = () => { state.bandSeries = views.bandPick.value; refresh(); };
  views.aPick.onchange = () => { state.a = views.aPick.value; refresh(); };
  views.bPick.onchange = () => { state.b = views.bPick.value; refresh(); };
  views.timePick.onchange = () => { state.timeline = Number(views.timePick.value); refresh(); };
  views.pareto = card(cards, t("pareto"), { tall: true });
  views.pareto.note.textContent = t("pareto_note");
  views.curve = card(cards, t("curve"), { tall: true, tools: [chooser(t("choose"), values, () => state.curve, (v) => (state.curve = v))] });
  views.bands = card(cards, t("bands"), { tools: [views.bandPick, chooser(t("choose"), metrics, () => state.band, (v) => (state.band = v))] });
  views.heat = card(cards, t("heat"), { tools: [chooser(t("choose"), values, () => state.heat, (v) => (state.heat = v))] });
  views.ab = card(cards, t("ab"), { tall: true, tools: [views.aPick, views.bPick, chooser(t("choose"), values, () => state.ab, (v) => (state.ab = v))] });
  views.dist = card(cards, t("dist"), { tall: true, tools: [chooser(t("choose"), metrics, () => state.dist, (v) => (state.dist = v))] });
  views.time = card(cards, t("timeline"), { wide: true, tall: true, tools: [views.timePick] });
  const csv = el("button", { type: "button", textContent: t("csv") });
  csv.onclick = exportCsv;
  const table = el("table"), note = el("p", { className: "note" });
  cards.append(el("section", { className: "card wide" }, el("header", {}, el("h2", { textContent: t("table") }), csv), note, el("div", { className: "scroll", tabIndex: 0 }, table)));
  views.table = { table, note };
  refresh();
}

function drawTiles(runs) {
  const places = [...seriesOf(runs).flatMap((one) => one.levels.map(([load, r]) => ({ name: `${one.name} @${num(load)}`, runs: r }))),
    ...runs.filter((run) => loadOf(run) === null).map((run) => ({ name: run.name, runs: [run] }))].filter((p) => !bad(p.runs));
  // Means of repeats, so that no lucky run stands for its setting.
  const extreme = (get, sign) => places.map((p) => ({ n: used(p.runs).length, value: foldRuns(p.runs, get)?.mean, name: p.name, run: used(p.runs)[0].name }))
    .filter((p) => finite(p.value)).sort((a, b) => sign * (a.value - b.value))[0];
  const at = (p) => p && (p.n > 1 ? `${p.name}, ${t("mean_of")} ${p.n}` : p.run);
  const tile = (key, value, unit, where) => el("div", { className: "tile" }, el("div", { className: "k", textContent: key }),
    el("div", { className: "v", textContent: value }, el("span", { className: "u", textContent: unit })), el("div", { className: "w", textContent: where ?? "", title: where ?? "" }));
  const tput = extreme((r) => r.m.output_throughput, -1), ttft = extreme((r) => median(r, "ttft"), 1), tpot = extreme((r) => median(r, "tpot"), 1);
  const sum = (key) => runs.reduce((a, r) => a + (r.m[key] ?? 0), 0);
  views.tiles.replaceChildren(
    tile(t("best_tput"), num(tput?.value, 4), "tok/s", at(tput)), tile(t("best_ttft"), num(ttft?.value), "ms", at(ttft)),
    tile(t("best_tpot"), num(tpot?.value), "ms", at(tpot)), tile(t("good"), num(sum("completed"), 8), "", `${num(sum("failed"), 8)} ${t("failed")}`));
}

function refresh() {
  const runs = shownRuns();
  views.clear.hidden = state.selected.size === 0;
  drawTiles(runs);
  drawPareto(views.pareto, runs);
  drawCurve(views.curve, runs);
  drawBands(views.bands, runs, views.bandPick);
  drawHeat(views.heat, runs);
  drawAB(views.ab, runs, views.aPick, views.bPick);
  drawDist(views.dist, runs);
  drawTimeline(views.time, runs, views.timePick);
  drawTable(views.table, runs);
  document.documentElement.dataset.ready = "true";
}

const levels = (get) => new Set(RUNS.map(get).filter((v) => v !== null)).size;
state.load = levels((r) => r.rate) > levels((r) => r.cap) ? "rate" : "cap";
build();
