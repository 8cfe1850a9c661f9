"use strict";
// The request timeline, shared by the dashboard and the run page.
// A row is [index, start s, first token s or null, end s, failed 0/1]. Each request takes the lowest lane that
// is free when it starts, so that the lanes show how many are in flight.

function lanes(rows) {
  const ends = [];
  return rows.slice().sort((a, b) => a[1] - b[1] || a[0] - b[0]).map((row) => {
    let lane = ends.findIndex((end) => end <= row[1]);
    if (lane < 0) lane = ends.length;
    ends[lane] = row[3];
    return [...row, lane];
  });
}

function timelineOption(rows) {
  const wait = color(1), gen = color(5), bad = css("--invalid");
  const data = lanes(rows);
  // Answers that came whole are not cut in two.
  const after = rows.some((row) => row[2] !== null) ? "gen" : "whole";
  const count = data.reduce((most, row) => Math.max(most, row[5] + 1), 1);
  return {
    legend: { ...base("").legend, data: [...(after === "gen" ? [t("wait")] : []), t(after), t("fail")] },
    xAxis: axis(t("time_axis"), { at: "x", min: 0, axisLine: { onZero: false, lineStyle: { color: css("--soft") } } }),
    yAxis: axis(t("lane_axis"), { inverse: true, min: 0, max: count, minInterval: 1 }),
    series: [
      { type: "custom", name: t("wait"), itemStyle: { color: wait }, data, encode: { x: [1, 3], y: 5 }, clip: true,
        renderItem: (params, api) => {
          const top = api.coord([api.value(1), api.value(5)]), end = api.coord([api.value(3), api.value(5) + 0.84]);
          const first = api.value(2);
          const height = Math.max(1, end[1] - top[1]);
          // Cut at the plot's edges, where zooming leaves bars that begin or end outside.
          const { x: left, width } = params.coordSys;
          const bar = (from, to, fill) => {
            const [x1, x2] = [Math.max(from, left), Math.min(to, left + width)];
            return { type: "rect", shape: { x: Math.min(x1, left + width), y: top[1], width: to < left || from > left + width ? 0 : Math.max(1, x2 - x1), height }, style: { fill } };
          };
          if (api.value(4)) return bar(top[0], end[0], bad);
          if (!Number.isFinite(first)) return bar(top[0], end[0], after === "gen" ? wait : gen);
          const split = api.coord([first, 0])[0];
          return { type: "group", children: [bar(top[0], split, wait), bar(split, end[0], gen)] };
        } },
      // Without data: they stand for the other colours in the legend.
      { type: "custom", name: t(after), itemStyle: { color: gen }, data: [], renderItem: () => null },
      { type: "custom", name: t("fail"), itemStyle: { color: bad }, data: [], renderItem: () => null },
    ],
  };
}

function timelineTip(row) {
  const [index, start, first, end, failed] = row;
  return tip(`${t("request")} ${index}`, [[t("time_axis"), num(start, 4) + " s"], ["TTFT", Number.isFinite(first) && first !== null ? ms((first - start) * 1e3) : "–"], ["E2EL", ms((end - start) * 1e3)], ...(failed ? [[t("fail"), "✕"]] : [])]);
}
