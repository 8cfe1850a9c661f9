//! What limits a setting and what to do about it, in words.

use super::analysis::Limit;
use super::groups::Load;
use crate::Lang;
use crate::format::{count, percent};

/// One finding as a sentence with its numbers and advice.
pub(super) fn advice(limit: Limit, load: Load, lang: Lang) -> String {
    match (limit, lang) {
        (Limit::Queueing(ttft, tpot), Lang::En) => format!(
            "the first token waits: median TTFT grew {ttft:.1}× from the lowest to the highest load while TPOT grew \
             {tpot:.1}×. Requests queue for prefill; allow a larger batch, shorten or cache prompts, or add replicas."
        ),
        (Limit::Queueing(ttft, tpot), Lang::Zh) => format!(
            "首 token 在排队：从最低到最高负载，TTFT 中位数增至 {ttft:.1} 倍，而 TPOT 为 {tpot:.1} 倍。请求在等待预填充；\
             可增大批次上限、缩短或缓存提示词，或增加副本。"
        ),
        (Limit::Batch(tpot), Lang::En) => format!(
            "generation slows with the batch: median TPOT grew {tpot:.1}×. Memory bandwidth or compute is divided among more \
             requests; lower the cap for interactive use, or use tensor parallelism, quantisation or speculative decoding."
        ),
        (Limit::Batch(tpot), Lang::Zh) => format!(
            "生成随批次变慢：TPOT 中位数增至 {tpot:.1} 倍。更多请求分享显存带宽或算力；交互场景可降低并发上限，\
             或使用张量并行、量化、投机解码。"
        ),
        (Limit::TtftTail(ratio), Lang::En) => format!(
            "some first tokens are very late: at the highest load the TTFT tail is {ratio:.1}× the median. Look for bursts \
             of arrivals, long prompts ahead in the queue, or preemption."
        ),
        (Limit::TtftTail(ratio), Lang::Zh) => format!(
            "部分首 token 很晚：最高负载下 TTFT 尾部为中位数的 {ratio:.1} 倍。请检查突发到达、队列前方的长提示词或抢占。"
        ),
        (Limit::Stutter(ratio), Lang::En) => format!(
            "the stream stutters: at the highest load the ITL tail is {ratio:.1}× the median. Prefills of other requests \
             interrupt generation, or an event carries several tokens; chunked prefill with a smaller budget helps the former."
        ),
        (Limit::Stutter(ratio), Lang::Zh) => format!(
            "输出有停顿：最高负载下 ITL 尾部为中位数的 {ratio:.1} 倍。其他请求的预填充打断了生成，或一个事件带有多个 token；\
             对前者可用更小预算的分块预填充。"
        ),
        (Limit::Failures { failed, all, at }, Lang::En) => {
            format!(
                "{} of the requests failed at {} {at} ({} of {} in all runs, those that are not used included). Read \
                 their errors before using these numbers.",
                percent(failed / all),
                load.short(lang),
                count(failed as u64),
                count(all as u64)
            )
        }
        (Limit::Failures { failed, all, at }, Lang::Zh) => {
            format!(
                "{} {at} 时 {} 的请求失败（所有运行，含未采用的，{} 个请求中的 {} 个）。使用数据前请先查看错误。",
                load.short(lang),
                percent(failed / all),
                count(all as u64),
                count(failed as u64)
            )
        }
        (Limit::Overload(fraction), Lang::En) => format!(
            "overloaded: at the highest rate only {} of the offered requests per second were completed, so latency grows \
             for as long as the run lasts. Latencies there depend on the length of the run, not on the server.",
            percent(fraction)
        ),
        (Limit::Overload(fraction), Lang::Zh) => format!(
            "过载：最高速率下每秒只完成了 {} 的请求，延迟会随运行时长一直增长。此处的延迟反映运行长度，而非服务器。",
            percent(fraction)
        ),
    }
}
