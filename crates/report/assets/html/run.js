"use strict";
// The page of one run.

Object.assign(TEXT.en, {
  flight: "Requests in flight", flight_mean: "mean", flight_max: "max", tokens: "Output tokens per second", no_stream: "Answers were not streamed: only their ends are known.", tokens_unknown: "Tokens of successful answers; those of an answer are spread evenly over the events whose number is not known.",
  ttft_time: "Time to first token by send time", itl_time: "Gap between token events over time", dist: "Distributions", dist_y: "Fraction at or below", timeline: "Request timeline",
  time_axis: "Time from the start of the run (s)", lane_axis: "Lane", request: "Request", wait: "to first token", gen: "generation", fail: "failed", client: "Client: lateness and receive lag", late: "largest send lateness", lag: "largest receive lag",
  slow: "Slowest requests", errors: "Errors", no_errors: "No request failed.", settings: "Settings", defaults: "Settings at their defaults", about: "This run", started: "Started", version: "Version", urls: "Server", command: "Command", env: "Environment", server: "Server metrics", self: "Client self-check", stats: "Latencies (ms)",
  metric: "Metric", samples: "samples", mean: "mean", median: "median", std: "std", idx: "Request", sent: "sent at (s)", outtok: "output tokens", outcome: "Outcome", status: "Status", count: "Count", example: "Example", message: "Message",
  verdict: "Verdict: ", verdict_ok: "No findings: nothing casts doubt on these numbers.", completed: "Completed", failed: "failed", duration: "Duration", rps: "Request throughput", goodput: "Goodput", tput: "Output throughput", total: "in + out", partial: "The run was stopped before its end.", not_sent: "not sent", not_logged: "not in the log (not sent, in flight, or in its last second)", notes: "Notes", per_event: "Tokens per event",
  sampled: "Evenly down-sampled: ", itl_note: "Percentiles of gaps are exact to within 1 %.", bucket: "Each point covers", window: "Lines: percentiles of windows with at least 40 requests on average; dots: requests.", log: "log scale", workers: "Workers", busiest: "Busiest worker's CPU (spinning excluded)", stall_ms: "Largest stall (ms)", kernel_stamps: "Kernel receive stamps",
  clock_steps: "Clock steps", in_flight_peak: "Max in flight", connections_opened: "Connections opened", throttled_ms: "Throttled by the control group (ms)", retransmits: "TCP retransmits on this host", files: "Open descriptors, max / limit",
  service: "E2EL from the send", response: "E2EL from the due instant", own: "Send lateness of the client itself",
  intervals: "95 % intervals of this start of the server", interval: "95 % interval", independent: "if requests were independent", unit: "Unit", value: "Value",
  intervals_note: "Requests depend on their neighbours, so that the intervals come from batches of successive requests; n_eff independent requests would give the same precision. Noise from one start of the server to the next is not in them.", coalesced: "Coalesced events", lateness: "Send lateness", received: "Receive lag",
});
Object.assign(TEXT.zh, {
  flight: "在途请求数", flight_mean: "均值", flight_max: "最大", tokens: "每秒输出 token", no_stream: "回答未流式返回：只知道其结束时刻。", tokens_unknown: "成功回答的 token；token 数未知的事件平均分摊该回答的 token。",
  ttft_time: "首 token 延迟（按发送时间）", itl_time: "token 事件间隔随时间变化", dist: "分布", dist_y: "累计比例", timeline: "请求时间线",
  time_axis: "自运行开始的时间（秒）", lane_axis: "通道", request: "请求", wait: "至首 token", gen: "生成", fail: "失败", client: "客户端：发送迟到与接收滞后", late: "最大发送迟到", lag: "最大接收滞后",
  slow: "最慢的请求", errors: "错误", no_errors: "没有请求失败。", settings: "设置", defaults: "取默认值的设置", about: "本次运行", started: "开始时间", version: "版本", urls: "服务器地址", command: "命令", env: "环境", server: "服务器指标", self: "客户端自我检查", stats: "延迟 (ms)",
  metric: "指标", samples: "样本数", mean: "均值", median: "中位数", std: "标准差", idx: "请求", sent: "发送时刻（秒）", outtok: "输出 token", outcome: "结局", status: "状态", count: "次数", example: "示例", message: "信息",
  verdict: "判定：", verdict_ok: "没有发现不利于这些数据的情况。", completed: "完成", failed: "失败", duration: "时长", rps: "请求吞吐量", goodput: "有效吞吐量", tput: "输出吞吐量", total: "总吞吐量", partial: "运行被提前停止。", not_sent: "未发送", not_logged: "不在日志中（未发送、仍在处理，或属于日志缺失的最后一秒）", notes: "备注", per_event: "每个事件的 token 数",
  sampled: "均匀抽样：", itl_note: "间隔的百分位误差在 1 % 以内。", bucket: "每点覆盖", window: "线：平均至少 40 个请求的时间窗内的百分位；点：请求。", log: "对数刻度", workers: "工作线程", busiest: "最忙线程的 CPU（不含自旋）", stall_ms: "最大停顿 (ms)", kernel_stamps: "内核接收时间戳",
  clock_steps: "时钟跳变", in_flight_peak: "最大在途数", connections_opened: "打开的连接", throttled_ms: "控制组限流 (ms)", retransmits: "本机 TCP 重传", files: "打开的描述符，最多 / 上限",
  service: "E2EL（自发送起）", response: "E2EL（自应发时刻起）", own: "客户端自身迟到",
  intervals: "服务器本次启动的 95 % 区间", interval: "95 % 区间", independent: "假如请求相互独立", unit: "单位", value: "数值",
  intervals_note: "相邻请求相互关联，因此区间来自连续请求的分批；n_eff 个独立请求可达到同样的精度。各次启动之间的波动不包含在内。", coalesced: "合并到达的事件", lateness: "发送迟到", received: "接收滞后",
});

