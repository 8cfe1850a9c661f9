//! How precise the numbers of the table are: one line per metric.

use inferometer_metrics::{Intervals, Metric, MetricInterval};

use super::entries::Block;
use crate::Lang;
use crate::format::{count, fixed2};

/// The lines on intervals of the numbers that the table shows; nothing without numbers.
pub(super) fn interval_lines(block: &mut Block, intervals: &Intervals) {
    let rows: Vec<Row<'_>> = intervals.metrics.iter().filter_map(Row::of).collect();
    let lang = block.lang;
    let title = lang.pick("95 % intervals", "95 % 区间");
    if rows.iter().all(|row| row.entry.bounds.is_none()) {
        no_interval(block, title, &rows);
        return;
    }
    block.entry(
        title,
        lang.pick(
            "of this start of the server; noise from one start to the next is not in them",
            "针对服务器的本次启动；不包含各次启动之间的波动",
        ),
    );
    let mut groups: Vec<&str> = rows.iter().map(|row| row.group).collect();
    groups.dedup();
    for group in groups {
        let of_group = rows.iter().filter(|row| row.group == group);
        let shown: Vec<&Row<'_>> = of_group.filter(|row| row.entry.bounds.is_some()).collect();
        if shown.is_empty() {
            continue;
        }
        let mut parts: Vec<String> = shown.iter().filter_map(|row| row.text(lang)).collect();
        parts.extend(shown.first().and_then(|row| row.effective(lang)));
        let label = if group == RATES {
            lang.pick("  Throughput", "  吞吐量")
        } else {
            group
        };
        block.entry(label, &parts.join(" · "));
    }
    none_for(block, reasons(&rows, lang));
}

/// The lines of a run none of whose numbers has an interval.
fn no_interval(block: &mut Block, title: &str, rows: &[Row<'_>]) {
    let lang = block.lang;
    let reasons = reasons(rows, lang);
    match &reasons[..] {
        [] => {}
        [only] => {
            let none = lang.pick("none", "无");
            block.entry(title, &format!("{none}{}{}", colon(lang), only.why));
        }
        _ => {
            let all: Vec<String> = reasons.iter().map(|reason| reason.sentence(lang)).collect();
            let text = match lang {
                Lang::En => format!("none ({})", all.join("; ")),
                Lang::Zh => format!("无（{}）", all.join("；")),
            };
            block.entry(title, &text);
        }
    }
}

fn none_for(block: &mut Block, reasons: Vec<Reason>) {
    let lang = block.lang;
    for reason in reasons {
        let label = lang.pick("  None for", "  没有区间");
        block.entry(label, &reason.sentence(lang));
    }
}

fn colon(lang: Lang) -> &'static str {
    lang.pick(": ", "：")
}

/// Label of the rates, which share a line.
const RATES: &str = "";

/// One number of the table.
struct Row<'a> {
    group: &'static str,
    /// Statistic of a latency, or the unit of a rate.
    name: String,
    entry: &'a MetricInterval,
}

impl<'a> Row<'a> {
    /// `None` for numbers that the table does not show.
    fn of(entry: &'a MetricInterval) -> Option<Self> {
        let (group, name) = match entry.metric.as_str() {
            "request_throughput" => (RATES, "req/s".to_owned()),
            "request_goodput" => (RATES, "good req/s".to_owned()),
            "output_throughput" => (RATES, "tok/s".to_owned()),
            key => {
                let (statistic, metric) = key.strip_suffix("_ms")?.split_once('_')?;
                let group = match Metric::from_key(metric)? {
                    Metric::Ttft => "  TTFT",
                    Metric::Tpot => "  TPOT",
                    Metric::Itl => "  ITL",
                    Metric::E2el => "  E2EL",
                    Metric::ClientQueueTime => "  Client queue",
                    Metric::E2elIncludingClientQueue => "  E2EL incl. queue",
                };
                (group, statistic.replace('p', "P"))
            }
        };
        Some(Self { group, name, entry })
    }

    /// The interval in words.
    fn text(&self, lang: Lang) -> Option<String> {
        let bounds = self.entry.bounds?;
        let (low, high) = (fixed2(bounds.low), fixed2(bounds.high));
        let range = match lang {
            Lang::En => format!("{low} to {high}"),
            Lang::Zh => format!("{low} 至 {high}"),
        };
        let name = self.statistic(lang);
        Some(if self.group == RATES {
            format!("{range} {name}")
        } else {
            format!("{name} {range} ms")
        })
    }

    fn statistic(&self, lang: Lang) -> &str {
        match (self.name.as_str(), lang) {
            ("mean", Lang::Zh) => "均值",
            ("median", Lang::Zh) => "中位数",
            (name, _) => name,
        }
    }

    /// How many independent requests the requests of this number are worth.
    fn effective(&self, lang: Lang) -> Option<String> {
        let n_eff = self.entry.bounds?.n_eff.filter(|_| self.group != RATES)?;
        let n_eff = count(n_eff.round() as u64);
        let requests = count(self.entry.requests as u64);
        Some(match lang {
            Lang::En => format!("n_eff {n_eff} of {requests} requests"),
            Lang::Zh => format!("{requests} 个请求的 n_eff 为 {n_eff}"),
        })
    }

    /// The number itself.
    fn full_name(&self, lang: Lang) -> String {
        let name = self.statistic(lang);
        match (self.group, lang) {
            (RATES, Lang::En) => self.entry.metric.replace('_', " "),
            (RATES, Lang::Zh) => name.to_owned(),
            (group, _) => format!("{name} {}", group.trim()),
        }
    }
}

/// Why some numbers have no interval.
struct Reason {
    names: Vec<String>,
    why: String,
}

impl Reason {
    /// The numbers and why they have no interval.
    fn sentence(&self, lang: Lang) -> String {
        let names = self.names.join(lang.pick(", ", "、"));
        format!("{names}{}{}", colon(lang), self.why)
    }
}

/// The reasons in order of their first numbers. A statistic that no latency has an interval of is
/// named once, without the latencies.
fn reasons(rows: &[Row<'_>], lang: Lang) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for row in rows {
        let Some(refused) = row.entry.refused else {
            continue;
        };
        let same = |other: &&Row<'_>| other.group != RATES && other.name == row.name;
        let everywhere = rows
            .iter()
            .filter(same)
            .all(|other| other.entry.refused == Some(refused));
        let name = if everywhere && row.group != RATES {
            row.statistic(lang).to_owned()
        } else {
            row.full_name(lang)
        };
        let why = match lang {
            Lang::En => refused.sentence(),
            Lang::Zh => refused.sentence_zh(),
        };
        match reasons.iter_mut().find(|reason| reason.why == why) {
            Some(reason) if reason.names.contains(&name) => {}
            Some(reason) => reason.names.push(name),
            None => reasons.push(Reason {
                names: vec![name],
                why,
            }),
        }
    }
    reasons
}
