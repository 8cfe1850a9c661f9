use clap::Parser;

use super::*;
use crate::args::{Cli, Command};
use crate::settings::RunSettings;

#[test]
fn every_dataset_of_the_table_has_a_name_on_the_command_line() {
    for info in dataset::ALL {
        let mut typed = vec!["inferometer", "run", "--dataset-name", info.name];
        if info.reads_file {
            typed.extend(["--dataset-path", "x"]);
        }
        if info.name == "mix" {
            typed.extend(["--mix", "1:8/8"]);
        }
        let Command::Run(args) = Cli::try_parse_from(typed).unwrap().command else {
            unreachable!()
        };
        let settings = RunSettings::resolve(*args).unwrap();
        assert_eq!(settings.benchmark.workload.dataset.name(), info.name);
    }
}
