"use strict";
// The request timeline on a canvas: drag to move, wheel or buttons to zoom, arrow keys and +/− on the keyboard.
// A row is [index, ok, prompt tokens, output tokens, start, first token, (class, length, gaps) …] in microseconds.

Object.assign(TEXT.en, {
  title: "Request timeline", ttft: "TTFT", below: "ITL <", between: "ITL", above: "ITL ≥", fail: "failed", request: "Request", tokens: "tokens in / out", start: "start", total: "total",
  fit: "Fit", in: "Zoom in", out: "Zoom out", help: "Drag to move; wheel to zoom (with Shift: only time); arrow keys and + − work too.", sampled: "Evenly down-sampled: ", axis: "Time from the start of the run (s)", gaps: "token events, mean gap",
});
Object.assign(TEXT.zh, {
  title: "请求时间线", ttft: "TTFT", below: "ITL <", between: "ITL", above: "ITL ≥", fail: "失败", request: "请求", tokens: "输入 / 输出 token", start: "开始", total: "总计",
  fit: "全部", in: "放大", out: "缩小", help: "拖动移动；滚轮缩放（按住 Shift 仅缩放时间）；也可用方向键与 + −。", sampled: "均匀抽样：", axis: "自运行开始的时间（秒）", gaps: "个 token 事件，平均间隔",
});

const LIST = DATA.rows.slice().sort((a, b) => a[4] - b[4] || a[0] - b[0]);
const endOf = (row) => { let end = row[5]; for (let i = 6; i < row.length; i += 3) end += row[i + 1]; return end; };
const ENDS = LIST.map(endOf);
const START = LIST.length ? Math.min(...[LIST[0][4]]) : 0;
const LAST = ENDS.reduce((a, b) => Math.max(a, b), START + 1);
const COLORS = () => (isDark() ? ["#3fc99b", "#e8b04a", "#ff7a5c", "#56b4e9", "#ff8a80"] : ["#009e73", "#e69f00", "#d55e00", "#0072b2", "#8b1a12"]);
const LEFT = 62, BOTTOM = 44, TOP = 8;
const view = { x0: START, x1: LAST, y0: 0, y1: Math.max(1, LIST.length) };
let canvas, tipBox, frame = 0;

function paint() {
  frame = 0;
  const ratio = devicePixelRatio || 1;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  const colors = COLORS();
  const sx = (w - LEFT - 10) / (view.x1 - view.x0), sy = (h - TOP - BOTTOM) / (view.y1 - view.y0);
  const px = (x) => LEFT + (x - view.x0) * sx, py = (y) => TOP + (y - view.y0) * sy;
  c.save();
  c.beginPath();
  c.rect(LEFT, TOP, w - LEFT - 10, h - TOP - BOTTOM);
  c.clip();
  const height = sy > 3 ? sy * 0.84 : Math.max(sy, 1);
  // Rows closer than a pixel would hide each other: every k-th is drawn, and the note says so.
  const skip = Math.max(1, Math.floor(1 / sy));
  for (let r = Math.max(0, Math.floor(view.y0)); r < Math.min(LIST.length, Math.ceil(view.y1)); r += skip) {
    const row = LIST[r], y = py(r), bar = (from, to, fill) => {
      if (to < view.x0 || from > view.x1) return;
      c.fillStyle = fill;
      c.fillRect(px(from), y, Math.max(0.6, (to - from) * sx), height);
    };
    bar(row[4], row[5], row[1] ? colors[3] : colors[4]);
    let at = row[5];
    for (let i = 6; i < row.length; i += 3) { bar(at, at + row[i + 1], colors[row[i]]); at += row[i + 1]; }
  }
  c.restore();
  c.font = `12px ${css("--font")}`;
  c.fillStyle = css("--soft");
  c.strokeStyle = css("--line");
  c.textAlign = "center";
  const step = niceStep((view.x1 - view.x0) / 1e6 / Math.max(2, w / 110));
  for (let s = Math.ceil(view.x0 / 1e6 / step) * step; s * 1e6 <= view.x1; s += step) {
    const x = px(s * 1e6);
    c.beginPath(); c.moveTo(x, h - BOTTOM); c.lineTo(x, h - BOTTOM + 5); c.stroke();
    c.fillText(String(+s.toFixed(6)), x, h - BOTTOM + 18);
  }
  c.fillText(t("axis"), LEFT + (w - LEFT) / 2, h - 6);
  c.textAlign = "right";
  const rows = Math.max(1, niceStep((view.y1 - view.y0) / Math.max(2, h / 50)));
  for (let r = Math.ceil(view.y0 / rows) * rows; r < view.y1; r += rows) if (LIST[r]) c.fillText(String(LIST[r][0]), LEFT - 8, py(r) + Math.min(height, 12));
  c.strokeRect(LEFT, TOP, w - LEFT - 10, h - TOP - BOTTOM);
}
function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((lead) => lead * power).find((s) => s >= rough);
}
const repaint = () => { frame ||= requestAnimationFrame(paint); };

