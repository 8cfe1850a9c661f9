use super::*;

#[test]
fn help_shows_a_group_a_keyword_or_everything() {
    let group = find("load").unwrap();
    assert!(
        group.contains("--request-rate") && !group.contains("--result-dir"),
        "{group}"
    );
    let keyword = find("percentile").unwrap();
    assert!(
        keyword.contains("--metric-percentiles") && !keyword.contains("--seed"),
        "{keyword}"
    );
    let all = find("all").unwrap();
    assert!(all.contains("--request-rate") && all.contains("--result-dir"));
    assert!(find("xyzzy").is_err());
}
