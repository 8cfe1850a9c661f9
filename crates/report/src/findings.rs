//! The verdict's findings in Chinese. Their English messages hold the numbers and stay beside them.

use inferometer_core::Reason;
use serde_json::{Map, Value, json};

use crate::Lang;

/// (code, meaning, remedy)
#[rustfmt::skip]
const CHINESE: [(&str, &str, &str); 21] = [
    ("late_sends", "负载没有按计划的时刻发出", "给客户端更多或更快的核（--workers），降低速率，或换一台机器"),
    ("client_cpu", "客户端接近或达到自身极限，可能拖慢了负载", "增加工作线程（--workers）或客户端机器"),
    ("near_ceiling", "客户端余量很小，突发时可能不堪重负", "增加客户端机器；若本机已变化，请重新测量上限"),
    ("worker_stall", "停顿期间应发的请求迟到，接收缓冲区满时可能阻塞服务器", "停止本机其他程序，绑定工作线程（--pin），然后重新运行"),
    ("stall_in_stamps", "时间戳由进程自己获取，停顿计入了所报延迟", "在 Linux 上直连运行，使内核为收到的数据打时间戳"),
    ("receive_lag", "客户端读取较慢；延迟正确，但闭环的反应偏晚", "增加工作线程（--workers），或停止本机其他程序"),
    ("coalesced", "这些事件的时间戳只是上界：token 间隔部分为零，部分过长", "以 TPOT 代替 ITL，或让服务器逐个发送 token"),
    ("cap_binding", "并发上限拖慢了负载：实际上成为闭环，自发送起的延迟不含等待", "提高或去掉所设的上限（--max-concurrency 或 --multi-turn-max-active），或查看响应延迟"),
    ("offered_rate", "服务器收到的请求比计划的少", "降低 --request-rate，或给客户端更多的核"),
    ("too_few_samples", "请求太少，如此高的百分位只是偶然", "把 --num-prompts 提高到所示数量，或使用较低的百分位"),
    ("failures", "延迟只包含成功的请求，失败的请求提前释放了服务器", "查看结果中的错误，降低负载或修复服务器"),
    ("truncated", "服务器或其前方的环节提前结束了流", "检查代理的时间限制和服务器日志中的崩溃"),
    ("output_length", "实际工作量与要求不符，吞吐量无法比较", "确认服务器遵守 max_tokens 与 ignore_eos"),
    ("natural_end", "回答远未达到上限就自行结束，负载比看上去轻", "加 --ignore-eos 以固定长度，或使用模型实际会用到的长度"),
    ("usage_disagreement", "两种 token 计数必有一个错误，每秒 token 数也随之错误", "确认 --tokenizer 与所服务的模型一致"),
    ("clock_step", "内核时间戳基于系统时钟，跨越跳变的时间段会有同样大小的误差", "等待时钟稳定（chronyc tracking）后重新运行"),
    ("throttled", "客户端被容器的限额暂停", "提高客户端容器的 CPU 限额"),
    ("backlog_growing", "服务器处理不及，延迟取决于运行时长", "把 --request-rate 降到服务器能力以下，或延长运行"),
    ("identical_prompts", "前缀缓存会应答重复的提示词，服务器显得比实际快", "使用行数更多的数据集，或减少请求数"),
    ("cache_hits", "部分提示词没有被计算", "在运行之间重置缓存，或更换 --seed"),
    ("partial_run", "运行被提前停止，慢请求比快请求缺失得更多", "让运行自行结束"),
];

/// Message and remedy of a finding in `lang`. Codes that are not known keep their English text.
pub(crate) fn texts(reason: &Reason, lang: Lang) -> (String, String) {
    let known = CHINESE
        .iter()
        .find(|(code, ..)| lang == Lang::Zh && *code == reason.code);
    match known {
        Some((_, meaning, remedy)) if reason.message.is_empty() => {
            ((*meaning).to_owned(), (*remedy).to_owned())
        }
        Some((_, meaning, remedy)) => (
            format!("{meaning}（{}）", reason.message),
            (*remedy).to_owned(),
        ),
        None => (reason.message.clone(), reason.remedy.clone()),
    }
}

/// The Chinese texts by code, for pages that can switch their language.
pub(crate) fn table() -> Value {
    let pairs = CHINESE
        .iter()
        .map(|(code, meaning, remedy)| ((*code).to_owned(), json!([meaning, remedy])));
    Value::Object(pairs.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_verdict_has_a_chinese_text() {
        for rule in inferometer_metrics::RULES {
            assert!(
                CHINESE.iter().any(|(code, ..)| *code == rule.code),
                "{} is missing",
                rule.code
            );
        }
    }
}