function clamp() {
  const fix = (low, high, min, max, least) => {
    let span = Math.min(max - min, Math.max(least, high - low));
    const from = Math.min(Math.max(low, min), max - span);
    return [from, from + span];
  };
  [view.x0, view.x1] = fix(view.x0, view.x1, START, LAST, 1000);
  [view.y0, view.y1] = fix(view.y0, view.y1, 0, Math.max(1, LIST.length), Math.min(4, Math.max(1, LIST.length)));
  repaint();
}
function zoomAt(factor, fx = 0.5, fy = 0.5, onlyTime = false) {
  const dx = view.x1 - view.x0, dy = view.y1 - view.y0;
  [view.x0, view.x1] = [view.x0 + dx * fx * (1 - factor), view.x1 - dx * (1 - fx) * (1 - factor)];
  if (!onlyTime) [view.y0, view.y1] = [view.y0 + dy * fy * (1 - factor), view.y1 - dy * (1 - fy) * (1 - factor)];
  clamp();
}
function pan(fx, fy) {
  const dx = (view.x1 - view.x0) * fx, dy = (view.y1 - view.y0) * fy;
  view.x0 += dx; view.x1 += dx; view.y0 += dy; view.y1 += dy;
  clamp();
}
const share = (event) => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left - LEFT) / (box.width - LEFT - 10), (event.clientY - box.top - TOP) / (box.height - TOP - BOTTOM)];
};

function hover(event) {
  const [fx, fy] = share(event);
  const r = Math.floor(view.y0 + fy * (view.y1 - view.y0)), at = view.x0 + fx * (view.x1 - view.x0);
  const row = LIST[r];
  tipBox.hidden = !row || fx < 0 || fx > 1 || fy < 0 || fy > 1 || at < row[4] || at > ENDS[r];
  if (tipBox.hidden) return;
  const lines = [[t("tokens"), `${row[2]} / ${row[3]}`], [t("start"), num(row[4] / 1e6, 6) + " s"], [t("ttft"), ms((row[5] - row[4]) / 1e3)], [t("total"), ms((ENDS[r] - row[4]) / 1e3)]];
  let from = row[5];
  for (let i = 6; i < row.length; i += 3) {
    if (at >= from && at < from + row[i + 1]) lines.push([`${row[i + 2]} ${t("gaps")}`, ms(row[i + 1] / row[i + 2] / 1e3)]);
    from += row[i + 1];
  }
  if (!row[1]) lines.push([t("fail"), "✕"]);
  tipBox.replaceChildren(tip(`${t("request")} ${row[0]}`, lines));
  tipBox.style.left = Math.min(event.clientX + 14, innerWidth - 250) + "px";
  tipBox.style.top = Math.min(event.clientY + 14, innerHeight - 150) + "px";
}

function build() {
  document.title = t("title");
  const button = (key, act) => { const b = el("button", { type: "button", textContent: t(key) }); b.onclick = act; return b; };
  document.getElementById("top").replaceChildren(el("h1", { textContent: t("title") }), el("span", { className: "sub", textContent: DATA.rows.length < DATA.total ? `${t("sampled")}${DATA.rows.length} ${t("of")} ${DATA.total}` : `${DATA.total} ${t("requests")}` }), el("span", { className: "grow" }), ...topButtons(build));
  const [low, high] = DATA.thresholds, colors = COLORS();
  const key = (fill, text) => el("span", {}, el("span", { style: `display:inline-block;width:22px;height:11px;border-radius:3px;margin-right:7px;background:${fill}` }), text);
  canvas = el("canvas", { tabIndex: 0, "@role": "img", "@aria-label": t("title"), style: "width:100%;height:max(420px,calc(100vh - 230px));display:block;cursor:grab;touch-action:none" });
  tipBox ??= document.body.appendChild(el("div", { hidden: true, style: "position:fixed;z-index:9;pointer-events:none;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 11px;box-shadow:0 6px 20px rgb(0 0 0 / .18)" }));
  document.getElementById("main").replaceChildren(
    el("div", { className: "bar", style: "gap:8px 18px" }, key(colors[3], t("ttft")), key(colors[0], `${t("below")} ${low} ms`), key(colors[1], `${t("between")} ${low}–${high} ms`), key(colors[2], `${t("above")} ${high} ms`), key(colors[4], t("fail")), el("span", { className: "grow" }),
      button("in", () => zoomAt(0.5)), button("out", () => zoomAt(2)), button("fit", () => { Object.assign(view, { x0: START, x1: LAST, y0: 0, y1: LIST.length }); clamp(); })),
    el("section", { className: "card" }, canvas, el("p", { className: "note", textContent: t("help") })));
  canvas.onwheel = (event) => { event.preventDefault(); zoomAt(event.deltaY > 0 ? 1.2 : 1 / 1.2, ...share(event), event.shiftKey); };
  let drag = null;
  canvas.onpointerdown = (event) => { drag = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); };
  canvas.onpointermove = (event) => {
    if (!drag) return hover(event);
    pan((drag[0] - event.clientX) / canvas.clientWidth, (drag[1] - event.clientY) / canvas.clientHeight);
    drag = [event.clientX, event.clientY];
  };
  canvas.onpointerup = canvas.onpointercancel = () => { drag = null; };
  canvas.onpointerleave = () => { tipBox.hidden = true; };
  canvas.onkeydown = (event) => {
    const act = { ArrowLeft: () => pan(-0.2, 0), ArrowRight: () => pan(0.2, 0), ArrowUp: () => pan(0, -0.2), ArrowDown: () => pan(0, 0.2), "+": () => zoomAt(0.7), "=": () => zoomAt(0.7), "-": () => zoomAt(1.4), 0: () => zoomAt(1e9) }[event.key];
    if (act) { event.preventDefault(); act(); }
  };
  new ResizeObserver(repaint).observe(canvas);
  clamp();
  document.documentElement.dataset.ready = "true";
}
build();
