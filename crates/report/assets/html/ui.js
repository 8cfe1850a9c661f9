"use strict";
// Shared by the pages: texts, theme, small DOM helpers, number formats, chart plumbing.
// Text from results only ever becomes textContent or canvas text, never markup.

const DATA = JSON.parse(document.getElementById("data").textContent);
const TEXT = { en: {}, zh: {} };
let lang = DATA.lang === "zh" ? "zh" : "en";
const t = (key) => TEXT[lang][key] ?? TEXT.en[key] ?? key;

Object.assign(TEXT.en, {
  theme: "Dark", theme_light: "Light", language: "中文", none: "no verdict", empty: "No data for this chart",
  requests: "requests", of: "of", shown: "shown", runs: "runs", one_run: "run", whole: "whole answer",
});
Object.assign(TEXT.zh, {
  theme: "深色", theme_light: "浅色", language: "English", none: "无判定", empty: "此图没有数据",
  requests: "请求", of: "/", shown: "已显示", runs: "次运行", one_run: "次运行", whole: "整个回答",
});

const PALETTE = {
  light: ["#0072b2", "#d55e00", "#008f68", "#b1558d", "#a87400", "#3a9bd1", "#4d4d4d", "#7a5195"],
  dark: ["#56b4e9", "#f0954a", "#3fc99b", "#e08fc1", "#e3c04a", "#9cc4ff", "#c9ced6", "#b79cf0"],
};
const SHAPES = ["circle", "rect", "triangle", "diamond", "pin", "arrow", "roundRect"];
const isDark = () => document.documentElement.dataset.theme === "dark";
const color = (i) => PALETTE[isDark() ? "dark" : "light"][i % 8];
const shape = (i) => SHAPES[i % SHAPES.length];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** An element with properties, attributes (`@name`) and children. */
function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("@")) node.setAttribute(key.slice(1), value);
    else if (key === "style") node.style.cssText = value;
    else node[key] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const finite = (x) => typeof x === "number" && Number.isFinite(x);
