//! The documentation says what the code does.

use inferometer_sim::ALL_FAULTS;
use inferometer_sim::engine::{GPUS, MODELS};

#[test]
fn the_fault_table_is_complete_and_exact() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/simulator.md");
    let text = std::fs::read_to_string(path).unwrap();
    for fault in ALL_FAULTS {
        let row = format!("| `{}` | {} | {} |", fault.name, fault.doc, fault.outcome);
        assert!(
            text.contains(&row),
            "docs/simulator.md lacks this row: {row}"
        );
    }
    for name in MODELS
        .iter()
        .map(|model| model.name)
        .chain(GPUS.iter().map(|gpu| gpu.name))
    {
        assert!(
            text.contains(&format!("`{name}`")),
            "docs/simulator.md does not name {name}"
        );
    }
}
