"use strict";
// The dashboard's texts.

Object.assign(TEXT.en, {
  title: "Benchmark dashboard", reset: "Reset", clear: "Clear selection", search: "Search runs", model: "Model", backend: "Backend",
  lens: "Lengths", cap: "Concurrency", rate: "Rate", verdict: "Verdict", label: "Label", mixed: "mixed lengths", unlimited: "unlimited",
  best_tput: "Highest output throughput", best_ttft: "Lowest median TTFT", best_tpot: "Lowest median TPOT", good: "Completed requests", failed: "failed",
  pareto: "Throughput against speed per user", per_user: "Output tokens/s per user", tput: "Output tokens/s", frontier: "frontier",
  pareto_note: "Up and to the right is better. Points are means over repeats. Frontier: no other shown setting with the same workload is better in both. CAUTION is hollow; INVALID has a red ring and is not on it. Drag the brush (toolbox) to select runs.",
  no_load: "without a load level", not_used: "runs not used (INVALID or no answers)", left_out: "Not used for means (INVALID or no answers): ", mean_of: "mean of",
  few: "Of too few requests, largely chance: ",
  curve: "Metric against load", conc_axis: "Concurrency cap", rate_axis: "Request rate (req/s)",
  bands: "Percentile bands", band_note: "Line: median; dotted: mean; bands: to each stored percentile.", heat: "Heat map",
  ab: "A/B comparison", ab_diff: "B against A", ab_note: "Relative difference of means at loads that both have. With single runs, the noise is unknown.", no_common: "A and B have no load in common",
  dist: "Distribution", dist_y: "Fraction at or below", dist_empty: "No shown run has per-request data: draw run folders, or save with --save-detailed", timeline: "Request timeline",
  time_axis: "Time from the first send (s)", lane_axis: "Lane", request: "Request", wait: "to first token", gen: "generation", fail: "failed",
  table: "Runs", csv: "Export CSV", rows_sep: " ", rows_note: "shown; select rows to highlight them in all charts.", sampled: "Evenly down-sampled: ",
  name: "Run", median: "median", mean: "mean", intervals: "Points are means over repeats; bars are 95 % intervals.", none_match: "No run matches the filters",
  load: "load", choose: "Metric", log: "log scale", series: "Series", repeats: "repeats", select: "Select",
});
Object.assign(TEXT.zh, {
  title: "基准测试仪表板", reset: "重置", clear: "清除选择", search: "搜索运行", model: "模型", backend: "后端",
  lens: "长度", cap: "并发", rate: "速率", verdict: "判定", label: "标签", mixed: "混合长度", unlimited: "不限",
  best_tput: "最高输出吞吐量", best_ttft: "最低 TTFT 中位数", best_tpot: "最低 TPOT 中位数", good: "完成的请求", failed: "失败",
  pareto: "输出吞吐量与单用户速度", per_user: "单用户输出 token/秒", tput: "输出 token/秒", frontier: "前沿",
  pareto_note: "越靠右上越好。点为重复运行的均值。前沿：所示设置中，相同工作负载下没有其他设置在两方面都更好。CAUTION 为空心；INVALID 带红圈，不计入前沿。用工具栏的框选工具选择运行。",
  no_load: "无负载水平", not_used: "未采用的运行（INVALID 或无回答）", left_out: "未计入均值（INVALID 或无回答）：", mean_of: "均值，次数",
  few: "请求数不足，多属偶然：",
  curve: "指标与负载", conc_axis: "并发上限", rate_axis: "请求速率（请求/秒）",
  bands: "百分位带", band_note: "实线：中位数；点线：均值；色带：至各已存百分位。", heat: "热力图",
  ab: "A/B 对比", ab_diff: "B 相对 A", ab_note: "在双方共有负载上均值的相对差异。仅有单次运行时波动未知。", no_common: "A 与 B 没有共同的负载",
  dist: "分布", dist_y: "累计比例", dist_empty: "所示运行均无逐请求数据：请绘制运行目录，或用 --save-detailed 保存", timeline: "请求时间线",
  time_axis: "自首次发送起的时间（秒）", lane_axis: "通道", request: "请求", wait: "至首 token", gen: "生成", fail: "失败",
  table: "运行列表", csv: "导出 CSV", rows_sep: "", rows_note: "；选中行可在所有图中突出显示。", sampled: "均匀抽样：",
  name: "运行", median: "中位数", mean: "均值", intervals: "点为重复运行的均值，误差线为 95 % 区间。", none_match: "没有符合筛选条件的运行",
  load: "负载", choose: "指标", log: "对数刻度", series: "序列", repeats: "重复", select: "选择",
});