function num(x, digits = 3) {
  if (!finite(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  const decimals = Math.min(6, Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
  return x.toLocaleString("en-US", { minimumFractionDigits: 0, maximumFractionDigits: decimals, useGrouping: size >= 1e4 });
}
function ms(x) {
  if (!finite(x)) return "–";
  const size = Math.abs(x);
  if (size !== 0 && size < 0.9995) return num(x * 1e3) + " µs";
  if (size < 9995) return num(x) + " ms";
  return num(x / 1e3) + " s";
}
const percent = (x) => (finite(x) ? (x * 100).toFixed(Math.abs(x) < 0.1 ? 2 : 1).replace(/\.?0+$/, "") + " %" : "–");
function tick(x) {
  const size = Math.abs(x);
  if (size >= 1e6) return +(x / 1e6).toPrecision(4) + "M";
  if (size >= 1e4) return +(x / 1e3).toPrecision(4) + "k";
  return String(+(+x).toPrecision(4));
}

/** Message and remedy of a finding in the page's language. */
function finding(reason) {
  return lang === "zh" && reason.zh ? reason.zh : [reason.message, reason.remedy];
}
function badge(verdict) {
  const level = verdict?.level ?? "none";
  const known = ["VALID", "CAUTION", "INVALID"].includes(level) ? level : "none";
  const title = (verdict?.reasons ?? []).map((r) => `${r.code}: ${finding(r).join(" ")}`.trim()).join("\n");
  return el("span", { className: "badge " + known, textContent: known === "none" ? t("none") : known, title });
}

// Theme and language -------------------------------------------------------------------------------------

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
// "#dark" or "#light" at the end of the address fixes the theme, for links and prints.
setTheme(location.hash === "#dark" || (location.hash !== "#light" && matchMedia("(prefers-color-scheme: dark)").matches));

function topButtons(redraw) {
  const theme = el("button", { type: "button" });
  const language = el("button", { type: "button", textContent: t("language") });
  const label = () => (theme.textContent = isDark() ? t("theme_light") : t("theme"));
  label();
  theme.onclick = () => { setTheme(!isDark()); label(); redraw(); };
  language.onclick = () => { lang = lang === "en" ? "zh" : "en"; document.documentElement.lang = lang; redraw(); };
  return [language, theme];
}

// Charts -------------------------------------------------------------------------------------------------

const charts = new Map();
let sizes = null;

/** Draws `option` into `box`, or says why there is nothing to draw. */
function draw(box, option, empty) {
  let chart = charts.get(box);
  if (!option) {
    chart?.dispose();
    charts.delete(box);
    box.replaceChildren(el("div", { className: "empty", textContent: empty ?? t("empty") }));
    return null;
  }
  if (!chart) {
    box.replaceChildren();
    chart = echarts.init(box, null, { renderer: "canvas" });
    charts.set(box, chart);
    sizes ??= new ResizeObserver((entries) => {
      for (const entry of entries) charts.get(entry.target)?.resize();
    });
    sizes.observe(box);
  }
  chart.setOption(option, { notMerge: true });
  return chart;
}

function axis(name, { log = false, at = "y", ...more } = {}) {
  return {
    type: log ? "log" : "value", name, nameLocation: "middle", nameGap: at === "y" ? 46 : 28,
    nameTextStyle: { color: css("--ink"), fontSize: 13 },
    axisLabel: { color: css("--soft"), fontSize: 12, formatter: tick, hideOverlap: true, ...(log ? { showMinLabel: false, showMaxLabel: false } : {}) },
    axisLine: { show: at === "x", lineStyle: { color: css("--soft") } },
    axisTick: { show: at === "x", lineStyle: { color: css("--soft") } },
    splitLine: { show: at === "y", lineStyle: { color: css("--grid") } },
    ...(log ? { min: (v) => v.min / 1.2, max: (v) => v.max * 1.2 } : {}),
    ...more,
  };
}

/** What all charts share. */
function base(label, more = {}) {
  return {
    animation: false,
    aria: { enabled: true, label: { description: label } },
    textStyle: { fontFamily: css("--font"), color: css("--ink") },
    grid: { left: 64, right: 20, top: 44, bottom: 48 },
    legend: {
      type: "scroll", top: 4, left: 4, right: 4, itemWidth: 18, itemHeight: 9, itemGap: 14, icon: undefined,
      textStyle: { color: css("--ink"), fontSize: 12.5 }, pageTextStyle: { color: css("--soft") },
      pageIconColor: css("--ink"), pageIconInactiveColor: css("--line"), inactiveColor: css("--soft"),
    },
    tooltip: {
      confine: true, backgroundColor: css("--card"), borderColor: css("--line"), padding: [8, 11],
      textStyle: { color: css("--ink"), fontSize: 13 }, transitionDuration: 0,
    },
    ...more,
  };
}

const zoom = (axes = ["x"]) => axes.map((a) => ({
  type: "inside", [a + "AxisIndex"]: 0, filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, moveOnMouseMove: false,
}));
const slider = () => ({
  type: "slider", xAxisIndex: 0, filterMode: "none", height: 16, bottom: 4, borderColor: css("--line"), showDataShadow: false,
  textStyle: { color: css("--soft"), fontSize: 11 }, fillerColor: css("--hover"), handleStyle: { color: css("--accent") },
  labelFormatter: (v) => tick(v), brushSelect: false,
});

/** A tooltip as DOM: heading and rows of (name, value). */
function tip(title, rows) {
  return el("div", { className: "tip" }, el("b", { textContent: title }),
    ...rows.map(([k, v]) => el("div", {}, el("span", { textContent: k }), el("span", { textContent: v }))));
}

/** Logarithmic when positive values span more than a factor of `span`. */
function spans(values, span) {
  const positive = values.filter((v) => finite(v) && v > 0);
  return positive.length > 1 && positive.length === values.filter(finite).length
    && Math.max(...positive) > span * Math.min(...positive);
}

function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** A CSV cell. A leading sign of a formula is disarmed, because spreadsheets would run it. */
function csvCell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => el("option", { value, textContent: text, selected: value === chosen })));
}

function card(parent, title, { wide = false, tall = false, tools = [] } = {}) {
  const box = el("div", { className: "chart" + (tall ? " tall" : ""), "@role": "img", "@aria-label": title });
  const note = el("p", { className: "note" });
  const section = el("section", { className: "card" + (wide ? " wide" : "") },
    el("header", {}, el("h2", { textContent: title }), ...tools), box, note);
  parent.append(section);
  return { section, box, note };
}
