use super::*;

#[test]
fn every_page_of_the_documentation_is_a_topic() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
    let mut pages: Vec<String> = std::fs::read_dir(docs)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
        .collect();
    pages.sort();
    let topics: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    assert_eq!(pages, topics);
}

#[test]
fn links_name_the_command_that_shows_the_page() {
    assert_eq!(
        linked("see [sweeps.md](sweeps.md#aggregate)"),
        "see [sweeps.md](inferometer help sweeps#aggregate)"
    );
}