const S = DATA.summary, X = DATA.extras ?? {}, ROWS = DATA.series.rows, W = DATA.series.width;
let distMetric = ["ttft", "tpot", "itl", "e2el"].filter((m) => DATA.distributions[m]);

function facts(pairs) {
  return el("dl", { className: "facts" }, ...pairs.flatMap(([k, v]) => [el("dt", { textContent: k }), el("dd", { textContent: v })]));
}
function table(head, rows, left = []) {
  return el("div", { className: "scroll short", tabIndex: 0 }, el("table", {},
    el("thead", {}, el("tr", {}, ...head.map((h, i) => el("th", { "@scope": "col", className: left.includes(i) ? "l" : "", textContent: h })))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, i) => el("td", { className: left.includes(i) ? (i === left.at(-1) && i > 1 ? "l wrap" : "l") : "", textContent: cell ?? "–" })))))));
}
function plain(parent, title, ...children) {
  parent.append(el("section", { className: "card" }, el("header", {}, el("h2", { textContent: title })), ...children));
}
/** Beside a percentile that has fewer samples than it needs. */
const few = (s, need) => (s.n && need && s.n < need ? ` (n ${s.n} < ${need})` : "");
const spread = (s) => (s ? `p50 ${ms(s.p50)}, p99 ${ms(s.p99)}, max ${ms(s.max)}` : null);

