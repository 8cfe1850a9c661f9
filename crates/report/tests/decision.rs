//! What a comparison of two groups of runs shows.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_decide::{Asked, Design, Groups, Looks, Member, gate};
use inferometer_report::{DecisionReport, Lang, Question};
use serde_json::json;

fn members(side: &str, factor: f64) -> Vec<Member> {
    let noise = [0.0, 0.01, -0.01, 0.005, -0.005];
    let runs = noise.iter().enumerate().map(|(index, noise)| {
        let row = json!({
            "date": format!("20261101-00{index}0{}", u8::from(side == "b")),
            "completed": 10, "total_input_tokens": 100, "total_output_tokens": 100,
            "mean_ttft_ms": 50.0 * factor * (1.0 + noise),
            "output_throughput": 900.0 * (1.0 - noise),
        });
        Member {
            name: format!("{side}/{index}<b>.json"),
            row: row.as_object().unwrap().clone().into_iter().collect(),
        }
    });
    runs.collect()
}

#[test]
fn a_gate_is_shown_in_every_form() {
    let groups = Groups::new(members("a", 1.0), members("b", 1.2), Design::Groups, &[]).unwrap();
    let asked = ["mean_ttft_ms", "output_throughput"].map(|name| Asked::new(name, 5.0).unwrap());
    let values = groups.values(&asked).unwrap();
    let found = gate(&values, groups.design, &Looks::single(5));
    for lang in [Lang::En, Lang::Zh] {
        let report = DecisionReport {
            groups: &groups,
            question: Question::Gate(&found),
            foresight: None,
            lang,
        };
        let name = |form: &str| format!("gate_{form}_{}", lang.pick("en", "zh"));
        insta::assert_snapshot!(name("text"), report.to_text());
        insta::assert_snapshot!(name("junit"), report.to_junit());
        insta::assert_snapshot!(name("annotations"), report.to_annotations());
        insta::assert_snapshot!(name("svg"), report.figure().to_svg());
    }
}
