"use strict";
// The request timeline, shared by the dashboard and the run page.
// A row is [index, start s, first token s or null, end s, failed 0/1]; instants from the first send.

function timelineOption(rows) {
  const wait = color(1), gen = color(5), bad = css("--invalid");
  const last = Math.max(1, ...rows.map((row) => row[0]));
  return {
    legend: { ...base("").legend, data: [t("wait"), t("gen"), t("fail")] },
    xAxis: axis(t("time_axis"), { at: "x", min: 0 }),
    yAxis: axis(t("request_axis"), { inverse: true, min: 0, max: last + 1, minInterval: 1 }),
    series: [
      { type: "custom", name: t("wait"), itemStyle: { color: wait }, data: rows, encode: { x: [1, 3], y: 0 }, clip: true, progressive: 2000,
        renderItem: (params, api) => {
          const top = api.coord([api.value(1), api.value(0)]), end = api.coord([api.value(3), api.value(0) + 0.86]);
          const first = api.value(2);
          const height = Math.max(1, end[1] - top[1]);
          const bar = (x1, x2, fill) => ({ type: "rect", shape: { x: x1, y: top[1], width: Math.max(1, x2 - x1), height }, style: { fill } });
          if (api.value(4)) return bar(top[0], end[0], bad);
          if (!Number.isFinite(first)) return bar(top[0], end[0], wait);
          const split = api.coord([first, 0])[0];
          return { type: "group", children: [bar(top[0], split, wait), bar(split, end[0], gen)] };
        } },
      // Without data: they stand for the other colours in the legend.
      { type: "custom", name: t("gen"), itemStyle: { color: gen }, data: [], renderItem: () => null },
      { type: "custom", name: t("fail"), itemStyle: { color: bad }, data: [], renderItem: () => null },
    ],
  };
}

function timelineTip(row) {
  const [index, start, first, end, failed] = row;
  return tip(`${t("request_axis")} ${index}`, [[t("time_axis"), num(start, 4) + " s"], ["TTFT", Number.isFinite(first) && first !== null ? ms((first - start) * 1e3) : "–"], ["E2EL", ms((end - start) * 1e3)], ...(failed ? [[t("fail"), "✕"]] : [])]);
}