/** Lines over time: (name, column, colour, dashed). */
function overTime(view, columns, unit, more = {}) {
  const used = columns.filter(([, column]) => ROWS.some((row) => finite(row[column])));
  if (!used.length) return void draw(view.box, null);
  const log = unit === "ms" && spans(used.flatMap(([, column]) => ROWS.map((row) => row[column]).filter((v) => finite(v) && v > 0)), 30);
  const chart = draw(view.box, base(view.box.getAttribute("aria-label"), {
    grid: { left: 64, right: 20, top: 40, bottom: 68 },
    xAxis: axis(t("time_axis"), { at: "x", min: 0, max: ROWS.length * W, nameGap: 24 }), yAxis: axis(unit + (log ? ` (${t("log")})` : ""), { log }), dataZoom: [...zoom(), slider()],
    series: [...(more.series ?? []), ...used.map(([name, column, index, dashed]) => ({
      type: "line", name, step: more.step, symbol: "none", sampling: "lttb", connectNulls: column === 4 || column === 5, z: 3,
      data: ROWS.map((row) => [row[0] + (more.step ? 0 : W / 2), log && !(row[column] > 0) ? null : row[column]]),
      lineStyle: { width: dashed ? 1.4 : 2, color: color(index), type: dashed ? "dashed" : "solid" }, itemStyle: { color: color(index) }, areaStyle: more.area && !dashed ? { color: color(index), opacity: 0.12 } : undefined }))],
    tooltip: { ...base("").tooltip, trigger: "axis", formatter: (points) => {
      const row = ROWS[Math.min(ROWS.length - 1, Math.floor((points[0]?.axisValue ?? 0) / W))];
      return tip(`${num(row[0], 5)}–${num(row[0] + W, 5)} s`, used.map(([name, column]) => [name, unit === "ms" ? ms(row[column]) : num(row[column], 4)]));
    } },
  }));
  chart.group = "time";
}

function drawDistributions(view) {
  const shown = distMetric.filter((m) => DATA.distributions[m]);
  if (!shown.length) return void draw(view.box, null);
  const values = shown.flatMap((m) => DATA.distributions[m].q.map((q) => q[0])).filter((v) => v > 0);
  const log = spans(values, 20);
  draw(view.box, base(t("dist"), {
    xAxis: axis("ms" + (log ? ` (${t("log")})` : ""), { at: "x", log, scale: true }), yAxis: axis(t("dist_y"), { min: 0, max: 1, axisLabel: { color: css("--soft"), formatter: (v) => Math.round(v * 100) + " %" } }), dataZoom: zoom(),
    series: shown.map((m, i) => ({ type: "line", step: "end", symbol: "none", name: m.toUpperCase(), data: DATA.distributions[m].q.filter((q) => !log || q[0] > 0), lineStyle: { width: 2, color: color(i) }, itemStyle: { color: color(i) },
      markLine: i ? undefined : { silent: true, symbol: "none", lineStyle: { color: css("--line"), type: "solid" }, label: { color: css("--soft"), formatter: (p) => p.name, position: "insideStartTop" }, data: [0.5, 0.9, 0.99].map((p) => ({ yAxis: p, name: "p" + p * 100 })) } })),
    tooltip: { ...base("").tooltip, trigger: "axis", axisPointer: { type: "line" }, formatter: (ps) => tip(ms(ps[0]?.axisValue), ps.map((p) => [p.seriesName, percent(p.value[1])])) },
  }));
  view.note.textContent = shown.map((m) => `${m.toUpperCase()}: n = ${num(DATA.distributions[m].n, 9)}`).join(" · ") + (DATA.distributions.itl ? " · " + t("itl_note") : "");
}

