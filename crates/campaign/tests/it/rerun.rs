//! A sweep that is simply started again.

use std::fs;
use std::path::Path;

use inferometer_campaign::{
    Campaign, Claim, Identity, Journal, Start, SweepOptions, Tally, check_servers, execute,
    prepare_rerun,
};

use crate::world::{Fake, Fate, campaign_of};

const COMBOS: &str = "
model: m
input_output: [[16, 8]]
concurrency_prompts: [[1, 10], [2, 20], [4, 40]]
";

fn campaign(folder: &Path, text: &str) -> Campaign {
    campaign_of(folder, "combos.yaml", text, SweepOptions::default()).unwrap()
}

fn again(campaign: &Campaign, world: &mut Fake, stamp: &str) -> (Tally, Option<String>) {
    let claim = Claim::take(campaign, Start::Fresh).unwrap();
    let (start, note) = prepare_rerun(campaign, &claim, world, stamp).unwrap();
    let mut journal = Journal::begin(campaign, claim, start, "then").unwrap();
    check_servers(campaign, &mut journal, world).unwrap();
    (
        execute(campaign, &mut journal, world, &mut |_| {}).unwrap(),
        note,
    )
}

fn results(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.filter(|name| name.starts_with("bench_")).collect();
    files.sort();
    files
}

#[test]
fn a_finished_sweep_is_moved_aside_and_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = campaign(folder.path(), COMBOS);
    let (first, note) = again(&campaign, &mut Fake::default(), "1");
    assert_eq!((first.done, note), (3, None));
    fs::write(campaign.output.join("mine.json"), "{}").unwrap();
    let old = fs::read_to_string(campaign.output.join("campaign.json")).unwrap();

    let (second, note) = again(&campaign, &mut Fake::default(), "2");
    assert_eq!((second.done, second.earlier), (3, 0));
    let aside = folder.path().join("results-2");
    assert!(
        note.unwrap()
            .ends_with(&format!("were moved to {}", aside.display()))
    );
    assert_eq!(results(&aside), results(&campaign.output));
    assert_eq!(
        fs::read_to_string(aside.join("campaign.json")).unwrap(),
        old
    );
    // What the sweep would not have touched stays.
    assert!(campaign.output.join("mine.json").is_file() && !aside.join("mine.json").exists());
    // Two of one second do not meet.
    let (_, note) = again(&campaign, &mut Fake::default(), "2");
    assert!(note.unwrap().ends_with("results-2-2"));
}

#[test]
fn an_unfinished_sweep_is_resumed_only_if_it_is_the_same() {
    let started = || {
        let folder = tempfile::tempdir().unwrap();
        let campaign = campaign(folder.path(), COMBOS);
        let mut world = Fake {
            fate: [(2, Fate::Stopped)].into(),
            ..Fake::default()
        };
        again(&campaign, &mut world, "1");
        (folder, campaign)
    };
    let (_folder, same) = started();
    let (tally, note) = again(&same, &mut Fake::default(), "2");
    assert_eq!((tally.earlier, tally.done), (1, 2));
    assert!(
        note.as_deref()
            .unwrap()
            .contains("started then: resuming it"),
        "{note:?}"
    );

    let (folder, _) = started();
    let other = campaign(folder.path(), &COMBOS.replace("model: m", "model: n"));
    let (tally, note) = again(&other, &mut Fake::default(), "2");
    assert_eq!((tally.earlier, tally.done), (0, 3));
    assert!(note.unwrap().contains("were moved to"));
    assert_eq!(results(&folder.path().join("results-2")).len(), 2);

    let (_folder, same) = started();
    let newer = Identity {
        version: Some("2".to_owned()),
        models: None,
    };
    let (tally, note) = again(
        &same,
        &mut Fake {
            identity: newer,
            ..Fake::default()
        },
        "2",
    );
    assert_eq!((tally.earlier, tally.done), (0, 3));
    assert!(note.unwrap().contains("were moved to"));
}

#[test]
fn results_of_unknown_origin_are_neither_kept_nor_lost() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = campaign(folder.path(), COMBOS);
    let name = campaign.cells[1].result.clone();
    fs::create_dir_all(&campaign.output).unwrap();
    fs::write(campaign.output.join(&name), "of another script").unwrap();
    let claim = Claim::take(&campaign, Start::Fresh).unwrap();
    let (start, _) = prepare_rerun(&campaign, &claim, &mut Fake::default(), "2").unwrap();
    assert_eq!(start, Start::Fresh);
    assert_eq!(
        fs::read_to_string(folder.path().join("results-2").join(name)).unwrap(),
        "of another script"
    );
}
