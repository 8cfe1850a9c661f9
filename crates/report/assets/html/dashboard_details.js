"use strict";
// The dashboard's charts of runs with details.

function drawDist(view, runs) {
  const detailed = runs.filter((run) => sound(run) && run.detail?.[state.dist]);
  const wanted = detailed.filter((run) => state.selected.has(run.id));
  const chosen = (wanted.length ? wanted : detailed).slice(0, 8);
  view.note.textContent = "";
  if (!chosen.length) return void draw(view.box, null, t("dist_empty"));
  const values = chosen.flatMap((run) => run.detail[state.dist].q.map((q) => q[0]));
  const log = spans(values, 20);
  draw(view.box, base(t("dist"), {
    xAxis: axis(`${state.dist.toUpperCase()} (ms)` + (log ? ` (${t("log")})` : ""), { at: "x", log, scale: true }),
    yAxis: axis(t("dist_y"), { min: 0, max: 1, axisLabel: { color: css("--soft"), formatter: (v) => Math.round(v * 100) + " %" } }), dataZoom: zoom(),
    series: chosen.map((run, i) => ({ type: "line", name: brief(run, chosen), data: run.detail[state.dist].q, symbol: "none", step: "end", lineStyle: { width: 2, color: color(i) }, itemStyle: { color: color(i) },
      markLine: i ? undefined : { silent: true, symbol: "none", lineStyle: { color: css("--line"), type: "solid" }, label: { color: css("--soft"), formatter: (p) => p.name, position: "insideStartTop" }, data: [0.5, 0.9, 0.99].map((p) => ({ yAxis: p, name: "p" + p * 100 })) } })),
    tooltip: { ...base("").tooltip, trigger: "axis", axisPointer: { type: "line" }, formatter: (ps) => tip(ms(ps[0]?.axisValue), ps.filter((p) => p.seriesName).map((p) => [p.seriesName, percent(p.value[1])])) },
  }));
  view.note.textContent = chosen.map((run) => `${brief(run, chosen)}: n = ${num(run.detail[state.dist].n, 7)}`).join(" · ") + (detailed.length > 8 ? " · …" : "");
}

function drawTimeline(view, runs, picker) {
  const detailed = runs.filter((run) => run.detail?.timeline);
  if (!detailed.some((run) => run.id === state.timeline)) state.timeline = (detailed.find((run) => state.selected.has(run.id)) ?? detailed[0])?.id ?? null;
  options(picker, detailed.map((run) => [String(run.id), run.name]), String(state.timeline));
  const run = detailed.find((r) => r.id === state.timeline);
  view.note.textContent = "";
  if (!run) return void draw(view.box, null, t("dist_empty"));
  const { rows, total } = run.detail.timeline;
  draw(view.box, base(t("timeline"), {
    ...timelineOption(rows), dataZoom: [...zoom(), slider()], grid: { left: 64, right: 20, top: 40, bottom: 76 },
    tooltip: { ...base("").tooltip, formatter: (p) => timelineTip(p.value) },
  }));
  view.note.textContent = rows.length < total ? `${t("sampled")}${num(rows.length, 6)} ${t("of")} ${num(total, 7)} ${t("requests")}` : `${num(total, 7)} ${t("requests")}`;
}