function build() {
  for (const chart of charts.values()) chart.dispose();
  charts.clear();
  document.title = DATA.title;
  document.getElementById("top").replaceChildren(el("h1", { textContent: DATA.title }), badge(DATA.verdict), el("span", { className: "sub", textContent: [DATA.about.started, DATA.about.version, DATA.partial ? t("partial") : ""].filter(Boolean).join(" · ") }), el("span", { className: "grow" }), ...topButtons(build));
  const main = document.getElementById("main"), tiles = el("div", { className: "tiles" }), cards = el("div", { className: "cards" });
  main.replaceChildren(tiles, cards);
  const stat = (m) => S.stats.find((s) => s.metric === m);
  const tile = (k, v, u, w) => el("div", { className: "tile" }, el("div", { className: "k", textContent: k }), el("div", { className: "v", textContent: v }, el("span", { className: "u", textContent: u })), el("div", { className: "w", textContent: w ?? "" }));
  const latency = (m, name) => { const s = stat(m); return s && s.n ? [tile(name, num(s.median), "ms p50", s.p.map(([p, v, need]) => `p${p} ${ms(v)}${few(s, need)}`).join(" · "))] : []; };
  tiles.append(tile(t("completed"), num(S.completed, 9), "", `${num(S.failed, 9)} ${t("failed")}` + (S.not_sent ? `, ${num(S.not_sent, 9)} ${t(DATA.recovered ? "not_logged" : "not_sent")}` : "")), tile(t("tput"), num(S.output_throughput, 4), "tok/s", `${t("total")} ${num(S.total_throughput, 4)} tok/s`),
    tile(t("rps"), num(S.request_throughput, 4), "req/s", `${t("duration")} ${num(S.duration, 4)} s`), ...(S.goodput !== null ? [tile(t("goodput"), num(S.goodput, 4), "req/s")] : []),
    ...latency("ttft", "TTFT"), ...latency("tpot", "TPOT"), ...latency("e2el", "E2EL"));
  const reasons = DATA.verdict.reasons.map((r) => el("li", {}, badge({ level: r.level }), " ", el("code", { textContent: r.code }), el("div", { textContent: finding(r)[0] }), el("div", { className: "sub", textContent: finding(r)[1] })));
  const notes = (X.notes ?? []).map((n) => el("li", {}, el("code", { textContent: n.code }), el("div", { className: "sub", textContent: (lang === "zh" && n.zh) || n.message })));
  const verdict = el("section", { className: "card wide" }, el("header", {}, el("h2", { textContent: DATA.verdict.level === "VALID" && !reasons.length ? t("verdict_ok") : `${t("verdict")}${DATA.verdict.level}` })), reasons.length ? el("ul", { className: "reasons" }, ...reasons) : null,
    notes.length ? el("ul", { className: "reasons", "@aria-label": t("notes") }, ...notes) : null);
  cards.append(verdict);
  const bucket = `${t("bucket")} ${ms(W * 1e3)}.`;
  const flight = card(cards, t("flight")), tokens = card(cards, t("tokens")), ttft = card(cards, t("ttft_time")), itl = card(cards, t("itl_time"));
  overTime(flight, [[t("flight_mean"), 1, 0], [t("flight_max"), 2, 1, true]], t("requests"), { step: "end", area: true });
  overTime(tokens, [["tok/s", 3, 2]], "tok/s", { step: "end", area: true });
  tokens.note.textContent = bucket + (DATA.series.unknown_tokens ? " " + t("tokens_unknown") : "");
  if (!DATA.series.streamed) tokens.note.textContent = t("no_stream");
  const dots = DATA.timeline.rows.filter((row) => row[2] !== null && !row[4]).map((row) => [row[1], (row[2] - row[1]) * 1e3]).filter((d) => d[1] > 0);
  overTime(ttft, [["p50", 4, 0], ["p95", 5, 1, true]], "ms", { series: [{ type: "scatter", name: t("requests"), data: dots, symbolSize: 4, large: dots.length > 3000, largeThreshold: 3000, itemStyle: { color: color(5), opacity: 0.45 }, silent: true, z: 1 }] });
  overTime(itl, [["p50", 6, 0], ["p99", 7, 1], ["max", 8, 3, true]], "ms");
  ttft.note.textContent = t("window") + (DATA.timeline.rows.length < DATA.timeline.total ? ` ${t("sampled")}${num(DATA.timeline.rows.length, 6)} ${t("of")} ${num(DATA.timeline.total, 9)} ${t("requests")}` : "");
  itl.note.textContent = `${bucket} ${t("itl_note")}`;
  if (!DATA.series.streamed) ttft.note.textContent = itl.note.textContent = t("no_stream");
  const dist = card(cards, t("dist"), { tall: true }), client = card(cards, t("client"), { tall: true });
  drawDistributions(dist);
  overTime(client, [[t("late"), 9, 1], [t("lag"), 10, 0]], "ms");
  client.note.textContent = bucket;
  const time = card(cards, t("timeline"), { wide: true, tall: true });
  draw(time.box, DATA.timeline.rows.length ? base(t("timeline"), { ...timelineOption(DATA.timeline.rows), dataZoom: [...zoom(), slider()], grid: { left: 64, right: 20, top: 40, bottom: 76 }, tooltip: { ...base("").tooltip, formatter: (p) => timelineTip(p.value) } }) : null);
  time.note.textContent = DATA.timeline.rows.length < DATA.timeline.total ? `${t("sampled")}${num(DATA.timeline.rows.length, 6)} ${t("of")} ${num(DATA.timeline.total, 9)} ${t("requests")}` : `${num(DATA.timeline.total, 9)} ${t("requests")}`;
  const ps = [...new Set(S.stats.flatMap((s) => s.p.map(([p]) => p)))].sort((a, b) => a - b);
  plain(cards, t("stats"), table([t("metric"), t("samples"), t("mean"), t("median"), t("std"), ...ps.map((p) => "p" + p)], S.stats.map((s) => [s.metric.toUpperCase(), num(s.n, 9), ...[s.mean, s.median, s.std].map((v) => (s.n ? num(v, 4) : "–")), ...ps.map((p) => { const found = s.p.find(([q]) => q === p); return found && s.n ? num(found[1], 4) + few(s, found[2]) : "–"; })]), [0]));
  const range = (r) => (r ? `${num(r[0], 4)} – ${num(r[1], 4)}` : "–");
  if (DATA.intervals.length) plain(cards, t("intervals"), el("p", { className: "note", textContent: t("intervals_note") }), table([t("metric"), t("unit"), t("value"), t("interval"), t("requests"), "n_eff", t("independent")],
    DATA.intervals.map((r) => [r.metric, r.unit, num(r.value, 4), r.bounds ? range(r.bounds) : r.why[lang === "zh" ? 1 : 0], num(r.n, 9), r.n_eff === null ? "–" : num(r.n_eff, 9), range(r.independent)]), [0]));
  plain(cards, t("slow"), table([t("idx"), t("sent"), "TTFT", "E2EL", t("outtok")], DATA.slowest.map(([i, at, first, e2el, n]) => [String(i), num(at, 5), ms(first), ms(e2el), String(n)]), [0]));
  plain(cards, t("errors"), DATA.errors.length ? table([t("outcome"), t("status"), t("count"), t("example"), t("message")], DATA.errors.map(([o, s, text, n, i]) => [o, s === null ? "–" : String(s), String(n), "#" + i, text]), [0, 4]) : el("p", { className: "note", textContent: t("no_errors") }));
  const known = [[t("service"), spread(X.service?.e2el_ms)], [t("response"), spread(X.response?.e2el_ms)], [t("lateness"), spread(X.arrival?.lateness_ms)], [t("own"), spread(X.arrival?.own_lateness_ms)], [t("received"), spread(X.receive?.lag_ms)],
    [t("per_event"), finite(X.gaps?.mean_tokens_per_event) ? num(X.gaps.mean_tokens_per_event, 3) : null],
    [t("coalesced"), finite(X.receive?.coalesced_share) ? percent(X.receive.coalesced_share) : null], ...Object.entries(DATA.health).map(([k, v]) => [t(k), k === "busiest" || k === "kernel_stamps" ? percent(v) : typeof v === "number" ? num(v, 5) : String(v)])];
  plain(cards, t("self"), facts(known.filter(([, v]) => v !== null)));
  const about = [[t("started"), DATA.about.started], [t("version"), DATA.about.version], [t("urls"), DATA.about.urls.join(", ")]].filter(([, v]) => v);
  const command = DATA.about.command ? el("pre", { className: "command", tabIndex: 0, textContent: DATA.about.command }) : null;
  if (about.length || command) plain(cards, t("about"), facts(about), ...(command ? [el("h3", { textContent: t("command") }), command] : []));
  const defaults = DATA.defaults.length ? [el("details", { className: "defaults" }, el("summary", { textContent: `${t("defaults")} (${DATA.defaults.length})` }), facts(DATA.defaults))] : [];
  if (DATA.settings.length || defaults.length) plain(cards, t("settings"), facts(DATA.settings), ...defaults);
  for (const [key, title] of [["environment", "env"], ["server", "server"]]) {
    if (DATA[key].length) plain(cards, t(title), facts(DATA[key]));
  }
  echarts.connect("time");
  document.documentElement.dataset.ready = "true";
}
build();
